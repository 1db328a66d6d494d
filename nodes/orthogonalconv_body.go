// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// orthogonalPlan holds the sizes of the kernel of an orthogonal convolution. Filters and channels are those of a group.
type orthogonalPlan struct {
	groups, filters, channels int
	wide                      int  // c, the size of the projectors
	transposed                bool // the rows of the matrix are channels, not filters
	kernel, stride            [2]int
	steps                     []blockStep
}

// blockStep is the block convolution of a kernel of rows x cols taps and one of two taps, which adds a row or a column.
type blockStep struct {
	rows, cols int
	column     bool
}

func newOrthogonalPlan(name string, kernel tensor.Shape, stride []int) (p orthogonalPlan, err error) {
	switch {
	case len(kernel) != 2 || kernel[0] < 1 || kernel[1] < 1:
		return p, fmt.Errorf("%s: want a kernel shape of two positive sizes, got %v", name, kernel)
	case len(stride) != 2 || stride[0] < 1 || stride[1] < 1:
		return p, fmt.Errorf("%s: want two positive strides, got %v", name, stride)
	case kernel[0] < stride[0] || kernel[1] < stride[1]:
		return p, notOrthogonal("%s: want a kernel as large as the strides, because others leave out pixels, got kernel %v and strides %v", name, kernel, stride)
	}
	p.kernel, p.stride = [2]int(kernel), [2]int(stride)
	s := blockStep{rows: stride[0], cols: stride[1]}
	for s.rows < kernel[0] || s.cols < kernel[1] {
		if s.column = false; s.rows < kernel[0] {
			p.steps = append(p.steps, s)
			s.rows++
		}
		if s.column = true; s.cols < kernel[1] {
			p.steps = append(p.steps, s)
			s.cols++
		}
	}
	return p, nil
}

// phases returns the number of taps of the matrix.
func (p orthogonalPlan) phases() int { return p.stride[0] * p.stride[1] }

// area returns the number of taps of the kernel.
func (p orthogonalPlan) area() int { return p.kernel[0] * p.kernel[1] }

// rank returns the rank of the projectors.
func (p orthogonalPlan) rank() int { return p.wide / 2 }

// rows returns the number of rows of the matrix.
func (p orthogonalPlan) rows() int {
	if p.transposed {
		return p.channels
	}
	return p.filters
}

// fill sets the fields that follow from filters and channels.
func (p *orthogonalPlan) fill() {
	p.wide = p.channels
	if len(p.steps) > 0 || p.phases() == 1 {
		p.wide = max(p.channels, p.filters/p.phases())
	}
	p.transposed = p.phases() == 1 && p.filters > p.channels
}

func (p orthogonalPlan) check(name string) error {
	switch {
	case len(p.steps) > 0 && p.wide < 2:
		return notOrthogonal("%s: want more than one channel in a group, because shifts are the only orthogonal kernels of one channel, got %d groups of %d filters and %d channels",
			name, p.groups, p.filters, p.channels)
	case p.rows() == 1 && p.wide*p.phases() == 1:
		return notOrthogonal("%s: want more than one weight in a group, because 1 and -1 are the only orthogonal ones, got %d groups", name, p.groups)
	}
	return nil
}

// factors returns the shapes of the factors and their constraints.
func (p orthogonalPlan) factors() (matrix, projectors Factor) {
	on := func(m manifolds.Manifold) manifolds.Constraint {
		return manifolds.On(m, manifolds.PerSlice, manifolds.Unit)
	}
	rows, columns := p.rows(), p.phases()*p.wide
	matrix = Factor{tensor.Shape{p.groups, 1, rows, columns}, on(manifolds.Stiefel{})}
	if rows == columns {
		matrix.Constraint = on(manifolds.Orthogonal{})
	}
	if n := len(p.steps); n > 0 {
		projectors = Factor{tensor.Shape{p.groups, n, p.wide, p.rank()}, on(manifolds.Grassmann{})}
	}
	return matrix, projectors
}

