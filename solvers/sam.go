// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// SAM is sharpness-aware minimisation with the steps of another solver. NewSAM makes one.
type SAM struct {
	*Solver
	rho   float64
	err   error        // of rho
	above bool         // between Ascend and Step
	flat  bool         // Ascend has moved nothing: rho or all gradients are 0
	path  []*parameter // of Ascend
	shown []gorgonia.ValueGrad
}

var _ gorgonia.Solver = (*SAM)(nil)

// NewSAM returns sharpness-aware minimisation (Foret, Kleiner, Mobahi, Neyshabur, ICLR 2021; on manifolds Yun and Yang,
// NeurIPS 2023) with the steps of s. A step needs the gradient at two points. The gradient at the weights x gives the
// ascended weights x~, at the distance rho, where the cost is highest to first order:
//
//	e  = rho grad f(x) / |grad f(x)|       grad the Riemannian gradient, the norm that of all parameters together
//	x~ = R_x(e)                            retraction; x + e for unconstrained parameters
//
// Then s makes its step from x with the gradient at x~,
//
//	g  = T(P_x~(g~))                       g~ the Euclidean gradient at x~, T the transport from x~ to x
//
// so that it reduces the largest cost within the distance rho. P_x~ is the tangent projection, whatever the metric, and
// s treats g like any Euclidean gradient. For unconstrained parameters g = g~. Kernels on a manifolds.Ambient, whose
// inner product is not the Frobenius product, are an error, because there a tangent vector is not a Euclidean gradient.
//
// A training loop calls Ascend after the first backward pass, runs the graph again on the same batch, and calls Step:
//
//	vm.RunAll()
//	sam.Ascend(model)
//	vm.Reset()
//	vm.RunAll()
//	sam.Step(model)
//	vm.Reset()
//
// train.Fit does this by itself. Running statistics of batch normalisations should be updated in the first pass only,
// and random numbers, such as the mask of a dropout, should be the same in both passes.
//
// The options of s apply to its step; those that scale or clip gradients have no effect on the ascent. With rho = 0 the
// steps are those of s, bit for bit. Foret et al. use rho = 0.05 on CIFAR-10 and 0.1 on CIFAR-100. Do not call s itself
// between Ascend and Step. For a stock solver, pass the Solver of Constrain:
//
//	solvers.NewSAM(solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Stiefel{}).Solver, 0.05)
func NewSAM(s *Solver, rho float64) *SAM {
	a := &SAM{Solver: s, rho: rho}
	if err := natural(rho); err != nil {
		a.err = optionError("NewSAM: rho: %v", err)
	}
	if s == nil {
		a.Solver, a.err = &Solver{}, optionError("NewSAM: want a solver, got nil")
	}
	return a
}

// ascent holds what SAM keeps of a parameter between Ascend and Step. Its memory is reused.
type ascent struct {
	at, from dense.View   // the weights, and a copy of those before Ascend
	shown    *transported // what the solver is shown, nil for an unconstrained parameter
	square   float64      // of the norm of the Riemannian gradient, over the scale
	straight float64      // the scale, where the weights move along the gradient itself; else 0
	quick    bool         // the square is known without the Riemannian gradients themselves
	fused    bool         // the weights move in place, along the descent, when all processes agree
	descent  manifolds.Descent
	repair   []bool // parts that were not on their manifold
	kept     bool   // from holds the weights before the ascent under way
	back     bool   // Step has seen the parameter
}

// String names the solver.
func (s *SAM) String() string { return fmt.Sprintf("SAM(%s)", s.Solver) }

// Unwrap returns the solver that makes the steps.
func (s *SAM) Unwrap() gorgonia.Solver { return s.Solver }

// Rho returns the distance of the ascended weights.
func (s *SAM) Rho() float64 { return s.rho }

// Ascend moves the weights to where Step needs the gradient, and zeroes the gradients. It is atomic, as Step is; after ErrOverwritten
// the weights are back, and gradients may be zero. A second Ascend before the Step is ErrAscent.
func (s *SAM) Ascend(model []gorgonia.ValueGrad) error { return s.AscendShare(model, alone) }

