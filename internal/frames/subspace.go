// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Geodesics between the spans of frames, points of the Grassmann manifold. A frame x, x^T x = I, moves along a horizontal velocity
// v = U S W^T, x^T v = 0, and remains the frame whose path in its span is the shortest. All matrices are row-major n x q, in float64.

// SubspaceExp sets y to the frame at time 1 of the geodesic from x with velocity v,
//
//	x cos(G^1/2) + v sin(G^1/2) G^-1/2,   G = v^T v,
//
// by the Taylor series of both functions of G where |G| <= 1, and else by the decomposition of v, which is the form x W cos(S) W^T
// + U sin(S) W^T of Edelman, Arias, Smith 1998, eq. 2.65. It fails if v is not finite. y must not be x or v.
func SubspaceExp(y, x, v []float64, n, q int) error {
	whole := scratch.Get[float64](5 * q * q)
	defer scratch.Put(whole)
	g, cos, sinc, power, next := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:3*q*q], whole[3*q*q:4*q*q], whole[4*q*q:]
	square := func(a []float64) gemm.Mat[float64] { return gemm.Of(a, q, q) }
	gemm.Gram(square(g), 1, gemm.Of(v, n, q))
	size := vec.Norm(g)
	if !(size <= 1) {
		return subspaceExpLong(y, x, v, n, q)
	}
	clear(cos)
	clear(sinc)
	AddDiagonal(cos, q, 1)
	AddDiagonal(sinc, q, 1)
	copy(power, g)
	// Term k is (-G)^k / (2k)! and (-G)^k / (2k+1)!.
	for k, c, bound := 1, 1.0, size; ; k++ {
		c /= -float64(2*k-1) * float64(2*k)
		vec.Combine(cos, 1, cos, c, power)
		vec.Combine(sinc, 1, sinc, c/float64(2*k+1), power)
		if bound *= size; bound*math.Abs(c) < 0x1p-54 { // more than the term that comes next
			break
		}
		gemm.Mul(square(next), 1, square(power), square(g), 0)
		power, next = next, power
	}
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(x, n, q), square(cos), 0)
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(v, n, q), square(sinc), 1)
	return nil
}

func subspaceExpLong(y, x, v []float64, n, q int) error {
	d, err := decompose(gemm.Of(v, n, q))
	if err != nil {
		return err
	}
	defer d.Free()
	xw := scratch.Get[float64](n * q)
	defer scratch.Put(xw)
	wt := gemm.Of(d.Wt, q, q)
	gemm.Mul(gemm.Of(xw, n, q), 1, gemm.Of(x, n, q), wt.T(), 0)
	for j, s := range d.Values {
		sin, cos := math.Sincos(d.Scale * s)
		for i := j; i < n*q; i += q {
			xw[i] = cos*xw[i] + sin*d.U[i]
		}
	}
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(xw, n, q), wt, 0)
	return nil
}

// SubspaceTransport replaces u, horizontal at x, by its parallel transport along the geodesic from x with velocity v,
//
//	u + (U (cos(S) - I) - x W sin(S)) U^T u
//
// (Edelman, Arias, Smith 1998, theorem 2.4), horizontal at the frame of SubspaceExp. It fails if v is not finite.
func SubspaceTransport(u, x, v []float64, n, q int) error {
	d, err := decompose(gemm.Of(v, n, q))
	if err != nil {
		return err
	}
	defer d.Free()
	whole := scratch.Get[float64](n*q + q*q)
	defer scratch.Put(whole)
	move, along := whole[:n*q], whole[n*q:]
	gemm.Mul(gemm.Of(along, q, q), 1, gemm.Of(d.U, n, q).T(), gemm.Of(u, n, q), 0)
	gemm.Mul(gemm.Of(move, n, q), 1, gemm.Of(x, n, q), gemm.Of(d.Wt, q, q).T(), 0)
	for j, s := range d.Values {
		sin, half := math.Sin(d.Scale*s), math.Sin(d.Scale*s/2)
		for i := j; i < n*q; i += q {
			move[i] = -2*half*half*d.U[i] - sin*move[i]
		}
	}
	gemm.Mul(gemm.Of(u, n, q), 1, gemm.Of(move, n, q), gemm.Of(along, q, q), 1)
	return nil
}

