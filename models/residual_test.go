// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
)

// lcg is the generator of testdata/residual.py: draws are in [-1, 1).
type lcg uint32

func (g *lcg) next() float64 {
	*g = 1664525**g + 1013904223
	return float64(*g>>24)/128 - 1
}

// TestResidualReference compares residual nets with PyTorch on one batch: the loss, the
// gradient of every parameter, the running statistics of every batch normalisation after
// the run, and the logits in evaluation. Both are in float64, where the rounding of 20 layers
// stays far below 1e-10.
func TestResidualReference(t *testing.T) {
	const tolerance = 1e-10
	var reference struct {
		Nets map[string]struct {
			Parameters int
			Loss       float64
			Gradients  []struct {
				Name          string
				Norm, Product float64
			}
			Running map[string]struct{ Mean, Variance []float64 }
			Logits  []float64
		}
	}
	text, err := os.ReadFile("testdata/residual.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &reference))
	const batch, classes, side = 4, 10, 8
	o := models.Options{Shape: [3]int{3, side, side}, Classes: classes, Dtype: tensor.Float64}
	for name, build := range map[string]func() (*models.Model, error){
		"ResNet-20, option A": func() (*models.Model, error) { return models.ResNet(batch, 20, o) },
		"ResNet-14, option A, zeros around": func() (*models.Model, error) {
			o := o
			o.Zeros = models.ZerosAround
			return models.ResNet(batch, 14, o)
		},
		"ResNet-20, option B": func() (*models.Model, error) {
			o := o
			o.Projections = true
			return models.ConstantDepth(batch, 20, o)
		},
		"ResNet-14, pre-activation, option A": func() (*models.Model, error) {
			o := o
			o.PreActivation = true
			return models.ResNet(batch, 14, o)
		},
		"WRN-10-2": func() (*models.Model, error) { return models.WideResNet(batch, 10, 2, o) },
	} {
		t.Run(name, func(t *testing.T) {
			want, ok := reference.Nets[name]
			require.True(t, ok)
			m, err := build()
			require.NoError(t, err)
			assert.Equal(t, want.Parameters, m.Parameters())
			require.Len(t, m.Learnables, len(want.Gradients))
			learnable := map[string]*gorgonia.Node{}
			for _, n := range m.Learnables {
				learnable[n.Name()] = n
			}

			g := lcg(1)
			for _, p := range want.Gradients {
				n := learnable[p.Name]
				require.NotNil(t, n, p.Name)
				w, s := n.Value().Data().([]float64), n.Shape()
				factor, shift := 0.25, 0.0
				switch {
				case len(s) == 2 && s[0] > 1:
					factor = math.Sqrt(3 / float64(s[0]))
				case len(s) == 4 && s[0] > 1:
					factor = math.Sqrt(6 / float64(s[1]*s[2]*s[3]))
				case p.Name[len(p.Name)-6:] == "weight":
					shift = 1
				}
				for i := range w {
					w[i] = factor*g.next() + shift
				}
			}
			images, labels := make([]float32, batch*3*side*side), make([]int, batch)
			for i := range images {
				images[i] = float32(g.next())
			}
			for i := range labels {
				labels[i] = i * 3 % classes
			}

			vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
			defer vm.Close()
			require.NoError(t, m.SetBatch(images, labels))
			require.NoError(t, vm.RunAll())
			assert.InEpsilon(t, want.Loss, m.Loss(), tolerance)
			most := 0.0
			for _, p := range want.Gradients {
				d, err := learnable[p.Name].Grad()
				require.NoError(t, err)
				norm, product, draws := 0.0, 0.0, 0.0
				for _, v := range d.Data().([]float64) {
					r := g.next()
					norm, product, draws = norm+v*v, product+v*r, draws+r*r
				}
				difference := math.Abs(product-p.Product) / (p.Norm * math.Sqrt(draws))
				assert.LessOrEqual(t, difference, tolerance, p.Name)
				assert.InEpsilon(t, p.Norm, math.Sqrt(norm), tolerance, p.Name)
				most = max(most, difference)
			}
			require.Len(t, m.Buffers, len(want.Running))
			for _, b := range m.Buffers {
				r, ok := want.Running[b.Name]
				require.True(t, ok, b.Name)
				assert.InDeltaSlice(t, r.Mean, b.Statistics.Mean, tolerance, b.Name)
				assert.InDeltaSlice(t, r.Variance, b.Statistics.Variance, tolerance, b.Name)
			}
			p, err := m.Predictor()
			require.NoError(t, err)
			defer p.Close()
			logits, err := p.Logits(images)
			require.NoError(t, err)
			assert.InDeltaSlice(t, want.Logits, logits, tolerance)
			t.Logf("gradients differ by at most %.1e", most)
		})
	}
}