// AscendShare is Ascend for one of several processes, each of which moves all weights. Agree is called as in StepShare, and Exchange is not. It
// returns the errors of Ascend, and ErrOption if share has no Agree.
func (s *SAM) AscendShare(model []gorgonia.ValueGrad, share Share) error {
	e := s.made()
	if err := share.check(false); err != nil {
		return e.refuse(err)
	}
	if err := s.between("Ascend"); err != nil {
		return share.Agree(e.refuse(err), 0)
	}
	defer e.finish()
	active, err := e.agreeOn(model, share, func(active []*parameter) error {
		// Agree compares the plan and the rate of all processes, so both must be those of the Step that follows. Where only the Step is
		// divided, this process ascends for itself and the plan stays.
		if e.ranks <= 1 || e.ranks == share.Size {
			if err := e.assign(share); err != nil {
				return err
			}
		}
		e.decay = e.schedule.At(e.steps)
		return s.climb(active)
	})
	if err == nil {
		err = share.Agree(e.each(active, 4*weights(active), func(_ *engine, p *parameter) error { return p.rise() }), e.fingerprint())
	}
	if err != nil {
		s.descend()
		return e.refuse(err)
	}
	e.last = nil
	return nil
}

// rise moves the weights that move in place, which cannot fail unless something else has written to them, and zeroes the gradient.
func (p *parameter) rise() error {
	if !p.ascent.fused {
		if p.grad.Len() > 0 {
			p.grad.Zero()
		}
		return nil
	}
	q := p.parts[0]
	g, err := q.batch(p.grad, nil)
	if err == nil {
		_, err = q.bound.descender.Descend(q.X, manifolds.Points{}, g, p.ascent.descent)
	}
	if err != nil {
		return q.fail(ErrOverwritten, fmt.Sprintf("ascent: %v: the weights were written to since the last step", err), err)
	}
	return nil
}

// between returns an error if the weights are the ascended ones.
func (s *SAM) between(call string) error {
	switch {
	case s.err != nil:
		return s.err
	case s.Solver == nil:
		return s.unmade(call)
	case s.above:
		return fmt.Errorf("solvers: %s: want %s between a Step of %s and the next Ascend, got it after Ascend (%w)", call, call, s, ErrAscent)
	}
	return nil
}

func (s *SAM) unmade(call string) error {
	return optionError("%s: want a SAM made by NewSAM, got the zero SAM", call)
}

// climb moves the weights, except those that rise moves. If it fails, descend undoes this.
func (s *SAM) climb(active []*parameter) error {
	e := &s.engine
	norms := scratch.Get[float64](len(active))
	defer scratch.Put(norms)
	for i, p := range active {
		norms[i] = p.gradient
		p.ascent.at, p.ascent.back, p.ascent.fused = p.weights, false, false
	}
	scale := together(norms) // so that squares neither overflow nor vanish
	s.path, s.above = append(s.path[:0], active...), true
	if s.flat = s.rho == 0 || scale == 0; s.flat {
		return nil
	}
	work := 4 * weights(active)
	if err := e.each(active, work, func(_ *engine, p *parameter) error { return p.slope(scale) }); err != nil {
		return err
	}
	for i, p := range active {
		norms[i] = math.Sqrt(p.ascent.square)
	}
	norm := together(norms)
	if norm == 0 {
		s.flat = true
		return nil
	}
	return e.each(active, work, func(_ *engine, p *parameter) error { return p.ascend(s.rho/norm, scale) })
}

// quickSquare computes the square of the norm of the Riemannian gradients, over the scale, without writing them, and reports whether it did.
// Where a projection takes products of matrices, it is cheaper to write them, and to use them for the move.
func (p *parameter) quickSquare(scale float64) bool {
	q := p.parts[0]
	m, ok := q.bound.descender.(manifolds.Adaptable)
	if !ok || inFrobenius(q.Manifold, "SAM") != nil || q.bound.properties.Cost > 0 || !q.whole() || p.shared || q.extreme(scale) || q.points() != nil || q.step.dirty ||
		!m.Descends(q.Manifold, q.X, manifolds.Descent{Slope: -1}, manifolds.Bounds{Gradient: p.gradient}) {
		return false
	}
	g, err := q.batch(p.grad, nil)
	if err != nil {
		return false
	}
	squares := scratch.Get[float64](g.K)
	defer scratch.Put(squares)
	if m.GradientSquares(squares, q.X, g) != nil {
		return false
	}
	sum := 0.0
	for _, sq := range squares {
		sum += sq
	}
	p.ascent.square = sum / scale / scale
	return p.ascent.square <= math.MaxFloat64
}

