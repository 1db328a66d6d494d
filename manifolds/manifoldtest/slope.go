// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

const (
	slopeTolerance = 0.1 // the amount by which a fitted slope may be below its order
	slopeWindow    = 9   // points in a window: two decades
)

// steps are the values of t for a slope, four per decade. At the smallest, a residual of order t^2 is
// 1e-10, far above rounding.
var steps = func() []float64 {
	ts := make([]float64, 17)
	for i := range ts {
		ts[i] = math.Pow(10, -5+float64(i)/4)
	}
	return ts
}()

// order asserts that residual(t) = O(t^want) for every point. residual and noise hold one number per
// point; residuals below noise are rounding errors. In float32 it checks nothing, because rounding
// errors hide the slope.
func (t *trial) order(property string, want float64, noise []float64, residual func(t float64) []float64) {
	if !t.prec.double {
		return
	}
	worst, at := t.slopes(noise, residual)
	if !(worst >= want-slopeTolerance) {
		t.fail(property, fmt.Sprintf("slope %g, less %g", want, slopeTolerance), fmt.Sprintf("%.3g at point %d", worst, at))
	}
}

// slopes returns the smallest slope over the points, and the index of its point.
func (t *trial) slopes(noise []float64, residual func(t float64) []float64) (worst float64, at int) {
	es := make([][]float64, len(noise))
	for _, s := range steps {
		for k, e := range residual(s) {
			es[k] = append(es[k], e)
		}
	}
	worst = math.Inf(1)
	for k := range es {
		if q := slope(steps, es[k], noise[k]); !(q >= worst) {
			worst, at = q, k
		}
	}
	return worst, at
}

// slope fits log e = q log t + c by least squares and returns q. It uses the window of t in which all
// residuals e exceed noise and lie closest to a line. If there are too few such residuals it returns
// infinity.
func slope(ts, es []float64, noise float64) float64 {
	best, q := math.Inf(1), math.Inf(1)
	for _, e := range es {
		if math.IsNaN(e) || math.IsInf(e, 0) {
			return math.NaN()
		}
	}
	for from := range ts {
		to := from
		for to < len(ts) && es[to] > noise && to-from < slopeWindow {
			to++
		}
		if n := to - from; n >= 3 {
			s, misfit := fit(ts[from:to], es[from:to])
			misfit += float64(slopeWindow - n) // prefer long windows; short ones fit too easily
			if misfit < best {
				best, q = misfit, s
			}
		}
	}
	return q
}

// fit returns the slope of log e over log t and the root mean square misfit.
func fit(ts, es []float64) (slope, misfit float64) {
	n := float64(len(ts))
	var sx, sy, sxx, sxy, syy float64
	for i := range ts {
		x, y := math.Log(ts[i]), math.Log(es[i])
		sx, sy, sxx, sxy, syy = sx+x, sy+y, sxx+x*x, sxy+x*y, syy+y*y
	}
	sxx, sxy, syy = sxx-sx*sx/n, sxy-sx*sy/n, syy-sy*sy/n
	slope = sxy / sxx
	return slope, math.Sqrt(max(0, syy-slope*sxy) / n)
}

// rounding returns the rounding error of the difference of two points of the size of x.
func (t *trial) rounding(x manifolds.Points) []float64 { return times(4*t.tol, lengths(x)) }

// RetractionOrder measures the order q of the retraction of m: R_x(tv) - Exp_x(tv) = O(t^(q+1)).
// Every retraction has q >= 1, one of second order has q = 2, and q is infinite if the retraction
// is the exponential map. It measures at a batch of the given shape and returns the smallest order.
// It fails for a manifold that is not Exponential.
func RetractionOrder(m manifolds.Manifold, s Shape) (q float64, err error) {
	if _, err := admit(m, []Shape{s}); err != nil {
		return 0, err
	}
	if !has[manifolds.Exponential](m) {
		return 0, fmt.Errorf("manifoldtest: %s: want an exponential map to compare with", manifolds.Name(m))
	}
	t := newTrial(m, "retraction order", double, s)
	defer func() {
		if r := recover(); r == (abandon{}) {
			err = t.failures[0]
		} else if r != nil {
			panic(r)
		}
	}()
	x := t.point()
	v := t.vector(x, 1)
	q, _ = t.slopes(t.rounding(x), func(s float64) []float64 {
		return norms(minus(t.retract(x, scaled(s, v)), t.exp(x, scaled(s, v))))
	})
	return q - 1, nil
}
