// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// AdaptiveAveragePool2D is average pooling to a result of rows x columns pixels, whatever the size of the image, as
// PyTorch's adaptive_avg_pool2d: y[b,c,i,j] is the mean of x[b,c,u,v] over the window
//
//	floor(i H/rows) <= u < ceil((i+1) H/rows),   floor(j W/columns) <= v < ceil((j+1) W/columns).
//
// Windows overlap where the sizes do not divide each other, and repeat pixels where the result is larger than the
// image. x has shape (B, C, H, W), the result (B, C, rows, columns).
//
// AdaptiveAveragePool2D returns an error for another rank, and for rows or columns that are not positive.
func AdaptiveAveragePool2D(x *gorgonia.Node, rows, columns int) (*gorgonia.Node, error) {
	const name = "nodes.AdaptiveAveragePool2D"
	shapes, err := admit(name, []int{4}, x)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if rows < 1 || columns < 1 {
		return nil, fmt.Errorf("%s: want a result of a positive number of rows and columns, got %dx%d", name, rows, columns)
	}
	l := adaptive{planes: in[0] * in[1], height: in[2], width: in[3], rows: rows, columns: columns}
	s := signature{name: name, in: shapes, out: tensor.Shape{in[0], in[1], rows, columns}}
	return apply(s, adaptivePool[float32]{l}, adaptivePool[float64]{l}, x)
}

type adaptive struct{ planes, height, width, rows, columns int }

// share returns the part i of n of size elements, with the elements that it has in common with its neighbours.
func share(i, n, size int) (from, to int) { return i * size / n, ((i+1)*size + n - 1) / n }

// each calls f for every element of the result, with its index, the index of the first element of its plane, and its
// window in the plane. It may process planes concurrently.
func (a adaptive) each(f func(o, plane, top, bottom, left, right int)) {
	parallel(a.planes, a.planes*a.height*a.width, func(from, to int) {
		for p := from; p < to; p++ {
			for i := range a.rows {
				top, bottom := share(i, a.rows, a.height)
				for j := range a.columns {
					left, right := share(j, a.columns, a.width)
					f((p*a.rows+i)*a.columns+j, p*a.height*a.width, top, bottom, left, right)
				}
			}
		}
	})
}

type adaptivePool[T vec.Float] struct{ adaptive }

func (a adaptivePool[T]) Forward(out []T, in [][]T) error {
	x := in[0]
	a.each(func(o, plane, top, bottom, left, right int) {
		sum := 0.0
		for u := top; u < bottom; u++ {
			for _, v := range x[plane+u*a.width+left : plane+u*a.width+right] {
				sum += float64(v)
			}
		}
		out[o] = T(sum / float64((bottom-top)*(right-left)))
	})
	return nil
}

func (a adaptivePool[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	clear(dst)
	a.each(func(o, plane, top, bottom, left, right int) {
		g := T(float64(grad[o]) / float64((bottom-top)*(right-left)))
		for u := top; u < bottom; u++ {
			row := dst[plane+u*a.width+left : plane+u*a.width+right]
			for i := range row {
				row[i] += g
			}
		}
	})
	return nil
}
