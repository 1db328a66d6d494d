// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Constrained is a stock or third-party solver whose constrained parameters
// stay on their manifolds. It is made by Constrain.
type Constrained struct {
	*Solver
	inner gorgonia.Solver
}

var _ gorgonia.Solver = (*Constrained)(nil)

// Constrain wraps a solver, which keeps its options, so that every convolution kernel stays on m. In each
// step, for each kernel x, the solver receives the Riemannian gradient; its displacement d is projected onto
// the tangent space and followed by a retraction:
//
//	x <- R_x(P_x(d))
//
// Other parameters move as the solver moves them. Its inner state (momentum,
// second moments) is in the ambient space and is not transported.
//
// All solvers of Gorgonia v0.9.18 can be wrapped. Their own defects remain: AdamW never moves a weight,
// AdaGrad ignores its options, Barzilai-Borwein supports float64 only. See docs/gorgonia.md, and NewAdam and
// NewAdamW for solvers without them.
//
// The wrapped solver always sees the parameters in the order in which they were first given, because stock
// solvers key their state by position. A parameter that is left out of a step is shown to it with a zero
// gradient, and does not move. Stock solvers cannot handle a parameter that joins after the first step. If
// the wrapped solver fails or panics, weights and gradients are unchanged, but changes to its own state
// cannot be undone.
//
// SetLearnRate sets the learning rate of the wrapped solver. Snapshot works if the wrapped solver has no
// state, like gorgonia.VanillaSolver, or is an encoding.BinaryMarshaler and BinaryUnmarshaler.
func Constrain(s gorgonia.Solver, m manifolds.Manifold, opts ...manifolds.Option) *Constrained {
	return ConstrainWith(s, Kernels(m, opts...))
}

// ConstrainWith is Constrain with the options Kernels, Natural, Param, Where and
// Tolerance. With of the first four takes Tolerance, Frozen, and what changes the Euclidean gradient of a
// parameter before the wrapped solver sees it: ClipValue, ClipNorm and, without a constraint, AmbientDecay.
// Everything else (rates, decay, momentum) is an option of the wrapped solver.
func ConstrainWith(s gorgonia.Solver, opts ...Option) *Constrained {
	c := &Constrained{&Solver{}, s}
	e := &c.Solver.engine
	w := &wrapped{inner: s, shadows: map[*parameter]*shadow{}}
	e.rule = w
	if e.err = only("Constrain", opts, selects|tolerates); e.err != nil {
		return c
	}
	e.config, e.err = configure(w, settings{}, opts)
	for _, s := range e.config.selections {
		if e.err == nil {
			e.err = only("Constrain, in With", s.options, tolerates|freezes|clips|decaysAmbient)
		}
	}
	if isnil.Of(s) && e.err == nil {
		e.err = optionError("Constrain: want a solver, got nil")
	}
	return c
}

// Unwrap returns the wrapped solver, so that its options can be changed:
//
//	gorgonia.WithLearnRate(0.01)(c.Unwrap())
func (c *Constrained) Unwrap() gorgonia.Solver { return c.inner }

// SetLearnRate changes the learning rate of a solver that has the method SetLearnRate, of a stock solver, or
// of one that wraps such a solver and has the method Unwrap. Any other solver is an error, whereas
// gorgonia.WithLearnRate ignores solvers that it does not know.
func SetLearnRate(s gorgonia.Solver, lr float64) error {
	if isnil.Of(s) {
		return optionError("SetLearnRate: want a solver, got nil")
	}
	for s = range wrap.All(s) {
		switch s := s.(type) {
		case interface{ SetLearnRate(float64) error }:
			return s.SetLearnRate(lr)
		case *gorgonia.VanillaSolver, *gorgonia.Momentum, *gorgonia.RMSPropSolver, *gorgonia.AdamSolver, *gorgonia.BarzilaiBorweinSolver:
			if err := natural(lr); err != nil {
				return optionError("SetLearnRate: %v", err)
			}
			gorgonia.WithLearnRate(lr)(s)
			return nil
		}
	}
	return optionError("SetLearnRate: want a solver whose learning rate can be set, got %T", s)
}

// wrapped is the rule of another solver: it plans a step by letting that solver make it on copies of the parameters, their shadows.
type wrapped struct {
	inner   gorgonia.Solver
	order   []*parameter // in which the solver saw them first
	shadows map[*parameter]*shadow
}

var _ Planner = (*wrapped)(nil)

func (w *wrapped) Name() string                  { return fmt.Sprintf("Constrain(%T)", w.inner) }
func (w *wrapped) State() []State                { return nil }
func (w *wrapped) SetLearnRate(lr float64) error { return SetLearnRate(w.inner, lr) }

// remembers reports whether the wrapped solver has state.
func (w *wrapped) remembers() bool {
	_, plain := w.inner.(*gorgonia.VanillaSolver)
	return !plain
}

// MarshalBinary saves the state of the wrapped solver.
func (w *wrapped) MarshalBinary() ([]byte, error) {
	switch s := w.inner.(type) {
	case encoding.BinaryMarshaler:
		return s.MarshalBinary()
	case *gorgonia.VanillaSolver:
		return nil, nil
	}
	return nil, fmt.Errorf("want a wrapped solver without a memory, or one that is an encoding.BinaryMarshaler, got %T: take NewSGD or NewAdam for runs that are saved (%w)", w.inner, ErrStock)
}

