// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"slices"
	"unsafe"
)

// Layout says where the points of a layer, or of a Piece of it, lie in its row-major weights. A
// Grouping cuts the weights into numbered points: element (i, j) of point c is weight
// c*StrideK + i*StrideN + j*StrideP or, if Run is not 0,
//
//	c*StrideK + i*StrideN + j/Run*StrideRun + j%Run*StrideP.
type Layout struct {
	K, N, P                   int
	StrideK, StrideN, StrideP int
	Run, StrideRun            int // Run divides P

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
	if l.K < 1 || l.N < 1 || l.P < 1 || l.StrideK < 0 || l.StrideN < 0 || l.StrideP < 0 || l.StrideRun < 0 || l.Order != nil && len(l.Order) != l.K {
		return 0, 0, false
	}
	if l.Run < 0 || l.Run > 0 && l.P%l.Run != 0 {
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
	run, runs := l.runs()
	return first, last + (l.N-1)*l.StrideN + (runs-1)*l.StrideRun + (run-1)*l.StrideP, true
}

// runs returns the length and the number of the runs of a row.
func (l Layout) runs() (length, number int) {
	if l.Run == 0 {
		return l.P, 1
	}
	return l.Run, l.P / l.Run
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
	if g.isTransposed() && len(shape) != 4 {
		return Layout{}, fmt.Errorf("manifolds: %v: want kernels of shape (in, out, height, width), got %v", g, shape)
	}
	if groups > 1 && (len(shape) != 4 || shape[0]%groups != 0) {
		of := "filters"
		if g.isTransposed() {
			of = "input channels"
		}
		return Layout{}, fmt.Errorf("manifolds: %v: want kernels of a number of %s that %d divides, got shape %v", g, of, groups, shape)
	}
	if g.kind() == PerWeight {
		return Layout{K: size, N: 1, P: 1, StrideK: 1, StrideN: 1, StrideP: 1}, nil
	}
	if g.isTransposed() {
		return g.layoutTransposed(shape)
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
	return Layout{}, g.unknown()
}

func (g Grouping) unknown() error {
	return fmt.Errorf("manifolds: %v is not a way to cut weights: want PerSlice, PerFilter, PerInputChannel, PerTap, FilterBank or PerWeight", g)
}

// layoutTransposed is Layout for the kernels of a transposed convolution.
func (g Grouping) layoutTransposed(shape []int) (Layout, error) {
	groups, d, ab := g.groups(), shape[1], shape[2]*shape[3]
	c := shape[0] / groups
	// Within a group w[c,d] is a row of c of d slices, and a group has c*d slices.
	switch g.kind() {
	case PerSlice:
		return Layout{K: groups * c * d, N: shape[2], P: shape[3], StrideK: ab, StrideN: shape[3], StrideP: 1}, nil
	case PerFilter:
		l := Layout{K: d, N: c, P: ab, StrideK: ab, StrideN: d * ab, StrideP: 1}
		return l.repeated(groups, c*d*ab), nil
	case PerInputChannel:
		return Layout{K: groups * c, N: d, P: ab, StrideK: d * ab, StrideN: ab, StrideP: 1}, nil
	case PerTap:
		l := Layout{K: ab, N: d, P: c, StrideK: 1, StrideN: ab, StrideP: d * ab}
		return l.repeated(groups, c*d*ab), nil
	case FilterBank:
		l := Layout{K: groups, N: d, P: c * ab, StrideK: c * d * ab, StrideN: ab, StrideP: 1}
		switch {
		case ab == 1:
			l.StrideP = d
		case d > 1 && c > 1:
			l.Run, l.StrideRun = ab, d*ab
		}
		return l, nil
	}
	return Layout{}, g.unknown()
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
	return l.Order == nil && l.Run == 0 && (l.StrideP == 1 || l.P == 1) && (l.StrideN == l.P || l.N == 1) && (l.StrideK == l.N*l.P || l.K == 1)
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
	return l.Run == 0 && (l.StrideP == 1 || l.P == 1) && (l.StrideN == l.P || l.N == 1)
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
		if np == 9 && l.Order != nil {
			gatherNines(l, dst, w)
			return
		}
		for k := 0; k < l.K; {
			n := l.neighbours(k)
			copy(dst[k*np:(k+n)*np], w[l.at(k):])
			k += n
		}
		return
	}
	e := 0
	run, runs := l.runs()
	for k := range l.K {
		for i := range l.N {
			for r := range runs {
				at := l.at(k) + i*l.StrideN + r*l.StrideRun
				for range run {
					dst[e] = w[at]
					at += l.StrideP
					e++
				}
			}
		}
	}
}

func scatter[T any](l Layout, w, src []T) {
	if l.Solid() {
		np := l.N * l.P
		if np == 9 && l.Order != nil {
			scatterNines(l, w, src)
			return
		}
		for k := 0; k < l.K; {
			n := l.neighbours(k)
			copy(w[l.at(k):], src[k*np:(k+n)*np])
			k += n
		}
		return
	}
	e := 0
	run, runs := l.runs()
	for k := range l.K {
		for i := range l.N {
			for r := range runs {
				at := l.at(k) + i*l.StrideN + r*l.StrideRun
				for range run {
					w[at] = src[e]
					at += l.StrideP
					e++
				}
			}
		}
	}
}

// neighbours returns how many points from k on lie one after the other without gaps.
func (l Layout) neighbours(k int) int {
	switch {
	case l.StrideK != l.N*l.P:
		return 1
	case l.Order == nil:
		return l.K - k
	}
	n := 1
	for n < l.K-k && l.Order[k+n] == l.Order[k]+int32(n) {
		n++
	}
	return n
}

// gatherNines copies points of nine elements, too few for a call of copy each.
func gatherNines[T any](l Layout, dst, w []T) {
	dst = dst[:9*l.K]
	for i, k := range l.Order {
		*nineAt(dst, 9*i) = *nineAt(w, int(k)*l.StrideK)
	}
}

// scatterNines is its inverse.
func scatterNines[T any](l Layout, w, src []T) {
	src = src[:9*l.K]
	for i, k := range l.Order {
		*nineAt(w, int(k)*l.StrideK) = *nineAt(src, 9*i)
	}
}

// nineAt views nine elements. It panics, as indexing does, where there are fewer.
func nineAt[T any](x []T, at int) *nine[T] {
	_ = x[at+8]
	return (*nine[T])(unsafe.Pointer(&x[at]))
}

// nine is a struct because arrays might overlap in part, and the compiler would call memmove.
type nine[T any] struct{ elements [9]T }
