// SPDX-License-Identifier: Apache-2.0

package roles_test

import (
	"fmt"
	"hash"
	"hash/fnv"
	"testing"

	"github.com/chewxy/hm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/roles/rolestest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

func leaf(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name), gorgonia.WithInit(gorgonia.GlorotN(1)))
}

func conv(x, w *gorgonia.Node) *gorgonia.Node {
	s := w.Shape()
	return gorgonia.Must(gorgonia.Conv2d(x, w, s[2:], []int{s[2] / 2, s[3] / 2}, []int{1, 1}, []int{1, 1}))
}

// The reasons are those that a report prints.
func TestWhy(t *testing.T) {
	want := map[string]map[string]string{
		"two heads": {
			"stem":        "filter of Conv2d",
			"policy.out":  "factor of a matrix product, not convolved with",
			"policy.bias": "added to activations, not convolved with",
		},
		"biases in full shape": {"bias0": "added to activations, not convolved with"},
		"GAN in one graph":     {"g.bias": "added to other values, not convolved with"},
		"stock batch norm": {
			"image_γ": "scale of BatchNorm, not convolved with",
			"image_β": "bias of BatchNorm, not convolved with",
			"scale":   "scale of BatchNorm, not convolved with",
			"shift":   "bias of BatchNorm, not convolved with",
		},
		"scaled activations": {
			"each":    "multiplied with activations, not convolved with",
			"channel": "multiplied with activations, not convolved with",
			"divisor": "divisor of activations, not convolved with",
		},
		"nodes": {
			"depthwise": "filter of Conv2d",
			"pointwise": "filter of Conv2d",
			"bn.scale":  "used by BatchNorm, not convolved with",
			"fc":        "used by Linear, not convolved with",
		},
		"kernels made of others": {
			"direction":       "filter of Conv2d through WeightNorm",
			"gain":            "input 1 of WeightNorm, which makes a kernel of input 0, not convolved with",
			"both":            "filter of Conv2d through WeightStandardization and Orthogonalize",
			"tangent":         "filter of Conv2d through ExpTrivialization",
			"base":            "input 1 of ExpTrivialization, which makes a kernel of input 0, not convolved with",
			"stock.direction": "filter of Conv2d through WeightNorm",
			"fc":              "used by Linear, not convolved with",
		},
		"kernels made by stock operations": {
			"equalised":   "filter of Conv2d through a product",
			"bounded":     "filter of Conv2d through tanh",
			"transposed":  "filter of Conv2d through Transpose",
			"lower":       "filter of Conv2d through Concat",
			"filter.gain": "repeated over the filter of Conv2d, not convolved with",
			"bank":        "filter of Conv2d, but of shape (4, 36), not (out, in, height, width)",
			"left":        "factor of a matrix product, not convolved with",
		},
		"learnt image": {"image": "input of Conv2d, not its filter"},
		"position map": {
			"position.image":    "input of Conv2d, not its filter",
			"position.features": "added to activations, not convolved with",
			"coordinates":       "joined to activations, not convolved with",
		},
		"tied to a product": {"shared": "filter of Conv2d; also factor of a matrix product"},
	}
	for _, p := range rolestest.Programs() {
		for _, net := range p.Nets(tensor.Float64) {
			for _, n := range append(net.Learnables, net.Frozen...) {
				if why, ok := want[p.Name][n.Name()]; ok {
					assert.Equal(t, why, roles.Of(n).Why, "%s: %s", p.Name, n.Name())
					delete(want[p.Name], n.Name())
				}
			}
		}
		assert.Empty(t, want[p.Name], p.Name)
		delete(want, p.Name)
	}
	assert.Empty(t, want)
}

