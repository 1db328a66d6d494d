// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

func descent() *solvers.Solver {
	return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
}

// With a distance of 0 the second run is the first once more: with the same masks, and without a trace in the running statistics. So the run is
// that of the solver alone to the bit, and both losses of a step are equal.
func TestSAMRunsTheGraphAgain(t *testing.T) {
	set := easy(t)
	m, s := stateful(t), descent()
	epochs, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: 2, Test: set.Test, AfterStep: func(at train.Step) error {
		assert.True(t, math.IsNaN(at.Ascended))
		return nil
	}})
	require.NoError(t, err)
	want := after(t, m, s, epochs)
	for depth := range 3 {
		m, inner := stateful(t), descent()
		around, steps := wrapped(solvers.NewSAM(inner, 0), depth)
		epochs, err := train.Fit(context.Background(), m, around, set.Train, train.Options{Epochs: 2, Test: set.Test, AfterStep: func(at train.Step) error {
			assert.Equal(t, at.Loss, at.Ascended)
			return nil
		}})
		require.NoError(t, err)
		assert.Equal(t, want, after(t, m, inner, epochs))
		assert.Equal(t, int32(22*depth), steps.Load())
	}
}

// Statistics are those of the first runs, which the weights before the ascent made, and the loss rises by the ascent.
func TestSAMStatistics(t *testing.T) {
	set := easy(t)
	fit := func(s gorgonia.Solver) (buffers []string, rise float64) {
		m := stateful(t)
		_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{AfterStep: func(at train.Step) error {
			rise += at.Ascended - at.Loss
			return nil
		}})
		require.NoError(t, err)
		for _, b := range m.Buffers {
			buffers = append(buffers, fmt.Sprintf("%s %x %x", b.Name, b.Statistics, b.Noise))
		}
		return buffers, rise
	}
	still := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0), solvers.Kernels(manifolds.Stiefel{}))
	}
	want, _ := fit(still())
	got, rise := fit(solvers.NewSAM(still(), 0.1))
	assert.Equal(t, want, got)
	assert.Greater(t, rise, 0.1)
}

// A run of SAM learns, and one that is stopped and resumed ends as the one that was not, to the bit.
func TestSAMResumes(t *testing.T) {
	set := easy(t)
	fit := func(dir string, resume bool, stop int) (outcome, error) {
		m, s := stateful(t), solvers.NewSAM(descent(), 0.05)
		o := train.Options{Epochs: 4, Test: set.Test, AfterStep: func(at train.Step) error {
			if at.Number == stop {
				return train.ErrStop
			}
			return nil
		}}
		if dir != "" {
			o.Checkpoint = train.Checkpoint{Dir: dir, Resume: resume}
		}
		epochs, err := train.Fit(context.Background(), m, s, set.Train, o)
		return after(t, m, s.Solver, epochs), err
	}
	want, err := fit("", false, 0)
	require.NoError(t, err)
	assert.Less(t, want.epochs[3].TrainLoss, want.epochs[0].TrainLoss)
	dir := t.TempDir()
	for _, stop := range []int{5, 11, 0} {
		got, err := fit(dir, stop != 5, stop)
		require.NoError(t, err)
		if stop == 0 {
			assert.Equal(t, want, got)
		}
	}
	_, err = train.Fit(context.Background(), stateful(t), descent(), set.Train, train.Options{Epochs: 4, Test: set.Test, Checkpoint: train.Checkpoint{Dir: dir, Resume: true}})
	assert.ErrorContains(t, err, "want the snapshot of SGD, got that of SAM(SGD)")
}

// A loss that is not finite at the ascended weights ends the run with the weights before the ascent, and nothing of the step is made.
func TestSAMDiverges(t *testing.T) {
	set := easy(t)
	m, inner := stateful(t), solvers.NewSGD(solvers.LearnRate(0.05))
	var before [][]float32
	for _, l := range m.Learnables {
		before = append(before, slices.Clone(l.Value().Data().([]float32)))
	}
	_, err := train.Fit(context.Background(), m, solvers.NewSAM(inner, 1e37), set.Train, train.Options{})
	var d *train.DivergedError
	require.ErrorAs(t, err, &d)
	assert.Equal(t, 1, d.Step)
	for i, l := range m.Learnables {
		assert.True(t, slices.Equal(before[i], l.Value().Data().([]float32)), l.Name())
	}
	assert.Zero(t, inner.Report().Steps)

	_, err = train.Fit(context.Background(), m, solvers.NewSAM(inner, -1), set.Train, train.Options{})
	assert.ErrorIs(t, err, solvers.ErrOption)
}

// Ranks train as one does, and the ascent of a solver without SAM is none.
func TestSAMOnRanks(t *testing.T) {
	set := easy(t)
	k := kind{of: tensor.Float64, norm: true, noise: true}
	for _, around := range []func(*solvers.Solver) gorgonia.Solver{
		func(s *solvers.Solver) gorgonia.Solver { return s },
		func(s *solvers.Solver) gorgonia.Solver { return solvers.NewSAM(s, 0.05) },
	} {
		var want []float64
		var ascended float64
		for _, np := range []int{1, 2} {
			together(t, np, func(t *testing.T, g *distributed.Group) {
				m := k.model(t, g)
				_, err := train.Fit(context.Background(), m, distributed.Average(g, around(descent()), distributed.DivideFrom(0)), set.Train.First(5*whole), train.Options{
					Epochs: 2, Group: g, AfterStep: func(at train.Step) error {
						if np == 1 {
							ascended = at.Ascended
						} else if !math.IsNaN(ascended) && at.Number == 10 {
							assert.InDelta(t, ascended, at.Ascended, 1e-8)
						}
						return nil
					},
				})
				require.NoError(t, err)
				if np == 1 {
					want = numbers(m)
				} else {
					near(t, want, numbers(m), 1e-8, "weights")
				}
			})
		}
		_, sam := around(descent()).(*solvers.SAM)
		assert.NotEqual(t, sam, math.IsNaN(ascended))
	}
}