// descends reports whether the weights can move in place by c times the Riemannian gradient over the scale, and prepares that.
func (p *parameter) descends(c, scale float64) bool {
	a, q := &p.ascent, p.parts[0]
	a.descent = manifolds.Descent{Slope: -1, Rate: c / scale}
	a.fused = q.bound.descender.Descends(q.Manifold, q.X, a.descent, manifolds.Bounds{Gradient: p.gradient})
	return a.fused
}

// slope computes the Riemannian gradients of the parts, divided by scale, and stores them as their directions, or only the square of their norm where
// that is enough.
func (p *parameter) slope(scale float64) error {
	a := &p.ascent
	a.square, a.straight, a.quick = 0, 0, false
	if p.settings.frozen {
		return nil
	}
	if a.quick = p.quickSquare(scale); a.quick {
		return nil
	}
	if q := p.parts[0]; len(p.parts) == 1 && q.bound.euclidean && !q.extreme(scale) && scale > 1e-12 && scale < 1e12 {
		a.square, a.straight = p.gradient/scale*(p.gradient/scale), scale
		return nil
	}
	return p.gradients(scale)
}

// gradients is slope for parts that do not move in place.
func (p *parameter) gradients(scale float64) error {
	a := &p.ascent
	a.square = 0
	for _, q := range p.parts {
		if err := inFrobenius(q.Manifold, "SAM"); err != nil {
			return q.fail(ErrConstraint, err.Error(), nil)
		}
		if err := q.points(); err != nil {
			return err
		}
		wide := q.single() && q.extreme(scale)
		if wide {
			q.X = widen(q.borrow(true), q.X)
		}
		g, err := q.gather(p.grad, min(1/scale, math.MaxFloat64), wide)
		if err != nil {
			return q.fail(ErrParameter, err.Error(), err)
		}
		if err := manifolds.Gradient(q.Manifold, g, q.X, g); err != nil {
			return q.fail(ErrConstraint, err.Error(), err)
		}
		square, err := q.inner(q.X, g, g)
		if err != nil {
			return err
		}
		a.square += square
		q.Direction = g
	}
	return nil
}

// points sets X to the points of a part that was not loaded at the admission, because another process moves it.
func (p *Part) points() error {
	if p.X.K == 0 {
		return p.read()
	}
	return p.readIfUnread()
}

// ascend moves the weights along c times the directions, or prepares that where they move in place.
func (p *parameter) ascend(c, scale float64) error {
	a := &p.ascent
	if p.settings.frozen {
		return nil
	}
	a.keep(p)
	if a.straight > 0 {
		return p.straight(c / a.straight)
	}
	if a.quick {
		a.repair[0] = false
		if p.descends(c, scale) {
			return nil
		}
		if err := p.gradients(scale); err != nil {
			return err
		}
	}
	for i, q := range p.parts {
		a.repair[i] = q.step.dirty
		v := q.Direction
		if err := v.Combine(c, v, 0, v); err != nil {
			return q.fail(ErrParameter, err.Error(), err)
		}
		y := q.borrow(v.Data64() != nil)
		var err error
		if q.bound.euclidean {
			err = y.Combine(1, q.X, 1, v)
		} else {
			err = q.Manifold.Retract(y, q.X, v)
		}
		if err == nil {
			err = q.place(p.weights, y)
		}
		if err != nil {
			return q.fail(ErrDiverged, fmt.Sprintf("ascent: %v", err), err)
		}
	}
	return nil
}

// straight adds c times the gradient to the weights of an unconstrained parameter.
func (p *parameter) straight(c float64) error {
	w := p.weights
	if w.F64 != nil {
		vec.Combine(w.F64, 1, w.F64, c, p.grad.F64)
	} else {
		vec.Combine(w.F32, 1, w.F32, c, p.grad.F32)
	}
	if !(w.Norm() <= math.MaxFloat64) {
		return p.fail(ErrDiverged, "ascent: want finite weights, got "+w.FirstBad(), nil)
	}
	return nil
}

// keep copies the weights and allocates the memory that Step needs.
func (a *ascent) keep(p *parameter) {
	if a.repair == nil {
		a.from, _ = dense.Of(blankValue(p))
		a.repair = make([]bool, len(p.parts))
		for _, q := range p.parts {
			if !q.bound.euclidean {
				a.shown = &transported{name: p.name, grad: blankValue(p)}
				break
			}
		}
	}
	copy(a.from.Bytes(), p.weights.Bytes())
	a.kept = true
}

