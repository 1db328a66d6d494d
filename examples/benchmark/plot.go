// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"gonum.org/v1/plot"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
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

// png draws all panels.
func (s scaling) png() ([]byte, error) {
	var page figure.Panels
	for _, row := range panels {
		var lines []figure.Lines
		for _, p := range row {
			lines = append(lines, p.lines(s.Steps))
		}
		page.Rows = append(page.Rows, lines)
	}
	return page.PNG()
}

// lines is the panel, with a mark on its axis for each point that was measured.
func (p panel) lines(points []point) figure.Lines {
	stock, ours := figure.Curve{Name: "stock Gorgonia", Dashed: true}, figure.Curve{Name: "Kernelfold"}
	var ticks plot.ConstantTicks
	for _, q := range points {
		if q.Series == p.series {
			x := float64(q.X)
			stock.Add(x, p.value(q.Stock))
			ours.Add(x, p.value(q.Ours))
			ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprint(q.X)})
		}
	}
	return figure.Lines{
		Title:  p.title,
		X:      figure.Axis{Label: axes[p.series], Ticks: ticks},
		Y:      figure.Axis{Label: p.label, Zero: true},
		Curves: []figure.Curve{stock, ours},
	}
}
