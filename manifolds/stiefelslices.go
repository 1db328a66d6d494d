// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file holds the operations of Stiefel on layers of small points, such as slices
// of 3 x 3: as many at once as there are lanes. What lanes cannot do in one pass, the
// methods for single points do.

// small reports whether lanes pay. They are taken for a single point too, so that a
// point is to the bit what it is in a batch.
func (b block[T]) small() bool { return max(b.n, b.p) <= lanes.Most }

// part holds the points from, ..., to-1.
func (b block[T]) part(from, to int) []T {
	np := b.n * b.p
	return b.data[from*np : to*np : to*np]
}

// flock is the work space for points in lanes.
type flock[T vec.Float] struct {
	block[T]           // of one point
	np, q    int       // elements of a point, and its shorter side
	x, v, y  []T       // np lines each
	flat     []T       // as many numbers, one point after the other
	s        []T       // q q lines
	t, ones  []T       // one line
	sums     []float64 // a number a lane
	whole    []T
}

func flockOf[T vec.Float](b block[T]) flock[T] {
	np, q, w := b.n*b.p, min(b.n, b.p), lanes.Width[T]()
	all, whole := lanes.Borrow[T](4*np + q*q + 2)
	take := func(lines int) []T {
		x := all[: lines*w : lines*w]
		all = all[lines*w:]
		return x
	}
	f := flock[T]{block: block[T]{k: 1, n: b.n, p: b.p}, np: np, q: q, whole: whole, sums: scratch.Get[float64](w)}
	f.x, f.v, f.y, f.flat, f.s, f.t, f.ones = take(np), take(np), take(np), take(np), take(q*q), take(1), take(1)
	for l := range f.ones {
		f.ones[l] = 1
	}
	return f
}

func (f *flock[T]) free() {
	scratch.Put(f.whole)
	scratch.Put(f.sums)
}

// tall views the lines of points as n x p with n >= p.
func (f *flock[T]) tall(lines []T) lanes.Mat[T] {
	x := lanes.Of(lines, f.n, f.p)
	if f.n < f.p {
		return x.T()
	}
	return x
}

func (f *flock[T]) square() lanes.Mat[T] { return lanes.Of(f.s, f.q, f.q) }

// shift adds a to the diagonal of s.
func (f *flock[T]) shift(a float64) {
	w := len(f.ones)
	for i := range f.q {
		d := f.s[(i*f.q+i)*w:][:w]
		vec.Combine(d, 1, d, a, f.ones)
	}
}

// leanLanes: v <- v - x sym(x^T v) / r^2.
func (m stiefel[T]) leanLanes(f *flock[T], x, v []T) {
	lanes.Mul(f.square(), 1/(m.r()*m.r()), f.tall(x).T(), f.tall(v), 0)
	lanes.Symmetrize(f.s, f.q)
	lanes.Mul(f.tall(v), -1, f.tall(x), f.square(), 1)
}

// tangents: g - x sym(x^T g) / r^2, or g - x g^T x / r^2 if turned.
func (m stiefel[T]) tangents(dst, x, g block[T], turned bool) error {
	f := flockOf(x)
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, g.part(from, to), f.np)
		if turned {
			lanes.Mul(f.square(), 1/(m.r()*m.r()), f.tall(f.v).T(), f.tall(f.x), 0)
			lanes.Mul(f.tall(f.v), -1, f.tall(f.x), f.square(), 1)
		} else {
			m.leanLanes(&f, f.x, f.v)
		}
		lanes.Store(dst.part(from, to), f.v, f.np)
	}
	f.free()
	return nil
}

// inners: tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2).
func (m stiefel[T]) inners(out []float64, x, u, v block[T]) error {
	f := flockOf(x)
	a, w := scratch.Get[T](len(f.s)), lanes.Width[T]()
	for from := 0; from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, u.part(from, to), f.np)
		lanes.Load(f.y, v.part(from, to), f.np)
		lanes.Mul(f.square(), 1, f.tall(f.x).T(), f.tall(f.v), 0)
		lanes.Mul(lanes.Of(a, f.q, f.q), 1, f.tall(f.x).T(), f.tall(f.y), 0)
		lanes.Dots(f.sums, f.v, f.y)
		copy(out[from:to], f.sums)
		lanes.Dots(f.sums, f.s, a)
		for i := range to - from {
			out[from+i] -= f.sums[i] / (2 * m.r() * m.r())
		}
	}
	scratch.Put(a)
	f.free()
	return nil
}

// defects sets s to y^T y / r^2 - I and sums to its squared norms.
func (m stiefel[T]) defects(f *flock[T], y []T) {
	lanes.Mul(f.square(), 1/(m.r()*m.r()), f.tall(y).T(), f.tall(y), 0)
	f.shift(-1)
	lanes.Dots(f.sums, f.s, f.s)
}

