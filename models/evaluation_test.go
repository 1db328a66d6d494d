// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// TestPredictorGraphs records for which numbers of images a predictor makes graphs: only for those
// that it needs, once, and of no more images than it is asked for.
func TestPredictorGraphs(t *testing.T) {
	var made []int
	net := func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		made = append(made, x.Shape()[0])
		assert.Equal(t, x.Shape()[0], b.Spec().Batch)
		return b.Linear("fc", x, 2)
	}
	for batch, want := range map[int][]struct{ images, graphs []int }{
		1: {{[]int{1, 2, 3}, []int{1}}},
		3: {{[]int{1, 2}, []int{1}}, {[]int{3, 7}, []int{3}}},
		// 22 = 16 + 4 + 1 + 1, 350 = 100 + 100 + 100 + 16 + 16 + 16 + 1 + 1
		100: {{[]int{1, 2, 3}, []int{1}}, {[]int{22}, []int{16, 4}}, {[]int{350, 99, 5}, []int{100}}},
	} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			m, err := models.Build(models.Spec{Batch: batch, Shape: [3]int{1, 2, 2}, Classes: 2, Seed: 1}, net)
			require.NoError(t, err)
			made = nil
			p, err := m.Predictor()
			require.NoError(t, err)
			defer p.Close()
			assert.Equal(t, batch, p.Net().Batch())
			for i, w := range want {
				if i > 0 {
					made = nil
				}
				for _, n := range w.images {
					x := make([]float32, 4*n)
					for i := range x {
						x[i] = float32(i % 9)
					}
					out, err := p.Logits(x)
					require.NoError(t, err)
					require.Len(t, out, 2*n)
					for i := 18; i < len(out); i++ { // the images repeat
						assert.Equal(t, out[i-18], out[i])
					}
				}
				assert.Equal(t, w.graphs, made)
			}
		})
	}
}

// TestPredictorOfOneBatch predicts with a net that can only be built for the model's batch.
func TestPredictorOfOneBatch(t *testing.T) {
	m, err := models.Build(models.Spec{Batch: 3, Shape: [3]int{1, 2, 2}, Classes: 2, Seed: 1}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.Apply("flat", x, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Reshape(x, tensor.Shape{3, 4}) })
		return b.Linear("fc", x, 2)
	})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	x := []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	all, err := p.Logits(x)
	require.NoError(t, err)
	all = append([]float64(nil), all...)
	require.Len(t, all, 8)
	for i := range 4 {
		one, err := p.Logits(x[4*i : 4*i+4])
		require.NoError(t, err)
		assert.Equal(t, all[2*i:2*i+2], one)
	}
}

// TestPredictorOneByOne predicts the same images in one call and one by one. Whichever graph computes
// an image, the bits of its logits are the same, and with Winograd's algorithm, which is used for many
// images only, they are the same but for rounding.
func TestPredictorOneByOne(t *testing.T) {
	for _, k := range []struct {
		of       tensor.Dtype
		winograd bool
	}{{tensor.Float32, false}, {tensor.Float32, true}, {tensor.Float64, true}} {
		of := k.of
		defer nodes.Winograd(nodes.Winograd(k.winograd))
		o := models.Options{Shape: [3]int{3, 16, 16}, Classes: 3, Dtype: of, Seed: 4}
		for name, build := range map[string]func() (*models.Model, error){
			"CNN":    func() (*models.Model, error) { return models.CNN(16, o) },
			"ResNet": func() (*models.Model, error) { return models.ResNet(16, 8, with(o, projected)) },
			"WideResNet": func() (*models.Model, error) {
				return models.WideResNet(16, 10, 4, with(o, func(o *models.Options) { o.Dropout = 0.3 }))
			},
		} {
			t.Run(fmt.Sprint(name, " ", of, " ", k.winograd), func(t *testing.T) {
				m, err := build()
				require.NoError(t, err)
				p, err := m.Predictor()
				require.NoError(t, err)
				defer p.Close()
				const images, size = 21, 3 * 16 * 16 // 16 + 4 + 1
				x := make([]float32, images*size)
				for i := range x {
					x[i] = float32(math.Sin(float64(i * i)))
				}
				all, err := p.Logits(x)
				require.NoError(t, err)
				all = append([]float64(nil), all...)
				for i := range images {
					one, err := p.Logits(x[i*size : (i+1)*size])
					require.NoError(t, err)
					if of == tensor.Float64 || !k.winograd {
						assert.Equal(t, all[3*i:3*i+3], one, "image %d", i)
					}
					assert.InDeltaSlice(t, all[3*i:3*i+3], one, 1e-5, "image %d", i)
				}
			})
		}
	}
}

// TestPredictorWithoutImages predicts with a net whose logits do not depend on the images.
func TestPredictorWithoutImages(t *testing.T) {
	m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 2, 2}, Classes: 2, Seed: 1}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Apply("w", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			w, err := b.Weight("w", func(uint64) gorgonia.InitWFn { return gorgonia.Ones() }, 2, 2)
			if err != nil {
				return nil, err
			}
			return gorgonia.Tanh(w)
		})
	})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	out, err := p.Logits(make([]float32, 3*4))
	require.NoError(t, err)
	require.Len(t, out, 6)
	for _, v := range out {
		assert.InDelta(t, math.Tanh(1), v, 1e-6)
	}
}

// TestPredictorReports puts one number that is not finite into each weight and each statistic in turn.
// Every graph of a predictor reports it.
func TestPredictorReports(t *testing.T) {
	m, err := models.ResNet(4, 8, models.Options{Shape: [3]int{3, 8, 8}, Classes: 3, Seed: 1})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	fails := func(message, name string) {
		for _, n := range []int{1, 4} {
			_, err := p.Logits(make([]float32, n*3*8*8))
			assert.ErrorContains(t, err, message, "%s, %d images", name, n)
		}
	}
	for _, n := range m.Learnables {
		w := n.Value().Data().([]float32)
		before := w[0]
		w[0] = float32(math.NaN())
		fails("want a finite number, got NaN", n.Name())
		w[0] = before
	}
	for _, b := range m.Buffers {
		before := b.Statistics.Mean[1]
		b.Statistics.Mean[1] = math.Inf(1)
		fails("models: predict: nodes.BatchNorm: channel 1: want a running mean and variance that are finite, got +Inf", b.Name)
		b.Statistics.Mean[1] = before
	}
	_, err = p.Logits(make([]float32, 3*8*8))
	assert.NoError(t, err)
}