// Cancel moves the weights back to where they were before Ascend. The next call must be Ascend. Cancel does
// nothing before Ascend or after Step. Use it if the second pass fails; a Step that fails does the same by
// itself.
func (s *SAM) Cancel() { s.descend() }

// descend moves the weights back.
func (s *SAM) descend() {
	for i, p := range s.path {
		a := &p.ascent
		if a.kept {
			copy(a.at.Bytes(), a.from.Bytes())
		}
		a.at, a.kept = dense.View{}, false
		s.path[i] = nil
	}
	s.path, s.above = s.path[:0], false
}

// Step moves the weights back to where they were before Ascend, and makes the step of the solver from there.
// The gradients that it receives are those at the ascended weights, and the parameters must be those of
// Ascend.
//
// Ascend and Step together are atomic: after an error weights and state are as before Ascend, gradients are
// as before Step, and the next call must be Ascend. A Step without an Ascend changes nothing and returns
// ErrAscent.
func (s *SAM) Step(model []gorgonia.ValueGrad) error { return s.StepShare(model, alone) }

// StepShare is Step for one of several processes, as for a Solver. All of them must have called AscendShare.
func (s *SAM) StepShare(model []gorgonia.ValueGrad, share Share) error {
	e := s.made()
	if err := share.check(true); err != nil {
		return e.refuse(err)
	}
	shown, err := s.back(model)
	defer func() {
		for i, v := range shown { // so that nothing keeps a graph alive
			if t, ok := v.(*transported); ok {
				t.ValueGrad, t.original = nil, dense.View{}
			}
			shown[i] = nil
		}
	}()
	if err != nil {
		return share.Agree(e.refuse(err), 0)
	}
	if err := s.Solver.StepShare(shown, share); err != nil {
		return err
	}
	for _, v := range shown {
		if t, ok := v.(*transported); ok {
			t.original.Zero()
		}
	}
	return nil
}

// back transports the gradients, moves the weights back, and returns what the solver is to be shown.
func (s *SAM) back(model []gorgonia.ValueGrad) ([]gorgonia.ValueGrad, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.Solver == nil:
		return nil, s.unmade("Step")
	case !s.above:
		return nil, fmt.Errorf("solvers: Step: want a call of Ascend, and a run of the machine, before each Step of %s, got none (%w)", s, ErrAscent)
	}
	defer s.descend()
	e := &s.engine
	e.active = e.active[:0]
	defer e.finish()
	if len(model) != len(s.path) {
		return nil, fmt.Errorf("solvers: Step: want the %d parameters of Ascend, got %d (%w)", len(s.path), len(model), ErrAscent)
	}
	s.shown = append(s.shown[:0], model...)
	for i, v := range model {
		p, w, err := s.climbed(v, i)
		if err != nil {
			return s.shown, err
		}
		a := &p.ascent
		p.weights, a.back = w, true
		e.active = append(e.active, p)
		if s.flat || p.settings.frozen || a.shown == nil {
			continue
		}
		if err := p.takeGradient(v); err != nil {
			return s.shown, err
		}
		a.shown.ValueGrad, a.shown.original, s.shown[i] = v, p.grad, a.shown
	}
	return s.shown, e.each(e.active, 4*weights(e.active), (*engine).transport)
}

// climbed returns the parameter for v that Ascend has moved, with its weights.
func (s *SAM) climbed(v gorgonia.ValueGrad, i int) (*parameter, dense.View, error) {
	w, err := weightsOf(v, i)
	if err != nil {
		return nil, w, err
	}
	p := s.engine.find(v, w)
	if p == nil { // the graph that it was bound in is gone, and the weights are the ascended ones
		p = s.engine.byStorage[address(w)]
	}
	switch {
	case p == nil || p.ascent.at.Len() != w.Len() || p.ascent.at.Storage() != w.Storage():
		return nil, w, &ParameterError{Name: nameOf(v, i), Shape: w.Shape, Kind: ErrAscent, Cause: "want the parameters of Ascend, with their memory, got another"}
	case p.ascent.back:
		return nil, w, p.twice(nameOf(v, i))
	}
	return p, w, nil
}

