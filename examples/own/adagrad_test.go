// SPDX-License-Identifier: Apache-2.0

package own_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/examples/own"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// parameter is what a solver moves, without a graph around it.
type parameter struct{ w, g *tensor.Dense }

func (p parameter) Value() gorgonia.Value         { return p.w }
func (p parameter) Grad() (gorgonia.Value, error) { return p.g, nil }
func (p parameter) Name() string                  { return "w" }

func newParameter(rng *rand.Rand, shape ...int) parameter {
	p := parameter{tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(shape...)), tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(shape...))}
	fill(p.w, rng)
	return p
}

func fill(t *tensor.Dense, rng *rand.Rand) {
	for i := range t.Float64s() {
		t.Float64s()[i] = rng.NormFloat64()
	}
}

// Without a constraint every weight follows the textbook's recurrence.
func TestAdagradIsTheTextbooks(t *testing.T) {
	const lr = 0.1
	rng := rand.New(rand.NewPCG(1, 2))
	p := newParameter(rng, 4, 3)
	want := append([]float64(nil), p.w.Float64s()...)
	sums := make([]float64, len(want))
	solver := own.NewAdagrad(solvers.LearnRate(lr))
	for range 50 {
		fill(p.g, rng)
		for i, g := range p.g.Float64s() {
			sums[i] += g * g
			want[i] -= lr * g / (math.Sqrt(sums[i]) + 1e-8)
		}
		if err := solver.Step([]gorgonia.ValueGrad{p}); err != nil {
			t.Fatal(err)
		}
	}
	for i, got := range p.w.Float64s() {
		if math.Abs(got-want[i]) > 1e-14 { // 50 steps of rounding
			t.Errorf("weight %d: want %v, got %v", i, want[i], got)
		}
	}
}

// On spheres the first step turns every point by the arc tangent of the learning
// rate, however long its gradient is.
func TestAdagradOnSpheres(t *testing.T) {
	const lr = 0.1
	rng := rand.New(rand.NewPCG(1, 2))
	p := newParameter(rng, 5, 2, 3, 3)
	solver := own.NewAdagrad(solvers.LearnRate(lr), solvers.Kernels(manifolds.Sphere{}))
	if err := solver.Init([]gorgonia.ValueGrad{p}); err != nil {
		t.Fatal(err)
	}
	before := append([]float64(nil), p.w.Float64s()...)
	fill(p.g, rng)
	for i := range p.g.Float64s() {
		p.g.Float64s()[i] *= float64(1 + i/18) // filters have 18 weights
	}
	if err := solver.Step([]gorgonia.ValueGrad{p}); err != nil {
		t.Fatal(err)
	}
	for filter := range 5 {
		cos := 0.0
		for i := 18 * filter; i < 18*filter+18; i++ {
			cos += before[i] * p.w.Float64s()[i]
		}
		if angle := math.Acos(cos); math.Abs(angle-math.Atan(lr)) > 1e-7 {
			t.Errorf("filter %d: want an angle of %v, got %v", filter, math.Atan(lr), angle)
		}
	}
}

// A solver of a rule has the options, the report and the snapshots of all solvers.
func ExampleNewAdagrad() {
	p := newParameter(rand.New(rand.NewPCG(1, 2)), 8, 4, 3, 3)
	solver := own.NewAdagrad(solvers.LearnRate(0.1), solvers.Anneal(solvers.StepDecay(10, 0.5)), solvers.Kernels(manifolds.Stiefel{}))
	for range 20 {
		fill(p.g, rand.New(rand.NewPCG(3, 4)))
		if err := solver.Step([]gorgonia.ValueGrad{p}); err != nil {
			fmt.Println(err)
		}
	}
	report := solver.Report()
	fmt.Println(report.Parameters[0].Manifold, report.Parameters[0].Membership < 1e-13, report.LearnRate)

	saved, err := solver.Snapshot()
	fmt.Println(saved.Parameters[0].State[0].Name, saved.Parameters[0].State[0].Shape, err)
	// Output:
	// Stiefel true 0.025
	// sum of squares [1 1 1] <nil>
}

// The option reaches the rule, for all parameters and for some, and is an error with an impossible value or another rule.
func TestAdagradEps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		option solvers.Option
		eps    float64
	}{
		{own.AdagradEps(0.5), 0.5},
		{solvers.Param("w", nil).With(own.AdagradEps(2)), 2},
	} {
		p := newParameter(rng, 1)
		start := p.w.Float64s()[0]
		p.g.Float64s()[0] = 3
		if err := own.NewAdagrad(solvers.LearnRate(1), c.option).Step([]gorgonia.ValueGrad{p}); err != nil {
			t.Fatal(err)
		}
		if got, want := p.w.Float64s()[0], start-3/(3+c.eps); math.Abs(got-want) > 1e-15 {
			t.Errorf("eps %v: want %v, got %v", c.eps, want, got)
		}
	}
	p := newParameter(rng, 1)
	for _, s := range []*solvers.Solver{own.NewAdagrad(own.AdagradEps(-1)), solvers.NewSGD(own.AdagradEps(1))} {
		if err := s.Step([]gorgonia.ValueGrad{p}); !errors.Is(err, solvers.ErrOption) {
			t.Errorf("want an error of an option, got %v", err)
		}
	}
}
