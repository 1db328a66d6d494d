// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Colours that colour-blind readers can tell apart (Okabe and Ito 2008, and two more) and marks, one
// of each for a method and its variants, and the dashes of those with the geometric step.
var (
	colours = []color.RGBA{
		{0x00, 0x00, 0x00, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x72, 0xb2, 0xff}, {0x00, 0x9e, 0x73, 0xff},
		{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
		{0x99, 0x99, 0x99, 0xff}, {0x88, 0x22, 0x55, 0xff},
	}
	marks  = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}}
	dashes = []vg.Length{4, 3}
)

// curve is one line of a plot.
type curve struct {
	name   string
	points plotter.XYs
}

// title of a plot of this campaign, of its search or of the runs with the chosen rates.
func (c *campaign) title(what, kase string, search bool) string {
	if kase != "" {
		what += ", " + kase
	}
	data, epochs := c.material(search)
	return fmt.Sprintf("%s, %s, %d images, %d epochs", what, c.Data, data.Len(), epochs)
}

// plotSearch draws what the choice of the rates saw.
func (c *campaign) plotSearch(kase, suffix string, all []tuned) error {
	var curves []curve
	for _, t := range all {
		if t.minor {
			continue
		}
		l := curve{name: t.name}
		for i := range t.search {
			l.points = append(l.points, plotter.XY{X: math.Log10(t.search[i][0].Rate), Y: 100 * t.validation(i)})
		}
		curves = append(curves, l)
	}
	return c.plotCurves(suffix, c.title("Validation accuracy", kase, true), "learning rate", "images classified rightly (%)", true, curves)
}

// plotGrid draws the means of a grid.
func (c *campaign) plotGrid(kase string, rows []row, rates []float64) error {
	var curves []curve
	for _, r := range rows {
		if r.minor {
			continue
		}
		l := curve{name: r.name}
		for i, cell := range r.cells {
			mean, _ := interval(accuracies(cell))
			l.points = append(l.points, plotter.XY{X: math.Log10(r.rate(rates[i])), Y: 100 * mean})
		}
		curves = append(curves, l)
	}
	return c.plotCurves("-"+strings.NewReplacer(" ", "-", ",", "").Replace(kase)+".png",
		c.title("Test accuracy", kase, false), "learning rate", "images classified rightly (%)", true, curves)
}

// plotLosses draws the means over the seeds of the training losses.
func (c *campaign) plotLosses(all []tuned) error {
	var curves []curve
	for _, t := range all {
		l := curve{name: t.name}
		for e := range c.Epochs {
			sum, n := 0.0, 0
			for _, o := range t.final {
				if e < len(o.Epochs) && o.Epochs[e].Loss != nil {
					sum, n = sum+*o.Epochs[e].Loss, n+1
				}
			}
			if n > 0 {
				l.points = append(l.points, plotter.XY{X: float64(e + 1), Y: sum / float64(n)})
			}
		}
		curves = append(curves, l)
	}
	return c.plotCurves("-loss.png", c.title("Training loss", "", false), "epoch", "mean cross-entropy (nats)", false, curves)
}

// plotCurves draws curves with a legend to their right, which covers nothing.
func (c *campaign) plotCurves(suffix, title, x, y string, decades bool, curves []curve) error {
	p := newPlot(title, x, y)
	legend := plot.NewLegend()
	setFont(&legend.TextStyle.Font, 10)
	legend.Top, legend.Left = true, true
	legend.ThumbnailWidth, legend.Padding = vg.Points(30), vg.Points(4)
	kinds := map[string]int{}
	for _, l := range curves {
		if len(l.points) == 0 {
			continue
		}
		kind, _, variant := strings.Cut(l.name, ", ")
		i, ok := kinds[kind]
		if !ok {
			i = len(kinds)
			kinds[kind] = i
		}
		line, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return err
		}
		line.Color, line.Width = colours[i%len(colours)], vg.Points(1.8)
		if variant && strings.HasSuffix(l.name, "g_t") {
			line.Dashes = dashes
		}
		dots.Color, dots.Radius, dots.Shape = colours[i%len(colours)], vg.Points(3), marks[i%len(marks)]
		p.Add(line, dots)
		legend.Add(l.name, line, dots)
	}
	if decades {
		p.X.Tick.Marker = logTicks{}
	}
	widen(&p.X)
	widen(&p.Y)
	canvas, all := newCanvas(10*vg.Inch, 4.8*vg.Inch)
	size := legend.Rectangle(all)
	aside := size.Max.X - size.Min.X + vg.Points(10)
	p.Draw(draw.Crop(all, 0, -aside, 0, 0))
	legend.Draw(draw.Crop(all, all.Max.X-all.Min.X-aside+vg.Points(10), 0, 0, -vg.Points(28)))
	return c.save(suffix, canvas)
}