// orthogonalConv is the body of OrthogonalConvKernel. Inside, a kernel has a row for each row of the matrix, which holds tap after tap, and of each
// tap c weights. So the matrix is the first kernel, and for a product with a c x p matrix a kernel is a matrix of rows * taps x c.
//
// With Q = (Y U) U', the block convolution of Y and [P; I-P] has row Q_i + Y_{i-1} - Q_{i-1} of taps: two products for all
// taps together, without P.
type orthogonalConv[T vec.Float] struct {
	orthogonalPlan
	runs *uint64
	work *orthogonalWork[T]
}

// orthogonalWork holds the results of the last run that the gradients need.
type orthogonalWork[T vec.Float] struct {
	y [][]T // the kernel after each step, of all groups
	z [][]T // Y U of each step
}

// room allocates the kernels of all steps.
func (o orthogonalConv[T]) room() {
	w := o.work
	if w.y != nil {
		return
	}
	for _, s := range o.steps {
		w.y = append(w.y, make([]T, o.groups*o.rows()*s.after()*o.wide))
		w.z = append(w.z, make([]T, o.groups*o.rows()*s.rows*s.cols*o.rank()))
	}
}

// after returns the number of taps after the step.
func (s blockStep) after() int {
	if s.column {
		return s.rows * (s.cols + 1)
	}
	return (s.rows + 1) * s.cols
}

// lines returns into how many lines of taps a row of the kernel is divided, the length of a line, and the number of weights that the step
// adds to it.
func (s blockStep) lines(wide int) (number, length, size int) {
	if s.column {
		return s.rows, s.cols * wide, wide
	}
	return 1, s.rows * s.cols * wide, s.cols * wide
}

// ofGroup views the part of a group as a matrix with the given number of columns.
func ofGroup[T vec.Float](p orthogonalPlan, data []T, g, columns int) gemm.Mat[T] {
	n := len(data) / p.groups
	return gemm.Of(data[g*n:][:n], n/columns, columns)
}

// before returns the kernel before a step.
func (o orthogonalConv[T]) before(i, g int, m []T) gemm.Mat[T] {
	if i > 0 {
		m = o.work.y[i-1]
	}
	return ofGroup(o.orthogonalPlan, m, g, o.wide)
}

// basis returns the matrix U of a step.
func (o orthogonalConv[T]) basis(u []T, i, g int) gemm.Mat[T] {
	return ofGroup(o.orthogonalPlan, u, g, o.rank()).Sub(i*o.wide, 0, o.wide, o.rank())
}

// member returns an error unless a factor has orthonormal columns, or rows.
func (o orthogonalConv[T]) member(factor string, i, g int, x gemm.Mat[T]) error {
	if x.C > x.R {
		x = x.T()
	}
	e := scratch.Get[T](x.C * x.C)
	defer scratch.Put(e)
	tolerance := 1e-4 * max(1, math.Sqrt(float64(x.C)/64))
	if d := frames.Defect(e, x, 1); !(d <= tolerance) {
		return notOrthogonal("%s %d of group %d: want orthonormal columns, or rows, |x'x - I| at most %.2g, got %.2g; the option solvers.Natural() keeps factors so",
			factor, i, g, tolerance, d)
	}
	return nil
}

func (o orthogonalConv[T]) Runs() uint64 { return *o.runs }

func (o orthogonalConv[T]) Forward(out []T, in [][]T) error {
	*o.runs++
	o.room()
	for g := range o.groups {
		if err := o.member("matrix", 0, g, ofGroup(o.orthogonalPlan, in[0], g, o.phases()*o.wide)); err != nil {
			return err
		}
		for i, s := range o.steps {
			u := o.basis(in[1], i, g)
			if err := o.member("projector", i, g, u); err != nil {
				return err
			}
			y, z := o.before(i, g, in[0]), ofGroup(o.orthogonalPlan, o.work.z[i], g, o.rank())
			q := gemm.Of(scratch.Get[T](y.R*y.C), y.R, y.C)
			gemm.Mul(z, 1, y, u, 0)
			gemm.Mul(q, 1, z, u.T(), 0)
			o.extend(s, o.before(i+1, g, nil).Data, y.Data, q.Data)
			scratch.Put(q.Data)
		}
		y := o.before(len(o.steps), g, in[0])
		o.each(out, g, func(row int, kernel []T, stride int) {
			gemm.Transpose(kernel, stride, y.Data[row*o.area()*o.wide:], o.wide, o.area(), o.seen())
		})
	}
	return nil
}

