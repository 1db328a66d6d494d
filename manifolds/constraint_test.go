// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// scalable are the manifolds that a Scale applies to.
var scalable = []manifolds.Manifold{
	manifolds.Sphere{},
	manifolds.CentredSphere{},
	manifolds.Oblique{},
	manifolds.Oblique{Axis: manifolds.Columns},
	manifolds.Oblique{Axis: manifolds.Rows},
	manifolds.Stiefel{},
	manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Polar},
}

// weights fills weights of the given shape with uniform points of a constraint,
// as an initialisation does, and returns their Frobenius norm.
func weights(t *testing.T, c manifolds.Constraint, shape []int, initial float64) float64 {
	t.Helper()
	m, l, err := bind(c, shape, initial)
	require.NoError(t, err, "%v at %v", c, shape)
	size := l.K * l.N * l.P
	x := points64(t, make([]float64, size), l.K, l.N, l.P)
	require.NoError(t, m.(manifolds.Sampler).Random(x, rand.New(rand.NewPCG(1, 2))))
	w := points64(t, make([]float64, size), 1, 1, size)
	require.NoError(t, l.Scatter(w, x))
	sum := 0.0
	for _, v := range w.Data64() {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// bind returns the only piece of a layer.
func bind(c manifolds.Constraint, shape []int, norm float64) (manifolds.Manifold, manifolds.Layout, error) {
	piece, err := manifolds.Single(c.Bind(shape, norm))
	return piece.Manifold, piece.Layout, err
}

// outputs returns the number of filters of a layer.
func outputs(shape []int) float64 {
	if len(shape) == 2 {
		return float64(shape[1])
	}
	return float64(shape[0])
}

// Each scale fixes the Frobenius norm of a layer as documented, for all manifolds and groupings.
func TestScales(t *testing.T) {
	const initial = 3.7
	for _, m := range scalable {
		for _, g := range groupings {
			for _, shape := range weightShapes {
				unit := manifolds.On(m, g, manifolds.Unit)
				bound, l, err := bind(unit, shape, initial)
				if unit.Manifold.Check(l.N, l.P) != nil { // single numbers have no centre
					require.Error(t, err)
					assert.ErrorContains(t, err, fmt.Sprintf("(shape %v, %v)", shape, g))
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, unit.Manifold, bound, "Unit takes the manifold as it is")
				one := weights(t, unit, shape, initial)
				root := math.Sqrt(outputs(shape))
				for _, c := range []struct {
					s    manifolds.Scale
					want float64
				}{
					{manifolds.UnitFilters, root}, // filters of norm 1 in the root mean square
					{manifolds.FilterNorm(2.5), 2.5 * root},
					{manifolds.Initial, initial},
					{manifolds.Times(0.3), 0.3 * one},
				} {
					got := weights(t, manifolds.On(m, g, c.s), shape, initial)
					assert.InEpsilon(t, c.want, got, 1e-12, "%v on %v, %v of %v", c.s, manifolds.Name(m), g, shape)
				}
			}
		}
	}
}

// Slices of a layer with C input channels have norm 1/sqrt(C), and each of its
// filters has norm 1.
func TestUnitFiltersOfSlices(t *testing.T) {
	m, l, err := bind(manifolds.On(manifolds.Sphere{}, manifolds.PerSlice), []int{8, 16, 3, 3}, 0)
	require.NoError(t, err)
	assert.Equal(t, 8*16, l.K)
	assert.InEpsilon(t, 0.25, m.(manifolds.Sphere).Radius, 1e-15)
}

// A single weight is one point and one filter.
func TestSingleWeight(t *testing.T) {
	for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}} {
		bound, l, err := bind(manifolds.On(m, manifolds.PerWeight, manifolds.FilterNorm(2)), []int{}, 1)
		require.NoError(t, err)
		assert.Equal(t, 1, l.K)
		assert.Equal(t, 2.0, bound.(manifolds.Scalable).Norm(1, 1))
	}
}

