// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
)

// tuned is a method whose learning rate is chosen on the validation images, with its results.
type tuned struct {
	method
	search    [][]outcome // at each rate, one run, and more at the two best
	finalists []int       // the two best of the rates
	best      float64     // the better one of them
	edge      bool        // it is the lowest or the highest of all
	final     []outcome   // with the seeds, measured on the test images
}

// tuned makes, for each method,
//
//	one run with each rate and the seed 0, measured on the validation images,
//	so many runs as c.again with seeds of their own with each of the two rates that were best,
//	runs with the seeds 1, 2, ... and the better one of these in the mean, measured on the test images.
//
// The second round is there because one run scatters more than neighbouring rates differ.
func (c *campaign) tuned(ctx context.Context, kase string, methods []method, rates []float64, make func(method, spec) job) ([]tuned, error) {
	var all []tuned
	for _, m := range methods {
		if c.wanted(kase, m.name) {
			all = append(all, tuned{method: m, search: slices.Repeat([][]outcome{nil}, len(rates))})
		}
	}
	round := func(specs func(t *tuned) []spec, into func(t *tuned, i int, o outcome)) error {
		var jobs []job
		for i := range all {
			for _, s := range specs(&all[i]) {
				jobs = append(jobs, make(all[i].method, s))
			}
		}
		if err := c.do(ctx, jobs); err != nil {
			return err
		}
		for i := range all {
			for k, s := range specs(&all[i]) {
				into(&all[i], k, c.results.of(s))
			}
		}
		return nil
	}
	if err := round(func(t *tuned) (list []spec) {
		for _, r := range rates {
			list = append(list, spec{kase, t.name, t.rate(r), 0, true})
		}
		return list
	}, func(t *tuned, i int, o outcome) { t.search[i] = []outcome{o} }); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].finalists = twoBest(len(rates), all[i].validation)
	}
	if err := round(func(t *tuned) (list []spec) {
		for _, at := range t.finalists {
			for seed := range c.again {
				list = append(list, spec{kase, t.name, t.rate(rates[at]), againSeed + uint64(seed), true})
			}
		}
		return list
	}, func(t *tuned, i int, o outcome) {
		at := t.finalists[i/c.again]
		t.search[at] = append(t.search[at], o)
	}); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].choose()
	}
	err := round(func(t *tuned) (list []spec) {
		for seed := range c.seeds {
			list = append(list, spec{kase, t.name, t.best, uint64(seed + 1), false})
		}
		return list
	}, func(t *tuned, _ int, o outcome) { t.final = append(t.final, o) })
	return all, err
}

// againSeed is the first seed of the second round, which no other run has.
const againSeed = 1000

// expectTuned tells the progress how many runs tuned will make.
func (c *campaign) expectTuned(kase string, methods []method, rates []float64) {
	for _, m := range methods {
		if c.wanted(kase, m.name) {
			c.progress.expect(len(rates) + c.again*min(2, len(rates)) + c.seeds)
		}
	}
}

// validation returns the mean accuracy of the search at a rate.
func (t *tuned) validation(rate int) float64 {
	mean, _ := interval(accuracies(t.search[rate]))
	return mean
}

// twoBest returns the two of n rates with the highest accuracies, of equals the lower ones, in their order.
func twoBest(n int, accuracy func(rate int) float64) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(accuracy(b), accuracy(a)) })
	at = at[:min(2, len(at))]
	slices.Sort(at)
	return at
}

// choose chooses the better one of the two best rates.
func (t *tuned) choose() {
	at := t.finalists[0]
	for _, i := range t.finalists {
		if t.validation(i) > t.validation(at) {
			at = i
		}
	}
	t.best, t.edge = t.search[at][0].Rate, at == 0 || at == len(t.search)-1
}
