// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Constrained is a stock or third-party solver whose constrained parameters
// stay on their manifolds. It is made by Constrain.
type Constrained struct {
	inner  gorgonia.Solver
	engine engine
}

var _ gorgonia.Solver = (*Constrained)(nil)

// Constrain wraps a solver, whose options stay as they are, so that every
// convolution kernel is kept on m. In each step, for each kernel x, the solver is
// given the Riemannian gradient; the displacement d that it makes is projected to
// the tangent space and followed by a retraction:
//
//	x <- R_x(P_x(d))
//
// Other parameters move as the solver moves them. Its inner state (momentum,
// second moments) is in the ambient space and is not transported.
//
// All solvers of Gorgonia v0.9.18 can be wrapped. Their own defects stay: AdamW
// never moves a weight, AdaGrad ignores its options, Barzilai-Borwein knows
// float64 only. See docs/gorgonia.md, and NewAdam and NewAdamW for solvers
// without them.
//
// The wrapped solver sees the parameters always in the order in which they first
// came, since stock solvers key their state by position; one that is left out of a
// step is shown to it with a zero gradient, and does not move. Stock solvers
// cannot take a parameter that joins after the first step. If the wrapped solver
// fails or panics, weights and gradients are as before; what it did to its own
// state cannot be taken back.
func Constrain(s gorgonia.Solver, m manifolds.Manifold, opts ...manifolds.Option) *Constrained {
	return ConstrainWith(s, Kernels(m, opts...))
}

// ConstrainWith is Constrain with the options Kernels, Param, Where and
// Tolerance.
func ConstrainWith(s gorgonia.Solver, opts ...Option) *Constrained {
	c := &Constrained{inner: s}
	for _, o := range opts {
		switch o.name {
		case "Kernels", "Param", "Where", "Tolerance":
		default:
			c.engine.err = optionError("Constrain has no option %s: want Kernels, Param, Where or Tolerance", o.name)
			return c
		}
	}
	c.engine.config, c.engine.err = configure("Constrain", config{}, nil, opts)
	if s == nil && c.engine.err == nil {
		c.engine.err = optionError("Constrain: want a solver, got nil")
	}
	return c
}

// String names the wrapped solver.
func (c *Constrained) String() string { return fmt.Sprintf("Constrain(%T)", c.inner) }

// Unwrap returns the wrapped solver, so that its options can be changed:
//
//	gorgonia.WithLearnRate(0.01)(c.Unwrap())
func (c *Constrained) Unwrap() gorgonia.Solver { return c.inner }

// Init is Solver.Init.
func (c *Constrained) Init(model []gorgonia.ValueGrad) error { return c.engine.init(model) }

// Report is Solver.Report.
func (c *Constrained) Report() Report {
	r := c.engine.report()
	r.Solver = c.String()
	return r
}

// Step lets the wrapped solver make its step and follows it on the manifolds.
func (c *Constrained) Step(model []gorgonia.ValueGrad) error { return c.StepShare(model, alone) }

// prepare computes where the parameters go: it shows the wrapped solver a shadow
// of every one that it has seen, in one order, and follows those that take part.
func (c *Constrained) prepare(active []*slot) error {
	shown := make([]gorgonia.ValueGrad, len(c.engine.slots))
	for i, s := range c.engine.slots {
		if s.shadow == nil {
			s.shadow = newShadow(s)
		}
		s.shadow.grad.Zero()
		shown[i] = s.shadow.node
	}
	for _, s := range active {
		if err := s.shadow.show(s); err != nil {
			return err
		}
	}
	if err := c.call(shown); err != nil {
		return err
	}
	for _, s := range active {
		if err := s.shadow.follow(s); err != nil {
			return err
		}
	}
	return nil
}

// call steps the wrapped solver, and turns a panic into an error.
func (c *Constrained) call(shown []gorgonia.ValueGrad) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("solvers: %T panicked: %v (%w)", c.inner, r, ErrStock)
		}
	}()
	if err := c.inner.Step(shown); err != nil {
		return fmt.Errorf("solvers: %T: %w (%w)", c.inner, err, ErrStock)
	}
	return nil
}

// shadow is what the wrapped solver sees of a parameter: a node, since some take
// nothing else, with a copy of the weights, to be moved, and the Riemannian
// gradient.
type shadow struct {
	node          *gorgonia.Node
	weights, grad dense.View
}

func newShadow(s *slot) *shadow {
	sh := &shadow{}
	value, slope := blankValue(s), blankValue(s)
	sh.weights, _ = dense.Of(value)
	sh.grad, _ = dense.Of(slope)
	sh.node = gorgonia.NodeFromAny(gorgonia.NewGraph(), value, gorgonia.WithName(s.name))
	gorgonia.WithGrad(slope)(sh.node)
	return sh
}

func blankValue(s *slot) gorgonia.Value {
	of := tensor.Float32
	if s.weights.F64 != nil {
		of = tensor.Float64
	}
	switch {
	case len(s.shape) > 0:
		return tensor.New(tensor.Of(of), tensor.WithShape(s.shape...))
	case of == tensor.Float64:
		return gorgonia.NewF64(0)
	}
	return gorgonia.NewF32(0)
}

// show copies weights and Riemannian gradient of the slot.
func (sh *shadow) show(s *slot) error {
	g := s.borrow()
	defer giveBack(g)
	from, err := s.batch(s.grad, &g)
	if err == nil {
		err = manifolds.Gradient(s.manifold, g, s.x, from)
	}
	if err == nil {
		err = s.put(sh.grad, g)
	}
	if err == nil {
		err = s.put(sh.weights, s.x)
	}
	if err != nil {
		return s.fail(ErrConstraint, err.Error(), err)
	}
	s.stats.riemannian, s.stats.geometric = g.Norm(), 1
	return nil
}

// follow makes the displacement of the shadow the step of the slot.
func (sh *shadow) follow(s *slot) error {
	s.ensure(&s.next)
	d := s.borrow()
	defer giveBack(d)
	y, err := s.batch(sh.weights, &d)
	if err != nil {
		return s.fail(ErrParameter, err.Error(), err)
	}
	if s.euclidean { // to the bit what the wrapped solver made
		if err := s.next.CopyFrom(y); err != nil {
			return s.fail(ErrParameter, err.Error(), err)
		}
	}
	if err := d.Combine(1, y, -1, s.x); err != nil {
		return s.fail(ErrParameter, err.Error(), err)
	}
	if s.stats.length = d.Norm(); !(s.stats.length < 1e30) {
		return s.fail(ErrDiverged, fmt.Sprintf("want a finite step, got one of length %g", s.stats.length), nil)
	}
	if s.euclidean {
		return nil
	}
	if err := s.manifold.Tangent(d, s.x, d); err != nil {
		return s.fail(ErrConstraint, err.Error(), err)
	}
	if err := s.manifold.Retract(s.next, s.x, d); err != nil {
		return s.fail(ErrDiverged, err.Error(), err)
	}
	return nil
}
