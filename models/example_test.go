// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
)

func ExampleCNN() {
	m, err := models.CNN(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Widths: []int{8, 16}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Learnables {
		fmt.Println(n.Name(), n.Shape())
	}
	fmt.Println(m.Parameters(), "weights")
	// Output:
	// conv1.weight (8, 1, 3, 3)
	// conv1.bias (1, 8, 1, 1)
	// conv2.weight (16, 8, 3, 3)
	// conv2.bias (1, 16, 1, 1)
	// fc.weight (784, 10)
	// fc.bias (1, 10)
	// 9098 weights
}

// A step of training by hand, with kernels that start on the manifold of their solver, and
// a prediction.
func ExampleResNet() {
	m, err := models.ResNet(4, 20, models.Options{
		Shape: [3]int{3, 32, 32}, Classes: 10, Seed: 1,
		Kernels: models.OnManifold(manifolds.Stiefel{}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Parameters(), "weights,", len(m.Buffers), "batch normalisations")

	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	images, labels := make([]float32, 4*3*32*32), []int{3, 1, 4, 1}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range images {
		images[i] = float32(rng.NormFloat64())
	}
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01))
	var losses []float64
	for range 3 {
		if err := m.SetBatch(images, labels); err != nil {
			fmt.Println(err)
			return
		}
		if err := vm.RunAll(); err != nil {
			fmt.Println(err)
			return
		}
		losses = append(losses, m.Loss())
		if err := solver.Step(gorgonia.NodesToValueGrads(m.Learnables)); err != nil {
			fmt.Println(err)
			return
		}
		vm.Reset()
	}
	fmt.Println("the loss falls:", losses[2] < losses[0])

	p, err := m.Predictor()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	classes, err := p.Classify(images[:3*3*32*32])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(classes), "images classified")
	// Output:
	// 269722 weights, 19 batch normalisations
	// the loss falls: true
	// 3 images classified
}

func ExampleBuild() {
	small := func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.Rectify(b.BatchNorm("bn1", b.Conv("conv1", x, 8, 3, 1, 1))) // 3x3, stride 1, padding 1
		block := b.In("block")
		y := block.BatchNorm("bn", block.Conv("conv", x, 8, 3, 1, 1))
		x = b.Apply("tanh", b.Add(y, x), gorgonia.Tanh)
		return b.Linear("fc", b.GlobalAveragePool(x), b.Spec().Classes)
	}
	m, err := models.Build(models.Spec{Batch: 16, Shape: [3]int{3, 12, 12}, Classes: 5, Seed: 1}, small)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Learnables {
		fmt.Println(n.Name(), n.Shape())
	}
	for _, b := range m.Buffers {
		fmt.Println("statistics of", b.Name)
	}
	// Output:
	// conv1.weight (8, 3, 3, 3)
	// bn1.weight (1, 8, 1, 1)
	// bn1.bias (1, 8, 1, 1)
	// block.conv.weight (8, 8, 3, 3)
	// block.bn.weight (1, 8, 1, 1)
	// block.bn.bias (1, 8, 1, 1)
	// fc.weight (8, 5)
	// fc.bias (1, 5)
	// statistics of bn1
	// statistics of block.bn
}
