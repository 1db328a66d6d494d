// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// everywhere runs a test for both precisions at every level of the machine.
func everywhere(t *testing.T, single, double func(t *testing.T)) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(fmt.Sprint(l, " float32"), single)
		t.Run(fmt.Sprint(l, " float64"), double)
	}
}

// layer is a batch at an offset in memory whose ends are guards.
func layer[T vec.Float](rng *rand.Rand, k, n, p int) (block[T], func(t *testing.T)) {
	const guard = 17
	whole := make([]T, 2*guard+k*n*p)
	for i := range whole {
		whole[i] = T(rng.NormFloat64())
	}
	before := slices.Clone(whole)
	b := block[T]{k, n, p, whole[guard : guard+k*n*p : guard+k*n*p]}
	return b, func(t *testing.T) {
		t.Helper()
		assert.Equal(t, before[:guard], whole[:guard])
		assert.Equal(t, before[guard+k*n*p:], whole[guard+k*n*p:])
	}
}

func (b block[T]) clone() block[T] {
	b.data = slices.Clone(b.data)
	return b
}

// alike asserts that two batches are equal within the given number of roundings of numbers of the
// given size.
func alike[T vec.Float](t *testing.T, want, got block[T], roundings, size float64, what string) {
	t.Helper()
	for e, w := range want.data {
		if d := math.Abs(float64(w) - float64(got.data[e])); !(d <= roundings*vec.Eps[T]()*size) {
			t.Fatalf("%s: element %d of point %d: want %g, got %g", what, e%(got.n*got.p), e/(got.n*got.p), w, got.data[e])
		}
	}
}

// sizes calls f for small points, with batches that fill the lanes, do not, or do twice.
func sizes[T vec.Float](f func(k, n, p int)) {
	w := lanes.Width[T]()
	for n := 1; n <= lanes.Most; n++ {
		for p := 1; p <= lanes.Most; p++ {
			f([]int{1, 5, w - 1, w, w + 1, 2*w + 3}[(n+2*p)%6], n, p)
		}
	}
}

func TestSlicesAreAsSinglePoints(t *testing.T) {
	everywhere(t, testSlices[float32], testSlices[float64])
}

func testSlices[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes[T](func(k, n, p int) {
		for _, m := range []stiefel[T]{{}, {Radius: 3, Metric: CanonicalMetric, Retraction: Polar}, {Radius: 0.1}, {Retraction: Polar, kind: subspaceFrames}} {
			what := fmt.Sprintf("%d points of %dx%d, %+v", k, n, p, m)
			x, _ := layer[T](rng, k, n, p)
			raw := x.clone()
			require.NoError(t, m.project(x, x), what)
			for i := range k {
				one, y := block[T]{1, n, p, raw.at(i)}, make([]T, n*p)
				require.NoError(t, m.projectPoint(y, raw.at(i), one), what)
				// the condition of random slices is a thousand now and then
				alike(t, block[T]{1, n, p, y}, block[T]{1, n, p, x.at(i)}, 1e5*(vec.Eps[float64]()/vec.Eps[T]()+1e-5), m.r(), "project "+what)
			}
			assert.LessOrEqual(t, m.defectsLanes(x), 30*vec.Eps[T](), what)
			single := 0.0
			for i := range k {
				single = max(single, frames.Defect(make([]T, raw.q()*raw.q()), raw.tall(raw.at(i)), m.r()))
			}
			assert.InEpsilon(t, single, m.defectsLanes(raw), 1e3*vec.Eps[T](), what)

			g, _ := layer[T](rng, k, n, p)
			size := vec.Norm(g.data)
			v, check := layer[T](rng, k, n, p)
			want := x.clone()
			require.NoError(t, m.tangent(v, x, g))
			check(t)
			m.singly(t, want, x, g, m.normal())
			alike(t, want, v, 10, size, "tangent "+what)
			require.NoError(t, m.gradient(v, x, g))
			m.singly(t, want, x, g, canonical)
			alike(t, want, v, 10, size, "gradient "+what)

			require.NoError(t, m.tangent(v, x, g))
			out := make([]float64, k)
			require.NoError(t, m.inner(out, x, v, g))
			for i := range k {
				assert.InDelta(t, canonicalInner(x, v, g, i, m.r()), out[i], 100*vec.Eps[T]()*size*size, "inner "+what)
			}

			vec.Scale(v.data, 0.5*m.r()/size, v.data)
			y, check := layer[T](rng, k, n, p)
			require.NoError(t, m.retract(y, x, v))
			check(t)
			for i := range k {
				vec.Combine(want.at(i), 1, x.at(i), 1, v.at(i))
				z := slices.Clone(want.at(i))
				require.NoError(t, m.retractInPlace(want.at(i), z, want))
			}
			alike(t, want, y, 20, m.r(), "retract "+what)
			require.NoError(t, m.retract(x, x, v))
			assert.Equal(t, y, block[T]{k, n, p, x.data}, "in place")
		}
	})
}

