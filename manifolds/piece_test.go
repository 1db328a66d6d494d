// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// halves puts points with even numbers on one manifold and the others on another. Of a manifold it
// has no more than the methods of the first: nothing but its pieces is used.
type halves struct {
	manifolds.Manifold
	second manifolds.Manifold
}

func (h halves) String() string { return "halves" }

func (h halves) Pieces(shape []int, c manifolds.Constraint, norm float64) ([]manifolds.Piece, error) {
	var pieces []manifolds.Piece
	for parity, f := range []manifolds.Manifold{h.Manifold, h.second} {
		piece, err := manifolds.Single(manifolds.Constraint{Manifold: f, Grouping: c.Grouping, Scale: c.Scale}.Bind(shape, norm))
		if err != nil {
			return nil, err
		}
		var order []int32
		for k := parity; k < piece.Layout.K; k += 2 {
			order = append(order, int32(k))
		}
		if piece.Layout, err = piece.Layout.Pick(order...); err != nil {
			return nil, err
		}
		piece.Name = []string{"even", "odd"}[parity]
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// Each point of a layer on a composite lies on its own factor, at the scale that the layer asks
// for, whatever the grouping.
func TestComposite(t *testing.T) {
	for _, g := range []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerTap} {
		shape := []int{5, 4, 3, 3}
		c := manifolds.On(halves{manifolds.Sphere{}, manifolds.Oblique{Axis: manifolds.Rows}}, g, manifolds.UnitFilters)
		pieces, err := c.Bind(shape, 1)
		require.NoError(t, err)
		require.Len(t, pieces, 2)
		assert.Equal(t, "even", pieces[0].Name)
		assert.Equal(t, "odd", pieces[1].Name)

		w := points64(t, make([]float64, 180), 180, 1, 1)
		for e := range w.Data64() {
			w.Data64()[e] = math.Sin(float64(e))
		}
		before := append([]float64(nil), w.Data64()...)
		whole, err := g.Layout(shape)
		require.NoError(t, err)
		for i, p := range pieces {
			l := p.Layout
			assert.False(t, l.Contiguous())
			x := points64(t, make([]float64, l.K*l.N*l.P), l.K, l.N, l.P)
			require.NoError(t, l.Gather(x, w))
			all := points64(t, make([]float64, 180), whole.K, whole.N, whole.P)
			require.NoError(t, whole.Gather(all, w))
			for k := range l.K {
				assert.Equal(t, all.Slice(2*k+i, 2*k+i+1).Data64(), x.Slice(k, k+1).Data64(), "point %d of piece %d", k, i)
			}
			require.NoError(t, p.Manifold.Project(x, x))
			require.NoError(t, l.Scatter(w, x))
		}
		assert.InEpsilon(t, math.Sqrt(5), w.Norm(), 1e-14, "filters of norm 1")
		all := points64(t, make([]float64, 180), whole.K, whole.N, whole.P)
		require.NoError(t, whole.Gather(all, w))
		for k := range whole.K {
			p := pieces[k%2]
			assert.LessOrEqual(t, p.Manifold.Membership(all.Slice(k, k+1)), 1e-14, "point %d", k)
		}
		assert.NotEqual(t, before, w.Data64())

		_, err = manifolds.Single(pieces, nil)
		assert.EqualError(t, err, "manifolds: want a layer of one piece, got 2: even, odd")
	}
}

// made returns the pieces that a test wants.
type made struct {
	manifolds.Manifold
	pieces []manifolds.Piece
	err    error
}

func (made) String() string { return "made" }

func (m made) Pieces([]int, manifolds.Constraint, float64) ([]manifolds.Piece, error) {
	return m.pieces, m.err
}

func TestBindChecksPieces(t *testing.T) {
	shape := []int{4, 2, 3, 3}
	sphere := manifolds.Sphere{}
	filters, err := manifolds.PerFilter.Layout(shape)
	require.NoError(t, err)
	bank, err := manifolds.FilterBank.Layout(shape)
	require.NoError(t, err)
	pick := func(order ...int32) manifolds.Layout {
		l, err := filters.Pick(order...)
		require.NoError(t, err)
		return l
	}
	broken := func(change func(l *manifolds.Layout)) manifolds.Layout {
		l := pick(0, 1, 2, 3)
		change(&l)
		return l
	}
	two := func(a, b manifolds.Layout) []manifolds.Piece {
		return []manifolds.Piece{{Manifold: sphere, Layout: a, Name: "a"}, {Manifold: sphere, Layout: b, Name: "b"}}
	}
	for _, c := range []struct {
		pieces []manifolds.Piece
		want   string // empty if the pieces will do
	}{
		{two(pick(0, 1), pick(2, 3)), ""},
		{two(pick(3, 0), pick(2, 1)), ""},
		{[]manifolds.Piece{{Manifold: sphere, Layout: bank}}, ""},
		{[]manifolds.Piece{{Manifold: sphere, Layout: pick(2, 1, 3, 0)}}, ""},
		{nil, "want a piece, got none"},
		{two(pick(0, 1), pick(2)), "want every weight in a piece, got weight 54 in none"},
		{two(pick(0, 1), pick(1, 2, 3)), `piece 1, "b": want every weight in one piece, got weight 18 in piece 0 as well`},
		{two(pick(0, 0, 1), pick(2, 3)), `piece 0, "a": want every weight in one piece, got weight 0 in piece 0 as well`},
		{two(bank, filters), `piece 1, "b": want every weight in one piece, got weight 0 in piece 0 as well`},
		{[]manifolds.Piece{{Manifold: sphere, Layout: pick(0, 1)}, {Manifold: sphere, Layout: pick(2, 3)}},
			`piece 0, "": want a name that no other piece has`},
		{[]manifolds.Piece{{Manifold: sphere, Layout: pick(0, 1), Name: "a"}, {Manifold: sphere, Layout: pick(2, 3), Name: "a"}},
			`piece 1, "a": want a name that no other piece has`},
		{[]manifolds.Piece{{Layout: filters}}, `piece 0, "": want a manifold, got nil`},
		{[]manifolds.Piece{{Manifold: manifolds.Sphere{Radius: -1}, Layout: filters}}, "want a positive finite radius, got -1"},
		{[]manifolds.Piece{{Manifold: sphere, Layout: broken(func(l *manifolds.Layout) { l.Order[2] = 4 })}}, "want points in the 72 weights of the layer"},
		{[]manifolds.Piece{{Manifold: sphere, Layout: broken(func(l *manifolds.Layout) { l.Order[2] = -1 })}}, "want points in the 72 weights of the layer"},
		{[]manifolds.Piece{{Manifold: sphere, Layout: broken(func(l *manifolds.Layout) { l.K = 5 })}}, "want points in the 72 weights of the layer"},
		{[]manifolds.Piece{{Manifold: sphere, Layout: broken(func(l *manifolds.Layout) { l.StrideP = -1 })}}, "want points in the 72 weights of the layer"},
	} {
		pieces, err := manifolds.On(made{Manifold: sphere, pieces: c.pieces}).Bind(shape, 1)
		if c.want == "" {
			require.NoError(t, err)
			assert.Equal(t, c.pieces, pieces)
			continue
		}
		assert.ErrorContains(t, err, "manifolds: made: pieces of shape [4 2 3 3]: ")
		assert.ErrorContains(t, err, c.want)
		assert.Nil(t, pieces)
	}
	pieces, err := manifolds.On(made{Manifold: sphere, err: assert.AnError}).Bind(shape, 1)
	assert.ErrorIs(t, err, assert.AnError)
	assert.ErrorContains(t, err, "manifolds: made: ")
	assert.Nil(t, pieces)
}

func TestPick(t *testing.T) {
	l, err := manifolds.PerTap.Layout([]int{2, 3, 2, 2})
	require.NoError(t, err)
	once, err := l.Pick(3, 1, 0)
	require.NoError(t, err)
	twice, err := once.Pick(2, 0)
	require.NoError(t, err)
	assert.Equal(t, []int32{0, 3}, twice.Order, "points of the cut, not of the layout that they were picked from")
	assert.Equal(t, 2, twice.K)
	assert.Nil(t, l.Order)
	for _, bad := range [][]int32{{-1}, {4}, {0, 7}} {
		_, err := l.Pick(bad...)
		assert.ErrorContains(t, err, fmt.Sprintf("manifolds: pick: want points of 0 to 3, got %d", bad[len(bad)-1]))
	}
	_, err = once.Pick(3)
	assert.ErrorContains(t, err, "want points of 0 to 2, got 3")
	_, err = l.Pick()
	assert.ErrorContains(t, err, "want a point, got none")
}

// With an Order, Gather and Scatter leave the other weights alone, accept any weights that hold the
// points, and refuse others.
func TestGatherInOrder(t *testing.T) {
	l, err := manifolds.PerTap.Layout([]int{2, 3, 2, 2}) // 4 points of 2x3, tap t of w[d,c] at 12d + 4c + t
	require.NoError(t, err)
	l, err = l.Pick(2, 0)
	require.NoError(t, err)
	w := points32(t, make([]float32, 24), 1, 1, 24)
	for e := range w.Data32() {
		w.Data32()[e] = float32(e)
	}
	x := points32(t, make([]float32, 12), 2, 2, 3)
	require.NoError(t, l.Gather(x, w))
	assert.Equal(t, []float32{2, 6, 10, 14, 18, 22, 0, 4, 8, 12, 16, 20}, x.Data32())
	for e := range x.Data32() {
		x.Data32()[e] = -1
	}
	require.NoError(t, l.Scatter(w, x))
	for e, v := range w.Data32() {
		if e%4 == 0 || e%4 == 2 {
			assert.Equal(t, float32(-1), v)
		} else {
			assert.Equal(t, float32(e), v)
		}
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		if l.Gather(x, w) != nil || l.Scatter(w, x) != nil {
			t.Fail()
		}
	}))

	require.NoError(t, l.Gather(x, points32(t, make([]float32, 23), 1, 1, 23)), "the last weight belongs to another point")
	wide := l
	wide.K = 3
	for _, c := range []struct {
		l    manifolds.Layout
		x, w manifolds.Points
	}{
		{l, x, points32(t, make([]float32, 22), 1, 1, 22)},
		{l, x, points64(t, make([]float64, 24), 1, 1, 24)},
		{l, points32(t, make([]float32, 18), 3, 2, 3), w},
		{l, points32(t, make([]float32, 12), 2, 3, 2), w},
		{wide, points32(t, make([]float32, 18), 3, 2, 3), w},
	} {
		assert.ErrorContains(t, c.l.Gather(c.x, c.w), "manifolds: gather: want ")
		assert.ErrorContains(t, c.l.Scatter(c.w, c.x), "manifolds: scatter: want ")
	}
}

