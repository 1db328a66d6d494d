// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"
	"runtime"
	"slices"
	"unsafe"

	"github.com/kernelfold/kernelfold/manifolds"
)

// inPlace is implemented by a rule that can make whole steps of some parameters in
// place. Such a step is not prepared: once its gradient is known to be finite, and
// everything it computes with to be far from overflow, it cannot fail.
type inPlace interface {
	// serves reports whether advance serves the parameter.
	serves(s *slot) bool
	// reach bounds the norms of the state and of the direction of a parameter of n weights,
	// none of whose gradients was longer than g.
	reach(g, n float64) (state, direction float64)
	// advance makes the step with the gradient times slope, from x to x and from old to
	// old, and clears the gradient g.
	advance(s *slot, g manifolds.Points, rate, slope float64) manifolds.Moved
}

// fits reports whether the step of a parameter can happen in place: the state is tangent
// where the weights are, nothing is done to single elements of the gradient, and no
// number comes near overflow.
func (e *engine) fits(s *slot) bool {
	if e.swift == nil {
		return false
	}
	s.longest = max(s.longest, s.stats.gradient*e.scale()*e.shrink)
	state, direction := e.swift.reach(s.longest, float64(s.weights.Len()))
	s.size += e.lr * direction
	limit := 1e15
	if s.weights.F64 != nil {
		limit = 1e150
	}
	return !s.carried() && !s.shared &&
		e.clipValue == 0 && (e.decay == 0 || e.decayOf != decayAmbient) &&
		state < limit && s.size < limit && e.swift.serves(s)
}

// advanceAll makes the steps of the parameters that move in place. On one core it goes
// through them backwards: the gradients that were measured last are still in the cache.
func (e *engine) advanceAll(active []*slot) error {
	if runtime.GOMAXPROCS(0) > 1 {
		return e.each(active, weights(active)/16, (*engine).advance)
	}
	for _, s := range slices.Backward(active) {
		if err := e.advance(s); err != nil {
			return err
		}
	}
	return nil
}

// advance makes the step of a parameter that moves in place.
func (e *engine) advance(s *slot) error {
	if !s.swift {
		return nil
	}
	var gathered manifolds.Points
	if !s.layout.Contiguous() {
		gathered = s.borrow()
		defer giveBack(gathered)
		defer s.grad.Zero()
	}
	g, err := s.batch(s.grad, &gathered)
	if err != nil {
		return s.fail(ErrParameter, err.Error(), err) // shapes were checked: cannot happen
	}
	moved := e.swift.advance(s, g, e.lr, e.scale()*e.shrink)
	s.stats.riemannian, s.stats.length, s.stats.geometric = math.Sqrt(moved.Direction), math.Sqrt(moved.Length), moved.Factor
	return nil
}

// findShared marks the parameters whose gradients are the same memory: if one were
// cleared in place, the other would find it so.
func (e *engine) findShared(active []*slot) {
	same := true
	for _, s := range active {
		if p := s.grad.Storage(); p != s.source {
			s.source, same = p, false
		}
	}
	if same {
		return
	}
	first := make(map[unsafe.Pointer]*slot, len(e.slots))
	for _, s := range e.slots {
		t := first[s.source]
		s.shared = t != nil
		if t != nil {
			t.shared = true
		} else {
			first[s.source] = s
		}
	}
}
