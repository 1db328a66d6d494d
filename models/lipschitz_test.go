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

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// The ratio of distances between logits and images is at most the bound, for nets of all kinds.
func TestLipschitz(t *testing.T) {
	o := models.Options{Shape: [3]int{2, 8, 8}, Classes: 3, Seed: 4}
	nets := map[string]func() (*models.Model, error){
		"CNN": func() (*models.Model, error) {
			return models.CNN(3, with(o, func(o *models.Options) { o.Widths = []int{3, 4} }))
		},
		"CNN, normalised": func() (*models.Model, error) {
			return models.CNN(3, with(with(o, normed), func(o *models.Options) { o.Widths = []int{3, 4} }))
		},
		"ResNet": func() (*models.Model, error) { return models.ResNet(3, 8, o) },
		"ResNet, float64": func() (*models.Model, error) {
			return models.ResNet(3, 8, with(o, func(o *models.Options) { o.Dtype = tensor.Float64 }))
		},
		"pre-activation":   func() (*models.Model, error) { return models.ResNet(3, 8, with(with(o, preActivated), projected)) },
		"stochastic depth": func() (*models.Model, error) { return models.StochasticDepth(3, 8, o) },
	}
	for name, make := range nets {
		t.Run(name, func(t *testing.T) {
			m, err := make()
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(1, 2))
			unsettle(m.Net, rng)
			b, err := models.Lipschitz(m, nodes.Slack(0.2))
			require.NoError(t, err)
			x, d := noise(rng, 128), noise(rng, 128)
			for _, size := range []float32{1e-2, 1, 100} {
				y, moved := append([]float32{}, x...), 0.0
				for i := range y {
					y[i] += size * d[i]
					moved = math.Hypot(moved, float64(y[i]-x[i]))
				}
				z, apart := logits(t, m.Net, append(append([]float32{}, x...), y...)), 0.0
				for i := range 3 {
					apart = math.Hypot(apart, z[i]-z[3+i])
				}
				assert.LessOrEqual(t, apart, b.Bound*moved*1.001)
			}
			last := b.Layers[len(b.Layers)-1]
			assert.Equal(t, b.Bound, last.Total)
			names := map[string]bool{}
			for _, l := range b.Layers {
				names[l.Name] = true
			}
			for _, l := range m.Learnables {
				if l.Dims() > 1 && l.Shape()[0] > 1 { // kernels
					assert.True(t, names[l.Name()], "%s in\n%s", l.Name(), b)
				}
			}
		})
	}
}

// smooth is a net for images of 8 x 8 whose certified radii are not tiny.
func smooth(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Apply("maxmin1", b.Bias("conv1", b.Conv("conv1", x, 4, 3, 1, 1)), nodes.MaxMin)
	x = b.Apply("maxmin2", b.BatchNorm("bn2", b.Conv("conv2", x, 4, 3, 2, 1)), nodes.MaxMin)
	return b.Linear("fc", b.MaxPool(x, 2), 4)
}

// attacker computes gradients of differences of logits in the images, for the weights of m.
type attacker struct {
	vm                   gorgonia.VM
	images, mask, result *gorgonia.Node
}

func newAttacker(t *testing.T, m *models.Model, n int) *attacker {
	t.Helper()
	s := m.Spec()
	s.Batch = n
	a, err := models.Build(s, smooth)
	require.NoError(t, err)
	for i, l := range a.Learnables {
		require.NoError(t, gorgonia.Let(l, m.Learnables[i].Value()))
	}
	for i, b := range a.Buffers {
		*b.Statistics = *m.Buffers[i].Statistics
	}
	wide, err := nodes.Widen(a.Logits) // a copy of the net alone, without gradients
	require.NoError(t, err)
	g := wide[0].Graph()
	x := g.ByName("input")[0]
	mask := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("mask"), gorgonia.WithShape(n, s.Classes))
	sum, err := gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(wide[0], mask)))
	require.NoError(t, err)
	d, err := gorgonia.Grad(sum, x)
	require.NoError(t, err)
	return &attacker{gorgonia.NewTapeMachine(g, gorgonia.EvalMode()), x, mask, d[0]}
}

// gradients returns those of z_i - z_to for each image.
func (a *attacker) gradients(t *testing.T, images []float32, from, to []int) []float32 {
	t.Helper()
	classes := a.mask.Shape()[1]
	mask := make([]float64, a.mask.Shape().TotalSize())
	for k := range from {
		mask[k*classes+from[k]]++
		mask[k*classes+to[k]]--
	}
	x := make([]float64, len(images))
	for i, v := range images {
		x[i] = float64(v)
	}
	require.NoError(t, gorgonia.Let(a.images, tensor.New(tensor.WithShape(a.images.Shape()...), tensor.WithBacking(x))))
	require.NoError(t, gorgonia.Let(a.mask, tensor.New(tensor.WithShape(a.mask.Shape()...), tensor.WithBacking(mask))))
	require.NoError(t, nodes.Cause(a.vm.RunAll()))
	defer a.vm.Reset()
	d := make([]float32, len(images))
	for i, v := range a.result.Value().Data().([]float64) {
		d[i] = float32(v)
	}
	return d
}