// Points that lie one after the other are copied together, and those of nine elements by code of their own.
func TestGatherRuns(t *testing.T) {
	for _, size := range []int{1, 4, 9, 12} {
		const count = 20
		l := manifolds.Layout{K: count, N: 1, P: size, StrideK: size, StrideN: size, StrideP: 1}
		l, err := l.Pick(0, 1, 2, 5, 4, 3, 7, 8, 19, 11)
		require.NoError(t, err)
		w, v, x := points32(t, make([]float32, count*size), 1, 1, count*size), points32(t, make([]float32, count*size), 1, 1, count*size), points32(t, make([]float32, l.K*size), l.K, 1, size)
		for e := range w.Data32() {
			w.Data32()[e], v.Data32()[e] = float32(e), -1
		}
		want := make([]float32, count*size)
		for e := range want {
			want[e] = -1
		}
		require.NoError(t, l.Gather(x, w))
		for i, k := range l.Order {
			for j := range size {
				require.Equal(t, float32(int(k)*size+j), x.Data32()[i*size+j], "size %d, point %d", size, i)
				want[int(k)*size+j] = float32(int(k)*size + j)
			}
		}
		require.NoError(t, l.Scatter(v, x))
		require.Equal(t, want, v.Data32(), "size %d", size)

		l.Order[3] = count + 1 // whoever writes to an Order may not write to memory
		assert.Panics(t, func() { _ = l.Gather(x, w) }, "size %d", size)
		assert.Panics(t, func() { _ = l.Scatter(v, x) }, "size %d", size)
	}
}
