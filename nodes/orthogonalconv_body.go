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
	wide                      int // c, the channels between the factors
	kernel, stride            [2]int
	steps                     []blockStep
}

// blockStep is the block convolution of a kernel of two taps and one of rows x cols, which gets one row or column more.
type blockStep struct {
	projector  int // its number in the group
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
	high, long := kernel[0]-stride[0], kernel[1]-stride[1]
	s := blockStep{projector: high + long, rows: 1, cols: 1}
	for t := max(high, long); t > 0; t-- { // from the last factor to the first
		if t <= long {
			s.projector, s.column = s.projector-1, true
			p.steps = append(p.steps, s)
			s.cols++
		}
		if t <= high {
			s.projector, s.column = s.projector-1, false
			p.steps = append(p.steps, s)
			s.rows++
		}
	}
	return p, nil
}

// phases returns the number of taps of the kernel of the strides' size.
func (p orthogonalPlan) phases() int { return p.stride[0] * p.stride[1] }

// rank returns that of the projectors.
func (p orthogonalPlan) rank() int { return p.wide / 2 }

// widest returns the largest c.
func (p orthogonalPlan) widest() int {
	if len(p.steps) == 0 {
		return p.channels
	}
	return max(p.channels, p.filters/p.phases())
}

func (p orthogonalPlan) check(name string) error {
	switch {
	case len(p.steps) > 0 && p.wide < 2:
		return notOrthogonal("%s: want more than one channel in a group, because shifts are the only orthogonal kernels of one channel, got %d groups of %d filters and %d channels",
			name, p.groups, p.filters, p.channels)
	case p.filters == 1 && p.wide*p.phases() == 1:
		return notOrthogonal("%s: want more than one weight in a group, because 1 and -1 are the only orthogonal ones, got %d groups", name, p.groups)
	}
	return nil
}

// factors returns the shapes of the factors and their constraints.
func (p orthogonalPlan) factors() (matrix, projectors Factor) {
	on := func(m manifolds.Manifold) manifolds.Constraint {
		return manifolds.On(m, manifolds.PerSlice, manifolds.Unit)
	}
	columns := p.wide * p.phases()
	matrix = Factor{tensor.Shape{p.groups, 1, p.filters, columns}, on(manifolds.Stiefel{})}
	if p.filters == columns {
		matrix.Constraint = on(manifolds.Orthogonal{})
	}
	if n := len(p.steps); n > 0 {
		projectors = Factor{tensor.Shape{p.groups, n, p.wide, p.rank()}, on(manifolds.Grassmann{})}
	}
	return matrix, projectors
}

// orthogonalConv is the body of OrthogonalConvKernel. Inside, a kernel is a matrix with a row for each output channel, in
// which the weights of a tap lie together.
//
// With Q = U (U' X), the block convolution of [P; I-P] and X has row Q_i + X_{i-1} - Q_{i-1} of taps: two products for all
// taps together, without P.
type orthogonalConv[T vec.Float] struct {
	orthogonalPlan
	runs *uint64
	work *orthogonalWork[T]
}

// orthogonalWork is what the gradients need of the last run.
type orthogonalWork[T vec.Float] struct {
	x [][]T // the kernel before each step and after the last, of all groups
	z [][]T // U' X of each step
}

// room makes room for the kernels of all steps.
func (o orthogonalConv[T]) room() {
	w, n := o.work, len(o.steps)
	if w.x != nil {
		return
	}
	w.x, w.z = make([][]T, n+1), make([][]T, n)
	taps := 1
	for i, s := range o.steps {
		w.z[i] = make([]T, o.groups*o.rank()*taps*o.channels)
		w.x[i] = make([]T, o.groups*o.wide*taps*o.channels)
		taps = s.after()
	}
	w.x[n] = make([]T, o.groups*o.wide*taps*o.channels)
}

// after returns the number of taps after the step.
func (s blockStep) after() int {
	if s.column {
		return s.rows * (s.cols + 1)
	}
	return (s.rows + 1) * s.cols
}

