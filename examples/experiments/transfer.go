// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"gonum.org/v1/gonum/stat"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/examples/internal/figure"
	"github.com/kernelfold/kernelfold/models/images"
)

// transfer asks whether what omega has found holds for a deeper net: ResNet-20, each arm at the omega of the grid that is nearest to its
// maximum there. Two arms are also trained on images without crops and flips.
var transfer = experiment{
	"transfer",
	size{Train: 28000, Validation: 2000, Test: 10000, Epochs: 10, Batch: 64, seeds: 3},
	size{Train: 64, Validation: 32, Test: 48, Epochs: 1, Batch: 32, seeds: 2},
	func(ctx context.Context, c *campaign) error {
		depth := 20
		if c.quick {
			depth = 8
		}
		best, err := c.bestOfOmega()
		if err != nil {
			return err
		}
		jobs := c.transferJobs(depth, best)
		c.progress.expect(len(jobs))
		if err := c.do(ctx, jobs); err != nil {
			return err
		}
		for _, kase := range transferCases {
			var all []measuredArm
			for _, a := range c.transferred(kase) {
				m := measuredArm{arm: a}
				for seed := range c.seeds {
					m.runs = append(m.runs, measuredRun{omega: best[a.name], outcome: c.results.of(a.in(kase, best, seed))})
				}
				all = append(all, m)
			}
			if err := c.transferTable(kase, all); err != nil {
				return err
			}
		}
		return nil
	},
}

// transferJobs returns all runs, of nets of a depth, with the omega that is best for each arm.
func (c *campaign) transferJobs(depth int, best map[string]float64) (jobs []job) {
	for seed := range c.seeds {
		for _, kase := range transferCases {
			for _, a := range c.transferred(kase) {
				j := c.omegaJob(depth, a, a.in(kase, best, seed))
				if kase == bare {
					j.options.Augment = images.Augmentation{}
				}
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}

// in is the run of an arm in a case, with its best omega.
func (a arm) in(kase string, best map[string]float64, seed int) spec {
	s := a.spec(best[a.name], seed+1)
	s.Case = kase
	return s
}

// Cases of transfer.
const (
	varied = "crops and flips"
	bare   = "no augmentation"
)

var transferCases = []string{varied, bare}

// transferred returns the arms of a case. They are those that stand for a question, and were chosen before the runs of omega.
func (c *campaign) transferred(kase string) (list []arm) {
	names := []string{freeArm, "free, norm √2, decay", "sphere", "Stiefel bank", "PIO", "Stiefel bank, Muon"}
	if kase == bare {
		names = []string{freeArm, "Stiefel bank"}
	}
	for _, a := range arms() {
		if slices.Contains(names, a.name) && c.wanted(kase, a.name) {
			list = append(list, a)
		}
	}
	return list
}

// bestOfOmega returns the omega of the grid that is nearest to the maximum of each arm, by the results of omega.
func (c *campaign) bestOfOmega() (map[string]float64, error) {
	best := map[string]float64{}
	if c.from == "" {
		if !c.quick {
			return nil, cli.Usage("want -from with the results of omega, whose learning rates %s has", c.Experiment)
		}
		for _, a := range arms() {
			best[a.name] = 0.03
		}
		return best, nil
	}
	r, err := readResults(c.from)
	switch {
	case err != nil:
		return nil, fmt.Errorf("-from: %w", err)
	case r.Settings.Experiment != omega.name:
		return nil, fmt.Errorf("-from: %s: want results of %s, got those of %s", c.from, omega.name, r.Settings.Experiment)
	}
	seeds := 0
	for _, o := range r.Runs {
		seeds = max(seeds, int(o.Seed))
	}
	var list []arm
	for _, kase := range transferCases {
		for _, a := range c.transferred(kase) {
			if !slices.ContainsFunc(list, func(b arm) bool { return b.name == a.name }) {
				list = append(list, a)
			}
		}
	}
	all := r.measured(list, omegas, seeds)
	y, _, peaks, err := fitAll(all, omegas, seeds)
	if err != nil {
		return nil, fmt.Errorf("-from: %s: %w", c.from, err)
	}
	for i, p := range peaks {
		_, u := p.of(y, seeds)
		best[list[i].name] = all[i].nearest(math.Exp2(u))
	}
	return best, nil
}

// transferTable adds the table of a case, and draws it: test accuracy, and the difference from the control over seeds and test images.
func (c *campaign) transferTable(kase string, all []measuredArm) error {
	if len(all) == 0 {
		return nil
	}
	var answers []bits
	for _, a := range all {
		for _, r := range a.runs {
			answers = append(answers, r.Correct)
		}
	}
	drawn := make([][]float64, len(all))
	resample(answers, c.Test, c.seeds, func(y []float64, seeds []int) {
		for i := range all {
			sum := 0.0
			for _, s := range seeds {
				sum += y[i*c.seeds+s]
			}
			drawn[i] = append(drawn[i], sum/float64(len(seeds)))
		}
	})
	mean, draws := map[string]float64{}, map[string][]float64{}
	var list []comparison
	for i, a := range all {
		mean[a.name], draws[a.name] = stat.Mean(accuracies(a.at(a.runs[0].omega)), nil), drawn[i]
		if a.name != freeArm {
			list = append(list, comparison{name: a.name + " - " + freeArm, of: []string{a.name}, against: []string{freeArm}})
		}
	}
	verdicts := judge(list, mean, draws)
	fmt.Fprintf(&c.table, "%s: %s, n = %d, test accuracy (%%) with 95%% intervals over seeds (Student t); differences in points over seeds and test images (bootstrap)\n\n", c.Experiment, kase, c.seeds)
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "arm\tomega\ttest\tminus free\t90% interval\twith Holm's correction\tverdict")
	f := figure.Intervals{Title: c.title("ResNet-20 minus free kernels, 90 % intervals", kase, false), X: differenceAxis}
	for _, a := range all {
		runs := a.at(a.runs[0].omega)
		fmt.Fprintf(t, "%s\t%g\t%s", a.name, a.runs[0].omega, percent(interval(accuracies(runs))))
		at := slices.IndexFunc(verdicts, func(v verdict) bool { return v.of[0] == a.name })
		if at < 0 {
			fmt.Fprintln(t, "\t-\t-\t-\t-")
			continue
		}
		v := verdicts[at]
		fmt.Fprintf(t, "\t%.2f\t%.2f to %.2f\t%.2f to %.2f\t%s\n", 100*v.mean, 100*v.low, 100*v.high, 100*v.from, 100*v.to, v)
		f.Rows = append(f.Rows, v.row())
	}
	_ = t.Flush() // a strings.Builder does not fail
	fmt.Fprintln(&c.table)
	if len(f.Rows) == 0 {
		return nil
	}
	return c.save("-"+strings.ReplaceAll(kase, " ", "-")+".png", f)
}
