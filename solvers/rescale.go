// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Rescale makes manifolds larger or smaller between two steps, together with the points on them. For each
// part on a manifold, of the parameters given as for Step, it calls scale, which returns the size of the
// manifold relative to the size that its constraint gave it: p.Scale() leaves it unchanged, and 1 undoes all
// earlier calls of Rescale. With s the ratio to the previous scale,
//
//	M <- s M,  x <- s x,
//
// and momentum and other averages of gradients do not change: a vector that is tangent at x is also tangent
// at s x. State of a rule in the units of weights is scaled with the points: see Resizing. Scale is not
// called for frozen and unconstrained parameters. Reports, snapshots and checkpoints contain the scale.
//
// If several processes share steps, all of them must call Rescale with the same scales. Rescale is atomic. It
// fails for a scale that is not positive and finite, for points that overflow their precision, and for a
// manifold that is not a manifolds.Scalable if its scale would change.
func (s *Solver) Rescale(model []gorgonia.ValueGrad, scale func(p *Part) (float64, error)) error {
	return s.made().rescale(model, scale)
}

// Rescaler is implemented by the solvers that have Rescale: those of this package, and a SAM or an Average around one.
type Rescaler interface {
	Rescale(model []gorgonia.ValueGrad, scale func(p *Part) (float64, error)) error
}

var (
	_ Rescaler = (*Solver)(nil)
	_ Rescaler = (*SAM)(nil)
	_ Rescaler = (*Average)(nil)
)

// Resizing is implemented by a Rule with state in the units of weights, such as earlier points or distances.
type Resizing interface {
	Rule
	// Resize scales the state of a part whose points become factor times as large. It must not fail for a
	// positive finite factor, because it is called after all checks, when other parts may already have been
	// rescaled.
	Resize(state []manifolds.Points, factor float64) error
}

// resized is a part that becomes larger or smaller.
type resized struct {
	part  *Part
	to    manifolds.Manifold
	at    manifolds.Points // the points on it
	scale float64          // of to
	ratio float64          // of scale to that before
}

var errNoScale = optionError("Rescale: want a function, got nil")

func (e *engine) rescale(model []gorgonia.ValueGrad, scale func(p *Part) (float64, error)) error {
	if scale == nil {
		return e.refuse(errNoScale)
	}
	defer e.finish()
	active, err := e.admit(model, false)
	var all []resized
	for _, p := range active {
		for _, q := range p.parts {
			if err != nil || p.settings.frozen || q.bound.euclidean {
				continue
			}
			var r *resized
			if r, err = q.resize(scale); r != nil {
				all = append(all, *r)
			}
		}
	}
	if err != nil {
		e.takeBack()
		return e.refuse(err)
	}
	for _, r := range all {
		if err := r.commit(); err != nil {
			return r.part.fail(ErrParameter, err.Error(), err)
		}
	}
	if len(all) > 0 && e.ranks > 0 {
		e.identify() // the plan depends on the manifolds
	}
	e.unsee() // Forget and reports ask for the parameters of steps
	return nil
}

// resize does everything that can fail. It returns nil for a part that does not change.
func (p *Part) resize(scale func(p *Part) (float64, error)) (*resized, error) {
	s, err := scale(p)
	if err != nil {
		return nil, p.fail(ErrConstraint, err.Error(), err)
	}
	if s == p.memory.scale {
		return nil, nil
	}
	to, err := p.scaled(s)
	if err != nil {
		return nil, err
	}
	if err := p.load(true); err != nil { // on every process, whoever moves it
		return nil, err
	}
	p.bound.of.elsewhere = p.bound.of.elsewhere || p.step.dirty
	r := &resized{p, to, p.borrow(false), s, s / p.memory.scale}
	if err := r.at.Combine(r.ratio, p.X, 0, p.X); err != nil {
		return nil, p.fail(ErrParameter, err.Error(), err)
	}
	if _, err := finite(r.at); err != nil {
		return nil, p.fail(ErrNotFinite, fmt.Sprintf("scale %g: %v", s, err), err)
	}
	if !(to.Membership(r.at) <= p.tolerance()) {
		if err := to.Project(r.at, r.at); err != nil {
			return nil, p.fail(ErrConstraint, fmt.Sprintf("scale %g: %v", s, err), err)
		}
	}
	return r, nil
}

