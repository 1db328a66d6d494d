// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Products and Gram matrices of slim matrices have the bits of those of packed ones, whatever lies between the rows and behind them.
func TestSlim(t *testing.T) { everyLevel(t, testSlim[float32], testSlim[float64]) }

func testSlim[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 42))
	for q := 1; q <= maxWidth+1; q++ {
		stride := SlimStride[T](q)
		if q > maxWidth {
			assert.Zero(t, stride)
			break
		}
		for _, n := range []int{1, 3, 16, 27, 70} {
			t.Run(fmt.Sprint(n, "x", q), func(t *testing.T) {
				copied := func(b Mat[T], alpha float64) Mat[T] {
					data := make([]T, b.R*stride+Slack)
					for i := range data {
						data[i] = T(math.NaN())
					}
					a := Mat[T]{data, b.R, q, stride, 1}
					CopySlim(a, alpha, b)
					for i := range b.R {
						for j := range q {
							assert.Equal(t, T(alpha)*b.At(i, j), a.At(i, j))
						}
					}
					a.Data = a.Data[:b.R*stride] // a product may read no more
					return a
				}
				x := Of(random[T](rng, n*q), n, q)
				slim := copied(x, 2)
				copied(Mat[T]{random[T](rng, n*q), n, q, 1, n}, -1)
				vec.Scale(x.Data, 2, x.Data)
				h := Of(random[T](rng, q*q), q, q)
				of := copied(h, 1)

				y, got := Of(make([]T, n*q), n, q), Of(make([]T, n*q), n, q)
				product[T]{c: y, a: x, b: h, alpha: 1}.packed(t)
				Mul(got, 1, slim, of, 0)
				assert.Equal(t, y, got, "product")

				g, into := Of(make([]T, q*q), q, q), copied(h, 1)
				product[T]{c: g, a: x.T(), b: x, alpha: 1}.packed(t)
				Gram(into, 1, slim)
				for i := range q {
					for j := range q {
						assert.Equal(t, g.At(i, j), into.At(i, j), "Gram matrix")
						assert.Equal(t, into.At(j, i), into.At(i, j), "symmetry")
					}
				}
			})
		}
	}
}

// The bits of a product do not depend on how it is divided, also where only the last part cannot read B in place.
func TestDividedSlim(t *testing.T) { everyLevel(t, testDividedSlim[float32], testDividedSlim[float64]) }

func testDividedSlim[T vec.Float](t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	const m, n, k, stride = 5, 21, 700, 32
	rng := rand.New(rand.NewPCG(43, 44))
	a, b := Of(random[T](rng, m*k), m, k), Mat[T]{random[T](rng, (k-1)*stride+n), k, n, stride, 1}
	whole, divided := Of(make([]T, m*n), m, n), Of(make([]T, m*n), m, n)
	p := product[T]{c: whole, a: a, b: b, alpha: 1}
	p.run()
	p.c = divided
	p.share(4)
	assert.Equal(t, whole, divided)
}

// packed multiplies with a B whose rows are too far apart for a slim matrix.
func (p product[T]) packed(t *testing.T) {
	wide := Mat[T]{make([]T, p.b.R*(maxWidth+1)), p.b.R, p.b.C, maxWidth + 1, 1}
	for i := range p.b.R {
		copy(wide.Data[i*wide.RS:], p.b.Data[i*p.b.RS:][:p.b.C])
	}
	assert.False(t, wide.slim())
	p.b = wide
	p.spread()
}
