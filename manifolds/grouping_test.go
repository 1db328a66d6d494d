// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

var groupings = []manifolds.Grouping{
	manifolds.PerSlice, manifolds.PerFilter, manifolds.PerInputChannel,
	manifolds.PerTap, manifolds.FilterBank, manifolds.PerWeight,
}

// weightShapes are those of layers that a grouping must cut: more filters than
// weights in a filter, 1x1, non-square kernels, one channel, one filter, one
// weight, and fully connected.
var weightShapes = [][]int{
	{4, 3, 3, 3},
	{16, 3, 3, 3},
	{64, 2, 3, 3},
	{5, 4, 1, 1},
	{4, 5, 1, 1},
	{2, 3, 2, 5},
	{2, 3, 5, 2},
	{3, 2, 1, 7},
	{6, 1, 3, 3},
	{1, 6, 3, 3},
	{1, 1, 2, 3},
	{1, 1, 1, 1},
	{7, 4},
	{4, 7},
	{1, 5},
	{5, 1},
	{1, 1},
}

// point says where the weight w[d,c,a,b] of a layer (D, C, A, B) belongs: element
// (i, j) of point k, in batches of K points of n x p.
type place struct{ k, i, j int }

func cut(g manifolds.Grouping, D, C, A, B int) (K, n, p int, at func(d, c, a, b int) place) {
	switch g {
	case manifolds.PerSlice:
		return D * C, A, B, func(d, c, a, b int) place { return place{d*C + c, a, b} }
	case manifolds.PerFilter:
		return D, C, A * B, func(d, c, a, b int) place { return place{d, c, a*B + b} }
	case manifolds.PerInputChannel:
		return C, D, A * B, func(d, c, a, b int) place { return place{c, d, a*B + b} }
	case manifolds.PerTap:
		return A * B, D, C, func(d, c, a, b int) place { return place{a*B + b, d, c} }
	case manifolds.FilterBank:
		return 1, D, C * A * B, func(d, c, a, b int) place { return place{0, d, (c*A+a)*B + b} }
	}
	return D * C * A * B, 1, 1, func(d, c, a, b int) place { return place{((d*C+c)*A+a)*B + b, 0, 0} }
}

func TestLayout(t *testing.T) {
	for _, shape := range weightShapes {
		for _, g := range groupings {
			t.Run(fmt.Sprintf("%v/%v", shape, g), func(t *testing.T) {
				checkLayout(t, g, shape)
			})
		}
	}
}

func checkLayout(t *testing.T, g manifolds.Grouping, shape []int) {
	t.Helper()
	// w[d,c,a,b] is number flat(d, c, a, b) of the weights.
	var D, C, A, B int
	var flat func(d, c, a, b int) int
	switch len(shape) {
	case 4:
		D, C, A, B = shape[0], shape[1], shape[2], shape[3]
		flat = func(d, c, a, b int) int { return ((d*C+c)*A+a)*B + b }
	case 2: // (in, out)
		D, C, A, B = shape[1], shape[0], 1, 1
		flat = func(d, c, _, _ int) int { return c*D + d }
		if g == manifolds.PerSlice || g == manifolds.PerWeight { // single weights, in their own order
			D, C, flat = shape[0], shape[1], func(d, c, _, _ int) int { return d*shape[1] + c }
		}
	}
	K, n, p, at := cut(g, D, C, A, B)

	l, err := g.Layout(shape)
	require.NoError(t, err)
	require.Equal(t, [3]int{K, n, p}, [3]int{l.K, l.N, l.P})

	size := D * C * A * B
	values := make([]float64, size)
	values32 := make([]float32, size)
	for e := range values {
		values[e], values32[e] = float64(e), float32(e)
	}
	for _, c := range []struct{ w, x, back manifolds.Points }{
		{points64(t, values, 1, 1, size), points64(t, make([]float64, size), K, n, p), points64(t, make([]float64, size), 1, 1, size)},
		{points32(t, values32, 1, 1, size), points32(t, make([]float32, size), K, n, p), points32(t, make([]float32, size), 1, 1, size)},
	} {
		require.NoError(t, l.Gather(c.x, c.w))
		straight := true
		for d := range D {
			for ch := range C {
				for a := range A {
					for b := range B {
						e, to := flat(d, ch, a, b), at(d, ch, a, b)
						require.Equal(t, float64(e), c.x.At(to.k, to.i, to.j), "w[%d,%d,%d,%d]", d, ch, a, b)
						straight = straight && e == (to.k*n+to.i)*p+to.j
					}
				}
			}
		}
		assert.Equal(t, straight, l.Contiguous(), "Contiguous")

		require.NoError(t, l.Scatter(c.back, c.x))
		assert.Equal(t, c.w, c.back, "Scatter undoes Gather")
	}
}

