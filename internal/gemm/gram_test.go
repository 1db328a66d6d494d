// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestGram(t *testing.T) { everyLevel(t, testGram[float32], testGram[float64]) }

func testGram[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, s := range [][2]int{{1, 1}, {5, 3}, {3, 7}, {61, 16}, {61, 35}, {maxDepth + 9, 33}, {40, 64}, {30, 100}} {
		n, q := s[0], s[1]
		const pad = 5
		for mask := range 4 {
			a := Mat[T]{random[T](rng, n*(q+pad)), n, q, q + pad, 1}
			if mask&1 != 0 {
				a = Mat[T]{random[T](rng, q*(n+pad)), n, q, 1, n + pad}
			}
			g := Mat[T]{random[T](rng, q*(q+pad)), q, q, q + pad, 1}
			if mask&2 != 0 {
				g = g.T()
			}
			before := append([]T(nil), g.Data...)
			Gram(g, 0.3, a)
			for e, got := range g.Data {
				i, j := e/(q+pad), e%(q+pad)
				if j >= q {
					if got != before[e] {
						t.Fatalf("%v mask %d: element %d outside the matrix was written", s, mask, e)
					}
					continue
				}
				want, size := 0.0, 0.0
				for p := range n {
					v := 0.3 * float64(a.At(p, i)) * float64(a.At(p, j))
					want, size = want+v, size+math.Abs(v)
				}
				if d := math.Abs(float64(got) - want); !(d <= float64(n+2)*vec.Eps[T]()*size) {
					t.Fatalf("%v mask %d: (%d,%d): want %g, got %g", s, mask, i, j, want, got)
				}
				if got != g.At(j, i) {
					t.Fatalf("%v mask %d: (%d,%d) is %v, (%d,%d) is %v", s, mask, i, j, got, j, i, g.At(j, i))
				}
			}
		}
	}
}
