// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/kernelfold/kernelfold/models/train"
)

// picture is a plot of numbers over the epochs.
type picture struct {
	file, title, label string
	rises              bool
	curves             [3]func(train.Epoch) float64
}

var plots = []picture{
	{"loss.png", "Loss", "mean cross-entropy (nats)", false, [3]func(train.Epoch) float64{
		func(e train.Epoch) float64 { return e.Loss },
		func(e train.Epoch) float64 { return e.ValidationLoss },
		func(e train.Epoch) float64 { return e.TestLoss },
	}},
	{"accuracy.png", "Accuracy", "images classified rightly (%)", true, [3]func(train.Epoch) float64{
		func(e train.Epoch) float64 { return 100 * e.TrainAccuracy },
		func(e train.Epoch) float64 { return 100 * e.ValidationAccuracy },
		func(e train.Epoch) float64 { return 100 * e.Accuracy },
	}},
}

// The curves: colours that colour-blind readers can tell apart (Okabe and Ito 2008), and
// marks.
var styles = [3]struct {
	name   string
	colour color.RGBA
	dashes []vg.Length
	mark   draw.GlyphDrawer
}{
	{"training batches", color.RGBA{0x00, 0x00, 0x00, 0xff}, []vg.Length{6, 3}, draw.CircleGlyph{}},
	{"validation", color.RGBA{0xd5, 0x5e, 0x00, 0xff}, nil, draw.BoxGlyph{}},
	{"test", color.RGBA{0x00, 0x72, 0xb2, 0xff}, nil, draw.PyramidGlyph{}},
}

const (
	plotWidth, plotHeight = 6.5 * vg.Inch, 4.2 * vg.Inch
	plotDPI               = 144
)

// png draws the picture.
func (p picture) png(of string, epochs []train.Epoch) ([]byte, error) {
	pl := plot.New()
	pl.Title.Text = p.title + ", " + of
	pl.Title.TextStyle.Font.Size, pl.Title.TextStyle.Font.Variant = 13, "Sans"
	pl.Title.Padding = 8
	pl.X.Label.Text, pl.Y.Label.Text = "epoch", p.label
	for _, a := range []*plot.Axis{&pl.X, &pl.Y} {
		a.Label.TextStyle.Font.Size, a.Label.TextStyle.Font.Variant = 11, "Sans"
		a.Tick.Label.Font.Size, a.Tick.Label.Font.Variant = 10, "Sans"
		a.Label.Padding, a.Padding = 4, 4
	}
	pl.X.Tick.Marker = wholeTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	pl.Add(grid)
	pl.Legend.TextStyle.Font.Size, pl.Legend.TextStyle.Font.Variant = 10, "Sans"
	pl.Legend.ThumbnailWidth, pl.Legend.Padding = 30, 4
	pl.Legend.XOffs, pl.Legend.YOffs = -6, 6
	if !p.rises { // the legend stands where the curves are not
		pl.Legend.Top, pl.Legend.YOffs = true, -6
	}
	for i, s := range styles {
		var points plotter.XYs
		for _, e := range epochs {
			if y := p.curves[i](e); !math.IsNaN(y) {
				points = append(points, plotter.XY{X: float64(e.Number), Y: y})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width, line.Dashes = s.colour, 1.8, s.dashes
		dots.Color, dots.Radius, dots.Shape = s.colour, 3, s.mark
		if len(points) > 40 { // marks would hide the line
			pl.Add(line)
			pl.Legend.Add(s.name, line)
			continue
		}
		pl.Add(line, dots)
		pl.Legend.Add(s.name, line, dots)
	}
	if pl.Y.Min == pl.Y.Max {
		pl.Y.Max++
	}
	if pl.X.Min == pl.X.Max { // a single epoch
		pl.X.Min, pl.X.Max = pl.X.Min-0.5, pl.X.Max+0.5
	}
	canvas := vgimg.NewWith(vgimg.UseWH(plotWidth, plotHeight), vgimg.UseDPI(plotDPI), vgimg.UseBackgroundColor(color.White))
	pl.Draw(draw.Crop(draw.New(canvas), 8, -14, 8, -8))
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(&b)
	return b.Bytes(), err
}

// wholeTicks marks about eight whole numbers.
type wholeTicks struct{}

// Ticks implements plot.Ticker.
func (wholeTicks) Ticks(low, high float64) (t []plot.Tick) {
	step := 1
	for _, f := range []int{2, 5, 10, 20, 50, 100, 200, 500, 1000} {
		if (high-low)/float64(step) > 8 {
			step = f
		}
	}
	for k := int(math.Ceil(low)); float64(k) <= high; k++ {
		if k%step == 0 {
			t = append(t, plot.Tick{Value: float64(k), Label: strconv.Itoa(k)})
		}
	}
	return t
}
