// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// engine does what all solvers share. A step has three phases. Admit checks
// every parameter and gradient and binds what is new. Prepare computes where
// parameters go, into buffers of their own. Commit, which cannot fail, writes
// weights and state and zeroes gradients. An error in the first two leaves
// everything as before.
//
// Parameters whose step cannot fail, once their gradient is known to be finite, are
// not prepared: they move in place, in one pass over memory (inplace.go). Those that
// another process moves are only admitted (share.go).
type engine struct {
	config
	book
	sharing
	rule   Rule    // nil for a wrapped solver
	swift  inPlace // the rule, if it can make steps in place
	err    error   // of the options; every step returns it
	steps  int
	calls  int     // admissions; marks the slots that a step has seen
	turn   int     // the slot whose drift is measured next
	active []*slot // of the step under way
	order  []*slot // the same, those with most to do first
	known  int     // slots there were before it
	lr     float64 // of the step under way
	shrink float64 // of its gradients
}

// Solver keeps parameters on manifolds and moves them by a Rule. It implements
// gorgonia.Solver. It is not safe for concurrent use.
type Solver struct {
	name   string
	engine engine
}

var _ gorgonia.Solver = (*Solver)(nil)

func newSolver(name string, r Rule, defaults config, own []string, opts []Option) *Solver {
	s := &Solver{name: name}
	s.engine.rule = r
	s.engine.swift, _ = r.(inPlace)
	s.engine.config, s.engine.err = configure(name, defaults, own, opts)
	return s
}

// String names the solver.
func (s *Solver) String() string { return s.name }

// SetLearnRate changes the learning rate from the next step on.
func (s *Solver) SetLearnRate(lr float64) error { return LearnRate(lr).apply(&s.engine.config) }

// Init binds the parameters to their constraints and projects the weights that
// are not on their manifold, so that the first gradient is already taken there.
// It is optional: the first Step does the same with the gradient it is given.
func (s *Solver) Init(model []gorgonia.ValueGrad) error { return s.engine.init(model) }

// Step moves every parameter against its gradient and zeroes the gradient.
//
// A step is all or nothing: if it returns an error, which names the parameter,
// then weights, gradients and state are as before. Parameters may come in any
// order, and new ones may join later.
func (s *Solver) Step(model []gorgonia.ValueGrad) error { return s.StepShare(model, alone) }

// ready does all of a step that can fail: it computes where the parameters go, except for those
// that can move in place.
func (e *engine) ready(active []*slot) error {
	e.lr = e.rate()
	if !(e.lr >= 0) || math.IsInf(e.lr, 0) {
		return optionError("schedule %v: want a factor >= 0 at step %d, got a learning rate of %g", e.schedule, e.steps, e.lr)
	}
	e.shrink = e.shrinkage(active)
	work := 0
	for _, s := range active {
		if s.swift = false; s.theirs {
			continue
		}
		s.allocate(e.rule)
		if err := s.carry(); err != nil {
			return err
		}
		if s.swift = e.fits(s); !s.swift {
			work += s.weights.Len() * min(s.layout.N, s.layout.P, 8)
		}
	}
	return e.each(active, work, (*engine).prepare)
}

// weights counts those of the parameters.
func weights(active []*slot) (n int) {
	for _, s := range active {
		n += s.weights.Len()
	}
	return n
}

