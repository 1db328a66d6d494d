// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// reporter is a solver of this package.
type reporter interface {
	gorgonia.Solver
	Report() solvers.Report
}

// descend makes so many steps of a solver on the kernel of layer, and returns the
// row of the report.
func descend(solver reporter, n int) solvers.ParameterReport {
	kernel, vm := layer()
	defer vm.Close()
	for range n {
		if err := vm.RunAll(); err != nil {
			fmt.Println(err)
		}
		if err := solver.Step([]gorgonia.ValueGrad{kernel}); err != nil {
			fmt.Println(err)
			return solvers.ParameterReport{}
		}
		vm.Reset()
	}
	return solver.Report().Parameters[0]
}

// The momentum is a tangent vector that is transported, or ambient, as in the paper. They start
// alike, and part.
func ExampleNewSGD() {
	for _, momentum := range [][]solvers.Option{
		{solvers.Momentum(0.9)},
		{solvers.Momentum(0.9), solvers.AmbientMomentum()},
		{solvers.Momentum(0.9), solvers.Nesterov()},
		{solvers.Momentum(0.9), solvers.Dampening(0.5)},
	} {
		options := append(momentum, solvers.LearnRate(1e-4), solvers.Kernels(manifolds.Sphere{}))
		first := descend(solvers.NewSGD(options...), 1)
		tenth := descend(solvers.NewSGD(options...), 10)
		fmt.Printf("%.4f %.4f\n", first.StepLength, tenth.StepLength)
	}
	// Output:
	// 0.0784 0.0605
	// 0.0784 0.0619
	// 0.1489 0.0407
	// 0.0784 0.0573
}

// Adam moves a constrained point by about the learning rate, as a whole.
func ExampleNewAdam() {
	p := descend(solvers.NewAdam(solvers.LearnRate(0.01), solvers.Betas(0.9, 0.99), solvers.Kernels(manifolds.Sphere{})), 1)
	fmt.Printf("%d points, step length %.4f = 0.01 sqrt(%d)\n", p.Points, p.StepLength, p.Points)

	// Without a constraint every weight moves by the learning rate.
	p = descend(solvers.NewAdam(solvers.LearnRate(0.01)), 1)
	fmt.Printf("%d weights, step length %.4f = 0.01 sqrt(%d)\n", p.N, p.StepLength, p.N)

	// AMSGrad divides by the largest second moment so far.
	p = descend(solvers.NewAdam(solvers.LearnRate(0.01), solvers.AMSGrad(), solvers.Eps(1e-6), solvers.Kernels(manifolds.Sphere{})), 3)
	fmt.Println(p.Membership < 1e-14)
	// Output:
	// 4 points, step length 0.0200 = 0.01 sqrt(4)
	// 72 weights, step length 0.0849 = 0.01 sqrt(72)
	// true
}

// Adagrad moves a point by the learning rate in the first step, and by less and less.
func ExampleNewAdagrad() {
	for _, steps := range []int{1, 10} {
		p := descend(solvers.NewAdagrad(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Sphere{})), steps)
		fmt.Printf("%d points, step %d of length %.4f\n", p.Points, steps, p.StepLength)
	}
	// Output:
	// 4 points, step 1 of length 0.0200
	// 4 points, step 10 of length 0.0044
}

// RMSProp divides by a mean instead of a sum. It starts from 0, so that the first step is 1/sqrt(1 - rho) learning rates long.
func ExampleNewRMSProp() {
	p := descend(solvers.NewRMSProp(solvers.LearnRate(0.01), solvers.Rho(0.75), solvers.Kernels(manifolds.Sphere{})), 1)
	fmt.Printf("%d points, step length %.4f = 0.02 sqrt(%d)\n", p.Points, p.StepLength, p.Points)

	p = descend(solvers.NewRMSProp(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{})), 5)
	fmt.Println(p.Membership < 1e-14)
	// Output:
	// 4 points, step length 0.0400 = 0.02 sqrt(4)
	// true
}

// RDoG needs no learning rate: its first step is a thousandth of the norm of the weights, and the next are as long as the way so far
// allows.
func ExampleNewRDoG() {
	for _, steps := range []int{1, 10, 20} {
		p := descend(solvers.NewRDoG(solvers.Kernels(manifolds.Sphere{})), steps)
		fmt.Printf("step %d of length %.4f\n", steps, p.StepLength)
	}
	// Output:
	// step 1 of length 0.0020
	// step 10 of length 0.0031
	// step 20 of length 0.0148
}