// SubspaceLog sets v to the logarithm at x of the span of y, and turned to the frame of that span at which SubspaceExp arrives:
// turned = y Q with Q orthogonal. With L = turned - x x^T turned = U S W^T,
//
//	v = U theta W^T,   theta_i = atan2(s_i, |x^T turned w_i|)
//
// (Bendokat, Zimmermann, Absil, A Grassmann manifold handbook, 2024, algorithm 5.3). It fails where the spans have a right angle, up
// to a cosine of 8 eps. The slices must not overlap.
func SubspaceLog(v, turned, x, y []float64, n, q int, eps float64) error {
	m := scratch.Get[float64](q * q)
	defer scratch.Put(m)
	gemm.Mul(gemm.Of(m, q, q), 1, gemm.Of(y, n, q).T(), gemm.Of(x, n, q), 0)
	d, err := decompose(gemm.Of(m, q, q))
	if err != nil {
		return err
	}
	least := d.Scale * d.Values[q-1]
	gemm.Mul(gemm.Of(m, q, q), 1, gemm.Of(d.U, q, q), gemm.Of(d.Wt, q, q), 0)
	d.Free()
	if !(least > 8*eps) {
		return fmt.Errorf("want spans without a right angle, got the cosine %.3g", least)
	}
	gemm.Mul(gemm.Of(turned, n, q), 1, gemm.Of(y, n, q), gemm.Of(m, q, q), 0)
	d, angles, err := subspaceAngles(x, turned, n, q)
	if err != nil {
		return err
	}
	for j, a := range angles {
		for i := j; i < n*q; i += q {
			d.U[i] *= a
		}
	}
	gemm.Mul(gemm.Of(v, n, q), 1, gemm.Of(d.U, n, q), gemm.Of(d.Wt, q, q), 0)
	scratch.Put(angles)
	d.Free()
	return nil
}

// SubspaceDist returns the root of the sum of the squared angles between the spans of x and y. It fails if y is not finite.
func SubspaceDist(x, y []float64, n, q int) (float64, error) {
	d, angles, err := subspaceAngles(x, y, n, q)
	if err != nil {
		return 0, err
	}
	total := vec.Norm(angles)
	scratch.Put(angles)
	d.Free()
	return total, nil
}

// subspaceAngles returns the decomposition of y - x x^T y and the angles between the spans of x and y, which its singular vectors
// belong to. The caller must return both to scratch.
func subspaceAngles(x, y []float64, n, q int) (d SVD, angles []float64, err error) {
	whole := scratch.Get[float64](n*q + 2*q*q)
	defer scratch.Put(whole)
	l, inside, cos := whole[:n*q], whole[n*q:n*q+q*q], whole[n*q+q*q:]
	tx, part := gemm.Of(x, n, q), gemm.Of(inside, q, q)
	copy(l, y)
	for range 2 { // the second time removes the rounding error of the first
		gemm.Mul(part, 1, tx.T(), gemm.Of(l, n, q), 0)
		gemm.Mul(gemm.Of(l, n, q), -1, tx, part, 1)
	}
	if d, err = decompose(gemm.Of(l, n, q)); err != nil {
		return d, nil, err
	}
	gemm.Mul(part, 1, tx.T(), gemm.Of(y, n, q), 0)
	gemm.Mul(gemm.Of(cos, q, q), 1, part, gemm.Of(d.Wt, q, q).T(), 0)
	angles = scratch.Get[float64](q)
	for j, s := range d.Values {
		c := 0.0
		for i := j; i < q*q; i += q {
			c = math.Hypot(c, cos[i])
		}
		angles[j] = math.Atan2(d.Scale*s, c)
	}
	return d, angles, nil
}
