// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"slices"
)

// Grouping says how the weights of a layer, of shape (D, C, A, B) = (output
// channels, input channels, kernel height, kernel width), are cut into points.
// A matrix of shape (in, out), the weights of a fully connected layer in
// Gorgonia's x W convention, is cut as D = out, C = in, A = B = 1.
//
//	grouping         points in a layer  one point
//	PerSlice         D*C                A x B, the slice w[d,c]
//	PerFilter        D                  C x A*B
//	PerInputChannel  C                  D x A*B
//	PerTap           A*B                D x C, one spatial position
//	FilterBank       1                  D x C*A*B, a row for each filter
//	PerWeight        D*C*A*B            1 x 1
//
// The kernels of a convolution in G groups have the shape (D, C, A, B) too, with C = input channels
// / G, and the filters 0, ..., D/G-1 see other inputs than the next D/G. Groups(G) cuts each group
// by itself:
//
//	grouping         points in a layer  one point
//	PerInputChannel  G*C                D/G x A*B
//	PerTap           G*A*B              D/G x C
//	FilterBank       G                  D/G x C*A*B
//
// The other groupings are the same with groups. A depthwise convolution has as many groups as input
// channels, and C = 1.
//
// The zero value, Default, stands for the grouping that the manifold prefers. A Grouping is an
// Option of On.
type Grouping uint32

// The groupings.
const (
	Default Grouping = iota
	PerSlice
	PerFilter
	PerInputChannel
	PerTap
	FilterBank
	PerWeight
)

// PerKernel is PerSlice: the papers of Ozay and Okatani call a slice a kernel. Everywhere else
// here a kernel is the weight of a convolution, of four axes.
//
// Deprecated: say PerSlice.
const PerKernel = PerSlice

var groupingNames = [...]string{"default", "per slice", "per filter", "per input channel", "per tap", "filter bank", "per weight"}

// The lowest bits of a Grouping say how it cuts, the others hold the number of groups, 0 for one.
const (
	groupsShift = 8
	kindMask    = 1<<groupsShift - 1
	badGroups   = 1<<(32-groupsShift) - 1 // stands for numbers that are not positive, or too large
)

// Groups returns g for the kernels of a convolution in n groups:
//
//	solvers.Kernels(manifolds.Stiefel{}, manifolds.FilterBank.Groups(8))
//
// Cutting weights whose filters n does not divide is an error.
func (g Grouping) Groups(n int) Grouping {
	switch {
	case n == 1:
		n = 0
	case n < 1 || n > badGroups:
		n = badGroups
	}
	return g.kind() | Grouping(n)<<groupsShift
}

// kind is g without its groups.
func (g Grouping) kind() Grouping { return g & kindMask }

// groups is the number of groups.
func (g Grouping) groups() int { return max(1, int(g>>groupsShift)) }

// String returns the name of the grouping as reports print it.
func (g Grouping) String() string {
	name := fmt.Sprintf("Grouping(%d)", uint8(g.kind()))
	if k := int(g.kind()); k < len(groupingNames) {
		name = groupingNames[k]
	}
	if g.groups() > 1 {
		name = fmt.Sprintf("%s, %d groups", name, g.groups())
	}
	return name
}

// Grouper is implemented by a manifold that prefers a grouping, or treats rows and columns
// differently. A manifold that is not a Grouper prefers PerFilter.
type Grouper interface {
	// For returns the manifold to use for points cut by g, and the grouping: g itself or, if g
	// is Default, the one that the manifold prefers. The manifold must have the type that For
	// is called on, so a type that embeds another manifold needs a For of its own:
	// Constraint.Bind refuses the promoted one.
	For(g Grouping) (Manifold, Grouping)
}

// or returns g, or preferred if g is Default.
func (g Grouping) or(preferred Grouping) Grouping {
	if g.kind() == Default {
		return preferred.kind() | g&^kindMask
	}
	return g
}

// Layout says where the points of a layer, or of a Piece of it, lie in its row-major weights. A
// Grouping cuts the weights into numbered points: element (i, j) of point c is weight
// c*StrideK + i*StrideN + j*StrideP.
type Layout struct {
	K, N, P                   int
	StrideK, StrideN, StrideP int

	// Order selects points of the cut: point k of the batch is point Order[k] of the cut, and K
	// is the length of Order. Nil selects all points in order, 0, ..., K-1. The values of an Order
	// that Pick has made must not be changed.
	Order []int32

	lowest, highest int32 // in an Order that Pick has made; 0 and 0 otherwise
}

