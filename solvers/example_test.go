// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// layer is one convolution and its squared output as the cost: enough of a
// net to have a gradient.
func layer() (kernel *gorgonia.Node, vm gorgonia.VM) {
	g := gorgonia.NewGraph()
	weights, image := make([]float64, 4*2*3*3), make([]float64, 2*8*8)
	for i := range weights {
		weights[i] = math.Sin(float64(i * i))
	}
	for i := range image {
		image[i] = math.Cos(float64(3 * i))
	}
	x := gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("x"),
		gorgonia.WithValue(tensor.New(tensor.WithBacking(image), tensor.WithShape(1, 2, 8, 8))))
	kernel = gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("kernel"),
		gorgonia.WithValue(tensor.New(tensor.WithBacking(weights), tensor.WithShape(4, 2, 3, 3))))
	y := gorgonia.Must(gorgonia.Conv2d(x, kernel, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(y))))
	if _, err := gorgonia.Grad(cost, kernel); err != nil {
		panic(err)
	}
	return kernel, gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(kernel))
}

// The one changed line is the first.
func Example() {
	solver := solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))

	kernel, vm := layer()
	defer vm.Close()
	for range 10 {
		if err := vm.RunAll(); err != nil {
			fmt.Println(err)
		}
		if err := solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{kernel})); err != nil {
			fmt.Println(err)
		}
		vm.Reset()
	}
	p := solver.Report().Parameters[0]
	fmt.Printf("%s %v: %s, %s, %d point of %dx%d\n", p.Name, p.Shape, p.Manifold, p.Grouping, p.Points, p.N, p.P)
	fmt.Println("projected at first:", p.Projected)
	fmt.Println("membership error below 1e-14:", p.Membership < 1e-14)
	// Output:
	// kernel (4, 2, 3, 3): Stiefel, filter bank, 1 point of 4x18
	// projected at first: true
	// membership error below 1e-14: true
}

// Any solver of Gorgonia can be wrapped; its options stay as they are.
func ExampleConstrain() {
	solver := solvers.Constrain(gorgonia.NewAdamSolver(gorgonia.WithLearnRate(1e-3)), manifolds.Sphere{}, manifolds.PerSlice)

	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(solver.Step([]gorgonia.ValueGrad{kernel}))
	p := solver.Report().Parameters[0]
	fmt.Println(p.Manifold, p.Points, p.Membership < 1e-14)
	// Output:
	// <nil>
	// Sphere(r=0.7071) 8 true
}

// A rule that applies to no parameter is an error, and nothing has moved.
func ExampleParam() {
	solver := solvers.NewAdam(solvers.Param("kernle", manifolds.Sphere{}))

	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	err := solver.Step([]gorgonia.ValueGrad{kernel})
	fmt.Println(err)
	fmt.Println(errors.Is(err, solvers.ErrConstraint))
	// Output:
	// solvers: Param("kernle", Sphere) applies to no parameter: got kernel(4, 2, 3, 3) (filter of Conv2d) (unusable constraint)
	// true
}

// normalised moves every point by the same length: a
// Rule is all that a solver needs.
type normalised struct{}

func (normalised) Name() string { return "normalised SGD" }

func (normalised) State() []solvers.State { return nil }

func (normalised) Direction(p *solvers.Part) error {
	if err := p.Riemannian(p.Direction, p.Gradient); err != nil {
		return err
	}
	norms := make([]float64, p.X.K)
	if err := manifolds.Inner(p.Manifold, norms, p.X, p.Direction, p.Direction); err != nil {
		return err
	}
	for i, sq := range norms {
		norms[i] = 1 / (math.Sqrt(sq) + 1e-12)
	}
	return p.Direction.Scale(norms, p.Direction)
}

// trust bounds the step of a point of norm r by its share of r.
type trust struct {
	normalised
	share float64
}

func (trust) Name() string { return "trust" }

func (r trust) Direction(p *solvers.Part) error {
	if err := r.normalised.Direction(p); err != nil {
		return err
	}
	p.Rate = min(p.Rate, r.share*p.Bound()/math.Sqrt(float64(p.X.K)))
	return nil
}

// Share is an option of the rule, and an error with any other.
func Share(share float64) solvers.Option {
	return solvers.Tune("Share", func(r solvers.Rule) (solvers.Rule, bool) {
		t, ok := r.(trust)
		t.share = share
		return t, ok
	})
}