// plotIntervals draws the mean test accuracies with their intervals, a line for each method.
func (c *campaign) plotIntervals(kase, suffix string, all []tuned) error {
	p := newPlot(c.title("Test accuracy", kase, false), "test images classified rightly (%)", "")
	var bars struct {
		plotter.XYs
		plotter.XErrors
	}
	var names []plot.Tick
	for i, t := range all {
		mean, half := interval(accuracies(t.final))
		if math.IsNaN(half) {
			half = 0
		}
		at := float64(len(all) - 1 - i)
		bars.XYs = append(bars.XYs, plotter.XY{X: 100 * mean, Y: at})
		bars.XErrors = append(bars.XErrors, struct{ Low, High float64 }{-100 * half, 100 * half})
		names = append(names, plot.Tick{Value: at, Label: t.name})
	}
	dots, err := plotter.NewScatter(bars.XYs)
	if err != nil {
		return err
	}
	dots.Color, dots.Radius, dots.Shape = colours[2], vg.Points(3), draw.CircleGlyph{}
	whiskers, err := plotter.NewXErrorBars(bars)
	if err != nil {
		return err
	}
	whiskers.Color, whiskers.Width = colours[2], vg.Points(1.4)
	p.Add(whiskers, dots)
	p.Y.Tick.Marker = plot.ConstantTicks(names)
	p.Y.Min, p.Y.Max = -0.5, float64(len(all))-0.5
	widen(&p.X)
	canvas, whole := newCanvas(9*vg.Inch, vg.Length(len(all))*0.19*vg.Inch+1.2*vg.Inch)
	p.Draw(whole)
	return c.save(suffix, canvas)
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	setFont(&p.Title.TextStyle.Font, 12)
	p.Title.Padding = vg.Points(8)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		setFont(&a.Label.TextStyle.Font, 11)
		setFont(&a.Tick.Label.Font, 10)
		a.Label.Padding, a.Padding = vg.Points(4), vg.Points(4)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	return p
}

// widen gives room to an axis on which there is a single number.
func widen(a *plot.Axis) {
	if a.Min == a.Max {
		a.Min, a.Max = a.Min-0.5, a.Max+0.5
	}
}

func newCanvas(w, h vg.Length) (*vgimg.Canvas, draw.Canvas) {
	canvas := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(96), vgimg.UseBackgroundColor(color.White))
	return canvas, draw.Crop(draw.New(canvas), vg.Points(8), -vg.Points(8), vg.Points(8), -vg.Points(8))
}

// save writes the picture beside the results.
func (c *campaign) save(suffix string, canvas *vgimg.Canvas) error {
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b); err != nil {
		return err
	}
	return c.write(suffix, b.Bytes())
}

func setFont(f *font.Font, points float64) {
	f.Variant, f.Size = "Sans", vg.Points(points)
}

// logTicks marks 1 and 3 times powers of ten on an axis of logarithms.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(low, high float64) []plot.Tick {
	var t []plot.Tick
	for k := math.Floor(low); k <= high; k++ {
		for _, m := range []float64{1, 3} {
			v := m * math.Pow(10, k)
			if at := math.Log10(v); at >= low-1e-9 && at <= high+1e-9 {
				t = append(t, plot.Tick{Value: at, Label: fmt.Sprintf("%.3g", v)})
			}
		}
	}
	return t
}
