// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

const (
	interest = 0.005 // the smallest effect of interest, a share of the test images
	level    = 0.05  // of all comparisons together
)

// comparison asks whether the best arm of one list beats the best of another, each at its best omega.
type comparison struct {
	question, name string
	of, against    []string
}

// comparisons are all that were fixed before the runs. They are corrected together.
func comparisons() []comparison {
	free := []string{freeArm, "free, decay", "free, norm √2", "free, norm √2, decay"}
	members := []string{"slices on the sphere", "slices on oblique", "slices on Stiefel"}
	one := func(question, a string, against ...string) comparison {
		b := "the best free arm"
		switch {
		case len(against) == 1:
			b = against[0]
		case against[0] == members[0]:
			b = "its best member"
		}
		return comparison{question, a + " - " + b, []string{a}, against}
	}
	return []comparison{
		one("1", "sphere", free...),
		one("1", "centred sphere", free...),
		one("1", "Stiefel bank", free...),
		one("1", "slices on the sphere", free...),
		one("2", "sphere, sampled g_t", "sphere"),
		one("2", "sphere, predictable g_t", "sphere"),
		one("3", "PIO", members...),
		one("3", "PIO with Euclidean", append(slices.Clip(members), freeArm)...),
		one("4", "free, Muon", free...),
		one("4", "sphere, Muon", "sphere"),
		one("4", "Stiefel bank, Muon", "Stiefel bank"),
	}
}

// verdict is the result of a comparison.
type verdict struct {
	comparison
	mean      float64
	low, high float64 // the 90 % interval
	p         float64 // two-sided
	from, to  float64 // the interval with Holm's correction
	held      bool    // by Holm's procedure the difference is not 0
}

// String is better, worse, equal or undecided.
func (v verdict) String() string {
	var words []string
	switch {
	case v.held && v.from > 0:
		words = append(words, "better")
	case v.held && v.to < 0:
		words = append(words, "worse")
	}
	if -interest < v.low && v.high < interest {
		words = append(words, "equal")
	}
	if words == nil {
		return "undecided"
	}
	return strings.Join(words, ", but ")
}

// judge compares arms, given their mean maxima and those of the replicates. Comparisons whose arms are not there yet count for the correction too.
func judge(list []comparison, mean map[string]float64, drawn map[string][]float64) []verdict {
	var all []verdict
	var differences [][]float64 // of all, in each replicate
	for _, q := range list {
		if !has(mean, q.of) || !has(mean, q.against) {
			continue
		}
		best := func(names []string, of func(string) float64) float64 {
			v := math.Inf(-1)
			for _, name := range names {
				v = max(v, of(name))
			}
			return v
		}
		v := verdict{comparison: q}
		now := func(name string) float64 { return mean[name] }
		v.mean = best(q.of, now) - best(q.against, now)
		n := len(drawn[q.of[0]])
		d := make([]float64, n)
		below, above := 1, 1
		for k := range d {
			then := func(name string) float64 { return drawn[name][k] }
			d[k] = best(q.of, then) - best(q.against, then)
			if d[k] <= 0 {
				below++
			}
			if d[k] >= 0 {
				above++
			}
		}
		v.low, v.high = quantiles(d, 0.05)
		v.p = min(1, 2*float64(min(below, above))/float64(n+1))
		all, differences = append(all, v), append(differences, d)
	}
	// Holm: the comparison with the k-th smallest p is held against level/(m-k+1), and no other after the first that fails.
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[a].p, all[b].p) })
	held := true
	for k, i := range order {
		at := level / float64(len(list)-k)
		held = held && all[i].p <= at
		all[i].held = held
		all[i].from, all[i].to = quantiles(differences[i], at/2)
	}
	return all
}

func has(m map[string]float64, names []string) bool {
	for _, name := range names {
		if _, ok := m[name]; !ok {
			return false
		}
	}
	return true
}
