// SPDX-License-Identifier: Apache-2.0

// Package figure draws the plots of the examples in one style, with colours that colour-blind readers can
// distinguish, marks that can be distinguished without colour, and a legend beside the data. A figure is a
// value, and its method PNG is the picture:
//
//	b, err := figure.Lines{
//		Title: "Training loss",
//		X:     figure.Axis{Label: "epoch", Whole: true},
//		Y:     figure.Axis{Label: "mean cross-entropy (nats)", Zero: true},
//		Curves: []figure.Curve{
//			{Name: "momentum", X: []float64{1, 2, 3}, Y: []float64{2.2, 1.1, 0.7}},
//			{Name: "sphere", X: []float64{1, 2, 3}, Y: []float64{1.9, 0.8, 0.5}},
//		},
//	}.PNG()
//
// Lines are curves, Panels several of them on a page, Multiples small ones on the same axes, Intervals means with their intervals.
package figure

import (
	"bytes"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Size is the size of a picture. A field that is 0 stands for the default of the figure.
type Size struct {
	Width, Height float64 // inches
	DPI           int     // dots an inch
}

// or fills in defaults.
func (s Size) or(d Size) Size {
	if s.Width == 0 {
		s.Width = d.Width
	}
	if s.Height == 0 {
		s.Height = d.Height
	}
	if s.DPI == 0 {
		s.DPI = d.DPI
	}
	return s
}

// Colours that colour-blind readers can tell apart (Okabe and Ito 2008, and two more), and marks. They go round in cycles of
// different lengths.
var (
	colours = []color.RGBA{
		{0x00, 0x00, 0x00, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x72, 0xb2, 0xff}, {0x00, 0x9e, 0x73, 0xff},
		{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
		{0x99, 0x99, 0x99, 0xff}, {0x88, 0x22, 0x55, 0xff},
	}
	marks = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}}
)

const (
	margin  = vg.Length(8)  // around a picture
	gap     = vg.Length(10) // between a plot and its legend, or the next plot
	heading = vg.Length(28) // the height of a title: the legend begins below it
)

// newPlot makes an empty plot with a grid.
func newPlot(title string, x, y Axis) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = spaced(title), spaced(x.Label), spaced(y.Label)
	setFont(&p.Title.TextStyle.Font, 12)
	p.Title.Padding = 8
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		setFont(&a.Label.TextStyle.Font, 11)
		setFont(&a.Tick.Label.Font, 10)
		a.Label.Padding, a.Padding = 4, 4
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	return p
}

func newLegend() *plot.Legend {
	l := plot.NewLegend()
	setFont(&l.TextStyle.Font, 10)
	l.Top, l.Left = true, true
	l.ThumbnailWidth, l.Padding = 30, 4
	return &l
}

func setFont(f *font.Font, points vg.Length) {
	f.Variant, f.Size = "Sans", points
}

// page is a white picture.
type page struct{ *vgimg.Canvas }

func newPage(s Size) page {
	return page{vgimg.NewWith(vgimg.UseWH(vg.Length(s.Width)*vg.Inch, vg.Length(s.Height)*vg.Inch), vgimg.UseDPI(s.DPI), vgimg.UseBackgroundColor(color.White))}
}

// inside is the page within its margins.
func (p page) inside() draw.Canvas {
	return draw.Crop(draw.New(p.Canvas), margin, -margin, margin, -margin)
}

// beside draws the legend at the right edge and returns the rest of the canvas.
func beside(c draw.Canvas, l *plot.Legend) draw.Canvas {
	size := l.Rectangle(c)
	aside := size.Max.X - size.Min.X + gap
	l.Draw(draw.Crop(c, c.Max.X-c.Min.X-aside+gap, 0, 0, -heading))
	return draw.Crop(c, 0, -aside, 0, 0)
}

func (p page) png() ([]byte, error) {
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: p.Canvas}.WriteTo(&b)
	return b.Bytes(), err
}