// GroupNorm of stock is not among the programs, since its gradient prints.
func TestStockGroupNorm(t *testing.T) {
	g := gorgonia.NewGraph()
	w, γ, β := leaf(g, "w", 4, 3, 3, 3), leaf(g, "γ", 2, 4, 5, 5), leaf(g, "β", 1, 4, 1, 1)
	_, err := gorgonia.GroupNorm(conv(leaf(g, "x", 2, 3, 5, 5), w), γ, β, 2, 4, 1e-5)
	require.NoError(t, err)
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of Conv2d", ByUse: true}, roles.Of(w))
	assert.Equal(t, roles.Answer{Role: roles.Other, Why: "scale of GroupNorm, not convolved with", ByUse: true}, roles.Of(γ))
	assert.Equal(t, roles.Answer{Role: roles.Other, Why: "bias of GroupNorm, not convolved with", ByUse: true}, roles.Of(β))
}

func TestByShape(t *testing.T) {
	for _, c := range []struct {
		shape tensor.Shape
		want  roles.Role
	}{
		{tensor.Shape{8, 3, 3, 3}, roles.Kernel},
		{tensor.Shape{8, 3, 1, 1}, roles.Kernel},
		{tensor.Shape{8, 1, 1, 5}, roles.Kernel},
		{tensor.Shape{1, 1, 3, 3}, roles.Kernel},
		{tensor.Shape{1, 8, 1, 1}, roles.Other},
		{tensor.Shape{8, 1, 1, 1}, roles.Other},
		{tensor.Shape{1, 1, 1, 1}, roles.Other},
		{tensor.Shape{8, 3}, roles.Other},
		{tensor.Shape{8, 3, 3}, roles.Other},
		{tensor.Shape{2, 8, 3, 3, 3}, roles.Other},
		{tensor.Shape{}, roles.Other},
		{nil, roles.Other},
	} {
		assert.Equal(t, roles.Answer{Role: c.want, Why: "no graph: judged by its shape"}, roles.ByShape(c.shape), "%v", c.shape)
	}
}

// thirdParty is a gorgonia.ValueGrad that is no node.
type thirdParty struct{}

func (thirdParty) Value() gorgonia.Value         { return nil }
func (thirdParty) Grad() (gorgonia.Value, error) { return nil, nil }

func TestReader(t *testing.T) {
	var r roles.Reader
	shape := tensor.Shape{8, 3, 3, 3}
	kernelByShape := roles.Answer{Role: roles.Kernel, Why: "no graph: judged by its shape"}
	assert.Equal(t, kernelByShape, r.Of(thirdParty{}, shape))
	assert.Equal(t, kernelByShape, r.Of((*gorgonia.Node)(nil), shape))

	g := gorgonia.NewGraph()
	w, map4 := leaf(g, "w", 8, 3, 3, 3), leaf(g, "map", 2, 8, 5, 5)
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "used by nothing in its graph: judged by its shape"}, r.Of(w, shape))
	var v gorgonia.Value
	gorgonia.Read(w, &v)
	r = roles.Reader{}
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "used by nothing in its graph: judged by its shape"}, r.Of(w, shape), "Read is no use")

	_, err := gorgonia.Add(conv(leaf(g, "x", 2, 3, 5, 5), w), map4)
	require.NoError(t, err)
	r = roles.Reader{}
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of Conv2d", ByUse: true}, r.Of(w, shape))
	assert.Equal(t, roles.Other, r.Of(map4, map4.Shape()).Role)
	embedded := struct{ *gorgonia.Node }{map4}
	assert.Equal(t, r.Of(map4, map4.Shape()), r.Of(embedded, map4.Shape()))
}

func TestUnknown(t *testing.T) {
	assert.Equal(t, roles.Answer{Why: "no graph"}, roles.Of(nil))
	assert.Equal(t, roles.Answer{Why: "no graph"}, roles.Of(gorgonia.NewConstant(1.0)))
	assert.Equal(t, roles.Answer{Why: "used by nothing in its graph"}, roles.Of(leaf(gorgonia.NewGraph(), "w", 2, 2, 3, 3)))
	assert.Equal(t, []string{"unknown", "kernel", "other"}, []string{roles.Unknown.String(), roles.Kernel.String(), roles.Other.String()})
}

