// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// easy is a set of clean digits that a tiny net learns at once.
func easy(t testing.TB) *images.Set {
	set, err := images.Digits(1, 230, 45, images.DigitOptions{Side: 12, Noise: -1, Clutter: -1, Distortion: 0.1})
	require.NoError(t, err)
	return set
}

func net(t *testing.T, bn bool) *models.Model {
	m, err := models.CNN(20, models.Options{Shape: [3]int{1, 12, 12}, Classes: 10, Widths: []int{6, 12}, BatchNorm: bn, Seed: 1})
	require.NoError(t, err)
	return m
}

// comparable drops the time, and puts 0 for the numbers that were not measured, which NaN
// never equals.
func comparable(t *testing.T, e train.Epoch) train.Epoch {
	e.Elapsed, e.Waited = 0, 0
	for _, v := range []*float64{&e.TestLoss, &e.TestAccuracy, &e.ValidationLoss, &e.ValidationAccuracy, &e.LearnRate} {
		if math.IsNaN(*v) {
			*v = 0
		}
	}
	assert.False(t, math.IsNaN(e.TrainLoss) || math.IsNaN(e.TrainAccuracy))
	return e
}

func TestFit(t *testing.T) {
	for _, bn := range []bool{false, true} {
		set, steps := easy(t), 0
		run := func() []train.Epoch {
			steps = 0
			epochs, err := train.Fit(context.Background(), net(t, bn), gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.01)), set.Train, train.Options{
				Epochs: 6, Seed: 3, Test: set.Test,
				AfterStep: func(s train.Step) error {
					steps++
					assert.Equal(t, steps, s.Number)
					assert.Equal(t, 66, s.Of)
					assert.Equal(t, (steps-1)/11+1, s.Epoch)
					assert.False(t, math.IsNaN(s.Loss))
					return nil
				},
			})
			require.NoError(t, err)
			for i := range epochs {
				assert.Positive(t, epochs[i].Rate())
				assert.Equal(t, 220, epochs[i].Images)
				epochs[i] = comparable(t, epochs[i])
			}
			return epochs
		}
		epochs := run()
		assert.Equal(t, 66, steps)
		require.Len(t, epochs, 6)
		first, last := epochs[0], epochs[5]
		assert.Less(t, last.TrainLoss, first.TrainLoss/2)
		assert.Greater(t, last.TestAccuracy, 0.5)
		assert.Equal(t, epochs, run(), "the same seed, the same numbers")
	}
}

// TestEvaluate compares batches with the images one at a time, padding included.
func TestEvaluate(t *testing.T) {
	set, m := easy(t), net(t, false)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	for _, n := range []int{1, 19, 20, 45} {
		loss, accuracy, err := train.Evaluate(context.Background(), p, set.Test.First(n))
		require.NoError(t, err)
		sum, right := 0.0, 0.0
		for i := range n {
			one := images.Split{Images: set.Test.Images[i*144 : (i+1)*144], Labels: set.Test.Labels[i : i+1]}
			l, a, err := train.Evaluate(context.Background(), p, one)
			require.NoError(t, err)
			sum, right = sum+l, right+a
		}
		assert.InEpsilon(t, sum/float64(n), loss, 1e-6)
		assert.InDelta(t, right/float64(n), accuracy, 1e-12)
	}
	_, _, err = train.Evaluate(context.Background(), p, images.Split{})
	assert.ErrorContains(t, err, "got none")
	_, _, err = train.Evaluate(context.Background(), p, images.Split{Images: make([]float32, 3), Labels: []int{1}})
	assert.ErrorContains(t, err, "want 144 numbers")
}

// TestEvaluateSeesWeights changes a weight through Let, as a solver may.
func TestEvaluateSeesWeights(t *testing.T) {
	set, m := easy(t), net(t, false)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	before, _, err := train.Evaluate(context.Background(), p, set.Test)
	require.NoError(t, err)
	for _, n := range m.Learnables {
		zero, err := gorgonia.CloneValue(n.Value())
		require.NoError(t, err)
		require.NoError(t, gorgonia.Let(n, gorgonia.ZeroValue(zero)))
	}
	after, _, err := train.Evaluate(context.Background(), p, set.Test)
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	assert.InDelta(t, math.Log(10), after, 1e-6)
}

