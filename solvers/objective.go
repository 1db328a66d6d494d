// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// CostOf turns a machine into the function that Minimize and CheckGradient need: it runs vm, resets it, and
// returns the scalar in cost, to which gorgonia.Read writes. Make the machine by gorgonia.NewTapeMachine with
// the option BindDualValues for the parameters.
//
//	var cost gorgonia.Value
//	gorgonia.Read(node, &cost)
//	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(learnables...))
//	f := solvers.CostOf(vm, &cost)
//
// The function returns the error of a run. A nil argument, or a value that is not one float32 or float64, is its ErrParameter.
func CostOf(vm gorgonia.VM, cost *gorgonia.Value) func() (float64, error) {
	return func() (float64, error) {
		if vm == nil || cost == nil {
			return 0, fmt.Errorf("solvers: CostOf: want a machine and a value, got nil (%w)", ErrParameter)
		}
		err := vm.RunAll()
		vm.Reset()
		if err != nil {
			return 0, err
		}
		v, err := dense.Of(*cost)
		switch {
		case err != nil:
			return 0, fmt.Errorf("solvers: CostOf: %w (%w)", err, ErrParameter)
		case v.Len() != 1:
			return 0, fmt.Errorf("solvers: CostOf: want a scalar, got shape %v (%w)", v.Shape, ErrParameter)
		case v.F64 != nil:
			return v.F64[0], nil
		}
		return float64(v.F32[0]), nil
	}
}

// objective is a cost as a function on the product of the manifolds of all parameters that move.
type objective struct {
	engine      engine
	ctx         context.Context
	all         []gorgonia.ValueGrad
	model       []gorgonia.ValueGrad // those that move
	params      []*parameter
	parts       []*Part
	cost        func() (float64, error)
	before      []dense.View // the weights as they were
	evaluations int
	most        int // of evaluations
	eps         float64
	wide        bool // points and vectors are float64, whatever the weights
}

// vector holds a batch for each part: points of the product manifold, or tangent vectors.
type vector []manifolds.Points

var errEvaluations = errors.New("no evaluations are left")

// undefined is the error for a point at which the cost or its gradient is not finite, or that the retraction cannot reach.
type undefined struct{ error }

func (u undefined) Unwrap() error { return u.error }

// plain returns the error that an undefined point has.
func plain(err error) error {
	if u := (undefined{}); errors.As(err, &u) {
		return u.error
	}
	return err
}

// newObjective binds the parameters. It writes no weights.
func newObjective(ctx context.Context, c config, model []gorgonia.ValueGrad, cost func() (float64, error)) (*objective, error) {
	o := &objective{ctx: ctx, all: model, cost: cost, most: math.MaxInt, engine: engine{config: c}}
	if cost == nil {
		return nil, fmt.Errorf("solvers: want a function that computes the cost, got nil (%w)", ErrParameter)
	}
	active, err := o.engine.admit(model, false)
	if err != nil {
		return nil, err
	}
	for i, p := range active {
		if p.settings.frozen {
			continue
		}
		o.model, o.params = append(o.model, model[i]), append(o.params, p)
		o.parts = append(o.parts, p.parts...)
		o.before = append(o.before, dense.View{F32: slices.Clone(p.weights.F32), F64: slices.Clone(p.weights.F64)})
		o.eps = max(o.eps, 0x1p-52)
		if p.precision == "float32" {
			o.eps = 0x1p-23
		}
	}
	if len(o.parts) == 0 {
		return nil, fmt.Errorf("solvers: want at least one parameter that moves, got %d, all frozen (%w)", len(active), ErrParameter)
	}
	return o, nil
}

// repeatable returns an error if the graph has operations whose results differ from run to run, or
// that change in a run.
func repeatable(model []gorgonia.ValueGrad) error {
	if names := roles.Unrepeatable(nodesOf(model)...); len(names) > 0 {
		return fmt.Errorf("solvers: want a cost that is a function of the weights alone, got %s: make the machine with gorgonia.EvalMode(), or build the graph without (%w)",
			strings.Join(names, ", "), ErrUnrepeatable)
	}
	return nil
}

