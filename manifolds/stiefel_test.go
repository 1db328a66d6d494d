// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/manifolds"
)

// onEvery runs f at every level of the machine.
func onEvery(t *testing.T, f func(t *testing.T)) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(l.String(), f)
	}
}

// conditioned returns a matrix U diag(s) V^T whose singular values fall from 1 to 1/c in
// equal ratios, and its polar factor U V^T.
func conditioned(t *testing.T, rng *rand.Rand, n, p int, c float64) (x, polar manifolds.Points) {
	q := min(n, p)
	u, v := points64(t, make([]float64, n*q), 1, n, q), points64(t, make([]float64, p*q), 1, p, q)
	require.NoError(t, manifolds.Stiefel{Retraction: manifolds.QR}.Random(u, rng))
	require.NoError(t, manifolds.Stiefel{}.Random(v, rng))
	var left, a, b mat.Dense
	left.Apply(func(_, j int, x float64) float64 {
		if q == 1 {
			return x
		}
		return x * math.Pow(c, -float64(j)/float64(q-1))
	}, mat.NewDense(n, q, u.Data64()))
	vt := mat.NewDense(p, q, v.Data64()).T()
	a.Mul(&left, vt)
	b.Mul(mat.NewDense(n, q, u.Data64()), vt)
	return points64(t, a.RawMatrix().Data, 1, n, p), points64(t, b.RawMatrix().Data, 1, n, p)
}

func largestDifference(x, y manifolds.Points) float64 {
	d := 0.0
	for k := range x.K {
		for i := range x.N {
			for j := range x.P {
				e := math.Abs(x.At(k, i, j) - y.At(k, i, j))
				if !(e <= d) {
					d = e
				}
			}
		}
	}
	return d
}

func narrowed(t *testing.T, x manifolds.Points) manifolds.Points {
	y := points32(t, make([]float32, x.Len()), x.K, x.N, x.P)
	for e, v := range x.Data64() {
		y.Data32()[e] = float32(v)
	}
	return y
}

// The polar factor comes by Cholesky-QR and Newton-Schulz, by Newton-Schulz, or by the
// singular value decomposition, as the condition asks for. It is as exact as the
// condition of x allows.
func TestStiefelProjectIsThePolarFactor(t *testing.T) {
	onEvery(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 3))
		for _, s := range [][2]int{{3, 3}, {8, 5}, {2, 7}, {9, 9}, {40, 12}, {12, 40}, {33, 30}, {150, 37}} {
			for _, r := range []float64{1, 3} {
				for c := 1.; c < 1e13; c *= 10 {
					m := manifolds.Stiefel{Radius: r}
					x, want := conditioned(t, rng, s[0], s[1], c)
					require.NoError(t, want.Combine(r, want, 0, want))
					what := fmt.Sprintf("%v, condition %g", s, c)
					y, size := x.Like(), math.Sqrt(float64(x.Len()))
					require.NoError(t, m.Project(y, x), what)
					assert.LessOrEqual(t, m.Membership(y), 20*size*0x1p-52, what)
					// the matrix itself is known to the rounding of its product
					assert.LessOrEqual(t, largestDifference(want, y), 10*r*c*size*0x1p-52, what)
					if c > 1e5 { // and in float32 to less
						continue
					}
					x32 := narrowed(t, x)
					y32 := x32.Like()
					require.NoError(t, m.Project(y32, x32), what)
					assert.LessOrEqual(t, m.Membership(y32), 10*size*0x1p-23, what)
					assert.LessOrEqual(t, largestDifference(want, y32), 10*r*c*0x1p-23, what)
				}
			}
		}
	})
}

// The polar retraction takes another way for each size of the step, to the same point.
func TestStiefelPolarRetraction(t *testing.T) {
	onEvery(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 3))
		for _, s := range [][2]int{{3, 3}, {5, 8}, {9, 9}, {64, 20}, {20, 300}} {
			m := manifolds.Stiefel{Retraction: manifolds.Polar, Radius: 2}
			x := points64(t, make([]float64, s[0]*s[1]), 1, s[0], s[1])
			v, y, want := x.Like(), x.Like(), x.Like()
			require.NoError(t, m.Random(x, rng))
			require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
			require.NoError(t, m.Tangent(v, x, v))
			for size := 1e-9; size < 1e4; size *= 3 {
				what := fmt.Sprintf("%v, step %g", s, size)
				require.NoError(t, v.Combine(size/v.Norm(), v, 0, v))
				require.NoError(t, want.Combine(1, x, 1, v))
				require.NoError(t, m.Project(want, want))
				require.NoError(t, m.Retract(y, x, v))
				scale := math.Sqrt(float64(x.Len())) * (1 + size) // the rounding of x + v, of condition 1 + size
				assert.LessOrEqual(t, m.Membership(y), 10*math.Sqrt(float64(x.Len()))*0x1p-52, what)
				assert.LessOrEqual(t, largestDifference(want, y), 10*scale*0x1p-52, what)
				x32, v32 := narrowed(t, x), narrowed(t, v)
				y32 := x32.Like()
				require.NoError(t, m.Retract(y32, x32, v32))
				assert.LessOrEqual(t, m.Membership(y32), 10*math.Sqrt(float64(x.Len()))*0x1p-23, what)
				assert.LessOrEqual(t, largestDifference(want, y32), 10*scale*0x1p-23, what)
			}
		}
	})
}