func TestCancel(t *testing.T) {
	set := easy(t)
	ctx, cancel := context.WithCancel(context.Background())
	epochs, err := train.Fit(ctx, net(t, false), gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01)), set.Train, train.Options{
		Epochs: 5,
		AfterStep: func(s train.Step) error {
			if s.Number == 14 {
				cancel()
			}
			assert.LessOrEqual(t, s.Number, 14)
			return nil
		},
	})
	assert.ErrorIs(t, err, context.Canceled)
	require.Len(t, epochs, 1, "the completed epoch is kept")
	assert.True(t, math.IsNaN(epochs[0].TestAccuracy), "there is no test part")
}

func TestHooks(t *testing.T) {
	set := easy(t)
	fit := func(o train.Options) ([]train.Epoch, error) {
		return train.Fit(context.Background(), net(t, false), gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01)), set.Train, o)
	}
	epochs, err := fit(train.Options{Epochs: 5, AfterEpoch: func(train.Epoch) error { return train.ErrStop }})
	assert.NoError(t, err)
	assert.Len(t, epochs, 1)
	mine := errors.New("mine")
	epochs, err = fit(train.Options{Epochs: 5, AfterStep: func(train.Step) error { return mine }})
	assert.ErrorIs(t, err, mine)
	assert.Empty(t, epochs)
}

// TestDiverged drives weights out of the finite numbers in several ways; none may
// end the process, as MaxPool2D does when it meets a NaN in the backward pass.
func TestDiverged(t *testing.T) {
	set := easy(t)
	for _, bn := range []bool{false, true} {
		for name, s := range map[string]gorgonia.Solver{
			"momentum": gorgonia.NewMomentum(gorgonia.WithLearnRate(1e20), gorgonia.WithMomentum(0.9)),
			"vanilla":  gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(1e20)),
			"adam":     gorgonia.NewAdamSolver(gorgonia.WithLearnRate(1e30)),
			"poison":   poison{3, new(int)},
		} {
			_, err := train.Fit(context.Background(), net(t, bn), s, set.Train, train.Options{Epochs: 8, Test: set.Test})
			var d *train.DivergedError
			if bn && name != "poison" && err == nil {
				continue // batch norm can live with any scale
			}
			require.ErrorAs(t, err, &d, "%s, batch norm %v", name, bn)
			assert.Positive(t, d.Step)
			assert.NotContains(t, err.Error(), "\n")
			if name == "poison" {
				assert.Equal(t, 4, d.Step)
				assert.False(t, math.IsNaN(d.Loss))
			}
		}
	}
}

// poison writes a NaN into the first weight at the given step.
type poison struct {
	step int
	n    *int
}

func (p poison) Step(w []gorgonia.ValueGrad) error {
	if *p.n++; *p.n == p.step {
		w[0].Value().Data().([]float32)[0] = float32(math.NaN())
	}
	return nil
}

// TestDivergedAtTheEnd poisons the weights in the last step, which only the evaluation sees.
func TestDivergedAtTheEnd(t *testing.T) {
	set := easy(t)
	_, err := train.Fit(context.Background(), net(t, false), poison{11, new(int)}, set.Train, train.Options{Test: set.Test})
	var d *train.DivergedError
	require.ErrorAs(t, err, &d)
	assert.Equal(t, 11, d.Step)
}

// A run that diverges before its first loss says nothing of a last one.
func TestDivergedAtTheBeginning(t *testing.T) {
	m := net(t, false)
	m.Learnables[0].Value().Data().([]float32)[0] = float32(math.NaN())
	_, err := train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(), easy(t).Train, train.Options{})
	var d *train.DivergedError
	require.ErrorAs(t, err, &d)
	assert.Equal(t, 1, d.Step)
	require.Error(t, d.Cause)
	assert.True(t, math.IsNaN(d.Loss))
	assert.EqualError(t, err, "train: diverged at step 1 (epoch 1): "+d.Cause.Error())
}

