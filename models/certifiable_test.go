// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

func certifiable(t *testing.T, change func(*models.Options)) *models.Model {
	t.Helper()
	o := models.Options{Shape: [3]int{2, 8, 12}, Classes: 3, Seed: 4, Widths: []int{4, 6}, Dtype: tensor.Float64}
	change(&o)
	m, err := models.Certifiable(3, o)
	require.NoError(t, err)
	return m
}

// A net learns, all of its learnables move, and what it computes before the last layer is 1-Lipschitz after that.
// Released, it has plain kernels and the same logits.
func TestCertifiable(t *testing.T) {
	m := certifiable(t, func(*models.Options) {})
	before := map[string]any{}
	for _, l := range m.Learnables {
		before[l.Name()] = l.Value().(*tensor.Dense).Clone().(*tensor.Dense).Data()
	}
	assert.Contains(t, before, "stage1.conv.weight")
	assert.Contains(t, before, "stage1.block.projectors")
	assert.NotContains(t, before, "stage2.conv.projectors", "2x2 with a stride of 2")
	solver := solvers.NewAdam(solvers.LearnRate(0.01), solvers.Natural(), solvers.Param("fc.weight", manifolds.Sphere{}, manifolds.FilterNorm(4)))
	x, y := batch(m.Spec(), 1)
	require.NoError(t, m.SetBatch(x, y))
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	var losses []float64
	for range 30 {
		require.NoError(t, nodes.Cause(vm.RunAll()))
		losses = append(losses, m.Loss())
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(m.Learnables)))
		vm.Reset()
	}
	assert.Less(t, losses[29], 0.5*losses[0])
	for _, l := range m.Learnables {
		assert.NotEqual(t, before[l.Name()], l.Value().Data(), l.Name())
	}

	rng := rand.New(rand.NewPCG(1, 2))
	a := noise(rng, 5*2*8*12)
	b := make([]float32, len(a))
	for i, v := range a {
		b[i] = v + float32(0.1*rng.NormFloat64())
	}
	za, zb := logits(t, m.Net, a), logits(t, m.Net, b)
	for i := range 5 {
		distance, change := 0.0, 0.0
		for k := i * 192; k < (i+1)*192; k++ {
			distance += math.Pow(float64(a[k])-float64(b[k]), 2)
		}
		for k := i * 3; k < (i+1)*3; k++ {
			change += math.Pow(za[k]-zb[k], 2)
		}
		assert.LessOrEqual(t, math.Sqrt(change), 4*math.Sqrt(3)*math.Sqrt(distance), "the norm of fc.weight")
	}

	released, err := models.Release(m)
	require.NoError(t, err)
	plain := map[string]tensor.Shape{}
	for _, l := range released.Learnables {
		plain[l.Name()] = l.Shape()
	}
	assert.Equal(t, tensor.Shape{4, 2, 3, 3}, plain["stage1.conv.weight"])
	assert.Equal(t, tensor.Shape{6, 4, 2, 2}, plain["stage2.conv.weight"])
	assert.NotContains(t, plain, "stage1.conv.projectors")
	assert.InDeltaSlice(t, za, logits(t, released, a), 1e-12)
}

// In all variants every layer but the last has a bound of 1, at the start and after training with free weights and a margin; certificates
// hold, and the released net, of plain kernels, has the same bounds and the same radii.
func TestVariantsAreCertified(t *testing.T) {
	for _, variant := range []models.Variant{models.OrthogonalVariant, models.AOLVariant, models.SLLVariant, models.CPLVariant} {
		t.Run(string(variant), func(t *testing.T) {
			m := certifiable(t, func(o *models.Options) {
				o.Variant, o.Margin, o.Temperature = variant, 0.5, 0.5
				o.Dtype = tensor.Float32
			})
			options := []solvers.Option{solvers.LearnRate(0.01), solvers.Param("fc.weight", manifolds.Sphere{}, manifolds.FilterNorm(1))}
			if variant == models.OrthogonalVariant {
				options = append(options, solvers.Natural())
			}
			solver := solvers.NewAdam(options...)
			x, y := batch(m.Spec(), 1)
			require.NoError(t, m.SetBatch(x, y))
			vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
			defer vm.Close()
			var losses []float64
			for range 25 {
				require.NoError(t, nodes.Cause(vm.RunAll()))
				losses = append(losses, m.Loss())
				require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(m.Learnables)))
				vm.Reset()
			}
			assert.Less(t, losses[24], 0.7*losses[0])
			b, err := models.Lipschitz(m)
			require.NoError(t, err)
			for _, l := range b.Layers {
				if l.Name != "fc.weight" {
					assert.LessOrEqual(t, l.Total, 1+1e-4, "%s", b)
				}
			}
			p, err := m.Predictor()
			require.NoError(t, err)
			defer p.Close()
			certificates, err := p.Certify(x)
			require.NoError(t, err)
			for i, c := range certificates {
				assert.Equal(t, y[i], c.Class)
				assert.Greater(t, c.Radius, 0.05)
			}
			released, err := models.Release(m)
			require.NoError(t, err)
			q, err := released.Predictor()
			require.NoError(t, err)
			defer q.Close()
			again, err := q.Certify(x)
			require.NoError(t, err)
			for i, c := range certificates {
				assert.InEpsilon(t, c.Radius, again[i].Radius, 1e-3)
			}
		})
	}
}

