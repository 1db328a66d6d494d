// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
)

// batch returns seeded images and labels for a model.
func batch(s models.Spec, seed uint64) ([]float32, []int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, s.Batch*s.Shape[0]*s.Shape[1]*s.Shape[2])
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	y := make([]int, s.Batch)
	for i := range y {
		y[i] = rng.IntN(s.Classes)
	}
	return x, y
}

func crossEntropy(logits []float64, labels []int) float64 {
	classes := len(logits) / len(labels)
	sum := 0.0
	for b, l := range labels {
		row := logits[b*classes : (b+1)*classes]
		z := 0.0
		for _, v := range row {
			z += math.Exp(v)
		}
		sum += math.Log(z) - row[l]
	}
	return sum / float64(len(labels))
}

// TestGradient compares every derivative with central differences of the cross-entropy of
// the logits, which is written out above and shares no op with the cost.
func TestGradient(t *testing.T) {
	for _, bn := range []bool{false, true} {
		m, err := models.CNN(3, models.Options{Shape: [3]int{2, 6, 5}, Classes: 4, Widths: []int{3, 2}, BatchNorm: bn, Dtype: tensor.Float64, Seed: 7})
		require.NoError(t, err)
		x, y := batch(m.Spec(), 1)
		var logits gorgonia.Value
		gorgonia.Read(m.Logits, &logits)
		vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
		defer vm.Close()
		require.NoError(t, m.SetBatch(x, y))
		loss := func() float64 {
			require.NoError(t, vm.RunAll())
			vm.Reset()
			return crossEntropy(logits.Data().([]float64), y)
		}
		assert.InDelta(t, loss(), m.Loss(), 1e-12)
		var gradients [][]float64
		for _, n := range m.Learnables {
			grad, err := n.Grad()
			require.NoError(t, err)
			gradients = append(gradients, append([]float64(nil), grad.Data().([]float64)...))
		}
		for k, n := range m.Learnables {
			w, g := n.Value().Data().([]float64), gradients[k]
			for i := range w {
				const h = 1e-6
				at := w[i]
				w[i] = at + h
				up := loss()
				w[i] = at - h
				down := loss()
				w[i] = at
				assert.InDelta(t, (up-down)/(2*h), g[i], 1e-7, "batch norm %v, %s[%d]", bn, n.Name(), i)
			}
		}
	}
}

func TestSeed(t *testing.T) {
	build := func(seed uint64, bn bool, dt tensor.Dtype) map[string][]float64 {
		m, err := models.CNN(2, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{4, 8}, BatchNorm: bn, Dtype: dt, Seed: seed})
		require.NoError(t, err)
		w := map[string][]float64{}
		for _, n := range m.Learnables {
			switch d := n.Value().Data().(type) {
			case []float32:
				for _, v := range d {
					w[n.Name()] = append(w[n.Name()], float64(v))
				}
			case []float64:
				w[n.Name()] = d
			}
		}
		require.Len(t, w, len(m.Learnables), "names are unique")
		return w
	}
	one := build(1, false, tensor.Float32)
	assert.Equal(t, one, build(1, false, tensor.Float32))
	assert.NotEqual(t, one["conv1.weight"], build(2, false, tensor.Float32)["conv1.weight"])
	assert.NotEqual(t, one["conv1.weight"][:9], one["conv2.weight"][:9])
	normed, double := build(1, true, tensor.Float32), build(1, false, tensor.Float64)
	for _, name := range []string{"conv1.weight", "conv2.weight", "fc.weight"} {
		assert.Equal(t, one[name], normed[name], "%s with batch norm", name)
		for i, v := range double[name] {
			assert.Equal(t, one[name][i], float64(float32(v)), "%s in float64", name)
		}
	}
}

