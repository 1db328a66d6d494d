// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// Intervals is a plot of numbers with their intervals, one below the other.
type Intervals struct {
	Title string
	X     Axis // its Log is not looked at
	Rows  []Interval
	Size  Size // 9 inches wide at 96 dots an inch by default, and as high as the rows need
}

// Interval is from Mean - Half to Mean + Half. Half is NaN where it is not known.
type Interval struct {
	Name       string
	Mean, Half float64
}

// PNG draws the plot, the first row on top. It fails without rows, and on a Mean that is not finite.
func (s Intervals) PNG() ([]byte, error) {
	if len(s.Rows) == 0 {
		return nil, fmt.Errorf("figure: %s: want an interval at least, got none", s.Title)
	}
	var bars struct {
		plotter.XYs
		plotter.XErrors
	}
	var names plot.ConstantTicks
	for i, r := range s.Rows {
		if math.IsNaN(r.Half) {
			r.Half = 0
		}
		at := float64(len(s.Rows) - 1 - i)
		bars.XYs = append(bars.XYs, plotter.XY{X: r.Mean, Y: at})
		bars.XErrors = append(bars.XErrors, struct{ Low, High float64 }{-r.Half, r.Half})
		names = append(names, plot.Tick{Value: at, Label: r.Name})
	}
	dots, err := plotter.NewScatter(bars.XYs)
	if err != nil {
		return nil, fmt.Errorf("figure: %s: %w", s.Title, err)
	}
	dots.Color, dots.Radius, dots.Shape = colours[2], 3, draw.CircleGlyph{}
	whiskers, err := plotter.NewXErrorBars(bars)
	if err != nil {
		return nil, fmt.Errorf("figure: %s: %w", s.Title, err)
	}
	whiskers.Color, whiskers.Width = colours[2], 1.4
	p := newPlot(s.Title, s.X, Axis{})
	p.Add(whiskers, dots)
	p.Y.Tick.Marker = names
	p.Y.Min, p.Y.Max = -0.5, float64(len(s.Rows))-0.5
	s.X.Log = false
	s.X.finish(&p.X)
	to := newPage(s.Size.or(Size{9, 0.19*float64(len(s.Rows)) + 1.2, 96}))
	p.Draw(to.inside())
	return to.png()
}
