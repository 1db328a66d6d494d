// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"gonum.org/v1/plot"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
)

// png draws compute as a share of a step against ranks: a panel for each net and device, a curve for each network.
func (s scene) png() ([]byte, error) {
	const most = 1024
	var ticks plot.ConstantTicks
	for p, i := 1, 0; p <= most; p, i = p*2, i+1 {
		t := plot.Tick{Value: float64(i)}
		if i%2 == 0 {
			t.Label = fmt.Sprint(p)
		}
		ticks = append(ticks, t)
	}
	jobs, err := s.jobs()
	if err != nil {
		return nil, err
	}
	var page figure.Panels
	for _, of := range jobs {
		var row []figure.Lines
		for k, j := range of {
			l := figure.Lines{
				Title: fmt.Sprintf("%s, %d images a rank, %s", j.name, s.batch, devices[k].name),
				X:     figure.Axis{Label: "ranks", Ticks: ticks},
				Y:     figure.Axis{Label: "compute / step", Zero: true, Max: 1},
			}
			for _, w := range s.networks {
				c := figure.Curve{Name: w.name}
				for p, i := 1, 0; p <= most; p, i = p*2, i+1 {
					c.Add(float64(i), j.predict(w, p, s.batch, sphere).efficiency())
				}
				l.Curves = append(l.Curves, c)
			}
			row = append(row, l)
		}
		page.Rows = append(page.Rows, row)
	}
	return page.PNG()
}
