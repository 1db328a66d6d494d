// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// Weights that never move are never better: the run ends as soon as patience is out.
func TestPatience(t *testing.T) {
	set := easy(t)
	for _, by := range []train.Measure{train.ByAccuracy, train.ByLoss} {
		for _, part := range []images.Split{set.Test, {}} {
			epochs, err := train.Fit(context.Background(), net(t, false), gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0)), set.Train.First(200), train.Options{
				Epochs: 20, Validation: part, Best: by, Patience: 3,
			})
			require.NoError(t, err)
			if part.Len() == 0 && by == train.ByLoss {
				continue // the mean of the batches differs in the last digits
			}
			require.Len(t, epochs, 4)
			for i, e := range epochs {
				assert.Equal(t, i == 0, e.Best)
			}
		}
	}
}

// The validation part decides, not the test part.
func TestBest(t *testing.T) {
	set := easy(t)
	rest, held, err := set.Train.Holdout(60, 1)
	require.NoError(t, err)
	for _, by := range []train.Measure{train.ByAccuracy, train.ByLoss} {
		epochs, err := train.Fit(context.Background(), net(t, true), solvers.NewAdam(solvers.LearnRate(0.02)), rest, train.Options{
			Epochs: 12, Test: set.Test, Validation: held, Best: by,
		})
		require.NoError(t, err)
		number := func(e train.Epoch) float64 {
			if by == train.ByLoss {
				return -e.ValidationLoss
			}
			return e.ValidationAccuracy
		}
		best := math.Inf(-1)
		for _, e := range epochs {
			assert.Equal(t, number(e) > best, e.Best)
			best = max(best, number(e))
			assert.False(t, math.IsNaN(e.TestLoss+e.TestAccuracy+e.ValidationLoss+e.ValidationAccuracy))
		}
		assert.Greater(t, epochs[11].TrainAccuracy, 0.9)
	}
}

// Stock solvers move with the learning rate that Options gives, wrapped or not, as the step
// is that of the same solver with this rate; solvers that have none to set are refused.
func TestLearnRate(t *testing.T) {
	set := easy(t)
	var seen []int
	fit := func(s gorgonia.Solver, rate func(int) float64) (loss float64, epochs []train.Epoch) {
		epochs, err := train.Fit(context.Background(), net(t, false), s, set.Train.First(60), train.Options{Epochs: 2, LearnRate: rate})
		require.NoError(t, err)
		return epochs[1].TrainLoss, epochs
	}
	halves := func(step int) float64 {
		seen = append(seen, step)
		return 0.1 / float64(1+step)
	}
	schedule := solvers.NewSchedule("1/(1+t)", func(t int) float64 { return 1 / float64(1+t) })
	want, epochs := fit(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Anneal(schedule)), nil)
	assert.Equal(t, []float64{0.1, 0.1 / 4}, []float64{epochs[0].LearnRate, epochs[1].LearnRate})
	got, epochs := fit(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(7)), halves)
	assert.InEpsilon(t, want, got, 1e-5)
	assert.Equal(t, []float64{0.1, 0.1 / 4}, []float64{epochs[0].LearnRate, epochs[1].LearnRate})
	assert.Equal(t, []int{0, 0, 1, 2, 3, 3, 4, 5}, seen, "before each step, and for the number of the epoch")
	got, _ = fit(solvers.NewSGD(solvers.LearnRate(7)), halves)
	assert.Equal(t, want, got)
	_, _ = fit(solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Sphere{}), halves)

	_, err := train.Fit(context.Background(), net(t, false), gorgonia.NewAdaGradSolver(), set.Train, train.Options{LearnRate: halves})
	assert.EqualError(t, err, "train: LearnRate: solvers: SetLearnRate: want a solver whose learning rate can be set, got *gorgonia.AdaGradSolver (unusable option)")
}

