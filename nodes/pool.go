// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// MaxPool2D is max pooling: y[b,c,i,j] is the largest x[b,c,u,v] of the window
//
//	i*stride[0] - top  <= u < i*stride[0] - top  + kernel[0],
//	j*stride[1] - left <= v < j*stride[1] - left + kernel[1]
//
// that lies in the image; padding is never the largest. x has shape (B, C, H, W), the result
// (B, C, 1+(H+top+bottom-kernel[0])/stride[0], 1+(W+left+right-kernel[1])/stride[1])
// with divisions rounded down. The gradient goes to the first largest element of a
// window, in row-major order.
//
// pad is {rows, columns}, on both sides, or {top, bottom, left, right}, as for gorgonia.MaxPool2D.
// (With four numbers, gorgonia.MaxPool2D uses bottom and right where it should use top and left.)
//
// MaxPool2D returns an error for a kernel that is not {rows, columns} or is larger than the padded
// image, for strides that are not positive, and for padding that is negative or not smaller than the
// kernel, because a window could then lie outside the image. A run fails if a window contains NaN.
func MaxPool2D(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error) {
	const name = "nodes.MaxPool2D"
	shape, w, err := newWindow(name, x, kernel, pad, stride)
	if err != nil {
		return nil, err
	}
	s := signature{name: name, in: []tensor.Shape{shape}, out: w.out(shape)}
	return apply(s, maxPool[float32]{w}, maxPool[float64]{w}, x)
}

// MaxPool2DCeil is MaxPool2D with the sizes of the result rounded up, as in PyTorch with ceil_mode: a last window may
// extend beyond the padded image, but begins in the image or in the padding before it. Shapes of the result:
//
//	(B, C, 1+ceil((H+top+bottom-kernel[0])/stride[0]), ...), one less where the last window would begin beyond H+top.
//
// Arguments and errors are those of MaxPool2D.
func MaxPool2DCeil(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error) {
	const name = "nodes.MaxPool2DCeil"
	shape, w, err := newWindow(name, x, kernel, pad, stride)
	if err != nil {
		return nil, err
	}
	w.rows = w.roundedUp(0, w.rows, pad)
	w.columns = w.roundedUp(1, w.columns, pad)
	s := signature{name: name, in: []tensor.Shape{shape}, out: w.out(shape)}
	return apply(s, maxPool[float32]{w}, maxPool[float64]{w}, x)
}

// AveragePool2D is average pooling: y[b,c,i,j] is the sum over the window of MaxPool2D, with zeros
// as padding, divided by kernel[0]*kernel[1], as in PyTorch with count_include_pad. Shapes,
// arguments and errors are those of MaxPool2D, but NaN is no error.
//
// gorgonia.AveragePool2D divides by the width of the image instead.
func AveragePool2D(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error) {
	const name = "nodes.AveragePool2D"
	shape, w, err := newWindow(name, x, kernel, pad, stride)
	if err != nil {
		return nil, err
	}
	s := signature{name: name, in: []tensor.Shape{shape}, out: w.out(shape)}
	return apply(s, averagePool[float32]{w}, averagePool[float64]{w}, x)
}

// GlobalAveragePool2D is the mean of each channel:
//
//	y[b,c] = 1/(H W) sum_uv x[b,c,u,v].
//
// x has shape (B, C, H, W), the result (B, C, 1, 1). The gradient of
// gorgonia.GlobalAveragePool2D panics. An input of another rank is an error.
func GlobalAveragePool2D(x *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.GlobalAveragePool2D"
	shapes, err := admit(name, []int{4}, x)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	s := signature{name: name, in: shapes, out: tensor.Shape{in[0], in[1], 1, 1}}
	return apply(s, globalPool[float32]{}, globalPool[float64]{}, x)
}

// window is the geometry of a pooling.
type window struct {
	planes        int // images times channels
	height, width int
	kernel        [2]int
	stride        [2]int
	top, left     int
	rows, columns int // of the result
}

