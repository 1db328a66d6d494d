// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"math"

	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file holds the operations of Stiefel on small points, such as 3 x 3 slices. They work on
// many points at once, one in each lane of package internal/lanes. Points that fail there are
// left to the methods for single points.

// small reports whether points are small enough for lanes. A batch of one point uses lanes too,
// so that a point gets the same bits alone and in a batch.
func (b block[T]) small() bool { return max(b.n, b.p) <= lanes.Most }

// part holds the points from, ..., to-1.
func (b block[T]) part(from, to int) []T {
	np := b.n * b.p
	return b.data[from*np : to*np : to*np]
}

// laneBatch is the workspace for points in lanes. A line holds one element of every lane.
type laneBatch[T vec.Float] struct {
	block[T]           // of one point
	np, q    int       // n p, and the smaller of n and p
	x, v, y  []T       // np lines each
	flat     []T       // of the same size, for points one after the other
	s        []T       // q q lines
	t, ones  []T       // one line each
	sums     []float64 // one number per lane
	whole    []T
}

func laneBatchOf[T vec.Float](b block[T]) laneBatch[T] {
	np, q, w := b.n*b.p, min(b.n, b.p), lanes.Width[T]()
	all, whole := lanes.Borrow[T](4*np + q*q + 2)
	take := func(lines int) []T {
		x := all[: lines*w : lines*w]
		all = all[lines*w:]
		return x
	}
	f := laneBatch[T]{block: block[T]{k: 1, n: b.n, p: b.p}, np: np, q: q, whole: whole, sums: scratch.Get[float64](w)}
	f.x, f.v, f.y, f.flat, f.s, f.t, f.ones = take(np), take(np), take(np), take(np), take(q*q), take(1), take(1)
	for l := range f.ones {
		f.ones[l] = 1
	}
	return f
}

func (f *laneBatch[T]) free() {
	scratch.Put(f.whole)
	scratch.Put(f.sums)
}

// tall views the lines of points as matrices that are not wider than high.
func (f *laneBatch[T]) tall(lines []T) lanes.Mat[T] {
	x := lanes.Of(lines, f.n, f.p)
	if f.n < f.p {
		return x.T()
	}
	return x
}

func (f *laneBatch[T]) square() lanes.Mat[T] { return lanes.Of(f.s, f.q, f.q) }

// shift adds a to the diagonal of s.
func (f *laneBatch[T]) shift(a float64) {
	w := len(f.ones)
	for i := range f.q {
		d := f.s[(i*f.q+i)*w:][:w]
		vec.Combine(d, 1, d, a, f.ones)
	}
}

// tangentProjectLanes is tangentProject in all lanes. The error is a *PointError that names the
// first lane whose result does not fit T.
func (m stiefel[T]) tangentProjectLanes(f *laneBatch[T], x, v []T) error {
	return m.subtractNormalLanes(f, x, v, m.normal())
}

// subtractNormalLanes is subtractNormal in all lanes. It may overwrite flat.
func (m stiefel[T]) subtractNormalLanes(f *laneBatch[T], x, v []T, part normal) error {
	if m.inRange() {
		a, b := x, v
		if part == canonical {
			a, b = v, x
		}
		lanes.Mul(f.square(), 1/(m.r()*m.r()), f.tall(a).T(), f.tall(b), 0)
		if part == symmetric {
			lanes.Symmetrize(f.s, f.q)
		}
		if m.moderate(f.s) {
			lanes.Mul(f.tall(v), -1, f.tall(x), f.square(), 1)
			return nil
		}
	}
	a, b := f.flat[:f.np], f.flat[f.np:2*f.np]
	for l := range f.ones {
		lanes.Lane(a, x, l)
		lanes.Lane(b, v, l)
		if err := m.subtractNormalWide(f.block, a, b, part); err != nil {
			return &PointError{m.name, "tangent", l, err.Error()}
		}
		lanes.SetLane(v, b, l)
	}
	return nil
}

// tangentsLanes is tangents.
func (m stiefel[T]) tangentsLanes(op string, dst, x, g block[T], part normal) error {
	f := laneBatchOf(x)
	defer f.free()
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, g.part(from, to), f.np)
		if err := m.subtractNormalLanes(&f, f.x, f.v, part); err != nil {
			var failed *PointError
			if errors.As(err, &failed) {
				failed.Op, failed.Point = op, from+failed.Point
			}
			return err
		}
		lanes.Store(dst.part(from, to), f.v, f.np)
	}
	return nil
}

// innerLanes: tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2).
func (m stiefel[T]) innerLanes(out []float64, x, u, v block[T]) {
	f := laneBatchOf(x)
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
}

