// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Multiples are small plots on the same axes, in rows, and one legend for all where the next plot would be.
// They suit many curves, each of which is to be compared with a few others.
type Multiples struct {
	Title  string
	X, Y   Axis
	Panels []Panel
	Faint  []Curve // in every panel, thin and grey, behind the others
	Key    []Curve // the legend: names, hues, dashes. Those of Faint are added
	Note   string  // a line below the legend
	Size   Size    // by default 10 inches wide and 2.3 high for each row, at 144 dots an inch
}

// Panel is one of the plots.
type Panel struct {
	Title  string
	Curves []Curve
}

// in a row.
const multiplesColumns = 4

// PNG draws the plots. It fails without a panel, and if a curve has not as many X as Y.
func (m Multiples) PNG() ([]byte, error) {
	if len(m.Panels) == 0 {
		return nil, fmt.Errorf("figure: %s: want a panel at least, got none", m.Title)
	}
	rows := len(m.Panels)/multiplesColumns + 1 // with the legend
	plots := make([][]*plot.Plot, rows)
	var all []*plot.Plot
	for i := range plots {
		plots[i] = make([]*plot.Plot, multiplesColumns)
	}
	faint := make([]Curve, len(m.Faint))
	for i, c := range m.Faint {
		c.faint = true
		faint[i] = c
	}
	for k, of := range m.Panels {
		l := Lines{Title: of.Title, X: m.X, Y: m.Y, Curves: append(faint[:len(faint):len(faint)], of.Curves...)}
		p, _, err := l.plot()
		if err != nil {
			return nil, err
		}
		setFont(&p.Title.TextStyle.Font, 11)
		p.Title.Padding = 4
		setFont(&p.X.Tick.Label.Font, 9)
		setFont(&p.Y.Tick.Label.Font, 9)
		plots[k/multiplesColumns][k%multiplesColumns] = p
		all = append(all, p)
	}
	share(all, m.X, m.Y)
	for i := range plots {
		for j, p := range plots[i] {
			if p == nil {
				continue
			}
			if j > 0 {
				p.Y.Label.Text = ""
				p.Y.Tick.Marker = unnamed{p.Y.Tick.Marker}
			}
			if below := i+1 < rows && plots[i+1][j] != nil; below || i+1 < rows && j > 0 {
				p.X.Label.Text = ""
			}
		}
	}
	legend := newLegend()
	for _, c := range append(append([]Curve{}, m.Key...), faint...) {
		line, dots, err := c.style(0)
		if err != nil {
			return nil, err
		}
		if c.faint {
			legend.Add(spaced(c.Name), line)
		} else {
			legend.Add(spaced(c.Name), line, dots)
		}
	}
	if m.Y.Floor != 0 {
		legend.Add(spaced(fmt.Sprintf("below %g, or diverged", m.Y.Floor)), fallen(Grey))
	}
	if m.Note != "" {
		legend.Add(spaced(m.Note))
	}
	to := newPage(m.Size.or(Size{10, 2.3*float64(rows) + 0.4, 144}))
	inside := to.inside()
	title := draw.TextStyle{Color: colours[0], Font: plot.DefaultFont, XAlign: draw.XCenter, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
	setFont(&title.Font, 12)
	inside.FillText(title, vg.Point{X: inside.Center().X, Y: inside.Max.Y}, spaced(m.Title))
	at := aligned(plots, draw.Crop(inside, 0, 0, 0, -heading), 1.6*gap)
	for i := range plots {
		for j, p := range plots[i] {
			if p != nil {
				p.Draw(at[i][j])
			}
		}
	}
	k := len(m.Panels)
	legend.Draw(draw.Crop(at[k/multiplesColumns][k%multiplesColumns], 2*gap, 0, 0, -heading))
	return to.png()
}

// share gives all plots the range of all of them together.
func share(plots []*plot.Plot, x, y Axis) {
	for _, p := range plots[1:] {
		plots[0].X.Min, plots[0].X.Max = min(plots[0].X.Min, p.X.Min), max(plots[0].X.Max, p.X.Max)
		plots[0].Y.Min, plots[0].Y.Max = min(plots[0].Y.Min, p.Y.Min), max(plots[0].Y.Max, p.Y.Max)
	}
	for _, p := range plots {
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = plots[0].X.Min, plots[0].X.Max, plots[0].Y.Min, plots[0].Y.Max
		x.finish(&p.X)
		y.finish(&p.Y)
		if x.Log {
			p.X.Tick.Marker = sparse{p.X.Tick.Marker}
		}
	}
}

// unnamed are ticks without labels.
type unnamed struct{ of plot.Ticker }

func (u unnamed) Ticks(low, high float64) []plot.Tick {
	t := u.of.Ticks(low, high)
	for i := range t {
		if t[i].Label != "" {
			t[i].Label = "\u200b" // a label of no width: a tick without one is a minor one
		}
	}
	return t
}

// sparse are ticks of which only the powers of ten have labels if there are many.
type sparse struct{ of plot.Ticker }

func (s sparse) Ticks(low, high float64) []plot.Tick {
	t := s.of.Ticks(low, high)
	if len(t) <= 5 {
		return t
	}
	for i := range t {
		if math.Abs(t[i].Value-math.Round(t[i].Value)) > slack {
			t[i].Label = ""
		}
	}
	return t
}