// each calls f for every slot, on several cores where the work is worth it, those with
// most to do first, and returns the first error in the order of the parameters.
func (e *engine) each(active []*slot, work int, f func(e *engine, s *slot) error) error {
	if work < 1<<16 || runtime.GOMAXPROCS(0) == 1 {
		for _, s := range active {
			if err := f(e, s); err != nil {
				return err
			}
		}
		return nil
	}
	e.order = append(e.order[:0], active...)
	slices.SortStableFunc(e.order, func(a, b *slot) int { return cmp.Compare(b.cost(), a.cost()) })
	for _, s := range active {
		s.err = nil
	}
	par.Do(len(e.order), func(i int) { e.order[i].err = f(e, e.order[i]) })
	for _, s := range active {
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// cost is about how much there is to do for the slot.
func (s *slot) cost() int {
	return s.weights.Len() * (1 + s.labour())
}

// rate is the learning rate of the next step.
func (e *engine) rate() float64 { return e.learnRate * e.schedule.At(e.steps) }

// init is Step without gradients: it only binds and projects.
func (e *engine) init(model []gorgonia.ValueGrad) error {
	active, err := e.admit(model, false)
	if err != nil {
		return err
	}
	for _, s := range active {
		if s.dirty {
			if err := s.store(s.x); err != nil {
				return s.fail(ErrParameter, err.Error(), err)
			}
			s.dirty = false
		}
	}
	return nil
}

// admit checks all parameters, and their gradients if there should be some, and
// returns their slots. New ones are bound; if anything fails they are forgotten.
func (e *engine) admit(model []gorgonia.ValueGrad, gradients bool) (active []*slot, err error) {
	if e.err != nil {
		return nil, e.err
	}
	e.known = len(e.slots)
	defer func() {
		if err != nil {
			e.forget()
		}
	}()
	e.calls++
	active = e.active[:0]
	for i, v := range model {
		if v == nil {
			return nil, &ParameterError{Name: fmt.Sprintf("number %d", i), Kind: ErrParameter, Cause: "want a gorgonia.ValueGrad, got nil"}
		}
		s, err := e.admitOne(v, i, gradients)
		if err != nil {
			return nil, err
		}
		if s.seen == e.calls {
			return nil, s.fail(ErrParameter, "want every parameter once, got it twice", nil)
		}
		s.seen = e.calls
		active = append(active, s)
	}
	look := (*engine).inspect
	if gradients {
		e.findShared(active)
		look = (*engine).inspectBoth
	}
	if err := e.each(active, weights(active)/16, look); err != nil {
		return nil, err
	}
	if e.known == 0 {
		if err := e.unmatched(e.slots); err != nil {
			return nil, err
		}
	}
	e.active = active
	return active, nil
}

func (e *engine) admitOne(v gorgonia.ValueGrad, i int, gradients bool) (*slot, error) {
	name := nameOf(v, i)
	fail := func(kind error, what string, err error) error {
		return &ParameterError{Name: name, Kind: kind, Cause: what + err.Error(), Err: err}
	}
	w, err := dense.Of(v.Value())
	if err != nil {
		return nil, fail(ErrParameter, "weights: ", err)
	}
	s := e.find(v, w)
	if s == nil {
		if s, err = e.bind(name, w); err != nil {
			return nil, err
		}
		e.add(v, s)
	}
	if !s.shape.Eq(w.Shape) || s.weights.Precision() != w.Precision() {
		return nil, s.fail(ErrParameter, fmt.Sprintf("want weights of shape %v, %s, as at the first step, got %v, %s",
			s.shape, s.weights.Precision(), w.Shape, w.Precision()), nil)
	}
	s.weights = w
	if s.storage != w.Storage() {
		e.moved(s)
		s.elsewhere = true
	}
	if gradients {
		if err := s.takeGradient(v); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// inspectBoth measures the gradient and inspects the weights.
func (e *engine) inspectBoth(s *slot) error {
	s.stats.gradient = s.grad.Norm()
	if !(s.stats.gradient <= math.MaxFloat64) {
		return s.fail(ErrNotFinite, "want a finite gradient, got "+s.grad.FirstBad(), nil)
	}
	return e.inspect(s)
}

// inspect finds out whether the weights are on their manifold, where it is time to
// look, and projects them, in a copy, where they are not.
func (e *engine) inspect(s *slot) error {
	if s.dirty = false; s.theirs {
		return nil
	}
	watched := e.slots[e.turn%len(e.slots)] == s
	if err := s.load(e.toleranceOf(s), s.elsewhere || watched || s.steps == 0, s.steps == 0); err != nil {
		return err
	}
	s.elsewhere = s.elsewhere || s.dirty
	return nil
}

// takeGradient views the gradient and checks its shape.
func (s *slot) takeGradient(v gorgonia.ValueGrad) error {
	value, err := v.Grad()
	if err != nil {
		return s.fail(ErrNoGradient, "want a gradient: differentiate the cost by gorgonia.Grad and run the machine before the step: "+err.Error(), err)
	}
	if value == nil {
		return s.fail(ErrNoGradient, "want a gradient, got nil: run the machine before the step", nil)
	}
	g, err := dense.Of(value)
	if err != nil {
		return s.fail(ErrParameter, "gradient: "+err.Error(), err)
	}
	if g.Precision() != s.weights.Precision() || g.Len() != s.weights.Len() || (len(g.Shape) > 0 && len(s.shape) > 0 && !g.Shape.Eq(s.shape)) {
		return s.fail(ErrParameter, fmt.Sprintf("want a gradient of shape %v, %s, got %v, %s",
			s.shape, s.weights.Precision(), g.Shape, g.Precision()), nil)
	}
	if g.Storage() == s.weights.Storage() {
		return s.fail(ErrParameter, "want a gradient with memory of its own, got that of the weights", nil)
	}
	s.grad = g
	return nil
}

// forget drops the slots that the step under way bound.
func (e *engine) forget() {
	for _, s := range e.slots[e.known:] {
		delete(e.byStorage, s.storage)
		for k, t := range e.byKey {
			if s == t {
				delete(e.byKey, k)
			}
		}
	}
	e.slots = e.slots[:e.known]
}

// scale is what the gradients are multiplied by before they are clipped.
func (e *engine) scale() float64 {
	if e.batch > 1 {
		return 1 / float64(e.batch)
	}
	return 1
}

// shrinkage is the factor by which ClipNorm scales all gradients.
func (e *engine) shrinkage(active []*slot) float64 {
	if e.clipNorm == 0 {
		return 1
	}
	norms := scratch.Get[float64](len(active))
	defer scratch.Put(norms)
	for i, s := range active {
		n := s.stats.gradient * e.scale()
		if e.clipValue > 0 {
			g := s.borrow()
			clip(g, s.grad, e.scale(), e.clipValue)
			n = g.Norm()
			giveBack(g)
		}
		norms[i] = n
	}
	slices.Sort(norms) // so that the sum does not depend on the order of the parameters
	total := 0.0
	for _, n := range norms {
		total = math.Hypot(total, n)
	}
	if total > e.clipNorm {
		return e.clipNorm / total
	}
	return 1
}

// clip sets dst, in the order of the weights, to the gradient scaled and
// clamped.
func clip(dst manifolds.Points, g dense.View, scale, limit float64) {
	if limit == 0 {
		limit = math.Inf(1)
	}
	d64, d32 := dst.Data64(), dst.Data32()
	for i, v := range g.F64 {
		d64[i] = max(-limit, min(limit, scale*v))
	}
	s, l := float32(scale), float32(limit)
	for i, v := range g.F32 {
		d32[i] = max(-l, min(l, s*v))
	}
}

// gradient gives the slot's batch of Euclidean gradients, scaled, clipped and
// with ambient decay, in a borrowed batch.
func (e *engine) gradient(s *slot) (manifolds.Points, error) {
	g := s.borrow()
	if s.layout.Contiguous() {
		clip(g, s.grad, e.scale(), e.clipValue)
	} else {
		flat := s.borrow()
		defer giveBack(flat)
		clip(flat, s.grad, e.scale(), e.clipValue)
		if err := s.layout.Gather(g, flat); err != nil {
			return g, err
		}
	}
	decay := 0.0
	if e.decayOf == decayAmbient {
		decay = e.decay
	}
	if e.shrink == 1 && decay == 0 {
		return g, nil
	}
	return g, g.Combine(e.shrink, g, decay, s.x)
}

// prepare computes where a parameter goes that does not move in place: the rule's
// direction v, the step x <- R_x(-lr/g_t v), and the transport of the state.
func (e *engine) prepare(s *slot) error {
	if s.swift || s.theirs {
		return nil
	}
	g, err := e.gradient(s)
	defer giveBack(g)
	if err != nil {
		return s.fail(ErrParameter, err.Error(), err)
	}
	v := s.borrow()
	defer giveBack(v)
	s.double()
	s.seenByRule = Parameter{Manifold: s.manifold, X: s.x, Gradient: g, Direction: v, Old: s.from, New: s.new, Step: s.steps + 1}
	if err := e.rule.Direction(&s.seenByRule); err != nil {
		return s.fail(ErrConstraint, err.Error(), err)
	}
	if s.euclidean && e.decay > 0 && e.decayOf != decayAmbient {
		if err := v.Combine(1, v, e.decay, s.x); err != nil {
			return s.fail(ErrParameter, err.Error(), err)
		}
	}
	if err := s.measure(v, e.lr, e.geometric); err != nil {
		return err
	}
	if err := s.manifold.Retract(s.next, s.x, v); err != nil {
		return s.fail(ErrDiverged, err.Error(), err)
	}
	for i, k := range s.kinds {
		if k.Kind != Tangent || s.euclidean {
			continue
		}
		if err := s.manifold.Transport(s.new[i], s.x, s.next, s.new[i]); err != nil {
			return s.fail(ErrDiverged, err.Error(), err)
		}
	}
	return nil
}

// allocate makes the state at the first step.
func (s *slot) allocate(r Rule) {
	if s.old == nil {
		s.kinds = r.State()
		s.old = s.state()
	}
}

// double makes what a step needs that does not happen in place: the weights and the
// state after it.
func (s *slot) double() {
	s.ensure(&s.next)
	if s.new == nil {
		s.new = s.state()
	}
}

// state makes one set of the blocks of state, all zeros.
func (s *slot) state() []manifolds.Points {
	state := make([]manifolds.Points, len(s.kinds))
	for i, k := range s.kinds {
		n, p := s.layout.N, s.layout.P
		if k.Kind == PerPoint {
			n, p = 1, 1
		}
		state[i] = s.blank(n, p)
	}
	return state
}

// carry makes s.from the state before the step. Where the weights are not those that
// the last step left, its tangent vectors are made tangent at these, unless they are, to
// rounding: the same values in other memory change nothing.
func (s *slot) carry() error {
	s.from = s.old
	if !s.elsewhere || s.euclidean || s.steps == 0 {
		return nil
	}
	rounding := 1e-5
	if s.weights.F64 != nil {
		rounding = 1e-11
	}
	for i, k := range s.kinds {
		if k.Kind != Tangent {
			continue
		}
		u := s.old[i].Like()
		if err := s.manifold.Tangent(u, s.x, s.old[i]); err != nil {
			return s.fail(ErrConstraint, err.Error(), err)
		}
		normal := s.old[i].Like()
		if err := normal.Combine(1, s.old[i], -1, u); err != nil {
			return s.fail(ErrConstraint, err.Error(), err)
		}
		if normal.Norm() > rounding*s.old[i].Norm() {
			if &s.from[0] == &s.old[0] {
				s.from = slices.Clone(s.old)
			}
			s.from[i] = u
		}
	}
	return nil
}

// carried reports whether the state before the step is another than the last step left.
func (s *slot) carried() bool { return len(s.old) > 0 && &s.from[0] != &s.old[0] }

// measure turns the direction v into the step -lr/g_t v, point by point, and
// notes its length.
func (s *slot) measure(v manifolds.Points, lr float64, geometric bool) error {
	if s.euclidean {
		s.stats.riemannian = v.Norm()
		s.stats.length, s.stats.geometric = lr*s.stats.riemannian, 1
		if err := s.bounded(lr); err != nil {
			return err
		}
		return v.Combine(-lr, v, 0, v)
	}
	f := scratch.Get[float64](v.K)
	defer scratch.Put(f)
	if err := manifolds.Inner(s.manifold, f, s.x, v, v); err != nil {
		return s.fail(ErrConstraint, err.Error(), err)
	}
	total, length, largest := 0.0, 0.0, 1.0
	for i, sq := range f {
		factor := 1.0
		if geometric && s.curvature > 0 {
			factor = manifolds.GeometricFactor(math.Sqrt(sq), s.curvature)
		}
		largest = max(largest, factor)
		f[i] = -lr / factor
		total += sq
		length += f[i] * f[i] * sq
	}
	s.stats.riemannian, s.stats.length, s.stats.geometric = math.Sqrt(total), math.Sqrt(length), largest
	if err := s.bounded(lr); err != nil {
		return err
	}
	return v.Scale(f, v)
}

// bounded returns an error if the step is too long for the precision.
func (s *slot) bounded(lr float64) error {
	limit := 1e30
	if s.weights.F64 != nil {
		limit = 1e300
	}
	if s.stats.length < limit {
		return nil
	}
	return s.fail(ErrDiverged, fmt.Sprintf("want a step shorter than %g in %s, got %g: the learning rate %g is too large",
		limit, s.weights.Precision(), s.stats.length, lr), nil)
}

// commit makes the step real.
func (e *engine) commit(active []*slot) error {
	err := e.each(active, weights(active)/16, (*engine).keep)
	e.steps++
	e.turn++
	return err
}

// keep makes the step of a parameter real. Shapes were checked: it cannot fail.
func (e *engine) keep(s *slot) error {
	if s.theirs {
		s.grad.Zero()
		s.elsewhere = false
		s.steps++
		return nil
	}
	if !s.swift {
		s.old, s.new = s.new, s.old
		s.x = s.next
		s.grad.Zero()
	}
	if !s.swift || s.dirty || !s.layout.Contiguous() {
		if err := s.store(s.x); err != nil {
			return s.fail(ErrParameter, err.Error(), err)
		}
	}
	if s.dirty && s.steps > 0 {
		s.stats.reprojections++
	}
	s.dirty, s.elsewhere = false, false
	s.steps++
	return nil
}
