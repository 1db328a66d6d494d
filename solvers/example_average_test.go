// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

// The gradients of |x|^2/2 are noisy, so the weights move around the minimum at 0. Their average is near it.
func ExampleNewEMA() {
	p := &vector{tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(100)), tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(100))}
	model := []gorgonia.ValueGrad{p}
	x, g := p.w.Float64s(), p.g.Float64s()
	distance := func() (d float64) {
		for _, v := range x {
			d = math.Hypot(d, v)
		}
		return d
	}
	ema := solvers.NewEMA(solvers.NewSGD(solvers.LearnRate(0.2)), 0.995)
	noise := rand.New(rand.NewPCG(1, 2))
	run := func() error {
		for range 2000 {
			for i := range g {
				g[i] = x[i] + noise.NormFloat64()
			}
			if err := ema.Step(model); err != nil {
				return err
			}
		}
		fmt.Printf("the weights are %.1f from the minimum\n", distance())
		if err := ema.Swap(model); err != nil {
			return err
		}
		fmt.Printf("the average is %.1f from the minimum\n", distance()) // evaluate here
		ema.SwapBack()
		return nil
	}
	if err := run(); err != nil {
		panic(err)
	}
	// Output:
	// the weights are 3.4 from the minimum
	// the average is 0.5 from the minimum
}

// vector is a parameter without a graph.
type vector struct{ w, g *tensor.Dense }

func (v *vector) Value() gorgonia.Value         { return v.w }
func (v *vector) Grad() (gorgonia.Value, error) { return v.g, nil }