// lines returns into how many lines of taps a row of the matrix is divided, to each of which the step adds size numbers, and
// the length of a line before.
func (s blockStep) lines(channels int) (number, length, size int) {
	if s.column {
		return s.rows, s.cols * channels, channels
	}
	return 1, s.rows * s.cols * channels, s.cols * channels
}

// groupOf returns the part of a group.
func groupOf[T vec.Float](p orthogonalPlan, data []T, g int) []T {
	n := len(data) / p.groups
	return data[g*n:][:n]
}

// matrix views the part of a group as a matrix.
func (o orthogonalConv[T]) matrix(data []T, g, rows int) gemm.Mat[T] {
	part := groupOf(o.orthogonalPlan, data, g)
	return gemm.Of(part, rows, len(part)/rows)
}

// tap returns the matrix of a group at tap (a, b) of the kernel of the strides' size.
func (o orthogonalConv[T]) tap(m []T, g, a, b int) gemm.Mat[T] {
	all := o.matrix(m, g, o.filters)
	return gemm.Mat[T]{Data: all.Data[a*o.stride[1]+b:], R: o.filters, C: o.wide, RS: all.C, CS: o.phases()}
}

// basis returns the matrix U of a step.
func (o orthogonalConv[T]) basis(u []T, g int, s blockStep) gemm.Mat[T] {
	size := o.wide * o.rank()
	return gemm.Of(groupOf(o.orthogonalPlan, u, g)[s.projector*size:][:size], o.wide, o.rank())
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
	w := o.work
	for g := range o.groups {
		if err := o.member("matrix", 0, g, o.matrix(in[0], g, o.filters)); err != nil {
			return err
		}
		first := o.matrix(w.x[0], g, o.wide)
		clear(first.Data)
		for c := range o.channels {
			first.Data[c*first.RS+c] = 1
		}
		for i, s := range o.steps {
			u := o.basis(in[1], g, s)
			if err := o.member("projector", s.projector, g, u); err != nil {
				return err
			}
			x, z, y := o.matrix(w.x[i], g, o.wide), o.matrix(w.z[i], g, o.rank()), o.matrix(w.x[i+1], g, o.wide)
			q := gemm.Of(scratch.Get[T](x.R*x.C), x.R, x.C)
			gemm.Mul(z, 1, u.T(), x, 0)
			gemm.Mul(q, 1, u, z, 0)
			o.extend(s, y.Data, x.Data, q.Data)
			scratch.Put(q.Data)
		}
		o.finish(groupOf(o.orthogonalPlan, out, g), in[0], g)
	}
	return nil
}

// extend sets y to the block convolution with x, given q = P x, which it overwrites.
func (o orthogonalConv[T]) extend(s blockStep, y, x, q []T) {
	number, length, size := s.lines(o.channels)
	for i := range o.wide * number {
		x, q, y := x[i*length:][:length], q[i*length:][:length], y[i*(length+size):][:length+size]
		copy(y, q)
		clear(y[length:])
		vec.Combine(q, 1, x, -1, q)
		vec.Add(y[size:], q)
	}
}

// shrink is the adjoint of extend: it sets q and x to the gradients with respect to them, given that with respect to y.
func (o orthogonalConv[T]) shrink(s blockStep, y, x, q []T) {
	number, length, size := s.lines(o.channels)
	for i := range o.wide * number {
		x, q, y := x[i*length:][:length], q[i*length:][:length], y[i*(length+size):][:length+size]
		copy(x, y[size:])
		vec.Combine(q, 1, y[:length], -1, x)
	}
}