// setDefects sets s to y^T y / r^2 - I and sums to the squared norms of s.
func (m stiefel[T]) setDefects(f *laneBatch[T], y []T) {
	lanes.Mul(f.square(), 1/(m.r()*m.r()), f.tall(y).T(), f.tall(y), 0)
	f.shift(-1)
	lanes.Dots(f.sums, f.s, f.s)
}

// defectsLanes: the largest |x^T x / r^2 - I|, or NaN if any of them is not finite.
func (m stiefel[T]) defectsLanes(x block[T]) float64 {
	f, worst := laneBatchOf(x), 0.0
	defer f.free()
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		m.setDefects(&f, f.x)
		for _, e := range f.sums[:to-from] {
			if !(e <= math.MaxFloat64) {
				return math.NaN()
			}
			worst = max(worst, e)
		}
	}
	return math.Sqrt(worst)
}

// retractLanes: the retraction of x + v.
func (m stiefel[T]) retractLanes(dst, x, v block[T]) error {
	f := laneBatchOf(x)
	defer f.free()
	for from, w := 0, lanes.Width[T](); from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, v.part(from, to), f.np)
		vec.Combine(f.y, 1, f.x, 1, f.v)
		good := m.retractLanesInPlace(&f)
		for i := from; i < to; i++ {
			if good>>(i-from)&1 == 1 {
				continue
			}
			a, y := f.flat[:f.np], f.flat[f.np:2*f.np]
			if err := m.retractPoint(a, x.at(i), v.at(i), y, x); err != nil {
				return &PointError{m.name, "retract", i, err.Error()}
			}
			lanes.SetLane(f.y, a, i-from)
		}
		lanes.Store(dst.part(from, to), f.y, f.np)
	}
	return nil
}

// retractLanesInPlace replaces y = x + v by its retraction in the lanes whose bits are set in
// good; y is undefined in the others. It may overwrite flat.
func (m stiefel[T]) retractLanesInPlace(f *laneBatch[T]) (good uint32) {
	if m.Retraction == Polar {
		// If the defect is at most 1, no singular value of y exceeds sqrt(2) r.
		return m.newtonSchulzLanes(f, 1)
	}
	return m.choleskyQRLanes(f)
}

// choleskyQRLanes replaces y by r times the Q of y = Q R, as one pass of frames.CholeskyQR does,
// in the lanes whose bits are set in good.
func (m stiefel[T]) choleskyQRLanes(f *laneBatch[T]) (good uint32) {
	y := f.tall(f.y)
	lanes.Mul(f.square(), 1/(m.r()*m.r()), y.T(), y, 0)
	good = lanes.Cholesky(f.s, f.q, lanes.LeastPivot, float64(f.q)+1)
	lanes.Solve(y, f.s)
	return good
}

// newtonSchulzLanes replaces y by r times its polar factor, as frames.NewtonSchulz does, in the
// lanes whose bits are set in good. These are the lanes where |y^T y / r^2 - I| is at most limit
// and where 24 iterations suffice, which they do for condition numbers up to 1000. The caller
// must make sure that no singular value of y / r exceeds sqrt(3). flat is overwritten.
func (m stiefel[T]) newtonSchulzLanes(f *laneBatch[T], limit float64) (good uint32) {
	rounding := vec.Eps[T]() * math.Sqrt(float64(f.q))
	hopeless := uint32(0)
	for range 24 {
		m.setDefects(f, f.y)
		for l, e := range f.sums {
			if !(e <= limit*limit) {
				hopeless |= 1 << l
			} else if 0.75*e < rounding { // the defect after the iteration below
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

// projectLanes: r times the polar factor, computed in float64 and in units of r.
func (m stiefel[T]) projectLanes(dst, x block[T]) error {
	unit := stiefel[float64]{}
	f := laneBatchOf(block[float64]{n: x.n, p: x.p})
	defer f.free()
	for from, w := 0, lanes.Width[float64](); from < x.k; from += w {
		to := min(from+w, x.k)
		points := f.v[:(to-from)*f.np]
		for e, v := range x.part(from, to) {
			points[e] = float64(v)
		}
		for at := 0; at < len(points); at += f.np { // to norm sqrt(2), which bounds the singular values
			a := points[at : at+f.np]
			vec.Scale(a, math.Sqrt2/vec.Norm(a), a)
		}
		lanes.Load(f.y, points, f.np)
		good := unit.newtonSchulzLanes(&f, 1.01*math.Sqrt(float64(f.q)))
		lanes.Store(points, f.y, f.np)
		for i := from; i < to; i++ {
			if good>>(i-from)&1 == 1 {
				for e, v := range points[(i-from)*f.np:][:f.np] {
					dst.at(i)[e] = T(m.r() * v)
				}
			} else if err := m.projectPoint(dst.at(i), x.at(i), x); err != nil {
				return &PointError{m.name, "project", i, err.Error()}
			}
		}
	}
	return nil
}
