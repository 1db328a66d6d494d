// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// A net, a machine, a solver, and the loop by hand; models/train does it for you.
func Example() {
	set, err := images.Digits(1, 320, 100, images.DigitOptions{Side: 12, Noise: -1, Clutter: -1, Distortion: 0.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	const batch = 20
	m, err := models.CNN(batch, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{8, 16}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	solver := solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	pixels := len(set.Train.Images) / set.Train.Len()
	for range 8 {
		for b := 0; b < set.Train.Len(); b += batch {
			if err := m.SetBatch(set.Train.Images[b*pixels:(b+batch)*pixels], set.Train.Labels[b:b+batch]); err != nil {
				fmt.Println(err)
				return
			}
			if err := vm.RunAll(); err != nil {
				fmt.Println(err)
				return
			}
			if err := solver.Step(gorgonia.NodesToValueGrads(m.Learnables)); err != nil {
				fmt.Println(err)
				return
			}
			vm.Reset()
		}
	}

	p, err := m.Predictor()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	classes, err := p.Classify(set.Test.Images)
	if err != nil {
		fmt.Println(err)
		return
	}
	right := 0
	for i, c := range classes {
		if c == set.Test.Labels[i] {
			right++
		}
	}
	fmt.Println("more than 80 of 100 images are right:", right > 80)
	// Output: more than 80 of 100 images are right: true
}

// The nets, with the options of each.
func ExampleOptions() {
	grey := models.Options{Shape: [3]int{1, 28, 28}, Classes: 10}
	colour := models.Options{Shape: [3]int{3, 32, 32}, Classes: 10}
	with := func(o models.Options, set func(*models.Options)) models.Options {
		set(&o)
		return o
	}
	count := func(name string, m *models.Model, err error) {
		if err != nil {
			fmt.Println(name, err)
			return
		}
		fmt.Println(name, m.Parameters())
	}
	m, err := models.LeNet(1, grey)
	count("LeNet-5", m, err)
	m, err = models.CNN(1, with(grey, func(o *models.Options) { o.BatchNorm = true }))
	count("CNN with batch norm", m, err)
	m, err = models.VGG(1, 11, with(colour, func(o *models.Options) { o.BatchNorm = true }))
	count("VGG-11 with batch norm", m, err)
	m, err = models.ResNet(1, 20, with(colour, func(o *models.Options) { o.Projections = true }))
	count("ResNet-20, option B", m, err)
	m, err = models.ResNet(1, 20, with(colour, func(o *models.Options) { o.PreActivation = true }))
	count("ResNet-20, pre-activation", m, err)
	m, err = models.WideResNet(1, 16, 2, with(colour, func(o *models.Options) { o.Dropout = 0.3 }))
	count("WRN-16-2 with dropout", m, err)
	m, err = models.StochasticDepth(1, 20, with(colour, func(o *models.Options) { o.Survival = 0.8 }))
	count("ResNet-20 of stochastic depth", m, err)
	m, err = models.ImageNetResNet(1, 18, colour)
	count("ResNet-18", m, err)
	m, err = models.MobileNetV2(1, with(colour, func(o *models.Options) { o.Width = 0.25 }))
	count("MobileNetV2, a quarter as wide", m, err)
	m, err = models.LeNet(1, with(grey, func(o *models.Options) { o.Survival = 0.8 }))
	count("LeNet-5 of stochastic depth:", m, err)
	// Output:
	// LeNet-5 61706
	// CNN with batch norm 29178
	// VGG-11 with batch norm 9228362
	// ResNet-20, option B 272474
	// ResNet-20, pre-activation 269722
	// WRN-16-2 with dropout 691674
	// ResNet-20 of stochastic depth 269722
	// ResNet-18 11181642
	// MobileNetV2, a quarter as wide 250922
	// LeNet-5 of stochastic depth: models: LeNet has no option Survival
}

// Kernels that start where a solver with the same arguments keeps them.
func ExampleOnManifold() {
	o := models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Kernels: models.OnManifold(manifolds.Sphere{}, manifolds.PerSlice)}
	m, err := models.LeNet(4, o)
	if err != nil {
		fmt.Println(err)
		return
	}
	solver := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice))
	if err := solver.Init(gorgonia.NodesToValueGrads(m.Learnables)); err != nil {
		fmt.Println(err)
	}
	for _, p := range solver.Report().Parameters {
		if p.Kernel {
			fmt.Println(p.Name, p.Manifold, "had to be projected:", p.Projected)
		}
	}
	// Output:
	// conv1.weight Sphere had to be projected: false
	// conv2.weight Sphere(r=0.4082) had to be projected: false
}

