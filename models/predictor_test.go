// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// TestPredictor trains each net a little and then predicts. The logits of an image do not depend on
// the other images, and are those of the current weights and statistics.
func TestPredictor(t *testing.T) {
	o := models.Options{Shape: [3]int{2, 32, 32}, Classes: 3, Dtype: tensor.Float64, Seed: 4}
	for name, build := range every(o) {
		t.Run(name, func(t *testing.T) {
			m, err := build()
			require.NoError(t, err)
			p, err := m.Predictor() // before the training, which it is to see
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, m.Spec().Batch, p.Net().Batch())
			x, y := batch(m.Spec(), 1)
			size := len(x) / len(y)
			first, err := p.Logits(x)
			require.NoError(t, err)
			first = append([]float64(nil), first...)

			vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
			defer vm.Close()
			require.NoError(t, m.SetBatch(x, y))
			s := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.001))
			for range 2 {
				require.NoError(t, vm.RunAll())
				require.NoError(t, s.Step(gorgonia.NodesToValueGrads(m.Learnables)))
				vm.Reset()
			}
			more := append(append([]float32(nil), x...), x[:2*size]...) // 5 images in batches of 3
			all, err := p.Logits(more)
			require.NoError(t, err)
			all = append([]float64(nil), all...)
			require.Len(t, all, 5*3)
			assert.NotEqual(t, first, all[:9])
			classes, err := p.Classify(more)
			require.NoError(t, err)
			require.Len(t, classes, 5)
			for i := range 5 {
				one, err := p.Logits(more[i*size : (i+1)*size])
				require.NoError(t, err)
				require.Len(t, one, 3)
				// Products of other shapes add in another order.
				assert.InDeltaSlice(t, all[i*3:(i+1)*3], one, 1e-9*(1+math.Abs(one[0])))
				for _, v := range all[i*3 : (i+1)*3] {
					assert.LessOrEqual(t, v, all[i*3+classes[i]])
				}
			}

			for _, b := range m.Buffers {
				if b.Statistics != nil {
					assert.EqualValues(t, 2, b.Statistics.Batches, "%s: prediction leaves it", b.Name)
				} else {
					assert.EqualValues(t, 2, b.Noise.Run, "%s: prediction leaves it", b.Name)
				}
			}
			// The statistics count, and so does a value that Let puts in place of a weight's.
			for _, b := range m.Buffers {
				if b.Statistics != nil {
					b.Statistics.Mean[0]++
				}
			}
			changed, err := p.Logits(more)
			require.NoError(t, err)
			if b := m.Buffers; len(b) > 0 && b[0].Statistics != nil {
				assert.NotEqual(t, all, append([]float64(nil), changed...))
			}
			for _, n := range m.Learnables[len(m.Learnables)-2:] { // the last layer
				require.NoError(t, gorgonia.Let(n, tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(n.Shape()...))))
			}
			nothing, err := p.Logits(more)
			require.NoError(t, err)
			assert.Equal(t, make([]float64, 15), nothing)
		})
	}
}

func TestPredictorErrors(t *testing.T) {
	build := func(o models.Options) (*models.Model, *models.Predictor) {
		m, err := models.CNN(2, o)
		require.NoError(t, err)
		p, err := m.Predictor()
		require.NoError(t, err)
		return m, p
	}
	o := models.Options{Shape: [3]int{1, 4, 4}, Classes: 3, Widths: []int{2}}
	m, p := build(o)
	for _, n := range []int{0, 15, 33} {
		_, err := p.Logits(make([]float32, n))
		assert.ErrorContains(t, err, "models: want images of [1 4 4], 16 numbers each, got ")
		_, err = p.Classify(make([]float32, n))
		assert.ErrorContains(t, err, "16 numbers each")
	}
	bias := m.Learnables[len(m.Learnables)-1].Value().Data().([]float32)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		bias[1] = float32(bad)
		_, err := p.Logits(make([]float32, 48))
		assert.ErrorIs(t, err, nodes.ErrNotFinite)
		assert.ErrorContains(t, err, "models: logit of class 1 of image 0: want a finite number, got ")
	}
	bias[1] = 0
	image := make([]float32, 48)
	image[32] = float32(math.NaN())
	_, err := p.Logits(image)
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	assert.ErrorContains(t, err, "models: predict: nodes.MaxPool2D")
	_, err = p.Logits(make([]float32, 48))
	assert.NoError(t, err, "it can be used again")
	assert.NoError(t, p.Close())
	assert.NoError(t, p.Close())
	_, err = p.Logits(make([]float32, 48))
	assert.EqualError(t, err, "models: want an open predictor, got a closed one")
}