// UnmarshalBinary restores it.
func (w *wrapped) UnmarshalBinary(b []byte) error {
	if s, ok := w.inner.(encoding.BinaryUnmarshaler); ok {
		return s.UnmarshalBinary(b)
	}
	return fmt.Errorf("want a wrapped solver that is an encoding.BinaryUnmarshaler, got %T (%w)", w.inner, ErrStock)
}

// Plan shows the wrapped solver a shadow of every parameter that it has seen, always in the same order.
func (w *wrapped) Plan(parts []*Part) error {
	order := w.order
	for _, p := range parts {
		of := p.bound.of
		if slices.Contains(order, of) {
			continue
		}
		// One that was bound anew, after its first step failed or Forget dropped it, keeps its place.
		if i := slices.IndexFunc(order, func(q *parameter) bool { return q.who.is(of.who) }); i >= 0 {
			w.shadows[of] = w.shadows[order[i]]
			order = slices.Clone(order)
			order[i] = of
		} else {
			if len(w.order) > 0 && w.remembers() && isStock(w.inner) {
				return p.fail(ErrStock, fmt.Sprintf("want the parameters of the first step of %T, which keeps its state by their positions, got another", w.inner), nil)
			}
			order = append(order[:len(order):len(order)], of)
			w.shadows[of] = newShadow(of)
		}
	}
	shown := make([]gorgonia.ValueGrad, len(order))
	for i, of := range order {
		w.shadows[of].grad.Zero()
		shown[i] = w.shadows[of].node
	}
	for _, p := range parts {
		if err := w.shadows[p.bound.of].show(p); err != nil {
			return err
		}
	}
	if err := w.call(shown); err != nil {
		return err
	}
	w.order = order
	if len(w.shadows) > len(order) {
		maps.DeleteFunc(w.shadows, func(p *parameter, _ *shadow) bool { return !slices.Contains(order, p) })
	}
	return nil
}

// stock is held while a solver of Gorgonia makes its step. These solvers return tensors to a pool of package
// tensor, which blocks forever if several goroutines fill its last place at once.
var stock sync.Mutex

// isStock reports whether a solver is one of Gorgonia's, which calls no other.
func isStock(s gorgonia.Solver) bool {
	t := reflect.TypeOf(s)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == reflect.TypeFor[gorgonia.VanillaSolver]().PkgPath()
}

// call steps the wrapped solver, and turns a panic into an error.
func (w *wrapped) call(shown []gorgonia.ValueGrad) (err error) {
	if isStock(w.inner) {
		stock.Lock()
		defer stock.Unlock()
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("solvers: %T panicked: %v (%w)", w.inner, r, ErrStock)
		}
	}()
	if err := w.inner.Step(shown); err != nil {
		return fmt.Errorf("solvers: %T: %w (%w)", w.inner, err, ErrStock)
	}
	return nil
}

// Direction writes the tangent projection of minus the displacement of the shadow; the rate is 1.
func (w *wrapped) Direction(p *Part) error {
	sh := w.shadows[p.bound.of]
	y, err := p.lentBatch(sh.weights)
	if err != nil {
		return err
	}
	if p.X.Data64() != nil && y.Data64() == nil {
		y = widen(p.borrow(true), y)
	}
	if err := p.Direction.Combine(1, p.X, -1, y); err != nil {
		return err
	}
	p.Rate = 1
	if p.bound.euclidean { // to the bit what the wrapped solver made
		n := p.Direction.Norm()
		p.step.progress = manifolds.Progress{Direction: p.step.shown, Length: n * n, Factor: 1}
		p.Placed = true
		return p.Next.CopyFrom(y)
	}
	return p.Manifold.Tangent(p.Direction, p.X, p.Direction)
}

// shadow is what the wrapped solver sees of a parameter: a node, because some solvers accept nothing else,
// with a copy of the weights and the Riemannian gradient.
type shadow struct {
	node          *gorgonia.Node
	weights, grad dense.View
}

func newShadow(p *parameter) *shadow {
	sh := &shadow{}
	value, slope := blankValue(p), blankValue(p)
	sh.weights, _ = dense.Of(value)
	sh.grad, _ = dense.Of(slope)
	sh.node = gorgonia.NodeFromAny(gorgonia.NewGraph(), value, gorgonia.WithName(p.name))
	gorgonia.WithGrad(slope)(sh.node)
	return sh
}

func blankValue(p *parameter) gorgonia.Value {
	double := p.precision == "float64"
	switch {
	case len(p.shape) > 0 && double:
		return tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(p.shape.Clone()...))
	case len(p.shape) > 0:
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(p.shape.Clone()...))
	case double:
		return gorgonia.NewF64(0)
	}
	return gorgonia.NewF32(0)
}

// show copies weights and Riemannian gradient of the part.
func (sh *shadow) show(p *Part) error {
	if err := p.Riemannian(p.Gradient, p.Gradient); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	if p.bound.euclidean {
		n := p.Gradient.Norm()
		p.step.shown = n * n
	} else {
		square, err := p.inner(p.X, p.Gradient, p.Gradient)
		if err != nil {
			return err
		}
		p.step.shown = square
	}
	for _, c := range []struct {
		to   dense.View
		from manifolds.Points
		what string
	}{{sh.grad, p.Gradient, "gradient: "}, {sh.weights, p.X, "weights: "}} {
		if err := p.write(c.to, c.from); err != nil {
			return p.fail(ErrDiverged, c.what+err.Error(), err)
		}
	}
	return nil
}
