// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// What is missing (nil, a nil pointer in an interface, a value that no function of a package has made) is an error that says so, before the run begins.
func TestMissing(t *testing.T) {
	set, m := easy(t).Train, net(t, false)
	predictor, err := m.Predictor()
	require.NoError(t, err)
	data := train.Tensors{}
	pictures := &images.Pictures{}
	ctx := context.Background()
	var (
		noNet      *models.Net
		noModel    *models.Model
		noSolver   *solvers.Solver
		noSAM      *solvers.SAM
		noAverage  *solvers.Average
		noStock    *gorgonia.Momentum
		noPictures *images.Pictures
	)
	sgd := solvers.NewSGD()
	fit := func(m models.Trainable, s gorgonia.Solver, d train.Data, o train.Options) func() error {
		return func() error { o.Epochs = 1; _, err := train.Fit(ctx, m, s, d, o); return err }
	}
	for name, f := range map[string]func() error{
		"Fit nothing":                    fit(nil, sgd, set, train.Options{}),
		"Fit a nil Net":                  fit(noNet, sgd, set, train.Options{}),
		"Fit a nil Model":                fit(noModel, sgd, set, train.Options{}),
		"Fit a zero Net":                 fit(&models.Net{}, sgd, set, train.Options{}),
		"Fit a zero Model":               fit(&models.Model{}, sgd, set, train.Options{}),
		"Fit without a solver":           fit(m, nil, set, train.Options{}),
		"Fit by a nil Solver":            fit(m, noSolver, set, train.Options{}),
		"Fit by a nil SAM":               fit(m, noSAM, set, train.Options{}),
		"Fit by a nil Average":           fit(m, noAverage, set, train.Options{}),
		"Fit by a nil stock solver":      fit(m, noStock, set, train.Options{}),
		"Fit by a zero Solver":           fit(m, &solvers.Solver{}, set, train.Options{}),
		"Fit by a zero SAM":              fit(m, &solvers.SAM{}, set, train.Options{}),
		"Fit by a zero Average":          fit(m, &solvers.Average{}, set, train.Options{}),
		"Fit by a zero Average, Average": fit(m, &solvers.Average{}, set, train.Options{Average: true}),
		"Fit by a zero Constrained":      fit(m, &solvers.Constrained{}, set, train.Options{}),
		"Fit by a zero distributed":      fit(m, &distributed.Solver{}, set, train.Options{}),
		"Fit no data":                    fit(m, sgd, nil, train.Options{}),
		"Fit a nil Pictures":             fit(m, sgd, noPictures, train.Options{}),
		"Fit a zero Pictures":            fit(m, sgd, pictures, train.Options{}),
		"Fit zero Tensors":               fit(m, sgd, data, train.Options{}),
		"Recalibrate nothing":            func() error { return train.Recalibrate(ctx, nil, set, train.Options{}) },
		"Recalibrate a nil Net":          func() error { return train.Recalibrate(ctx, noNet, set, train.Options{}) },
		"Recalibrate a nil Model":        func() error { return train.Recalibrate(ctx, noModel, set, train.Options{}) },
		"Recalibrate by nothing":         func() error { return train.Recalibrate(ctx, m, nil, train.Options{}) },
		"Rescale nothing":                func() error { return train.Rescale(ctx, nil, sgd, set, train.Options{}) },
		"Rescale a nil Model":            func() error { return train.Rescale(ctx, noModel, sgd, set, train.Options{}) },
		"Rescale by nothing":             func() error { return train.Rescale(ctx, m, nil, set, train.Options{}) },
		"Rescale by a nil Solver":        func() error { return train.Rescale(ctx, m, noSolver, set, train.Options{}) },
		"Rescale no data":                func() error { return train.Rescale(ctx, m, sgd, nil, train.Options{}) },
		"Evaluate nothing":               func() error { _, _, err := train.Evaluate(ctx, nil, set); return err },
		"Evaluate a zero Predictor":      func() error { _, _, err := train.Evaluate(ctx, &models.Predictor{}, set); return err },
		"Evaluate no data":               func() error { _, _, err := train.Evaluate(ctx, predictor, nil); return err },
		"Evaluate a nil Pictures":        func() error { _, _, err := train.Evaluate(ctx, predictor, noPictures); return err },
		"Predict nothing":                func() error { return train.Predict(ctx, nil, set, func(train.Prediction) error { return nil }) },
		"Predict by a zero Predictor": func() error {
			return train.Predict(ctx, &models.Predictor{}, set, func(train.Prediction) error { return nil })
		},
		"Predict for nothing": func() error { return train.Predict(ctx, predictor, set, nil) },
		"Predict no data":     func() error { return train.Predict(ctx, predictor, nil, func(train.Prediction) error { return nil }) },
		"CSV to nothing":      fit(m, sgd, set, train.Options{Hooks: []train.Hook{train.CSV(nil)}}),
		"JSON to nothing":     fit(m, sgd, set, train.Options{Hooks: []train.Hook{train.JSON(nil)}}),
		"CSV to a nil buffer": fit(m, sgd, set, train.Options{Hooks: []train.Hook{train.CSV((*bytes.Buffer)(nil))}}),
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			require.NotPanics(t, func() { err = f() })
			assert.ErrorContains(t, err, "want ")
		})
	}
	assert.NotPanics(t, func() {
		_, err := train.Fit(ctx, m, sgd, set, train.Options{Epochs: 1, Hooks: []train.Hook{{}}})
		require.NoError(t, err, "a hook without functions")
		_ = train.Epoch{}.Rate()
		_ = (&train.DivergedError{}).Error()
	})
}
