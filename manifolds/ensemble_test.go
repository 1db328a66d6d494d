// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// pieces binds an ensemble to a layer.
func pieces(t *testing.T, e manifolds.Ensemble, layer string, shape ...int) []manifolds.Piece {
	t.Helper()
	c := manifolds.On(e)
	c.Layer = layer
	p, err := c.Bind(shape, 1)
	require.NoError(t, err)
	return p
}

// Example 1 of FG-SGD: the 24 slices of a layer of 3 x 3 x 4 x 6 in ten groups, for spheres two of 3 slices
// and three of 2, and as many for Stiefel.
func TestEnsembleOfThePaper(t *testing.T) {
	e := manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}), Groups: 5, Seed: 1}
	for _, p := range pieces(t, e, "conv", 6, 4, 3, 3) {
		assert.Equal(t, []int{3, 3, 2, 2, 2}, p.Groups, p.Name)
		assert.Equal(t, []int{12, 3, 3}, []int{p.Layout.K, p.Layout.N, p.Layout.P}, p.Name)
	}
}

// Every slice is dealt once, and with those that belong together.
func TestEnsembleDeals(t *testing.T) {
	const d, c = 7, 5
	for _, s := range []manifolds.Strategy{manifolds.PIO, manifolds.PI, manifolds.PO} {
		e := manifolds.Ensemble{Strategy: s, Parts: []manifolds.Part{{manifolds.Sphere{}, 1}, {manifolds.Oblique{}, 1}, {manifolds.Euclidean{}, 0.5}}, Seed: 4}
		of, seen := map[int]int{}, 0
		for i, p := range pieces(t, e, "conv", d, c, 2, 3) {
			order := p.Layout.Order
			if _, free := p.Manifold.(manifolds.Euclidean); free { // of weights
				assert.Equal(t, []int{1, 1}, []int{p.Layout.N, p.Layout.P})
				for w := 0; w < len(order); w += 6 {
					of[int(order[w])/6] = i
					seen++
				}
				continue
			}
			assert.True(t, slices.IsSorted(order))
			for _, k := range order {
				of[int(k)] = i
				seen++
			}
		}
		assert.Equal(t, d*c, seen, "%v", s)
		assert.Len(t, of, d*c, "%v", s)
		for k, i := range of {
			switch s {
			case manifolds.PI:
				assert.Equal(t, of[k%c], i, "slice %d goes with its input channel", k)
			case manifolds.PO:
				assert.Equal(t, of[k/c*c], i, "slice %d goes with its output channel", k)
			}
		}
	}
}

// In groups and in transposed convolutions, slices go with their input or output channel too.
func TestEnsembleDealsByConvolution(t *testing.T) {
	const groups, in, out = 3, 2, 4 // channels of a group
	for _, transposed := range []bool{false, true} {
		shape, g := []int{groups * out, in, 2, 3}, manifolds.PerSlice.Groups(groups)
		if transposed {
			shape, g = []int{groups * in, out, 2, 3}, manifolds.PerSlice.Transposed().Groups(groups)
		}
		for _, s := range []manifolds.Strategy{manifolds.PI, manifolds.PO} {
			what := fmt.Sprint(s, transposed)
			c := manifolds.On(manifolds.Ensemble{Strategy: s, Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}), Seed: 3}, g)
			pieces, err := c.Bind(shape, 1)
			require.NoError(t, err, what)
			of := map[int]int{} // by channel
			for i, p := range pieces {
				for _, k := range p.Layout.Order {
					row, col := int(k)/shape[1], int(k)%shape[1]
					group := row / (shape[0] / groups)
					channel := row
					if (s == manifolds.PI) != transposed {
						channel = group*shape[1] + col
					}
					before, seen := of[channel]
					assert.True(t, !seen || before == i, "%s: slice %d goes with its channel", what, k)
					of[channel] = i
				}
			}
			channels := groups * in
			if s == manifolds.PO {
				channels = groups * out
			}
			assert.Len(t, of, channels, what)
			assert.Equal(t, channels/2*shape[0]*shape[1]/channels, pieces[0].Layout.K, what)
		}
	}
	_, err := manifolds.On(manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{})}, manifolds.PerSlice.Groups(5)).Bind([]int{6, 2, 3, 3}, 1)
	assert.ErrorContains(t, err, "want kernels of a number of filters that 5 divides, got shape [6 2 3 3]")
}

