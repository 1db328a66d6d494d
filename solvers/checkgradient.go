// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"text/tabwriter"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
)

// CheckGradient checks the gradient of a cost f at the current weights x, parameter by parameter. Along a
// random tangent direction v, of the same norm as the weights, it measures the error of the linear model,
//
//	E(t) = |f(R_x(t v)) - f(x) - t <grad f(x), v>_x|,
//
// with the retraction R. If the gradient is right, E is O(t^2): a line of slope 2 on logarithmic axes, down
// to the level of rounding errors. If it is wrong, E is t times the error of the derivative along v: a line
// of slope 1.
//
// The cost is a function as for Minimize. The options are Tolerance, Kernels, Natural, Param and Where; With
// of the last four takes Frozen and Tolerance. Frozen parameters are not checked. Weights that are not on
// their manifold are projected for the check. On a set with a boundary, such as manifolds.SpectralBall, R_x(t
// v) is x + t v. Each parameter takes 24 evaluations. When CheckGradient returns, with or without an error,
// the weights are as before and the gradients are 0.
//
// If two runs at the same weights have different costs, as with dropout, the error is ErrUnrepeatable. Batch
// normalisations may be in training mode, but then update their running statistics in every run. In float32
// rounding errors leave a short range of usable steps or none, so more verdicts are GradientUnclear.
func CheckGradient(ctx context.Context, model []gorgonia.ValueGrad, cost func() (float64, error), opts ...Option) (GradientCheck, error) {
	c, err := new(minimizing).configure("CheckGradient", opts, 0)
	if err != nil {
		return GradientCheck{}, err
	}
	o, err := newObjective(ctx, c, model, cost)
	if err != nil {
		return GradientCheck{}, err
	}
	defer o.engine.finish()
	defer o.clear()
	defer o.restore()
	check, err := o.checkAll()
	return check, plain(err)
}

// GradientCheck is the result of CheckGradient. String prints a table of it.
type GradientCheck struct {
	Cost        float64 // at the present weights
	Evaluations int
	Parameters  []ParameterCheck
}

// ParameterCheck is the check of the gradient with respect to one parameter.
type ParameterCheck struct {
	Name     string
	Shape    tensor.Shape
	Manifold string

	// T holds the lengths of the steps, from short to long, relative to the norm of the weights, or to 1 if
	// the weights are 0. Error holds E for each of them, or NaN where the cost is not finite. Rounding
	// estimates the rounding errors of Error.
	T, Error, Rounding []float64
	// Slope is the slope of the line through the points (log T, log Error) of the shortest steps whose errors
	// exceed rounding, over at most two decades. It is NaN if there are too few such steps.
	Slope float64
	// Derivative is <grad f(x), v>_x by the gradient, and Measured the same derivative by differences of the
	// cost.
	Derivative, Measured float64
	Verdict              GradientVerdict
}

// GradientVerdict is the finding of CheckGradient for a parameter.
type GradientVerdict uint8

const (
	// GradientUnclear: rounding errors leave too short a range of steps, or the cost is not smooth.
	GradientUnclear GradientVerdict = iota
	// GradientRight: the slope is at least 1.7, or no error exceeds rounding.
	GradientRight
	// GradientWrong: the slope is at most 1.3, in a range that begins with short steps.
	GradientWrong
)

// String is "unclear", "right" or "wrong".
func (v GradientVerdict) String() string {
	switch v {
	case GradientRight:
		return "right"
	case GradientWrong:
		return "wrong"
	}
	return "unclear"
}

// Err returns a *ParameterError of the kind ErrGradient for the first parameter with a wrong gradient, and nil if there
// is none.
func (c GradientCheck) Err() error {
	for _, p := range c.Parameters {
		if p.Verdict == GradientWrong {
			return &ParameterError{Name: p.Name, Shape: p.Shape, Kind: ErrGradient,
				Cause: fmt.Sprintf("want the derivative %.6g along a tangent vector, got %.6g from the gradient: the error of the linear model is of order %.2f, not 2",
					p.Measured, p.Derivative, p.Slope)}
		}
	}
	return nil
}