// Hooks are called in order, and End whatever happens.
func TestHookOrder(t *testing.T) {
	set := easy(t)
	var calls []string
	hook := func(name string) train.Hook {
		note := func(what string) { calls = append(calls, name+" "+what) }
		return train.Hook{
			Begin:      func(train.Run) error { note("begin"); return nil },
			AfterStep:  func(train.Step) error { note("step"); return nil },
			AfterEpoch: func(train.Epoch) error { note("epoch"); return nil },
			End:        func() error { note("end"); return nil },
		}
	}
	fit := func(o train.Options) error {
		calls = nil
		o.Hooks = append([]train.Hook{hook("a"), {}}, o.Hooks...)
		_, err := train.Fit(context.Background(), net(t, false), gorgonia.NewVanillaSolver(), set.Train.First(20), o)
		return err
	}
	require.NoError(t, fit(train.Options{Hooks: []train.Hook{hook("b")}, AfterEpoch: func(train.Epoch) error {
		calls = append(calls, "epoch")
		return nil
	}}))
	assert.Equal(t, []string{"a begin", "b begin", "a step", "b step", "a epoch", "b epoch", "epoch", "a end", "b end"}, calls)
	mine := errors.New("mine")
	assert.ErrorIs(t, fit(train.Options{Hooks: []train.Hook{{Begin: func(train.Run) error { return mine }}, hook("never")}}), mine)
	assert.Equal(t, []string{"a begin", "a end"}, calls)

	// The error of an End hides none, and stops no other End.
	late := errors.New("late")
	bad := train.Hook{End: func() error { return late }}
	assert.ErrorIs(t, fit(train.Options{Hooks: []train.Hook{bad, hook("b")}}), late)
	assert.Equal(t, "b end", calls[len(calls)-1])
	err := fit(train.Options{Hooks: []train.Hook{bad, {AfterStep: func(train.Step) error { return mine }}}})
	assert.ErrorIs(t, err, late)
	assert.ErrorIs(t, err, mine)
}

func TestLogs(t *testing.T) {
	set := easy(t)
	var table, lines bytes.Buffer
	epochs, err := train.Fit(context.Background(), net(t, false), solvers.NewSGD(solvers.LearnRate(0.5)), set.Train, train.Options{
		Epochs: 2, Test: set.Test, Hooks: []train.Hook{train.CSV(&table), train.JSON(&lines)},
	})
	require.NoError(t, err)
	rows, err := csv.NewReader(&table).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	assert.Equal(t, []string{"epoch", "images", "loss", "train_accuracy", "test_loss", "test_accuracy",
		"validation_loss", "validation_accuracy", "learning_rate", "images_per_second", "seconds", "best"}, rows[0])
	assert.Equal(t, []string{"2", "220"}, rows[2][:2])
	assert.Equal(t, []string{"", "", "0.5"}, rows[2][6:9])

	d := json.NewDecoder(&lines)
	for _, want := range epochs {
		var got train.Epoch
		require.NoError(t, d.Decode(&got))
		assert.InDelta(t, want.Elapsed, got.Elapsed, float64(time.Microsecond))
		assert.True(t, math.IsNaN(got.ValidationLoss))
		assert.Equal(t, comparable(t, want), comparable(t, got))
	}
	assert.False(t, d.More())

	_, err = train.Fit(context.Background(), net(t, false), solvers.NewSGD(), set.Train, train.Options{Hooks: []train.Hook{train.CSV(full{})}})
	assert.EqualError(t, err, "train: log: full")
	_, err = train.Fit(context.Background(), net(t, false), solvers.NewSGD(), set.Train, train.Options{Hooks: []train.Hook{train.JSON(full{})}})
	assert.EqualError(t, err, "train: log: full")
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestOptionsRefuse(t *testing.T) {
	set := easy(t)
	for want, o := range map[string]train.Options{
		"want a patience of 0 epochs at least, got -1": {Patience: -1},
		"got measure 7": {Best: 7},
		"train: images: augmentation: want a padding below the side of 12, got 12": {Augment: images.Augmentation{Pad: 12}},
		"train: Validation: images: : want 144 numbers for 1 images":               {Validation: images.Split{Labels: []int{1}}},
		"train: Test: want 2 tensors, one for each input and target":               {Test: train.Tensors{tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(3, 144))}},
	} {
		_, err := train.Fit(context.Background(), net(t, false), solvers.NewSGD(), set.Train, o)
		assert.ErrorContains(t, err, want)
	}
}