func TestOnDefaults(t *testing.T) {
	for _, c := range []struct {
		m        manifolds.Manifold
		grouping manifolds.Grouping
		scale    manifolds.Scale
		want     string
	}{
		{manifolds.Euclidean{}, manifolds.PerWeight, manifolds.Unit, "Euclidean, per weight, unit scale"},
		{manifolds.Sphere{}, manifolds.PerFilter, manifolds.UnitFilters, "Sphere, per filter, unit filters"},
		{manifolds.Sphere{Radius: 2}, manifolds.PerFilter, manifolds.Unit, "Sphere(r=2), per filter, unit scale"},
		{manifolds.CentredSphere{}, manifolds.PerFilter, manifolds.UnitFilters, "CentredSphere, per filter, unit filters"},
		{manifolds.Oblique{Axis: manifolds.Columns}, manifolds.PerSlice, manifolds.UnitFilters, "Oblique, per slice, unit filters"},
		{manifolds.Oblique{Radius: 1, Axis: manifolds.Columns}, manifolds.PerSlice, manifolds.Unit, "Oblique, per slice, unit scale"},
		{manifolds.Stiefel{}, manifolds.FilterBank, manifolds.UnitFilters, "Stiefel, filter bank, unit filters"},
		{manifolds.Stiefel{Radius: 0.5}, manifolds.FilterBank, manifolds.Unit, "Stiefel(r=0.5), filter bank, unit scale"},
		{bare{manifolds.Sphere{}}, manifolds.PerFilter, manifolds.Unit, "manifolds_test.bare, per filter, unit scale"},
	} {
		got := manifolds.On(c.m)
		assert.Equal(t, manifolds.Constraint{Manifold: c.m, Grouping: c.grouping, Scale: c.scale}, got)
		assert.Equal(t, c.want, got.String())
	}
}

func TestOnOptions(t *testing.T) {
	c := manifolds.On(manifolds.Stiefel{}, manifolds.PerTap, manifolds.Times(3))
	assert.Equal(t, manifolds.PerTap, c.Grouping)
	assert.Equal(t, manifolds.Times(3), c.Scale)
	c = manifolds.On(manifolds.Stiefel{}, manifolds.Unit, manifolds.Initial, manifolds.PerSlice)
	assert.Equal(t, manifolds.PerSlice, c.Grouping)
	assert.Equal(t, manifolds.Initial, c.Scale, "the last of a kind counts")
	c = manifolds.On(manifolds.Stiefel{}, manifolds.Default, manifolds.Scale{})
	assert.Equal(t, manifolds.On(manifolds.Stiefel{}), c, "zero values leave the choice")
}

// Oblique normalises the columns of a slice, as in the paper, and the rows of
// every larger point, which belong to one filter or channel each, unless told.
func TestOnOrients(t *testing.T) {
	for _, g := range groupings {
		want := manifolds.Rows
		if g == manifolds.PerSlice {
			want = manifolds.Columns
		}
		assert.Equal(t, want, manifolds.On(manifolds.Oblique{}, g).Manifold.(manifolds.Oblique).Axis, "%v", g)
		for _, axis := range []manifolds.Axis{manifolds.Rows, manifolds.Columns} {
			m := manifolds.Oblique{Axis: axis, Radius: 2, Geodesic: true}
			assert.Equal(t, m, manifolds.On(m, g).Manifold, "%v", g)
		}
	}
	assert.Equal(t, manifolds.Oblique{Axis: manifolds.Columns}, manifolds.On(manifolds.Oblique{}).Manifold)
}

