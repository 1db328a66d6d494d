// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Points is a batch of K points, each an N x P matrix, one after the other in row-major order, in
// float32 or float64. It is a view: it does not own the values, and copying it does not copy
// them.
type Points struct {
	K, N, P int
	f32     []float32
	f64     []float64
}

// Points32 views data, of length k*n*p, as k points of n x p.
func Points32(data []float32, k, n, p int) (Points, error) {
	x := Points{K: k, N: n, P: p, f32: data}
	return x, x.check(len(data))
}

// Points64 views data, of length k*n*p, as k points of n x p.
func Points64(data []float64, k, n, p int) (Points, error) {
	x := Points{K: k, N: n, P: p, f64: data}
	return x, x.check(len(data))
}

func (x Points) check(length int) error {
	if x.K < 1 || x.N < 1 || x.P < 1 || length != x.K*x.N*x.P {
		return fmt.Errorf("manifolds: want a positive number of points and %d*%d*%d = %d values, got %d",
			x.K, x.N, x.P, x.K*x.N*x.P, length)
	}
	return nil
}

// Data32 returns the values of a float32 batch, and nil for a float64 one.
func (x Points) Data32() []float32 { return x.f32 }

// Data64 returns the values of a float64 batch, and nil for a float32 one.
func (x Points) Data64() []float64 { return x.f64 }

// same reports whether two batches of one shape are views of the same values.
func (x Points) same(y Points) bool {
	return unsafe.SliceData(x.f64) == unsafe.SliceData(y.f64) && unsafe.SliceData(x.f32) == unsafe.SliceData(y.f32)
}

// Len returns the number of values, K*N*P.
func (x Points) Len() int { return x.K * x.N * x.P }

// At returns element (i, j) of point k.
func (x Points) At(k, i, j int) float64 {
	e := (k*x.N+i)*x.P + j
	if x.f64 != nil {
		return x.f64[e]
	}
	return float64(x.f32[e])
}

// Set sets element (i, j) of point k to v, rounded to the batch's precision.
func (x Points) Set(k, i, j int, v float64) {
	e := (k*x.N+i)*x.P + j
	if x.f64 != nil {
		x.f64[e] = v
	} else {
		x.f32[e] = float32(v)
	}
}

// Slice returns the points from, ..., to-1 as a batch that shares their values.
func (x Points) Slice(from, to int) Points {
	s, e := from*x.N*x.P, to*x.N*x.P
	x.K = to - from
	if x.f64 != nil {
		x.f64 = x.f64[s:e:e]
	} else {
		x.f32 = x.f32[s:e:e]
	}
	return x
}

// Like returns a batch of zeros with the shape and precision of x.
func (x Points) Like() Points {
	y := Points{K: x.K, N: x.N, P: x.P}
	if x.f64 != nil {
		y.f64 = make([]float64, len(x.f64))
	} else {
		y.f32 = make([]float32, len(x.f32))
	}
	return y
}

// CopyFrom copies the values of x to dst. Both must have the same shape and precision.
func (dst Points) CopyFrom(x Points) error {
	if err := Agree("copy", dst, x); err != nil {
		return err
	}
	copy(dst.f32, x.f32)
	copy(dst.f64, x.f64)
	return nil
}

// String returns the shape and precision, not the values.
func (x Points) String() string {
	return fmt.Sprintf("%d points of %dx%d %s", x.K, x.N, x.P, x.precision())
}

func (x Points) precision() string {
	if x.f64 != nil {
		return "float64"
	}
	return "float32"
}

// Agree returns an error that names the operation unless all batches have the same shape and
// precision. Every method of a Manifold must check that.
func Agree(op string, x Points, others ...Points) error {
	for _, y := range others {
		if x.K != y.K || x.N != y.N || x.P != y.P || len(x.f32) != len(y.f32) || len(x.f64) != len(y.f64) {
			return disagree(op, x, y)
		}
	}
	return nil
}

func disagree(op string, x, y Points) error {
	return fmt.Errorf("manifolds: %s: want batches of one shape and precision, got %v and %v", op, x, y)
}

func frobenius(out []float64, x, u, v Points) error {
	if err := Agree("inner product", x, u, v); err != nil {
		return err
	}
	if err := perPoint("inner product", out, u); err != nil {
		return err
	}
	for i, np := 0, u.N*u.P; i < u.K; i++ {
		if u.f64 != nil {
			out[i] = vec.Dot(u.f64[i*np:(i+1)*np], v.f64[i*np:(i+1)*np])
		} else {
			out[i] = vec.Dot(u.f32[i*np:(i+1)*np], v.f32[i*np:(i+1)*np])
		}
	}
	return nil
}

func perPoint(op string, out []float64, x Points) error {
	if len(out) != x.K {
		return fmt.Errorf("manifolds: %s: want an output of length %d, one number a point, got %d", op, x.K, len(out))
	}
	return nil
}

// block is a batch at one precision. The generic code works on blocks.
type block[T vec.Float] struct {
	k, n, p int
	data    []T
}

func (b block[T]) at(i int) []T {
	np := b.n * b.p
	return b.data[i*np : (i+1)*np : (i+1)*np]
}

// tall views point i, or any matrix of its shape, as n x p with n >= p.
func (b block[T]) tall(data []T) gemm.Mat[T] {
	x := gemm.Of(data, b.n, b.p)
	if b.n < b.p {
		return x.T()
	}
	return x
}

// q is the smaller of n and p.
func (b block[T]) q() int { return min(b.n, b.p) }

