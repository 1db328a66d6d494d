// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// split puts the first filter on a sphere and leaves the others free.
type split struct{ manifolds.Manifold }

func (split) Pieces(shape []int, c manifolds.Constraint, norm float64) ([]manifolds.Piece, error) {
	l, err := manifolds.PerFilter.Layout(shape)
	if err != nil {
		return nil, err
	}
	pieces := []manifolds.Piece{
		{Manifold: manifolds.Sphere{}, Name: "sphere"},
		{Manifold: manifolds.Euclidean{}, Name: "free"},
	}
	for i, order := range [][]int32{{0}, {1, 2}} {
		if pieces[i].Layout, err = l.Pick(order...); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// The nodes return an error for layers of several pieces.
func TestSeveralPiecesAreRefused(t *testing.T) {
	v := given(gorgonia.NewGraph(), tensor.Float64, "v", tensor.Shape{3, 2, 3, 3}, make([]float64, 54))
	_, err := nodes.Normalize(v, split{manifolds.Sphere{}})
	assert.EqualError(t, err, "nodes.Normalize: input 0, v: manifolds: want a layer of one piece, got 2: sphere, free")
	assert.PanicsWithError(t, "nodes.ManifoldInit: manifolds: want a layer of one piece, got 2: sphere, free", func() {
		nodes.ManifoldInit(manifolds.On(split{manifolds.Sphere{}}), 1)(tensor.Float64, 3, 2, 3, 3)
	})
}