// No image within the radius of its certificate has another class: 1,000 images, ten random directions and ten steps of gradient descent on the
// margin for each. Far outside of the radius, some have.
func TestCertificatesHold(t *testing.T) {
	count := 1000
	if testing.Short() {
		count = 100
	}
	m, err := models.Build(models.Spec{Batch: 50, Shape: [3]int{1, 8, 8}, Classes: 4, Seed: 3}, smooth)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(4, 5))
	unsettle(m.Net, rng)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	images := noise(rng, count*64)
	certificates, err := p.Certify(images)
	require.NoError(t, err)
	classes, err := p.Classify(images)
	require.NoError(t, err)
	a := newAttacker(t, m, count)
	defer a.vm.Close()

	try := func(share float64, step func(moved []float32, classes []int) []float32) (changed int) {
		moved := append([]float32{}, images...)
		for range 10 {
			d := step(moved, classes)
			for k, c := range certificates { // from the image, as far as is allowed
				norm := 0.0
				for i := k * 64; i < (k+1)*64; i++ {
					norm = math.Hypot(norm, float64(d[i]))
				}
				for i := k * 64; i < (k+1)*64 && norm > 0; i++ {
					moved[i] = images[i] + float32(share*c.Radius/norm*float64(d[i]))
				}
			}
			after, err := p.Classify(moved)
			require.NoError(t, err)
			for k, c := range certificates {
				if c.Radius > 0 && after[k] != classes[k] {
					changed++
				}
			}
		}
		return changed
	}
	random := func([]float32, []int) []float32 { return noise(rng, count*64) }
	tries := 0
	descend := func(moved []float32, classes []int) []float32 {
		to := make([]int, count) // each of the other classes in turn
		for k, c := range classes {
			to[k] = (c + 1 + tries%3) % 4
		}
		tries++
		d := a.gradients(t, moved, classes, to)
		for i := range d {
			d[i] = -d[i]
		}
		return d
	}
	assert.Zero(t, try(0.9999, random))
	assert.Zero(t, try(0.9999, descend))
	assert.Greater(t, try(8, descend), count)
	for k, c := range certificates {
		require.Equal(t, classes[k], c.Class)
		require.Greater(t, c.Radius, 0.0)
	}

	// Certified accuracy falls from the accuracy to 0.
	labels := append([]int{}, classes...)
	for k := range count / 4 {
		labels[k] = (labels[k] + 1) % 4
	}
	shares, err := p.CertifiedAccuracy(images, labels, []float64{0, 0.05, 0.1, 100})
	require.NoError(t, err)
	assert.Equal(t, 0.75, shares[0])
	assert.Greater(t, shares[1], shares[2])
	assert.Greater(t, shares[2], 0.0)
	assert.Zero(t, shares[3])
}

// Certificates of a linear net are the distances to the planes between classes. They are the same in both precisions, and whatever the batch.
func TestCertificatesOfALinearNet(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for _, batch := range []int{1, 3, 64} {
			m, err := models.Build(models.Spec{Batch: batch, Shape: [3]int{1, 1, 2}, Classes: 3, Dtype: of},
				func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("fc", x, 3) })
			require.NoError(t, err)
			for i, v := range []float64{1, 0, 0, 0, 2, 0} {
				switch w := m.Learnables[0].Value().Data().(type) {
				case []float32:
					w[i] = float32(v)
				case []float64:
					w[i] = v
				}
			}
			p, err := m.Predictor()
			require.NoError(t, err)
			got, err := p.Certify([]float32{3, 1, -1, -1, 2, 1, -3, 4, 0, 0})
			require.NoError(t, err)
			want := []models.Certificate{{0, 1 / math.Sqrt(5)}, {2, 1}, {0, 0}, {1, 4}, {0, 0}} // z = (x, 2y, 0)
			for i, c := range want {
				assert.Equal(t, c.Class, got[i].Class, i)
				assert.InDelta(t, c.Radius, got[i].Radius, 1e-12, i)
				assert.LessOrEqual(t, got[i].Radius, c.Radius, i)
			}
			require.NoError(t, p.Close())
			_, err = p.Certify([]float32{3, 1})
			assert.ErrorContains(t, err, "want an open predictor, got a closed one")
		}
	}
}

func TestCertifyRefuses(t *testing.T) {
	build := func(layers models.Layers) *models.Predictor {
		m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 2, 2}, Classes: 2}, layers)
		require.NoError(t, err)
		p, err := m.Predictor()
		require.NoError(t, err)
		t.Cleanup(func() { p.Close() })
		return p
	}
	soft := build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Apply("softmax", b.Linear("fc", x, 2), func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.SoftMax(x) })
	})
	_, err := soft.Certify(make([]float32, 4))
	assert.ErrorIs(t, err, nodes.ErrNoBound)
	assert.ErrorContains(t, err, "Softmax")
	_, err = models.Lipschitz(soft.Net())
	assert.ErrorIs(t, err, nodes.ErrNoBound)

	p := build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("fc", x, 2) })
	_, err = p.Certify(make([]float32, 5))
	assert.EqualError(t, err, "models: want images of [1 2 2], 4 numbers each, got 5 numbers")
	_, err = p.CertifiedAccuracy(make([]float32, 8), []int{1}, nil)
	assert.EqualError(t, err, "models: want 2 labels, got 1")
	_, err = p.CertifiedAccuracy(make([]float32, 8), []int{1, 0}, []float64{1, -1})
	assert.EqualError(t, err, "models: radius 1: want a number of at least 0, got -1")
	_, err = p.Certify([]float32{1, 2, float32(math.Inf(1)), 4})
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	p.Net().Learnables[0].Value().Data().([]float32)[0] = float32(math.NaN())
	_, err = p.Certify(make([]float32, 4))
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	assert.ErrorContains(t, err, "fc.weight: element 0")
	_, err = models.Lipschitz(&models.Net{})
	assert.ErrorContains(t, err, "want a net made by New")
}
