// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"math"
	"slices"
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

// codecs write states to bytes and read them.
var codecs = map[string]struct {
	write func(any) ([]byte, error)
	read  func([]byte, any) error
}{
	"JSON": {json.Marshal, json.Unmarshal},
	"gob": {func(v any) ([]byte, error) {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return b.Bytes(), err
	}, func(b []byte, v any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(v) }},
}

// A net whose weights and state were saved and loaded goes on to the bit as one
// that was not interrupted.
func TestStateIsSavedWithTheModel(t *testing.T) {
	for name := range codecs {
		t.Run(name, func(t *testing.T) { savedWithTheModel(t, name) })
	}
}

func savedWithTheModel(t *testing.T, codec string) {
	s := &netState{Power: nodes.NewPowerIteration(3), Statistics: statistics(t, 3), Noise: &nodes.Noise{Seed: 4}}
	step := statefulNet(t, s)
	for range 3 {
		step()
	}
	saved, err := codecs[codec].write(s)
	require.NoError(t, err)
	var want []float32
	for range 3 {
		want = append(want, step())
	}

	loaded := &netState{Power: nodes.NewPowerIteration(99)}
	require.NoError(t, codecs[codec].read(saved, loaded))
	again := statefulNet(t, loaded)
	var got []float32
	for range 3 {
		got = append(got, again())
	}
	assert.Equal(t, want, got)
	assert.Equal(t, s.Weights, loaded.Weights)
	assert.Equal(t, s.Statistics, loaded.Statistics)
	assert.Equal(t, s.Noise, loaded.Noise)
	assert.Equal(t, s.Power.Sigma(), loaded.Power.Sigma())
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
		`{"u": [1, 1], "v": [1, 0, 0]}`:              "want vectors of norm 1, got norms 1.414",
		`{"u": [1, 0], "v": [1, 0, 0], "sigma": -1}`: "want a singular value that is finite and not negative, got -1",
		`{"w": 1}`:                      `unknown field "w"`,
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

// Every bit of a state goes through its binary form, and what is not such a form is refused without a
// change: other kinds, lengths that are not there, cuts at every byte and bytes after the end.
func TestStatesInBytes(t *testing.T) {
	type state interface {
		encoding.BinaryMarshaler
		encoding.BinaryUnmarshaler
	}
	of := func(s state) []byte {
		b, err := s.MarshalBinary()
		require.NoError(t, err)
		return b
	}
	p := nodes.NewPowerIteration(math.MaxUint64)
	require.NoError(t, p.SetVectors([]float64{3, math.Pi}, []float64{1, -2, 1e-300}))
	states := map[string][2]state{
		"Noise": {&nodes.Noise{Seed: math.MaxUint64, Run: 1 << 60}, &nodes.Noise{Seed: 1, Run: 2, First: 3}},
		"Statistics": {
			&nodes.Statistics{Mean: []float64{math.Copysign(0, -1), 1e-310}, Variance: []float64{0.1, math.MaxFloat64}, Momentum: 0.1, Batches: math.MaxUint64},
			&nodes.Statistics{Mean: []float64{1, 2}, Variance: []float64{3, 4}, Momentum: 0.5, Batches: 6},
		},
		"PowerIteration": {p, nodes.NewPowerIteration(5)},
	}
	for name, s := range states {
		b, before := of(s[0]), of(s[1])
		refuses := func(b []byte) {
			err := s[1].UnmarshalBinary(b)
			require.ErrorContains(t, err, "nodes."+name+": want ")
			require.Equal(t, before, of(s[1]))
		}
		for n := range b {
			refuses(b[:n])
		}
		refuses(append(slices.Clone(b), 0))
		for other, o := range states {
			if other != name {
				refuses(of(o[0]))
			}
		}
		if name != "Noise" {
			long := slices.Clone(b)
			copy(long[17:], bytes.Repeat([]byte{0xff}, 8)) // the length of the first list
			refuses(long)
		}
		require.NoError(t, s[1].UnmarshalBinary(b))
		assert.Equal(t, b, of(s[1]))
	}
	assert.Equal(t, 3, states["Noise"][1].(*nodes.Noise).First, "which is not saved")
}

func TestStatisticsRefuseWhatIsNoState(t *testing.T) {
	s := statistics(t, 2)
	s.Mean[1], s.Batches = 7, 3
	want := nodes.Statistics{Mean: slices.Clone(s.Mean), Variance: slices.Clone(s.Variance), Momentum: s.Momentum, Batches: 3}
	for text, message := range map[string]string{
		`null`: "nodes.Statistics: want Mean, Variance, Momentum and Batches, got less",
		`{"Mean": [1, 2], "Variance": [1, 2], "Batches": 3}`:                              "got less",
		`{"Mean": [1], "Variance": [1], "Momentum": 0.1, "Batches": 3}`:                   "want statistics of 2 channels, got 1 means and 1 variances",
		`{"Mean": [1, 2], "Variance": [1], "Momentum": 0.1, "Batches": 3}`:                "want statistics of 2 channels, got 2 means and 1 variances",
		`{"Mean": [1, 2], "Variance": [1, -1], "Momentum": 0.1, "Batches": 3}`:            "channel 1: want a running mean and variance that are finite, got 2 and -1",
		`{"Mean": [1, 2], "Variance": [1, 1], "Momentum": 2, "Batches": 3}`:               "want a momentum from 0 to 1, got 2",
		`{"Mean": [1, 2], "Variance": [1, 1], "Momentum": 0.1, "Batches": -3}`:            "cannot unmarshal number -3",
		`{"Mean": [1, 2], "Variance": [1, 1], "Momentum": 0.1, "Batches": 3, "Count": 1}`: `unknown field "Count"`,
	} {
		assert.ErrorContains(t, json.Unmarshal([]byte(text), s), message, text)
		assert.Equal(t, want, *s)
	}
	assert.ErrorContains(t, json.Unmarshal([]byte(`{"Mean": [], "Variance": [], "Momentum": 0, "Batches": 0}`), new(nodes.Statistics)), "want statistics of 1 channels, got 0")
	n := &nodes.Noise{Seed: 1, Run: 2}
	for _, text := range []string{`{"Seed": 3}`, `{"Run": 3}`, `{"Seed": 3, "Run": -1}`, `{"Seed": 3, "Run": 4, "First": 5}`, `{"Seed": 1e400, "Run": 1}`} {
		assert.ErrorContains(t, json.Unmarshal([]byte(text), n), "nodes.Noise: ", text)
		assert.Equal(t, &nodes.Noise{Seed: 1, Run: 2}, n)
	}
}

func FuzzStatesInBytes(f *testing.F) {
	p := nodes.NewPowerIteration(1)
	for _, s := range []encoding.BinaryMarshaler{&nodes.Noise{Seed: 4}, &nodes.Statistics{Mean: []float64{1}, Variance: []float64{2}}, p} {
		b, err := s.MarshalBinary()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []interface {
			encoding.BinaryMarshaler
			encoding.BinaryUnmarshaler
		}{new(nodes.Noise), new(nodes.Statistics), nodes.NewPowerIteration(0)} {
			if s.UnmarshalBinary(b) != nil {
				continue
			}
			again, err := s.MarshalBinary()
			require.NoError(t, err)
			assert.Equal(t, b, again)
		}
	})
}

// The state of a node is found.
func TestStateOf(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w := zeros(g, "x", tensor.Float32, 2, 3, 4, 4), zeros(g, "w", tensor.Float32, 3, 3, 3, 3)
	copy(w.Value().Data().([]float32), nodes.HeNormal(1, 8)(tensor.Float32, 3, 3, 3, 3).([]float32))
	noise, power := &nodes.Noise{}, nodes.NewPowerIteration(1)
	y, _, _, s, err := nodes.BatchNorm(x, nil, nil, 0.1, 1e-5)
	require.NoError(t, err)
	assert.Same(t, s, nodes.StateOf(y))
	assert.Same(t, noise, nodes.StateOf(gorgonia.Must(nodes.Dropout(x, 0.5, noise))))
	assert.Same(t, noise, nodes.StateOf(gorgonia.Must(nodes.StochasticDepth(x, x, 0.5, noise))))
	assert.Same(t, power, nodes.StateOf(gorgonia.Must(nodes.SpectralNorm(w, power, 1))))
	for _, n := range []*gorgonia.Node{x, gorgonia.Must(gorgonia.Tanh(x)), gorgonia.Must(nodes.Rectify(x))} {
		assert.Nil(t, nodes.StateOf(n))
	}
}