// refuse is a solver that fails, with or without a gradient to blame.
type refuse struct{ spoil bool }

func (r refuse) Step(w []gorgonia.ValueGrad) error {
	if r.spoil {
		g, _ := w[0].Grad()
		g.Data().([]float32)[0] = float32(math.Inf(1))
	}
	return errors.New("refused")
}

func TestSolverError(t *testing.T) {
	set := easy(t)
	_, err := train.Fit(context.Background(), net(t, false), refuse{}, set.Train, train.Options{})
	assert.EqualError(t, err, "train: step 1: refused")
	_, err = train.Fit(context.Background(), net(t, false), refuse{true}, set.Train, train.Options{})
	var d *train.DivergedError
	require.ErrorAs(t, err, &d)
	assert.True(t, strings.HasPrefix(err.Error(), "train: diverged at step 1 (epoch 1): refused"), err.Error())
}

// TestFitAfterFailure trains a net whose last run has failed, or that the caller has run, as one that nobody has touched: gradients that are left do
// not count, although those of several runs add up.
func TestFitAfterFailure(t *testing.T) {
	set := easy(t)
	fit := func(m *models.Model) (train.Epoch, []float32) {
		e, err := train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01)), set.Train, train.Options{})
		require.NoError(t, err)
		return comparable(t, e[0]), m.Learnables[0].Value().Data().([]float32)
	}
	epoch, weights := fit(net(t, false))
	for name, before := range map[string]func(m *models.Model) error{
		"error": func(m *models.Model) error {
			_, err := train.Fit(context.Background(), m, refuse{}, set.Train, train.Options{})
			return err
		},
		"diverged": func(m *models.Model) error {
			_, err := train.Fit(context.Background(), m, refuse{true}, set.Train, train.Options{})
			return err
		},
		"machine": func(m *models.Model) error {
			vm, err := m.Machine()
			require.NoError(t, err)
			defer vm.Close()
			require.NoError(t, m.SetBatch(set.Train.Images[:20*144], set.Train.Labels[:20]))
			return errors.Join(vm.RunAll(), errors.New("no step"))
		},
	} {
		m := net(t, false)
		require.Error(t, before(m), name)
		e, w := fit(m)
		assert.Equal(t, epoch, e, name)
		assert.Equal(t, weights, w, name)
	}
}

func TestBadInput(t *testing.T) {
	set, m := easy(t), net(t, false)
	s := gorgonia.NewVanillaSolver()
	_, err := train.Fit(context.Background(), m, s, set.Train.First(19), train.Options{})
	assert.EqualError(t, err, "train: want at least one batch of 20 examples, got 19 examples")
	_, err = train.Fit(context.Background(), m, nil, set.Train, train.Options{})
	assert.EqualError(t, err, "train: want a solver, got nil")
	_, err = train.Fit(context.Background(), m, (*solvers.Solver)(nil), set.Train, train.Options{})
	assert.EqualError(t, err, "train: want a solver, got nil")
	_, err = train.Fit(context.Background(), (*models.Model)(nil), s, set.Train, train.Options{})
	assert.EqualError(t, err, "train: want a net, got nil")
	_, err = train.Fit(context.Background(), m, s, (*images.Pictures)(nil), train.Options{})
	assert.EqualError(t, err, "train: want data, got nil")
	_, err = train.Fit(context.Background(), m, s, set.Train, train.Options{Test: (*images.Pictures)(nil)})
	assert.NoError(t, err, "is no data to test on")
	_, err = train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: -1})
	assert.ErrorContains(t, err, "positive number of epochs")
	bad := set.Train
	bad.Images = bad.Images[1:]
	_, err = train.Fit(context.Background(), m, s, bad, train.Options{})
	assert.ErrorContains(t, err, "train: images: train: want 33120 numbers for 230 images")
}
