// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// LeastRate is a rate at which the squares of steps do not vanish in float32.
const LeastRate = 1e-12

// frameState is the workspace of the kernel, which makes the step for as many frames at a time as a
// vector has lanes. A row has sixteen places.
type frameState struct {
	coefficients      [16]float32
	direction, length [16]float64
	steps             [16]float32 // the shortest, a negative number
	_                 [2 * 9][16]float32
}

// Rates sets dst to the rate times the factors of 3 x 3 points, factors[stride k] for point k, in the order in which the kernels for such
// points hold them: lane i of n has point 9 i mod n. Points after the last whole vector are in their own order.
func Rates(dst []float32, rate float64, factors []float64, stride int) {
	n := cpu.Use.Bytes() / 4
	whole := len(dst) / n * n
	for k := range dst {
		from := k
		if k < whole {
			from = k/n*n + 9*(k%n)%n
		}
		dst[k] = float32(rate * factors[stride*from])
	}
}

// Frames makes the step for square n x n frames, x^T x = r^2 I, that lie one after the other in x.
// The gradient is the tangent projection P_x(d) = d - x sym(x^T d) / r^2, and the retraction is r
// times the Q of x - Rate/g_t v = Q R. Frames returns the number of frames that it has moved,
// counted from the first. It stops before a group that holds a value that is not finite or a step
// too long for Cholesky-QR in one pass, and moves none if there is no kernel for n and T; there are
// kernels for 3 x 3 in float32. m is nil without momentum. A step with tangent momentum must not
// look ahead.
//
// With factors, which go with neither an order nor g_t, the step of frame k is Factors[k] times as long.
//
// With an order, frame i of m belongs to frame order[i] of x and g, and the step is for these frames only; g is not cleared. Up to
// its capacity, the order may hold the numbers of frames that are moved next.
func Frames[T vec.Float](x, m, g []T, order []int32, n int, r float64, s descent.Step) (int, descent.Progress) {
	k := len(x) / (n * n)
	if order != nil {
		k = len(order)
	}
	if len(g) != len(x) || m != nil && len(m) != k*n*n {
		panic("lanes: shapes do not match")
	}
	total := descent.Progress{Factor: 1}
	group := cpu.Use.Bytes() / 4
	unseen := s.Rate == 0 && s.Geometric // g_t is computed from the step, which is 0
	if s.Factors != nil {                // |v|^2 is computed from the step, too
		unseen = s.Geometric || s.Rate < LeastRate || order != nil
	}
	if group == 0 || n != 3 || Width[T]() != mostLanes || unseen || k < group {
		return 0, total
	}
	s.Tangent = s.Tangent && m != nil
	lines, whole := Borrow[float32](int(unsafe.Sizeof(frameState{})+lineBytes-1) / lineBytes)
	state := (*frameState)(unsafe.Pointer(&lines[0]))
	*state = frameState{coefficients: [16]float32{
		float32(s.Keep), float32(s.Take), float32(s.Ahead), float32(s.Slope), float32(-s.Rate),
		float32(1 / (r * r)), float32(0.5 / (r * r)), LeastPivot, 4, 0.5, 1.5, 1, float32(r), 2,
	}}
	longest := float32(-s.Rate)
	for l := range state.steps {
		state.steps[l] = longest
	}
	var own []float32
	if s.Factors != nil {
		own = scratch.Get[float32](k / group * group)
		defer scratch.Put(own)
		Rates(own, -s.Rate, s.Factors, 1)
	}
	moved, _ := framesKernel(vec.Float32s(x), vec.Float32s(m), vec.Float32s(g), own, order, cap(order), k/group, lines, s.Geometric, s.Tangent, s.Tangent && !s.Late)
	for l := range group {
		total.Direction += state.direction[l]
		total.Length += state.length[l]
		if t := state.steps[l]; t < 0 && own == nil {
			total.Factor = max(total.Factor, float64(longest/t))
		}
	}
	if own != nil {
		total.Direction = total.Length / (s.Rate * s.Rate)
	}
	scratch.Put(whole)
	return group * moved, total
}