// A kernel by its use may have a shape that does not look like one, and an image one that does.
func TestUseOverridesShape(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w := leaf(g, "x", 2, 8, 3, 3), leaf(g, "w", 1, 8, 1, 1)
	scale := leaf(g, "scale", 1, 8, 1, 1)
	conv(gorgonia.Must(gorgonia.BroadcastHadamardProd(x, scale, nil, []byte{0, 2, 3})), w)
	assert.Equal(t, roles.Kernel, roles.Of(w).Role)
	assert.Equal(t, roles.Other, roles.Of(scale).Role)
	assert.Equal(t, roles.Other, roles.Of(x).Role)
}

// One node as image and as filter is a kernel, and the reason says both.
func TestFilterAndImage(t *testing.T) {
	g := gorgonia.NewGraph()
	w := leaf(g, "w", 3, 3, 5, 5)
	conv(w, w)
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of Conv2d; also input of Conv2d", ByUse: true}, roles.Of(w))
}

// A convolution written as a product with Im2Col, either way round. What is
// multiplied with the patches over the images, as in the gradient in a filter, is no filter.
func TestProductsWithPatches(t *testing.T) {
	g := gorgonia.NewGraph()
	x := leaf(g, "x", 2, 3, 5, 5)
	patches := gorgonia.Must(gorgonia.Im2Col(x, tensor.Shape{3, 3}, tensor.Shape{0, 0}, tensor.Shape{1, 1}, tensor.Shape{1, 1}))
	patches = gorgonia.Must(gorgonia.Reshape(patches, tensor.Shape{18, 27}))
	turned := gorgonia.Must(gorgonia.Transpose(patches, 1, 0))
	matrix := func(n *gorgonia.Node, rows, cols int) *gorgonia.Node {
		return gorgonia.Must(gorgonia.Reshape(n, tensor.Shape{rows, cols}))
	}
	left, right, over := leaf(g, "left", 4, 3, 3, 3), leaf(g, "right", 3, 3, 3, 4), leaf(g, "over", 4, 2, 3, 3)
	gorgonia.Must(gorgonia.Mul(matrix(left, 4, 27), turned))
	gorgonia.Must(gorgonia.Mul(patches, matrix(right, 27, 4)))
	gorgonia.Must(gorgonia.Mul(matrix(over, 4, 18), patches))
	assert.Equal(t, roles.Kernel, roles.Of(left).Role)
	assert.Equal(t, roles.Kernel, roles.Of(right).Role)
	assert.Equal(t, roles.Other, roles.Of(over).Role)
}

// A weight normalisation of stock operations: v divided by its norm, times a gain.
func TestNormalisationOfStockOperations(t *testing.T) {
	g := gorgonia.NewGraph()
	v, gain := leaf(g, "v", 4, 3, 3, 3), leaf(g, "gain", 4, 1, 1, 1)
	norm := gorgonia.Must(gorgonia.Sqrt(gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(v)), 1, 2, 3))))
	norm = gorgonia.Must(gorgonia.Reshape(norm, tensor.Shape{4, 1, 1, 1}))
	w := gorgonia.Must(gorgonia.BroadcastHadamardDiv(v, norm, nil, []byte{1, 2, 3}))
	w = gorgonia.Must(gorgonia.BroadcastHadamardProd(w, gain, nil, []byte{1, 2, 3}))
	conv(leaf(g, "x", 2, 3, 5, 5), w)
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of Conv2d through a quotient and a product", ByUse: true}, roles.Of(v))
	assert.Equal(t, roles.Other, roles.Of(gain).Role)
}