// Pick returns the layout of the points of l with the numbers in order: point k of the new
// layout is point order[k] of l.
func (l Layout) Pick(order ...int32) (Layout, error) {
	picked := make([]int32, len(order))
	for k, c := range order {
		if c < 0 || int(c) >= l.K {
			return Layout{}, fmt.Errorf("manifolds: pick: want points of 0 to %d, got %d", l.K-1, c)
		}
		if picked[k] = c; l.Order != nil {
			picked[k] = l.Order[c]
		}
	}
	if len(order) == 0 {
		return Layout{}, fmt.Errorf("manifolds: pick: want a point, got none")
	}
	l.K, l.Order = len(order), picked
	l.lowest, l.highest = slices.Min(picked), slices.Max(picked)
	return l, nil
}

// at returns the index of element (0, 0) of point k.
func (l Layout) at(k int) int {
	if l.Order != nil {
		k = int(l.Order[k])
	}
	return k * l.StrideK
}

// span returns the indices of the first and the last weight that belong to points of l. It
// returns false if the fields of l do not form a layout.
func (l Layout) span() (first, last int, ok bool) {
	if l.K < 1 || l.N < 1 || l.P < 1 || l.StrideK < 0 || l.StrideN < 0 || l.StrideP < 0 || l.Order != nil && len(l.Order) != l.K {
		return 0, 0, false
	}
	last = (l.K - 1) * l.StrideK
	switch {
	case l.Order != nil && l.highest > 0:
		first, last = int(l.lowest)*l.StrideK, int(l.highest)*l.StrideK
	case l.Order != nil:
		first, last = l.at(0), l.at(0)
		for k := range l.Order {
			first, last = min(first, l.at(k)), max(last, l.at(k))
		}
	}
	return first, last + (l.N-1)*l.StrideN + (l.P-1)*l.StrideP, true
}

// Layout returns the layout of the points of weights of the given shape, which must have rank 4
// or 2. PerWeight takes weights of any rank.
func (g Grouping) Layout(shape []int) (Layout, error) {
	size := 1
	for _, s := range shape {
		if s < 1 {
			return Layout{}, fmt.Errorf("manifolds: %v: want positive sizes, got shape %v", g, shape)
		}
		size *= s
	}
	groups := g.groups()
	if groups == badGroups {
		return Layout{}, fmt.Errorf("manifolds: %v: want a positive number of groups", g.kind())
	}
	if groups > 1 && (len(shape) != 4 || shape[0]%groups != 0) {
		return Layout{}, fmt.Errorf("manifolds: %v: want kernels of a number of filters that %d divides, got shape %v", g, groups, shape)
	}
	if g.kind() == PerWeight {
		return Layout{K: size, N: 1, P: 1, StrideK: 1, StrideN: 1, StrideP: 1}, nil
	}
	var d, c, ab, b int     // sizes
	var sD, sC, sAB, sB int // strides; the taps (a, b) are one index of stride sAB
	switch len(shape) {
	case 4:
		d, c, ab, b = shape[0], shape[1], shape[2]*shape[3], shape[3]
		sD, sC, sAB, sB = c*ab, ab, 1, 1
	case 2:
		d, c, ab, b = shape[1], shape[0], 1, 1
		sD, sC, sAB, sB = 1, d, 1, 1
	default:
		return Layout{}, fmt.Errorf("manifolds: %v: want weights of shape (out, in, height, width) or (in, out), got %v", g, shape)
	}
	of := d / groups // filters of a group
	switch g.kind() {
	case PerSlice:
		if len(shape) == 2 { // a slice is one weight
			return Layout{K: size, N: 1, P: 1, StrideK: 1, StrideN: 1, StrideP: 1}, nil
		}
		return Layout{K: d * c, N: ab / b, P: b, StrideK: sC, StrideN: b, StrideP: sB}, nil
	case PerFilter:
		return Layout{K: d, N: c, P: ab, StrideK: sD, StrideN: sC, StrideP: sAB}, nil
	case PerInputChannel:
		l := Layout{K: c, N: of, P: ab, StrideK: sC, StrideN: sD, StrideP: sAB}
		return l.repeated(groups, of*sD), nil
	case PerTap:
		l := Layout{K: ab, N: of, P: c, StrideK: sAB, StrideN: sD, StrideP: sC}
		return l.repeated(groups, of*sD), nil
	case FilterBank:
		if len(shape) == 2 {
			return Layout{K: 1, N: d, P: c, StrideK: 1, StrideN: sD, StrideP: sC}, nil
		}
		return Layout{K: groups, N: of, P: c * ab, StrideK: of * sD, StrideN: sD, StrideP: 1}, nil
	}
	return Layout{}, fmt.Errorf("manifolds: %v is not a way to cut weights: want PerSlice, PerFilter, PerInputChannel, PerTap, FilterBank or PerWeight", g)
}