// DoWG is RDoWG where nothing is constrained; all layers together have one distance.
func ExampleNewRDoWG() {
	p := descend(solvers.NewRDoWG(solvers.InitialDistance(1e-2), solvers.DistanceFor(solvers.AllLayers)), 1)
	fmt.Printf("step length %.4f\n", p.StepLength)
	// Output: step length 0.0699
}

// Muon moves matrices by a step whose singular values are the learning rate, and leaves the rest to
// AdamW or another solver.
func ExampleNewMuon() {
	p := descend(solvers.NewMuon(solvers.LearnRate(0.01), solvers.ExactPolar()), 1)
	fmt.Printf("%s: %d weights in 4 filters, step length %.4f = 0.01 sqrt(4)\n", p.Rule, p.N, p.StepLength)

	// On a manifold it takes the tangent direction nearest to that, or one that is steeper.
	p = descend(solvers.NewMuon(solvers.LearnRate(0.01), solvers.Rounds(3), solvers.Kernels(manifolds.Stiefel{})), 3)
	fmt.Println(p.Membership < 1e-14)

	// Parameters that are no matrices, or are put among the rest by name, follow another rule.
	p = descend(solvers.NewMuon(solvers.RestBy(solvers.NewSGD(solvers.LearnRate(0.1))), solvers.Param("kernel", nil).With(solvers.Rest())), 1)
	fmt.Println("the rest by", p.Rule)
	// Output:
	// Muon: 72 weights in 4 filters, step length 0.0200 = 0.01 sqrt(4)
	// true
	// the rest by SGD
}

// AdamW decays what is unconstrained, and nothing else.
func ExampleNewAdamW() {
	p := descend(solvers.NewAdamW(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Stiefel{})), 5)
	fmt.Println(p.Manifold, p.Membership < 1e-13)
	// Output: Stiefel true
}

// All kernels lie on one manifold, but for those that a predicate picks.
func ExampleWhere() {
	solver := solvers.NewSGD(
		solvers.Kernels(manifolds.Stiefel{}),
		solvers.Where(func(name string, shape tensor.Shape) bool {
			return strings.HasPrefix(name, "kernel") && shape[0] < 8
		}, manifolds.Sphere{}, manifolds.PerSlice),
	)
	p := descend(solver, 1)
	fmt.Printf("%s, %d points, %s\n", p.Manifold, p.Points, p.Grouping)
	// Output: Sphere(r=0.7071), 8 points, per slice
}

// What is taken for a convolution kernel where no graph says what the parameter is used for.
func ExampleIsKernel() {
	for _, shape := range []tensor.Shape{{64, 32, 3, 3}, {64, 32, 1, 1}, {64, 1, 3, 3}, {1, 64, 1, 1}, {512, 10}} {
		fmt.Println(shape, solvers.IsKernel(shape))
	}
	// Output:
	// (64, 32, 3, 3) true
	// (64, 32, 1, 1) true
	// (64, 1, 3, 3) true
	// (1, 64, 1, 1) false
	// (512, 10) false
}

// A stock solver with rules for single parameters, and with its rate changed later.
func ExampleConstrainWith() {
	solver := solvers.ConstrainWith(
		gorgonia.NewMomentum(gorgonia.WithLearnRate(1e-4)),
		solvers.Param("kernel", manifolds.Oblique{}),
		solvers.Tolerance(1e-9),
	)
	fmt.Println(solver)
	first := descend(solver, 1)
	fmt.Printf("%s, %d points of %dx%d\n", first.Manifold, first.Points, first.N, first.P)
	gorgonia.WithLearnRate(1e-5)(solver.Unwrap())
	// Output:
	// Constrain(*gorgonia.Momentum)
	// Oblique(r=0.4082), 8 points of 3x3
}

// The report is a table; its rows are values too.
func ExampleSolver_Report() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Kernels(manifolds.Sphere{}))
	descend(solver, 3)
	r := solver.Report()
	fmt.Println(r.Solver, r.Steps, r.LearnRate)
	for _, p := range r.Parameters {
		fmt.Printf("%s: kernel %v, %d points of %dx%d on %s, %s\n", p.Name, p.Kernel, p.Points, p.N, p.P, p.Manifold, p.Grouping)
		fmt.Println("the tangent part of the gradient is shorter:", p.Direction < p.Gradient)
		fmt.Println("re-projected", p.Reprojections, "times")
	}
	// Output:
	// SGD 3 0.0001
	// kernel: kernel true, 4 points of 2x9 on Sphere, per filter
	// the tangent part of the gradient is shorter: true
	// re-projected 0 times
}

