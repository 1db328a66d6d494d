// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// picture is a plot of one number over the epochs.
type picture struct {
	file, title, label string
	value              func(epochJSON) float64
	log, zero          bool // value is a logarithm; the axis begins at zero
}

// floor is where the membership error is cut off: less than float32 can tell.
const floor = 1e-8

var plots = []picture{
	{"loss.png", "Training loss", "mean cross-entropy (nats)", func(e epochJSON) float64 { return e.Loss }, false, true},
	{"accuracy.png", "Test accuracy", "test images classified rightly (%)", func(e epochJSON) float64 { return 100 * e.Accuracy }, false, false},
	{"membership.png", "Membership error", "largest membership error", func(e epochJSON) float64 { return math.Log10(math.Max(floor, e.Membership)) }, true, false},
}

// Colours that colour-blind readers can tell apart (Okabe and Ito 2008), dashes
// and marks, which go round in cycles of different lengths.
var (
	colours = []color.RGBA{
		{0x00, 0x00, 0x00, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x72, 0xb2, 0xff}, {0x00, 0x9e, 0x73, 0xff},
		{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
	}
	dashes = [][]vg.Length{{6, 3}, {2, 2}, {8, 3, 2, 3}} // of unconstrained solvers; the others have solid lines
	marks  = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}}
)

const (
	plotWidth, plotHeight = 7.5 * vg.Inch, 4.2 * vg.Inch
	plotDPI               = 144
)

// png draws the picture.
func (p picture) png(r *results) ([]byte, error) {
	pl := plot.New()
	pl.Title.Text = fmt.Sprintf("%s, %s, %d images", p.title, r.Settings.Data, r.Settings.TrainImages)
	pl.X.Label.Text, pl.Y.Label.Text = "epoch", p.label
	setFont(&pl.Title.TextStyle.Font, 13)
	pl.Title.Padding = vg.Points(8)
	for _, a := range []*plot.Axis{&pl.X, &pl.Y} {
		setFont(&a.Label.TextStyle.Font, 11)
		setFont(&a.Tick.Label.Font, 10)
		a.Label.Padding, a.Padding = vg.Points(4), vg.Points(4)
	}
	pl.X.Tick.Marker, pl.Y.Tick.Marker = roundTicks{whole: true}, roundTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	pl.Add(grid)

	legend := plot.NewLegend()
	setFont(&legend.TextStyle.Font, 10)
	legend.Top, legend.Left = true, true
	legend.ThumbnailWidth, legend.Padding = vg.Points(30), vg.Points(4)
	free := false
	for i, s := range r.Solvers {
		points := make(plotter.XYs, len(s.Epochs))
		for k, e := range s.Epochs {
			points[k] = plotter.XY{X: float64(k + 1), Y: p.value(e)}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		c := colours[i%len(colours)]
		line.Color, line.Width = c, vg.Points(1.8)
		if !s.constrained() {
			line.Dashes = dashes[i%len(dashes)]
		}
		dots.Color, dots.Radius, dots.Shape = c, vg.Points(3), marks[i%len(marks)]
		pl.Add(line, dots)
		legend.Add(s.Name, line, dots)
		free = free || !s.constrained()
	}
	if free {
		legend.Add("dashed: unconstrained")
	}
	switch {
	case p.log:
		pl.Y.Tick.Marker = decades{}
		pl.Y.Min, pl.Y.Max = math.Floor(pl.Y.Min), math.Ceil(pl.Y.Max)
	case p.zero:
		pl.Y.Min = 0
	}
	if pl.Y.Min == pl.Y.Max {
		pl.Y.Max++
	}
	if pl.X.Min == pl.X.Max { // a single epoch
		pl.X.Min, pl.X.Max = pl.X.Min-0.5, pl.X.Max+0.5
	}

	// The legend stands to the right of the plot and covers nothing.
	canvas := vgimg.NewWith(vgimg.UseWH(plotWidth, plotHeight), vgimg.UseDPI(plotDPI), vgimg.UseBackgroundColor(color.White))
	all := draw.Crop(draw.New(canvas), vg.Points(8), -vg.Points(8), vg.Points(8), -vg.Points(8))
	size := legend.Rectangle(all)
	aside := size.Max.X - size.Min.X + vg.Points(10)
	pl.Draw(draw.Crop(all, 0, -aside, 0, 0))
	legend.Draw(draw.Crop(all, all.Max.X-all.Min.X-aside+vg.Points(10), 0, 0, -vg.Points(28)))

	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(&b)
	return b.Bytes(), err
}

func setFont(f *font.Font, points float64) {
	f.Variant, f.Size = "Sans", vg.Points(points)
}

// decades marks the powers of ten on an axis of logarithms. It stands for
// plot.LogScale, with which the label of the axis takes half of the height away.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(low, high float64) []plot.Tick {
	var t []plot.Tick
	for k := math.Ceil(low); k <= high; k++ {
		t = append(t, plot.Tick{Value: k, Label: fmt.Sprintf("1e%+03.0f", k)})
	}
	return t
}

// roundTicks marks about six multiples of 1, 2 or 5 times a power of ten, and
// whole numbers only if so wanted.
type roundTicks struct{ whole bool }

// Ticks implements plot.Ticker.
func (r roundTicks) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/6)))
	for _, f := range []float64{1, 2, 5, 10} {
		if (high-low)/(f*step) <= 7 {
			step *= f
			break
		}
	}
	if r.whole {
		step = math.Max(1, math.Round(step))
	}
	var t []plot.Tick
	const slack = 1e-6 // of a step, for rounding at the ends
	for k := int(math.Ceil(low/step - slack)); float64(k) <= high/step+slack; k++ {
		v := float64(k) * step
		t = append(t, plot.Tick{Value: v, Label: fmt.Sprintf("%.6g", v)})
	}
	return t
}
