// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each arm has the omega of the grid nearest to its maximum.
func TestBestOfOmega(t *testing.T) {
	file := filepath.Join(t.TempDir(), "omega.json")
	r, err := openResults(file, settings{Experiment: omega.name})
	require.NoError(t, err)
	at := map[string]float64{freeArm: 0.014, "free, norm √2, decay": 0.4, "sphere": 0.05, "Stiefel bank": 0.02, "PIO": 0.001, "Stiefel bank, Muon": 0.08}
	want := map[string]float64{freeArm: 0.015, "free, norm √2, decay": 0.12, "sphere": 0.06, "Stiefel bank": 0.015, "PIO": 0.0075, "Stiefel bank, Muon": 0.06}
	c := &campaign{from: file}
	for _, a := range c.transferred(varied) {
		for _, o := range omegas {
			for seed := range 2 {
				d := math.Log2(o / at[a.name])
				require.NoError(t, r.add(outcome{spec: a.spec(o, seed+1), Accuracy: 0.8 - 0.003*d*d + 0.01*float64(seed)}))
			}
		}
	}
	got, err := c.bestOfOmega()
	require.NoError(t, err)
	assert.Equal(t, want, got)

	c.cases = bare // a flag that leaves the other case out
	got, err = c.bestOfOmega()
	require.NoError(t, err)
	assert.Equal(t, map[string]float64{freeArm: 0.015, "Stiefel bank": 0.015}, got)
}

func TestFromRefused(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "cifar.json")
	r, err := openResults(other, settings{Experiment: cifar.name})
	require.NoError(t, err)
	require.NoError(t, r.add(outcome{}))
	empty := filepath.Join(dir, "omega.json")
	r, err = openResults(empty, settings{Experiment: omega.name})
	require.NoError(t, err)
	require.NoError(t, r.add(outcome{spec: spec{Seed: 1}}))
	for _, of := range []struct {
		want string
		args []string
	}{
		{"want -from with the results of omega", []string{"transfer"}},
		{"want -from with transfer only, got it with cifar", []string{"-from", other, "cifar"}},
		{"want results of omega, got those of cifar", []string{"-from", other, "transfer"}},
		{"no such file", []string{"-from", filepath.Join(dir, "none.json"), "transfer"}},
		{"want a run with seed 1", []string{"-from", empty, "transfer"}},
	} {
		args := append([]string{"-limit", "64"}, of.args...)
		assert.ErrorContains(t, run(context.Background(), args, io.Discard, io.Discard), of.want)
	}
}
