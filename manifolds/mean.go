// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
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
	if err := given(m); err != nil {
		return err
	}
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
//	argmin over y on m of  f(y) = sum_i w_i d(y, x_i)^2 / 2,    sum_i w_i = 1,
//
// by gradient descent in float64,
//
//	v = sum_i w_i Log_y(x_i),    y <- Exp_y(t v),    t = 1 / sum_i w_i zeta(d(y, x_i)),
//
// until |v| is at most 1e-10 times the norm of y or of the longest Log_y(x_i). zeta is the Distortion for
// Properties.LowestCurvature, 1 where that is 0. A step after which |v| is not smaller, or after which Exp or
// Log fails, is undone, and all further ones are half as long, so that the iteration also converges where the curvature is negative and its
// bound is not known.
//
// It begins with Mean, or on a Quotient with x_1. In a ball of a radius below min(r, pi / (2 sqrt c)) / 2, where r is the injectivity radius
// and c > 0 a bound of the curvature, the mean is unique and found (Afsari, Tron, Vidal 2013); where no curvature is positive and r is
// infinite, as on hyperbolic space, it is so for any points. For points close to each other it agrees with the extrinsic mean to third order in
// their distances, if the metric is that of the ambient space.
//
// M must be an Exponential with a Logarithm. KarcherMean fails, with a *PointError, if Log does at the beginning, or if 1000 iterations are not
// enough.
func KarcherMean(m Manifold, dst Points, w []float64, x ...Points) error {
	if err := given(m); err != nil {
		return err
	}
	_, moves := m.(Exponential)
	_, looks := m.(Logarithm)
	if !moves || !looks {
		return fmt.Errorf("manifolds: %s: Karcher mean: want a manifold with an exponential map and a logarithm", Name(m))
	}
	w, err := shares("Karcher mean", dst, w, x)
	if err != nil {
		return err
	}
	w, x = counted(w, x)
	all := make([]Points, len(x))
	for i := range x { // float32 leaves points within rounding
		all[i] = wide(dst)
		blend(all[i], []float64{1}, x[i:i+1])
		if err := m.Project(all[i], all[i]); err != nil {
			return err
		}
	}
	y := wide(dst)
	if _, quotient := m.(Quotient); quotient {
		err = y.CopyFrom(all[0])
	} else {
		blend(y, w, all)
		err = m.Project(y, y)
	}
	if err != nil {
		return err
	}
	now, trial := newPull(y), newPull(y)
	if err := now.look(m, y, w, all); err != nil {
		return err
	}
	const most = 1000
	longest, steps, next, step := make([]float64, dst.K), make([]float64, dst.K), wide(dst), wide(dst)
	for k := range longest {
		longest[k] = 1
	}
	for range most {
		if now.farthest() < 0 {
			rounded(dst, y)
			return nil
		}
		for k := range steps {
			if steps[k] = min(longest[k], 1/now.bound[k]); now.near(k) {
				steps[k] = 0
			}
		}
		if err := step.Scale(steps, now.v); err != nil {
			return err
		}
		err := m.(Exponential).Exp(next, y, step)
		if err == nil {
			err = trial.look(m, next, w, all)
		}
		if at := (*PointError)(nil); errors.As(err, &at) && steps[at.Point] > 0 {
			longest[at.Point] = steps[at.Point] / 2
			continue
		}
		if err != nil {
			return err
		}
		for k := range steps {
			switch {
			case steps[k] == 0:
			case trial.length[k] < now.length[k]:
				if err := y.Slice(k, k+1).CopyFrom(next.Slice(k, k+1)); err != nil {
					return err
				}
				now.take(k, trial)
			default:
				longest[k] = steps[k] / 2
			}
		}
	}
	return &PointError{Name(m), "Karcher mean", now.farthest(), fmt.Sprintf("want points close to each other, got ones whose mean is not found in %d iterations", most)}
}

// pull is where points of which the mean is sought pull those of a batch.
type pull struct {
	v, u   Points    // v = sum_i w_i Log_y(x_i)
	length []float64 // |v|
	bound  []float64 // of the Hessian of f
	size   []float64 // the longest of |y| and |Log_y(x_i)|, in the Frobenius norm, to which the rounding of v is relative
}

func newPull(y Points) pull {
	return pull{y.Like(), y.Like(), make([]float64, y.K), make([]float64, y.K), make([]float64, y.K)}
}

// look computes the pull at y.
func (p pull) look(m Manifold, y Points, w []float64, x []Points) error {
	lowest := PropertiesOf(m, y.N, y.P).LowestCurvature
	clear(p.v.f64)
	clear(p.bound)
	for k := range p.size {
		p.size[k] = y.Slice(k, k+1).Norm()
	}
	for i, xi := range x {
		if err := m.(Logarithm).Log(p.u, y, xi); err != nil {
			return err
		}
		if err := p.v.Combine(1, p.v, w[i], p.u); err != nil {
			return err
		}
		if err := Inner(m, p.length, y, p.u, p.u); err != nil {
			return err
		}
		for k, square := range p.length {
			p.bound[k] += w[i] * Distortion(lowest, math.Sqrt(square))
			p.size[k] = max(p.size[k], p.u.Slice(k, k+1).Norm())
		}
	}
	if err := Inner(m, p.length, y, p.v, p.v); err != nil {
		return err
	}
	for k, square := range p.length {
		p.length[k] = math.Sqrt(square)
	}
	return nil
}

// take takes point k over.
func (p pull) take(k int, from pull) {
	copy(p.v.Slice(k, k+1).f64, from.v.Slice(k, k+1).f64)
	p.length[k], p.bound[k], p.size[k] = from.length[k], from.bound[k], from.size[k]
}

// near reports whether point k is at the mean.
func (p pull) near(k int) bool { return p.v.Slice(k, k+1).Norm() <= 1e-10*p.size[k] }

// farthest returns the point that is farthest from the mean, relative to the size, or -1 if all are near it.
func (p pull) farthest() int {
	at, most := -1, 0.0
	for k, s := range p.size {
		if n := p.v.Slice(k, k+1).Norm(); !p.near(k) && !(n/s <= most) {
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