func newWindow(name string, x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (tensor.Shape, window, error) {
	shapes, err := admit(name, []int{4}, x)
	if err != nil {
		return nil, window{}, err
	}
	switch {
	case len(kernel) != 2 || kernel[0] < 1 || kernel[1] < 1:
		err = fmt.Errorf("%s: want a kernel of a positive number of rows and columns, got %v", name, kernel)
	case len(stride) != 2 || stride[0] < 1 || stride[1] < 1:
		err = fmt.Errorf("%s: want two positive strides, got %v", name, stride)
	case len(pad) != 2 && len(pad) != 4:
		err = fmt.Errorf("%s: want padding of rows and columns or top, bottom, left and right, got %v", name, pad)
	}
	if err != nil {
		return nil, window{}, err
	}
	sides := [4]int{pad[0], pad[0], pad[1], pad[1]}
	if len(pad) == 4 {
		sides = [4]int(pad)
	}
	for i, p := range sides {
		if k := kernel[i/2]; p < 0 || p >= k {
			return nil, window{}, fmt.Errorf("%s: want padding from 0 to less than the kernel %v, got %v", name, kernel, pad)
		}
	}
	s := shapes[0]
	height, width := s[2]+sides[0]+sides[1], s[3]+sides[2]+sides[3]
	if kernel[0] > height || kernel[1] > width {
		return nil, window{}, fmt.Errorf("%s: want a kernel that fits into the padded image, %dx%d, got %v", name, height, width, kernel)
	}
	return s, window{
		planes: s[0] * s[1], height: s[2], width: s[3],
		kernel: [2]int(kernel), stride: [2]int(stride), top: sides[0], left: sides[2],
		rows: (height-kernel[0])/stride[0] + 1, columns: (width-kernel[1])/stride[1] + 1,
	}, nil
}

// roundedUp returns the number of windows along axis 0 or 1, of which there are n if it is rounded down.
func (w window) roundedUp(axis, n int, pad []int) int {
	before, after, size := w.top, pad[0], w.height
	if axis == 1 {
		before, after, size = w.left, pad[1], w.width
	}
	if len(pad) == 4 {
		after = pad[2*axis+1]
	}
	if next := n * w.stride[axis]; (n-1)*w.stride[axis]+w.kernel[axis] < before+size+after && next < before+size {
		n++
	}
	return n
}

func (w window) out(in tensor.Shape) tensor.Shape {
	return tensor.Shape{in[0], in[1], w.rows, w.columns}
}

// span returns the part of window i along axis 0 or 1 that lies in the image.
func (w window) span(axis, i int) (from, to int) {
	before, size := w.top, w.height
	if axis == 1 {
		before, size = w.left, w.width
	}
	from = i*w.stride[axis] - before
	return max(from, 0), min(from+w.kernel[axis], size)
}

// each calls f for every element of the result, with the index o of the element, the index of the
// first element of its plane, and the window in the plane. It may process planes concurrently.
func (w window) each(f func(o, plane, top, bottom, left, right int)) {
	parallel(w.planes, w.planes*w.height*w.width, func(from, to int) {
		for p := from; p < to; p++ {
			o := p * w.rows * w.columns
			for i := range w.rows {
				top, bottom := w.span(0, i)
				for j := range w.columns {
					left, right := w.span(1, j)
					f(o, p*w.height*w.width, top, bottom, left, right)
					o++
				}
			}
		}
	})
}

type maxPool[T vec.Float] struct{ window }

// quarters reports whether the pooling is 2x2 with stride 2 and without padding. Each pixel is then
// in one window, except that an odd last row or column is in none.
func (w window) quarters() bool {
	return w.kernel == [2]int{2, 2} && w.stride == [2]int{2, 2} && w.top == 0 && w.left == 0 &&
		w.rows == w.height/2 && w.columns == w.width/2
}

// pairs calls f for every row of the result, with the index of its first element and that of the
// first element of the upper of its two rows in the image.
func (w window) pairs(f func(out, upper int)) {
	parallel(w.planes, w.planes*w.height*w.width, func(from, to int) {
		for p := from; p < to; p++ {
			for i := range w.rows {
				f((p*w.rows+i)*w.columns, (p*w.height+2*i)*w.width)
			}
		}
	})
}

func (m maxPool[T]) Forward(out []T, in [][]T) error {
	x := in[0]
	if m.quarters() {
		m.pairs(func(o, u int) {
			vec.MaxPairs(out[o:o+m.columns], x[u:u+2*m.columns], x[u+m.width:u+m.width+2*m.columns])
		})
		return m.checkNaN(out)
	}
	m.each(func(o, plane, top, bottom, left, right int) {
		largest := x[plane+top*m.width+left]
		for u := top; u < bottom; u++ {
			for _, v := range x[plane+u*m.width+left : plane+u*m.width+right] {
				if v > largest || v != v { // once NaN, always NaN
					largest = v
				}
			}
		}
		out[o] = largest
	})
	return m.checkNaN(out)
}

// checkNaN returns an error if out contains NaN.
func (m maxPool[T]) checkNaN(out []T) error {
	if !math.IsNaN(vec.Sum(out)) {
		return nil
	}
	for o, v := range out {
		if v != v {
			i, j := o/m.columns%m.rows, o%m.columns
			top, bottom := m.span(0, i)
			left, right := m.span(1, j)
			return notFinite("window at rows %d-%d, columns %d-%d of plane %d: want numbers, got NaN", top, bottom-1, left, right-1, o/(m.rows*m.columns))
		}
	}
	return nil
}

func (m maxPool[T]) Backward(dst []T, _ int, in [][]T, out, grad []T) error {
	x := in[0]
	if m.quarters() {
		if m.height%2+m.width%2 > 0 {
			clear(dst)
		}
		m.pairs(func(o, u int) {
			n, l := 2*m.columns, u+m.width
			vec.MaxPairsBack(dst[u:u+n], dst[l:l+n], x[u:u+n], x[l:l+n], out[o:o+m.columns], grad[o:o+m.columns])
		})
		return nil
	}
	clear(dst)
	m.each(func(o, plane, top, bottom, left, right int) {
		for u := top; u < bottom; u++ {
			row := plane + u*m.width
			for i := row + left; i < row+right; i++ {
				if x[i] == out[o] {
					dst[i] += grad[o]
					return
				}
			}
		}
	})
	return nil
}

type averagePool[T vec.Float] struct{ window }

func (a averagePool[T]) Forward(out []T, in [][]T) error {
	x := in[0]
	area := float64(a.kernel[0] * a.kernel[1])
	a.each(func(o, plane, top, bottom, left, right int) {
		sum := 0.0
		for u := top; u < bottom; u++ {
			for _, v := range x[plane+u*a.width+left : plane+u*a.width+right] {
				sum += float64(v)
			}
		}
		out[o] = T(sum / area)
	})
	return nil
}

func (a averagePool[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	clear(dst)
	area := T(a.kernel[0] * a.kernel[1])
	a.each(func(o, plane, top, bottom, left, right int) {
		g := grad[o] / area
		for u := top; u < bottom; u++ {
			row := dst[plane+u*a.width+left : plane+u*a.width+right]
			for i := range row {
				row[i] += g
			}
		}
	})
	return nil
}

type globalPool[T vec.Float] struct{}

func (globalPool[T]) Forward(out []T, in [][]T) error {
	n := len(in[0]) / len(out)
	for i := range out {
		out[i] = T(vec.Sum(in[0][i*n:(i+1)*n]) / float64(n))
	}
	return nil
}

func (globalPool[T]) Backward(dst []T, _ int, _ [][]T, out, grad []T) error {
	n := len(dst) / len(out)
	for i, g := range grad {
		a := T(float64(g) / float64(n))
		plane := dst[i*n : (i+1)*n]
		for j := range plane {
			plane[j] = a
		}
	}
	return nil
}
