// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Minimize minimises a cost over all parameters together. It is for full batches: the cost must be
// a function of the weights alone.
//
//	r, err := solvers.Minimize(ctx, gorgonia.NodesToValueGrads(learnables), solvers.CostOf(vm, &cost),
//		solvers.Kernels(manifolds.Stiefel{}), solvers.GradientTolerance(1e-8))
//
// Each iteration searches along the curve t -> R_x(t d), where R is the retraction and d a direction: -grad
// (GradientDescent), a conjugate direction (ConjugateGradient), or -H grad with an approximation H of the inverse of the
// Hessian (LBFGS, the default). Inner products and norms are those of the product of the manifolds of all parameters;
// the slope of the cost along a curve is <grad, T(d)>, where T is the transport. For L-BFGS and conjugate gradients the step length
// fulfils the strong Wolfe conditions, or the approximate ones of Hager and Zhang (SIAM J. Optim. 2005), which can be decided even
// where rounding errors hide the decrease of the cost. If a search finds no such step, it takes the best step that fulfils the
// condition of Armijo. The first step length to try is 1 for L-BFGS. For conjugate gradients it leads to the minimum of a
// quadratic with the curvature that the cost had along the last step. The steps of GradientDescent are those of Barzilai and
// Borwein. No first step to try is longer than the injectivity radius.
//
// The function cost returns the cost at the current weights, and computes the gradients of the model as for Step; CostOf makes
// such a function from a machine. It may run a machine on several batches and return the sum of their costs: the gradients of
// nodes that are bound by gorgonia.BindDualValues add up over runs. Minimize clears the gradients before each call and at the
// end.
//
// The weights and the Result at the end are those of the best iteration: where the cost is lowest, or, where costs differ by no more
// than rounding errors, where the gradient is smallest. They are those of the last iteration if its gradient is small enough, and
// after an error of AfterIteration.
//
// The options are Kernels, Natural, Param and Where, whose With takes Frozen and Tolerance; Tolerance; GradientDescent,
// ConjugateGradient, LBFGS; GradientTolerance, MaxIterations, MaxEvaluations, AfterIteration.
//
// It is an error if the first cost or gradient is not finite; later, a cost or gradient that is not finite makes the step
// shorter. A gradient whose square overflows, which begins at 1e154, is ErrNotFinite. After an error before the first cost is known, the weights are as before. ErrUnrepeatable says that the graph has
// operations in training mode on which the cost depends, such as dropout and batch normalisation, or random nodes. A set with
// a boundary, such as manifolds.SpectralBall, is ErrConstraint.
func Minimize(ctx context.Context, model []gorgonia.ValueGrad, cost func() (float64, error), opts ...Option) (Result, error) {
	f := minimizing{method: &lbfgs{memory: 10}, tolerance: 1e-6, iterations: 1000, evaluations: math.MaxInt}
	c, err := f.configure("Minimize", opts, minimizes)
	if err != nil {
		return Result{}, err
	}
	if err := repeatable(model); err != nil {
		return Result{}, err
	}
	o, err := newObjective(ctx, c, model, cost)
	if err != nil {
		return Result{}, err
	}
	defer o.engine.finish()
	defer o.clear()
	o.most = f.evaluations
	return f.minimize(o)
}

// Result is the result of Minimize.
type Result struct {
	Cost        float64 // at the final weights
	Gradient    float64 // norm of the Riemannian gradient there, over all parameters
	Iterations  int     // that were made
	Evaluations int     // of the cost with its gradient
	Reason      Reason
}

// Reason is why Minimize ended.
type Reason uint8

const (
	// Interrupted: by an error, which Minimize returns.
	Interrupted Reason = iota
	// SmallGradient: the norm of the gradient is at most that of GradientTolerance.
	SmallGradient
	// Stalled: neither the cost nor the gradient decreases any more, in the precision in which they are
	// computed: no step lowers the cost, or the best iteration was 20 and a fifth of all iterations ago.
	Stalled
	// IterationLimit: MaxIterations were made.
	IterationLimit
	// EvaluationLimit: MaxEvaluations were made.
	EvaluationLimit
)

