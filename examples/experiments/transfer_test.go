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

// Each run has a checkpoint of its own, so that all of them can be under way together. Those of omega keep their names.
func TestCheckpoints(t *testing.T) {
	c := &campaign{settings: settings{size: transfer.quick}, seeds: 2, quick: true, results: &results{file: "out/c.json"}}
	best, err := c.bestOfOmega()
	require.NoError(t, err)
	jobs := c.transferJobs(8, best)
	require.Len(t, jobs, 16)
	for _, a := range arms() {
		jobs = append(jobs, c.omegaJob(8, a, a.spec(0.03, 1)))
	}
	at := map[string]spec{}
	for _, j := range jobs {
		dir := c.checkpoint(j)
		assert.NotContains(t, at, dir, "%v and %v", at[dir], j.spec)
		at[dir] = j.spec
	}
	assert.Contains(t, at, "out/c-under-way/no-augmentation-Stiefel-bank-0.03-2")
	assert.Contains(t, at, "out/c-under-way/Stiefel-bank-0.03-1")
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