// Parts of a kernel by Slice, as convolutions in groups are written.
func TestSlices(t *testing.T) {
	g := gorgonia.NewGraph()
	w := leaf(g, "w", 4, 3, 3, 3)
	for i := range 2 {
		conv(leaf(g, fmt.Sprintf("x%d", i), 2, 3, 5, 5), gorgonia.Must(gorgonia.Slice(w, gorgonia.S(2*i, 2*i+2))))
	}
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of Conv2d through Slice", ByUse: true}, roles.Of(w))
}

// A dynamic convolution mixes kernels by coefficients that it computes from activations.
func TestDynamicConvolution(t *testing.T) {
	g := gorgonia.NewGraph()
	x := conv(leaf(g, "image", 1, 2, 5, 5), leaf(g, "stem", 3, 2, 3, 3))
	features := gorgonia.Must(gorgonia.Reshape(x, tensor.Shape{1, 75}))
	mixed := leaf(g, "static", 4, 3, 3, 3)
	learnt := gorgonia.Nodes{mixed}
	for i := range 2 {
		w, a := leaf(g, fmt.Sprintf("w%d", i), 4, 3, 3, 3), leaf(g, fmt.Sprintf("a%d", i), 75, 1)
		coefficient := gorgonia.Must(gorgonia.Reshape(gorgonia.Must(gorgonia.Mul(features, a)), tensor.Shape{1, 1, 1, 1}))
		scaled := gorgonia.Must(gorgonia.BroadcastHadamardProd(w, coefficient, nil, []byte{0, 1, 2, 3}))
		mixed = gorgonia.Must(gorgonia.Add(mixed, scaled))
		learnt = append(learnt, w, a)
	}
	y := conv(x, mixed)
	assert.Equal(t, []string{"static", "w0", "w1"}, kernels(t, learnt))
	_, err := gorgonia.Grad(gorgonia.Must(gorgonia.Mean(y)), learnt...)
	require.NoError(t, err)
	assert.Equal(t, []string{"static", "w0", "w1"}, kernels(t, learnt))
}

// A copy of a graph is a graph of its own.
func TestClonedGraph(t *testing.T) {
	g := gorgonia.NewGraph()
	w, b := leaf(g, "w", 4, 3, 3, 3), leaf(g, "b", 2, 4, 5, 5)
	gorgonia.Must(gorgonia.Add(conv(leaf(g, "x", 2, 3, 5, 5), w), b))
	copied := g.Clone().(*gorgonia.ExprGraph)
	assert.Equal(t, roles.Kernel, roles.Of(copied.ByName("w")[0]).Role)
	assert.Equal(t, roles.Of(b), roles.Of(copied.ByName("b")[0]))
}

// Generator and discriminator in one graph, each with a cost of its own that is
// differentiated in its own parameters.
func TestTwoCosts(t *testing.T) {
	g := gorgonia.NewGraph()
	wg, wd := leaf(g, "generator", 1, 1, 3, 3), leaf(g, "discriminator", 2, 1, 3, 3)
	scale, bias := leaf(g, "scale", 2, 2, 5, 5), leaf(g, "bias", 2, 2, 5, 5)
	cost := func(x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(gorgonia.HadamardProd(conv(x, wd), scale))
		return gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Add(y, bias))))))
	}
	first := cost(leaf(g, "photo", 2, 1, 5, 5))
	second := cost(conv(leaf(g, "noise", 2, 1, 5, 5), wg))
	for _, step := range []func() error{
		func() error { return nil },
		func() error { _, err := gorgonia.Grad(first, wd, scale, bias); return err },
		func() error { _, err := gorgonia.Grad(second, wg); return err },
	} {
		require.NoError(t, step())
		assert.Equal(t, []string{"generator", "discriminator"}, kernels(t, gorgonia.Nodes{wg, wd, scale, bias}))
	}
}

