// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// MaxMin sorts pairs of channels, channel c of the first half and channel c + C/2:
//
//	y[b,c,...] = max(x[b,c,...], x[b,c+C/2,...]),   y[b,c+C/2,...] = min(x[b,c,...], x[b,c+C/2,...]),
//
// for 0 <= c < C/2. x has shape (B, C) or (B, C, ...), and C must be even. It is GroupSort in groups of two
// (Anil, Lucas and Grosse 2019), or OPLU (Chernodub and Nowicki 2016). It permutes the numbers of a pair,
// so it is 1-Lipschitz in every p-norm, and the gradient with respect to x is a permutation of the gradient with
// respect to y, of the same norm. Nets of orthogonal layers and MaxMin
// can approximate any 1-Lipschitz function; with ReLU they cannot.
//
// If both numbers are equal, or one of them is NaN, they keep their order.
func MaxMin(x *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.MaxMin"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, err
	}
	h, err := halvesOf(name, shapes[0])
	if err != nil {
		return nil, err
	}
	return apply(signature{name: name, in: shapes, out: shapes[0]}, maxMin[float32]{h}, maxMin[float64]{h}, x)
}

// halves are the channels of the first half of examples and those that they are paired with.
type halves struct {
	examples, pairs, area int // area is the number of elements of a channel
}

// halvesOf returns the halves of a node of shape x.
func halvesOf(name string, x tensor.Shape) (halves, error) {
	if len(x) < 2 || x[1]%2 != 0 {
		return halves{}, fmt.Errorf("%s: want rank 2 or more and an even number of channels, got shape %v", name, x)
	}
	return halves{x[0], x[1] / 2, x.TotalSize() / (x[0] * x[1])}, nil
}

// each calls f, concurrently, for ranges of elements: first..last of the first half of the channels are
// paired with first+step..last+step.
func (h halves) each(f func(first, last, step int)) {
	step := h.pairs * h.area
	par.Ranges(h.examples*step, grain, func(from, to int) {
		for from < to {
			b := from / step
			end := min(to, (b+1)*step)
			f(from+b*step, end+b*step, step)
			from = end
		}
	})
}

type maxMin[T vec.Float] struct{ halves }

func (m maxMin[T]) Forward(out []T, in [][]T) error {
	m.permute(out, in[0], in[0])
	return nil
}

// Backward permutes pairs of the gradient as those of x: the inverse of a swap is the swap.
func (m maxMin[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	m.permute(dst, grad, in[0])
	return nil
}

// permute copies src to dst and swaps the pairs for which the first number in x is the smaller one.
func (m maxMin[T]) permute(dst, src, x []T) {
	if vec.Double[T]() {
		permute(m.halves, bitsOf[uint64](dst), bitsOf[uint64](src), x)
	} else {
		permute(m.halves, bitsOf[uint32](dst), bitsOf[uint32](src), x)
	}
}

// bitsOf views numbers as words of the same size.
func bitsOf[W uint32 | uint64, T vec.Float](x []T) []W {
	return unsafe.Slice((*W)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// permute works on words because the compiler chooses between them without a branch, which would be mispredicted half of
// the time.
func permute[W uint32 | uint64, T vec.Float](h halves, dst, src []W, x []T) {
	h.each(func(first, last, step int) {
		n := last - first
		a, b := x[first:last], x[first+step:][:n]
		s, t := src[first:last], src[first+step:][:n]
		y, z := dst[first:last], dst[first+step:][:n]
		for i, u := range a {
			v, w := s[i], t[i]
			larger := v
			if u < b[i] {
				larger = w
			}
			y[i], z[i] = larger, v^w^larger
		}
	})
}
