// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// constant is a leaf of float64.
func constant(g *gorgonia.ExprGraph, name string, shape []int, data ...float64) *gorgonia.Node {
	v := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
}

// value runs the graph of a node once.
func value(n *gorgonia.Node, err error) {
	check(err)
	vm := gorgonia.NewTapeMachine(n.Graph())
	defer vm.Close()
	check(vm.RunAll())
	fmt.Println(n.Shape(), n.Value().Data())
}

// A layer whose filters are orthonormal, from nodes alone: convolution, bias,
// rectifier, pooling, and the gradient of it all in the free kernel v.
func Example() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(8, 3, 12, 12), gorgonia.WithInit(nodes.HeNormal(1, 1)))
	v := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("v"), gorgonia.WithShape(16, 3, 3, 3), gorgonia.WithInit(nodes.HeNormal(math.Sqrt2, 2)))
	b := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("b"), gorgonia.WithShape(1, 16, 1, 1), gorgonia.WithInit(gorgonia.Zeroes()))

	w, err := nodes.Normalize(v, manifolds.Stiefel{})
	check(err)
	y, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
	check(err)
	y, err = nodes.Bias(y, b)
	check(err)
	y, err = nodes.Rectify(y)
	check(err)
	y, err = nodes.MaxPool2D(y, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
	check(err)
	gradients, err := gorgonia.Grad(gorgonia.Must(gorgonia.Mean(y)), v, b)
	check(err)

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	check(vm.RunAll())
	bank, err := manifolds.Points32(w.Value().Data().([]float32), 1, 16, 27)
	check(err)
	fmt.Println(y.Shape(), gradients[0].Shape(), gradients[1].Shape())
	fmt.Println("orthonormal to 1e-5:", manifolds.Stiefel{}.Membership(bank) < 1e-5)
	// Output:
	// (8, 16, 6, 6) (16, 3, 3, 3) (1, 16, 1, 1)
	// orthonormal to 1e-5: true
}

func ExampleMaxPool2D() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 2, 4},
		1, 2, 0, 0,
		3, 0, 0, 7)
	value(nodes.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	// Output: (1, 1, 1, 2) [3 7]
}

func ExampleAveragePool2D() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 2, 4},
		1, 2, 0, 0,
		3, 2, 0, 4)
	value(nodes.AveragePool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	// Output: (1, 1, 1, 2) [2 1]
}

func ExampleGlobalAveragePool2D() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 2, 1, 2}, 1, 3, 5, 7)
	value(nodes.GlobalAveragePool2D(x))
	// Output: (1, 2, 1, 1) [2 6]
}

func ExampleRectify() {
	g := gorgonia.NewGraph()
	value(nodes.Rectify(constant(g, "x", []int{4}, -2, -0.5, 0, 3)))
	// Output: (4) [0 0 0 3]
}

func ExampleBias() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 2, 1, 2}, 1, 2, 3, 4)
	value(nodes.Bias(x, constant(g, "bias", []int{1, 2, 1, 1}, 10, 20)))
	// Output: (1, 2, 1, 2) [11 12 23 24]
}

// A linear layer reads images as vectors.
func ExampleLinear() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 1, 2}, 1, 2)
	w := constant(g, "w", []int{2, 3}, 1, 0, 1, 0, 1, 1)
	value(nodes.Linear(x, w, constant(g, "b", []int{1, 3}, 0, 0, 10)))
	// Output: (1, 3) [1 2 13]
}

// In two groups each filter sees one of two channels.
func ExampleGroups() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 2, 1, 2}, 1, 2, 3, 4)
	w := constant(g, "w", []int{2, 1, 1, 1}, 10, 100)
	value(nodes.Conv2dWith(x, w, tensor.Shape{1, 1}, nil, []int{1, 1}, nil, nodes.Groups(2)))
	// Output: (1, 2, 1, 2) [10 20 300 400]
}

