// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

var precisions = []tensor.Dtype{tensor.Float32, tensor.Float64}

// spec is what the nets of these tests are made for.
func spec(of tensor.Dtype, seed uint64) models.Spec {
	return models.Spec{Batch: 4, Shape: [3]int{2, 8, 8}, Classes: 3, Dtype: of, Seed: seed}
}

// small has a layer of each kind.
func small(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Bias("conv1", b.Conv("conv1", x, 4, 3, 1, 1))
	x = b.MaxPool(b.Rectify(b.BatchNorm("bn1", x)), 2)
	x = b.In("layer1.0").Conv("conv1", x, 6, 3, 2, 1)
	x = b.Rectify(b.In("layer1.0").BatchNorm("bn1", x))
	x = b.Dropout("dropout", b.Linear("fc1", x, 5), 0.4)
	return b.Linear("fc", b.BatchNorm("bn2", x), 3)
}

func modelOf(t testing.TB, s models.Spec, net models.Layers) *models.Model {
	t.Helper()
	m, err := models.Build(s, net)
	require.NoError(t, err)
	return m
}

// loop is the state of the training loops of these tests.
type loop struct {
	Epoch  int
	Seed   uint64
	Losses []float64
}

// run is a model with its solver and its loop.
type run struct {
	model  *models.Model
	solver *solvers.Solver
	loop   loop
}

func runOf(t testing.TB, of tensor.Dtype, seed uint64, solver *solvers.Solver) *run {
	return &run{modelOf(t, spec(of, seed), small), solver, loop{Seed: 1<<63 + 5}}
}

// steps goes on for n steps, with batches of random images that depend on the step alone.
func (r *run) steps(t testing.TB, n int) {
	t.Helper()
	vm := r.machine()
	defer vm.Close()
	for range n {
		require.NoError(t, r.stepOn(t, vm))
	}
}

// step makes one step, which may fail.
func (r *run) step(t testing.TB) error {
	vm := r.machine()
	defer vm.Close()
	return r.stepOn(t, vm)
}

func (r *run) machine() gorgonia.VM {
	return gorgonia.NewTapeMachine(r.model.Graph, gorgonia.BindDualValues(r.model.Learnables...))
}

func (r *run) stepOn(t testing.TB, vm gorgonia.VM) error {
	t.Helper()
	images := make([]float32, r.model.Input.Shape().TotalSize())
	labels := make([]int, r.model.Spec().Batch)
	rng := rand.New(rand.NewPCG(r.loop.Seed, uint64(r.loop.Epoch)))
	for i := range images {
		images[i] = float32(rng.NormFloat64())
	}
	for i := range labels {
		labels[i] = rng.IntN(3)
	}
	require.NoError(t, r.model.SetBatch(images, labels))
	defer vm.Reset()
	if err := vm.RunAll(); err != nil {
		return err
	}
	if err := r.solver.Step(gorgonia.NodesToValueGrads(r.model.Learnables)); err != nil {
		return err
	}
	r.loop.Losses = append(r.loop.Losses, r.model.Loss())
	r.loop.Epoch++
	return nil
}

func (r *run) save(t testing.TB, path string) {
	t.Helper()
	require.NoError(t, Save(path, r.model, r.solver, r.loop))
}

func (r *run) load(path string) error { return Load(path, r.model, r.solver, &r.loop) }

// memory is a copy of all that a load may change.
type memory struct {
	Weights    map[string]any
	Statistics map[string]nodes.Statistics
	Noise      map[string]nodes.Noise
	Solver     *solvers.Snapshot
	Loop       loop
}

func (r *run) memory(t testing.TB) memory {
	t.Helper()
	m := memory{map[string]any{}, map[string]nodes.Statistics{}, noiseOf(r.model.State()), nil, r.loop}
	for _, n := range r.model.Learnables {
		m.Weights[n.Name()] = n.Value().(*tensor.Dense).Clone().(*tensor.Dense).Data()
	}
	for _, b := range r.model.Buffers {
		if s := b.Statistics; s != nil {
			c := *s
			c.Mean = append([]float64(nil), s.Mean...)
			c.Variance = append([]float64(nil), s.Variance...)
			m.Statistics[b.Name] = c
		}
	}
	m.Loop.Losses = append([]float64(nil), r.loop.Losses...)
	if r.solver != nil {
		var err error
		m.Solver, err = r.solver.Snapshot()
		require.NoError(t, err)
	}
	return m
}

// adam is the solver where it does not matter which.
func adam() *solvers.Solver {
	return solvers.NewAdam(solvers.LearnRate(0.05), solvers.Kernels(manifolds.Stiefel{}))
}

// refuses fails unless loading the file fails in that way and changes nothing.
func refuses(t testing.TB, r *run, path string, kind error, contains string) {
	t.Helper()
	before := r.memory(t)
	err := r.load(path)
	require.Error(t, err)
	if kind != nil {
		assert.ErrorIs(t, err, kind)
	}
	assert.ErrorContains(t, err, contains)
	assert.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, r.memory(t))
}
