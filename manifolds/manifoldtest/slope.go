// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

const (
	slopeTolerance = 0.1 // what a fitted slope may fall short of its order
	slopeWindow    = 9   // points of the best window, two decades
)

// steps are the t of a slope, four a decade. At the smallest, the residual of a
// quadratic is 1e-10, far above rounding.
var steps = func() []float64 {
	ts := make([]float64, 17)
	for i := range ts {
		ts[i] = math.Pow(10, -5+float64(i)/4)
	}
	return ts
}()

// order asserts that residual(t) = O(t^want) for every point; residual returns
// one number a point. Residuals below noise, one number a point, are rounding. It
// does nothing in float32, whose rounding leaves no room for a slope.
func (t *trial) order(property string, want float64, noise []float64, residual func(t float64) []float64) {
	if !t.prec.double {
		return
	}
	worst, at := t.slopes(noise, residual)
	if !(worst >= want-slopeTolerance) {
		t.fail(property, fmt.Sprintf("slope %g, less %g", want, slopeTolerance), fmt.Sprintf("%.3g at point %d", worst, at))
	}
}

// slopes returns the least slope over the points, and where.
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

// slope fits log e = q log t + c by least squares over the window of t whose
// residuals e exceed noise and lie closest to a line, and returns q. Where all but
// a few e are noise it returns infinity.
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
			misfit += float64(slopeWindow - n) // a short window is straight more easily
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

// rounding is the noise in the difference of points of x's size.
func (t *trial) rounding(x manifolds.Points) []float64 { return times(4*t.tol, lengths(x)) }

// RetractionOrder measures to which order in t the retraction of m follows the
// geodesic of its exponential map: R_x(tv) - Exp_x(tv) = O(t^(q+1)), with q = 1 for
// every retraction, 2 for one of second order, and infinity where they are the
// same. The shape names the points to measure at; the worst counts. It fails for
// a manifold that is not Exponential.
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
