// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// generator returns a random N and its parts.
func generator(rng *rand.Rand, q int) (n, a, g []float64) {
	w := dense(random[float64](rng, q+3, q))
	w.Scale(0.4, w)
	var gram mat.Dense
	gram.Mul(w.T(), w)
	a, g, n = random[float64](rng, q, q).Data, of[float64](&gram).Data, make([]float64, 4*q*q)
	Skew(a, q)
	for i := range n {
		n[i] = 99
	}
	Generator(n, 0.5, a, g, q)
	return n, a, g
}

func TestGenerator(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 1))
	for _, q := range []int{1, 3, 8} {
		n, a, g := generator(rng, q)
		at := gemm.Of(n, 2*q, 2*q)
		for i := range q {
			for j := range q {
				identity := 0.0
				if i == j {
					identity = 1
				}
				assert.Equal(t, a[i*q+j]/2, at.At(i, j))
				assert.Equal(t, a[i*q+j]/2, at.At(q+i, q+j))
				assert.Equal(t, -g[i*q+j], at.At(i, q+j))
				assert.Equal(t, identity, at.At(q+i, j))
			}
		}
	}
}

// columnsOf is phi(N) [I; 0] by gonum.
func columnsOf(n []float64, q int, cayley bool) *mat.Dense {
	p := 2 * q
	a := mat.NewDense(p, p, append([]float64(nil), n...))
	var f mat.Dense
	if !cayley {
		f.Exp(a)
		return mat.DenseCopyOf(f.Slice(0, p, 0, q))
	}
	var left, right mat.Dense
	left.Scale(-0.5, a)
	right.Scale(0.5, a)
	for i := range p {
		left.Set(i, i, 1+left.At(i, i))
		right.Set(i, i, 1+right.At(i, i))
	}
	if err := f.Solve(&left, &right); err != nil {
		panic(err)
	}
	return mat.DenseCopyOf(f.Slice(0, p, 0, q))
}

func TestColumnsAndTheirAdjoints(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 1))
	for _, cayley := range []bool{false, true} {
		for _, q := range []int{1, 2, 5, 9} {
			n, _, _ := generator(rng, q)
			f := make([]float64, 2*q*q)
			columns := func(f, n []float64) {
				if cayley {
					require.NoError(t, CayleyColumns(f, n, q))
				} else {
					ExpColumns(f, n, q)
				}
			}
			columns(f, n)
			near(t, columnsOf(n, q, cayley), gemm.Of(f, 2*q, q), 1e-11, "columns")

			df, dn, u := random[float64](rng, 2*q, q).Data, make([]float64, 4*q*q), random[float64](rng, 2*q, 2*q).Data
			if cayley {
				require.NoError(t, CayleyColumnsAdjoint(dn, n, f, df, q))
			} else {
				ExpColumnsAdjoint(dn, n, df, q)
			}
			const h = 1e-6
			moved, numeric := make([]float64, len(n)), 0.0
			for _, sign := range []float64{1, -1} {
				vec.Combine(moved, 1, n, sign*h, u)
				columns(f, moved)
				numeric += sign * vec.Dot(f, df) / (2 * h)
			}
			exact := vec.Dot(dn, u)
			assert.InDelta(t, exact, numeric, 1e-6*(1+vec.Norm(dn)*vec.Norm(u)), "%d, Cayley %t", q, cayley)
		}
	}
	// I - N/2 = 0
	n := make([]float64, 4)
	AddDiagonal(n, 2, 2)
	assert.ErrorContains(t, CayleyColumns(make([]float64, 2), n, 1), "want a matrix whose Cayley transform can be computed")
}

func TestWidenAndNarrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 1))
	for _, s := range sides {
		x := random[float32](rng, s[0], s[1])
		w, y := make([]float64, s[0]*s[1]), like(x)
		Widen(w, x, 4)
		assert.Equal(t, 4*float64(x.At(s[0]-1, s[1]-1)), w[len(w)-1])
		Narrow(y, w, 0.25)
		assert.Equal(t, x, y)
	}
}