// singly sets dst to the tangent projections, or canonical gradients, of g by the methods for
// single points.
func (m stiefel[T]) singly(t *testing.T, dst, x, g block[T], part normal) {
	copy(dst.data, g.data)
	for i := range x.k {
		require.NoError(t, m.subtractNormal(make([]T, x.q()*x.q()), x, x.at(i), dst.at(i), part))
	}
}

// canonicalInner is tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2) at point i.
func canonicalInner[T vec.Float](x, u, v block[T], i int, r float64) float64 {
	n, q := max(x.n, x.p), min(x.n, x.p)
	at := func(b block[T], i, j, e int) float64 { return float64(b.tall(b.at(i)).At(e, j)) }
	total := 0.0
	for j := range q {
		for e := range n {
			total += at(u, i, j, e) * at(v, i, j, e)
		}
		for l := range q {
			a, b := 0.0, 0.0
			for e := range n {
				a += at(x, i, j, e) * at(u, i, l, e)
				b += at(x, i, j, e) * at(v, i, l, e)
			}
			total -= a * b / (2 * r * r)
		}
	}
	return total
}

// A step too long for one pass, or not finite, is taken by the methods for single
// points, and the first that has no answer is named.
func TestSlicesWithFar(t *testing.T) { everywhere(t, testFar[float32], testFar[float64]) }

func testFar[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, r := range []StiefelRetraction{CholeskyQR, Polar} {
		m := stiefel[T]{Radius: 2, Retraction: r}
		for _, s := range [][2]int{{3, 3}, {5, 2}, {2, 7}} {
			k := 2*lanes.Width[T]() + 5
			x, _ := layer[T](rng, k, s[0], s[1])
			v, _ := layer[T](rng, k, s[0], s[1])
			require.NoError(t, m.project(x, x))
			require.NoError(t, m.tangent(v, x, v))
			for i := range k {
				vec.Scale(v.at(i), math.Pow(10, float64(i%9)-4), v.at(i))
			}
			y := x.clone()
			require.NoError(t, m.retract(y, x, v))
			assert.LessOrEqual(t, m.defectsLanes(y), 40*vec.Eps[T]())
			for i := range k {
				a, b := make([]T, s[0]*s[1]), make([]T, s[0]*s[1])
				vec.Combine(a, 1, x.at(i), 1, v.at(i))
				size := 1 + vec.Norm(v.at(i))
				require.NoError(t, m.retractInPlace(b, a, x))
				alike(t, block[T]{1, s[0], s[1], b}, block[T]{1, s[0], s[1], y.at(i)}, 30*size, m.r(), fmt.Sprint(r, s, i))
			}
			bad := k - 3
			v.at(bad)[1] = T(math.NaN())
			v.at(bad + 1)[0] = T(math.Inf(1))
			var pe *PointError
			require.True(t, errors.As(m.retract(y, x, v), &pe))
			assert.Equal(t, bad, pe.Point)
			x.at(7)[0] = T(math.Inf(1))
			assert.True(t, math.IsNaN(m.membership(x)))
			require.True(t, errors.As(m.project(y, x), &pe))
			assert.Equal(t, 7, pe.Point)
		}
	}
}