// seen returns how many of the c weights of a tap are in the kernel.
func (p orthogonalPlan) seen() int {
	if p.transposed {
		return p.filters
	}
	return p.channels
}

// each calls f for the rows of a group, with their weights in the kernel: taps one after the other, and the weights of a tap
// stride numbers apart.
func (o orthogonalConv[T]) each(kernel []T, g int, f func(row int, kernel []T, stride int)) {
	of, stride, next := ofGroup(o.orthogonalPlan, kernel, g, 1).Data, o.area(), o.channels*o.area()
	if o.transposed {
		stride, next = next, stride
	}
	for row := range o.rows() {
		f(row, of[row*next:], stride)
	}
}

// extend sets next to the block convolution with y, given q = y P, which it overwrites.
func (o orthogonalConv[T]) extend(s blockStep, next, y, q []T) {
	number, length, size := s.lines(o.wide)
	for i := range o.rows() * number {
		y, q, next := y[i*length:][:length], q[i*length:][:length], next[i*(length+size):][:length+size]
		copy(next, q)
		clear(next[length:])
		vec.Combine(q, 1, y, -1, q)
		vec.Add(next[size:], q)
	}
}

// shrink is the adjoint of extend: it sets q and y to the gradients with respect to them, given that with respect to next.
func (o orthogonalConv[T]) shrink(s blockStep, next, y, q []T) {
	number, length, size := s.lines(o.wide)
	for i := range o.rows() * number {
		y, q, next := y[i*length:][:length], q[i*length:][:length], next[i*(length+size):][:length+size]
		copy(y, next[size:])
		vec.Combine(q, 1, next[:length], -1, y)
	}
}

// Sweep goes back through the block convolutions of the last run. With G the gradient with respect to Q = Y U U', that with
// respect to U is G' Y U + Y' G U.
func (o orthogonalConv[T]) Sweep(dst, in [][]T, grad []T) error {
	for g := range o.groups {
		last := o.before(len(o.steps), g, in[0])
		dy := gemm.Of(scratch.Get[T](last.R*last.C), last.R, last.C)
		if o.seen() < o.wide {
			clear(dy.Data)
		}
		o.each(grad, g, func(row int, kernel []T, stride int) {
			gemm.Transpose(dy.Data[row*o.area()*o.wide:], o.wide, kernel, stride, o.seen(), o.area())
		})
		for i := len(o.steps) - 1; i >= 0; i-- {
			s, next := o.steps[i], dy
			u := o.basis(in[1], i, g)
			y, z := o.before(i, g, in[0]), ofGroup(o.orthogonalPlan, o.work.z[i], g, o.rank())
			dy = gemm.Of(scratch.Get[T](y.R*y.C), y.R, y.C)
			dq, w := gemm.Of(scratch.Get[T](y.R*y.C), y.R, y.C), gemm.Of(scratch.Get[T](z.R*z.C), z.R, z.C)
			o.shrink(s, next.Data, dy.Data, dq.Data)
			gemm.Mul(w, 1, dq, u, 0)
			if dst[1] != nil {
				du := o.basis(dst[1], i, g)
				gemm.Mul(du, 1, dq.T(), z, 0)
				gemm.Mul(du, 1, y.T(), w, 1)
			}
			if i > 0 || dst[0] != nil {
				gemm.Mul(dy, 1, w, u.T(), 1)
			}
			scratch.Put(next.Data)
			scratch.Put(dq.Data)
			scratch.Put(w.Data)
		}
		if dst[0] != nil {
			copy(ofGroup(o.orthogonalPlan, dst[0], g, 1).Data, dy.Data)
		}
		scratch.Put(dy.Data)
	}
	return nil
}

// Backward is not called: Sweep computes the gradients.
func (o orthogonalConv[T]) Backward([]T, int, [][]T, []T, []T) error { return errSwept }

// PointInput returns the constraint of a factor.
func (o orthogonalConv[T]) PointInput(i int) (manifolds.Constraint, bool) {
	matrix, projectors := o.factors()
	if i == 0 {
		return matrix.Constraint, true
	}
	return projectors.Constraint, true
}
