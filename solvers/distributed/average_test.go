// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Ranks that average their gradients move as one that has the mean of all, to a tolerance: each mean is off by a few
// roundings, over 20 steps of a length that Adam may make the learning rate for any gradient. Their weights
// are the same after every step, to the bit, and the work that is shared has the results of that which is not.
func TestStepsOfTheMean(t *testing.T) {
	for _, of := range precisions {
		for _, s := range makers() {
			for _, mixed := range both() {
				t.Run(fmt.Sprintf("%v/%s/mixed %v", of, s.name, mixed), func(t *testing.T) {
					onRanks(t, func(t *testing.T, g *distributed.Group) {
						m, twin := net(of, uint64(1+g.Rank()), mixed), net(of, 1, mixed)
						solver, whole, reference := average(g, s.make()), average(g, s.make(), distributed.Divide(false)), s.make()
						if of == tensor.Float64 {
							whole = average(g, s.make(), distributed.DivideFrom(5)) // some of them
						}
						n := net(of, 1, mixed)
						require.NoError(t, solver.Init(all(m)))
						if i, ok := reference.(interface {
							Init([]gorgonia.ValueGrad) error
						}); ok {
							require.NoError(t, i.Init(all(twin)))
						}
						near(t, twin, m, 0, "weights of rank 0 after Init")
						for step := range 20 {
							gradients(m, step, g.Rank())
							gradients(n, step, g.Rank())
							meanGradients(twin, step, g.Size())
							require.NoError(t, solver.Step(all(m)))
							require.NoError(t, whole.Step(all(n)))
							require.NoError(t, reference.Step(all(twin)))
							zero(t, m)
							alike(t, g, bits(m), "step", step)
							require.Equal(t, bits(m), bits(n))
							tolerance := 2000 * eps(of)
							if mixed {
								tolerance = 2000 * eps(tensor.Float32)
							}
							near(t, twin, m, tolerance, "step", step)
						}
						for _, p := range solver.Report().Parameters {
							assert.LessOrEqual(t, p.Membership, 8*math.Sqrt(float64(p.N*p.P))*eps(tensor.Float32), p.Name)
						}
					})
				})
			}
		}
	}
}

// Two runs of the same ranks have the same bits.
func TestRunsRepeat(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		var first []byte
		for again := range 3 {
			m := net(tensor.Float32, 1, false)
			solver := average(g, solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Stiefel{})))
			for step := range 10 {
				gradients(m, step, g.Rank())
				require.NoError(t, solver.Step(all(m)))
			}
			if again == 0 {
				first = bits(m)
			}
			require.Equal(t, first, bits(m))
		}
	})
}

// A constrained solver whose report is asked for tells of all parameters, on every rank the same.
func TestReport(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float64, 1, false)
		solver := average(g, solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Sphere{})))
		for step := range 3 {
			gradients(m, step, g.Rank())
			require.NoError(t, solver.Step(all(m)))
		}
		r := solver.Report()
		assert.Equal(t, fmt.Sprintf("Average(SGD, %d ranks)", g.Size()), r.Solver)
		assert.Equal(t, 3, r.Steps)
		require.Len(t, r.Parameters, len(m))
		for _, p := range r.Parameters {
			assert.Positive(t, p.Gradient, p.Name)
			assert.Positive(t, p.Direction, p.Name)
			assert.Positive(t, p.StepLength, p.Name)
		}
		alike(t, g, []byte(r.String()))
	})
	assert.Equal(t, "Average(*gorgonia.AdamSolver, 1 ranks)", distributed.Average(group(t), gorgonia.NewAdamSolver()).Report().Solver)
}

// Parameters may join, and leave out a step, if they do so on all ranks.
func TestParametersJoin(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		m, twin := net(tensor.Float64, uint64(g.Rank()), true), net(tensor.Float64, 0, true)
		make := func() gorgonia.Solver { return solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Stiefel{})) }
		solver, reference := average(g, make()), make()
		for step, part := range [][2]int{{0, 3}, {0, 3}, {0, 6}, {2, 5}, {5, 6}, {0, 0}, {0, 6}} {
			gradients(m, step, g.Rank())
			meanGradients(twin, step, g.Size())
			require.NoError(t, solver.Step(all(m[part[0]:part[1]])))
			require.NoError(t, reference.Step(all(twin[part[0]:part[1]])))
			alike(t, g, bits(m[:part[1]]), "part", part)
			near(t, twin[:part[1]], m[:part[1]], 1e-5, "part", part)
		}
	})
}

// No graph is kept alive, so a net that is built again with other weights is the one before, as on one rank.
func TestRebuilt(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		s := average(g, solvers.NewSGD(solvers.Momentum(0.9)))
		step := func(seed uint64) weak.Pointer[gorgonia.Node] {
			p := newParam("kernel", tensor.Float64, seed, 2, 3)
			fill(p.g, seed, 1, "gradient")
			n := gorgonia.NodeFromAny(gorgonia.NewGraph(), p.w, gorgonia.WithName(p.name))
			gorgonia.WithGrad(p.g)(n)
			require.NoError(t, s.Step([]gorgonia.ValueGrad{n}))
			return weak.Make(n)
		}
		first := step(1)
		runtime.GC()
		assert.Nil(t, first.Value())
		step(2)
		assert.Len(t, s.Report().Parameters, 1)
	})
}

// A step makes no garbage after the first ones. Ranks within one process make some to speak with each other, less than
// the smallest of the buffers that a step needs.
func TestStepsDoNotAllocate(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		for _, opts := range [][]distributed.Option{{}, {distributed.Divide(false)}, {distributed.DivideFrom(1000)}, {distributed.CheckEvery(1)}} {
			m := append(net(tensor.Float32, 1, false), newParam("large", tensor.Float32, 1, 64, 32, 3, 3))
			solver := average(g, solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Sphere{})), opts...)
			given := all(m)
			step := func() {
				for _, p := range m {
					set(p.g, 0, 1)
				}
				require.NoError(t, solver.Step(given))
			}
			for range 3 {
				step()
			}
			var before, after runtime.MemStats
			_, err := g.Sum(0)
			require.NoError(t, err)
			runtime.ReadMemStats(&before)
			const steps = 50
			for range steps {
				step()
			}
			runtime.ReadMemStats(&after)
			_, err = g.Sum(0)
			require.NoError(t, err)
			assert.Less(t, float64(after.TotalAlloc-before.TotalAlloc)/steps/float64(g.Size()), 4096.0)
			if mpitest.Launched() { // nothing but what other goroutines of the test program do
				assert.Less(t, (after.Mallocs-before.Mallocs)/steps, uint64(1))
			}
			t.Logf("%d bytes, %d times", (after.TotalAlloc-before.TotalAlloc)/steps, (after.Mallocs-before.Mallocs)/steps)
		}
	})
}
