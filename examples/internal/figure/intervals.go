// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Intervals is a plot of numbers with their intervals, one below the other.
type Intervals struct {
	Title string
	X     Axis // its Log is not looked at
	Rows  []Interval
	// Reference is a number at which a dashed line stands, unless it is 0.
	Reference float64
	Size      Size // 9 inches wide at 144 dots an inch by default, and as high as the rows need
}

// Interval is from Mean - Half to Mean + Half. Half is NaN where it is not known.
type Interval struct {
	Name       string
	Mean, Half float64
	Hue        Hue // blue if it is 0
}

// PNG draws the plot, the first row on top. It fails without rows, and on a Mean that is not finite.
func (s Intervals) PNG() ([]byte, error) {
	if len(s.Rows) == 0 {
		return nil, fmt.Errorf("figure: %s: want an interval at least, got none", s.Title)
	}
	p := newPlot(s.Title, s.X, Axis{})
	if s.Reference != 0 {
		line, err := plotter.NewLine(plotter.XYs{{X: s.Reference, Y: -0.5}, {X: s.Reference, Y: float64(len(s.Rows)) - 0.5}})
		if err != nil {
			return nil, fmt.Errorf("figure: %s: %w", s.Title, err)
		}
		line.Color, line.Width, line.Dashes = color.Gray{0x77}, 1, []vg.Length{4, 3}
		p.Add(line)
	}
	var names plot.ConstantTicks
	low, high := math.Inf(1), math.Inf(-1)
	for i, r := range s.Rows {
		if math.IsNaN(r.Half) {
			r.Half = 0
		}
		if r.Hue == 0 {
			r.Hue = Blue
		}
		bar := interval{at: float64(len(s.Rows) - 1 - i), Interval: r}
		dot, err := plotter.NewScatter(plotter.XYs{{X: r.Mean, Y: bar.at}})
		if err != nil {
			return nil, fmt.Errorf("figure: %s: %w", s.Title, err)
		}
		dot.Color, dot.Radius, dot.Shape = r.Hue.colour(), 3, draw.CircleGlyph{}
		whisker, err := plotter.NewXErrorBars(bar)
		if err != nil {
			return nil, fmt.Errorf("figure: %s: %w", s.Title, err)
		}
		whisker.Color, whisker.Width = r.Hue.colour(), 1.4
		p.Add(whisker, dot)
		low, high = min(low, r.Mean-r.Half), max(high, r.Mean+r.Half)
		names = append(names, plot.Tick{Value: bar.at, Label: spaced(r.Name)})
	}
	p.X.Min, p.X.Max = low-(high-low)/50, high+(high-low)/50
	p.Y.Tick.Marker = names
	p.Y.Min, p.Y.Max = -0.5, float64(len(s.Rows))-0.5
	s.X.Log = false
	s.X.finish(&p.X)
	to := newPage(s.Size.or(Size{9, 0.19*float64(len(s.Rows)) + 1.2, 144}))
	p.Draw(to.inside())
	return to.png()
}

// interval is one of a plot at a height.
type interval struct {
	Interval
	at float64
}

func (i interval) Len() int                      { return 1 }
func (i interval) XY(int) (float64, float64)     { return i.Mean, i.at }
func (i interval) XError(int) (float64, float64) { return -i.Half, i.Half }
