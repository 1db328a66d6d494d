// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
)

// Scattered is implemented by a Descender that can move points where they lie in a layer, between points of other
// manifolds, without a copy.
type Scattered interface {
	Descender
	// DescendIn makes the step d of Descend for the points of the layout, which has an Order, in the weights w and the
	// gradient g of a layer, batches of any shape. mu holds the momentum of these points alone, one after the other; without
	// momentum it has no points. The gradient is not cleared.
	//
	// done is false, and nothing has changed, where DescendIn cannot make the step; the points then have to be copied. It must be
	// false unless m, the manifold in use, has the type of the receiver. Descends must have returned true.
	DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error)
}

// slices returns the numbers of the 3 x 3 slices in float32 that the layout selects, which fused steps move where they lie. ok is
// false for other points.
func (l Layout) slices(w, mu, g Points) (order []int32, ok bool) {
	if l.N != 3 || l.P != 3 || l.StrideK != 9 || l.Order == nil || !l.Solid() || w.f32 == nil || g.f32 == nil || len(w.f32) != len(g.f32) {
		return nil, false
	}
	if mu.K > 0 && (mu.K != l.K || mu.N != 3 || mu.P != 3 || mu.f32 == nil) {
		return nil, false
	}
	first, last, ok := l.span()
	return l.Order, ok && first >= 0 && last < len(w.f32)
}

// descendIn is descend for scattered points.
func descendIn(s spheres[float32], l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	order, ok := l.slices(w, mu, g)
	if !ok || s.axis == Rows || !fused.Scatters[float32](9, d) {
		return p, false, nil
	}
	o, failed := fused.Sphere{Radius: s.r, Centred: s.centred}, -1
	if s.axis == whole {
		p, failed = fused.Spheres(w.f32, mu.f32, g.f32, order, 9, o, d)
	} else {
		p, failed = fused.Columns(w.f32, mu.f32, g.f32, order, 3, 3, o, d)
	}
	if failed < 0 && p.Direction <= math.MaxFloat64 {
		return p, true, nil
	}
	x := block[float32]{l.K, 3, 3, make([]float32, 9*l.K)}
	gather(l, x.data, w.f32)
	return p, true, s.offManifold(x, mu.f32)
}

// DescendIn makes the step of 3 x 3 slices in float32, without Factors, where the processor has instructions for it.
func (s Sphere) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	if _, ok := m.(Sphere); !ok {
		return p, false, nil
	}
	return descendIn(s.s32(), l, w, mu, g, d)
}

// DescendIn makes the step of 3 x 3 slices in float32, without Factors, where the processor has instructions for it.
func (s CentredSphere) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	if _, ok := m.(CentredSphere); !ok {
		return p, false, nil
	}
	return descendIn(s.s32(), l, w, mu, g, d)
}

// DescendIn makes the step of the columns of 3 x 3 slices in float32, without Factors, where the processor has instructions for it.
func (s Oblique) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	if _, ok := m.(Oblique); !ok {
		return p, false, nil
	}
	return descendIn(s.s32(), l, w, mu, g, d)
}

// DescendIn makes the step of 3 x 3 slices in float32 by Cholesky-QR, without Factors, where the processor has instructions for it.
func (s Stiefel) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	_, ok := m.(Stiefel)
	if _, slices := l.slices(w, mu, g); !ok || !slices || !fused.Scatters[float32](9, d) || !s.s32().framed(3, 3, d) {
		return p, false, nil
	}
	p, err = s.s32().descend(block[float32]{l.K, 3, 3, w.f32}, l, mu.f32, g.f32, d)
	return p, true, err
}

var (
	_ Scattered = Sphere{}
	_ Scattered = CentredSphere{}
	_ Scattered = Oblique{}
	_ Scattered = Stiefel{}
)
