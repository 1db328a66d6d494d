// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// netState is all that a net of these nodes has beside its graph: what is saved
// with a model.
type netState struct {
	Weights    [][]float32
	Power      *nodes.PowerIteration
	Statistics *nodes.Statistics
	Noise      *nodes.Noise
}

// statefulNet is a spectrally normalised convolution, batch normalisation and dropout
// on the state.
func statefulNet(t *testing.T, s *netState) (step func() float32) {
	t.Helper()
	g := gorgonia.NewGraph()
	leaf := func(name string, shape ...int) *gorgonia.Node { return zeros(g, name, tensor.Float32, shape...) }
	x, w, scale, bias := leaf("x", 4, 2, 5, 5), leaf("w", 3, 2, 3, 3), leaf("scale", 1, 3, 1, 1), leaf("bias", 1, 3, 1, 1)
	learnt := gorgonia.Nodes{w, scale, bias}
	copy(x.Value().Data().([]float32), nodes.HeNormal(1, 9)(tensor.Float32, 4, 2, 5, 5).([]float32))
	if s.Weights == nil {
		s.Weights = [][]float32{nodes.HeNormal(1, 8)(tensor.Float32, 3, 2, 3, 3).([]float32), {1, 2, 3}, {0, 1, 0}}
	}
	for i, n := range learnt {
		copy(n.Value().Data().([]float32), s.Weights[i])
		s.Weights[i] = n.Value().Data().([]float32)
	}
	w = gorgonia.Must(nodes.SpectralNorm(w, s.Power, 1))
	y := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	y = gorgonia.Must(nodes.BatchNormWith(y, scale, bias, s.Statistics, 1e-5))
	y = gorgonia.Must(nodes.Dropout(y, 0.3, s.Noise))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y))))
	var loss gorgonia.Value
	gorgonia.Read(cost, &loss)
	_, err := gorgonia.Grad(cost, learnt...)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(learnt...))
	t.Cleanup(func() { vm.Close() })
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.05))
	return func() float32 {
		require.NoError(t, vm.RunAll())
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(learnt)))
		vm.Reset()
		return loss.Data().(float32)
	}
}

// A net whose weights and state were saved and loaded goes on to the bit as one
// that was not interrupted.
func TestStateIsSavedWithTheModel(t *testing.T) {
	s := &netState{Power: nodes.NewPowerIteration(3), Statistics: statistics(t, 3), Noise: &nodes.Noise{Seed: 4}}
	step := statefulNet(t, s)
	for range 3 {
		step()
	}
	saved, err := json.Marshal(s)
	require.NoError(t, err)
	var want []float32
	for range 3 {
		want = append(want, step())
	}

	loaded := &netState{Power: nodes.NewPowerIteration(99)}
	require.NoError(t, json.Unmarshal(saved, loaded))
	again := statefulNet(t, loaded)
	var got []float32
	for range 3 {
		got = append(got, again())
	}
	assert.Equal(t, want, got)
	assert.Equal(t, s.Weights, loaded.Weights)
	assert.Equal(t, s.Statistics, loaded.Statistics)
	u, v := s.Power.Vectors()
	lu, lv := loaded.Power.Vectors()
	assert.Equal(t, u, lu)
	assert.Equal(t, v, lv)
}

func TestPowerIterationRefusesWhatIsNoState(t *testing.T) {
	p := nodes.NewPowerIteration(1)
	require.NoError(t, p.SetVectors([]float64{1, 0}, []float64{0, 1, 0}))
	u, v := p.Vectors()
	for text, want := range map[string]string{
		`{"u": "x"}`:                    "nodes.PowerIteration: json",
		`{"u": [0, 0], "v": [1, 0, 0]}`: "want vectors with a direction",
		`{"u": [1, 0], "v": [1]}`:       "want vectors of length 2 and 3, got 2 and 1",
		`{"u": [1, 0]}`:                 "want vectors of length 2 and 3, got 2 and 0",
	} {
		assert.ErrorContains(t, json.Unmarshal([]byte(text), p), want, text)
		gu, gv := p.Vectors()
		assert.Equal(t, u, gu)
		assert.Equal(t, v, gv)
	}
}
