// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// nine is the number of elements of a 3 x 3 slice. Such points are shorter than a vector register,
// so a kernel processes as many points at a time as a register has lanes.
const nine = 9

// nineStep holds the constants of a step in the layout that the kernels for points of 9 elements
// read.
type nineStep struct {
	terms                    [terms]float32
	ahead, slope, keep, take float32
}

// nineState is the workspace of those kernels, with sixteen places in each row.
type nineState struct {
	_                 [direction][16]float32
	_                 [2][16]float32
	factor            [16]float32 // largest g_t
	_                 [5][16]float32
	direction, length [16]float64
	long              [3][16]float32 // |t d|^2/r^2 of the vectors of each point of the last group
	_                 [2 * nine][16]float32
}

// floats views the whole of the state.
func (r *nineState) floats() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(r)), int(unsafe.Sizeof(*r))/4)
}

// nines is the step of points of 9 elements. Each is one vector or, if columns, three: the columns of a 3 x 3 matrix.
type nines struct {
	Sphere
	descent.Step
	columns   bool
	rates     []float32 // of the points with factors, by lanes.Rates
	constants nineStep
	state     nineState
	failed    int // index of the first point with a vector that could not move, or -1
}

// Scatters reports whether there are kernels for the step s of points of n elements that are scattered over an array.
func Scatters[T vec.Float](n int, s descent.Step) bool { return hasKernel[T](n, true, s) }

// hasKernel reports whether there are kernels for the step s of points of n elements, which are scattered or lie one after the other. Only those
// for the latter know factors, and |v|^2 then follows from the length of the step.
func hasKernel[T vec.Float](n int, scattered bool, s descent.Step) bool {
	return cpu.Use != cpu.Portable && !vec.Double[T]() && n == nine && (s.Factors == nil || !scattered && !s.Geometric && s.Rate >= lanes.LeastRate)
}

// stepOfNines makes the step of all points. order is that of Spheres.
func stepOfNines(x, m, g []float32, order []int32, columns bool, o Sphere, s descent.Step) (p descent.Progress, failed int) {
	s.Tangent = s.Tangent && m != nil
	var n nines
	n.Sphere, n.Step, n.columns, n.failed = o, s, columns, -1
	n.constants = nineStep{ahead: float32(s.Ahead), slope: float32(s.Slope), keep: float32(s.Keep), take: float32(s.Take)}
	for i, v := range o.terms(s, nine/n.vectors()) {
		n.constants.terms[i] = float32(v)
	}
	k := len(x) / nine
	if order != nil {
		k = len(order)
	}
	if s.Factors != nil {
		n.rates = scratch.Get[float32](k)
		defer scratch.Put(n.rates)
		lanes.Rates(n.rates, s.Rate, s.Factors, n.vectors())
	}
	n.step(x, m, g, order, k, 0)
	factor := float32(1)
	for i := range cpu.Use.Bytes() / 4 {
		p.Direction += n.state.direction[i]
		p.Length += n.state.length[i]
		factor = max(factor, n.state.factor[i])
	}
	p.Factor = float64(factor)
	if s.Factors != nil {
		p.Direction = p.Length / (s.Rate * s.Rate)
	}
	return p, n.failed
}

// step makes the step of k points. at is the index of the first. After a long step a vector is normalised again, because of rounding.
func (n *nines) step(x, m, g []float32, order []int32, k, at int) {
	lanes := cpu.Use.Bytes() / 4
	for k >= lanes {
		groups := 0
		if n.columns {
			groups, _ = stepOfThreesKernel(x, m, g, n.rates, order, cap(order), k/lanes, n.constants.terms[:], n.state.floats(), n.Tangent)
		} else {
			groups, _ = stepOfNineKernel(x, m, g, n.rates, order, cap(order), k/lanes, n.constants.terms[:], n.state.floats(), n.Tangent)
		}
		done := groups * lanes
		n.settle(x, order, done-lanes, at, lanes)
		if order == nil {
			x, g = x[nine*done:], g[nine*done:]
		} else {
			order = order[done:]
		}
		if m != nil {
			m = m[nine*done:]
		}
		if n.rates != nil {
			n.rates = n.rates[done:]
		}
		k, at = k-done, at+done
	}
	if k > 0 {
		n.copied(x, m, g, order, k, at)
	}
}

// number is that of point i of an order.
func number(order []int32, i int) int {
	if order == nil {
		return i
	}
	return int(order[i])
}

// settle deals with the vectors of the last group, which begins with the given point, whose steps were long. at is the index of point 0.
func (n *nines) settle(x []float32, order []int32, first, at, lanes int) {
	for j := range n.vectors() {
		for i, l := range n.state.long[j][:lanes] {
			if !(l > 1) {
				continue
			}
			k := first + i*nine%lanes // the point that lane i belongs to
			switch p := x[nine*number(order, k):][:nine]; {
			case math.IsInf(float64(l), 1):
				if n.failed < 0 || at+k < n.failed {
					n.failed = at + k
				}
			case n.columns:
				normalise(p[j:], 3, 3, n.Radius)
			default:
				renormalise(p, n.Sphere)
			}
		}
	}
}

// vectors is the number of vectors of a point.
func (n *nines) vectors() int {
	if n.columns {
		return 3
	}
	return 1
}

// copied makes the step of fewer points than a vector has lanes in a copy. The lanes that are left have some of them again, with gradient 0.
func (n *nines) copied(x, m, g []float32, order []int32, k, at int) {
	var all [3][16 * nine]float32
	lanes := cpu.Use.Bytes() / 4
	xs, ms, gs := all[0][:nine*lanes], all[1][:nine*lanes], all[2][:nine*lanes]
	for i := range lanes {
		p := nine * number(order, i%k)
		copy(xs[nine*i:], x[p:p+nine])
		if i < k {
			copy(gs[nine*i:], g[p:p+nine])
		}
	}
	if copy(ms, m); m == nil {
		ms = nil
	}
	if n.rates != nil {
		var own [16]float32
		for i := range lanes {
			if p := i * nine % lanes; p < k {
				own[i] = n.rates[p]
			}
		}
		n.rates = own[:lanes]
	}
	n.step(xs, ms, gs, nil, lanes, at)
	for i := range k {
		copy(x[nine*number(order, i):][:nine], xs[nine*i:])
	}
	copy(m, ms)
	if order == nil {
		clear(g)
	}
}
