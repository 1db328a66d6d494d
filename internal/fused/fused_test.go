// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// everyLevel runs f with the kernels of each level.
func everyLevel(t *testing.T, f func(t *testing.T)) {
	defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(l.String(), f)
	}
}

// guard stands before and after what a step may write.
const guard = 7777

// random returns n random numbers at an offset into an array with guards around them, and
// the array.
func random[T vec.Float](rng *rand.Rand, n, offset int, scale float64) (x, all []T) {
	all = make([]T, offset+n+5)
	for i := range all {
		all[i] = guard
	}
	x = all[offset : offset+n : offset+n]
	for i := range x {
		x[i] = T(scale * rng.NormFloat64())
	}
	return x, all
}

func guarded[T vec.Float](t *testing.T, all []T, offset, n int) {
	for i, v := range all {
		if (i < offset || i >= offset+n) && v != guard {
			require.Equal(t, T(guard), v, "written outside, at %d of %d", i-offset, n)
		}
	}
}

// trial is a step on a sphere.
type trial struct {
	descent.Step
	Sphere
	adaptive bool // with factors, which are then drawn
}

// draw draws factors for k points of so many vectors each, which share it, if the trial is adaptive.
func (s *trial) draw(rng *rand.Rand, k, vectors int) {
	s.Factors = nil
	for range k {
		if !s.adaptive {
			return
		}
		f := 2 * rng.Float64()
		if rng.IntN(5) == 0 {
			f = 0
		}
		s.Factors = append(s.Factors, slices.Repeat([]float64{f}, vectors)...)
	}
}

// of is the step of one vector.
func (s trial) of(i int) (own trial, factor float64) {
	own, factor = s, 1
	if s.Factors != nil {
		factor = s.Factors[i]
	}
	own.Rate *= factor
	return own, factor
}

// reference makes the step of one point by the formulas of descent.Step.
func reference(x, m, g []float64, s trial) (y, p []float64, o descent.Progress) {
	project := func(x, d []float64) []float64 {
		v := make([]float64, len(d))
		mean := 0.0
		if s.Centred {
			mean = vec.Sum(d) / float64(len(d))
		}
		for i := range d {
			v[i] = d[i] - mean
		}
		vec.Combine(v, 1, v, -vec.Dot(x, v)/vec.Dot(x, x), x)
		return v
	}
	n := len(x)
	d, u := make([]float64, n), make([]float64, n)
	vec.Scale(d, s.Slope, g)
	vec.Scale(u, s.Take, g)
	if m != nil {
		vec.Combine(d, 1, d, s.Ahead, m)
		vec.Combine(u, 1, u, s.Keep, m)
	}
	if s.Centred { // x is centred already, up to its rounding
		vec.Shift(x, x, -vec.Sum(x)/float64(n))
	}
	v := project(x, d)
	o.Factor = 1
	norm := vec.Norm(v)
	if s.Geometric {
		o.Factor = descent.Factor(norm, 1/(s.Radius*s.Radius))
	}
	t := s.Rate / o.Factor
	o.Direction, o.Length = norm*norm, t*t*norm*norm
	y = make([]float64, n)
	vec.Combine(y, 1, x, -t, v)
	vec.Scale(y, s.Radius/vec.Norm(y), y)
	if s.Tangent {
		return y, project(y, project(x, u)), o
	}
	return y, u, o
}

// steps are the ways to make a step on spheres of radius r.
func steps(r float64) iter.Seq2[string, trial] {
	all := kinds(r)
	return func(yield func(string, trial) bool) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

// kinds are the steps by name.
func kinds(r float64) map[string]trial {
	all := map[string]trial{}
	for name, s := range map[string]descent.Step{
		"tangent":  {Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true},
		"ambient":  {Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1},
		"nesterov": {Keep: 0.9, Take: 1, Ahead: 0.81, Slope: 1.9, Rate: 0.05},
		"longer":   {Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 2.5, Tangent: true},
		"far":      {Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 40},
	} {
		s := trial{Step: s, Sphere: Sphere{Radius: r}}
		all[name] = s
		s.Centred = true
		all[name+" centred"] = s
		s.Geometric = true
		all[name+" centred geometric"] = s
		s.Centred = false
		all[name+" geometric"] = s
	}
	for _, name := range []string{"tangent centred", "ambient", "far"} {
		s := all[name]
		s.adaptive = true
		all[name+" adaptive"] = s
	}
	return all
}

// stride returns the distance between the lengths to try, which is larger with -short.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

// onSphere puts the point on the sphere.
func onSphere[T vec.Float](x []T, s trial) {
	if s.Centred {
		vec.Shift(x, x, -vec.Sum(x)/float64(len(x)))
	}
	vec.Scale(x, s.Radius/vec.Norm(x), x)
}

func TestSpheres(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testSpheres[float32])
		t.Run("float64", testSpheres[float64])
	})
}