// transport computes the gradient that the solver is shown, if it differs from that of the parameter.
func (e *engine) transport(p *parameter) error {
	a := &p.ascent
	if p.grad.Len() == 0 {
		return nil
	}
	norm := p.grad.Norm()
	if !(norm <= math.MaxFloat64) {
		return p.fail(ErrNotFinite, "want a finite gradient, got "+p.grad.FirstBad(), nil)
	}
	to, err := dense.Of(a.shown.grad)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	for i, q := range p.parts {
		wide := q.single() && q.extreme(norm)
		if q.whole() && !q.bound.euclidean && !wide && !a.repair[i] {
			if err := q.transportTo(to, a); err != nil {
				return q.fail(ErrDiverged, fmt.Sprintf("gradient of the ascended weights: %v", err), err)
			}
			continue
		}
		g, err := q.gather(p.grad, 1, wide)
		if err == nil && !q.bound.euclidean {
			err = q.transportBack(g, a, i, wide)
		}
		if err == nil {
			err = q.place(to, g)
		}
		if err != nil {
			return q.fail(ErrDiverged, fmt.Sprintf("gradient of the ascended weights: %v", err), err)
		}
	}
	return nil
}

// transportTo is transportBack of the gradient to other memory, without copies, for points that need none.
func (p *Part) transportTo(to dense.View, a *ascent) error {
	var all [4]manifolds.Points
	for i, v := range [...]dense.View{to, p.bound.of.grad, a.at, a.from} {
		var err error
		if all[i], err = p.batch(v, nil); err != nil {
			return err
		}
	}
	g, euclidean, y, x := all[0], all[1], all[2], all[3]
	if err := p.Manifold.Tangent(g, y, euclidean); err != nil {
		return err
	}
	return p.Manifold.Transport(g, y, x, g)
}

// transportBack replaces the Euclidean gradient at the ascended points by its tangent part, transported to the points before the ascent.
func (p *Part) transportBack(g manifolds.Points, a *ascent, i int, wide bool) error {
	y, err := p.lentBatch(a.at)
	if err != nil {
		return err
	}
	x, err := p.lentBatch(a.from)
	if err != nil {
		return err
	}
	if wide {
		x, y = widen(p.borrow(true), x), widen(p.borrow(true), y)
	}
	if a.repair[i] {
		off := x
		x = p.borrow(wide)
		if err := p.Manifold.Project(x, off); err != nil {
			return err
		}
	}
	if err := p.Manifold.Tangent(g, y, g); err != nil {
		return err
	}
	return p.Manifold.Transport(g, y, x, g)
}

// transported is a parameter with another gradient.
type transported struct {
	gorgonia.ValueGrad
	name     string
	grad     gorgonia.Value
	original dense.View
}

func (t *transported) Grad() (gorgonia.Value, error) { return t.grad, nil }
func (t *transported) Name() string                  { return t.name }

// Init calls that of the solver. Between Ascend and Step it returns ErrAscent.
func (s *SAM) Init(model []gorgonia.ValueGrad) error {
	if err := s.between("Init"); err != nil {
		return err
	}
	return s.Solver.Init(model)
}

// Report returns the report of the solver. Gradients are those at the ascended weights; those of constrained
// parameters have no normal part, so their Outwardness is 0.
func (s *SAM) Report() Report {
	r := s.Solver.Report()
	r.Solver = s.String()
	if r.Err == nil {
		r.Err = s.err
	}
	return r
}

// Snapshot returns that of the solver, because SAM has no state between two steps. Between Ascend and Step it returns ErrAscent.
func (s *SAM) Snapshot() (*Snapshot, error) {
	if err := s.between("Snapshot"); err != nil {
		return nil, err
	}
	snap, err := s.Solver.Snapshot()
	if err == nil {
		snap.Solver = s.String()
	}
	return snap, err
}

// Restore restores the solver from the snapshot of a SAM around a solver of the same rule. Between Ascend and Step it returns ErrAscent.
func (s *SAM) Restore(model []gorgonia.ValueGrad, snap *Snapshot) error {
	if err := s.between("Restore"); err != nil {
		return err
	}
	if snap == nil {
		return s.Solver.Restore(model, nil)
	}
	if snap.Solver != s.String() {
		return fmt.Errorf("solvers: restore: want the snapshot of %s, got that of %s (%w)", s, snap.Solver, ErrParameter)
	}
	own := *snap
	own.Solver = s.Solver.String()
	return s.Solver.Restore(model, &own)
}
