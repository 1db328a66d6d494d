// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/solvers"
)

// A missing model or solver is an error that says so, and no file is written or changed.
func TestMissing(t *testing.T) {
	m, err := models.CNN(2, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2}})
	require.NoError(t, err)
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	require.NoError(t, checkpoint.Save(good, m, nil, nil), "without a solver")
	before, err := os.ReadFile(good)
	require.NoError(t, err)
	var (
		noModel  *models.Model
		noNet    *models.Net
		noSolver *solvers.Solver
		noSAM    *solvers.SAM
		noHeld   *checkpoint.HeldSnapshot
		noState  *struct{ Epoch int }
	)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "series"), 0o700))
	series := checkpoint.Series{Dir: filepath.Join(dir, "series"), Keep: 2}
	save := func(m checkpoint.Stateful, s checkpoint.Solver) func() error {
		return func() error { return checkpoint.Save(good, m, s, nil) }
	}
	load := func(m checkpoint.Stateful, s checkpoint.Solver) func() error {
		return func() error { return checkpoint.Load(good, m, s, nil) }
	}
	for name, f := range map[string]func() error{
		"Save no model":                   save(nil, nil),
		"Save a nil Model":                save(noModel, nil),
		"Save a nil Net":                  save(noNet, nil),
		"Save a zero Model":               save(&models.Model{}, nil),
		"Save with a nil Solver":          save(m, noSolver),
		"Save with a nil SAM":             save(m, noSAM),
		"Save with a zero Solver":         save(m, &solvers.Solver{}),
		"Save with a zero SAM":            save(m, &solvers.SAM{}),
		"Save with a nil snapshot":        save(m, noHeld),
		"Save with a zero snapshot":       save(m, &checkpoint.HeldSnapshot{}),
		"Load no model":                   load(nil, nil),
		"Load a nil Model":                load(noModel, nil),
		"Load a zero Model":               load(&models.Model{}, nil),
		"Load with a nil Solver":          load(m, noSolver),
		"Load with a nil SAM":             load(m, noSAM),
		"Load with a nil snapshot":        load(m, noHeld),
		"Load a nil state":                func() error { return checkpoint.Load(good, m, nil, noState) },
		"Load a state that is no pointer": func() error { return checkpoint.Load(good, m, nil, struct{}{}) },
		"Export nothing":                  func() error { return checkpoint.Export(good, nil) },
		"Export a nil Net":                func() error { return checkpoint.Export(good, noNet) },
		"Import nothing":                  func() error { return checkpoint.Import(good, nil, checkpoint.ImportOptions{}) },
		"Import a nil Net":                func() error { return checkpoint.Import(good, noNet, checkpoint.ImportOptions{}) },
		"Series, no model":                func() error { _, err := series.Save(nil, nil, nil); return err },
		"Series, nil Solver":              func() error { _, err := series.Save(m, noSolver, nil); return err },
		"Keeper of nothing":               func() error { _, err := checkpoint.Keeper(nil); return err },
		"Keeper of a nil Solver":          func() error { _, err := checkpoint.Keeper(noSolver); return err },
		"Keeper of a wrapper of nil":      func() error { _, err := checkpoint.Keeper(around{noSolver}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			require.NotPanics(t, func() { err = f() })
			assert.ErrorContains(t, err, "want ")
			after, err := os.ReadFile(good)
			require.NoError(t, err)
			assert.Equal(t, before, after)
			list, err := filepath.Glob(filepath.Join(series.Dir, "*"))
			require.NoError(t, err)
			assert.Empty(t, list)
		})
	}
}

// around wraps a solver.
type around struct{ gorgonia.Solver }

func (a around) Unwrap() gorgonia.Solver { return a.Solver }
