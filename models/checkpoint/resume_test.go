// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// makers make the solvers that are resumed, with the kernels on a manifold.
var makers = []struct {
	name string
	of   func(opts ...solvers.Option) *solvers.Solver
}{
	{"SGD", func(o ...solvers.Option) *solvers.Solver { return solvers.NewSGD(o...) }},
	{"SGD, ambient momentum", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Dampening(0.1))...)
	}},
	{"SGD, tangent momentum", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.9), solvers.TangentMomentum(), solvers.GeometricStep(true))...)
	}},
	{"SGD, Nesterov, clipped", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.8), solvers.Nesterov(), solvers.ClipNorm(0.5))...)
	}},
	{"Adam", func(o ...solvers.Option) *solvers.Solver { return solvers.NewAdam(o...) }},
	{"AMSGrad", func(o ...solvers.Option) *solvers.Solver { return solvers.NewAdam(append(o, solvers.AMSGrad())...) }},
	{"AdamW", func(o ...solvers.Option) *solvers.Solver { return solvers.NewAdamW(o...) }},
	{"Adagrad", func(o ...solvers.Option) *solvers.Solver { return solvers.NewAdagrad(o...) }},
	{"RMSProp", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewRMSProp(append(o, solvers.Momentum(0.5))...)
	}},
	{"RDoG", func(o ...solvers.Option) *solvers.Solver { return solvers.NewRDoG(o...) }},
	{"RDoWG of all layers", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewRDoWG(append(o, solvers.DistanceFor(solvers.AllLayers))...)
	}},
	{"Muon", func(o ...solvers.Option) *solvers.Solver { return solvers.NewMuon(o...) }},
}

// kernels put the convolution kernels on a manifold.
var kernels = []struct {
	name string
	opt  solvers.Option
}{
	{"Euclidean", solvers.Kernels(manifolds.Euclidean{})},
	{"sphere", solvers.Kernels(manifolds.Sphere{})},
	{"oblique", solvers.Kernels(manifolds.Oblique{})},
	{"Stiefel", solvers.Kernels(manifolds.Stiefel{})},
	{"Stiefel, filter bank", solvers.Kernels(manifolds.Stiefel{}, manifolds.FilterBank)},
}

// A run that is saved and loaded into another model goes on as if nothing had happened, to the
// bit: weights, statistics, noise, state, losses.
func TestResumedRunEqualsUninterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.safetensors")
	for _, of := range precisions {
		for _, s := range makers {
			for _, p := range kernels {
				t.Run(of.String()+"/"+s.name+"/"+p.name, func(t *testing.T) {
					solver := func() *solvers.Solver {
						return s.of(solvers.LearnRate(0.05), solvers.Anneal(solvers.Cosine(12, 0.1)), p.opt)
					}
					resumes(t, path, func(seed uint64) *run { return runOf(t, of, seed, solver()) })
				})
			}
		}
	}
}

func resumes(t *testing.T, path string, of func(seed uint64) *run) {
	t.Helper()
	whole := of(1)
	whole.steps(t, 4)
	whole.save(t, path)
	at := whole.memory(t)
	whole.steps(t, 5)

	part := of(2) // other weights, other noise
	require.NotEqual(t, at.Weights, part.memory(t).Weights)
	require.NoError(t, part.load(path))
	require.Equal(t, at, part.memory(t), "as it was saved")
	part.steps(t, 5)
	require.Equal(t, whole.memory(t), part.memory(t), "after more steps")
	assert.Len(t, part.loop.Losses, 9)
}

// ValueGrads of nodes find their state by name: the order of the learnables is that of the model.
func TestSolverMayKnowSomeParametersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.safetensors")
	of := func(seed uint64) *run { return runOf(t, precisions[0], seed, solvers.NewSGD(solvers.Momentum(0.9))) }
	step := func(r *run) {
		vm := gorgonia.NewTapeMachine(r.model.Graph, gorgonia.BindDualValues(r.model.Learnables...))
		defer vm.Close()
		require.NoError(t, vm.RunAll())
		require.NoError(t, r.solver.Step(gorgonia.NodesToValueGrads(r.model.Learnables[3:7])))
	}
	whole, part := of(1), of(2)
	step(whole)
	whole.save(t, path)
	require.NoError(t, part.load(path))
	require.Equal(t, whole.memory(t), part.memory(t))
	step(whole)
	step(part)
	require.Equal(t, whole.memory(t), part.memory(t))
}

// Weights that drift are measured in turn, whenever a run was resumed.
func TestResumedRunReprojectsAtTheSameSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.safetensors")
	for _, of := range precisions {
		tolerance := 1e-7
		if of == precisions[1] {
			tolerance = 3e-16
		}
		resumes(t, path, func(seed uint64) *run {
			return runOf(t, of, seed, solvers.NewSGD(solvers.Momentum(0.9), solvers.TangentMomentum(), solvers.LearnRate(0.1), solvers.Tolerance(tolerance), solvers.Kernels(manifolds.Stiefel{})))
		})
	}
}
