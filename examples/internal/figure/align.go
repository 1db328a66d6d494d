// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// aligned returns the places of plots in rows and columns within c, such that the areas of the data are of one size, and begin and end
// together in each row and each column. A plot may be nil. plot.Align gives plots of one size, of which labels take more or less away.
// Labels that are longer than their axes are broken into two lines, and get a smaller font if that is not enough.
func aligned(plots [][]*plot.Plot, c draw.Canvas, gap vg.Length) [][]draw.Canvas {
	// A plot leaves room for the ends of a label, so a label that is too long shortens its axis. The length of the axis is therefore
	// measured with short labels of the same number of lines.
	type axis struct {
		*plot.Axis
		text string
	}
	var axes []axis
	for _, row := range plots {
		for _, p := range row {
			if p == nil {
				continue
			}
			for _, a := range []*plot.Axis{&p.X, &p.Y} {
				axes = append(axes, axis{a, a.Label.Text})
				if a.Label.Text != "" {
					a.Label.Text = "|"
				}
			}
		}
	}
	lengths := func() (all []vg.Length) {
		for i, row := range places(plots, c, gap) {
			for j, p := range plots[i] {
				if p != nil {
					data := p.DataCanvas(row[j]).Size()
					all = append(all, data.X, data.Y)
				}
			}
		}
		return all
	}
	for k, length := range lengths() {
		if a := &axes[k]; a.Label.TextStyle.Width(a.text) > length {
			a.text = halved(a.text)
			a.Label.Text = "|" + strings.Repeat("\n|", strings.Count(a.text, "\n"))
		}
	}
	for k, length := range lengths() {
		a := axes[k]
		a.Label.Text = a.text
		if w := a.Label.TextStyle.Width(a.text); w > length && length > 0 {
			a.Label.TextStyle.Font.Size *= length / w
		}
	}
	return places(plots, c, gap)
}

// halved breaks a text into two lines at the space that is nearest to its middle, if it has one.
func halved(text string) string {
	words := strings.Split(text, "\u00a0")
	best := text
	for k := 1; k < len(words); k++ {
		first, second := strings.Join(words[:k], "\u00a0"), strings.Join(words[k:], "\u00a0")
		if broken := first + "\n" + second; k == 1 || max(len(first), len(second)) < longest(best) {
			best = broken
		}
	}
	return best
}

// longest is the length of the longest line.
func longest(text string) (n int) {
	for line := range strings.SplitSeq(text, "\n") {
		n = max(n, len(line))
	}
	return n
}

// places are the places of plots whose labels fit.
func places(plots [][]*plot.Plot, c draw.Canvas, gap vg.Length) [][]draw.Canvas {
	rows, columns := len(plots), len(plots[0])
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: gap, PadY: gap}
	at := make([][]draw.Canvas, rows)
	for i := range at {
		for j := range columns {
			at[i] = append(at[i], tiles.At(c, j, i))
		}
	}
	// The room for labels at the ends of an axis depends on its length, so it is determined in a few rounds.
	for range 4 {
		left, right := make([]vg.Length, columns), make([]vg.Length, columns)
		bottom, top := make([]vg.Length, rows), make([]vg.Length, rows)
		for i := range plots {
			for j, p := range plots[i] {
				if p == nil {
					continue
				}
				outer, data := at[i][j].Rectangle, p.DataCanvas(at[i][j]).Rectangle
				left[j], right[j] = max(left[j], data.Min.X-outer.Min.X), max(right[j], outer.Max.X-data.Max.X)
				bottom[i], top[i] = max(bottom[i], data.Min.Y-outer.Min.Y), max(top[i], outer.Max.Y-data.Max.Y)
			}
		}
		width := (c.Size().X - gap*vg.Length(columns-1) - sum(left) - sum(right)) / vg.Length(columns)
		height := (c.Size().Y - gap*vg.Length(rows-1) - sum(bottom) - sum(top)) / vg.Length(rows)
		y := c.Max.Y
		for i := range rows {
			x, low := c.Min.X, y-top[i]-height-bottom[i]
			for j := range columns {
				wide := left[j] + width + right[j]
				at[i][j].Rectangle = vg.Rectangle{Min: vg.Point{X: x, Y: low}, Max: vg.Point{X: x + wide, Y: y}}
				if p := plots[i][j]; p != nil { // whose own margins may be smaller
					data := p.DataCanvas(at[i][j]).Rectangle
					at[i][j] = draw.Crop(at[i][j], x+left[j]-data.Min.X, x+left[j]+width-data.Max.X, low+bottom[i]-data.Min.Y, low+bottom[i]+height-data.Max.Y)
				}
				x += wide + gap
			}
			y = low - gap
		}
	}
	return at
}

func sum(x []vg.Length) (s vg.Length) {
	for _, v := range x {
		s += v
	}
	return s
}
