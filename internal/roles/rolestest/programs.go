// SPDX-License-Identifier: Apache-2.0

// Package rolestest has small programs like those that people train with Gorgonia, each with the
// list of its kernels. They have difficult parameters: biases and scales in the shape of
// activations, weights that are used twice, networks of several graphs, learnt images. Each runs in
// a fraction of a second.
package rolestest

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// Net is a graph with a cost and learnables.
type Net struct {
	Graph      *gorgonia.ExprGraph
	Cost       *gorgonia.Node
	Learnables gorgonia.Nodes
	Kernels    []string // names of the learnables that are kernels, in the order of Learnables
	// Frozen are further parameters of the graph, which are not trained, and FrozenKernels the
	// names of those that are kernels.
	Frozen        gorgonia.Nodes
	FrozenKernels []string
}

// Machine adds the gradients of the cost to the graph and returns a machine that computes them.
// Call it once for a net.
func (n *Net) Machine() (gorgonia.VM, error) {
	if _, err := gorgonia.Grad(n.Cost, n.Learnables...); err != nil {
		return nil, fmt.Errorf("rolestest: %w", err)
	}
	return gorgonia.NewTapeMachine(n.Graph, gorgonia.BindDualValues(n.Learnables...)), nil
}

// Program makes the nets of a program. Each call of Nets makes new ones.
type Program struct {
	Name string
	Nets func(of tensor.Dtype) []*Net
}

// Programs returns all programs.
func Programs() []Program {
	return []Program{
		{"two heads", one(twoHeads)},
		{"biases in full shape", one(fullBiases)},
		{"U-Net", one(unet)},
		{"GAN in two graphs", ganApart},
		{"GAN in one graph", ganTogether},
		{"stock batch norm", one(stockBatchNorm)},
		{"scaled activations", one(scaledActivations)},
		{"nodes", one(own)},
		{"kernels made of others", one(made)},
		{"kernels made by stock operations", one(madeByStock)},
		{"Siamese", one(siamese)},
		{"cross-correlation", one(crossCorrelation)},
		{"learnt image", one(learntImage)},
		{"position map", one(positionMap)},
		{"tied to a product", one(tied)},
	}
}

func one(f func(*builder)) func(tensor.Dtype) []*Net {
	return func(of tensor.Dtype) []*Net {
		b := build(of)
		f(b)
		return []*Net{&b.Net}
	}
}

// builder builds a net. The programs are fixed, so errors are panics.
type builder struct {
	Net
	of  tensor.Dtype
	rng *rand.Rand
}

func build(of tensor.Dtype) *builder {
	return &builder{Net: Net{Graph: gorgonia.NewGraph()}, of: of, rng: rand.New(rand.NewPCG(1, 2))}
}

func must(n *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		panic(fmt.Sprintf("rolestest: %v", err))
	}
	return n
}

// leaf makes a leaf with normal numbers of the given standard deviation.
func (b *builder) leaf(name string, sigma float64, shape ...int) *gorgonia.Node {
	n := tensor.Shape(shape).TotalSize()
	var data any
	if b.of == tensor.Float32 {
		d := make([]float32, n)
		for i := range d {
			d[i] = float32(sigma * b.rng.NormFloat64())
		}
		data = d
	} else {
		d := make([]float64, n)
		for i := range d {
			d[i] = sigma * b.rng.NormFloat64()
		}
		data = d
	}
	v := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	return gorgonia.NewTensor(b.Graph, b.of, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name), gorgonia.WithValue(v))
}

// data is a leaf that is not learnt.
func (b *builder) data(name string, shape ...int) *gorgonia.Node { return b.leaf(name, 1, shape...) }

// weight is a learnable that is not a kernel.
func (b *builder) weight(name string, shape ...int) *gorgonia.Node {
	n := b.leaf(name, 0.3, shape...)
	b.Learnables = append(b.Learnables, n)
	return n
}