// repeated returns the layout of the points of l and of those that lie step, 2 step ... weights
// further, in all that many times. StrideK must divide step.
func (l Layout) repeated(times, step int) Layout {
	if times == 1 {
		return l
	}
	for i := range times {
		for k := range l.K {
			l.Order = append(l.Order, int32(i*step/l.StrideK+k))
		}
	}
	l.K = len(l.Order)
	return l
}

// Contiguous reports whether the points fill the layer and lie one after the other in row-major
// order, so that the weights can be used as the batch without a copy. It returns false for a
// layout with an Order.
func (l Layout) Contiguous() bool {
	return l.Order == nil && (l.StrideP == 1 || l.P == 1) && (l.StrideN == l.P || l.N == 1) && (l.StrideK == l.N*l.P || l.K == 1)
}

// Gather copies the points of the layout from the weights w to dst. w holds all weights of the
// layer in row-major order, as a batch of any shape.
func (l Layout) Gather(dst, w Points) error {
	if err := l.fits("gather", dst, w); err != nil {
		return err
	}
	if w.f64 != nil {
		gather(l, dst.f64, w.f64)
	} else {
		gather(l, dst.f32, w.f32)
	}
	return nil
}

// Scatter copies the points src to their places in the weights w. Other weights do not change.
func (l Layout) Scatter(w, src Points) error {
	if err := l.fits("scatter", src, w); err != nil {
		return err
	}
	if w.f64 != nil {
		scatter(l, w.f64, src.f64)
	} else {
		scatter(l, w.f32, src.f32)
	}
	return nil
}

func (l Layout) fits(op string, x, w Points) error {
	if x.K == l.K && x.N == l.N && x.P == l.P && l.Order != nil {
		if first, last, ok := l.span(); !ok || first < 0 || last >= w.Len() || (x.f64 == nil) != (w.f64 == nil) {
			return fmt.Errorf("manifolds: %s: want %d points of %dx%d within weights of one precision, got %v and %v",
				op, l.K, l.N, l.P, x, w)
		}
		return nil
	}
	if x.K != l.K || x.N != l.N || x.P != l.P || len(x.f32) != len(w.f32) || len(x.f64) != len(w.f64) {
		return fmt.Errorf("manifolds: %s: want %d points of %dx%d and as many weights of one precision, got %v and %v",
			op, l.K, l.N, l.P, x, w)
	}
	return nil
}

// Solid reports whether the elements of every point lie one after the other in row-major order.
func (l Layout) Solid() bool {
	return (l.StrideP == 1 || l.P == 1) && (l.StrideN == l.P || l.N == 1)
}

// Slice returns the layout of the points from, ..., to-1 of a layout with an Order. It panics, as slicing
// does, where there are no such points.
func (l Layout) Slice(from, to int) Layout {
	l.Order, l.K = l.Order[from:to:to], to-from
	return l
}

func gather[T any](l Layout, dst, w []T) {
	if l.Solid() {
		np := l.N * l.P
		if l.Order != nil && np == 9 {
			for _, k := range l.Order {
				nine(dst, w[int(k)*l.StrideK:])
				dst = dst[9:]
			}
			return
		}
		for k := range l.K {
			copy(dst[k*np:(k+1)*np], w[l.at(k):])
		}
		return
	}
	e := 0
	for k := range l.K {
		for i := range l.N {
			at := l.at(k) + i*l.StrideN
			for range l.P {
				dst[e] = w[at]
				at += l.StrideP
				e++
			}
		}
	}
}

func scatter[T any](l Layout, w, src []T) {
	if l.Solid() {
		np := l.N * l.P
		if l.Order != nil && np == 9 {
			for _, k := range l.Order {
				nine(w[int(k)*l.StrideK:], src)
				src = src[9:]
			}
			return
		}
		for k := range l.K {
			copy(w[l.at(k):], src[k*np:(k+1)*np])
		}
		return
	}
	e := 0
	for k := range l.K {
		for i := range l.N {
			at := l.at(k) + i*l.StrideN
			for range l.P {
				w[at] = src[e]
				at += l.StrideP
				e++
			}
		}
	}
}

// nine copies a slice of 3 x 3, which is too short for copy to be fast.
func nine[T any](dst, src []T) {
	_, _ = dst[8], src[8]
	dst[0], dst[1], dst[2] = src[0], src[1], src[2]
	dst[3], dst[4], dst[5] = src[3], src[4], src[5]
	dst[6], dst[7], dst[8] = src[6], src[7], src[8]
}
