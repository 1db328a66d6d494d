// SPDX-License-Identifier: Apache-2.0

// Package spectra computes upper bounds of the largest singular value (the operator norm) of linear maps of images.
//
//	b := c.Bound(0.01)   // of a convolution, at most 1 % above that on the plane
//	b := spectra.Norm(m) // of a matrix, to about 1e-9
//
// Bounds are proved in floating point, never estimated. An estimate of the largest eigenvalue of a Gram matrix H, such as one by power
// iteration, lies below it. So it only suggests which μ to try: if L L^T is a Cholesky factor of μI - H, whatever its accuracy, then
//
//	λ_max(H) <= μ + |μI - H - L L^T|_F,
//
// because L L^T is positive semidefinite. The residual is computed, and the rounding errors of H and of the residual are bounded
// by the usual constants γ_n = n u/(1 - n u) (Higham 2002, section 3.1) and added (compare Rump 2006, Verification of positive definiteness).
package spectra

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// unit is the unit roundoff of float64. gamma(n) bounds the relative error of n roundings.
const unit = 0x1p-53

func gamma(n int) float64 { return 1.01 * float64(n) * unit }

// up returns a number above x, however the last few operations rounded it.
func up(x float64) float64 { return x * (1 + 16*unit) }

// Norm returns an upper bound of the largest singular value of a finite matrix, which is about 1e-9 above it.
func Norm(m gemm.Mat[float64]) float64 {
	if m.R > m.C {
		m = m.T()
	}
	q, n := m.R, m.C
	x := make([]float64, q*n)
	for i := range q {
		for j := range n {
			x[i*n+j] = m.At(i, j)
		}
	}
	scale := rescale(x)
	if scale == 0 {
		return 0
	}
	h := make([]float64, q*q)
	gemm.Gram(gemm.Of(h, q, q), 1, gemm.Of(x, q, n).T())
	return scale * root(largest(h, q, exactly(h, q), 1e-9)+gamma(n+2)*vec.Dot(x, x))
}

// Abs returns the absolute values of x.
func Abs(x []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = math.Abs(v)
	}
	return y
}

// GCD returns the greatest common divisor of two positive numbers.
func GCD(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// root returns a bound of the root of a bound.
func root(x float64) float64 { return up(math.Sqrt(up(x))) }

// rescale divides x by a power of 2 so that its largest number is between 1/2 and 1, and returns that power; 0 if x is 0.
// Numbers that become so small that they lose bits are too small to matter.
func rescale(x []float64) float64 {
	most := vec.MaxAbs(x)
	if most == 0 {
		return 0
	}
	_, e := math.Frexp(most)
	for i, v := range x {
		x[i] = math.Ldexp(v, -e)
	}
	return math.Ldexp(1, e)
}

// exactly returns the largest eigenvalue of a symmetric matrix up to rounding, or 0 if it cannot be computed.
func exactly(h []float64, n int) float64 {
	work := scratch.Get[float64](n * n)
	defer scratch.Put(work)
	copy(work, h)
	values, ok := frames.Eigenvalues(work, n)
	if !ok {
		return 0
	}
	return values[n-1]
}

// largest returns an upper bound of the largest eigenvalue, which is positive, of a symmetric n x n matrix. If the eigenvalue is above the estimate,
// the bound is usually less than the given tolerance above it, and otherwise less than that above the estimate.
func largest(h []float64, n int, estimate, tolerance float64) float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1 + 0.5*math.Sin(float64(1+i)) // orthogonal to an eigenvector only by accident
	}
	work := scratch.Get[float64](3 * n * n)
	defer scratch.Put(work)
	for steps := 16; ; steps *= 4 {
		if μ := estimate * (1 + tolerance); μ > 0 {
			if bound, ok := prove(h, n, μ, work); ok {
				return bound
			}
		}
		estimate = max(estimate*(1+tolerance), rayleigh(h, n, x, min(steps, 1024)))
	}
}

// rayleigh makes steps of the power iteration and returns the Rayleigh quotient of x, which it leaves at norm 1.
func rayleigh(h []float64, n int, x []float64, steps int) (quotient float64) {
	y := make([]float64, n)
	for range steps {
		vec.Scale(x, 1/vec.Norm(x), x)
		for i := range y {
			y[i] = vec.Dot(h[i*n:(i+1)*n], x)
		}
		quotient = vec.Dot(x, y)
		if vec.Norm(y) == 0 {
			return max(quotient, math.SmallestNonzeroFloat64)
		}
		copy(x, y)
	}
	return quotient
}

// prove returns a bound of the largest eigenvalue of h near μ, or false if it finds none.
func prove(h []float64, n int, μ float64, work []float64) (float64, bool) {
	a, l := work[:n*n], work[n*n:2*n*n]
	vec.Scale(a, -1, h)
	for i := 0; i < len(a); i += n + 1 {
		a[i] += μ
	}
	copy(l, a)
	if !gemm.Cholesky(l, n) {
		return 0, false
	}
	frames.ClearUpper(l, n)
	square := vec.Dot(l, l) // bounds the norm of |L| |L|^T
	product := work[2*n*n:]
	gemm.Gram(gemm.Of(product, n, n), -1, gemm.Of(l, n, n).T())
	vec.Add(a, product)
	residual := vec.Norm(a)
	if !(residual < μ) {
		return 0, false
	}
	return up(μ + residual + gamma(n+4)*(square+float64(n)*μ)), true
}