func TestCertifiableRefuses(t *testing.T) {
	for want, change := range map[string]func(*models.Options){
		`want a variant among ["orthogonal" "aol" "sll" "cpl"], got "free"`:   func(o *models.Options) { o.Variant = "free" },
		"want even widths, for MaxMin, got [4 5]":                             func(o *models.Options) { o.Widths = []int{4, 5} },
		"want images large enough for 4 halvings, got 8x12":                   func(o *models.Options) { o.Widths = []int{2, 2, 2, 2, 2} },
		"models: stage3: want images of an even size, got shape (3, 2, 3, 4)": func(o *models.Options) { o.Widths, o.Shape = []int{2, 2, 2}, [3]int{1, 6, 8} },
		"models: Certifiable has no option BatchNorm":                         normed,
	} {
		o := models.Options{Shape: [3]int{2, 8, 12}, Classes: 3, Widths: []int{4}}
		change(&o)
		_, err := models.Certifiable(3, o)
		assert.ErrorContains(t, err, want)
	}
	_, err := models.CNN(3, models.Options{Shape: [3]int{2, 8, 12}, Classes: 3, Variant: models.OrthogonalVariant})
	assert.ErrorContains(t, err, "models: CNN has no option Variant")
}

// Layers say what is wrong with their arguments.
func TestOrthogonalLayersRefuse(t *testing.T) {
	for want, layers := range map[string]models.Layers{
		"models: conv: nodes.OrthogonalConvFactors: want more than one channel in a group": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Orthogonal("conv", x, 4, 3, 1, nodes.Groups(4))
		},
		"models: conv: want groups that divide 4 channels and 6 filters, got 4": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Orthogonal("conv", x, 6, 3, 1, nodes.Groups(4))
		},
		"models: up: nodes.OrthogonalConvFactors: want a kernel as large as the strides": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.OrthogonalTranspose("up", x, 4, 1, 2)
		},
		"models: up: nodes.ConvTranspose2d: want output padding": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.ConvTranspose("up", x, 4, 3, 2, 1, nodes.OutputPadding(2, 2))
		},
		"models: up: want images of rank 4, got shape (3, 4)": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.ConvTranspose("up", b.Linear("fc", x, 4), 4, 3, 2, 1)
		},
	} {
		_, err := models.Build(models.Spec{Batch: 3, Shape: [3]int{4, 6, 6}, Classes: 3}, layers)
		assert.ErrorContains(t, err, want)
	}
}

// The first weights of a transposed convolution double the variance, which a ReLU halves.
func TestConvTransposeKeepsTheVariance(t *testing.T) {
	for _, stride := range []int{1, 2} {
		layers := func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			x = b.ConvTranspose("up", x, 32, 2, stride, 2-stride, nodes.Groups(2)) // without margins
			return b.Apply("flat", x, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Flatten(x) })
		}
		side := map[int]int{1: 7, 2: 16}[stride]
		m, err := models.Build(models.Spec{Batch: 4, Shape: [3]int{16, 8, 8}, Classes: 32 * side * side, Seed: 3}, layers)
		require.NoError(t, err)
		y := logits(t, m.Net, noise(rand.New(rand.NewPCG(1, 2)), 4*16*64))
		sum := 0.0
		for _, v := range y {
			sum += v * v
		}
		assert.InDelta(t, 2, sum/float64(len(y)), 0.2, "twice that of x, for a ReLU")
	}
}
