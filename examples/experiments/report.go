// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// report adds the table of tuned methods and draws their plots.
func (c *campaign) report(kase string, all []tuned) error {
	if len(all) == 0 {
		return nil
	}
	c.tunedTable(kase, all)
	suffix := ""
	if kase != "" {
		suffix = "-" + strings.ReplaceAll(kase, " ", "-")
	}
	if err := c.plotIntervals(kase, suffix+"-accuracy.png", all); err != nil {
		return err
	}
	return c.plotSearch(kase, suffix+"-rates.png", all)
}

// tunedTable adds the table: the chosen rate, the mean test accuracy and that of the differences from
// Euclidean SGD of the same seed, which has the same first weights and the same batches, each
// with its 95% interval.
func (c *campaign) tunedTable(kase string, all []tuned) {
	title := c.Experiment
	if kase != "" {
		title += ": " + kase
	}
	fmt.Fprintf(&c.table, "%s, n = %d, mean ± 95%% interval (Student t) in %%\n\n", title, c.seeds)
	var reference *tuned
	for i := range all {
		if all[i].name == euclidean.name {
			reference = &all[i]
		}
	}
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "method\tlearning rate\tvalidation\ttest\ttest minus Euclidean SGD\tfailed")
	for i := range all {
		m := &all[i]
		rate := fmt.Sprintf("%.3g", m.best)
		if m.edge {
			rate += " (end of the grid)"
		}
		validation, failed, difference := 0.0, 0, "-"
		for _, at := range m.finalists {
			validation = max(validation, m.validation(at))
		}
		for _, o := range m.final {
			if c.failed(o) {
				failed++
			}
		}
		if reference != nil && m != reference {
			difference = percent(interval(minus(m.final, reference.final)))
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%s\t%s\t%d\n", m.name, rate, 100*validation, percent(interval(accuracies(m.final))), difference, failed)
	}
	_ = t.Flush() // a strings.Builder does not fail
	fmt.Fprintln(&c.table)
}
