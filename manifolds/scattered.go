// SPDX-License-Identifier: Apache-2.0

package manifolds

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
