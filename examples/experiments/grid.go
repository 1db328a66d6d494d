// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/models"
)

// part is a list of cases with the methods and rates that are tried on each of them.
type part struct {
	cases   []string
	methods []method
	rates   []float64
}

// grid makes runs of every case, method, rate and seed, all measured on the test images, and a
// table for each case: the mean accuracy at each rate, and how many runs failed. Nothing is chosen.
func (c *campaign) grid(ctx context.Context, parts []part, net func(kase string) func(seed uint64) (*models.Model, error)) error {
	var jobs []job
	for _, p := range parts {
		for _, kase := range p.cases {
			for _, m := range p.methods {
				for _, r := range p.rates {
					for seed := range c.seeds {
						if c.wanted(kase, m.name) {
							jobs = append(jobs, job{spec: spec{kase, m.name, m.rate(r), uint64(seed + 1), false}, net: net(kase), solver: m.solver()})
						}
					}
				}
			}
		}
	}
	c.progress.expect(len(jobs))
	if err := c.do(ctx, jobs); err != nil {
		return err
	}
	for _, p := range parts {
		for _, kase := range p.cases {
			rows := c.rows(kase, p.methods, p.rates)
			if len(rows) == 0 {
				continue
			}
			c.gridTable(kase, rows, p.rates)
			if err := c.plotGrid(kase, rows, p.rates); err != nil {
				return err
			}
		}
	}
	return nil
}

// row is a method in a grid.
type row struct {
	method
	cells [][]outcome // at each rate, the seeds
}

func (c *campaign) rows(kase string, methods []method, rates []float64) []row {
	var rows []row
	for _, m := range methods {
		if !c.wanted(kase, m.name) {
			continue
		}
		r := row{method: m}
		for _, rate := range rates {
			var cell []outcome
			for seed := range c.seeds {
				cell = append(cell, c.results.of(spec{kase, m.name, m.rate(rate), uint64(seed + 1), false}))
			}
			r.cells = append(r.cells, cell)
		}
		rows = append(rows, r)
	}
	return rows
}

// gridTable adds the table of a case.
func (c *campaign) gridTable(kase string, rows []row, rates []float64) {
	fmt.Fprintf(&c.table, "%s: %s, %d runs a cell: test accuracy (%%) by learning rate\n\n", c.Experiment, kase, c.seeds)
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "method")
	for _, r := range rates {
		fmt.Fprintf(t, "\t%g", r)
	}
	fmt.Fprintln(t, "\tfailed")
	for _, r := range rows {
		fmt.Fprint(t, r.name)
		if r.times != 0 {
			fmt.Fprintf(t, " (rates x %g)", r.times)
		}
		failed := 0
		for _, cell := range r.cells {
			fmt.Fprintf(t, "\t%s", percent(interval(accuracies(cell))))
			for _, o := range cell {
				if c.failed(o) {
					failed++
				}
			}
		}
		fmt.Fprintf(t, "\t%d of %d\n", failed, len(rates)*c.seeds)
	}
	_ = t.Flush() // a strings.Builder does not fail
	fmt.Fprintln(&c.table)
}