// String formats the check as a table with a line for each parameter.
func (c GradientCheck) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gradients at a cost of %.6g, %d evaluations\n", c.Cost, c.Evaluations)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "parameter\tmanifold\tderivative\tmeasured\tslope\tgradient")
	for _, p := range c.Parameters {
		fmt.Fprintf(w, "%s %v\t%s\t%.5g\t%.5g\t%.2f\t%v\n", p.Name, p.Shape, p.Manifold, p.Derivative, p.Measured, p.Slope, p.Verdict)
	}
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// lengths is the number of step lengths that are tried.
const lengths = 20

// linear is the linear model of a cost at x.
type linear struct {
	*objective
	x, y       vector // y is x but for the parameter under way
	v          vector
	grad       vector // Riemannian gradient at x
	cost       float64
	from, to   int // its parts
	derivative float64
}

// checkAll checks every parameter.
func (o *objective) checkAll() (c GradientCheck, err error) {
	o.wide = true
	l := linear{objective: o, y: o.blank(), v: o.blank(), grad: o.blank()}
	if l.x, err = o.start(); err != nil {
		return c, err
	}
	if l.cost, err = o.value(l.x); err != nil {
		return c, err
	}
	if err := o.slope(l.grad); err != nil {
		return c, err
	}
	again, err := o.value(l.x)
	if err != nil {
		return c, err
	}
	if math.Abs(again-l.cost) > 1000*o.eps*math.Abs(l.cost) {
		return c, fmt.Errorf("solvers: want the same cost in two runs, got %g and %g: make the machine with gorgonia.EvalMode(), or build the graph without dropout (%w)",
			l.cost, again, ErrUnrepeatable)
	}
	if err := o.riemannian(l.grad, l.x); err != nil {
		return c, err
	}
	if err := o.combine(l.y, 1, l.x, 0, l.x); err != nil {
		return c, err
	}
	for _, p := range o.params {
		l.from, l.to = l.to, l.to+len(p.parts)
		checked, err := l.check(p)
		if err != nil {
			return c, err
		}
		c.Parameters = append(c.Parameters, checked)
	}
	c.Cost, c.Evaluations = l.cost, o.evaluations
	return c, nil
}

// check measures the errors of the model along one parameter.
func (l *linear) check(of *parameter) (ParameterCheck, error) {
	c := ParameterCheck{Name: of.name, Shape: of.shape, Manifold: manifolds.Name(of.constraint.Manifold)}
	if len(of.parts) == 1 {
		c.Manifold = manifolds.Name(of.parts[0].Manifold)
	}
	if err := l.direct(of); err != nil {
		return c, err
	}
	c.Derivative = l.derivative
	eps := 0x1p-52
	if of.precision == "float32" {
		eps = 0x1p-23
	}
	least := 0.0
	for _, t := range []float64{1, 4, 16, 64} { // so short that all is rounding
		e, rounding, err := l.error(t*eps, eps)
		if err != nil {
			return c, err
		}
		least = max(least, math.Abs(e), rounding) // NaN if one of them is
	}
	var signed []float64
	for k := range lengths {
		t := math.Pow(eps, 0.5*float64(lengths-1-k)/(lengths-1)) // from eps^(1/2) to 1
		e, rounding, err := l.error(t, eps)
		if err != nil {
			return c, err
		}
		c.T, c.Error, c.Rounding = append(c.T, t), append(c.Error, math.Abs(e)), append(c.Rounding, max(least, rounding))
		signed = append(signed, e)
	}
	c.judge(signed)
	return c, l.each(func(i int, _ *Part) error { return l.y[i].CopyFrom(l.x[i]) })
}