// TestInitialVariance checks He's variance on a layer of 18432 weights, whose
// sample variance has a relative standard deviation of sqrt(2/18432) = 1 %.
func TestInitialVariance(t *testing.T) {
	m, err := models.CNN(1, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{32, 64}, Dtype: tensor.Float64, Seed: 3})
	require.NoError(t, err)
	for _, n := range m.Learnables {
		if n.Name() != "conv2.weight" {
			continue
		}
		sum, square := 0.0, 0.0
		w := n.Value().Data().([]float64)
		for _, v := range w {
			sum, square = sum+v, square+v*v
		}
		k := float64(len(w))
		assert.InDelta(t, 0, sum/k, 0.005)
		assert.InEpsilon(t, 2.0/(9*32), square/k, 0.04)
	}
}

func TestParameters(t *testing.T) {
	m, err := models.CNN(1, models.Options{Shape: [3]int{3, 32, 32}, Classes: 10})
	require.NoError(t, err)
	// 16*3*9+16, 32*16*9+32, 64*32*9+64, 64*4*4*10+10
	assert.Equal(t, 448+4640+18496+10250, m.Parameters())
	m, err = models.CNN(1, models.Options{Shape: [3]int{1, 9, 9}, Classes: 2, Widths: []int{5}, BatchNorm: true})
	require.NoError(t, err)
	// 5*9, 2*5, 5*4*4*2+2
	assert.Equal(t, 45+10+162, m.Parameters())
	var names []string
	for _, n := range m.Learnables {
		names = append(names, n.Name())
	}
	assert.Equal(t, []string{"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}, names)
}

func TestBadOptions(t *testing.T) {
	ok := models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2}}
	for want, change := range map[string]func(*models.Options) int{
		"batch of at least 1":           func(*models.Options) int { return 0 },
		"at least 2 classes":            func(o *models.Options) int { o.Classes = 1; return 1 },
		"positive number":               func(o *models.Options) int { o.Shape[0] = 0; return 1 },
		"CNN: want images large enough": func(o *models.Options) int { o.Widths = []int{1, 1, 1, 1}; return 1 },
		"CNN: want positive widths":     func(o *models.Options) int { o.Widths = []int{0}; return 1 },
		"want float32 or float64":       func(o *models.Options) int { o.Dtype = tensor.Int; return 1 },
	} {
		o := ok
		b := change(&o)
		_, err := models.CNN(b, o)
		assert.ErrorContains(t, err, want)
	}
	m, err := models.CNN(2, ok)
	require.NoError(t, err)
	x, _ := batch(m.Spec(), 1)
	assert.ErrorContains(t, m.SetBatch(x, []int{0}), "want 2 labels, got 1")
	assert.ErrorContains(t, m.SetBatch(x, []int{0, 3}), "label 1 of the batch: want 0..2, got 3")
	assert.ErrorContains(t, m.SetBatch(x[1:], []int{0, 1}), "want 128 numbers")
	assert.True(t, math.IsNaN(m.Loss()), "no run yet")
}

// TestLargeLogits checks that the cost survives logits that overflow exp.
func TestLargeLogits(t *testing.T) {
	m, err := models.CNN(2, models.Options{Shape: [3]int{1, 4, 4}, Classes: 3, Widths: []int{2}})
	require.NoError(t, err)
	x, y := batch(m.Spec(), 1)
	for _, n := range m.Learnables {
		if n.Name() == "fc.bias" {
			copy(n.Value().Data().([]float32), []float32{1000, -1000, 0})
		}
	}
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	require.NoError(t, m.SetBatch(x, []int{1, 1}))
	_ = y
	require.NoError(t, vm.RunAll())
	assert.InDelta(t, 2000, m.Loss(), 10)
}

// Models may be built side by side.
func TestBuildSideBySide(t *testing.T) {
	var group sync.WaitGroup
	for seed := range uint64(4) {
		group.Go(func() {
			_, err := models.LeNet(2, models.Options{Shape: [3]int{1, 28, 28}, Classes: 3, Seed: seed})
			assert.NoError(t, err)
		})
	}
	group.Wait()
}