func testSpheres[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, s := range steps(1.7) {
		for _, momentum := range []bool{true, false} {
			for n := 2; n <= 70; n += stride() {
				if n < 3 && s.Centred {
					continue // no direction is tangent
				}
				compare[T](t, rng, fmt.Sprint(name, " momentum=", momentum), n, 1+rng.IntN(70), s, momentum)
			}
			compare[T](t, rng, fmt.Sprint(name, " momentum=", momentum), nine, 500, s, momentum)
			for _, n := range []int{288, 576, 4608} {
				compare[T](t, rng, fmt.Sprint(name, " momentum=", momentum), n, 3, s, momentum)
			}
		}
	}
}

// compare makes a step of k points of n elements and compares with the reference.
func compare[T vec.Float](t *testing.T, rng *rand.Rand, name string, n, k int, s trial, momentum bool) {
	offset := rng.IntN(4)
	x, allX := random[T](rng, n*k, offset, 1)
	m, allM := random[T](rng, n*k, offset, 0.5/math.Sqrt(float64(n)))
	g, allG := random[T](rng, n*k, offset, 1/math.Sqrt(float64(n)))
	zero := rng.IntN(k+3) - 1 // a point that is zero
	for i := range k {
		if i == zero {
			clear(x[i*n : (i+1)*n])
		} else {
			onSphere(x[i*n:(i+1)*n], s)
		}
	}
	if !momentum {
		m = nil
	}
	x0, m0, g0 := wide(x), wide(m), wide(g)
	s.draw(rng, k, 1)
	moved, failed := Spheres(x, m, g, nil, n, s.Sphere, s.Step)
	if zero >= k {
		zero = -1
	}
	require.Equal(t, zero, failed, name)
	check(t, fmt.Sprintf("%s n=%d k=%d", name, n, k), x, m, g, x0, m0, g0, n, s, moved)
	guarded(t, allX, offset, n*k)
	guarded(t, allM, offset, n*k)
	guarded(t, allG, offset, n*k)
}

// near is require.InDelta for many numbers.
func near(t *testing.T, want, got, tol float64, message ...any) {
	if !(math.Abs(want-got) <= tol) {
		t.Helper()
		require.InDelta(t, want, got, tol, message...)
	}
}

func check[T vec.Float](t *testing.T, name string, x, m, g []T, x0, m0, g0 []float64, n int, s trial, moved descent.Progress) {
	eps := vec.Eps[T]()
	total, dd := descent.Progress{Factor: 1}, 0.0
	for i := 0; i < len(x); i += n {
		at := func(x []float64) []float64 { return part(x, i, i+n) }
		if vec.Norm(at(x0)) == 0 {
			require.Zero(t, vec.Norm(x[i:i+n]), name)
			continue
		}
		s, factor := s.of(i / n)
		y, p, o := reference(at(x0), at(m0), at(g0), s)
		o.Direction *= factor * factor
		total = total.Plus(o)
		d := vec.Norm(at(g0)) * (s.Slope + s.Take)
		if m0 != nil {
			d += vec.Norm(at(m0)) * (s.Ahead + s.Keep)
		}
		dd += d * d
		// Sums of n/16 terms a lane, rounded, and the length of what is added up in x.
		c := 4 * eps * (2 + math.Sqrt(float64(n)/16)) * (1 + min(s.Rate/o.Factor*d/s.Radius, 10))
		near(t, 0, distance(x[i:i+n], y), c*s.Radius, "%s x at %d", name, i)
		// A few roundings, and those of the norm that is measured here.
		near(t, s.Radius, vec.Norm(x[i:i+n]), (4*eps+0x1p-52*math.Sqrt(float64(n)))*s.Radius, "%s |x| at %d", name, i)
		if m0 != nil {
			near(t, 0, distance(m[i:i+n], p), c*(d+1e-3), "%s m at %d", name, i)
		}
	}
	require.Zero(t, vec.Norm(g), name)
	tol := 4 * eps * (2 + math.Sqrt(float64(n)/16)) * (dd + 1e-3)
	if s.adaptive {
		tol *= 4 // the square of the largest factor
	}
	near(t, total.Direction, moved.Direction, tol, name)
	near(t, total.Length, moved.Length, tol*s.Rate*s.Rate, name)
	require.InEpsilon(t, total.Factor, moved.Factor, 100*eps*(2+math.Sqrt(float64(n)/16)), name)
}

func distance[T vec.Float](x []T, y []float64) float64 {
	s := 0.0
	for i, v := range x {
		s += (float64(v) - y[i]) * (float64(v) - y[i])
	}
	return math.Sqrt(s)
}

func wide[T vec.Float](x []T) []float64 {
	if x == nil {
		return nil
	}
	w := make([]float64, len(x))
	for i, v := range x {
		w[i] = float64(v)
	}
	return w
}

// TestColumns compares with the step of the columns one by one.
func TestColumns(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testColumns[float32])
		t.Run("float64", testColumns[float64])
	})
}