// A radius is kept unless a scale is named; Times multiplies it, the others set
// the size of the layer.
func TestRadiusAndScale(t *testing.T) {
	shape := []int{4, 9, 3, 3}
	for _, c := range []struct {
		c    manifolds.Constraint
		want float64
	}{
		{manifolds.On(manifolds.Sphere{Radius: 2}), 2},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.PerSlice), 2},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.Unit), 2},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.Times(3)), 6},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.UnitFilters), 1},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.UnitFilters, manifolds.PerSlice), 1. / 3},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.FilterNorm(5)), 5},
		{manifolds.On(manifolds.Sphere{Radius: 2}, manifolds.Initial), 7},
		{manifolds.On(manifolds.Sphere{}), 1},
		{manifolds.On(manifolds.Sphere{}, manifolds.Initial), 7},
	} {
		m, _, err := bind(c.c, shape, 14) // 14 = 7 sqrt(4)
		require.NoError(t, err)
		assert.InEpsilon(t, c.want, m.(manifolds.Scalable).Norm(9, 9), 1e-14, "%v", c.c)
	}
}

// The types below embed a manifold and have geometry of their own, which the methods that embedding
// promotes know nothing of.
type (
	embedsSphere  struct{ manifolds.Sphere }
	embedsOblique struct{ manifolds.Oblique }
	embedsStiefel struct{ manifolds.Stiefel }
	embedsPointer struct{ *manifolds.Stiefel }
	writesScaled  struct{ manifolds.Sphere }
)

func (m writesScaled) Scaled(s float64) manifolds.Manifold {
	return writesScaled{m.Sphere.Scaled(s).(manifolds.Sphere)}
}

func TestBindRefusesPromotedMethods(t *testing.T) {
	const promoted = ": a type that embeds a manifold has its methods promoted, and needs a "
	shape := []int{4, 3, 3, 3}
	for _, c := range []struct {
		c    manifolds.Constraint
		want string
	}{
		{manifolds.On(embedsSphere{}),
			"manifolds: Sphere: want Scaled to return a manifolds_test.embedsSphere, got a manifolds.Sphere" + promoted + "Scaled of its own"},
		{manifolds.On(embedsOblique{}),
			"manifolds: Oblique: want For to return a manifolds_test.embedsOblique, got a manifolds.Oblique" + promoted + "For of its own"},
		{manifolds.On(embedsStiefel{}, manifolds.PerSlice, manifolds.Unit),
			"manifolds: Stiefel: want For to return a manifolds_test.embedsStiefel, got a manifolds.Stiefel" + promoted + "For of its own"},
		{manifolds.On(embedsPointer{&manifolds.Stiefel{}}),
			"manifolds: Stiefel: want For to return a manifolds_test.embedsPointer, got a manifolds.Stiefel" + promoted + "For of its own"},
		{manifolds.Constraint{Manifold: embedsStiefel{}, Grouping: manifolds.PerTap, Scale: manifolds.Unit},
			"manifolds: Stiefel: want For to return a manifolds_test.embedsStiefel, got a manifolds.Stiefel" + promoted + "For of its own"},
	} {
		m, _, err := bind(c.c, shape, 1)
		assert.EqualError(t, err, c.want)
		assert.Nil(t, m)
	}

	m, _, err := bind(manifolds.On(embedsSphere{}, manifolds.Unit), shape, 1)
	require.NoError(t, err, "nothing to be scaled")
	assert.Equal(t, embedsSphere{}, m)
	m, _, err = bind(manifolds.On(&manifolds.Oblique{}, manifolds.FilterBank, manifolds.Times(3)), shape, 1)
	require.NoError(t, err, "a pointer to a manifold of the package")
	assert.Equal(t, manifolds.Oblique{Radius: 3, Axis: manifolds.Rows}, m)
	m, _, err = bind(manifolds.On(writesScaled{}, manifolds.Times(3)), shape, 1)
	require.NoError(t, err)
	assert.Equal(t, writesScaled{manifolds.Sphere{Radius: 3}}, m)
}

