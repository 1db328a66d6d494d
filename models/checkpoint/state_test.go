// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// stateOfAll is a state of a weight, a power iteration and a stock batch normalisation.
func stateOfAll(t *testing.T, u, v []float64) models.State {
	t.Helper()
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(2, 3, 4, 4))
	w := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("norm.weight"), gorgonia.WithShape(1, 3, 1, 1), gorgonia.WithInit(gorgonia.Ones()))
	_, _, _, norm, err := gorgonia.BatchNorm(x, w, nil, 0.1, 1e-5)
	require.NoError(t, err)
	p := nodes.NewPowerIteration(7)
	if u != nil {
		require.NoError(t, p.SetVectors(u, v))
	}
	return models.State{Learnables: gorgonia.Nodes{w}, Buffers: []models.Buffer{{Name: "kernel", Iteration: p}, {Name: "norm", BatchNorm: norm}}}
}

func vectors(s models.State) [][]float64 {
	u, v := s.Buffers[0].Iteration.Vectors()
	r := s.Buffers[1].Running()
	return [][]float64{u, v, r.Mean, r.Variance}
}

// Power iterations and the running statistics of stock batch normalisations are kept to the bit. What
// does not match is refused, and memory is as before.
func TestPowerIterationsAndStockStatistics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.safetensors")
	saved := stateOfAll(t, []float64{1, 2}, []float64{3, 4, math.Pi})
	require.NoError(t, saved.Buffers[1].SetRunning(&nodes.Statistics{Mean: []float64{1, 2, 3}, Variance: []float64{0.1, 0.2, 0.3}}))
	require.NoError(t, Save(path, saved, nil, nil))
	fresh := stateOfAll(t, nil, nil)
	require.NoError(t, Load(path, fresh, nil, nil))
	assert.Equal(t, vectors(saved), vectors(fresh))

	refuses := func(s models.State, want string) {
		t.Helper()
		before := vectors(s)
		err := Load(path, s, nil, nil)
		assert.ErrorIs(t, err, ErrMismatch)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, before, vectors(s))
	}
	refuses(stateOfAll(t, []float64{1}, []float64{1}), "kernel: nodes.PowerIteration: want vectors of length 1 and 1, got 2 and 3")
	other := stateOfAll(t, nil, nil)
	other.Buffers[0].Name = "other"
	refuses(other, "kernel: want no power iteration, got one")
	without := saved
	without.Buffers = saved.Buffers[1:]
	require.NoError(t, Save(path, without, nil, nil))
	refuses(stateOfAll(t, []float64{1}, []float64{1}), "kernel: want a power iteration, got none")

	// A statistic that float32 has no number for is not one of float32.
	require.NoError(t, Save(path, models.State{
		Learnables: saved.Learnables,
		Buffers: []models.Buffer{saved.Buffers[0], {Name: "norm", Statistics: &nodes.Statistics{
			Mean: []float64{1e39, 0, 0}, Variance: []float64{1, 1, 1}, Momentum: 0.1,
		}}},
	}, nil, nil))
	refuses(stateOfAll(t, nil, nil), `tensor "model/norm.running_mean": want a finite number of at least`)
}