// With circular padding the pixel left of the first is the last.
func ExampleConv2dWith() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 1, 4}, 1, 2, 3, 4)
	w := constant(g, "w", []int{1, 1, 1, 2}, 10, 1)
	value(nodes.Conv2dWith(x, w, tensor.Shape{1, 2}, []int{0, 0, 1, 0}, []int{1, 1}, nil, nodes.Circular()))
	value(nodes.Conv2d(x, w, tensor.Shape{1, 2}, []int{0, 0, 1, 0}, []int{1, 1}, nil))
	// Output:
	// (1, 1, 1, 4) [41 12 23 34]
	// (1, 1, 1, 4) [1 12 23 34]
}

// Of four channels, the first is sorted with the third and the second with the fourth.
func ExampleMaxMin() {
	g := gorgonia.NewGraph()
	value(nodes.MaxMin(constant(g, "x", []int{1, 4}, 1, 6, 3, 2)))
	// Output: (1, 4) [3 6 1 2]
}

// ReLU6.
func ExampleRectifyTo() {
	g := gorgonia.NewGraph()
	value(nodes.RectifyTo(constant(g, "x", []int{1, 4}, -1, 0, 5, 7), 6))
	// Output: (1, 4) [0 0 5 6]
}

// Windows of three columns from five, which overlap.
func ExampleAdaptiveAveragePool2D() {
	g := gorgonia.NewGraph()
	value(nodes.AdaptiveAveragePool2D(constant(g, "x", []int{1, 1, 1, 5}, 1, 2, 6, 4, 8), 1, 2))
	// Output: (1, 1, 1, 2) [3 6]
}

// The last of the windows has one column only.
func ExampleMaxPool2DCeil() {
	g := gorgonia.NewGraph()
	value(nodes.MaxPool2DCeil(constant(g, "x", []int{1, 1, 1, 5}, 1, 2, 6, 4, 8), tensor.Shape{1, 2}, []int{0, 0}, []int{1, 2}))
	// Output: (1, 1, 1, 3) [2 6 8]
}

// The channels of both, for each image.
func ExampleConcat() {
	g := gorgonia.NewGraph()
	value(nodes.Concat(constant(g, "x", []int{2, 1}, 1, 2), constant(g, "y", []int{2, 2}, 3, 4, 5, 6)))
	// Output: (2, 3) [1 3 4 2 5 6]
}

// One vector for each image.
func ExampleFlatten() {
	g := gorgonia.NewGraph()
	value(nodes.Flatten(constant(g, "x", []int{2, 2, 1, 1}, 1, 2, 3, 4)))
	// Output: (2, 2) [1 2 3 4]
}

// With the angle 0, the line is the first axis: a positive second number changes its sign.
func ExampleHouseholder() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{2, 2}, 3, 4, 3, -4)
	value(nodes.Householder(x, constant(g, "angle", []int{1, 1}, 0)))
	// Output: (2, 2) [3 -4 3 -4]
}

// Each pixel is spread over the kernel, and strides spread pixels over the result.
func ExampleConvTranspose2d() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 2, 2}, 1, 2, 3, 4)
	w := constant(g, "w", []int{1, 1, 1, 2}, 1, 10)
	value(nodes.ConvTranspose2d(x, w, tensor.Shape{1, 2}, nil, []int{1, 2}, nil))
	value(nodes.ConvTranspose2d(x, w, tensor.Shape{1, 2}, nil, []int{2, 2}, nil, nodes.OutputPadding(1, 0)))
	// Output:
	// (1, 1, 2, 4) [1 10 2 20 3 30 4 40]
	// (1, 1, 4, 4) [1 10 2 20 0 0 0 0 3 30 4 40 0 0 0 0]
}

// One group of all channels is layer normalisation.
func ExampleGroupNorm() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 2, 1, 2}, 1, 1, 3, 3)
	value(nodes.GroupNorm(x, constant(g, "scale", []int{1, 2, 1, 1}, 1, 1), constant(g, "bias", []int{1, 2, 1, 1}, 0, 0), 1, 2, 1e-30))
	// Output: (1, 2, 1, 2) [-1 -1 1 1]
}

