// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// tooFar is the largest amount by which the mean accuracy at an omega may be below the best of its arm for the omega to be fitted.
const tooFar = 0.05

// peak is the fitted maximum of an arm,
//
//	accuracy(seed, omega) = a_seed + b u + c u^2,    u = log2(omega),
//
// by least squares over the omegas that are fitted, at its largest value between the smallest and the largest of these.
type peak struct {
	runs []int // that are fitted
	seed []int // of each, from 0
	u    []float64
	// degree is 2, or less if there are too few omegas.
	degree int
}

// newPeak chooses the omegas that are fitted, by the accuracies as they are.
func newPeak(a measuredArm, at []int, rates []float64) peak {
	best := 0.0
	for _, o := range rates {
		if m := a.mean(o); m > best { // not NaN, of an omega without runs
			best = m
		}
	}
	p := peak{degree: -1}
	for _, o := range rates {
		if !(a.mean(o) >= best-tooFar) {
			continue
		}
		p.degree = min(p.degree+1, 2)
		for i, r := range a.runs {
			if r.omega == o {
				p.runs, p.seed, p.u = append(p.runs, at[i]), append(p.seed, int(r.Seed)-1), append(p.u, math.Log2(o))
			}
		}
	}
	return p
}

// of returns the maximum for each seed, and where it is. y is the accuracy of each run of the campaign.
func (p peak) of(y []float64, seeds int) (best []float64, u float64) {
	n := make([]float64, seeds)
	my, mu, mv := make([]float64, seeds), make([]float64, seeds), make([]float64, seeds)
	for i, r := range p.runs {
		s := p.seed[i]
		n[s]++
		my[s] += y[r]
		mu[s] += p.u[i]
		mv[s] += p.u[i] * p.u[i]
	}
	for s := range n {
		my[s], mu[s], mv[s] = my[s]/n[s], mu[s]/n[s], mv[s]/n[s]
	}
	// Within seeds: the normal equations of b and c.
	var uu, uv, vv, uy, vy float64
	for i, r := range p.runs {
		s := p.seed[i]
		du, dv, dy := p.u[i]-mu[s], p.u[i]*p.u[i]-mv[s], y[r]-my[s]
		uu, uv, vv, uy, vy = uu+du*du, uv+du*dv, vv+dv*dv, uy+du*dy, vy+dv*dy
	}
	var b, c float64
	switch p.degree {
	case 2:
		det := uu*vv - uv*uv
		b, c = (uy*vv-vy*uv)/det, (vy*uu-uy*uv)/det
	case 1:
		b = uy / uu
	}
	low, high := slices.Min(p.u), slices.Max(p.u)
	height := func(u float64) float64 { return b*u + c*u*u }
	u = low
	if height(high) > height(u) {
		u = high
	}
	if c < 0 {
		if top := -b / (2 * c); low < top && top < high {
			u = top
		}
	}
	for s := range n {
		best = append(best, my[s]-b*mu[s]-c*mv[s]+height(u))
	}
	return best, u
}