func FuzzLayout(f *testing.F) {
	f.Add(uint8(1), uint8(4), uint8(3), uint8(3), uint8(3))
	f.Add(uint8(5), uint8(1), uint8(1), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, g, d, c, a, b uint8) {
		grouping := groupings[int(g)%len(groupings)]
		shape := []int{int(d%17) + 1, int(c%17) + 1, int(a%8) + 1, int(b%8) + 1}
		checkLayout(t, grouping, shape)
		checkLayout(t, grouping, shape[:2])
	})
}

func TestPerWeightCutsAnyRank(t *testing.T) {
	for _, shape := range [][]int{{}, {6}, {2, 3, 4}, {2, 1, 3, 1, 2}} {
		l, err := manifolds.PerWeight.Layout(shape)
		require.NoError(t, err)
		size := 1
		for _, s := range shape {
			size *= s
		}
		assert.Equal(t, [3]int{size, 1, 1}, [3]int{l.K, l.N, l.P})
		assert.True(t, l.Contiguous())
	}
}

func TestLayoutErrors(t *testing.T) {
	for _, c := range []struct {
		g     manifolds.Grouping
		shape []int
		want  string
	}{
		{manifolds.PerFilter, []int{5}, "per filter: want weights of shape (out, in, height, width) or (in, out), got [5]"},
		{manifolds.PerSlice, []int{2, 3, 4}, "got [2 3 4]"},
		{manifolds.FilterBank, []int{1, 2, 3, 4, 5}, "got [1 2 3 4 5]"},
		{manifolds.PerTap, nil, "per tap: want weights"},
		{manifolds.PerTap, []int{2, 0, 3, 3}, "per tap: want positive sizes, got shape [2 0 3 3]"},
		{manifolds.PerWeight, []int{-1}, "per weight: want positive sizes, got shape [-1]"},
		{manifolds.Default, []int{2, 3, 4, 5}, "default is not a way to cut weights"},
		{manifolds.Grouping(42), []int{2, 3}, "Grouping(42) is not a way to cut weights"},
	} {
		_, err := c.g.Layout(c.shape)
		assert.ErrorContains(t, err, "manifolds: ")
		assert.ErrorContains(t, err, c.want)
	}
}

func TestGatherErrors(t *testing.T) {
	l, err := manifolds.PerTap.Layout([]int{2, 3, 2, 2}) // 4 points of 2x3
	require.NoError(t, err)
	w := points64(t, make([]float64, 24), 1, 1, 24)
	for _, bad := range []manifolds.Points{
		points64(t, ones(24), 4, 3, 2),
		points64(t, ones(24), 2, 4, 3),
		points64(t, ones(18), 3, 2, 3),
		points32(t, make([]float32, 24), 4, 2, 3),
	} {
		assert.ErrorContains(t, l.Gather(bad, w), "manifolds: gather: want 4 points of 2x3")
		assert.ErrorContains(t, l.Scatter(w, bad), "manifolds: scatter: want 4 points of 2x3")
	}
	short := points64(t, ones(23), 1, 1, 23)
	x := points64(t, make([]float64, 24), 4, 2, 3)
	assert.Error(t, l.Gather(x, short))
	assert.Error(t, l.Scatter(short, x))
	assert.Equal(t, make([]float64, 24), w.Data64(), "a refused Scatter writes nothing")
	assert.Equal(t, make([]float64, 24), x.Data64(), "a refused Gather writes nothing")
	assert.Equal(t, ones(23), short.Data64())
}

func TestGatherDoesNotAllocate(t *testing.T) {
	l, err := manifolds.PerTap.Layout([]int{4, 3, 3, 3})
	require.NoError(t, err)
	w, x := points32(t, make([]float32, 108), 1, 1, 108), points32(t, make([]float32, 108), 9, 4, 3)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		if l.Gather(x, w) != nil || l.Scatter(w, x) != nil {
			t.Fail()
		}
	}))
}

