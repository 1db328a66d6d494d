// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// stockNet is an unchanged program: three layers of 3x3 convolutions, rectifiers and
// poolings, and a linear one, with its solver.
func stockNet(t require.TestingT, batch int, widths ...int) (step func()) {
	g, of := gorgonia.NewGraph(), tensor.Float32
	must := func(n *gorgonia.Node, err error) *gorgonia.Node {
		require.NoError(t, err)
		return n
	}
	x, target := zeros(g, "x", of, batch, 3, 32, 32), zeros(g, "target", of, batch, 10)
	for i, v := range ramp(size(x.Shape())) {
		set(x, i, v)
	}
	for i, v := range oneHot(batch, 10) {
		set(target, i, v)
	}
	var weights gorgonia.Nodes
	weight := func(shape ...int) *gorgonia.Node {
		n := zeros(g, "w"+string(rune('0'+len(weights))), of, shape...)
		init := nodes.HeNormal(1, uint64(len(weights)))
		copy(n.Value().Data().([]float32), init(of, shape...).([]float32))
		weights = append(weights, n)
		return n
	}
	h, channels := x, 3
	one, two := []int{1, 1}, []int{2, 2}
	for _, width := range widths {
		h = must(gorgonia.Conv2d(h, weight(width, channels, 3, 3), tensor.Shape{3, 3}, one, one, one))
		h = must(gorgonia.MaxPool2D(must(gorgonia.Rectify(h)), tensor.Shape{2, 2}, []int{0, 0}, two))
		channels = width
	}
	features := size(h.Shape()[1:])
	h = must(gorgonia.Mul(must(gorgonia.Reshape(h, tensor.Shape{batch, features})), weight(features, 10)))
	_, err := gorgonia.Grad(must(nodes.CrossEntropy(h, target)), weights...)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(weights...))
	solver := gorgonia.NewAdamSolver(gorgonia.WithLearnRate(1e-3))
	return func() {
		require.NoError(t, vm.RunAll())
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(weights)))
		vm.Reset()
	}
}

// use switches the products of Gorgonia for the length of a test.
func use(t testing.TB, b gorgonia.BLAS) {
	stock := gorgonia.WhichBLAS()
	gorgonia.Use(b)
	t.Cleanup(func() { gorgonia.Use(stock) })
}

// The stock convolution is the same on our products.
func TestBLAS(t *testing.T) {
	c := convolve{[]int{3, 3}, []int{1, 1}, []int{2, 1}, []int{1, 1}, 0}
	for of, tolerance := range map[tensor.Dtype]float64{tensor.Float32: 6e-5, tensor.Float64: 1e-13} { // as in TestReference
		x, w := []int{3, 5, 9, 11}, []int{7, 5, 3, 3}
		want := differentiate(t, of, x, w, c.stock)
		t.Run(of.String(), func(t *testing.T) {
			use(t, nodes.BLAS())
			got := differentiate(t, of, x, w, c.stock)
			for i := range want {
				assert.LessOrEqual(t, differ(t, got[i], want[i]), tolerance)
			}
			assert.IsType(t, nodes.BLAS(), tensor.WhichBLAS())
		})
	}
	use(t, nodes.BLAS())
	step := stockNet(t, 2, 4, 5)
	step()
	step()
}

// BenchmarkBLAS runs a training step of stock Gorgonia, batch 32, as it is and after the one
// line.
func BenchmarkBLAS(b *testing.B) {
	for name, blas := range map[string]gorgonia.BLAS{"stock": gorgonia.WhichBLAS(), "nodes": nodes.BLAS()} {
		b.Run(name, func(b *testing.B) {
			use(b, blas)
			step := stockNet(b, 32, 32, 64, 128)
			for b.Loop() {
				step()
			}
		})
	}
}
