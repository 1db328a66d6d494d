// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// panel is a picture of one number over a series.
type panel struct {
	title, series, label string
	value                func(demand) float64
}

// panels are the rows of the picture.
var panels = [][]panel{
	{
		{"Time against batch", "batch", "ms a step", milliseconds},
		{"Time against channels", "channels", "ms a step", milliseconds},
		{"Time against layers", "layers", "ms a step", milliseconds},
	},
	{
		{"Time against cores", "cores", "ms a step, wall time", milliseconds},
		{"Memory allocated in a step", "batch", "MB", func(u demand) float64 { return u.Allocated / 1e6 }},
		{"Peak of the heap", "batch", "MB", func(u demand) float64 { return u.Peak / 1e6 }},
	},
}

func milliseconds(u demand) float64 { return u.MS }

// contender is a line of every panel: colours that colour-blind readers can tell apart
// (Okabe and Ito 2008).
type contender struct {
	name  string
	of    func(point) demand
	shape draw.GlyphDrawer
	color.RGBA
	dashes []vg.Length
}

var contenders = []contender{
	{"stock Gorgonia", func(p point) demand { return p.Stock }, draw.BoxGlyph{}, color.RGBA{0, 0, 0, 0xff}, []vg.Length{5, 3}},
	{"Kernelfold", func(p point) demand { return p.Ours }, draw.CircleGlyph{}, color.RGBA{0xd5, 0x5e, 0, 0xff}, nil},
}

// png draws all panels.
func (s scaling) png() ([]byte, error) {
	plots := make([][]*plot.Plot, len(panels))
	for i, row := range panels {
		for _, p := range row {
			drawn, err := p.plot(s.Steps)
			if err != nil {
				return nil, err
			}
			plots[i] = append(plots[i], drawn)
		}
	}
	canvas := vgimg.NewWith(vgimg.UseWH(10*vg.Inch, 5.8*vg.Inch), vgimg.UseDPI(144), vgimg.UseBackgroundColor(color.White))
	tiles := draw.Tiles{
		Rows: len(plots), Cols: len(plots[0]), PadX: vg.Points(16), PadY: vg.Points(16),
		PadTop: vg.Points(8), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(12),
	}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, c := range row {
			plots[i][j].Draw(c)
		}
	}
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(&b)
	return b.Bytes(), err
}

// plainTicks are the labelled ones of plot.DefaultTicks, without trailing zeros.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
		if t.Label != "" {
			ticks = append(ticks, plot.Tick{Value: t.Value, Label: fmt.Sprintf("%g", t.Value)})
		}
	}
	return ticks
}

// plot draws the panel.
func (p panel) plot(points []point) (*plot.Plot, error) {
	pl := plot.New()
	pl.Title.Text, pl.X.Label.Text, pl.Y.Label.Text = p.title, axes[p.series], p.label
	pl.Title.TextStyle.Font.Variant, pl.Title.TextStyle.Font.Size = "Sans", vg.Points(11)
	pl.Title.Padding = vg.Points(4)
	for _, a := range []*plot.Axis{&pl.X, &pl.Y} {
		a.Label.TextStyle.Font.Variant, a.Label.TextStyle.Font.Size = "Sans", vg.Points(9)
		a.Tick.Label.Font.Variant, a.Tick.Label.Font.Size = "Sans", vg.Points(8)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	pl.Add(grid)
	pl.Legend.Top, pl.Legend.Left = true, true
	pl.Legend.TextStyle.Font.Variant, pl.Legend.TextStyle.Font.Size = "Sans", vg.Points(9)
	var ticks plot.ConstantTicks
	for i, who := range contenders {
		var line plotter.XYs
		for _, q := range points {
			if q.Series == p.series {
				line = append(line, plotter.XY{X: float64(q.X), Y: p.value(who.of(q))})
				if i == 0 {
					ticks = append(ticks, plot.Tick{Value: float64(q.X), Label: fmt.Sprint(q.X)})
				}
			}
		}
		l, dots, err := plotter.NewLinePoints(line)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width, l.Dashes = who.RGBA, vg.Points(1.6), who.dashes
		dots.Color, dots.Radius, dots.Shape = who.RGBA, vg.Points(2.4), who.shape
		pl.Add(l, dots)
		pl.Legend.Add(who.name, l, dots)
	}
	pl.X.Tick.Marker, pl.Y.Tick.Marker, pl.Y.Min = ticks, plainTicks{}, 0
	pl.Y.Max *= 1.3 // the legend stands above the lines
	if pl.X.Min == pl.X.Max {
		pl.X.Min, pl.X.Max = pl.X.Min-1, pl.X.Max+1
	}
	return pl, nil
}