func TestStiefelDescends(t *testing.T) {
	d, b := Descent{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1}, Bounds{1, 1}
	batch := func(n, p int) Points {
		x, err := Points32(make([]float32, 2*n*p), 2, n, p)
		require.NoError(t, err)
		return x
	}
	descends := func(m Stiefel, n, p int, d Descent, b Bounds) bool { return m.Descends(m, batch(n, p), d, b) }
	assert.True(t, descends(Stiefel{}, 3, 3, d, b))
	assert.True(t, descends(Stiefel{Radius: 2}, 8, 1, d, b))
	assert.True(t, descends(Stiefel{Retraction: Polar}, 9, 300, d, b))
	assert.False(t, descends(Stiefel{Metric: CanonicalMetric}, 3, 3, d, b))
	assert.False(t, descends(Stiefel{Retraction: QR}, 3, 3, d, b))
	assert.False(t, descends(Stiefel{Retraction: Geodesic}, 3, 3, d, b))
	assert.False(t, descends(Stiefel{Radius: 1e-20}, 3, 3, d, b), "squares vanish")
	assert.False(t, descends(Stiefel{}, 3, 3, d, Bounds{1e6, 0}), "a step of 10^5 radii")
	assert.False(t, descends(Stiefel{}, 3, 3, d, Bounds{1e-14, 0}), "squares of the gradient vanish")
	assert.True(t, descends(Stiefel{}, 3, 3, d, Bounds{}))
	assert.False(t, Stiefel{}.Descends(struct{ Stiefel }{}, batch(3, 3), d, b), "another type")
	d.Rate = 1e20
	assert.False(t, descends(Stiefel{}, 3, 3, d, Bounds{}), "the rate alone is beyond float32")
	d.Rate, d.Decay = 0.1, 0.1
	assert.False(t, descends(Stiefel{}, 3, 3, d, b))
}

// TestStiefelDescent compares steps at once with the same steps by the methods of a
// manifold.
func TestStiefelDescent(t *testing.T) { everywhere(t, testDescent[float32], testDescent[float64]) }

func testDescent[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	test := func(k, n, p int) {
		for mask := range 16 {
			d := Descent{Keep: 0.9, Take: 0.7, Ahead: 0.9, Slope: 0.7, Rate: 0.2}
			if mask&1 != 0 { // a look ahead
				d.Ahead, d.Slope = 0.81, 1.9
			}
			d.Tangent, d.Geometric = mask&2 != 0, mask&4 != 0
			if mask == 4 {
				d.Rate = 0
			}
			without := mask&8 != 0
			m := stiefel[T]{Radius: []float64{1, 0.5, 2}[mask%3], Retraction: []StiefelRetraction{CholeskyQR, Polar}[mask%5%2]}
			what := fmt.Sprintf("%d points of %dx%d, %+v, momentum %t", k, n, p, d, !without)
			x, checkX := layer[T](rng, k, n, p)
			mu, checkM := layer[T](rng, k, n, p)
			g, checkG := layer[T](rng, k, n, p)
			require.NoError(t, m.project(x, x))
			if d.Tangent {
				require.NoError(t, m.tangent(mu, x, mu))
			}
			if without {
				clear(mu.data)
			}

			v, u, y, want := x.clone(), x.clone(), x.clone(), Progress{Factor: 1}
			vec.Combine(v.data, d.Ahead, mu.data, d.Slope, g.data)
			vec.Combine(u.data, d.Keep, mu.data, d.Take, g.data)
			require.NoError(t, m.tangent(v, x, v))
			curvature := 0.0
			if d.Geometric {
				curvature = 1 / (m.r() * m.r())
			}
			step := v.clone()
			for i := range k {
				f, norm := 1.0, vec.Norm(v.at(i))
				if d.Geometric {
					f = GeometricFactor(norm, curvature)
				}
				want.Direction += norm * norm
				want.Length += d.Rate / f * norm * d.Rate / f * norm
				want.Factor = max(want.Factor, f)
				vec.Scale(step.at(i), -d.Rate/f, v.at(i))
			}
			require.NoError(t, m.retract(y, x, step))
			if d.Tangent {
				require.NoError(t, m.tangent(u, x, u))
				require.NoError(t, m.tangent(u, y, u))
			}

			momentum := mu.data
			if without {
				momentum = nil
			}
			got, err := m.descend(x, Layout{}, momentum, g.data, d)
			require.NoError(t, err, what)
			checkX(t)
			checkM(t)
			checkG(t)
			size := 1 + vec.Norm(step.data)
			alike(t, y, x, 100*size, m.r(), "x of "+what)
			if without {
				alike(t, block[T]{k, n, p, make([]T, k*n*p)}, mu, 0, 0, "no momentum")
			} else {
				alike(t, u, mu, 100*size, vec.Norm(u.data), "m of "+what)
			}
			assert.Equal(t, make([]T, k*n*p), g.data, "g of "+what)
			tol := 100 * vec.Eps[T]()
			assert.InDelta(t, want.Direction, got.Direction, tol*(1+want.Direction), what)
			assert.InDelta(t, want.Length, got.Length, tol*(1+want.Length), what)
			assert.InDelta(t, want.Factor, got.Factor, tol*want.Factor, what)
		}
	}
	sizes[T](test)
	test(1, 40, 17)
	test(2, 9, 30)
	test(3, 10, 10)
}

