// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// family is a kind of set.
type family uint8

const (
	flat    family = iota // R^m
	sphere                // vectors of norm 1
	stiefel               // matrices with orthonormal columns, or rows if there are fewer
	ball                  // matrices without a singular value above 1
)

// retraction is a retraction of the Stiefel manifold.
type retraction uint8

const (
	byQR       retraction = iota // the Q of x + v = Q R, R with positive diagonal
	byPolar                      // the polar factor of x + v
	byGeodesic                   // the exponential map of the metric
	byCayley                     // the Cayley transform of w x^T - x w^T, w = v - x x^T v / 2
)

// geometry is a manifold of radius 1. Its methods work on one part of a point: a vector for
// spheres, an n x p matrix in row-major order for Stiefel, one weight where nothing is constrained.
// The caller divides points and vectors by the radius.
type geometry struct {
	family     family
	centred    bool
	geodesic   bool // of spheres
	canonical  bool // metric of Stiefel
	horizontal bool // tangent vectors of Grassmann, in place of those of Stiefel
	group      bool // the orthogonal group: parallel transport is known
	proper     bool // determinants are positive
	weighted   bool // orthonormal in the inner product of inner
	retraction retraction
}

// curved reports whether the set is a manifold of which tangent vectors depend on the point.
func (m geometry) curved() bool { return m.family == sphere || m.family == stiefel }

// norm returns |x| with an error of one or two roundings, no matter how many elements x has: for
// the scale Initial, the radius is the norm of a whole layer. Rounding errors of the squares and of
// the sum are summed separately (Ogita, Rump, Oishi 2005).
func norm(x []float64) float64 {
	largest := floats.Norm(x, math.Inf(1))
	if largest == 0 || math.IsInf(largest, 0) || math.IsNaN(largest) {
		return largest
	}
	_, exponent := math.Frexp(largest)
	total, rest := 0.0, 0.0
	for _, v := range x {
		v = math.Ldexp(v, -exponent)
		square := v * v
		rest += math.FMA(v, v, -square)
		next := total + square
		part := next - total
		rest += (total - (next - part)) + (square - part)
		total = next
	}
	return math.Ldexp(math.Sqrt(total+rest), exponent)
}

// combine returns a x + b y.
func combine(a float64, x []float64, b float64, y []float64) []float64 {
	z := make([]float64, len(x))
	for i := range z {
		z[i] = a*x[i] + b*y[i]
	}
	return z
}

func centre(x []float64) []float64 {
	mean := floats.Sum(x) / float64(len(x))
	y := make([]float64, len(x))
	for i := range y {
		y[i] = x[i] - mean
	}
	// The mean of large numbers has a rounding error, so subtract the mean of the result as well.
	rest := floats.Sum(y) / float64(len(y))
	for i := range y {
		y[i] -= rest
	}
	return y
}

// tall copies the n x p matrix x, or its transpose if n < p.
func tall(x []float64, n, p int) *mat.Dense {
	m := mat.NewDense(n, p, append([]float64(nil), x...))
	if n < p {
		return mat.DenseCopyOf(m.T())
	}
	return m
}

// untall is the inverse of tall.
func untall(m mat.Matrix, n, p int) []float64 {
	if n < p {
		m = m.T()
	}
	return mat.DenseCopyOf(m).RawMatrix().Data
}

func times(a, b mat.Matrix) *mat.Dense {
	var c mat.Dense
	c.Mul(a, b)
	return &c
}

func sum(a, b mat.Matrix) *mat.Dense {
	var c mat.Dense
	c.Add(a, b)
	return &c
}

func scaled(a float64, m mat.Matrix) *mat.Dense {
	var c mat.Dense
	c.Scale(a, m)
	return &c
}

// symmetric returns (a + a^T) / 2.
func symmetric(a mat.Matrix) *mat.Dense { return scaled(0.5, sum(a, a.T())) }

// svd returns the thin decomposition u diag(s) v^T.
func svd(a mat.Matrix) (u *mat.Dense, s []float64, v *mat.Dense, ok bool) {
	var d mat.SVD
	if !d.Factorize(a, mat.SVDThin) {
		return nil, nil, nil, false
	}
	u, v = &mat.Dense{}, &mat.Dense{}
	d.UTo(u)
	d.VTo(v)
	return u, d.Values(nil), v, true
}

// membership returns the membership error as the manifolds define it.
func (m geometry) membership(x []float64, n, p int) float64 {
	switch m.family {
	case sphere:
		e := math.Abs(norm(x) - 1)
		if m.centred {
			e = max(e, math.Abs(floats.Sum(x))/math.Sqrt(float64(len(x))))
		}
		return e
	case stiefel:
		t := tall(x, n, p)
		gram := times(t.T(), t)
		q, _ := gram.Dims()
		for i := range q {
			gram.Set(i, i, gram.At(i, i)-1)
		}
		e := mat.Norm(gram, 2)
		if m.proper && mat.Det(t) < 0 {
			e = max(e, 2)
		}
		return e
	case ball:
		_, s, _, ok := svd(tall(x, n, p))
		if !ok {
			return math.NaN()
		}
		return max(0, s[0]-1)
	}
	return 0
}