// gorgonia.BinaryXent removes a node from the graph, after which ExprGraph.Node finds wrong
// nodes by their number. If that is mended, Read may use ExprGraph.To.
func TestStaleNumbers(t *testing.T) {
	g := gorgonia.NewGraph()
	x := leaf(g, "x", 2, 3, 5, 5)
	_, err := gorgonia.BinaryXent(gorgonia.Must(gorgonia.Sigmoid(conv(x, leaf(g, "w", 1, 3, 5, 5)))), leaf(g, "y", 2, 1, 5, 5))
	require.NoError(t, err)
	stale := 0
	for _, n := range g.AllNodes() {
		if found, ok := g.Node(n.ID()).(*gorgonia.Node); !ok || found != n {
			stale++
		}
	}
	assert.Positive(t, stale, "no number is stale")

	w, b := leaf(g, "later", 2, 3, 3, 3), leaf(g, "bias", 2, 2, 5, 5)
	gorgonia.Must(gorgonia.Add(conv(x, w), b))
	assert.Equal(t, roles.Kernel, roles.Of(w).Role)
	assert.Equal(t, roles.Other, roles.Of(b).Role)
}

// The convolution that a kernel belongs to is that of the operation, and unclear where several differ.
func TestConvolution(t *testing.T) {
	g := gorgonia.NewGraph()
	x, depthwise, up, shared := leaf(g, "x", 2, 4, 5, 5), leaf(g, "depthwise", 8, 1, 3, 3), leaf(g, "up", 8, 2, 3, 3), leaf(g, "shared", 4, 4, 3, 3)
	one := []int{1, 1}
	y := gorgonia.Must(nodes.Conv2dWith(x, gorgonia.Must(nodes.Normalize(depthwise, manifolds.Sphere{})), []int{3, 3}, one, one, nil, nodes.Groups(4)))
	y = gorgonia.Must(nodes.ConvTranspose2d(y, gorgonia.Must(gorgonia.Tanh(up)), []int{3, 3}, one, one, nil, nodes.Groups(2)))
	y = conv(y, shared)
	r := roles.Read(g)
	assert.Equal(t, roles.Convolution{Groups: 4}, r.Of(depthwise).Convolution)
	assert.Equal(t, roles.Convolution{Groups: 2, Transposed: true}, r.Of(up).Convolution)
	assert.Equal(t, roles.Convolution{}, r.Of(shared).Convolution)
	assert.Empty(t, r.Of(depthwise).Unclear+r.Of(up).Unclear+r.Of(shared).Unclear)

	gorgonia.Must(nodes.Conv2dWith(y, gorgonia.Must(gorgonia.Slice(shared, nil, gorgonia.S(0, 2))), []int{3, 3}, one, one, nil, nodes.Groups(2)))
	a := roles.Of(shared)
	assert.Equal(t, roles.Kernel, a.Role)
	assert.Equal(t, roles.Convolution{}, a.Convolution)
	assert.Equal(t, "filter of Conv2d in one group, filter of Conv2d through Slice in 2 groups", a.Unclear)
}

// testOp is an operation of another package, of shape-preserving first input.
type testOp struct {
	name           string
	shapes         []tensor.Shape
	filter, kernel int
	training       *bool
}

func (o testOp) Arity() int { return len(o.shapes) }
func (o testOp) Type() hm.Type {
	var types []hm.Type
	for range len(o.shapes) + 1 {
		types = append(types, gorgonia.TensorType{Dims: 4, Of: hm.TypeVariable('a')})
	}
	return hm.NewFnType(types...)
}
func (o testOp) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return o.shapes[0].Clone(), nil
}
func (o testOp) Do(v ...gorgonia.Value) (gorgonia.Value, error) { return v[0], nil }
func (o testOp) ReturnsPtr() bool                               { return false }
func (o testOp) CallsExtern() bool                              { return false }
func (o testOp) OverwritesInput() int                           { return -1 }
func (o testOp) WriteHash(h hash.Hash) {
	fmt.Fprint(h, o.name, o.shapes, o.filter, o.kernel, o.training)
}
func (o testOp) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}
func (o testOp) String() string   { return "other/place." + o.name + fmt.Sprint(o.shapes) }
func (o testOp) FilterInput() int { return o.filter }
func (o testOp) KernelInput() int { return o.kernel }
func (o testOp) Training() bool   { return o.training == nil || *o.training }