// TestStiefelDescentCannotFail: steps up to the longest that the precision carries lead to points,
// and where a step is longer, or there is nothing to retract, the point stays.
func TestStiefelDescentCannotFail(t *testing.T) {
	everywhere(t, testLostPoints[float32], testLostPoints[float64])
}

func testLostPoints[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, s := range [][2]int{{3, 3}, {5, 2}, {2, 3}, {8, 8}, {9, 9}, {30, 12}} {
		k, m := 37, stiefel[T]{}
		x, _ := layer[T](rng, k, s[0], s[1])
		g, _ := layer[T](rng, k, s[0], s[1])
		mu, _ := layer[T](rng, k, s[0], s[1])
		require.NoError(t, m.project(x, x))
		for i := range k {
			vec.Scale(g.at(i), math.Pow(10, float64(i)/2-10), g.at(i)) // to 10^8
		}
		const bad = 5
		x.at(bad)[1] = T(math.NaN())
		before, step := x.clone(), x.clone()
		vec.Combine(step.data, 0.09, mu.data, 0.1, g.data)
		require.NoError(t, m.tangent(step, x, step))
		_, err := m.descend(x, Layout{}, mu.data, g.data, Descent{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1})
		var lost *PointError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, bad, lost.Point)
		assert.Equal(t, fmt.Sprint(before.at(bad)), fmt.Sprint(x.at(bad)))
		assert.Zero(t, vec.Norm(mu.at(bad)), "its momentum is gone")
		copy(x.at(bad), x.at(0))
		assert.LessOrEqual(t, m.membership(x), 40*vec.Eps[T]())
		for i := range k {
			if i == bad {
				continue
			}
			if far := vec.Norm(step.at(i)) / maxStep[T](); far > 1.01 {
				assert.Equal(t, before.at(i), x.at(i), "a step of %g limits", far)
			} else if far < 0.99 && vec.Norm(step.at(i)) > 1 {
				assert.NotEqual(t, before.at(i), x.at(i), "a step of %g limits", far)
			}
		}
	}
}

func TestStiefelDescendsOnPoints(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	x, _ := Points64(make([]float64, 40*9), 40, 3, 3)
	require.NoError(t, Stiefel{}.Random(x, rng))
	g, mu := x.Like(), x.Like()
	gaussian(g, rng)
	d := Descent{Ahead: 0.9, Keep: 0.9, Take: 1, Slope: 1, Rate: 0.1}
	y := x.Like()
	require.NoError(t, y.CopyFrom(x))
	h := x.Like()
	require.NoError(t, h.CopyFrom(g))
	with, err := Stiefel{}.Descend(x, mu, g, d)
	require.NoError(t, err)
	without, err := Stiefel{}.Descend(y, Points{}, h, d)
	require.NoError(t, err)
	assert.Equal(t, with, without)
	assert.Equal(t, x.Data64(), y.Data64(), "momentum begins at 0")
	assert.Zero(t, testing.AllocsPerRun(5, func() { _, _ = Stiefel{}.Descend(x, mu, g, d) }))
}
