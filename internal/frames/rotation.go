// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Square frames are rotations, of determinant 1, and reflections, of determinant -1. Matrices here are row-major n x n in float64.

// Reflects reports whether the determinant of a is negative, by elimination with row pivots. a is overwritten.
func Reflects(a []float64, n int) bool {
	negative := false
	row := func(i int) []float64 { return a[i*n : (i+1)*n] }
	for j := range n {
		p := j
		for i := j + 1; i < n; i++ {
			if math.Abs(a[i*n+j]) > math.Abs(a[p*n+j]) {
				p = i
			}
		}
		if p != j {
			for e := j; e < n; e++ {
				a[p*n+e], a[j*n+e] = a[j*n+e], a[p*n+e]
			}
			negative = !negative
		}
		pivot := a[j*n+j]
		if pivot == 0 {
			return false
		}
		negative = negative != (pivot < 0)
		for i := j + 1; i < n; i++ {
			if f := a[i*n+j] / pivot; f != 0 {
				vec.Combine(row(i)[j:], 1, row(i)[j:], -f, row(j)[j:])
			}
		}
	}
	return negative
}

// decomposeProper returns the decomposition x = Scale U S W^T of a square matrix with det(U W^T) = 1. For that, the smallest singular
// value may be negative. It fails where the sum of the two smallest is not positive, because U W^T is not unique there.
func decomposeProper[T vec.Float](x gemm.Mat[T]) (SVD, error) {
	d, err := decompose(x)
	if err != nil {
		return SVD{}, err
	}
	q := x.C
	a := scratch.Get[float64](q * q)
	defer scratch.Put(a)
	gemm.Mul(gemm.Of(a, q, q), 1, gemm.Of(d.U, q, q), gemm.Of(d.Wt, q, q), 0)
	if Reflects(a, q) {
		d.Values[q-1] *= -1
		for i := q - 1; i < q*q; i += q {
			d.U[i] *= -1
		}
	}
	if q == 1 {
		return d, nil
	}
	if sum := d.Values[q-2] + d.Values[q-1]; !(sum > rankTolerance(q)*d.Values[0]) {
		s := [3]float64{d.Scale * d.Values[q-2], d.Scale * d.Values[q-1], d.Scale * d.Values[0]}
		d.Free()
		return SVD{}, fmt.Errorf("want a matrix with a single nearest rotation, got singular values %.3g and %.3g, with the sign of the determinant, beside %.3g", s[0], s[1], s[2])
	}
	return d, nil
}

// Rotation sets dst to r times the rotation nearest to x, U diag(1, ..., 1, det(U W^T)) W^T for x = U S W^T (Kabsch 1976, Umeyama
// 1991). It computes in float64, and fails where the rotation is not unique: where x has rank below n - 1, or a negative
// determinant and two smallest singular values that are equal. dst may be x.
func Rotation[T vec.Float](dst, x gemm.Mat[T], r float64) error {
	d, err := decomposeProper(x)
	if err != nil {
		return err
	}
	defer d.Free()
	q := x.C
	a := scratch.Get[float64](q * q)
	defer scratch.Put(a)
	gemm.Mul(gemm.Of(a, q, q), 1, gemm.Of(d.U, q, q), gemm.Of(d.Wt, q, q), 0)
	Narrow(dst, a, r)
	return nil
}

// RotationAdjoint sets dst to P'(v)* g for the projection P of Rotation: the formula of PolarAdjoint with signed singular values.
// dst may be g or v.
func RotationAdjoint[T vec.Float](dst, v, g gemm.Mat[T], r float64) error {
	d, err := decomposeProper(v)
	if err != nil {
		return err
	}
	polarAdjoint(d, dst, g, r)
	d.Free()
	return nil
}

// RotationExp sets e to exp(a) for a skew a: in closed form for n <= 3 (Rodrigues), and otherwise by Exp. a is overwritten.
func RotationExp(e, a []float64, n int) {
	switch n {
	case 1:
		e[0] = 1
	case 2:
		sin, cos := math.Sincos(a[2])
		e[0], e[1], e[2], e[3] = cos, -sin, sin, cos
	case 3:
		// I + sin(t)/t A + (1 - cos(t))/t^2 A^2, with A^2 = w w^T - t^2 I for the axis w of length t.
		w := [3]float64{a[7], a[2], a[3]}
		t := math.Hypot(math.Hypot(w[0], w[1]), w[2])
		sinc, half := 1.0, 0.5 // sin(t)/t, and (1 - cos(t))/t^2 = 1/2 (sin(t/2) / (t/2))^2
		if t > 0 {
			s := math.Sin(t/2) / (t / 2)
			sinc, half = math.Sin(t)/t, s*s/2
		}
		cos := math.Cos(t)
		for i := range 3 {
			for j := range 3 {
				e[i*3+j] = half*w[i]*w[j] + sinc*a[i*3+j]
			}
			e[i*3+i] += cos
		}
	default:
		gemm.Exp(e, a, n)
	}
}

