// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image/color"
	"math"
	"unicode/utf8"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Heat is a matrix of shares, 0 to 1, as coloured squares: 0 is white, 1 blue. Up to 20 rows have their numbers in per cent written in them.
type Heat struct {
	Title   string
	X, Y    string   // what columns and rows are
	Columns []string // a name for each column
	Rows    []string // a name for each row
	Values  [][]float64
	Size    Size // by default 0.38 inches a square, less if there are many, at 110 dots an inch
}

// PNG draws the matrix. A value that is NaN is left grey. It fails if Values is not of as many rows and columns as there are names, or
// has a value that is no share.
func (h Heat) PNG() ([]byte, error) {
	if len(h.Rows) == 0 || len(h.Columns) == 0 || len(h.Values) != len(h.Rows) {
		return nil, fmt.Errorf("figure: want a row of values for each of %d names, got %d", len(h.Rows), len(h.Values))
	}
	for i, row := range h.Values {
		if len(row) != len(h.Columns) {
			return nil, fmt.Errorf("figure: row %s: want %d values, got %d", h.Rows[i], len(h.Columns), len(row))
		}
		for _, v := range row {
			if v < 0 || v > 1 {
				return nil, fmt.Errorf("figure: row %s: want values of 0 to 1, got %g", h.Rows[i], v)
			}
		}
	}
	const most, smallest, names = 20, 4.5, 26 // rows with numbers; points of a name; letters of one
	n := max(len(h.Rows), len(h.Columns))
	square := vg.Length(0.38) * vg.Inch
	if n > most {
		square = max(vg.Length(7.6)*vg.Inch/vg.Length(n), 2)
	}
	style := newPlot("", Axis{}, Axis{}).X.Label.TextStyle
	setFont(&style.Font, min(9, max(smallest, square*0.8)))
	every := max(1, int(math.Ceil(float64(style.Font.Size*1.1/square)))) // names that would overlap are left out
	rows, columns := fitting(h.Rows, names), fitting(h.Columns, names)
	left, below := widest(style, rows)+gap, widest(style, columns)+gap
	label := style
	setFont(&label.Font, 11)
	line := label.Font.Size * 1.6
	width, height := left+line+square*vg.Length(len(columns)), below+line+square*vg.Length(len(rows))
	above := vg.Length(0)
	if h.Title != "" {
		above = heading - margin
	}
	to := newPage(h.Size.or(Size{float64((width + 2*margin) / vg.Inch), float64((height + above + 2*margin) / vg.Inch), 110}))
	c := entitled(to.inside(), h.Title)

	right := style
	right.XAlign, right.YAlign = draw.XRight, draw.YCenter
	turned := right
	turned.Rotation = math.Pi / 2
	inside := style
	inside.XAlign, inside.YAlign = draw.XCenter, draw.YCenter
	label.XAlign, label.YAlign = draw.XCenter, draw.YCenter
	origin := vg.Point{X: c.Min.X + left + line, Y: c.Max.Y}
	for i, row := range h.Values {
		y := origin.Y - square*(vg.Length(i)+0.5)
		if i%every == 0 {
			c.FillText(right, vg.Point{X: origin.X - 4, Y: y}, spaced(rows[i]))
		}
		for k, v := range row {
			x := origin.X + square*(vg.Length(k)+0.5)
			fill := color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
			if !math.IsNaN(v) {
				fill = pale(colours[2], v)
			}
			c.SetColor(fill)
			c.Fill(squareAt(x, y, square))
			if n <= most && v >= 0.005 {
				inside.Color = color.Black
				if v > 0.5 {
					inside.Color = color.White
				}
				c.FillText(inside, vg.Point{X: x, Y: y}, fmt.Sprintf("%.0f", 100*v))
			}
		}
	}
	bottom := origin.Y - square*vg.Length(len(rows))
	for k := 0; k < len(columns); k += every {
		c.FillText(turned, vg.Point{X: origin.X + square*(vg.Length(k)+0.5), Y: bottom - 4}, spaced(columns[k]))
	}
	end := origin.X + square*vg.Length(len(columns))
	c.StrokeLines(draw.LineStyle{Color: color.Gray{0x80}, Width: 0.5}, []vg.Point{
		{X: origin.X, Y: bottom}, {X: end, Y: bottom}, origin.Add(vg.Point{X: end - origin.X}), origin, {X: origin.X, Y: bottom},
	})
	c.FillText(label, vg.Point{X: (origin.X + end) / 2, Y: bottom - below - line/2 + gap/2}, spaced(h.X))
	label.Rotation = math.Pi / 2
	c.FillText(label, vg.Point{X: c.Min.X + line/2, Y: (origin.Y + bottom) / 2}, spaced(h.Y))
	return to.png()
}

// squareAt is the outline of a square around a point.
func squareAt(x, y, side vg.Length) vg.Path {
	var p vg.Path
	p.Move(vg.Point{X: x - side/2, Y: y - side/2})
	p.Line(vg.Point{X: x + side/2, Y: y - side/2})
	p.Line(vg.Point{X: x + side/2, Y: y + side/2})
	p.Line(vg.Point{X: x - side/2, Y: y + side/2})
	p.Close()
	return p
}

// widest returns the width of the widest text.
func widest(style draw.TextStyle, texts []string) (w vg.Length) {
	for _, t := range texts {
		w = max(w, style.Width(spaced(t)))
	}
	return w
}

// fitting returns texts of at most so many letters.
func fitting(texts []string, letters int) []string {
	short := make([]string, len(texts))
	for i, t := range texts {
		short[i] = t
		if utf8.RuneCountInString(t) > letters {
			short[i] = string([]rune(t)[:letters-1]) + "…"
		}
	}
	return short
}
