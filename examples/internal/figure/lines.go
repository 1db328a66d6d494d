// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
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
	Hue    Hue       // in place of that
	Dashed bool
	Mark   int // from 1, in place of that of the kind

	faint bool // of Multiples
}

// Add appends a point.
func (c *Curve) Add(x, y float64) {
	c.X, c.Y = append(c.X, x), append(c.Y, y)
}

// manyPoints is the number of points from which marks would hide the line.
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
		low := l.fallen(c)
		if len(points) == 0 && len(low) == 0 {
			continue
		}
		line, dots, err := c.style(i)
		if err != nil {
			return nil, nil, err
		}
		line.XYs, dots.XYs = points, points
		drawn := []plot.Plotter{bare{line}, bare{dots}}
		thumbnails := []plot.Thumbnailer{line, dots}
		if len(points) > manyPoints || c.faint {
			drawn, thumbnails = drawn[:1], thumbnails[:1]
		}
		if len(low) > 0 {
			hue := c.hue(i)
			if c.faint {
				hue = Grey
			}
			marks := fallen(hue)
			marks.XYs = low
			drawn = append(drawn, bare{marks})
		}
		p.Add(drawn...)
		legend.Add(spaced(c.Name), thumbnails...)
	}
	if l.Note != "" {
		legend.Add(spaced(l.Note))
	}
	l.X.finish(&p.X)
	l.Y.finish(&p.Y)
	return p, legend, nil
}

// hue of a curve of the kind i.
func (c Curve) hue(i int) Hue {
	if c.Hue != 0 {
		return c.Hue
	}
	return Hue(i%len(colours) + 1)
}

// style is the look of a curve of the kind i, without its points.
func (c Curve) style(i int) (*plotter.Line, *plotter.Scatter, error) {
	line, dots, err := plotter.NewLinePoints(plotter.XYs{{}, {}})
	if err != nil {
		return nil, nil, fmt.Errorf("figure: %s: %w", c.Name, err)
	}
	line.Color, line.Width = c.hue(i).colour(), 1.8
	if c.Dashed {
		line.Dashes = []vg.Length{4, 3}
	}
	if c.Mark != 0 {
		i = c.Mark - 1
	}
	dots.Color, dots.Radius, dots.Shape = line.Color, 3, marks[i%len(marks)]
	if c.faint {
		line.Color, line.Width = color.Gray{0x99}, 1.4
	}
	return line, dots, nil
}

// bare is a plotter whose marks may extend beyond the area of the data. Otherwise marks at the edge would
// move the axes of one plot but not those of its neighbour.
type bare struct {
	of interface {
		plot.Plotter
		plot.DataRanger
	}
}

func (b bare) Plot(c draw.Canvas, p *plot.Plot)            { b.of.Plot(c, p) }
func (b bare) DataRange() (xmin, xmax, ymin, ymax float64) { return b.of.DataRange() }

// fallen are marks at the lower edge.
func fallen(h Hue) *plotter.Scatter {
	return &plotter.Scatter{GlyphStyle: draw.GlyphStyle{Color: h.colour(), Radius: 4, Shape: downGlyph{}}}
}

// downGlyph is a triangle that points downwards, and stands on its point.
type downGlyph struct{}

func (downGlyph) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	r := sty.Radius
	var p vg.Path
	p.Move(at)
	p.Line(vg.Point{X: at.X - 0.75*r, Y: at.Y + 1.4*r})
	p.Line(vg.Point{X: at.X + 0.75*r, Y: at.Y + 1.4*r})
	p.Close()
	c.SetColor(sty.Color)
	c.Fill(p)
}

// fallen returns points on the floor of the axis where a curve is below it.
func (l Lines) fallen(c Curve) (low plotter.XYs) {
	if l.Y.Floor == 0 {
		return nil
	}
	for i := range c.X {
		if x, has := l.X.at(c.X[i]); has && !(c.Y[i] >= l.Y.Floor) {
			low = append(low, plotter.XY{X: x, Y: l.Y.Floor})
		}
	}
	return low
}

// points returns the points that have a position on both axes.
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