// memberships: the largest |x^T x / r^2 - I|.
func (m stiefel[T]) memberships(x block[T]) float64 {
	f, worst := flockOf(x), 0.0
	defer f.free()
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		m.defects(&f, f.x)
		for _, e := range f.sums[:to-from] {
			if !(e <= math.MaxFloat64) {
				return math.NaN()
			}
			worst = max(worst, e)
		}
	}
	return math.Sqrt(worst)
}

// retractions brings y = x + v back.
func (m stiefel[T]) retractions(dst, x, v block[T]) error {
	f := flockOf(x)
	defer f.free()
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, v.part(from, to), f.np)
		vec.Combine(f.y, 1, f.x, 1, f.v)
		good := m.backs(&f)
		for i := from; i < to; i++ {
			if good>>(i-from)&1 == 1 {
				continue
			}
			a, b := f.flat[:f.np], f.flat[f.np:2*f.np]
			vec.Combine(a, 1, x.at(i), 1, v.at(i))
			if reason := m.back(b, a, x); reason != "" {
				return &PointError{"Stiefel", "retract", i, reason}
			}
			lanes.SetLane(f.y, b, i-from)
		}
		lanes.Store(dst.part(from, to), f.y, f.np)
	}
	return nil
}

// backs replaces y = x + v by what the retraction makes of it, in the lanes that it
// returns. flat may be overwritten.
func (m stiefel[T]) backs(f *flock[T]) (good uint32) {
	if m.Retraction == Polar {
		return m.polars(f, 1)
	}
	return m.choleskyQRs(f)
}

// choleskyQRs replaces y by r times the Q of y = Q R, as choleskyQR does in one pass, in
// the lanes that it returns.
func (m stiefel[T]) choleskyQRs(f *flock[T]) (good uint32) {
	y := f.tall(f.y)
	lanes.Mul(f.square(), 1/(m.r()*m.r()), y.T(), y, 0)
	good = lanes.Cholesky(f.s, f.q, float64(f.q)+1)
	lanes.Solve(y, f.s)
	return good
}

// polars replaces y by r times its polar factor, as newtonSchulz does, in the lanes that
// it returns: those where |y^T y / r^2 - I| is at most limit, small enough that no
// singular value of y / r exceeds sqrt 3, and where two dozen iterations suffice, which
// they do for condition numbers up to a thousand. flat is overwritten.
func (m stiefel[T]) polars(f *flock[T], limit float64) (good uint32) {
	rounding := vec.Eps[T]() * math.Sqrt(float64(f.q))
	hopeless := uint32(0)
	for range 24 {
		m.defects(f, f.y)
		for l, e := range f.sums {
			if !(e <= limit*limit) {
				hopeless |= 1 << l
			} else if 0.75*e < rounding { // the defect of what is written below
				good |= 1 << l
			}
		}
		vec.Scale(f.s, -0.5, f.s)
		f.shift(1)
		lanes.Mul(f.tall(f.flat), 1, f.tall(f.y), f.square(), 0)
		f.flat, f.y = f.y, f.flat
		if bits := uint32(1<<len(f.sums) - 1); (good|hopeless)&bits == bits {
			break
		}
	}
	return good &^ hopeless
}

// polarFactors projects in float64, whatever T is.
func (m stiefel[T]) polarFactors(dst, x block[T]) error {
	wide := stiefel[float64](m)
	f := flockOf(block[float64]{n: x.n, p: x.p})
	defer f.free()
	for from, w := 0, lanes.Width[float64](); from < x.k; from += w {
		to := min(from+w, x.k)
		points := f.v[:(to-from)*f.np]
		for e, v := range x.part(from, to) {
			points[e] = float64(v)
		}
		for at := 0; at < len(points); at += f.np { // to norm sqrt(2) r: no singular value exceeds it
			a := points[at : at+f.np]
			vec.Scale(a, math.Sqrt2*m.r()/vec.Norm(a), a)
		}
		lanes.Load(f.y, points, f.np)
		good := wide.polars(&f, math.Sqrt(float64(f.q))*1.01)
		lanes.Store(points, f.y, f.np)
		for i := from; i < to; i++ {
			if good>>(i-from)&1 == 1 {
				for e, v := range points[(i-from)*f.np:][:f.np] {
					dst.at(i)[e] = T(v)
				}
			} else if reason := polar(dst.at(i), x.at(i), x, m.r()); reason != "" {
				return &PointError{"Stiefel", "project", i, reason}
			}
		}
	}
	return nil
}