// String describes the reason in a few words.
func (r Reason) String() string {
	names := [...]string{"interrupted", "small gradient", "stalled", "iteration limit", "evaluation limit"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// Iteration is the argument of AfterIteration.
type Iteration struct {
	Number      int     // 0 before the first step
	Cost        float64 // at the present weights
	Gradient    float64 // norm of the Riemannian gradient there
	Step        float64 // length of the step, |t d|
	Evaluations int     // so far
}

// minimizing holds the options of Minimize other than the constraints.
type minimizing struct {
	method      method
	tolerance   float64
	iterations  int
	evaluations int
	after       func(Iteration) error
}

func ofMinimize(name string, bad error, set func(*minimizing)) Option {
	return Option{kind: minimizes, name: name, whole: func(c *config) error {
		if bad != nil {
			return optionError("%s: %v", name, bad)
		}
		if c.minimizing == nil {
			return optionError("%s has no option %s: it is one of Minimize", c.rule.Name(), name)
		}
		set(c.minimizing)
		return nil
	}}
}

// GradientTolerance ends Minimize where the norm of the Riemannian gradient, over all parameters, is at
// most t. The default is 1e-6.
func GradientTolerance(t float64) Option {
	return ofMinimize("GradientTolerance", natural(t), func(f *minimizing) { f.tolerance = t })
}

// MaxIterations ends Minimize after n iterations. The default is 1000.
func MaxIterations(n int) Option {
	return ofMinimize("MaxIterations", atLeast(0, n), func(f *minimizing) { f.iterations = n })
}

// MaxEvaluations ends Minimize after n evaluations of the cost with its gradient. By default there is no
// such limit.
func MaxEvaluations(n int) Option {
	return ofMinimize("MaxEvaluations", atLeast(1, n), func(f *minimizing) { f.evaluations = n })
}

// AfterIteration makes Minimize call f before the first iteration and after each iteration, with the weights
// after it in place. If f returns an error, Minimize ends and returns it.
func AfterIteration(f func(Iteration) error) Option {
	var err error
	if f == nil {
		err = errors.New("want a function, got nil")
	}
	return ofMinimize("AfterIteration", err, func(to *minimizing) { to.after = f })
}

func atLeast(low, n int) error {
	if n < low {
		return fmt.Errorf("want at least %d, got %d", low, n)
	}
	return nil
}

// configure applies the options of who. The rule of the engine is not asked.
func (f *minimizing) configure(who string, opts []Option, more optionKind) (config, error) {
	if err := only(who, opts, more|selects|tolerates|freezes); err != nil {
		return config{}, err
	}
	c, err := configure(sgd{}, settings{}, append([]Option{{name: who, whole: func(c *config) error {
		c.minimizing = f
		return nil
	}}}, opts...))
	for _, s := range c.selections {
		if err == nil {
			err = only(who+", in With", s.options, tolerates|freezes)
		}
	}
	return c, err
}

// descent is a run of Minimize.
type descent struct {
	*objective
	set             *minimizing
	at              step    // the last
	along           vector  // the direction where a trial ends
	length2         float64 // |d|^2
	size            float64 // of the weights that move
	result          Result
	average, weight float64  // of the costs, by the memory of the search
	lowest          float64  // of the costs
	best            standing // where Minimize ends
}

// standing is a point, with the cost and the norm of the gradient there, and how many iterations led to it.
type standing struct {
	x              vector
	cost, gradient float64
	iterations     int
}

func (f *minimizing) minimize(o *objective) (Result, error) {
	for _, p := range o.parts {
		if p.bound.properties.Convex {
			return Result{}, p.fail(ErrConstraint, fmt.Sprintf("want a manifold without a boundary, on which the gradient vanishes at a minimum, got %s: take a solver, whose steps are projected",
				manifolds.Name(p.Manifold)), nil)
		}
	}
	x, err := o.start()
	if err != nil {
		return Result{}, err
	}
	m := &descent{objective: o, set: f, along: o.blank(), weight: 1, best: standing{x: o.blank(), gradient: math.Inf(1)}}
	m.at = step{x: o.blank(), y: x, d: o.blank(), v: o.blank(), before: o.blank(), after: o.blank()}
	if m.result.Cost, err = o.evaluate(m.at.after, x); err != nil {
		o.restore()
		return Result{Evaluations: o.evaluations}, plain(err)
	}
	m.average, m.lowest, m.best.cost = m.result.Cost, m.result.Cost, m.result.Cost
	if err := o.combine(m.best.x, 1, x, 0, x); err != nil {
		return Result{}, err
	}
	m.result.Reason, err = m.all()
	m.result.Evaluations, m.result.Cost, m.result.Gradient = o.evaluations, m.best.cost, m.best.gradient
	if errors.Is(err, errEvaluations) {
		m.result.Reason, err = EvaluationLimit, nil
	}
	if lost := o.place(m.best.x); err == nil {
		err = lost
	}
	return m.result, err
}

// all makes the iterations.
func (m *descent) all() (Reason, error) {
	r := &m.result
	for {
		square, err := m.inner(m.at.y, m.at.after, m.at.after)
		if err != nil {
			return Interrupted, err
		}
		if !(square <= math.MaxFloat64) {
			return Interrupted, fmt.Errorf("solvers: want a gradient whose square is finite, got %g in iteration %d: divide the cost by a constant (%w)", square, r.Iterations, ErrNotFinite)
		}
		r.Gradient = math.Sqrt(square)
		if m.size, err = m.norm(m.at.y); err != nil {
			return Interrupted, err
		}
		var stop error
		if m.set.after != nil {
			stop = m.set.after(Iteration{r.Iterations, r.Cost, r.Gradient, m.at.t * math.Sqrt(m.length2), m.evaluations})
		}
		small := r.Gradient <= m.set.tolerance
		if small || stop != nil || m.improves() {
			if err := m.combine(m.best.x, 1, m.at.y, 0, m.at.y); err != nil {
				return Interrupted, err
			}
			m.best.cost, m.best.gradient, m.best.iterations = r.Cost, r.Gradient, r.Iterations
		}
		switch {
		case stop != nil:
			return Interrupted, stop
		case small:
			return SmallGradient, nil
		case m.stalls():
			return Stalled, nil
		case r.Iterations == m.set.iterations:
			return IterationLimit, nil
		}
		if err := m.iterate(); err == errNoStep {
			return Stalled, nil
		} else if err != nil {
			return Interrupted, err
		}
		r.Iterations++
	}
}

// noise bounds the rounding error of the cost.
func (m *descent) noise() float64 { return 100 * m.eps * math.Abs(m.result.Cost) }

// improves reports whether the present point is the best so far: its cost is lower, or its gradient is smaller where rounding errors
// hide whether the cost is.
func (m *descent) improves() bool {
	r, noise := m.result, m.noise()
	m.lowest = min(m.lowest, r.Cost)
	return r.Cost < m.best.cost-noise || r.Cost <= m.lowest+noise && r.Gradient < m.best.gradient
}

// stalls reports whether the best point is older than 20 iterations and a fifth of all. Each of n gradients that are only rounding errors may
// be the smallest, so a smaller one becomes ever rarer; while a method converges, however slowly, it finds smaller gradients
// again and again.
func (m *descent) stalls() bool {
	n := m.result.Iterations
	return n-m.best.iterations >= 20+n/5
}

// iterate makes a step. If the search along the direction of the method finds none, it searches along the direction of steepest descent.
func (m *descent) iterate() error {
	if m.result.Iterations > 0 {
		if err := m.set.method.direct(m.objective, m.at.d, m.at); err != nil {
			return err
		}
		slope, err := m.inner(m.at.y, m.at.after, m.at.d)
		if err != nil {
			return err
		}
		if m.length2, err = m.inner(m.at.y, m.at.d, m.at.d); err != nil {
			return err
		}
		if slope < -1e-8*m.result.Gradient*math.Sqrt(m.length2) {
			if err := m.follow(slope, m.set.method.first(m.at, slope, m.length2)); err != errNoStep {
				return err
			}
		}
		m.set.method.forget()
	}
	if err := m.combine(m.at.d, -1, m.at.after, 0, m.at.after); err != nil {
		return err
	}
	g := m.result.Gradient
	m.length2 = g * g
	first := 0.1 * m.size
	if first == 0 {
		first = 1
	}
	return m.follow(-g*g, first/g)
}

// follow searches along the direction, beginning with the step length first, and makes the step that is found.
func (m *descent) follow(slope, first float64) error {
	longest, err := m.longest()
	if err != nil {
		return err
	}
	first = min(first, longest)
	s := m.set.method.search()
	s.reference, s.noise, s.shortest, s.trials = m.average, m.noise(), m.eps*m.size/math.Sqrt(m.length2), 30
	s.hidden = m.lowest + s.noise
	if -slope*first < s.noise { // the cost says little
		s.trials = 4
	}
	at := &m.at
	x, y, grad := at.y, at.x, at.before // the vectors from before the last step are no longer needed
	p, err := s.along(func(t float64) (trial, error) {
		if err := m.retract(y, x, at.d, t); err != nil {
			return trial{}, err
		}
		cost, err := m.evaluate(grad, y)
		if err != nil {
			return trial{}, err
		}
		if err := m.combine(at.v, t, at.d, 0, at.d); err != nil {
			return trial{}, err
		}
		if err := m.combine(m.along, 1, at.d, 0, at.d); err != nil {
			return trial{}, err
		}
		if err := m.transport(x, at.v, y, m.along); err != nil {
			return trial{}, err
		}
		slope, err := m.inner(y, grad, m.along)
		return trial{t, cost, slope}, err
	}, trial{0, m.result.Cost, slope}, first)
	if err != nil {
		return err
	}
	at.x, at.y, at.before, at.after = x, y, at.after, grad
	at.t, at.slope, at.end, at.length2, m.result.Cost = p.t, slope, p.slope, m.length2, p.cost
	w := s.memory * m.weight
	m.average, m.weight = (w*m.average+p.cost)/(w+1), w+1
	return nil
}

// longest returns the step length along the direction that is as long as the injectivity radius, for points that all move as far. A longer
// step may lead to where a shorter one leads, and the slopes at its ends say nothing about the curvature between.
func (m *descent) longest() (float64, error) {
	t := math.Inf(1)
	for i, p := range m.parts {
		square, err := p.inner(m.at.y[i], m.at.d[i], m.at.d[i])
		if err != nil {
			return 0, err
		}
		if radius := p.bound.properties.InjectivityRadius; radius > 0 && square > 0 {
			t = min(t, radius*math.Sqrt(float64(m.at.y[i].K)/square))
		}
	}
	return t, nil
}

// norm is that of all points, in the spaces around their manifolds.
func (o *objective) norm(x vector) (n float64, err error) {
	for i, p := range o.parts {
		part, err := p.norm(x[i])
		if err != nil {
			return 0, err
		}
		n = math.Hypot(n, part)
	}
	return n, nil
}
