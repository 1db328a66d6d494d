// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// bind makes a parameter that is seen for the first time.
func (c *config) bind(v gorgonia.ValueGrad, name string, w dense.View, roles *roles.Reader) (*parameter, error) {
	flat, err := points(w, w.Len(), 1, 1)
	if err != nil {
		return nil, &ParameterError{Name: name, Shape: w.Shape, Kind: ErrParameter, Cause: "want at least one weight", Err: err}
	}
	return c.bindAt(v, name, w, flat.Norm(), roles)
}

// bindAt is bind for weights that had the given norm when they were first seen.
func (c *config) bindAt(v gorgonia.ValueGrad, name string, w dense.View, norm float64, graphs *roles.Reader) (*parameter, error) {
	p := &parameter{
		who: identify(v), name: name, shape: w.Shape.Clone(), precision: w.Precision(), role: graphs.Of(v, w.Shape),
		storage: address(w), witness: witnessOf(w), norm: norm, owner: everyone, constraint: manifolds.On(manifolds.Euclidean{}),
	}
	if !(norm <= math.MaxFloat64) {
		return nil, p.fail(ErrNotFinite, "want finite weights, got "+w.FirstBad(), nil)
	}
	claim, claimed, conflict := roles.ClaimOf[manifolds.Constraint](graphs, v)
	p.claimed = claimed
	p.settings = c.settings
	p.settings.learnRate = c.base // SetLearnRate scales the rates of all parameters
	if r, ok := c.rule.(Partial); ok && !r.Moves(p.group()) {
		p.settings = p.settings.by(r.Rest())
	}
	for _, s := range c.selections {
		if !s.matches(p) {
			continue
		}
		next, err := p.settings.with(s.options)
		if err != nil {
			cause := err.Error()
			if p.settings.rest {
				cause = fmt.Sprintf("it is moved by %s, not by %s: %s", p.settings.rule.Name(), c.rule.Name(), cause)
			}
			return nil, p.fail(ErrOption, cause, err)
		}
		p.settings = next
		switch {
		case s.natural && conflict != nil:
			return nil, p.fail(ErrConstraint, conflict.Error(), conflict)
		case s.natural:
			p.constraint = claim
		case s.constraint != nil:
			p.constraint = *s.constraint
		}
	}
	if cut, ok := p.settings.rule.(Cutting); ok && p.constraint == manifolds.On(manifolds.Euclidean{}) {
		p.constraint = manifolds.On(manifolds.Euclidean{}, cut.Cut(p.shape))
	}
	if err := p.askRole(); err != nil {
		return nil, err
	}
	shape := []int(w.Shape)
	if _, ok := p.constraint.Manifold.(manifolds.Euclidean); ok && len(shape) == 0 {
		shape = []int{1} // a scalar
	}
	p.constraint.Layer = name
	pieces, err := p.constraint.Bind(shape, norm)
	if err != nil {
		return nil, p.fail(ErrConstraint, err.Error(), err)
	}
	for _, piece := range pieces {
		q := &Part{}
		q.bound = bound{of: p, name: piece.Name, layout: piece.Layout, groups: piece.Groups, kinds: p.settings.rule.State(), unit: piece.Manifold}
		q.on(piece.Manifold, 1)
		q.bound.forward = slices.IsSorted(piece.Layout.Order)
		_, q.bound.euclidean = piece.Manifold.(manifolds.Euclidean)
		for i, k := range q.bound.kinds {
			q.bound.carries = q.bound.carries || i == 0 && (k.Kind == Ambient || k.Kind == Tangent)
			q.bound.perPart = q.bound.perPart || k.Kind == PerPart
		}
		q.memory.size, q.memory.progress = norm, manifolds.Progress{Factor: 1}
		p.parts = append(p.parts, q)
		if err := p.allows(q); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// group returns the shape of the kernel of one group of a convolution, with the filters first. For any other parameter it returns its shape.
func (p *parameter) group() tensor.Shape {
	s := p.shape.Clone()
	if p.role.Role != roles.Kernel || p.role.Convolution == (roles.Convolution{}) {
		return s
	}
	s[0] /= max(1, p.role.Groups)
	if p.role.Transposed {
		s[0], s[1] = s[1], s[0]
	}
	return s
}

// askRole completes the grouping by what the graph says about the convolution of a kernel.
func (p *parameter) askRole() (err error) {
	if p.role.Role != roles.Kernel {
		return nil
	}
	groups, transposed := max(1, p.role.Groups), p.role.Transposed
	g := p.constraint.Grouping
	if asks := g.Of(1, true) != g; asks && p.role.Unclear != "" {
		return p.fail(ErrConstraint, fmt.Sprintf("want Groups or Transposed in its grouping, %v, as its graph does not tell what convolution the kernel belongs to: %s", g, p.role.Unclear), nil)
	}
	p.constraint.Grouping = g.Of(groups, transposed)
	if p.filters, err = manifolds.PerFilter.Of(groups, transposed).Layout(p.shape); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	return nil
}

// allows returns an error if the settings do not fit the manifold of a part.
func (p *parameter) allows(q *Part) error {
	if q.bound.euclidean || p.settings.frozen {
		return nil
	}
	l := q.bound.layout
	if q.bound.properties.Dim == 0 {
		return q.fail(ErrConstraint, fmt.Sprintf("want a manifold to move on, got %s of dimension 0 for points of %dx%d (%v): choose another grouping, or free it by Param(%q, manifolds.Euclidean{})",
			manifolds.Name(q.Manifold), l.N, l.P, p.constraint.Grouping, p.name), nil)
	}
	if r, ok := p.settings.rule.(Restricted); ok {
		if err := r.Admits(q.Manifold); err != nil {
			return q.fail(ErrConstraint, err.Error(), err)
		}
	}
	return p.allowsDecay(q)
}

// allowsDecay returns an error if weight decay does not fit the manifold of a part.
func (p *parameter) allowsDecay(q *Part) error {
	s := &p.settings
	_, other := s.rule.(*wrapped)
	switch {
	case s.decay == 0:
		return nil
	case s.decayOf == decayEverything:
		return q.fail(ErrConstraint, fmt.Sprintf("want no weight decay on %s, whose points have a fixed scale, got WeightDecay(%g): say EuclideanDecay for the other parameters, or AmbientDecay for the paper's",
			manifolds.Name(q.Manifold), s.decay), nil)
	case s.decayOf == decayAmbient && other:
		return q.fail(ErrConstraint, fmt.Sprintf("want no ambient decay on %s under Constrain, whose solver sees only the tangent part of a gradient, got AmbientDecay(%g)",
			manifolds.Name(q.Manifold), s.decay), nil)
	case s.decayOf == decayAmbient:
		if err := inFrobenius(q.Manifold, fmt.Sprintf("AmbientDecay(%g)", s.decay)); err != nil {
			return q.fail(ErrConstraint, err.Error()+": say EuclideanDecay for the other parameters", err)
		}
	}
	return nil
}

// tolerance is the largest membership error that is not corrected. Rounding errors of a frame of q vectors grow with sqrt(q).
func (p *Part) tolerance() float64 {
	if t := p.bound.of.settings.tolerance; t > 0 {
		return t
	}
	t := 1e-5
	if !p.single() {
		t = 1e-11
	}
	return t * math.Sqrt(max(1, float64(min(p.bound.layout.N, p.bound.layout.P))/64))
}

// unmatched returns an error for the selections that apply to none of the parameters.
func (c *config) unmatched(list []*parameter) error {
	var idle []string
	for _, s := range c.selections {
		matched := false
		for _, p := range list {
			matched = matched || s.matches(p)
		}
		if !matched {
			idle = append(idle, s.name)
		}
	}
	if idle == nil {
		return nil
	}
	all := ""
	for i, p := range list {
		if i == 8 {
			all += fmt.Sprintf(" and %d more", len(list)-i)
			break
		}
		all += fmt.Sprintf(" %s%v", p.name, p.shape)
		if p.role.ByUse {
			all += fmt.Sprintf(" (%s)", p.role.Why)
		}
	}
	return fmt.Errorf("solvers: %s applies to no parameter: got%s (%w)", strings.Join(idle, ", "), all, ErrConstraint)
}