// What is left after rounding down goes to the largest remainders: of 10 slices, 5.33, 2.67 and 2 become 5, 3 and 2.
func TestEnsembleShares(t *testing.T) {
	e := manifolds.Ensemble{Parts: []manifolds.Part{{manifolds.Sphere{}, 0.8}, {manifolds.Oblique{}, 0.4}, {manifolds.Stiefel{}, 0.3}}}
	var counts []int
	for _, p := range pieces(t, e, "conv", 5, 2, 3, 3) {
		counts = append(counts, p.Layout.K)
	}
	assert.Equal(t, []int{5, 3, 2}, counts)
}

// A deal depends on the seed and the name of the layer alone, and never changes: runs on disk rely on it.
func TestEnsembleDealIsFixed(t *testing.T) {
	e := manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}), Seed: 7}
	first := func(e manifolds.Ensemble, layer string) []int32 {
		return pieces(t, e, layer, 4, 3, 3, 3)[0].Layout.Order
	}
	assert.Equal(t, []int32{1, 2, 5, 6, 9, 11}, first(e, "conv1"))
	assert.NotEqual(t, first(e, "conv1"), first(e, "conv2"))
	other := e
	other.Seed++
	assert.NotEqual(t, first(e, "conv1"), first(other, "conv1"))
	other = e
	other.Parts = manifolds.Equal(manifolds.Stiefel{}, manifolds.Sphere{}) // the hands stay, whoever gets them
	assert.Equal(t, first(e, "conv1"), first(other, "conv1"))
}

// In the mean over the deals, a slice is on each part as often as its share says.
func TestEnsembleDealIsUniform(t *testing.T) {
	e := manifolds.Ensemble{Parts: []manifolds.Part{{manifolds.Sphere{}, 1}, {manifolds.Oblique{}, 3}}}
	const deals = 4000
	counts := make([]float64, 12)
	for seed := range uint64(deals) {
		e.Seed = seed
		for _, k := range pieces(t, e, "conv", 4, 3, 2, 2)[0].Layout.Order {
			counts[k]++
		}
	}
	for k, n := range counts { // 3 of 12 slices; four standard deviations
		assert.InDelta(t, 0.25, n/deals, 4*math.Sqrt(0.25*0.75/deals), "slice %d", k)
	}
}

// The parts have the scales that they would have alone, and a size of its own is kept.
func TestEnsembleScales(t *testing.T) {
	shape := []int{4, 9, 3, 3}
	for _, scale := range []manifolds.Scale{manifolds.UnitFilters, manifolds.FilterNorm(2), manifolds.Unit, manifolds.Times(0.1), manifolds.Initial} {
		c := manifolds.On(manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}, manifolds.Euclidean{})}, scale)
		got, err := c.Bind(shape, 3)
		require.NoError(t, err)
		for i, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Stiefel{}} {
			want, err := manifolds.Single(manifolds.On(m, manifolds.PerSlice, scale).Bind(shape, 3))
			require.NoError(t, err)
			assert.Equal(t, want.Manifold, got[i].Manifold, "%v", scale)
		}
	}
	got := pieces(t, manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{Radius: 2}, manifolds.Sphere{})}, "", shape...)
	assert.Equal(t, manifolds.Sphere{Radius: 2}, got[0].Manifold)
	assert.InDelta(t, 1./3, got[1].Manifold.(manifolds.Sphere).Radius, 1e-15)
	assert.Equal(t, []string{"sphere(r=2)", "sphere"}, []string{got[0].Name, got[1].Name})
}

// With one part an ensemble is the manifold on its slices, in the same memory.
func TestEnsembleOfOne(t *testing.T) {
	for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}} {
		want, err := manifolds.On(m, manifolds.PerSlice).Bind([]int{3, 2, 3, 3}, 1)
		require.NoError(t, err)
		got := pieces(t, manifolds.Ensemble{Parts: manifolds.Equal(m), Seed: 9}, "conv", 3, 2, 3, 3)
		require.Len(t, got, 1)
		assert.Equal(t, want[0].Manifold, got[0].Manifold)
		assert.Equal(t, want[0].Layout, got[0].Layout)
		assert.True(t, got[0].Layout.Contiguous())
		assert.Empty(t, got[0].Name)
	}
}