// Any initialiser of package nodes draws kernels.
func ExampleInit() {
	o := models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Seed: 1}
	o.Kernels = func(seed uint64) gorgonia.InitWFn { return nodes.Orthonormal(math.Sqrt2, seed) }
	m, err := models.LeNet(4, o)
	fmt.Println(m.Learnables[0].Name(), m.Learnables[0].Shape(), err)
	// Output: conv1.weight (6, 1, 5, 5) <nil>
}

// A predictor takes any number of images, whatever the batch of the model.
// The class of an image cannot change within the radius of its certificate.
func ExamplePredictor_Certify() {
	m, err := models.Build(models.Spec{Batch: 1, Shape: [3]int{1, 1, 2}, Classes: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("fc", x, 2)
	})
	check(err)
	copy(m.Learnables[0].Value().Data().([]float32), []float32{1, 0, 0, 1}) // the logits are the two pixels
	bounds, err := models.Lipschitz(m)
	check(err)
	p, err := m.Predictor()
	check(err)
	defer p.Close()
	certificates, err := p.Certify([]float32{5, 1, 2, 3})
	check(err)
	fmt.Printf("%.4f\n", bounds.Bound)
	for _, c := range certificates {
		fmt.Printf("class %d, radius %.4f\n", c.Class, c.Radius)
	}
	// Output:
	// 1.0000
	// class 0, radius 2.8284
	// class 1, radius 0.7071
}

func ExampleModel_Predictor() {
	m, err := models.LeNet(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := m.Predictor()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	logits, err := p.Logits(make([]float32, 5*28*28))
	fmt.Println(len(logits), "logits of 5 images,", err)
	_, err = p.Logits(make([]float32, 100))
	fmt.Println(err)
	// Output:
	// 50 logits of 5 images, <nil>
	// models: want images of [1 28 28], 784 numbers each, got 100 numbers
}

// Weights and buffers are all that a net has learnt.
func ExampleNet_buffers() {
	m, err := models.CNN(2, models.Options{Shape: [3]int{1, 8, 8}, Classes: 2, Widths: []int{4}, BatchNorm: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range m.Buffers {
		fmt.Println(b.Name, b.Statistics.Mean, b.Statistics.Variance)
	}
	// Output: bn1 [0 0 0 0] [1 1 1 1]
}

// A layer with weights of its own is an Apply with Weight in it. An error in it is
// that of Build, and names the layer.
func ExampleBuilder() {
	net := func(offsets int) models.Layers {
		return func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			x = b.MaxPool(b.Rectify(b.Bias("conv1", b.Conv("conv1", x, 8, 3, 1, 1))), 2)
			x = b.Apply("offset", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
				zeros := func(uint64) gorgonia.InitWFn { return gorgonia.Zeroes() }
				w, err := b.Weight("offset.weight", zeros, 1, offsets, 1, 1)
				if err != nil {
					return nil, err
				}
				return nodes.Bias(x, w)
			})
			return b.Linear("fc", x, b.Spec().Classes)
		}
	}
	m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 8, 8}, Classes: 3, Seed: 1}, net(8))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Learnables {
		fmt.Println(n.Name(), n.Shape())
	}
	_, err = models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 8, 8}, Classes: 3, Seed: 1}, net(5))
	fmt.Println(err)
	// Output:
	// conv1.weight (8, 1, 3, 3)
	// conv1.bias (1, 8, 1, 1)
	// offset.weight (1, 8, 1, 1)
	// fc.weight (128, 3)
	// fc.bias (1, 3)
	// models: offset: nodes.Bias: want a bias of shape (1, 8, 1, 1) for an input of shape (2, 8, 4, 4), got (1, 5, 1, 1)
}