// clip returns the point of the ball nearest to x.
func clip(x []float64, n, p int) ([]float64, bool) {
	u, s, v, ok := svd(tall(x, n, p))
	if !ok {
		return nil, false
	}
	for i := range s {
		s[i] = min(1, s[i])
	}
	return untall(times(times(u, mat.NewDiagDense(len(s), s)), v.T()), n, p), true
}

// project returns the nearest point, and the conditioning of the projection:
// infinite where the nearest point is not unique.
func (m geometry) project(x []float64, n, p int) (y []float64, cond float64) {
	switch m.family {
	case sphere:
		size := floats.Norm(x, math.Inf(1))
		if size == 0 {
			return nil, math.Inf(1)
		}
		y = combine(1/size, x, 0, x)
		before := norm(y)
		if m.centred {
			y = centre(y)
		}
		after := norm(y)
		if after <= 16*0x1p-52*before {
			return nil, math.Inf(1)
		}
		return combine(1/after, y, 0, y), before / after
	case stiefel:
		size := floats.Norm(x, math.Inf(1))
		if size == 0 {
			return nil, math.Inf(1)
		}
		u, s, v, ok := svd(tall(combine(1/size, x, 0, x), n, p))
		least := s[len(s)-1]
		if m.proper {
			if least > 0 && mat.Det(times(u, v.T())) < 0 {
				least = -least
				for i := range n {
					u.Set(i, n-1, -u.At(i, n-1))
				}
			}
			least = (least + s[len(s)-2]) / 2
		}
		if !ok || least <= 16*float64(max(n, p))*0x1p-52*s[0] {
			return nil, math.Inf(1)
		}
		return untall(times(u, v.T()), n, p), s[0] / least
	case ball: // what is within keeps its digits only as far as those of the largest number go
		y, ok := clip(x, n, p)
		if !ok {
			return nil, math.Inf(1)
		}
		return y, 1 + norm(x)
	}
	return x, 1
}

// tangent returns the orthogonal projection of g to the tangent space at x:
// g - x <x, g> on spheres, g - x sym(x^T g) on Stiefel, g - x x^T g on Grassmann.
func (m geometry) tangent(x, g []float64, n, p int) []float64 {
	switch m.family {
	case sphere:
		if m.centred {
			g = centre(g)
		}
		return combine(1, g, -floats.Dot(x, g), x)
	case stiefel:
		a, b := tall(x, n, p), tall(g, n, p)
		s := times(a.T(), b)
		if !m.horizontal {
			s = symmetric(s)
		}
		return untall(sum(b, scaled(-1, times(a, s))), n, p)
	}
	return g
}

// gradient returns the Riemannian gradient of the Euclidean gradient g:
// the tangent projection, or g - x g^T x in the canonical metric.
func (m geometry) gradient(x, g []float64, n, p int) []float64 {
	if m.family != stiefel || !m.canonical {
		return m.tangent(x, g, n, p)
	}
	a, b := tall(x, n, p), tall(g, n, p)
	return untall(sum(b, scaled(-1, times(a, times(b.T(), a)))), n, p)
}

// square returns <u, u>: tr(u^T u), less tr((x^T u)^T (x^T u)) / 2 in the
// canonical metric.
func (m geometry) square(x, u []float64, n, p int) float64 {
	s := floats.Dot(u, u)
	if m.family == stiefel && m.canonical {
		xu := times(tall(x, n, p).T(), tall(u, n, p))
		f := mat.Norm(xu, 2)
		s -= f * f / 2
	}
	return s
}

// retract returns R_x(v) for v tangent at x, and the smallest singular value of x + v, or on a
// sphere its norm: the factor by which errors of v are divided.
func (m geometry) retract(x, v []float64, n, p int) (y []float64, damping float64, ok bool) {
	switch m.family {
	case sphere:
		t := norm(v)
		if m.geodesic {
			if t == 0 {
				return x, 1, true
			}
			return combine(math.Cos(t), x, math.Sin(t)/t, v), 1, true
		}
		y = combine(1, x, 1, v)
		if m.centred { // v has a mean by rounding
			y = centre(y)
		}
		size := norm(y)
		return combine(1/size, y, 0, y), size, size > 0
	case stiefel:
		a, b := tall(x, n, p), tall(v, n, p)
		if m.retraction == byGeodesic {
			z, ok := m.exp(a, b)
			if !ok {
				return nil, 1, false
			}
			return untall(z, n, p), 1, true
		}
		if m.retraction == byCayley {
			rows, _ := a.Dims()
			w := sum(b, scaled(-0.5, times(a, times(a.T(), b))))
			half := scaled(0.5, sum(times(w, a.T()), scaled(-1, times(a, w.T()))))
			one := mat.NewDense(rows, rows, nil)
			for i := range rows {
				one.Set(i, i, 1)
			}
			var z mat.Dense
			if err := z.Solve(sum(one, scaled(-1, half)), times(sum(one, half), a)); err != nil {
				return nil, 1, false
			}
			return untall(&z, n, p), 1, true
		}
		c := sum(a, b)
		u, s, w, ok := svd(c)
		if !ok {
			return nil, 0, false
		}
		if m.retraction == byPolar {
			return untall(times(u, w.T()), n, p), s[len(s)-1], true
		}
		return untall(positiveQ(c), n, p), s[len(s)-1], true
	case ball:
		y, ok = clip(combine(1, x, 1, v), n, p)
		return y, 1, ok
	}
	return combine(1, x, 1, v), 1, true
}