func (x Points) b32() block[float32] { return block[float32]{x.K, x.N, x.P, x.f32} }
func (x Points) b64() block[float64] { return block[float64]{x.K, x.N, x.P, x.f64} }

// The lift functions below are the only place where the precision is chosen. Each takes the
// result of Check for the shape, checks that the batches agree, and calls f32 or f64.

func lift1(x Points, f32 func(x block[float32]) float64, f64 func(x block[float64]) float64) float64 {
	if x.f64 != nil {
		return f64(x.b64())
	}
	return f32(x.b32())
}

func lift2(shape error, op string, dst, x Points,
	f32 func(dst, x block[float32]) error, f64 func(dst, x block[float64]) error) error {
	if err := admit(shape, op, dst, x); err != nil {
		return err
	}
	if x.f64 != nil {
		return f64(dst.b64(), x.b64())
	}
	return f32(dst.b32(), x.b32())
}

func lift3(shape error, op string, dst, x, v Points,
	f32 func(dst, x, v block[float32]) error, f64 func(dst, x, v block[float64]) error) error {
	if err := admit(shape, op, dst, x, v); err != nil {
		return err
	}
	if x.f64 != nil {
		return f64(dst.b64(), x.b64(), v.b64())
	}
	return f32(dst.b32(), x.b32(), v.b32())
}

func lift4(shape error, op string, dst, x, y, u Points,
	f32 func(dst, x, y, u block[float32]) error, f64 func(dst, x, y, u block[float64]) error) error {
	if err := admit(shape, op, dst, x, y, u); err != nil {
		return err
	}
	if x.f64 != nil {
		return f64(dst.b64(), x.b64(), y.b64(), u.b64())
	}
	return f32(dst.b32(), x.b32(), y.b32(), u.b32())
}

func lift5(shape error, op string, dst, x, v, y, u Points,
	f32 func(dst, x, v, y, u block[float32]) error, f64 func(dst, x, v, y, u block[float64]) error) error {
	if err := admit(shape, op, dst, x, v, y, u); err != nil {
		return err
	}
	if x.f64 != nil {
		return f64(dst.b64(), x.b64(), v.b64(), y.b64(), u.b64())
	}
	return f32(dst.b32(), x.b32(), v.b32(), y.b32(), u.b32())
}

func liftOut(shape error, op string, out []float64, x, u, v Points,
	f32 func(out []float64, x, u, v block[float32]) error, f64 func(out []float64, x, u, v block[float64]) error) error {
	if err := admit(shape, op, x, u, v); err != nil {
		return err
	}
	if err := perPoint(op, out, x); err != nil {
		return err
	}
	if x.f64 != nil {
		return f64(out, x.b64(), u.b64(), v.b64())
	}
	return f32(out, x.b32(), u.b32(), v.b32())
}

// liftStep is lift for a step in place. Without momentum, mu has no points.
func liftStep(shape error, x, mu, g Points, d Descent,
	f32 func(x block[float32], mu, g []float32, d Descent) (Progress, error),
	f64 func(x block[float64], mu, g []float64, d Descent) (Progress, error)) (Progress, error) {
	if err := admitStep(shape, x, mu, g, d); err != nil {
		return Progress{Factor: 1}, err
	}
	if mu.K == 0 {
		mu = Points{}
	}
	if x.f64 != nil {
		return f64(x.b64(), mu.f64, g.f64, d)
	}
	return f32(x.b32(), mu.f32, g.f32, d)
}

func admitStep(shape error, x, mu, g Points, d Descent) error {
	if mu.K == 0 {
		mu = x
	}
	if err := admit(shape, "step", x, mu, g); err != nil {
		return err
	}
	if d.Factors != nil && len(d.Factors) != x.K {
		return fmt.Errorf("manifolds: step: want %d factors, one for each point, got %d", x.K, len(d.Factors))
	}
	return nil
}

func admit(shape error, op string, x Points, others ...Points) error {
	if shape != nil {
		return shape
	}
	return Agree(op, x, others...)
}

// Combine sets dst to a x + b y. dst may be x or y.
func (dst Points) Combine(a float64, x Points, b float64, y Points) error {
	if err := Agree("combine", dst, x, y); err != nil {
		return err
	}
	if x.f64 != nil {
		vec.Combine(dst.f64, a, x.f64, b, y.f64)
	} else {
		vec.Combine(dst.f32, a, x.f32, b, y.f32)
	}
	return nil
}

// Scale sets point k of dst to factors[k] times point k of x. dst may be x.
func (dst Points) Scale(factors []float64, x Points) error {
	if err := Agree("scale", dst, x); err != nil {
		return err
	}
	if err := perPoint("scale", factors, x); err != nil {
		return err
	}
	if x.f64 != nil {
		scale(dst.b64(), factors, x.b64())
	} else {
		scale(dst.b32(), factors, x.b32())
	}
	return nil
}

func scale[T vec.Float](dst block[T], factors []float64, x block[T]) {
	if np := x.n * x.p; np > 1 {
		for i, f := range factors {
			vec.Scale(dst.at(i), f, x.at(i))
		}
		return
	}
	for i, f := range factors { // single weights
		dst.data[i] = T(f) * x.data[i]
	}
}

// Norm returns the Frobenius norm of the whole batch.
func (x Points) Norm() float64 {
	if x.f64 != nil {
		return vec.Norm(x.f64)
	}
	return vec.Norm(x.f32)
}
