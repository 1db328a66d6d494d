// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// residualNet is a small residual net and its cost: of the inputs, 0 and 1 are images
// (B, 2, H, W) and labels (B, 3), the rest weights.
func residualNet(in []*gorgonia.Node, s [2]*nodes.Statistics, noise *nodes.Noise) (logits, cost *gorgonia.Node, err error) {
	x, labels, w := in[0], in[1], in[2:]
	must := func(n *gorgonia.Node, e error) *gorgonia.Node {
		if e != nil {
			panic(e)
		}
		return n
	}
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	conv := func(x, k *gorgonia.Node, stride int) *gorgonia.Node {
		return must(gorgonia.Conv2d(x, k, tensor.Shape{3, 3}, []int{1, 1}, []int{stride, stride}, []int{1, 1}))
	}
	x = conv(x, w[0], 1)
	x = must(gorgonia.Rectify(must(nodes.BatchNormWith(x, w[1], w[2], s[0], 1e-2))))
	block := must(nodes.BatchNormWith(conv(x, w[3], 2), w[4], w[5], s[1], 1e-2))
	x = must(gorgonia.Rectify(must(gorgonia.Add(block, must(nodes.Shortcut(x, 6, 2))))))
	x = must(nodes.AveragePool2D(must(nodes.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{1, 1})), tensor.Shape{2, 1}, []int{1, 0}, []int{1, 1}))
	x = must(nodes.GroupNorm(x, w[6], w[7], 3, 6, 1e-2))
	x = must(nodes.GlobalAveragePool2D(x))
	x = must(gorgonia.Reshape(x, tensor.Shape{x.Shape()[0], 6}))
	logits = must(gorgonia.Mul(must(nodes.Dropout(x, 0.25, noise)), w[8]))
	return logits, must(nodes.CrossEntropy(logits, labels)), nil
}

var residualShapes = [][]int{
	{4, 2, 6, 5}, {4, 3}, {4, 2, 3, 3}, {1, 4, 1, 1}, {1, 4, 1, 1}, {6, 4, 3, 3}, {1, 6, 1, 1}, {1, 6, 1, 1}, {1, 6, 1, 1}, {1, 6, 1, 1}, {6, 3},
}

// A net of these nodes has the right gradient in every weight and in the images, in
// training and in evaluation.
func TestNet(t *testing.T) {
	for _, eval := range []bool{false, true} {
		c := nodetest.Case{
			Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
				_, cost, err := residualNet(in, [2]*nodes.Statistics{statistics(t, 4), statistics(t, 6)}, &nodes.Noise{Seed: 3})
				return cost, err
			},
			Eval:      eval,
			Varies:    !eval,
			Condition: 10,
			// The stock convolution leaves these out of its hash.
			Unhashed: []string{"unpaddedB", "unpaddedC", "unpaddedH", "unpaddedW", "dilationH", "dilationW"},
		}
		for i, shape := range residualShapes {
			in := nodetest.Input{Shape: shape}
			if i == 1 {
				in.Data, in.Constant = oneHot(4, 3), true
			}
			c.Inputs = append(c.Inputs, in)
		}
		nodetest.Run(t, c)
	}
}

// The same net overfits a batch, and a graph for evaluation that shares weights and statistics
// agrees.
func TestNetTrains(t *testing.T) {
	s := [2]*nodes.Statistics{statistics(t, 4), statistics(t, 6)}
	build := func() (in gorgonia.Nodes, logits, cost *gorgonia.Node) {
		g := gorgonia.NewGraph()
		for i, shape := range residualShapes {
			n := zeros(g, "input "+string(rune('a'+i)), tensor.Float32, shape...)
			in = append(in, n)
			init := nodes.HeNormal(math.Sqrt2, uint64(i))
			if shape[0] == 1 {
				init = gorgonia.Ones()
			}
			copy(n.Value().Data().([]float32), init(tensor.Float32, shape...).([]float32))
		}
		for i, v := range oneHot(4, 3) {
			in[1].Value().Data().([]float32)[i] = float32(v)
		}
		logits, cost, err := residualNet(in, s, &nodes.Noise{Seed: 3})
		require.NoError(t, err)
		return in, logits, cost
	}
	in, _, cost := build()
	_, err := gorgonia.Grad(cost, in[2:]...)
	require.NoError(t, err)
	var loss gorgonia.Value
	gorgonia.Read(cost, &loss)
	vm := gorgonia.NewTapeMachine(in[0].Graph(), gorgonia.BindDualValues(in[2:]...))
	defer vm.Close()
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.1))
	for range 150 {
		require.NoError(t, vm.RunAll())
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(in[2:])))
		vm.Reset()
	}
	assert.Less(t, floats(loss)[0], 0.3)

	evalIn, logits, evalCost := build()
	for i, n := range evalIn {
		copy(n.Value().Data().([]float32), in[i].Value().Data().([]float32))
	}
	var value, evalLoss gorgonia.Value
	gorgonia.Read(logits, &value)
	gorgonia.Read(evalCost, &evalLoss)
	em := gorgonia.NewTapeMachine(evalIn[0].Graph(), gorgonia.EvalMode())
	defer em.Close()
	require.NoError(t, em.RunAll())
	assert.Less(t, floats(evalLoss)[0], 0.3)
	for b := range 4 {
		row := floats(value)[3*b : 3*b+3]
		assert.Equal(t, maximum(row), row[2*b%3], "image %d", b)
	}
	assert.EqualValues(t, 150, s[0].Batches)
}
