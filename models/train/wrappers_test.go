// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// counter counts the steps of the solver that it wraps.
type counter struct {
	of    gorgonia.Solver
	steps *atomic.Int32
}

func (c counter) Step(w []gorgonia.ValueGrad) error {
	c.steps.Add(1)
	return c.of.Step(w)
}

func (c counter) Unwrap() gorgonia.Solver { return c.of }

// wrapped wraps a solver so many times.
func wrapped(s gorgonia.Solver, times int) (gorgonia.Solver, *atomic.Int32) {
	steps := new(atomic.Int32)
	for range times {
		s = counter{s, steps}
	}
	return s, steps
}

// A run with wrappers around the averaging solver, and around the one in it, is saved with the state of the solver: resumed in
// the middle of an epoch, it ends with the weights of an uninterrupted run without wrappers.
func TestWrappersResume(t *testing.T) {
	set := easy(t)
	const epochs = 2
	for _, np := range []int{1, 2} {
		for _, depth := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {2, 3}} {
			t.Run(fmt.Sprintf("%d ranks, %d wrappers outside, %d inside", np, depth[0], depth[1]), func(t *testing.T) {
				dir := t.TempDir()
				together(t, np, func(t *testing.T, g *distributed.Group) {
					fit := func(outside, inside int, c train.Checkpoint, stop int) []float64 {
						m := kind{}.model(t, g)
						inner, _ := wrapped(solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{})), inside)
						s, steps := wrapped(distributed.Average(g, inner, distributed.DivideFrom(0)), outside)
						_, err := train.Fit(context.Background(), m, s, set.Train.First(4*whole), train.Options{
							Epochs: epochs, Group: g, Checkpoint: c,
							AfterStep: func(at train.Step) error {
								if at.Number == stop {
									return train.ErrStop
								}
								return nil
							},
						})
						require.NoError(t, err)
						if outside > 0 {
							assert.Positive(t, steps.Load(), "wrappers are called")
						}
						return numbers(m)
					}
					want := fit(0, 0, train.Checkpoint{}, 0)
					fit(depth[0], depth[1], train.Checkpoint{Dir: dir}, 3)
					got := fit(depth[0], depth[1], train.Checkpoint{Dir: dir, Resume: true}, 0)
					near(t, want, got, 1e-5, "weights") // the inner wrapper hides that work can be divided: other cuts, other rounding
					if depth[1] == 0 || np == 1 {
						assert.Equal(t, want, got)
					}
				})
			})
		}
	}
}

// A solver whose state cannot be kept is refused before the first step, by an error that names every wrapper. The
// same solver trains without its state.
func TestWrappersRefused(t *testing.T) {
	set := easy(t)
	for _, np := range []int{1, 2} {
		for _, c := range []struct {
			of   func() gorgonia.Solver
			want []string
		}{
			{func() gorgonia.Solver { return gorgonia.NewAdamSolver() }, []string{"*gorgonia.AdamSolver", "want a solver with the methods Snapshot and Restore"}},
			{func() gorgonia.Solver { return solvers.Constrain(gorgonia.NewAdamSolver(), manifolds.Sphere{}) },
				[]string{"*solvers.Constrained around *gorgonia.AdamSolver", "want a wrapped solver without a memory"}},
		} {
			for _, depth := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {2, 2}} {
				t.Run(fmt.Sprintf("%d ranks, %T, wrappers %v", np, c.of(), depth), func(t *testing.T) {
					dir := t.TempDir()
					together(t, np, func(t *testing.T, g *distributed.Group) {
						fit := func(c2 train.Checkpoint) (int32, error) {
							inner, _ := wrapped(c.of(), depth[1])
							s, _ := wrapped(distributed.Average(g, inner), depth[0])
							s, steps := wrapped(s, 1)
							_, err := train.Fit(context.Background(), kind{}.model(t, g), s, set.Train.First(whole), train.Options{Group: g, Checkpoint: c2})
							return steps.Load(), err
						}
						steps, err := fit(train.Checkpoint{Dir: filepath.Join(dir, "none")})
						require.Error(t, err)
						for _, want := range append(c.want, "train_test.counter around ", "*distributed.Solver", "Checkpoint.WeightsOnly") {
							assert.ErrorContains(t, err, want)
						}
						assert.NotContains(t, err.Error(), "\n")
						assert.Zero(t, steps)
						_, err = os.Stat(filepath.Join(dir, "none"))
						assert.ErrorIs(t, err, os.ErrNotExist)

						steps, err = fit(train.Checkpoint{Dir: dir, WeightsOnly: true})
						require.NoError(t, err)
						assert.Equal(t, int32(1), steps)
					})
				})
			}
		}
	}
}

// Wrappers around a solver that does not average are not of all ranks.
func TestWrappersOfOneRank(t *testing.T) {
	set := easy(t)
	together(t, 2, func(t *testing.T, g *distributed.Group) {
		for depth := range 3 {
			s, steps := wrapped(solvers.NewSGD(), depth)
			_, err := train.Fit(context.Background(), kind{}.model(t, g), s, set.Train.First(whole), train.Options{Group: g})
			assert.ErrorContains(t, err, "want a solver of all 2 ranks, made by distributed.Average, got ")
			assert.ErrorContains(t, err, "*solvers.Solver")
			assert.Zero(t, steps.Load())
		}
	})
}

// Rates reach the solver inside wrappers of any depth, and are reported from there.
func TestWrappersRate(t *testing.T) {
	set := easy(t)
	for depth := range 4 {
		for _, of := range []func() gorgonia.Solver{
			func() gorgonia.Solver { return solvers.NewSGD() },
			func() gorgonia.Solver { return gorgonia.NewVanillaSolver() },
			func() gorgonia.Solver { return solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Euclidean{}) },
		} {
			fit := func(depth int) ([]float64, []train.Epoch) {
				m := net(t, false)
				s, _ := wrapped(of(), depth)
				epochs, err := train.Fit(context.Background(), m, s, set.Train.First(60), train.Options{
					Epochs: 2, LearnRate: func(step int) float64 { return 0.3 / float64(1+step) },
				})
				require.NoError(t, err)
				return numbers(m), epochs
			}
			want, epochs := fit(0)
			got, _ := fit(depth)
			assert.Equal(t, want, got)
			assert.InDelta(t, 0.3, epochs[0].LearnRate, 1e-15)
			assert.InDelta(t, 0.3/4, epochs[1].LearnRate, 1e-15)
		}
		s, steps := wrapped(gorgonia.NewAdaGradSolver(), depth)
		_, err := train.Fit(context.Background(), net(t, false), s, set.Train, train.Options{LearnRate: func(int) float64 { return 1 }})
		assert.ErrorContains(t, err, "train: LearnRate: ")
		assert.ErrorContains(t, err, "want a solver whose learning rate can be set, got *gorgonia.AdaGradSolver")
		assert.Zero(t, steps.Load())
	}
}

// Logs and checkpoints of before call the training loss "loss".
func TestOldLog(t *testing.T) {
	var e train.Epoch
	require.NoError(t, e.UnmarshalJSON([]byte(`{"epoch":3,"of":5,"images":220,"loss":0.5,"train_accuracy":0.75,"test_loss":0.625,"test_accuracy":0.875,`+
		`"validation_loss":null,"validation_accuracy":null,"learning_rate":0.5,"images_per_second":110,"seconds":2,"best":true}`)))
	assert.Equal(t, []float64{0.5, 0.75, 0.625, 0.875}, []float64{e.TrainLoss, e.TrainAccuracy, e.TestLoss, e.TestAccuracy})
	assert.Equal(t, 110.0, e.Rate())
}
