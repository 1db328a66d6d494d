// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math/rand/v2"
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

func TestExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 1))
	for _, p := range []int{1, 2, 7, 20} {
		a := random[float64](rng, p, p).Data
		Skew(a, p)
		var want mat.Dense
		want.Exp(mat.NewDense(p, p, append([]float64(nil), a...)))
		e := make([]float64, p*p)
		Exp(e, a, p)
		near(t, &want, gemm.Of(e, p, p), 1e-12, "")
	}
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