// Init projects the weights before the first run, so that the first gradient is
// taken on the manifold.
func ExampleSolver_Init() {
	kernel, vm := layer()
	defer vm.Close()
	solver := solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{}))
	if err := solver.Init([]gorgonia.ValueGrad{kernel}); err != nil {
		fmt.Println(err)
	}
	p := solver.Report().Parameters[0]
	fmt.Println(p.Projected, p.Membership < 1e-14)
	// Output: true true
}

// A run that continues from a snapshot is the run that was not interrupted, to the bit.
func ExampleSolver_Snapshot() {
	newSolver := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
	}
	kernel, vm := layer()
	defer vm.Close()
	model := []gorgonia.ValueGrad{kernel}
	weights := kernel.Value().Data().([]float64)
	run := func(s *solvers.Solver, n int) {
		for range n {
			if err := vm.RunAll(); err != nil {
				fmt.Println(err)
			}
			if err := s.Step(model); err != nil {
				fmt.Println(err)
			}
			vm.Reset()
		}
	}

	first := newSolver()
	run(first, 5)
	snapshot, err := first.Snapshot()
	if err != nil {
		fmt.Println(err)
	}
	then := append([]float64(nil), weights...)
	run(first, 5)
	uninterrupted := append([]float64(nil), weights...)

	copy(weights, then) // the weights of that moment
	second := newSolver()
	if err := second.Restore(model, snapshot); err != nil {
		fmt.Println(err)
	}
	run(second, 5)
	same := true
	for i, w := range weights {
		same = same && w == uninterrupted[i]
	}
	fmt.Println(second.Report().Steps, "steps, the same to the bit:", same)
	// Output: 10 steps, the same to the bit: true
}

// The rate can be set between steps, where a schedule will not do.
func ExampleSolver_SetLearnRate() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-4))
	descend(solver, 1)
	fmt.Println(solver.SetLearnRate(1e-5), solver.Report().LearnRate)
	fmt.Println(solver.SetLearnRate(-1))
	// Output:
	// <nil> 1e-05
	// solvers: LearnRate: want a number in [0, +Inf), got -1 (unusable option)
}

// The geometric factor shortens the steps of points whose past directions were long. It knows none
// before the first step.
func ExampleGeometricStep() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-4), solvers.GeometricStep(), solvers.Kernels(manifolds.Sphere{}))
	fmt.Println("first step, factor above 1:", descend(solver, 1).GeometricFactor > 1)

	solver = solvers.NewSGD(solvers.LearnRate(1e-4), solvers.GeometricStep(), solvers.Kernels(manifolds.Sphere{}))
	fmt.Println("second step, factor above 1:", descend(solver, 2).GeometricFactor > 1)
	// Output:
	// first step, factor above 1: false
	// second step, factor above 1: true
}

// With the paper's own factor no step is longer than the learning rate, the first included. It is
// a function of the gradient that it divides: see docs/solvers.md for what that costs.
func ExampleSampledGeometricStep() {
	for _, on := range []bool{false, true} {
		p := descend(solvers.NewSGD(solvers.LearnRate(0.01), solvers.SampledGeometricStep(on), solvers.Kernels(manifolds.Sphere{})), 1)
		fmt.Println("no point moves farther than the learning rate:", p.StepLength <= 0.01*2, "- factor above 1:", p.GeometricFactor > 1)
	}
	// Output:
	// no point moves farther than the learning rate: false - factor above 1: false
	// no point moves farther than the learning rate: true - factor above 1: true
}

// A gradient with a part that points away from the sphere disturbs ambient momentum. The report says how far it is
// from the bound.
func ExampleAmbientMomentum() {
	for _, rate := range []float64{1e-6, 1e-3} {
		solver := solvers.NewSGD(solvers.LearnRate(rate), solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Kernels(manifolds.Sphere{}))
		p := descend(solver, 1)
		fmt.Printf("%.2g times the bound, %d warnings\n", p.Outward, len(solver.Report().Warnings))
	}
	// Output:
	// 0.02 times the bound, 0 warnings
	// 20 times the bound, 1 warnings
}

// Parameters with settings of their own: Param, Kernels and Where select them.
func ExampleOption_With() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Momentum(0.9),
		solvers.Kernels(manifolds.Sphere{}),
		solvers.Param("kernel", nil).With(solvers.LearnRate(1e-5), solvers.Momentum(0.5), solvers.ClipNorm(10)), // still on the sphere
	)
	p := descend(solver, 1)
	fmt.Println(p.Manifold, p.LearnRate)
	fmt.Println(solver.SetLearnRate(1e-3)) // rates keep their quotient
	fmt.Printf("%.4g\n", solver.Report().Parameters[0].LearnRate)
	// Output:
	// Sphere 1e-05
	// <nil>
	// 0.0001
}