// nodesOf returns the parameters that are nodes.
func nodesOf(model []gorgonia.ValueGrad) (nodes []*gorgonia.Node) {
	for _, v := range model {
		if n, ok := v.(*gorgonia.Node); ok {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// start returns the current weights as points, on the manifold.
func (o *objective) start() (vector, error) {
	x := o.blank()
	return x, o.each(func(i int, p *Part) error {
		if err := copyTo(x[i], p.X); err != nil || !o.wide || p.bound.euclidean {
			return err
		}
		if err := p.Manifold.Project(x[i], x[i]); err != nil { // it was on the manifold as far as float32 can be
			return p.fail(ErrConstraint, err.Error(), err)
		}
		return nil
	})
}

// restore writes back the weights from before.
func (o *objective) restore() {
	for i, p := range o.params {
		copy(p.weights.F32, o.before[i].F32)
		copy(p.weights.F64, o.before[i].F64)
	}
}

// each calls f for every part, on several cores, and returns the first error in their order.
func (o *objective) each(f func(i int, p *Part) error) error {
	errs := make([]error, len(o.parts))
	par.InOrder(len(o.parts), func(i int) { errs[i] = f(i, o.parts[i]) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// blank returns a vector of zeros.
func (o *objective) blank() vector {
	v := make(vector, len(o.parts))
	for i, p := range o.parts {
		l := p.bound.layout
		if v[i] = p.blank(l.K, l.N, l.P); o.wide && p.single() {
			v[i], _ = manifolds.Points64(make([]float64, l.K*l.N*l.P), l.K, l.N, l.P)
		}
	}
	return v
}

// place writes x to the weights.
func (o *objective) place(x vector) error {
	return o.each(func(i int, p *Part) error {
		if err := p.write(p.bound.of.weights, x[i]); err != nil {
			return undefined{p.fail(ErrDiverged, err.Error(), err)}
		}
		return nil
	})
}

// clear zeroes the gradients: those of bound nodes add up over runs.
func (o *objective) clear() {
	for _, v := range o.all {
		if g, err := v.Grad(); err == nil {
			if g, err := dense.Of(g); err == nil {
				g.Zero()
			}
		}
	}
}

// value writes x to the weights and returns the cost. The gradients stay where they were computed. If the cost is not finite, the error is undefined.
func (o *objective) value(x vector) (float64, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	if o.evaluations == o.most {
		return 0, errEvaluations
	}
	if err := o.place(x); err != nil {
		return 0, err
	}
	o.clear()
	f, err := o.cost()
	o.evaluations++
	switch {
	case err != nil:
		return 0, fmt.Errorf("solvers: cost: %w", err)
	case math.IsNaN(f) || math.IsInf(f, 0):
		return f, undefined{fmt.Errorf("solvers: want a finite cost, got %g in evaluation %d (%w)", f, o.evaluations, ErrNotFinite)}
	}
	return f, nil
}

// evaluate is value, and also writes the Riemannian gradient to grad.
func (o *objective) evaluate(grad, x vector) (float64, error) {
	f, err := o.value(x)
	if err == nil {
		err = o.slope(grad)
	}
	if err == nil {
		err = o.riemannian(grad, x)
	}
	return f, err
}

// slope writes the Euclidean gradient of the last evaluation to g. If it is not finite, the error is undefined.
func (o *objective) slope(g vector) error {
	for i, p := range o.params {
		if err := p.takeGradient(o.model[i]); err != nil {
			return err
		}
		if !(p.grad.Norm() <= math.MaxFloat64) {
			return undefined{p.fail(ErrNotFinite, "want a finite gradient, got "+p.grad.FirstBad(), nil)}
		}
	}
	return o.each(func(i int, p *Part) error {
		var buf manifolds.Points
		if !p.whole() {
			buf = lend(g[i].K, g[i].N, g[i].P, !p.single())
			defer giveBack(buf)
		}
		from, err := p.batch(p.bound.of.grad, &buf)
		if err == nil {
			err = copyTo(g[i], from)
		}
		if err != nil {
			return p.fail(ErrParameter, err.Error(), err)
		}
		return nil
	})
}

// riemannian turns a Euclidean gradient at x into the Riemannian one.
func (o *objective) riemannian(g, x vector) error {
	return o.each(func(i int, p *Part) error {
		if err := manifolds.Gradient(p.Manifold, g[i], x[i], g[i]); err != nil {
			return undefined{p.fail(ErrConstraint, err.Error(), err)}
		}
		return nil
	})
}

// inner returns <u, v>_x, the sum over all points.
func (o *objective) inner(x, u, v vector) (float64, error) {
	sums := make([]float64, len(o.parts))
	err := o.each(func(i int, p *Part) (err error) {
		sums[i], err = p.inner(x[i], u[i], v[i])
		return err
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total, err
}

// combine sets dst to a u + b v.
func (o *objective) combine(dst vector, a float64, u vector, b float64, v vector) error {
	return o.each(func(i int, _ *Part) error { return dst[i].Combine(a, u[i], b, v[i]) })
}

// retract writes R_x(t d) to y, projected where it has drifted off the manifold.
func (o *objective) retract(y, x, d vector, t float64) error {
	return o.each(func(i int, p *Part) error { return p.retract(y[i], x[i], d[i], t) })
}

// retract is settle, with its error turned into undefined.
func (p *Part) retract(y, x, d manifolds.Points, t float64) error {
	if err := p.settle(y, x, d, t); err != nil {
		return undefined{p.fail(ErrDiverged, err.Error(), err)}
	}
	return nil
}

// settle writes R_x(t d) to y, projected where it has drifted off the manifold.
func (p *Part) settle(y, x, d manifolds.Points, t float64) error {
	v := lend(x.K, x.N, x.P, x.Data64() != nil)
	defer giveBack(v)
	if err := v.Combine(t, d, 0, d); err != nil {
		return err
	}
	if err := p.Manifold.Retract(y, x, v); err != nil {
		return err
	}
	switch off := p.Manifold.Membership(y); {
	case off != off:
		return errors.New("want finite weights")
	case off > p.tolerance() || p.bound.properties.Drift > 0:
		return p.Manifold.Project(y, y)
	}
	return nil
}

// transport carries tangent vectors along the step v from x to y, in place.
func (o *objective) transport(x, v, y vector, us ...vector) error {
	return o.each(func(i int, p *Part) error {
		for _, u := range us {
			if err := manifolds.TransportAlong(p.Manifold, u[i], x[i], v[i], y[i], u[i]); err != nil {
				return p.fail(ErrConstraint, err.Error(), err)
			}
		}
		return nil
	})
}