func testColumns[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	shapes := [][3]int{{3, 3, 50}, {9, 1, 5}, {5, 15, 7}, {576, 64, 1}, {70, 130, 2}, {130, 65, 1}, {300, 5, 3}}
	for c := 2; c <= 70; c += stride() {
		shapes = append(shapes, [3]int{3 + rng.IntN(9), c, 1 + rng.IntN(3)})
	}
	for name, s := range steps(0.8) {
		for i, shape := range shapes {
			compareColumns[T](t, rng, name, shape[0], shape[1], shape[2], s, i%3 > 0)
		}
	}
}

// compareColumns makes a step of k matrices of r x c and compares with the reference.
func compareColumns[T vec.Float](t *testing.T, rng *rand.Rand, name string, r, c, k int, s trial, momentum bool) {
	n, offset := r*c*k, rng.IntN(4)
	x, allX := random[T](rng, n, offset, 1)
	m, allM := random[T](rng, n, offset, 0.5/math.Sqrt(float64(r)))
	g, allG := random[T](rng, n, offset, 1/math.Sqrt(float64(r)))
	if !momentum {
		m = nil
	}
	transposed := func(x []T) []T { // the columns one after the other
		var all []T
		for from := 0; from < len(x); from += r * c {
			for j := range c {
				for i := range r {
					all = append(all, x[from+i*c+j])
				}
			}
		}
		return all
	}
	cols := transposed(x)
	for i := 0; i < n; i += r {
		onSphere(cols[i:i+r], s)
	}
	for i, v := range cols {
		x[i/(r*c)*r*c+i%r*c+i/r%c] = v
	}
	x0, m0, g0 := wide(cols), wide(transposed(m)), wide(transposed(g))
	s.draw(rng, k, c)
	moved, failed := Columns(x, m, g, nil, r, c, s.Sphere, s.Step)
	require.Equal(t, -1, failed, name)
	check(t, fmt.Sprintf("%s %d matrices of %d x %d", name, k, r, c), transposed(x), transposed(m), g, x0, m0, g0, r, s, moved)
	guarded(t, allX, offset, n)
	guarded(t, allM, offset, n)
	guarded(t, allG, offset, n)
}

// Small matrices, of which many are moved at once, with factors of their own, have the same bits as if each were moved
// alone, and the first that cannot move is named.
func TestColumnsAreIndependent(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testColumnsAreIndependent[float32])
		t.Run("float64", testColumnsAreIndependent[float64])
	})
}

func testColumnsAreIndependent[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, shape := range [][2]int{{3, 3}, {5, 5}, {8, 2}} {
		const k, bad, later = 77, 41, 43
		r, c := shape[0], shape[1]
		size := r * c
		x, _ := random[T](rng, size*k, 0, 1/math.Sqrt(float64(r)))
		m, _ := random[T](rng, size*k, 0, 0.1)
		g, _ := random[T](rng, size*k, 0, 1)
		for i := range r {
			x[bad*size+i*c+c-1] = 0
			x[later*size+i*c] = 0 // in lanes, this column comes before the other
		}
		for _, adaptive := range []bool{false, true} {
			o, s := Sphere{Radius: 1}, descent.Step{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true}
			if adaptive {
				for range k {
					s.Factors = append(s.Factors, slices.Repeat([]float64{0.5 + rng.Float64()}, c)...)
				}
			}
			var all, alone [3][]T
			for i, v := range [][]T{x, m, g} {
				all[i], alone[i] = slices.Clone(v), slices.Clone(v)
			}
			_, failed := Columns(all[0], all[1], all[2], nil, r, c, o, s)
			require.Equal(t, bad, failed)
			for i := range k {
				own := s
				if adaptive {
					own.Factors = s.Factors[i*c : (i+1)*c]
				}
				at, to := i*size, (i+1)*size
				_, failed := Columns(alone[0][at:to], alone[1][at:to], alone[2][at:to], nil, r, c, o, own)
				require.Equal(t, i == bad || i == later, failed == 0)
			}
			require.Equal(t, alone, all, "%d x %d", r, c)
		}
	}
}

// A gradient with a large mean leaves points on a centred sphere: the rounding of the mean, as
// large as eps times the mean, is removed.
func TestLargeMean(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(21, 22))
		s := trial{Step: descent.Step{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true}, Sphere: Sphere{Radius: 0.5, Centred: true}}
		for _, n := range []int{3, 9, 27, 144, 1152} {
			const k = 40
			x, _ := random[float32](rng, n*k, 0, 1)
			m, g := make([]float32, n*k), make([]float32, n*k)
			for i := range k {
				onSphere(x[i*n:(i+1)*n], s)
			}
			for range 5 {
				for i := range g {
					g[i] = 1e4 + float32(rng.NormFloat64())
				}
				_, failed := Spheres(x, m, g, nil, n, s.Sphere, s.Step)
				require.Equal(t, -1, failed)
			}
			for i := range k {
				p := x[i*n : (i+1)*n]
				require.InDelta(t, 1, vec.Norm(p)/s.Radius, 4e-7, "n=%d", n)
				require.InDelta(t, 0, vec.Sum(p)/(math.Sqrt(float64(n))*s.Radius), 4e-7*math.Sqrt(float64(n)), "n=%d", n)
			}
		}
	})
}
