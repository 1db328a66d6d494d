// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// onStiefel is the solver of the files in testdata: testdata/old.md.
func onStiefel(opts ...solvers.Option) *solvers.Solver {
	return solvers.NewSGD(append(opts, solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))...)
}

// Checkpoints from when ambient momentum was the default and snapshots did not say which they hold go on as they did then, where the
// solver has that momentum. The losses are those of the uninterrupted run of that time.
func TestOldCheckpoints(t *testing.T) {
	for file, c := range map[string]struct {
		solver *solvers.Solver
		losses []float64
	}{
		"ambient": {onStiefel(solvers.AmbientMomentum()), []float64{0.6710227727890015, 1.0154415369033813, 1.0392709970474243, 2.5113773345947266, 0.2313743382692337}},
		"tangent": {onStiefel(), []float64{0.6710227727890015, 1.0154415369033813, 1.0392709970474243, 2.511082172393799, 0.23052354156970978}},
		"adam":    {adam(), []float64{0.6710227727890015, 1.077374815940857, 1.0141655206680298, 3.0606508255004883, 0.3067898750305176}},
	} {
		r := &run{modelOf(t, spec(precisions[0], 7), tiny), c.solver, loop{}}
		require.NoError(t, r.load("testdata/old-"+file+".safetensors"), file)
		assert.Equal(t, c.losses[:3], r.loop.Losses, file)
		r.steps(t, 2)
		// Steps are rounded in another order than then: by a few units in the last place of weights near 1.
		assert.InDeltaSlice(t, c.losses, r.loop.Losses, 1e-4, file)

		path := filepath.Join(t.TempDir(), "run.safetensors")
		r.save(t, path)
		require.NoError(t, Check(path))
	}
}

// Ambient momentum in a solver with tangent momentum is refused, with what to do.
func TestOldCheckpointOfOtherMomentum(t *testing.T) {
	r := &run{modelOf(t, spec(precisions[0], 7), tiny), onStiefel(), loop{}}
	refuses(t, r, "testdata/old-ambient.safetensors", ErrMismatch, "restore it into a solver with AmbientMomentum()")
}

// All that a snapshot holds is saved and restored to the bit, of parameters with several parts too.
func TestSnapshotToTheBit(t *testing.T) {
	m := modelOf(t, spec(precisions[0], 1), tiny)
	of := m.Learnables[0]
	shape := []int(of.Shape())
	block := func(name string, shape ...int) solvers.Block {
		n := 1
		for _, s := range shape {
			n *= s
		}
		b := solvers.Block{Name: name, Shape: shape}
		for i := range n {
			b.F32 = append(b.F32, 1/float32(3+i))
		}
		return b
	}
	third := solvers.Block{Name: "right: mean square of the direction", Shape: []int{2, 1, 1}, F64: []float64{1. / 3, math.SmallestNonzeroFloat64}}
	want := solvers.Snapshot{
		Solver: "plans", Rule: []byte{0, 255, 10, 34}, Steps: 7, Turn: 8, LearnRate: 0.1 / 3,
		Parameters: []solvers.ParameterSnapshot{{
			Name: of.Name(), Shape: shape, Precision: "float32", Manifold: "Stiefel + Sphere", Grouping: "filter bank", Norm: math.Nextafter(1, 2),
			Identity: []string{"manifolds.Stiefel{Scale: 0.1}", `manifolds.Sphere{Radius: 2.00001, "x"}`},
			Steps:    7, Reprojections: 3, Projected: true,
			Bounds: []float64{1. / 3, 2. / 3, math.MaxFloat64, 1, math.SmallestNonzeroFloat64, 0, math.Pi, 2},
			State:  []solvers.Block{block("left: momentum", 2, 3, 2), block("right: momentum", 2, 1, 3), third},
		}},
	}
	path := filepath.Join(t.TempDir(), "run.safetensors")
	require.NoError(t, Save(path, m, &HeldSnapshot{Of: &want}, nil))
	var got HeldSnapshot
	require.NoError(t, Load(path, m, &got, nil))
	assert.Equal(t, want, *got.Of)

	// JSON has no infinity: a bound beyond all numbers is written as the largest, and stays what it is in memory.
	want.Parameters[0].Bounds[0] = math.Inf(1)
	kept := slices.Clone(want.Parameters[0].Bounds)
	require.NoError(t, Save(path, m, &HeldSnapshot{Of: &want}, nil))
	assert.Equal(t, kept, want.Parameters[0].Bounds)
	require.NoError(t, Load(path, m, &got, nil))
	assert.Equal(t, math.MaxFloat64, got.Of.Parameters[0].Bounds[0])
}

// The solver inside wrappers is the one whose state is kept.
func TestKeeper(t *testing.T) {
	s := adam()
	var wrapped gorgonia.Solver = s
	for range 3 {
		k, err := Keeper(wrapped)
		require.NoError(t, err)
		assert.Same(t, s, k)
		wrapped = wrapper{wrapped}
	}
	_, err := Keeper(wrapper{wrapper{gorgonia.NewAdamSolver()}})
	assert.EqualError(t, err, "checkpoint: want a solver with the methods Snapshot and Restore, such as those of package solvers, got checkpoint.wrapper around checkpoint.wrapper around *gorgonia.AdamSolver")
	_, err = Keeper(nil)
	assert.Error(t, err)
}

type wrapper struct{ gorgonia.Solver }

func (w wrapper) Unwrap() gorgonia.Solver { return w.Solver }

// Manifolds are told apart by their whole value, also where their rounded names are equal.
func TestIdentityIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.safetensors")
	of := func(radius float64) *run {
		return &run{modelOf(t, spec(precisions[0], 1), tiny), solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{Radius: radius})), loop{Seed: 1}}
	}
	whole := of(2.00001)
	whole.steps(t, 2)
	whole.save(t, path)
	require.NoError(t, of(2.00001).load(path))
	refuses(t, of(2.00049), path, ErrMismatch, "want the manifold")
	r, err := open(path)
	require.NoError(t, err)
	defer r.Close()
	assert.Contains(t, r.Metadata()[solverKey], "2.00001")
}