// positiveQ returns the Q of the thin factorisation a = Q R whose R has a positive
// diagonal.
func positiveQ(a *mat.Dense) *mat.Dense {
	n, p := a.Dims()
	var f mat.QR
	f.Factorize(a)
	var full, r mat.Dense
	f.QTo(&full)
	f.RTo(&r)
	q := mat.DenseCopyOf(full.Slice(0, n, 0, p))
	for j := range p {
		if r.At(j, j) < 0 {
			for i := range n {
				q.Set(i, j, -q.At(i, j))
			}
		}
	}
	return q
}

// exp returns the exponential map at the tall x. With A = x^T v and the thin
// decomposition (I - x x^T) v = U R,
//
//	[x U] exp([2A, -R^T; R, 0]) [I; 0] exp(-A)   in the Euclidean metric,
//	[x U] exp([A, -R^T; R, 0]) [I; 0]            in the canonical
//
// (Edelman, Arias, Smith 1998; Zimmermann, Hueper 2022, for the metrics between). The
// exponents are skew, so that nothing grows.
func (m geometry) exp(x, v *mat.Dense) (*mat.Dense, bool) {
	_, p := x.Dims()
	a := times(x.T(), v)
	a = scaled(0.5, sum(a, scaled(-1, a.T())))
	w := sum(v, scaled(-1, times(x, times(x.T(), v))))
	w = sum(w, scaled(-1, times(x, times(x.T(), w)))) // again, because w may be small
	u, s, z, ok := svd(w)
	if !ok {
		return nil, false
	}
	r := times(mat.NewDiagDense(p, s), z.T())
	factor := 2.0
	if m.canonical {
		factor = 1
	}
	block := mat.NewDense(2*p, 2*p, nil)
	block.Slice(0, p, 0, p).(*mat.Dense).Scale(factor, a)
	block.Slice(0, p, p, 2*p).(*mat.Dense).Scale(-1, r.T())
	block.Slice(p, 2*p, 0, p).(*mat.Dense).Copy(r)
	var e mat.Dense
	e.Exp(block)
	y := sum(times(x, e.Slice(0, p, 0, p)), times(u, e.Slice(p, 2*p, 0, p)))
	if !m.canonical {
		var back mat.Dense
		back.Exp(scaled(-1, a))
		y = times(y, &back)
	}
	return y, true
}

// transport carries u, tangent at x, along the step v to y: the tangent projection
// at y, or along the geodesic of the step on geodesic spheres,
//
//	u - v^ <v^, u> + <v^, u> (cos t v^ - sin t x),  t = |v|, v^ = v / t,
//
// on Grassmann, for v = U S W^T, u + (U (cos S - I) - x W sin S) U^T u, and on the
// orthogonal group, for A = x^T v, y exp(-A/2) x^T u exp(A/2).
func (m geometry) transport(x, v, y, u []float64, n, p int) []float64 {
	if m.horizontal && m.retraction == byGeodesic {
		left, s, right, ok := svd(tall(v, n, p))
		if !ok {
			return m.tangent(y, u, n, p)
		}
		move := times(tall(x, n, p), right)
		rows, q := move.Dims()
		for i := range rows {
			for j := range q {
				move.Set(i, j, left.At(i, j)*(math.Cos(s[j])-1)-move.At(i, j)*math.Sin(s[j]))
			}
		}
		b := tall(u, n, p)
		return untall(sum(b, times(move, times(left.T(), b))), n, p)
	}
	if m.group && m.retraction == byGeodesic {
		a, b := times(tall(x, n, p).T(), tall(v, n, p)), times(tall(x, n, p).T(), tall(u, n, p))
		var half mat.Dense
		half.Exp(scaled(0.25, sum(a, scaled(-1, a.T()))))
		return untall(times(tall(y, n, p), times(half.T(), times(b, &half))), n, p)
	}
	t := norm(v)
	if m.family != sphere || !m.geodesic {
		return m.tangent(y, u, n, p)
	}
	if t == 0 {
		return u
	}
	unit := combine(1/t, v, 0, v)
	along := floats.Dot(unit, u)
	return combine(1, combine(1, u, along*(math.Cos(t)-1), unit), -along*math.Sin(t), x)
}