// An option of a rule of one's own works as those of this package do, in With too.
func ExampleTune() {
	sphere := solvers.Kernels(manifolds.Sphere{})
	p := descend(solvers.New(trust{share: 1}, solvers.LearnRate(0.5), Share(0.01), sphere), 1)
	fmt.Printf("%.3f\n", p.StepLength)
	p = descend(solvers.New(trust{share: 1}, solvers.LearnRate(0.5), sphere.With(Share(0.1))), 1)
	fmt.Printf("%.3f\n", p.StepLength)
	descend(solvers.NewSGD(Share(0.1)), 1)
	// Output:
	// 0.020
	// 0.200
	// solvers: SGD has no option Share (unusable option)
}

// A solver of one's own: normalised Riemannian gradient descent, whose points
// all move by the learning rate.
func ExampleNew() {
	solver := solvers.New(normalised{}, solvers.LearnRate(0.05), solvers.Kernels(manifolds.Sphere{}))

	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(solver.Step([]gorgonia.ValueGrad{kernel}))
	p := solver.Report().Parameters[0]
	fmt.Printf("%d points, step length %.3f = 0.05 sqrt(%d)\n", p.Points, p.StepLength, p.Points)
	// Output:
	// <nil>
	// 4 points, step length 0.100 = 0.05 sqrt(4)
}

// The learning rate rises over 500 steps and then falls along a cosine.
func ExampleWarmup() {
	s := solvers.Warmup(500, solvers.Cosine(10000, 0))
	for _, t := range []int{0, 249, 499, 5500, 10500} {
		fmt.Printf("%.3f ", s.At(t))
	}
	fmt.Println(s)
	// Output:
	// 0.002 0.500 1.000 0.500 0.000 warm-up over 500, then cosine over 10000 to 0
}

// A cost of all the data is minimised by L-BFGS. It depends only on the span of the filters.
func ExampleMinimize() {
	rng := rand.New(rand.NewPCG(1, 2))
	gaussian := func(shape ...int) *tensor.Dense {
		values := make([]float64, tensor.Shape(shape).TotalSize())
		for i := range values {
			values[i] = rng.NormFloat64()
		}
		return tensor.New(tensor.WithBacking(values), tensor.WithShape(shape...))
	}
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("x"), gorgonia.WithValue(gaussian(20, 2, 8, 8)))
	w := gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("w"), gorgonia.WithValue(gaussian(4, 2, 3, 3)))
	y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{0, 0}, []int{1, 1}, []int{1, 1}))
	node := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y))))
	if _, err := gorgonia.Grad(node, w); err != nil {
		fmt.Println(err)
	}
	var cost gorgonia.Value
	gorgonia.Read(node, &cost)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
	defer vm.Close()

	r, err := solvers.Minimize(context.Background(), []gorgonia.ValueGrad{w}, solvers.CostOf(vm, &cost),
		solvers.Kernels(manifolds.Grassmann{}), solvers.GradientTolerance(1e-9))
	fmt.Println(err, r.Reason)
	fmt.Printf("cost %.4f, gradient below 1e-9: %v\n", r.Cost, r.Gradient < 1e-9)
	// Output:
	// <nil> small gradient
	// cost 0.7518, gradient below 1e-9: true
}

// A cost with a gradient by hand, |w - c|^2, where the factor 2 was forgotten.
func ExampleCheckGradient() {
	kernel, vm := layer() // |y|^2, with a gradient by Gorgonia
	defer vm.Close()
	w, target := kernel.Value().Data().([]float64), 0.1
	var slope float64
	cost := func() (float64, error) {
		g, err := kernel.Grad()
		if err != nil {
			return 0, err
		}
		sum := 0.0
		for i, x := range w {
			sum += (x - target) * (x - target)
			g.Data().([]float64)[i] = slope * (x - target)
		}
		return sum, nil
	}
	if err := vm.RunAll(); err != nil { // makes the memory for the gradient
		fmt.Println(err)
	}
	for _, slope = range []float64{1, 2} {
		c, err := solvers.CheckGradient(context.Background(), []gorgonia.ValueGrad{kernel}, cost, solvers.Kernels(manifolds.Stiefel{}))
		fmt.Println(err, c.Parameters[0].Name, c.Parameters[0].Verdict)
		fmt.Println(errors.Is(c.Err(), solvers.ErrGradient))
	}
	// Output:
	// <nil> kernel wrong
	// true
	// <nil> kernel right
	// false
}