// The geodesic by skew matrices agrees with that by the generator, and remains a frame however long it is.
func TestGeodesic(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, s := range [][2]int{{3, 3}, {4, 3}, {9, 4}, {20, 1}, {64, 20}} {
		n, q := s[0], s[1]
		for _, c := range []float64{1, 2} {
			x, v, y := make([]float64, n*q), make([]float64, n*q), make([]float64, n*q)
			for i := range x {
				x[i], v[i] = rng.NormFloat64(), rng.NormFloat64()
			}
			require.NoError(t, Householder(gemm.Of(x, n, q), gemm.Of(x, n, q), 1))
			a := make([]float64, q*q) // v <- v - x sym(x^T v)
			gemm.Mul(gemm.Of(a, q, q), 1, gemm.Of(x, n, q).T(), gemm.Of(v, n, q), 0)
			Symmetrize(a, q)
			gemm.Mul(gemm.Of(v, n, q), -1, gemm.Of(x, n, q), gemm.Of(a, q, q), 1)
			size := vec.Norm(v)
			for _, length := range []float64{1e-3, 1, 100, 1e4, 0} {
				vec.Scale(v, length/size, v)
				size = length
				Geodesic(y, x, v, c, n, q)
				gram := make([]float64, q*q)
				e := Defect(gram, gemm.Of(y, n, q), 1)
				assert.LessOrEqual(t, e, 1e-13*float64(q)*(1+length), "%d x %d, c = %g, length %g", n, q, c, length)
				if length == 0 {
					assert.InDeltaSlice(t, x, y, 1e-14)
				}
				if length == 1 {
					assert.InDeltaSlice(t, generated(x, v, c, n, q), y, 1e-13)
				}
			}
		}
	}
}

// generated is the geodesic by exp([cA, -w^T w; I, cA]), c = 1 or 1/2, without a factorisation.
func generated(x, v []float64, metric float64, n, q int) []float64 {
	w, a, g := slices.Clone(v), make([]float64, q*q), make([]float64, q*q)
	gemm.Mul(gemm.Of(a, q, q), 1, gemm.Of(x, n, q).T(), gemm.Of(v, n, q), 0)
	half := 1.0
	if metric == 1 {
		half = 0.5
		gemm.Mul(gemm.Of(w, n, q), -0.5, gemm.Of(x, n, q), gemm.Of(a, q, q), 1)
	}
	gemm.Gram(gemm.Of(g, q, q), 1, gemm.Of(w, n, q))
	n2, f := make([]float64, 4*q*q), make([]float64, 2*q*q)
	Generator(n2, half, a, g, q)
	ExpColumns(f, n2, q)
	if metric == 2 {
		e, minus, h := make([]float64, q*q), make([]float64, q*q), make([]float64, 2*q*q)
		vec.Scale(minus, -1, a)
		gemm.Exp(e, minus, q)
		gemm.Mul(gemm.Of(h, 2*q, q), 1, gemm.Of(f, 2*q, q), gemm.Of(e, q, q), 0)
		f = h
	}
	y := make([]float64, n*q)
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(x, n, q), gemm.Of(f[:q*q], q, q), 0)
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(w, n, q), gemm.Of(f[q*q:], q, q), 1)
	return y
}

// Also for a matrix without full rank, Q is orthonormal and Q R is the matrix.
func TestThinQR(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	const n, p = 9, 4
	a := make([]float64, n*p)
	for i := range n {
		for j := range p - 1 {
			a[i*p+j] = rng.NormFloat64()
		}
		a[i*p+p-1] = a[i*p] - 2*a[i*p+1]
	}
	q, r := slices.Clone(a), make([]float64, p*p)
	thinQR(q, r, n, p)
	assert.LessOrEqual(t, Defect(make([]float64, p*p), gemm.Of(q, n, p), 1), 1e-14)
	back := make([]float64, n*p)
	gemm.Mul(gemm.Of(back, n, p), 1, gemm.Of(q, n, p), gemm.Of(r, p, p), 0)
	assert.InDeltaSlice(t, a, back, 1e-14)
	assert.InDelta(t, 0, r[p*p-1], 1e-14)
	assert.Zero(t, r[p])
}
