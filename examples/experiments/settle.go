// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"text/tabwriter"

	"gonum.org/v1/gonum/stat"
)

// measuredArm is an arm with its runs.
type measuredArm struct {
	arm
	runs []measuredRun // of all omegas and seeds that were run
}

// measuredRun is a run and the omega that its learning rate stands for.
type measuredRun struct {
	omega float64
	outcome
}

// at returns the runs at an omega.
func (a measuredArm) at(omega float64) (runs []outcome) {
	for _, r := range a.runs {
		if r.omega == omega {
			runs = append(runs, r.outcome)
		}
	}
	return runs
}

// measured returns the runs of arms that there are, with seeds up to a number.
func (r *results) measured(list []arm, rates []float64, seeds int) (all []measuredArm) {
	for _, a := range list {
		m := measuredArm{arm: a}
		for _, o := range rates {
			for seed := range seeds {
				if s := a.spec(o, seed+1); r.has(s) {
					m.runs = append(m.runs, measuredRun{omega: o, outcome: r.of(s)})
				}
			}
		}
		all = append(all, m)
	}
	return all
}

// fitAll returns the accuracies and the answers of all runs, and the peak of each arm.
func fitAll(all []measuredArm, rates []float64, seeds int) (y []float64, answers []bits, peaks []peak, err error) {
	for _, a := range all {
		at := make([]int, len(a.runs))
		for k, r := range a.runs {
			at[k] = len(y)
			y, answers = append(y, r.Accuracy), append(answers, r.Correct)
		}
		p := newPeak(a, at, rates)
		for s := range seeds {
			if !slices.Contains(p.seed, s) {
				return nil, nil, nil, fmt.Errorf("%s: want a run with seed %d among the learning rates that are fitted, got none", a.name, s+1)
			}
		}
		peaks = append(peaks, p)
	}
	return y, answers, peaks, nil
}

// settle adds the tables: every cell, every arm at its best, every comparison.
func (c *campaign) settle(all []measuredArm, rates []float64) error {
	if len(all) == 0 {
		return nil
	}
	y, answers, peaks, err := fitAll(all, rates, c.seeds)
	if err != nil {
		return err
	}
	// The maxima as they are, and in each replicate.
	maxima := make([][]float64, len(all)) // over the seeds
	drawn := make([][]float64, len(all))
	where := make([]float64, len(all))
	for i, p := range peaks {
		maxima[i], where[i] = p.of(y, c.seeds)
	}
	resample(answers, c.Test, c.seeds, func(y []float64, seeds []int) {
		for i, p := range peaks {
			best, _ := p.of(y, c.seeds)
			sum := 0.0
			for _, s := range seeds {
				sum += best[s]
			}
			drawn[i] = append(drawn[i], sum/float64(len(seeds)))
		}
	})
	c.omegaTable(all, rates)
	c.peakTable(all, maxima, drawn, where)
	if err := c.plotOmega(all, rates, where); err != nil {
		return err
	}
	mean, draws := map[string]float64{}, map[string][]float64{}
	for i, a := range all {
		mean[a.name], draws[a.name] = stat.Mean(maxima[i], nil), drawn[i]
	}
	verdicts := judge(comparisons(), mean, draws)
	if len(verdicts) == 0 {
		return nil
	}
	c.comparisonTable(verdicts)
	return c.plotVerdicts(verdicts)
}

func (c *campaign) omegaTable(all []measuredArm, rates []float64) {
	fmt.Fprintf(&c.table, "%s, %d and %d seeds: test accuracy (%%) by omega = rate / r0^2\n\n", c.Experiment, min(c.seeds, firstSeeds), c.seeds)
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "arm")
	for _, r := range rates {
		fmt.Fprintf(t, "\t%g", r)
	}
	fmt.Fprintln(t, "\tfailed")
	for _, a := range all {
		fmt.Fprint(t, a.name)
		failed := 0
		for _, o := range rates {
			cell := a.at(o)
			for _, r := range cell {
				if c.failed(r) {
					failed++
				}
			}
			fmt.Fprintf(t, "\t%s", percent(interval(accuracies(cell))))
		}
		fmt.Fprintf(t, "\t%d of %d\n", failed, len(a.runs))
	}
	_ = t.Flush() // a strings.Builder does not fail
	fmt.Fprintln(&c.table)
}

func (c *campaign) peakTable(all []measuredArm, maxima, drawn [][]float64, where []float64) {
	fmt.Fprintf(&c.table, "%s: the fitted maximum of each arm, with 95%% intervals over seeds (Student t), and over seeds and test images (bootstrap)\n\n", c.Experiment)
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "arm\tomega\ttest\tover seeds and images\tangle of a step (degrees) after epoch 1\tafter half of them")
	for i, a := range all {
		low, high := quantiles(drawn[i], 0.025)
		near := a.nearest(math.Exp2(where[i]))
		first, half := a.angle(near, 0, c.Epochs), a.angle(near, (c.Epochs-1)/2, c.Epochs)
		fmt.Fprintf(t, "%s\t%.3g\t%s\t%.1f to %.1f\t%.2f\t%.2f\n", a.name, math.Exp2(where[i]), percent(interval(maxima[i])), 100*low, 100*high, first, half)
	}
	_ = t.Flush()
	fmt.Fprintln(&c.table)
}

func (c *campaign) comparisonTable(list []verdict) {
	fmt.Fprintf(&c.table, "%s: differences of the maxima in points, over seeds and test images (bootstrap)\n\n", c.Experiment)
	t := tabwriter.NewWriter(&c.table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "question\tdifference\tmean\t90% interval\twith Holm's correction\tverdict")
	for _, v := range list {
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%.2f to %.2f\t%.2f to %.2f\t%s\n", v.question, v.name, 100*v.mean, 100*v.low, 100*v.high, 100*v.from, 100*v.to, v)
	}
	_ = t.Flush()
	fmt.Fprintln(&c.table)
}