// With the arguments of gorgonia.BatchNorm: scale and bias that are nil are made.
func ExampleBatchNorm() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{2, 1, 1, 1}, 1, 3)
	y, scale, bias, statistics, err := nodes.BatchNorm(x, nil, nil, 0.1, 1e-30)
	value(y, err)
	fmt.Println(scale.Shape(), bias.Shape())
	fmt.Printf("%.1f %.1f after %d batch\n", statistics.Mean, statistics.Variance, statistics.Batches)
	// Output:
	// (2, 1, 1, 1) [-1 1]
	// (1, 1, 1, 1) (1, 1, 1, 1)
	// [0.2] [1.1] after 1 batch
}

// Every second pixel, and channels of zeros after or around those of the input.
func ExampleShortcut() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 1, 3}, 1, 2, 3)
	value(nodes.Shortcut(x, 3, 2))
	value(nodes.Shortcut(x, 3, 2, nodes.ZerosAround()))
	// Output:
	// (1, 3, 1, 2) [1 3 0 0 0 0]
	// (1, 3, 1, 2) [0 0 1 3 0 0]
}

// In training the branch is kept or left out; in evaluation it is multiplied by its probability.
func ExampleStochasticDepth() {
	g := gorgonia.NewGraph()
	branch, shortcut := constant(g, "branch", []int{1}, 8), constant(g, "shortcut", []int{1}, 1)
	y, err := nodes.StochasticDepth(branch, shortcut, 0.5, &nodes.Noise{Seed: 1})
	check(err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	seen := map[float64]bool{}
	for range 20 {
		check(vm.RunAll())
		seen[y.Value().Data().([]float64)[0]] = true
		vm.Reset()
	}
	fmt.Println("training", seen)
	evaluation := gorgonia.NewTapeMachine(g, gorgonia.EvalMode())
	defer evaluation.Close()
	check(evaluation.RunAll())
	fmt.Println("evaluation", y.Value().Data())
	// Output:
	// training map[1:true 9:true]
	// evaluation [5]
}

// Cause extracts the error of the operation that failed.
func ExampleCause() {
	g := gorgonia.NewGraph()
	x := constant(g, "x", []int{1, 1, 2, 2}, 1, math.NaN(), 3, 4)
	_, err := nodes.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
	check(err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	err = nodes.Cause(vm.RunAll())
	fmt.Println(err)
	fmt.Println(errors.Is(err, nodes.ErrNotFinite))
	// Output:
	// nodes.MaxPool2D: window at rows 0-1, columns 0-1 of plane 0: want numbers, got NaN
	// true
}

// Initialisers are seeded: the same weights each time.
func ExampleHeNormal() {
	draw := func(init gorgonia.InitWFn) []float32 {
		w := gorgonia.NewTensor(gorgonia.NewGraph(), tensor.Float32, 4, gorgonia.WithName("w"), gorgonia.WithShape(64, 32, 3, 3), gorgonia.WithInit(init))
		return w.Value().Data().([]float32)
	}
	for _, c := range []struct {
		name     string
		init     gorgonia.InitWFn
		variance float64
	}{
		{"HeNormal", nodes.HeNormal(math.Sqrt2, 1), 2.0 / (32 * 9)},
		{"HeUniform", nodes.HeUniform(math.Sqrt2, 1), 2.0 / (32 * 9)},
		{"GlorotNormal", nodes.GlorotNormal(1, 1), 2.0 / ((32 + 64) * 9)},
		{"GlorotUniform", nodes.GlorotUniform(1, 1), 2.0 / ((32 + 64) * 9)},
	} {
		w := draw(c.init)
		squares := 0.0
		for _, v := range w {
			squares += float64(v) * float64(v)
		}
		fmt.Printf("%s: variance within 5 %%: %v\n", c.name, math.Abs(squares/float64(len(w))/c.variance-1) < 0.05)
	}
	fmt.Println(draw(nodes.HeNormal(1, 1))[0] == draw(nodes.HeNormal(1, 1))[0])
	// Output:
	// HeNormal: variance within 5 %: true
	// HeUniform: variance within 5 %: true
	// GlorotNormal: variance within 5 %: true
	// GlorotUniform: variance within 5 %: true
	// true
}

// Slices of a layer that start on the spheres where a solver with the same
// constraint keeps them.
func ExampleManifoldInit() {
	c := manifolds.On(manifolds.Sphere{}, manifolds.PerSlice)
	w := gorgonia.NewTensor(gorgonia.NewGraph(), tensor.Float64, 4, gorgonia.WithName("w"), gorgonia.WithShape(8, 4, 3, 3),
		gorgonia.WithInit(nodes.ManifoldInit(c, 1)))
	slices, err := manifolds.Points64(w.Value().Data().([]float64), 32, 3, 3)
	check(err)
	fmt.Println("on spheres of radius 1/sqrt(4):", manifolds.Sphere{Radius: 0.5}.Membership(slices) < 1e-14)
	// Output: on spheres of radius 1/sqrt(4): true
}

// Filters of norm 2 in random directions.
func ExampleUnitFilterInit() {
	w := gorgonia.NewTensor(gorgonia.NewGraph(), tensor.Float64, 4, gorgonia.WithName("w"), gorgonia.WithShape(8, 4, 3, 3),
		gorgonia.WithInit(nodes.UnitFilterInit(2, 1)))
	filters, err := manifolds.Points64(w.Value().Data().([]float64), 8, 4, 9)
	check(err)
	fmt.Println(manifolds.Sphere{Radius: 2}.Membership(filters) < 1e-14)
	// Output: true
}

// JSON saves and restores the state of nodes without rounding.
func ExampleStatistics() {
	statistics, err := nodes.NewStatistics(2, 0.1)
	check(err)
	statistics.Mean[0], statistics.Batches = 1.0/3, 7
	text, err := json.Marshal(statistics)
	check(err)
	var back nodes.Statistics
	check(json.Unmarshal(text, &back))
	fmt.Println(string(text))
	fmt.Println(back.Mean[0] == 1.0/3)
	// Output:
	// {"Mean":[0.3333333333333333,0],"Variance":[1,1],"Momentum":0.1,"Batches":7}
	// true
}

// A convolution with a kernel of AOL is 1-Lipschitz, whatever the weights are.
func ExampleAOL() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("x"), gorgonia.WithShape(1, 3, 8, 8))
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"), gorgonia.WithShape(4, 3, 3, 3), gorgonia.WithInit(nodes.HeNormal(5, 1)))
	for _, kernel := range []func(*gorgonia.Node) (*gorgonia.Node, error){
		func(v *gorgonia.Node) (*gorgonia.Node, error) { return v, nil },
		func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.AOL(v, 1) },
		func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.ConvSpectralNorm(v, 0.01) },
	} {
		w, err := kernel(v)
		check(err)
		y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil))
		bounds, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
		check(err)
		fmt.Println(bounds.Bound <= 1)
	}
	// Output:
	// false
	// true
	// true
}

// The bounds of a small net, node by node.
func ExampleLipschitz() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float64, 2, gorgonia.WithName("x"), gorgonia.WithShape(1, 2))
	w := gorgonia.NewTensor(g, tensor.Float64, 2, gorgonia.WithName("w"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{3, 0, 0, -1}))))
	y := gorgonia.Must(nodes.MaxMin(gorgonia.Must(nodes.Linear(x, w, nil))))
	y = gorgonia.Must(nodes.Add(y, x))
	bounds, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
	check(err)
	fmt.Print(bounds)
	// Output:
	// layer   operation                      bound       total
	// w       nodes.Linear                       3           3
	//         nodes.MaxMin                       1           3
	//         nodes.Add                          1           4
	// output                                                 4
}
