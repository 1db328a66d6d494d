// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles/rolestest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// What the report says to a program that drops the error of Step, or makes a mistake that is none for Step.

// unwrapped is the text of a report in one line.
func unwrapped(r solvers.Report) string { return strings.Join(strings.Fields(r.String()), " ") }

func TestReportOfFailures(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, s := range []stepper{
		solvers.NewSGD(solvers.Betas(0.9, 0.99), solvers.Kernels(manifolds.Sphere{})),
		solvers.ConstrainWith(gorgonia.NewVanillaSolver(), solvers.LearnRate(1)),
		solvers.New(nil),
	} {
		r := s.Report()
		require.ErrorIs(t, r.Err, solvers.ErrOption, "before the first step")
		assert.Zero(t, r.Refused)
		err := s.Step(valueGrads(m))
		require.ErrorIs(t, s.Step(valueGrads(m)), solvers.ErrOption)
		r = s.Report()
		assert.Equal(t, err, r.Err)
		assert.Equal(t, 2, r.Refused)
		assert.Zero(t, r.Steps)
		assert.Contains(t, unwrapped(r), "the last step failed (2 so far): "+err.Error())
	}

	s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
	run(t, s, m, 1)
	assert.NoError(t, s.Report().Err)
	gradients(m, 2)
	err := s.Step(instead("conv2", with(0, nan))(m))
	require.Error(t, err)
	r := s.Report()
	assert.Equal(t, err, r.Err)
	assert.Equal(t, 1, r.Refused)
	assert.Equal(t, 1, r.Steps)
	run(t, s, m, 2)
	r = s.Report()
	assert.NoError(t, r.Err)
	assert.Equal(t, 1, r.Refused)
	assert.Equal(t, 2, r.Steps)
	assert.Contains(t, r.String(), "1 step failed before the last")
	require.Error(t, s.Init([]gorgonia.ValueGrad{nil}))
	assert.Equal(t, 2, s.Report().Refused)
}

// A machine that is not reset computes nothing, without an error.
func TestWarningOfZeroGradients(t *testing.T) {
	kernel, vm := layer()
	defer vm.Close()
	s := solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Kernels(manifolds.Sphere{}))
	step := func() {
		t.Helper()
		require.NoError(t, vm.RunAll())
		require.NoError(t, s.Step([]gorgonia.ValueGrad{kernel}))
	}
	step()
	assert.Empty(t, s.Report().Warnings)
	assert.Zero(t, s.Report().Parameters[0].Still)
	step()
	step()
	r := s.Report()
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "all gradients were 0 in the last 2 steps: is vm.Reset called")
	assert.Contains(t, unwrapped(r), "warning: "+r.Warnings[0])
	assert.Contains(t, r.String(), "gradient 0 in the last 2 steps")
	assert.Equal(t, 2, r.Parameters[0].Still)
	vm.Reset()
	step()
	assert.Empty(t, s.Report().Warnings)
	assert.Zero(t, s.Report().Parameters[0].Still)
}

// One parameter without a gradient, as behind a dead rectifier, is a note and no warning.
func TestNoteOfZeroGradient(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
	for step := range uint64(3) {
		gradients(m, step)
		m[2].g.Zero()
		require.NoError(t, s.Step(valueGrads(m)))
	}
	r := s.Report()
	assert.Empty(t, r.Warnings)
	assert.Equal(t, 3, r.Parameters[2].Still)
	assert.Zero(t, r.Parameters[0].Still)
}

// A machine for evaluation on operations of the training graph switches them, and training goes on in evaluation mode.
func TestWarningOfEvaluationMode(t *testing.T) {
	var program rolestest.Program
	for _, p := range rolestest.Programs() {
		if p.Name == "stock batch norm" {
			program = p
		}
	}
	net := program.Nets(tensor.Float64)[0]
	vm, err := net.Machine()
	require.NoError(t, err)
	defer vm.Close()
	s := solvers.NewSGD(solvers.LearnRate(1e-5), solvers.Kernels(manifolds.Sphere{}))
	step := func() {
		t.Helper()
		require.NoError(t, vm.RunAll())
		require.NoError(t, s.Step(gorgonia.NodesToValueGrads(net.Learnables)))
		vm.Reset()
	}
	step()
	assert.Empty(t, s.Report().Warnings)

	evaluation := gorgonia.NewTapeMachine(net.Graph.SubgraphRoots(net.Cost), gorgonia.EvalMode())
	require.NoError(t, evaluation.RunAll())
	require.NoError(t, evaluation.Close())
	step() // the second: it is looked now and then
	r := s.Report()
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "in evaluation mode at the last look: BatchNorm")
	assert.Equal(t, 2, strings.Count(r.Warnings[0], "BatchNorm with"), "one for each that gradients come through: %s", r.Warnings[0])

	again := gorgonia.NewTapeMachine(net.Graph, gorgonia.BindDualValues(net.Learnables...))
	defer again.Close()
	vm = again
	step()
	step() // the fourth
	assert.Empty(t, s.Report().Warnings)
}