func TestEnsembleErrors(t *testing.T) {
	two := manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{})
	for want, c := range map[string]struct {
		e     manifolds.Ensemble
		opts  []manifolds.Option
		shape []int
	}{
		"want at least one part, got none":                                                      {manifolds.Ensemble{}, nil, nil},
		"want PIO, PI or PO, got Strategy(3)":                                                   {manifolds.Ensemble{Strategy: 3, Parts: two}, nil, nil},
		"want a positive share of Stiefel, got 0":                                               {manifolds.Ensemble{Parts: []manifolds.Part{{manifolds.Sphere{}, 1}, {manifolds.Stiefel{}, 0}}}, nil, nil},
		"want a positive share of Stiefel, got NaN":                                             {manifolds.Ensemble{Parts: []manifolds.Part{{manifolds.Sphere{}, 1}, {manifolds.Stiefel{}, math.NaN()}}}, nil, nil},
		"want shares with a finite sum, got +Inf":                                               {manifolds.Ensemble{Parts: []manifolds.Part{{manifolds.Sphere{}, math.MaxFloat64}, {manifolds.Stiefel{}, math.MaxFloat64}}}, nil, nil},
		"want a manifold in every part, got nil in part 1":                                      {manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, nil)}, nil, nil},
		"want parts of one manifold each, got PIO(Sphere + Stiefel)":                            {manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Ensemble{Parts: two})}, nil, nil},
		"want a positive number of groups, or 0 for 1, got -1":                                  {manifolds.Ensemble{Parts: two, Groups: -1}, nil, nil},
		"want at least one of the 6 slices for each of the 4 groups of Sphere, got 3":           {manifolds.Ensemble{Parts: two, Groups: 4}, nil, nil},
		"want at least one of the 2 input channels for each of the 2 groups of Sphere, got 1":   {manifolds.Ensemble{Strategy: manifolds.PI, Parts: two, Groups: 2}, nil, nil},
		"want at least one of the 3 output channels for each of the 1 groups of Stiefel, got 0": {manifolds.Ensemble{Strategy: manifolds.PO, Parts: []manifolds.Part{{manifolds.Sphere{}, 1}, {manifolds.Stiefel{}, 0.1}}}, nil, nil},
		"want the grouping per slice, got per filter":                                           {manifolds.Ensemble{Parts: two}, []manifolds.Option{manifolds.PerFilter}, nil},
		"want weights of shape (out, in, height, width), got [4 5]":                             {manifolds.Ensemble{Parts: two}, nil, []int{4, 5}},
		"per slice: want positive sizes, got shape [-1 3 3 3]":                                  {manifolds.Ensemble{Parts: two}, nil, []int{-1, 3, 3, 3}},
	} {
		shape := c.shape
		if shape == nil {
			shape = []int{3, 2, 3, 3}
		}
		_, err := manifolds.On(c.e, c.opts...).Bind(shape, 1)
		if assert.Error(t, err, want) {
			assert.Contains(t, err.Error(), want)
		}
	}
	e := manifolds.Ensemble{Parts: two}
	x := points64(t, make([]float64, 9), 1, 3, 3)
	for _, err := range []error{e.Project(x, x), e.Tangent(x, x, x), e.Retract(x, x, x), e.Transport(x, x, x, x)} {
		assert.ErrorContains(t, err, "an ensemble has no points of its own")
	}
	assert.True(t, math.IsNaN(e.Membership(x)))
	assert.NoError(t, e.Check(3, 3))
	assert.Error(t, manifolds.Ensemble{}.Check(3, 3))
}

func ExampleEnsemble() {
	e := manifolds.Ensemble{
		Strategy: manifolds.PIO,
		Parts:    manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}),
		Groups:   2,
		Seed:     1,
	}
	c := manifolds.On(e)
	c.Layer = "conv1"
	pieces, err := c.Bind([]int{6, 4, 3, 3}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e)
	for _, p := range pieces {
		fmt.Println(p.Name, p.Layout.K, "slices in groups of", p.Groups, "on", manifolds.Name(p.Manifold))
	}
	// Output:
	// PIO(Sphere + Oblique + Stiefel, 2 groups each)
	// sphere 8 slices in groups of [4 4] on Sphere(r=0.5)
	// oblique 8 slices in groups of [4 4] on Oblique(r=0.2887)
	// stiefel 8 slices in groups of [4 4] on Stiefel(r=0.2887)
}
