// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Lines is a plot of curves.
type Lines struct {
	Title  string
	X, Y   Axis
	Curves []Curve
	Note   string // a line below the legend
	Size   Size   // 7.5 x 4.2 inches at 144 dots an inch by default
}

// Curve is a line through points, from left to right. Points that are not finite or have no place on an axis are left out.
type Curve struct {
	Name   string
	X, Y   []float64 // of the same length
	Kind   string    // curves of one kind have one colour and one mark; by default each its own
	Dashed bool
}

// Add appends a point.
func (c *Curve) Add(x, y float64) {
	c.X, c.Y = append(c.X, x), append(c.Y, y)
}

// manyPoints is from where on marks would hide the line.
const manyPoints = 40

// PNG draws the plot. It fails if a curve has not as many X as Y.
func (l Lines) PNG() ([]byte, error) {
	p, legend, err := l.plot()
	if err != nil {
		return nil, err
	}
	to := newPage(l.Size.or(Size{7.5, 4.2, 144}))
	p.Draw(beside(to.inside(), legend))
	return to.png()
}

// plot makes the plot and its legend.
func (l Lines) plot() (*plot.Plot, *plot.Legend, error) {
	p, legend := newPlot(l.Title, l.X, l.Y), newLegend()
	kinds := map[string]int{}
	for _, c := range l.Curves {
		points, err := l.points(c)
		if err != nil {
			return nil, nil, err
		}
		kind := c.Kind
		if kind == "" {
			kind = c.Name
		}
		i, ok := kinds[kind]
		if !ok {
			i = len(kinds)
			kinds[kind] = i
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, nil, fmt.Errorf("figure: %s: %w", c.Name, err)
		}
		line.Color, line.Width = colours[i%len(colours)], 1.8
		if c.Dashed {
			line.Dashes = []vg.Length{4, 3}
		}
		dots.Color, dots.Radius, dots.Shape = colours[i%len(colours)], 3, marks[i%len(marks)]
		drawn := []plot.Plotter{line, dots}
		thumbnails := []plot.Thumbnailer{line, dots}
		if len(points) > manyPoints {
			drawn, thumbnails = drawn[:1], thumbnails[:1]
		}
		p.Add(drawn...)
		legend.Add(c.Name, thumbnails...)
	}
	if l.Note != "" {
		legend.Add(l.Note)
	}
	l.X.finish(&p.X)
	l.Y.finish(&p.Y)
	return p, legend, nil
}

// points returns those that have a place on both axes.
func (l Lines) points(c Curve) (plotter.XYs, error) {
	if len(c.X) != len(c.Y) {
		return nil, fmt.Errorf("figure: %s: want as many X as Y, got %d and %d", c.Name, len(c.X), len(c.Y))
	}
	var points plotter.XYs
	for i := range c.X {
		x, has := l.X.at(c.X[i])
		y, also := l.Y.at(c.Y[i])
		if has && also {
			points = append(points, plotter.XY{X: x, Y: y})
		}
	}
	return points, nil
}