func TestBindErrors(t *testing.T) {
	shape := []int{4, 3, 3, 3}
	sphere, nan, inf := manifolds.Sphere{}, math.NaN(), math.Inf(1)
	for _, c := range []struct {
		c     manifolds.Constraint
		shape []int
		norm  float64
		want  string
	}{
		{manifolds.Constraint{}, shape, 1, "want a manifold, got nil"},
		{manifolds.Constraint{Manifold: sphere}, shape, 1, "default is not a way to cut weights"},
		{manifolds.On(sphere), []int{3, 3, 3}, 1, "per filter: want weights of shape (out, in, height, width) or (in, out), got [3 3 3]"},
		{manifolds.On(sphere), []int{4, 0, 3, 3}, 1, "want positive sizes, got shape [4 0 3 3]"},
		{manifolds.On(manifolds.Sphere{Radius: -1}), shape, 1, "Sphere: want a positive finite radius, got -1 (shape [4 3 3 3], per filter)"},
		{manifolds.On(manifolds.Stiefel{Radius: nan}), shape, 1, "Stiefel: want a positive finite radius, got NaN"},
		{manifolds.On(manifolds.Oblique{Radius: inf}), shape, 1, "Oblique: want a positive finite radius, got +Inf"},
		{manifolds.On(manifolds.Oblique{Axis: 77}), shape, 1, "Oblique: want the axis"},
		{manifolds.On(manifolds.Stiefel{Retraction: 77}), shape, 1, "Stiefel: want a known metric and retraction"},
		{manifolds.On(manifolds.CentredSphere{}, manifolds.PerSlice), []int{4, 3, 1, 1}, 1, "CentredSphere: want at least 2 elements, got points of 1x1 (shape [4 3 1 1], per slice)"},
		{manifolds.On(sphere, manifolds.Times(0)), shape, 1, "Sphere: want a positive finite scale, got scale 0"},
		{manifolds.On(sphere, manifolds.Times(-1)), shape, 1, "want a positive finite scale"},
		{manifolds.On(sphere, manifolds.Times(nan)), shape, 1, "want a positive finite scale"},
		{manifolds.On(sphere, manifolds.Times(inf)), shape, 1, "want a positive finite scale"},
		{manifolds.On(sphere, manifolds.FilterNorm(0)), shape, 1, "want a positive finite scale, got filter norm 0"},
		{manifolds.On(sphere, manifolds.FilterNorm(nan)), shape, 1, "want a positive finite scale"},
		{manifolds.On(sphere, manifolds.Initial), shape, 0, "want a positive finite scale, got initial scale = 0"},
		{manifolds.On(sphere, manifolds.Initial), shape, nan, "want a positive finite scale"},
		{manifolds.On(sphere, manifolds.Initial), shape, inf, "want a positive finite scale"},
		{manifolds.On(manifolds.Euclidean{}, manifolds.UnitFilters), shape, 1, "Euclidean cannot be scaled: want the scale Unit, got unit filters"},
		{manifolds.On(bare{sphere}, manifolds.Times(2)), shape, 1, "cannot be scaled: want the scale Unit, got scale 2"},
	} {
		m, l, err := bind(c.c, c.shape, c.norm)
		assert.ErrorContains(t, err, "manifolds: ")
		assert.ErrorContains(t, err, c.want)
		assert.Nil(t, m)
		assert.Zero(t, l)
	}
}

func TestScaleString(t *testing.T) {
	for s, want := range map[manifolds.Scale]string{
		{}:                        "default scale",
		manifolds.UnitFilters:     "unit filters",
		manifolds.Unit:            "unit scale",
		manifolds.Initial:         "initial scale",
		manifolds.Times(0.25):     "scale 0.25",
		manifolds.FilterNorm(1.5): "filter norm 1.5",
	} {
		assert.Equal(t, want, s.String())
	}
	assert.Equal(t, manifolds.UnitFilters, manifolds.FilterNorm(1))
}

// A constraint prints as in reports.
func ExampleOn() {
	fmt.Println(manifolds.On(manifolds.Stiefel{}))
	fmt.Println(manifolds.On(manifolds.Sphere{}, manifolds.PerSlice, manifolds.Initial))
	fmt.Println(manifolds.On(manifolds.Oblique{Radius: 0.5}))
	// Output:
	// Stiefel, filter bank, unit filters
	// Sphere, per slice, initial scale
	// Oblique(r=0.5), per slice, unit scale
}
