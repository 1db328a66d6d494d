// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// Gorgonia's convnet and resnet examples minimise the mean of -log(p y) over the batch and the classes,
// with targets y of 0.1 and 0.9. That is -log p - log y: the gradient does not depend on the
// targets, and the best p is the same for all classes. So such a net learns to say nothing, by
// features that are 0 in the end. From then on all gradients are 0, which the report says.
func TestReportOfACostThatCannotBeLearnt(t *testing.T) {
	const batch, classes = 16, 10
	rng := rand.New(rand.NewPCG(1, 2))
	g := gorgonia.NewGraph()
	leaf := func(name string, init gorgonia.InitWFn, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithInit(init))
	}
	x, y := leaf("x", gorgonia.Zeroes(), batch, 1, 6, 6), leaf("y", gorgonia.Zeroes(), batch, classes)
	for i := range x.Value().Data().([]float32) { // bright images, as those of MNIST
		x.Value().Data().([]float32)[i] = rng.Float32()
	}
	for i := range y.Value().Data().([]float32) {
		y.Value().Data().([]float32)[i] = 0.1
	}
	for i := range batch {
		y.Value().Data().([]float32)[i*classes+rng.IntN(classes)] = 0.9
	}
	w, u := leaf("w", nodes.HeNormal(1, 3), 2, 1, 3, 3), leaf("u", nodes.HeNormal(3, 4), 2*36, classes)
	h := gorgonia.Must(nodes.Rectify(gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))))
	p := gorgonia.Must(gorgonia.SoftMax(gorgonia.Must(gorgonia.Mul(gorgonia.Must(gorgonia.Reshape(h, tensor.Shape{batch, 2 * 36})), u))))
	cost := gorgonia.Must(gorgonia.Neg(gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Log(gorgonia.Must(gorgonia.HadamardProd(p, y))))))))
	var loss gorgonia.Value
	gorgonia.Read(cost, &loss)
	learnt := gorgonia.Nodes{w, u}
	_, err := gorgonia.Grad(cost, learnt...)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(learnt...))
	defer vm.Close()

	s := solvers.NewSGD(solvers.LearnRate(5), solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
	for range 100 {
		require.NoError(t, vm.RunAll())
		require.NoError(t, s.Step(gorgonia.NodesToValueGrads(learnt)))
		vm.Reset()
	}
	assert.InDelta(t, 4.385, loss.Data().(float32), 0.001, "which p = 1/10 has")
	report := s.Report()
	assert.Contains(t, unwrapped(report), "all gradients were 0 in the last ")
	assert.Contains(t, unwrapped(report), "does its gradient depend on the targets?")
	for _, p := range report.Parameters {
		assert.Positive(t, p.Still, p.Name)
		assert.Less(t, p.Membership, 1e-5, "the weights are as they were")
	}
}
