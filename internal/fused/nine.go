// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
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
	constants nineStep
	state     nineState
	failed    int // index of the first point with a vector that could not move, or -1
}

// isNines reports whether there are kernels for the step s of points of n elements.
func Scatters[T vec.Float](n int, s descent.Step) bool {
	return cpu.Use != cpu.Portable && !vec.Double[T]() && n == nine && s.Factors == nil
}

// stepOfNines makes the step of all points. order is that of Spheres.
func stepOfNines(x, m, g []float32, order []int32, columns bool, o Sphere, s descent.Step) (p descent.Progress, failed int) {
	s.Tangent = s.Tangent && m != nil
	n := nines{Sphere: o, Step: s, columns: columns, failed: -1}
	n.constants = nineStep{ahead: float32(s.Ahead), slope: float32(s.Slope), keep: float32(s.Keep), take: float32(s.Take)}
	elements, k := nine, len(x)/nine
	if columns {
		elements = 3
	}
	for i, v := range o.terms(s, elements) {
		n.constants.terms[i] = float32(v)
	}
	if order != nil {
		k = len(order)
	}
	n.step(x, m, g, order, k, 0)
	p.Factor = 1
	for i := range cpu.Use.Bytes() / 4 {
		p = p.Plus(descent.Progress{Direction: n.state.direction[i], Length: n.state.length[i], Factor: float64(n.state.factor[i])})
	}
	return p, n.failed
}

// step makes the step of k points. at is the index of the first. After a long step a vector is normalised again, because of rounding.
func (n *nines) step(x, m, g []float32, order []int32, k, at int) {
	lanes := cpu.Use.Bytes() / 4
	{
		for k >= lanes {
			groups := 0
			if n.columns {
				groups, _ = stepOfThreesKernel(x, m, g, order, k/lanes, n.constants.terms[:], n.state.floats(), n.Tangent)
			} else {
				groups, _ = stepOfNineKernel(x, m, g, order, k/lanes, n.constants.terms[:], n.state.floats(), n.Tangent)
			}
			done := groups * lanes
			for i := range lanes {
				l := done - lanes + i*nine%lanes // the point that lane i belongs to
				n.settle(i, x[nine*number(order, l):][:nine], at+l)
			}
			if order == nil {
				x, g = x[nine*done:], g[nine*done:]
			} else {
				order = order[done:]
			}
			if m != nil {
				m = m[nine*done:]
			}
			k, at = k-done, at+done
		}
	}
	for from := 0; from < k; from += maxPoints {
		to := min(from+maxPoints, k)
		n.copied(x, part(m, nine*from, nine*to), g, order, from, to, at+from)
	}
}

// number is that of point i of an order.
func number(order []int32, i int) int {
	if order == nil {
		return i
	}
	return int(order[i])
}

// settle deals with the vectors of the point x of the last group, which has moved in the given lane, whose steps were long.
func (n *nines) settle(lane int, x []float32, at int) {
	for j := range n.state.long {
		switch long := n.state.long[j][lane]; {
		case !(long > 1):
		case math.IsInf(float64(long), 1):
			if n.failed < 0 || at < n.failed {
				n.failed = at
			}
		case n.columns:
			normalise(x[j:], 3, 3, n.Radius)
		default:
			renormalise(x, n.Sphere)
		}
	}
}

// copied makes the step of points from to to-1 in a copy of whole vectors. The lanes that are left have some of them again, with gradient 0.
func (n *nines) copied(x, m, g []float32, order []int32, from, to, at int) {
	var all [3][maxPoints * nine]float32
	lanes := cpu.Use.Bytes() / 4
	k := to - from
	whole := (k + lanes - 1) / lanes * lanes
	xs, ms, gs := all[0][:nine*whole], all[1][:nine*whole], all[2][:nine*whole]
	for i := range whole {
		p := nine * number(order, from+i%k)
		copy(xs[nine*i:], x[p:p+nine])
		if i < k {
			copy(gs[nine*i:], g[p:p+nine])
		}
	}
	if copy(ms, m); m == nil {
		ms = nil
	}
	n.step(xs, ms, gs, nil, whole, at)
	for i := range k {
		p := nine * number(order, from+i)
		copy(x[p:p+nine], xs[nine*i:])
		clear(g[p : p+nine])
	}
	copy(m, ms)
}
