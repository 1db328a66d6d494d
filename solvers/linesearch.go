// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
	"math"
)

// trial is a step length t with the cost and its derivative along the curve at t.
type trial struct{ t, cost, slope float64 }

// search finds a step length along a curve, for a cost phi(t) with phi'(0) < 0. It accepts a trial if
//
//	phi(t) <= reference + decrease t phi'(0)    and    |phi'(t)| <= curvature |phi'(0)|
//
// With the reference phi(0) these are the strong Wolfe conditions. With an average of the last costs the search is
// nonmonotone (Zhang, Hager, SIAM J. Optim. 2004). Where -t phi'(0) < noise, rounding errors hide the decrease, and phi(t) <= hidden
// is enough in place of the first: the slopes decide, as in the approximate Wolfe conditions of Hager and Zhang (SIAM J. Optim. 2005,
// equation 4.1).
//
// A trial within a bracket is the minimum of the cubic with the costs and slopes of its ends, or, where the
// costs differ by no more than noise, the zero of the line through the slopes.
type search struct {
	decrease, curvature float64
	memory              float64 // of the average of costs, in which the cost k steps ago has the weight memory^k
	reference           float64 // phi(0) at least
	noise, hidden       float64 // a bound of the rounding errors of the cost, and the highest cost that they may make of the lowest
	shortest            float64 // a bracket narrower than this ends the search
	trials              int     // at most
}

// errNoStep is returned by a search that found no lower cost.
var errNoStep = errors.New("no step lowers the cost")

// along returns the accepted trial; t is the first step length to try. An undefined cost counts as infinite.
// If no trial is accepted, it returns the one with the lowest cost that fulfils the condition of Armijo, and
// evaluates it once more, so that the trial returned is always the last one evaluated.
func (s search) along(phi func(t float64) (trial, error), from trial, t float64) (trial, error) {
	lo, before, hi := from, from, trial{t: math.Inf(1)}
	best := from
	for range s.trials {
		p, err := phi(t)
		if u := (undefined{}); errors.As(err, &u) {
			p, err = trial{t, math.Inf(1), math.NaN()}, nil
		}
		if err != nil {
			return p, err
		}
		armijo := s.reference + s.decrease*t*from.slope
		if -t*from.slope < s.noise && !(hi.slope < 0) { // with hi.slope < 0 the gradient is wrong: the cost rose where it says that it falls
			armijo = max(armijo, s.hidden)
		}
		if p.cost <= armijo && math.Abs(p.slope) <= -s.curvature*from.slope {
			return p, nil
		}
		if p.cost <= armijo && p.cost < best.cost {
			best = p
		}
		switch {
		case !(p.cost <= min(armijo, lo.cost)+s.noise) || p.slope >= 0:
			hi = p
		default:
			before, lo = lo, p
		}
		if math.IsInf(hi.t, 1) {
			t = beyond(before, lo)
		} else {
			t = s.between(lo, hi)
		}
		if !(t > lo.t && t < hi.t) || hi.t-lo.t < s.shortest {
			break
		}
	}
	if best.t == 0 {
		return from, errNoStep
	}
	return phi(best.t)
}

// beyond returns the next trial if the cost still falls at b: the zero of the slope, extrapolated from a and b, within limits.
func beyond(a, b trial) float64 {
	width := b.t - a.t
	t := b.t - b.slope*width/(b.slope-a.slope)
	if !(b.slope > a.slope) {
		t = math.Inf(1)
	}
	return min(max(t, b.t+width/2), b.t+9*width)
}

// between is the next trial in the bracket, at least a tenth of it away from the ends.
func (s search) between(lo, hi trial) float64 {
	width := hi.t - lo.t
	t := lo.t + 0.1*width
	if !math.IsInf(hi.cost, 1) {
		t = cubic(lo, hi)
		if math.Abs(hi.cost-lo.cost) <= s.noise && hi.slope > 0 {
			t = lo.t - lo.slope*width/(hi.slope-lo.slope)
		}
		if !(t > lo.t && t < hi.t) {
			t = lo.t + width/2
		}
	}
	return min(max(t, lo.t+0.1*width), hi.t-0.1*width)
}

// cubic is the minimum of the cubic with the costs and slopes of a and b.
func cubic(a, b trial) float64 {
	width := b.t - a.t
	d := a.slope + b.slope - 3*(b.cost-a.cost)/width
	r := math.Sqrt(d*d - a.slope*b.slope)
	return b.t - width*(b.slope+r-d)/(b.slope-a.slope+2*r)
}