// A parameter that is not trained, or not yet.
func ExampleFrozen() {
	solver := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}).With(solvers.Frozen()))
	p := descend(solver, 3)
	fmt.Println("frozen:", p.Frozen, "- projected:", p.Projected, "- step:", p.StepLength)
	// Output: frozen: true - projected: false - step: 0
}

// A graph that is built anew, as for another batch size, brings new nodes. A parameter is adopted under its name and shape;
// Forget drops those that are gone.
func ExampleSolver_Forget() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
	step := func(v ...gorgonia.ValueGrad) {
		if err := solver.Step(v); err != nil {
			fmt.Println(err)
		}
	}
	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	old := newParam("old", tensor.Float64, 3)
	put(old.w, []float64{1, 0, 0})
	step(kernel, old)
	step(kernel)
	fmt.Println(solver.Forget(), len(solver.Report().Parameters))
	// Output: [old] 1
}

// Gradients are divided by the batch size, clamped, and scaled to a joint norm, in
// this order.
func ExampleClipNorm() {
	for _, o := range [][]solvers.Option{
		{},
		{solvers.BatchSize(10)},
		{solvers.ClipValue(0.5)},
		{solvers.ClipNorm(1)},
	} {
		p := descend(solvers.NewSGD(append(o, solvers.LearnRate(1))...), 1)
		fmt.Printf("gradient %.3g, step %.3g\n", p.Gradient, p.StepLength)
	}
	// Output:
	// gradient 856, step 856
	// gradient 856, step 85.6
	// gradient 856, step 4.24
	// gradient 856, step 1
}

// On a manifold of fixed scale the meaning of weight decay has to be chosen.
func ExampleWeightDecay() {
	stiefel := solvers.Kernels(manifolds.Stiefel{})
	descend(solvers.NewSGD(stiefel, solvers.WeightDecay(1e-4)), 1)

	p := descend(solvers.NewSGD(stiefel, solvers.EuclideanDecay(1e-4)), 1) // of the other parameters
	fmt.Println(p.Manifold)
	p = descend(solvers.NewSGD(stiefel, solvers.AmbientDecay(1e-4), solvers.Momentum(0.9), solvers.AmbientMomentum()), 1) // the paper's
	fmt.Println(p.Manifold)
	// Output:
	// solvers: parameter "kernel" (4, 2, 3, 3): want no weight decay on Stiefel, whose points have a fixed scale, got WeightDecay(0.0001): say EuclideanDecay for the other parameters, or AmbientDecay for the paper's
	// Stiefel
	// Stiefel
}

// A schedule multiplies the learning rate.
func ExampleAnneal() {
	solver := solvers.NewSGD(solvers.LearnRate(1e-3), solvers.Anneal(solvers.StepDecay(2, 0.1)))
	for range 3 {
		fmt.Printf("%.3g ", solver.Report().LearnRate)
		descend(solver, 1)
	}
	fmt.Println()
	// Output: 0.001 0.001 0.0001
}

// Schedules are functions of the step, and can be tried without a solver.
func ExampleSchedule() {
	for _, s := range []solvers.Schedule{
		solvers.Constant(),
		solvers.StepDecay(100, 0.5),
		solvers.Cosine(300, 0.1),
		solvers.Warmup(100, solvers.Constant()),
		solvers.RobbinsMonro(100, 0.75),
		solvers.NewSchedule("saw", func(step int) float64 { return 1 - float64(step%200)/200 }),
	} {
		fmt.Printf("%.3f %.3f %.3f %v\n", s.At(0), s.At(150), s.At(300), s)
	}
	// Output:
	// 1.000 1.000 1.000 constant
	// 1.000 0.500 0.125 step decay by 0.5 every 100
	// 1.000 0.550 0.100 cosine over 300 to 0.1
	// 0.010 1.000 1.000 warm-up over 100, then constant
	// 1.000 0.503 0.354 Robbins-Monro (1+t/100)^-0.75
	// 1.000 0.250 0.500 saw
}

// The condition under which the paper's algorithm converges almost surely.
func ExampleCheckRobbinsMonro() {
	fmt.Println(solvers.CheckRobbinsMonro(solvers.RobbinsMonro(1000, 0.75)))
	fmt.Println(solvers.CheckRobbinsMonro(solvers.Cosine(1000, 0)) != nil)
	// Output:
	// <nil>
	// true
}