// scaled returns the manifold of the part at a scale.
func (p *Part) scaled(s float64) (manifolds.Manifold, error) {
	if s == 1 {
		return p.bound.unit, nil
	}
	m, ok := p.bound.unit.(manifolds.Scalable)
	if !ok {
		return nil, p.fail(ErrConstraint, fmt.Sprintf("want a manifold with a scale, or the scale 1, got %s and the scale %g", manifolds.Name(p.bound.unit), s), nil)
	}
	if !(s > 0) || math.IsInf(s, 0) {
		return nil, p.fail(ErrConstraint, fmt.Sprintf("want a positive finite scale, got %g", s), nil)
	}
	return m.Scaled(s), nil
}

// commit sets the new scale.
func (r resized) commit() error {
	p := r.part
	of := p.bound.of
	if rule, ok := of.settings.rule.(Resizing); ok && p.memory.state != nil {
		if err := rule.Resize(p.memory.state, r.ratio); err != nil {
			return err
		}
	}
	if err := p.put(of.weights, r.at); err != nil {
		return err
	}
	p.on(r.to, r.scale)
	p.memory.size = r.at.Norm()
	if p.step.dirty {
		p.corrected()
	}
	of.witness, of.unsettled = witnessOf(of.weights), of.elsewhere
	return nil
}

// on puts the part on a manifold.
func (p *Part) on(m manifolds.Manifold, scale float64) {
	b := &p.bound
	p.Manifold, p.memory.scale = m, scale
	b.properties = manifolds.PropertiesOf(m, b.layout.N, b.layout.P)
	if r, ok := b.of.settings.rule.(Costly); ok {
		b.properties.Cost += r.Cost(m, b.layout)
	}
	b.descender, _ = m.(manifolds.Descender)
}

// Scale returns the size of the manifold relative to the size that the constraint of the parameter gave it: 1 unless Rescale was called.
func (p *Part) Scale() float64 { return p.memory.scale }

// Mean returns the mean of values over the weights of the part. Values has a number for each weight of the parameter, in their order;
// another length is ErrParameter.
func (p *Part) Mean(values []float64) (float64, error) {
	if want := p.bound.of.shape.TotalSize(); len(values) != want {
		return 0, p.fail(ErrParameter, fmt.Sprintf("want a value for each of %d weights, got %d", want, len(values)), nil)
	}
	flat, err := manifolds.Points64(values, len(values), 1, 1)
	if err != nil {
		return 0, p.fail(ErrParameter, err.Error(), err)
	}
	l := p.bound.layout
	x := lend(l.K, l.N, l.P, true)
	defer giveBack(x)
	if err := l.Gather(x, flat); err != nil {
		return 0, p.fail(ErrParameter, err.Error(), err)
	}
	sum := 0.0
	for _, v := range x.Data64() {
		sum += v
	}
	return sum / float64(len(x.Data64())), nil
}

// Rescale calls that of the solver. Between Ascend and Step it returns ErrAscent.
func (s *SAM) Rescale(model []gorgonia.ValueGrad, scale func(p *Part) (float64, error)) error {
	if err := s.between("Rescale"); err != nil {
		return err
	}
	return s.Solver.Rescale(model, scale)
}

// Rescale calls that of the solver, which must be one of this package, and scales the averages with the
// weights. Between Swap and SwapBack it returns ErrAverage.
func (a *Average) Rescale(model []gorgonia.ValueGrad, scale func(p *Part) (float64, error)) error {
	if err := a.between("Rescale"); err != nil {
		return err
	}
	if scale == nil {
		return errNoScale
	}
	s, ok := wrap.Find[Rescaler](a.inner)
	if !ok {
		return fmt.Errorf("solvers: %s: want a solver of this package to rescale, got %s (%w)", a, wrap.Describe(a.inner), ErrStock)
	}
	before := map[*Part]float64{}
	err := s.Rescale(model, func(p *Part) (float64, error) {
		before[p] = p.Scale()
		return scale(p)
	})
	if err != nil {
		return err
	}
	for p, was := range before {
		if m := p.bound.of.means[a]; m != nil && p.Scale() != was {
			if err := p.enlarge(m.at, p.Scale()/was); err != nil {
				return err
			}
		}
	}
	return nil
}

// enlarge multiplies the weights of the part by factor, among all weights of its parameter.
func (p *Part) enlarge(weights []float64, factor float64) error {
	defer p.release()
	x, err := p.gather(dense.View{F64: weights}, factor, true)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	return p.put(dense.View{F64: weights}, x)
}
