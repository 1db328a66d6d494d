// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
)

// Mean writes to dst the extrinsic mean of x_1, x_2, ... with the weights w_i, for each point of the batches:
//
//	argmin over y on m of  sum_i w_i |y - x_i|^2  =  Project(sum_i w_i x_i / sum_i w_i),
//
// since Project gives the nearest point. Weights must not be negative; if w is nil, all are equal. On a Quotient the
// result depends on the matrices that represent the points, so use KarcherMean there. Mean fails, with a *PointError,
// where Project does, as for opposite points of a sphere.
func Mean(m Manifold, dst Points, w []float64, x ...Points) error {
	w, err := shares("mean", dst, w, x)
	if err != nil {
		return err
	}
	sum := wide(dst)
	w, x = counted(w, x)
	blend(sum, w, x)
	if err := m.Project(sum, sum); err != nil {
		return err
	}
	rounded(dst, sum)
	return nil
}

// KarcherMean writes to dst the Riemannian centre of mass of x_1, x_2, ... with the weights w_i (Karcher 1977), for each point of the batches:
//
//	argmin over y on m of  sum_i w_i d(y, x_i)^2,
//
// by the iteration y <- Exp_y(v), v = sum_i w_i Log_y(x_i) / sum_i w_i, in float64, until |v| is at most
// 1e-10 times the norm of the longest x_i. It begins with Mean, or on a Quotient
// with x_1. In a ball of a radius below min(r, pi / (2 sqrt c)) / 2, where r is the injectivity radius and c > 0 a bound of
// the curvature, the mean is unique and found (Afsari, Tron, Vidal 2013, for small steps). For points close to each
// other it agrees with the extrinsic mean to third order in their distances, if the metric is that of the ambient
// space.
//
// M must be an Exponential with a Logarithm. KarcherMean fails, with a *PointError, if Log does, or if 200 iterations are not enough.
func KarcherMean(m Manifold, dst Points, w []float64, x ...Points) error {
	e, moves := m.(Exponential)
	l, looks := m.(Logarithm)
	if !moves || !looks {
		return fmt.Errorf("manifolds: %s: Karcher mean: want a manifold with an exponential map and a logarithm", Name(m))
	}
	w, err := shares("Karcher mean", dst, w, x)
	if err != nil {
		return err
	}
	w, x = counted(w, x)
	all, size := make([]Points, len(x)), make([]float64, dst.K)
	for i := range x { // float32 leaves points within rounding
		all[i] = wide(dst)
		blend(all[i], []float64{1}, x[i:i+1])
		if err := m.Project(all[i], all[i]); err != nil {
			return err
		}
		for k := range size {
			size[k] = math.Max(size[k], all[i].Slice(k, k+1).Norm())
		}
	}
	y, v, u := wide(dst), wide(dst), wide(dst)
	if _, quotient := m.(Quotient); quotient {
		err = y.CopyFrom(all[0])
	} else {
		blend(y, w, all)
		err = m.Project(y, y)
	}
	if err != nil {
		return err
	}
	const most, tolerance = 200, 1e-10
	for range most {
		clear(v.f64)
		for i, xi := range all {
			if err := l.Log(u, y, xi); err != nil {
				return err
			}
			if err := v.Combine(1, v, w[i], u); err != nil {
				return err
			}
		}
		if farthest(v, size, tolerance) < 0 {
			rounded(dst, y)
			return nil
		}
		if err := e.Exp(y, y, v); err != nil {
			return err
		}
	}
	k := farthest(v, size, tolerance)
	return &PointError{Name(m), "Karcher mean", k, fmt.Sprintf("want points close to each other, got ones whose mean is not found in %d iterations", most)}
}

// farthest returns the point whose v is longest relative to its size, or -1 if all are within the tolerance.
func farthest(v Points, size []float64, tolerance float64) int {
	at, most := -1, tolerance
	for k, s := range size {
		if n := v.Slice(k, k+1).Norm(); n > 0 && !(n/s <= most) {
			at, most = k, n/s
		}
	}
	return at
}

// shares checks the batches and the weights of a mean, and returns the weights over their sum.
func shares(op string, dst Points, w []float64, x []Points) ([]float64, error) {
	if len(x) == 0 {
		return nil, fmt.Errorf("manifolds: %s: want at least one batch, got none", op)
	}
	if err := Agree(op, dst, x...); err != nil {
		return nil, err
	}
	if w == nil {
		w = make([]float64, len(x))
		for i := range w {
			w[i] = 1
		}
	}
	if len(w) != len(x) {
		return nil, fmt.Errorf("manifolds: %s: want a weight for each of %d batches, got %d", op, len(x), len(w))
	}
	most := 0.0
	for i, v := range w {
		if !(v >= 0 && v <= math.MaxFloat64) {
			return nil, fmt.Errorf("manifolds: %s: want weights that are finite and not negative, got %g at %d", op, v, i)
		}
		most = math.Max(most, v)
	}
	if most == 0 {
		return nil, fmt.Errorf("manifolds: %s: want a weight above 0, got none", op)
	}
	sum, out := 0.0, make([]float64, len(w))
	for _, v := range w {
		sum += v / most
	}
	for i, v := range w {
		out[i] = v / most / sum
	}
	return out, nil
}

// counted returns the weights that are not 0, and their batches.
func counted(w []float64, x []Points) (weights []float64, batches []Points) {
	for i, v := range w {
		if v > 0 {
			weights, batches = append(weights, v), append(batches, x[i])
		}
	}
	return weights, batches
}

// wide makes a batch of zeros of the shape of x in float64.
func wide(x Points) Points { return Points{K: x.K, N: x.N, P: x.P, f64: make([]float64, x.Len())} }

// blend adds the batches times the weights to sum, which is in float64.
func blend(sum Points, w []float64, x []Points) {
	for i, b := range x {
		for k, v := range b.f32 {
			sum.f64[k] += w[i] * float64(v)
		}
		for k, v := range b.f64 {
			sum.f64[k] += w[i] * v
		}
	}
}

// rounded copies points in float64 to dst.
func rounded(dst, x Points) {
	copy(dst.f64, x.f64)
	for i := range dst.f32 {
		dst.f32[i] = float32(x.f64[i])
	}
}