// finish writes the kernel of a group to out: the block convolution with the kernel of the strides' size.
func (o orthogonalConv[T]) finish(out, m []T, g int) {
	x := o.matrix(o.work.x[len(o.steps)], g, o.wide)
	y := gemm.Of(scratch.Get[T](o.filters*x.C), o.filters, x.C)
	defer scratch.Put(y.Data)
	if o.phases() > 1 {
		clear(out)
	}
	for a := range o.stride[0] {
		for b := range o.stride[1] {
			gemm.Mul(y, 1, o.tap(m, g, a, b), x, 0)
			o.taps(a, b, func(from, to int) {
				for d := range o.filters {
					row, filter := y.Data[d*x.C+from*o.channels:][:o.channels], out[d*len(out)/o.filters+to:]
					if o.phases() > 1 {
						for c, v := range row {
							filter[c*o.area()] += v
						}
						continue
					}
					for c, v := range row {
						filter[c*o.area()] = v
					}
				}
			})
		}
	}
}

// area returns the number of taps of the kernel.
func (p orthogonalPlan) area() int { return p.kernel[0] * p.kernel[1] }

// taps calls f for each tap of the kernel before the last block convolution, with its number and that of the tap to which tap
// (a, b) of the kernel of the strides' size adds it.
func (p orthogonalPlan) taps(a, b int, f func(from, to int)) {
	rows, cols := p.kernel[0]-p.stride[0]+1, p.kernel[1]-p.stride[1]+1
	for i := range rows {
		for j := range cols {
			f(i*cols+j, (i+a)*p.kernel[1]+j+b)
		}
	}
}

// Sweep goes back through the block convolutions of the last run. With G the gradient with respect to Q = U U' X, that with
// respect to U is G X' U + X G' U.
func (o orthogonalConv[T]) Sweep(dst, in [][]T, grad []T) error {
	for g := range o.groups {
		last := len(o.steps)
		x := o.matrix(o.work.x[last], g, o.wide)
		dx := gemm.Of(scratch.Get[T](x.R*x.C), x.R, x.C)
		o.start(dx, dst[0], in[0], groupOf(o.orthogonalPlan, grad, g), g)
		for i := last - 1; i >= 0 && dst[1] != nil; i-- {
			s, dy := o.steps[i], dx
			u, du := o.basis(in[1], g, s), o.basis(dst[1], g, s)
			x, z := o.matrix(o.work.x[i], g, o.wide), o.matrix(o.work.z[i], g, o.rank())
			dx = gemm.Of(scratch.Get[T](x.R*x.C), x.R, x.C)
			dq, w := gemm.Of(scratch.Get[T](x.R*x.C), x.R, x.C), gemm.Of(scratch.Get[T](z.R*z.C), z.R, z.C)
			o.shrink(s, dy.Data, dx.Data, dq.Data)
			gemm.Mul(w, 1, u.T(), dq, 0)
			gemm.Mul(du, 1, dq, z.T(), 0)
			gemm.Mul(du, 1, x, w.T(), 1)
			if i > 0 {
				gemm.Mul(dx, 1, u, w, 1)
			}
			scratch.Put(dy.Data)
			scratch.Put(dq.Data)
			scratch.Put(w.Data)
		}
		scratch.Put(dx.Data)
	}
	return nil
}

// start is the adjoint of finish: it sets dx to the gradient with respect to the kernel before, and writes that with respect to the
// matrix to dm, unless that is nil.
func (o orthogonalConv[T]) start(dx gemm.Mat[T], dm, m, grad []T, g int) {
	x := o.matrix(o.work.x[len(o.steps)], g, o.wide)
	y := gemm.Of(scratch.Get[T](o.filters*x.C), o.filters, x.C)
	defer scratch.Put(y.Data)
	add := 0.0
	for a := range o.stride[0] {
		for b := range o.stride[1] {
			o.taps(a, b, func(from, to int) {
				for d := range o.filters {
					row, filter := y.Data[d*x.C+from*o.channels:][:o.channels], grad[d*len(grad)/o.filters+to:]
					for c := range row {
						row[c] = filter[c*o.area()]
					}
				}
			})
			if dm != nil {
				gemm.Mul(o.tap(dm, g, a, b), 1, y, x.T(), 0)
			}
			gemm.Mul(dx, 1, o.tap(m, g, a, b).T(), y, add)
			add = 1
		}
	}
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
