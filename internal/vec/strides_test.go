// SPDX-License-Identifier: Apache-2.0

package vec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// TestStrides compares every level with the definitions, with slices that end with the last element of the rows: nothing between
// the rows is changed, and, where memory can be protected, nothing outside of the slices is touched.
func TestStrides(t *testing.T) {
	t.Run("float32", testStrides[float32])
	t.Run("float64", testStrides[float64])
}

func testStrides[T Float](t *testing.T) {
	defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
	const longest, rows, steps = 70, 3, 4
	room := [2][]T{}
	for i := range room {
		room[i] = upToTheEdge[T](t, rows*(steps*longest+9))
	}
	last := func(i, n int) []T { return room[i][len(room[i])-n:] }
	for _, level := range cpu.Levels() {
		cpu.Use = level
		for n := 1; n < longest; n++ {
			for step := 1; step <= steps; step++ {
				for _, gap := range []int{0, 1, 9} {
					packed, wide, after := n+gap, step*n+gap, min(gap, 1) // pitches, and elements after the last
					a, b := last(0, (rows-1)*packed+n+after), last(1, (rows-1)*wide+(n-1)*step+1+after)
					for i := range b {
						b[i] = T(i + 1)
					}
					clear(a)
					Pick(a, packed, b, wide, step, rows, n)
					want := make([]T, len(a))
					for u := range rows {
						for j := range n {
							want[u*packed+j] = b[u*wide+j*step]
						}
					}
					require.Equal(t, want, a, "Pick, %v, rows of %d, step %d, gap %d", level, n, step, gap)

					for i := range a {
						a[i] = -T(i + 1)
					}
					want = append([]T(nil), b...)
					for u := range rows {
						for j := range n {
							want[u*wide+j*step] = a[u*packed+j]
						}
					}
					Place(b, wide, a, packed, step, rows, n)
					require.Equal(t, want, b, "Place, %v, rows of %d, step %d, gap %d", level, n, step, gap)
				}
			}
		}
		for _, none := range [][2]int{{0, 3}, {3, 0}} {
			Pick([]T{}, 1, []T{}, 1, 2, none[0], none[1])
			Place([]T{}, 1, []T{}, 1, 2, none[0], none[1])
		}
		require.Panics(t, func() { Pick(make([]T, 4), 2, make([]T, 6), 4, 2, 2, 2) })
		require.Panics(t, func() { Place(make([]T, 6), 4, make([]T, 4), 2, 2, 2, 2) })
	}
}