func TestGroupingString(t *testing.T) {
	for g, want := range map[manifolds.Grouping]string{
		manifolds.Default:         "default",
		manifolds.PerSlice:        "per slice",
		manifolds.PerFilter:       "per filter",
		manifolds.PerInputChannel: "per input channel",
		manifolds.PerTap:          "per tap",
		manifolds.FilterBank:      "filter bank",
		manifolds.PerWeight:       "per weight",
		manifolds.Grouping(99):    "Grouping(99)",

		manifolds.PerTap.Groups(3):                 "per tap, 3 groups",
		manifolds.PerTap.Transposed():              "per tap, transposed",
		manifolds.PerTap.Transposed().Groups(3):    "per tap, transposed, 3 groups",
		manifolds.PerTap.Groups(3).Transposed():    "per tap, transposed, 3 groups",
		manifolds.PerTap.Of(1, false):              "per tap",
		manifolds.PerTap.Of(3, true):               "per tap, transposed, 3 groups",
		manifolds.PerTap.Groups(1).Of(3, true):     "per tap",
		manifolds.PerTap.Transposed().Of(3, false): "per tap, transposed",
		manifolds.PerWeight.Of(3, true):            "per weight",
		manifolds.Default.Of(2, true):              "default, transposed, 2 groups",
	} {
		assert.Equal(t, want, g.String())
	}
}

// The slices of a kernel are the kernel itself; the taps are not.
func ExampleLayout_Contiguous() {
	for _, g := range []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter, manifolds.PerTap} {
		l, err := g.Layout([]int{16, 8, 3, 3})
		fmt.Printf("%v: %d points of %dx%d, contiguous %v, %v\n", g, l.K, l.N, l.P, l.Contiguous(), err)
	}
	// Output:
	// per slice: 128 points of 3x3, contiguous true, <nil>
	// per filter: 16 points of 8x9, contiguous true, <nil>
	// per tap: 9 points of 16x8, contiguous false, <nil>
}

// Cut in groups, a layer has the points of each group by itself, one group after the other.
func TestGroups(t *testing.T) {
	for _, g := range groupings {
		for _, shape := range [][]int{{6, 3, 3, 3}, {6, 1, 3, 3}, {6, 2, 1, 1}, {6, 4, 2, 3}} {
			for _, groups := range []int{1, 2, 3, 6} {
				what := fmt.Sprint(g, shape, groups)
				size := shape[0] * shape[1] * shape[2] * shape[3]
				w := points64(t, make([]float64, size), size, 1, 1)
				for e := range size {
					w.Data64()[e] = float64(e)
				}
				whole, err := g.Groups(groups).Layout(shape)
				require.NoError(t, err, what)
				part, err := g.Layout([]int{shape[0] / groups, shape[1], shape[2], shape[3]})
				require.NoError(t, err, what)
				require.Equal(t, [3]int{groups * part.K, part.N, part.P}, [3]int{whole.K, whole.N, whole.P}, what)
				got, want := points64(t, make([]float64, size), whole.K, whole.N, whole.P), points64(t, make([]float64, size/groups), part.K, part.N, part.P)
				require.NoError(t, whole.Gather(got, w), what)
				for i := range groups {
					rows := w.Slice(i*size/groups, (i+1)*size/groups)
					require.NoError(t, part.Gather(want, rows), what)
					require.Equal(t, want.Data64(), got.Slice(i*part.K, (i+1)*part.K).Data64(), what)
				}
				back := w.Like()
				require.NoError(t, whole.Scatter(back, got), what)
				require.Equal(t, w, back, what)
			}
		}
	}

	// Depthwise: a bank of one filter for each channel, in place.
	c := manifolds.On(manifolds.Stiefel{}, manifolds.Default.Groups(6))
	assert.Equal(t, "Stiefel, filter bank, 6 groups, unit filters", c.String())
	piece, err := manifolds.Single(c.Bind([]int{6, 1, 3, 3}, 1))
	require.NoError(t, err)
	assert.Equal(t, [3]int{6, 1, 9}, [3]int{piece.Layout.K, piece.Layout.N, piece.Layout.P})
	assert.True(t, piece.Layout.Contiguous())
	assert.Equal(t, "filter bank", manifolds.FilterBank.Groups(1).String())
	assert.Equal(t, manifolds.PerFilter.Groups(2), manifolds.On(manifolds.Sphere{}, manifolds.Default.Groups(2)).Grouping)

	for g, want := range map[manifolds.Grouping]string{
		manifolds.FilterBank.Groups(4):  "manifolds: filter bank, 4 groups: want kernels of a number of filters that 4 divides, got shape [6 3 3 3]",
		manifolds.FilterBank.Groups(0):  "manifolds: filter bank: want a positive number of groups",
		manifolds.FilterBank.Groups(-1): "manifolds: filter bank: want a positive number of groups",
	} {
		_, err := g.Layout([]int{6, 3, 3, 3})
		assert.EqualError(t, err, want)
	}
	_, err = manifolds.FilterBank.Groups(2).Layout([]int{4, 6})
	assert.ErrorContains(t, err, "want kernels")
}

