// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// mean adds up the gradients of all ranks, one buffer for each precision. The buffer of float32 has
// one more element, which is 0 on a rank that has gradients and 1 on one that has failed: a failed
// rank takes part in the sum, and the others learn of the failure from it.
type mean struct {
	own32, sum32 []float32
	own64, sum64 []float64
}

// fit allocates the buffers for gradients of the sizes of the weights.
func (m *mean) fit(weights []dense.View) {
	n32, n64 := 1, 0
	for _, w := range weights {
		n32, n64 = n32+len(w.F32), n64+len(w.F64)
	}
	m.own32, m.sum32 = room(m.own32, n32), room(m.sum32, n32)
	m.own64, m.sum64 = room(m.own64, n64), room(m.sum64, n64)
}

func room[T any](b []T, n int) []T {
	if cap(b) < n {
		return make([]T, n)
	}
	return b[:n]
}

// add sums the gradients over the ranks. Ready is false on a rank that has none; all reports
// whether every rank was ready.
func (m *mean) add(c mpi.Comm, grads []dense.View, ready bool) (all bool, err error) {
	flag := len(m.own32) - 1
	m.own32[flag] = 1
	if ready {
		m.own32[flag] = 0
		at32, at64 := m.own32, m.own64
		for _, g := range grads {
			at32, at64 = at32[copy(at32, g.F32):], at64[copy(at64, g.F64):]
		}
	}
	if err := c.Sum32(m.sum32, m.own32); err != nil {
		return false, err
	}
	if len(m.own64) > 0 {
		if err := c.Sum64(m.sum64, m.own64); err != nil {
			return false, err
		}
	}
	return m.sum32[flag] == 0, nil
}

// finite reports whether all sums are finite.
func (m *mean) finite() bool {
	return vec.Norm(m.sum32) <= math.MaxFloat64 && vec.Norm(m.sum64) <= math.MaxFloat64
}

// firstBad returns the position of the first gradient whose sum is not finite, and the sum.
func (m *mean) firstBad(grads []dense.View) (int, dense.View) {
	at32, at64 := m.sum32, m.sum64
	for i, g := range grads {
		v := dense.View{Shape: g.Shape}
		if g.F64 != nil {
			v.F64, at64 = at64[:len(g.F64)], at64[len(g.F64):]
		} else {
			v.F32, at32 = at32[:len(g.F32)], at32[len(g.F32):]
		}
		if !(v.Norm() <= math.MaxFloat64) {
			return i, v
		}
	}
	return -1, dense.View{}
}

// put writes the mean over n ranks to the gradients.
func (m *mean) put(grads []dense.View, n int) {
	at32, at64 := m.sum32, m.sum64
	for _, g := range grads {
		vec.Scale(g.F32, 1/float64(n), at32[:len(g.F32)])
		vec.Scale(g.F64, 1/float64(n), at64[:len(g.F64)])
		at32, at64 = at32[len(g.F32):], at64[len(g.F64):]
	}
}

// takeBack restores the gradients.
func (m *mean) takeBack(grads []dense.View) {
	at32, at64 := m.own32, m.own64
	for _, g := range grads {
		at32, at64 = at32[copy(g.F32, at32):], at64[copy(g.F64, at64):]
	}
}