// zeros is a learnable that is not a kernel and starts at 0.
func (b *builder) zeros(name string, shape ...int) *gorgonia.Node {
	n := b.leaf(name, 0, shape...)
	b.Learnables = append(b.Learnables, n)
	return n
}

// kernel is a learnable that is a kernel.
func (b *builder) kernel(name string, shape ...int) *gorgonia.Node {
	b.Kernels = append(b.Kernels, name)
	return b.weight(name, shape...)
}

func (b *builder) stock(x, w *gorgonia.Node) *gorgonia.Node {
	s := w.Shape()
	return must(gorgonia.Conv2d(x, w, tensor.Shape{s[2], s[3]}, []int{s[2] / 2, s[3] / 2}, []int{1, 1}, []int{1, 1}))
}

func (b *builder) conv(x, w *gorgonia.Node) *gorgonia.Node {
	s := w.Shape()
	return must(nodes.Conv2d(x, w, tensor.Shape{s[2], s[3]}, []int{s[2] / 2, s[3] / 2}, []int{1, 1}, []int{1, 1}))
}

func (b *builder) relu(x *gorgonia.Node) *gorgonia.Node   { return must(gorgonia.Rectify(x)) }
func (b *builder) add(x, y *gorgonia.Node) *gorgonia.Node { return must(gorgonia.Add(x, y)) }
func (b *builder) pool(x *gorgonia.Node) *gorgonia.Node {
	return must(gorgonia.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
}

// bias adds one number per channel by a broadcast.
func (b *builder) bias(x, β *gorgonia.Node) *gorgonia.Node {
	return must(gorgonia.BroadcastAdd(x, β, nil, []byte{0, 2, 3}))
}

// linear reads x as a matrix and multiplies it with w.
func (b *builder) linear(x, w *gorgonia.Node) *gorgonia.Node {
	batch := x.Shape()[0]
	return must(gorgonia.Mul(must(gorgonia.Reshape(x, tensor.Shape{batch, x.Shape().TotalSize() / batch})), w))
}

// square is the mean of the squares.
func (b *builder) square(x *gorgonia.Node) *gorgonia.Node {
	return must(gorgonia.Mean(must(gorgonia.Square(x))))
}

// twoHeads is a net for a board game like that of agogo: a residual tower shared by a policy and a
// value head, with stock batch norm and 1x1 convolutions at the heads.
func twoHeads(b *builder) {
	norm := func(x *gorgonia.Node, name string) *gorgonia.Node {
		y, γ, β, _, err := gorgonia.BatchNorm(x, nil, nil, 0.9, 1e-5)
		b.Learnables = append(b.Learnables, γ, β)
		return must(y, err)
	}
	x := b.data("board", 2, 3, 5, 5)
	x = b.relu(norm(b.stock(x, b.kernel("stem", 4, 3, 3, 3)), "stem"))
	for i := range 2 {
		y := b.relu(norm(b.stock(x, b.kernel(fmt.Sprintf("block%d.1", i), 4, 4, 3, 3)), "1"))
		y = norm(b.stock(y, b.kernel(fmt.Sprintf("block%d.2", i), 4, 4, 3, 3)), "2")
		x = b.relu(b.add(x, y))
	}
	p := b.relu(norm(b.stock(x, b.kernel("policy.conv", 2, 4, 1, 1)), "p"))
	p = b.linear(p, b.weight("policy.out", 50, 26))
	p = must(gorgonia.BroadcastAdd(p, b.weight("policy.bias", 1, 26), nil, []byte{0}))
	v := b.relu(norm(b.stock(x, b.kernel("value.conv", 1, 4, 1, 1)), "v"))
	v = b.relu(b.linear(v, b.weight("value.hidden", 25, 8)))
	v = must(gorgonia.Tanh(b.linear(v, b.weight("value.out", 8, 1))))
	b.Cost = b.add(b.square(p), b.square(v))
}

// fullBiases is a detector like tiny-yolo programs: each convolution has a bias of zeros in the
// full shape of its output.
func fullBiases(b *builder) {
	x := b.data("image", 2, 3, 8, 8)
	for i, filters := range []int{4, 6, 8} {
		x = b.stock(x, b.kernel(fmt.Sprintf("conv%d", i), filters, x.Shape()[1], 3, 3))
		x = b.add(x, b.zeros(fmt.Sprintf("bias%d", i), x.Shape()...))
		x = must(gorgonia.LeakyRelu(x, 0.1))
		if i < 2 {
			x = b.pool(x)
		}
	}
	x = b.stock(x, b.kernel("detect", 5, 8, 1, 1))
	b.Cost = b.square(b.add(x, b.zeros("detect.bias", x.Shape()...)))
}

// unet is a U-Net with skip connections by Concat.
func unet(b *builder) {
	x := b.data("image", 1, 2, 8, 8)
	down1 := b.relu(b.bias(b.stock(x, b.kernel("down1", 4, 2, 3, 3)), b.weight("down1.bias", 1, 4, 1, 1)))
	down2 := b.relu(b.bias(b.stock(b.pool(down1), b.kernel("down2", 6, 4, 3, 3)), b.weight("down2.bias", 1, 6, 1, 1)))
	low := b.relu(b.stock(b.pool(down2), b.kernel("bottom", 8, 6, 3, 3)))
	up2 := must(gorgonia.Concat(1, must(gorgonia.Upsample2D(low, 2)), down2))
	up2 = b.relu(b.stock(up2, b.kernel("up2", 6, 14, 3, 3)))
	up1 := must(gorgonia.Concat(1, must(gorgonia.Upsample2D(up2, 2)), down1))
	up1 = b.relu(b.stock(up1, b.kernel("up1", 4, 10, 3, 3)))
	b.Cost = b.square(b.stock(up1, b.kernel("mask", 1, 4, 1, 1)))
}

// generate is a generator of images of 8x8 from noise.
func (b *builder) generate(z *gorgonia.Node) *gorgonia.Node {
	x := b.linear(z, b.weight("g.in", 4, 4*4*4))
	x = must(gorgonia.Reshape(x, tensor.Shape{2, 4, 4, 4}))
	x = b.relu(b.add(x, b.zeros("g.bias", 2, 4, 4, 4)))
	x = must(gorgonia.Upsample2D(x, 2))
	x = b.relu(b.stock(x, b.kernel("g.conv1", 4, 4, 3, 3)))
	return must(gorgonia.Tanh(b.stock(x, b.kernel("g.conv2", 1, 4, 3, 3))))
}

// discriminator holds the weights as leaves, so that it can be applied more than once.
type discriminator struct{ conv1, bias1, conv2, out *gorgonia.Node }

func (b *builder) discriminator() discriminator {
	return discriminator{b.kernel("d.conv1", 3, 1, 3, 3), b.weight("d.bias1", 1, 3, 1, 1), b.kernel("d.conv2", 4, 3, 3, 3), b.weight("d.out", 16, 1)}
}

func (b *builder) judge(d discriminator, x *gorgonia.Node) *gorgonia.Node {
	x = b.pool(b.relu(b.bias(b.stock(x, d.conv1), d.bias1)))
	x = b.pool(b.relu(b.stock(x, d.conv2)))
	return must(gorgonia.Sigmoid(b.linear(x, d.out)))
}

// ganApart trains a discriminator in one graph, and a generator in another through a
// copy of the discriminator. The first cost has log(1-x), for which Gorgonia removes a
// node from the graph.
func ganApart(of tensor.Dtype) []*Net {
	d := build(of)
	photo, fake := d.data("photo", 2, 1, 8, 8), d.data("fake", 2, 1, 8, 8)
	w := d.discriminator()
	d.Cost = d.adversarial(d.judge(w, photo), d.judge(w, fake))

	g := build(of)
	x := g.generate(g.data("noise", 2, 4))
	trained, kernels := g.Learnables, g.Kernels
	w = g.discriminator()
	g.Frozen, g.FrozenKernels = g.Learnables[len(trained):], g.Kernels[len(kernels):]
	g.Learnables, g.Kernels = trained, kernels
	g.Cost = must(gorgonia.Neg(must(gorgonia.Mean(must(gorgonia.Log(g.judge(w, x)))))))
	return []*Net{&d.Net, &g.Net}
}

// adversarial is the cost of a discriminator, -mean(log(photo) + log(1-fake)).
func (b *builder) adversarial(photo, fake *gorgonia.Node) *gorgonia.Node {
	one := gorgonia.NewConstant(float32(1))
	if b.of == tensor.Float64 {
		one = gorgonia.NewConstant(1.0)
	}
	sum := b.add(must(gorgonia.Log(photo)), must(gorgonia.Log(must(gorgonia.Sub(one, fake)))))
	return must(gorgonia.Neg(must(gorgonia.Mean(sum))))
}

// ganTogether has generator and discriminator in one graph, and trains both on one cost.
func ganTogether(of tensor.Dtype) []*Net {
	b := build(of)
	fake := b.generate(b.data("noise", 2, 4))
	w := b.discriminator()
	b.Cost = b.adversarial(b.judge(w, b.data("photo", 2, 1, 8, 8)), b.judge(w, fake))
	return []*Net{&b.Net}
}

// stockBatchNorm has BatchNorm(x, nil, nil, ...), whose scale and bias have the full shape of
// x, on the images themselves, after a convolution, and with a scale for each channel.
func stockBatchNorm(b *builder) {
	norm := func(x, γ, β *gorgonia.Node) *gorgonia.Node {
		made := γ == nil
		y, γ, β, _, err := gorgonia.BatchNorm(x, γ, β, 0.9, 1e-5)
		if made {
			b.Learnables = append(b.Learnables, γ, β)
		}
		return must(y, err)
	}
	x := norm(b.data("image", 4, 3, 6, 6), nil, nil)
	x = b.relu(norm(b.stock(x, b.kernel("conv1", 4, 3, 3, 3)), nil, nil))
	x = b.stock(x, b.kernel("conv2", 5, 4, 3, 3))
	x = norm(x, b.weight("scale", 1, 5, 1, 1), b.weight("shift", 1, 5, 1, 1))
	b.Cost = b.square(b.stock(b.relu(x), b.kernel("conv3", 2, 5, 3, 3)))
}

// scaledActivations multiplies activations by one learnt number each, and by one per channel. In
// the backward pass these numbers are multiplied by patches of images, as a filter is in the
// forward pass.
func scaledActivations(b *builder) {
	x := b.stock(b.data("image", 2, 3, 4, 4), b.kernel("conv1", 4, 3, 3, 3))
	x = must(gorgonia.HadamardProd(x, b.weight("each", 2, 4, 4, 4)))
	x = b.stock(b.relu(x), b.kernel("conv2", 4, 4, 3, 3))
	x = must(gorgonia.BroadcastHadamardProd(x, b.weight("channel", 1, 4, 1, 1), nil, []byte{0, 2, 3}))
	b.Cost = b.square(must(gorgonia.HadamardDiv(b.stock(x, b.kernel("conv3", 1, 4, 1, 1)), b.weight("divisor", 2, 1, 4, 4))))
}

// own is a net of layers of package nodes.
func own(b *builder) {
	x := b.conv(b.data("image", 4, 4, 6, 6), b.kernel("conv", 6, 4, 3, 3))
	x = must(nodes.Bias(x, b.weight("bias", 1, 6, 1, 1)))
	x, _, _, _, err := nodes.BatchNorm(x, b.weight("bn.scale", 1, 6, 1, 1), b.weight("bn.shift", 1, 6, 1, 1), 0.1, 1e-5)
	x = must(nodes.Rectify(must(x, err)))
	x = must(nodes.Conv2dWith(x, b.kernel("depthwise", 6, 1, 3, 3), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil, nodes.Groups(6)))
	x = must(nodes.GroupNorm(x, b.weight("gn.scale", 1, 6, 1, 1), b.weight("gn.shift", 1, 6, 1, 1), 2, 6, 1e-5))
	w := b.kernel("pointwise", 8, 6, 1, 1)
	x = must(nodes.Rectify(b.conv(x, w)))
	x = must(nodes.GlobalAveragePool2D(x))
	x = must(nodes.Linear(x, b.weight("fc", 8, 3), b.weight("fc.bias", 1, 3)))
	b.Cost = b.add(b.square(x), must(nodes.SoftOrthogonality(w)))
}

// made has kernels that operations of package nodes compute from other kernels.
func made(b *builder) {
	x := b.data("image", 2, 4, 6, 6)
	layer := func(w *gorgonia.Node) {
		x = must(nodes.Rectify(b.conv(x, w)))
	}
	layer(must(nodes.Normalize(b.kernel("normalize", 4, 4, 3, 3), manifolds.Sphere{})))
	layer(must(nodes.WeightNorm(b.kernel("direction", 4, 4, 3, 3), b.weight("gain", 4, 1, 1, 1))))
	layer(must(nodes.CentredWeightNorm(b.kernel("centred", 4, 4, 3, 3), b.weight("centred.gain", 4, 1, 1, 1))))
	layer(must(nodes.Orthogonalize(must(nodes.WeightStandardization(b.kernel("both", 4, 4, 3, 3), 1e-5)), 5, manifolds.Unit)))
	layer(must(nodes.SpectralNorm(b.kernel("spectral", 4, 4, 3, 3), nodes.NewPowerIteration(1), 1)))
	base := b.kernel("base", 4, 4, 1, 1)
	eye := base.Value().Data()
	for i := range 16 {
		one := 0.0
		if i%5 == 0 {
			one = 1
		}
		switch d := eye.(type) {
		case []float32:
			d[i] = float32(one)
		case []float64:
			d[i] = one
		}
	}
	// The base of a trivialisation is not learnt.
	b.Kernels, b.Learnables = b.Kernels[:len(b.Kernels)-1], b.Learnables[:len(b.Learnables)-1]
	b.Frozen = append(b.Frozen, base)
	layer(must(nodes.ExpTrivialization(b.kernel("tangent", 4, 4, 1, 1), base)))
	x = b.stock(x, must(nodes.WeightNorm(b.kernel("stock.direction", 4, 4, 3, 3), b.weight("stock.gain", 4, 1, 1, 1))))
	fc := must(nodes.WeightNorm(b.weight("fc", 144, 3), b.weight("fc.gain", 1, 3)))
	b.Cost = b.square(must(nodes.Linear(x, fc, nil)))
}

// madeByStock has kernels that are scaled, masked, transposed and concatenated by stock operations,
// and one that is not of rank 4.
func madeByStock(b *builder) {
	half := gorgonia.NewConstant(float32(0.5))
	if b.of == tensor.Float64 {
		half = gorgonia.NewConstant(0.5)
	}
	x := b.data("image", 2, 4, 6, 6)
	layer := func(w *gorgonia.Node) { x = b.relu(b.stock(x, w)) }
	layer(must(gorgonia.HadamardProd(b.kernel("equalised", 4, 4, 3, 3), half)))
	layer(must(gorgonia.HadamardProd(b.kernel("masked", 4, 4, 3, 3), b.data("mask", 4, 4, 3, 3))))
	layer(must(gorgonia.BroadcastHadamardProd(b.kernel("scaled", 4, 4, 3, 3), b.weight("filter.gain", 4, 1, 1, 1), nil, []byte{1, 2, 3})))
	layer(must(gorgonia.Transpose(b.kernel("transposed", 4, 4, 3, 3), 1, 0, 2, 3)))
	layer(must(gorgonia.Tanh(b.kernel("bounded", 4, 4, 3, 3))))
	layer(b.add(b.kernel("coarse", 4, 4, 3, 3), b.kernel("fine", 4, 4, 3, 3)))
	layer(must(gorgonia.Concat(0, b.kernel("upper", 2, 4, 3, 3), b.kernel("lower", 2, 4, 3, 3))))
	layer(must(gorgonia.Reshape(b.weight("bank", 4, 36), tensor.Shape{4, 4, 3, 3})))
	left, right := b.weight("left", 4, 2), b.weight("right", 2, 36)
	layer(must(gorgonia.Reshape(must(gorgonia.Mul(left, right)), tensor.Shape{4, 4, 3, 3})))
	b.Cost = b.square(must(gorgonia.Conv1d(must(gorgonia.Reshape(x, tensor.Shape{2, 4, 1, 36})), b.kernel("line", 3, 4, 1, 5), 5, 2, 1, 1)))
}

// siamese compares two images that pass through the same tower.
func siamese(b *builder) {
	conv1, bias1 := b.kernel("conv1", 4, 1, 3, 3), b.weight("bias1", 1, 4, 1, 1)
	conv2, scale := b.kernel("conv2", 4, 4, 3, 3), b.weight("scale", 1, 4, 1, 1)
	tower := func(name string) *gorgonia.Node {
		x := b.pool(b.relu(b.bias(b.stock(b.data(name, 2, 1, 6, 6), conv1), bias1)))
		x = b.conv(x, conv2)
		return must(gorgonia.BroadcastHadamardProd(x, scale, nil, []byte{0, 2, 3}))
	}
	b.Cost = b.square(must(gorgonia.Sub(tower("left"), tower("right"))))
}

// crossCorrelation tracks an object like SiamFC: the scene is convolved with the features of the
// object. The biases of these features are not kernels.
func crossCorrelation(b *builder) {
	w, β := b.kernel("conv", 4, 1, 3, 3), b.zeros("bias", 1, 4, 3, 3)
	scene := b.stock(b.data("scene", 1, 1, 8, 8), w)
	object := b.relu(b.add(b.stock(b.data("object", 1, 1, 3, 3), w), β))
	b.Cost = b.square(b.stock(scene, object))
}

// learntImage changes an image until its features are those of another, as in style transfer. The
// convolutions are not trained.
func learntImage(b *builder) {
	x := b.weight("image", 1, 3, 8, 8)
	conv1, conv2 := b.leaf("conv1", 0.3, 4, 3, 3, 3), b.leaf("conv2", 0.3, 4, 4, 3, 3)
	b.Frozen, b.FrozenKernels = gorgonia.Nodes{conv1, conv2}, []string{"conv1", "conv2"}
	f := b.relu(b.stock(must(gorgonia.Tanh(x)), conv1))
	f = must(gorgonia.Reshape(b.conv(f, conv2), tensor.Shape{4, 64}))
	gram := must(gorgonia.Mul(f, must(gorgonia.Transpose(f, 1, 0))))
	b.Cost = b.square(must(gorgonia.Sub(gram, b.data("style", 4, 4))))
}

// positionMap adds a learnt map to the images, and another to activations.
func positionMap(b *builder) {
	x := b.add(b.data("image", 2, 3, 6, 6), b.weight("position.image", 2, 3, 6, 6))
	x = b.relu(b.stock(x, b.kernel("conv1", 4, 3, 3, 3)))
	x = b.add(x, b.weight("position.features", 2, 4, 6, 6))
	x = must(gorgonia.Concat(1, x, b.weight("coordinates", 2, 2, 6, 6)))
	b.Cost = b.square(b.conv(x, b.kernel("conv2", 4, 6, 3, 3)))
}

// tied uses one parameter as a kernel, and also as the weights of a product.
func tied(b *builder) {
	w := b.kernel("shared", 4, 3, 3, 3)
	x := b.relu(b.stock(b.data("image", 2, 3, 3, 3), w))
	p := must(gorgonia.Mul(b.data("codes", 2, 4), must(gorgonia.Reshape(w, tensor.Shape{4, 27}))))
	b.Cost = b.add(b.square(x), b.square(p))
}