func (o testOp) on(in ...*gorgonia.Node) *gorgonia.Node {
	for _, n := range in {
		o.shapes = append(o.shapes, n.Shape())
	}
	return gorgonia.Must(gorgonia.ApplyOp(o, in...))
}

// Operations of other packages take part by their methods alone.
func TestOtherOperations(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w, u := leaf(g, "x", 2, 3, 5, 5), leaf(g, "w", 4, 3, 3, 3), leaf(g, "u", 4, 3, 3, 3)
	made := testOp{name: "Quantise", filter: -1, kernel: 1}.on(u, w)
	y := testOp{name: "ConvTranspose", filter: 1, kernel: -1}.on(x, made)
	assert.Equal(t, roles.Answer{Role: roles.Kernel, Why: "filter of ConvTranspose through Quantise", ByUse: true}, roles.Of(w))
	assert.Equal(t, roles.Answer{Role: roles.Other, Why: "input 0 of Quantise, which makes a kernel of input 1, not convolved with", ByUse: true}, roles.Of(u))
	assert.Equal(t, roles.Answer{Role: roles.Other, Why: "input of ConvTranspose, not its filter", ByUse: true}, roles.Of(x))

	// The value of a convolution is an activation, whoever made it.
	b := leaf(g, "b", 2, 3, 5, 5)
	testOp{name: "Conv", filter: 1, kernel: -1}.on(x, gorgonia.Must(gorgonia.Add(y, b)))
	assert.Equal(t, "added to activations, not convolved with", roles.Of(b).Why)

	// An operation of several inputs that is neither says nothing; one of one input that keeps
	// the shape passes.
	v, p := leaf(g, "v", 4, 3, 3, 3), leaf(g, "p", 4, 3, 3, 3)
	conv(x, testOp{name: "Mix", filter: -1, kernel: -1}.on(v, u))
	conv(x, testOp{name: "Round", filter: -1, kernel: -1}.on(p))
	assert.Equal(t, "used by Mix, not convolved with", roles.Of(v).Why)
	assert.Equal(t, "filter of Conv2d through Round", roles.Of(p).Why)
}

// A kernel's images are the inputs of its convolutions, stock ones and others, each once.
func TestImages(t *testing.T) {
	g := gorgonia.NewGraph()
	x, z := leaf(g, "x", 2, 4, 6, 6), leaf(g, "z", 2, 4, 6, 6)
	w, v, b := leaf(g, "w", 4, 4, 3, 3), leaf(g, "v", 4, 4, 3, 3), leaf(g, "b", 1, 4, 1, 1)
	y := gorgonia.Must(gorgonia.Add(conv(x, w), conv(z, w)))
	y = gorgonia.Must(gorgonia.BroadcastAdd(y, b, nil, []byte{0, 2, 3}))
	u := gorgonia.Must(nodes.Conv2d(y, gorgonia.Must(nodes.WeightNorm(v, leaf(g, "gain", 4, 1, 1, 1))), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	u = gorgonia.Must(nodes.Conv2d(u, gorgonia.Must(nodes.WeightNorm(v, leaf(g, "gain2", 4, 1, 1, 1))), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	cost := gorgonia.Must(gorgonia.Mean(u))
	read := func() *roles.Graph { return roles.Read(g) }
	for range 2 {
		assert.ElementsMatch(t, gorgonia.Nodes{x, z}, read().Images(w))
		images := read().Images(v)
		require.Len(t, images, 2)
		assert.Contains(t, images, y)
		assert.Empty(t, read().Images(b))
		assert.Empty(t, read().Images(x))
		_, err := gorgonia.Grad(cost, w, v, b) // the backward pass convolves with nothing
		require.NoError(t, err)
	}
}