// RotationLog sets a to the skew logarithm of the rotation x: in closed form for n <= 3, and otherwise, with the square root H of
// x, which is the polar factor of I + x,
//
//	(H - H^T) V f V^T,   f_i = t_i / sin(t_i),   t_i = 2 asin(s_i / 2),   I - H = U S V^T.
//
// The angles t of H are at most pi/2, where f is smooth. It fails where an angle of x is pi up to 8 eps, and where x reflects.
func RotationLog(a, x []float64, n int, eps float64) error {
	switch n {
	case 1:
		if x[0] < 0 {
			return errReflection
		}
		a[0] = 0
		return nil
	case 2:
		if x[0]*x[3]-x[1]*x[2] < 0 {
			return errReflection
		}
		t := math.Atan2(x[2]-x[1], x[0]+x[3])
		a[0], a[1], a[2], a[3] = 0, -t, t, 0
		return admitAngle(math.Abs(t), eps)
	case 3:
		return rotationLog3(a, x, eps)
	}
	whole := scratch.Get[float64](2 * n * n)
	defer scratch.Put(whole)
	h, b := whole[:n*n], whole[n*n:]
	of := func(m []float64) gemm.Mat[float64] { return gemm.Of(m, n, n) }
	copy(b, x)
	if Reflects(b, n) {
		return errReflection
	}
	copy(b, x)
	AddDiagonal(b, n, 1)
	d, err := decompose(of(b)) // the singular values of I + x are 2 cos(t), those of I - x 2 sin(t)
	if err != nil {
		return err
	}
	gemm.Mul(of(h), 1, of(d.U), of(d.Wt), 0)
	least := d.Scale * d.Values[n-1]
	d.Free()
	if err := admitAngle(math.Pi-2*math.Asin(min(1, least/2)), eps); err != nil {
		return err
	}
	// Where 2 cos(t) is small, so is the accuracy of H. A step of Newton's method for H^2 = x, (H + H^T x) / 2, removes that error.
	copy(b, h)
	gemm.Mul(of(b), 0.5, of(h).T(), of(x), 0.5)
	if err := Polar(of(h), of(b), 1, 0x1p-52); err != nil {
		return err
	}
	vec.Scale(b, -1, h)
	AddDiagonal(b, n, 1)
	if d, err = decompose(of(b)); err != nil {
		return err
	}
	defer d.Free()
	for i := range n {
		for j := range n {
			b[i*n+j] = h[i*n+j] - h[j*n+i]
		}
	}
	gemm.Mul(of(h), 1, of(b), of(d.Wt).T(), 0)
	for j, s := range d.Values {
		f, t := 1.0, 2*math.Asin(min(1, d.Scale*s/2))
		if t > 0 {
			f = t / math.Sin(t)
		}
		for i := j; i < n*n; i += n {
			h[i] *= f
		}
	}
	gemm.Mul(of(a), 1, of(h), of(d.Wt), 0)
	Skew(a, n)
	return nil
}

var errReflection = errors.New("want points in one component, got determinants of opposite signs")

func admitAngle(t, eps float64) error {
	if !(t < math.Pi-8*eps) {
		return fmt.Errorf("want rotations by less than pi - %.2g, got an angle of pi - %.2g", 8*eps, math.Pi-t)
	}
	return nil
}

// rotationLog3 takes the axis and the angle from a unit quaternion, which is accurate at all angles.
func rotationLog3(a, x []float64, eps float64) error {
	d := [3]float64{x[0], x[4], x[8]}
	// Four times the squares of the elements of the quaternion: that of the largest is taken from the diagonal, the others follow.
	c := [4]float64{1 + d[0] + d[1] + d[2], 1 + d[0] - d[1] - d[2], 1 - d[0] + d[1] - d[2], 1 - d[0] - d[1] + d[2]}
	skew := [3]float64{x[7] - x[5], x[2] - x[6], x[3] - x[1]}
	even := func(i, j int) float64 { return x[i*3+j] + x[j*3+i] }
	best := 0
	for i, v := range c {
		if v > c[best] {
			best = i
		}
	}
	q := [4]float64{c[0], skew[0], skew[1], skew[2]}
	if best > 0 {
		q[0] = skew[best-1]
		for i := range 3 {
			if q[i+1] = even(best-1, i); i == best-1 {
				q[i+1] = c[best]
			}
		}
	}
	// A reflection has no quaternion, which the norm and the determinant show.
	if b := [9]float64(x); Reflects(b[:], 3) {
		return errReflection
	}
	length := math.Hypot(math.Hypot(q[1], q[2]), q[3])
	if q[0] < 0 {
		length, q[0] = -length, -q[0]
	}
	t := 2 * math.Atan2(math.Abs(length), q[0])
	if err := admitAngle(t, eps); err != nil {
		return err
	}
	f := 0.0
	if length != 0 {
		f = t / length
	}
	w := [3]float64{f * q[1], f * q[2], f * q[3]}
	a[0], a[1], a[2] = 0, -w[2], w[1]
	a[3], a[4], a[5] = w[2], 0, -w[0]
	a[6], a[7], a[8] = -w[1], w[0], 0
	return nil
}

// RotationAngle returns |log x| for the rotation x, also where an angle is pi and the logarithm is not unique: the root of the sum
// of the squared angles of its eigenvalues, 2 atan2(|I - x|, |I + x|) in the common singular vectors of both. It fails where x
// reflects.
func RotationAngle(x []float64, n int) (float64, error) {
	b := scratch.Get[float64](n * n)
	defer scratch.Put(b)
	copy(b, x)
	if Reflects(b, n) {
		return 0, errReflection
	}
	copy(b, x)
	AddDiagonal(b, n, 1)
	cos, err := decompose(gemm.Of(b, n, n))
	if err != nil {
		return 0, err
	}
	defer cos.Free()
	vec.Scale(b, -1, x[:n*n])
	AddDiagonal(b, n, 1)
	sin, err := decompose(gemm.Of(b, n, n))
	if err != nil {
		return 0, err
	}
	defer sin.Free()
	total := 0.0
	for i, s := range sin.Values { // the largest sine belongs to the smallest cosine
		total = math.Hypot(total, 2*math.Atan2(sin.Scale*s, cos.Scale*cos.Values[n-1-i]))
	}
	return total, nil
}