// direct sets v to a random tangent vector of the norm of the weights, and computes the derivative along it.
func (l *linear) direct(of *parameter) error {
	h := fnv.New64a()
	h.Write([]byte(of.name))
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	size, length := 0.0, 0.0
	for i := l.from; i < l.to; i++ {
		v := l.v[i].Data64()
		for e := range v {
			v[e] = rng.NormFloat64()
		}
		if err := l.parts[i].Manifold.Tangent(l.v[i], l.x[i], l.v[i]); err != nil {
			return l.parts[i].fail(ErrConstraint, err.Error(), err)
		}
		at, err := l.parts[i].norm(l.x[i])
		if err != nil {
			return err
		}
		along, err := l.parts[i].norm(l.v[i])
		if err != nil {
			return err
		}
		size, length = math.Hypot(size, at), math.Hypot(length, along)
	}
	if size == 0 {
		size = 1
	}
	l.derivative = 0
	for i := l.from; i < l.to; i++ {
		if err := l.v[i].Combine(size/length, l.v[i], 0, l.v[i]); err != nil {
			return err
		}
		along, err := l.parts[i].inner(l.x[i], l.grad[i], l.v[i])
		if err != nil {
			return err
		}
		l.derivative += along
	}
	return nil
}

// error returns f(R(t v)) - f - t <grad, v> and an estimate of its rounding error. Both are NaN where the cost is undefined.
func (l *linear) error(t, eps float64) (e, rounding float64, err error) {
	for i := l.from; i < l.to; i++ {
		if l.parts[i].bound.properties.Convex { // the retraction has a corner at the boundary
			err = l.y[i].Combine(1, l.x[i], t, l.v[i])
		} else {
			err = l.parts[i].retract(l.y[i], l.x[i], l.v[i], t)
		}
		if err != nil {
			return math.NaN(), math.NaN(), nil
		}
	}
	f, err := l.value(l.y)
	if errors.As(err, &undefined{}) {
		return math.NaN(), math.NaN(), nil
	}
	e = f - l.cost - t*l.derivative
	return e, eps * (math.Abs(l.cost) + math.Abs(f) + math.Abs(t*l.derivative)), err
}

// judge fits the line and gives the verdict. The range of the fit begins where three consecutive errors
// exceed rounding. It ends after two decades, or earlier at steps so long that terms of higher order matter.
// If it does not begin with short steps, a slope of 1 may also come from a corner of the cost.
func (c *ParameterCheck) judge(signed []float64) {
	c.Measured, c.Slope = c.Derivative, math.NaN()
	above := func(k int) bool { return c.Error[k] > 10*c.Rounding[k] }
	none, first := true, 0
	for k, e := range c.Error {
		none = none && e <= 10*c.Rounding[k]
	}
	if none {
		c.Verdict = GradientRight
		return
	}
	for first+2 < lengths && !(above(first) && above(first+1) && above(first+2)) {
		first++
	}
	var t, e []float64
	for k := first; k < lengths && above(k) && c.T[k] <= min(100*c.T[first], 0.5); k++ {
		t, e = append(t, math.Log(c.T[k])), append(e, math.Log(c.Error[k]))
	}
	if len(t) < 3 {
		return
	}
	c.Measured = c.Derivative + signed[first]/c.T[first]
	c.Slope = slope(t, e)
	switch {
	case c.Slope >= 1.7:
		c.Verdict = GradientRight
	case c.Slope <= 1.3 && c.T[first] <= 10*c.T[0]:
		c.Verdict = GradientWrong
	}
}

// slope returns the slope of the least-squares line through the points.
func slope(x, y []float64) float64 {
	mx, my, n := 0.0, 0.0, float64(len(x))
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	xy, xx := 0.0, 0.0
	for i := range x {
		xy, xx = xy+(x[i]-mx)*(y[i]-my), xx+(x[i]-mx)*(x[i]-mx)
	}
	return xy / xx
}