// The kernels of a transposed convolution have the points of a convolution in the other direction, whose weights are the same.
func TestTransposed(t *testing.T) {
	for _, shape := range [][]int{{6, 3, 2, 3}, {6, 1, 3, 3}, {12, 4, 1, 1}, {6, 5, 1, 4}, {1, 5, 3, 3}, {6, 1, 1, 1}} { // in, out/groups
		for _, groups := range []int{1, 2, 3, 6} {
			if shape[0]%groups != 0 {
				continue
			}
			c, d, ab := shape[0]/groups, shape[1], shape[2]*shape[3] // of a group
			size := shape[0] * d * ab
			back, forth := points64(t, make([]float64, size), 1, 1, size), points64(t, make([]float64, size), 1, 1, size)
			for i := range size {
				g, in, out, tap := i/(c*d*ab), i/(d*ab)%c, i/ab%d, i%ab
				back.Data64()[i] = float64(i)
				forth.Data64()[((g*d+out)*c+in)*ab+tap] = float64(i)
			}
			for _, g := range groupings {
				what := fmt.Sprint(g, shape, groups)
				l, err := g.Transposed().Groups(groups).Layout(shape)
				require.NoError(t, err, what)
				plain, err := g.Groups(groups).Layout([]int{groups * d, c, shape[2], shape[3]})
				require.NoError(t, err, what)
				require.Equal(t, [3]int{plain.K, plain.N, plain.P}, [3]int{l.K, l.N, l.P}, what)
				got, want := points64(t, make([]float64, size), l.K, l.N, l.P), points64(t, make([]float64, size), l.K, l.N, l.P)
				require.NoError(t, l.Gather(got, back), what)
				require.NoError(t, plain.Gather(want, forth), what)
				if g == manifolds.PerSlice || g == manifolds.PerWeight { // as stored
					require.Equal(t, back.Data64(), got.Data64(), what)
				} else {
					require.Equal(t, want.Data64(), got.Data64(), what)
				}
				if l.Contiguous() {
					require.Equal(t, back.Data64(), got.Data64(), what)
				}
				again := back.Like()
				require.NoError(t, l.Scatter(again, got), what)
				require.Equal(t, back, again, what)
			}
		}
	}

	// The scale counts output channels: 6 filters of norm 1.
	for _, g := range []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter, manifolds.FilterBank} {
		piece, err := manifolds.Single(manifolds.On(manifolds.Sphere{}, g.Transposed().Groups(2)).Bind([]int{4, 3, 2, 2}, 1))
		require.NoError(t, err)
		r := piece.Manifold.(manifolds.Sphere).Radius
		assert.InDelta(t, 6, r*r*float64(piece.Layout.K), 1e-12, "%v", g)
	}

	for g, want := range map[manifolds.Grouping]string{
		manifolds.FilterBank.Transposed().Groups(4): "manifolds: filter bank, transposed, 4 groups: want kernels of a number of input channels that 4 divides, got shape [6 3 3 3]",
		manifolds.Grouping(99).Transposed():         "manifolds: Grouping(99), transposed is not a way to cut weights: want PerSlice, PerFilter, PerInputChannel, PerTap, FilterBank or PerWeight",
		manifolds.FilterBank.Transposed().Groups(0): "manifolds: filter bank: want a positive number of groups",
	} {
		_, err := g.Layout([]int{6, 3, 3, 3})
		assert.EqualError(t, err, want)
	}
	_, err := manifolds.FilterBank.Transposed().Layout([]int{4, 6})
	assert.EqualError(t, err, "manifolds: filter bank, transposed: want kernels of shape (in, out, height, width), got [4 6]")
}
