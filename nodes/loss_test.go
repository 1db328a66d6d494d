// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func crossEntropyBuild(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return nodes.CrossEntropy(in[0], in[1])
}

// oneHot is a target of row i at label 2i modulo the classes.
func oneHot(batch, classes int) []float64 {
	t := make([]float64, batch*classes)
	for i := range batch {
		t[i*classes+2*i%classes] = 1
	}
	return t
}

func TestCrossEntropy(t *testing.T) {
	for _, shape := range [][]int{{4, 10}, {1, 3}, {5, 1}, {1, 1}, {3, 2}} {
		batch, classes := shape[0], shape[1]
		reference := func(in [][]float64) []float64 {
			loss := 0.0
			for b := range batch {
				z, t := in[0][b*classes:(b+1)*classes], in[1][b*classes:(b+1)*classes]
				sum := 0.0
				for _, v := range z {
					sum += math.Exp(v)
				}
				for k, v := range z {
					loss -= t[k] * math.Log(math.Exp(v)/sum)
				}
			}
			return []float64{loss / float64(batch)}
		}
		for name, targets := range map[string][]float64{"labels": oneHot(batch, classes), "weights": ramp(batch * classes)} {
			t.Run(fmt.Sprint(shape, name), func(t *testing.T) {
				nodetest.Run(t, nodetest.Case{
					Build:  crossEntropyBuild,
					Inputs: []nodetest.Input{{Shape: shape}, {Shape: shape, Data: targets, Constant: true}},
					Value:  reference,
				})
			})
		}
	}
}

// entropy runs a cross-entropy and returns it with its gradient in the logits.
func entropy[T float32 | float64](t *testing.T, of tensor.Dtype, logits, targets []T) (T, []T) {
	t.Helper()
	g := gorgonia.NewGraph()
	z, target := zeros(g, "z", of, 1, len(logits)), zeros(g, "t", of, 1, len(logits))
	copy(z.Value().Data().([]T), logits)
	copy(target.Value().Data().([]T), targets)
	cost, err := nodes.CrossEntropy(z, target)
	require.NoError(t, err)
	d, err := gorgonia.Grad(cost, z)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	return cost.Value().Data().(T), d[0].Value().Data().([]T)
}

// Logits far apart neither overflow nor lose the loss of a class that has no
// probability left.
func TestCrossEntropyIsSafe(t *testing.T) {
	l32, d32 := entropy(t, tensor.Float32, []float32{3e38, -3e38, 0}, []float32{1, 0, 0})
	assert.Equal(t, float32(0), l32)
	assert.Equal(t, []float32{0, 0, 0}, d32)

	l64, d64 := entropy(t, tensor.Float64, []float64{1e4, -1e4, 0}, []float64{0, 1, 0})
	assert.Equal(t, 2e4, l64)
	assert.Equal(t, []float64{1, -1, 0}, d64)

	// A class that is ruled out.
	inf := math.Inf(1)
	l64, d64 = entropy(t, tensor.Float64, []float64{0, -inf, 0}, []float64{1, 0, 0})
	assert.InDelta(t, math.Log(2), l64, 1e-15)
	assert.Equal(t, []float64{-0.5, 0, 0.5}, d64)
	// And one that is ruled out and right.
	l64, _ = entropy(t, tensor.Float64, []float64{0, -inf, 0}, []float64{0, 1, 0})
	assert.Equal(t, inf, l64)

	for _, bad := range []float64{math.NaN(), inf} {
		for i := range 3 {
			z := []float64{1, 2, 3}
			z[i] = bad
			l64, d64 = entropy(t, tensor.Float64, z, []float64{1, 0, 0})
			assert.True(t, math.IsNaN(l64), "%v", z)
			assert.True(t, math.IsNaN(d64[0]), "%v", z)
		}
	}
}

func TestCrossEntropyRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	z := zeros(g, "z", tensor.Float64, 2, 3)
	rejects(t, crossEntropyBuild, "want targets of the shape of the logits, (2, 3), got (3, 2)", z, zeros(g, "a", tensor.Float64, 3, 2))
	rejects(t, crossEntropyBuild, "want rank 2, got shape (2)", z, zeros(g, "b", tensor.Float64, 2))
	rejects(t, crossEntropyBuild, "want inputs of one precision, got float64 and float32", z, zeros(g, "c", tensor.Float32, 2, 3))
	rejects(t, crossEntropyBuild, "want inputs of one graph", z, zeros(gorgonia.NewGraph(), "d", tensor.Float64, 2, 3))
	rejects(t, crossEntropyBuild, "want a node, got nil", z, nil)
}