// svdPolar returns r times the polar factor of a point by gonum's singular value decomposition.
func svdPolar(t *testing.T, x manifolds.Points, k int, r float64) *mat.Dense {
	a := mat.NewDense(x.N, x.P, nil)
	a.Apply(func(i, j int, _ float64) float64 { return x.At(k, i, j) }, a)
	var svd mat.SVD
	require.True(t, svd.Factorize(a, mat.SVDThin))
	var u, v, y mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	y.Mul(&u, v.T())
	y.Scale(r, &y)
	return &y
}

// differenceTo returns the largest difference of the elements of a point from those of a matrix.
func differenceTo(want *mat.Dense, x manifolds.Points, k int) float64 {
	d := 0.0
	for i := range x.N {
		for j := range x.P {
			if e := math.Abs(want.At(i, j) - x.At(k, i, j)); !(e <= d) {
				d = e
			}
		}
	}
	return d
}

// A bank of which one filter is longer than the others projects to that bank, whichever filter and
// point it is. The first singular vector is then nearly a coordinate vector, which a power
// iteration from a fixed start may miss.
func TestStiefelProjectOfScaledFilters(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, s := range []struct{ tries, n, p int }{{320, 64, 288}, {96, 48, 48}, {100, 30, 20}, {300, 6, 8}, {300, 3, 3}} {
		if testing.Short() { // minutes under the race detector
			s.tries /= 8
		}
		for try := range s.tries {
			x := points64(t, make([]float64, s.n*s.p), 1, s.n, s.p)
			require.NoError(t, manifolds.Stiefel{}.Random(x, rng))
			y, z := x.Like(), x.Like()
			require.NoError(t, y.Combine(1, x, 0, x))
			q := min(s.n, s.p) // where there are more rows than columns, the columns are the orthogonal ones
			filter, factor := try%q, []float64{1.8, 1.8, 1.8, 2.5, 40, 1e3}[try/q%6]
			for j := range max(s.n, s.p) {
				if s.n > s.p {
					y.Set(0, j, filter, factor*y.At(0, j, filter))
				} else if j < s.p {
					y.Set(0, filter, j, factor*y.At(0, filter, j))
				}
			}
			what := fmt.Sprintf("%dx%d, filter %d times %g", s.n, s.p, filter, factor)
			require.NoError(t, manifolds.Stiefel{}.Project(z, y), what)
			tol := 100 * factor * math.Sqrt(float64(x.Len())) * 0x1p-52 // the condition number is the factor
			require.LessOrEqual(t, largestDifference(x, z), tol, what)
			require.LessOrEqual(t, differenceTo(svdPolar(t, y, 0, 1), z, 0), tol, what)
			y32 := narrowed(t, y)
			z32 := y32.Like()
			require.NoError(t, manifolds.Stiefel{}.Project(z32, y32), what)
			require.LessOrEqual(t, largestDifference(x, z32), 10*0x1p-23+tol, what)
		}
	}
}

// A step by polar retraction never ascends: y = R_x(v) maximises <y, x + v>, so that for points of
// one norm <y, v> >= <x, x> - <x, y> >= 0, and f(x) = <c, x> with a tangent c falls along v = -c,
// however long.
func TestStiefelPolarRetractionDescends(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	m := manifolds.Stiefel{Retraction: manifolds.Polar}
	for _, s := range []struct{ tries, n, p int }{{192, 64, 288}, {100, 20, 50}, {300, 3, 3}, {300, 5, 8}} {
		for try := range s.tries {
			x := points64(t, make([]float64, s.n*s.p), 1, s.n, s.p)
			require.NoError(t, m.Random(x, rng))
			v, y := x.Like(), x.Like()
			filter, size := try%s.n, []float64{1.5, 0.1 + 10*rng.Float64(), 100}[try%3]
			if try%2 == 1 {
				filter = 42 % s.n
			}
			for j := range s.p { // a gradient in one filter
				v.Set(0, filter, j, rng.NormFloat64())
			}
			if s.n < s.p { // across all filters, so that it only lengthens this one
				a, b := mat.NewDense(s.n, s.p, x.Data64()), mat.NewDense(s.n, s.p, v.Data64())
				var along, inside mat.Dense
				along.Mul(b, a.T())
				inside.Mul(&along, a)
				b.Sub(b, &inside)
			}
			require.NoError(t, m.Tangent(v, x, v))
			require.NoError(t, v.Combine(size/v.Norm(), v, 0, v))
			require.NoError(t, m.Retract(y, x, v))
			out := []float64{0}
			require.NoError(t, manifolds.Inner(manifolds.Euclidean{}, out, x, y, v))
			require.Positive(t, out[0], "%dx%d, filter %d, step %g", s.n, s.p, filter, size)
			sum := x.Like()
			require.NoError(t, sum.Combine(1, x, 1, v))
			tol := 100 * (1 + size) * math.Sqrt(float64(x.Len())) * 0x1p-52
			require.LessOrEqual(t, differenceTo(svdPolar(t, sum, 0, 1), y, 0), tol, "%dx%d, filter %d, step %g", s.n, s.p, filter, size)
		}
	}
}
