// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/tampered"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
	"github.com/kernelfold/kernelfold/solvers"
)

// linear is the smallest net.
func linear(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("fc", x, 3) }

// tiny has kernels, statistics and noise, and no more than it must: for tests of every byte.
func tiny(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.BatchNorm("bn", b.Conv("conv", x, 1, 3, 4, 1))
	return b.Linear("fc", b.Dropout("drop", x, 0.5), 3)
}

// saved is a run of the tiny net and its file.
func saved(t testing.TB) (*run, string, []byte) {
	t.Helper()
	r := &run{modelOf(t, spec(precisions[0], 1), tiny), adam(), loop{Seed: 1}}
	r.steps(t, 2)
	path := filepath.Join(t.TempDir(), "run.safetensors")
	r.save(t, path)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return r, path, b
}

// fresh is a run that the file of saved fits.
func fresh(t testing.TB) *run {
	return &run{modelOf(t, spec(precisions[0], 7), tiny), adam(), loop{Epoch: -1}}
}

// Every prefix of a checkpoint, and a checkpoint with more behind it, is damaged.
func TestTruncated(t *testing.T) {
	_, path, b := saved(t)
	r := fresh(t)
	before := r.memory(t)
	for n := range b {
		n := len(b) - 1 - n
		require.NoError(t, os.Truncate(path, int64(n)))
		require.ErrorIs(t, r.load(path), ErrDamaged, "%d of %d bytes", n, len(b))
	}
	require.Equal(t, before, r.memory(t))
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(b), 0), 0o666))
	refuses(t, r, path, ErrDamaged, "")
}

// No bit can flip unseen.
func TestBitFlips(t *testing.T) {
	_, path, b := saved(t)
	r := fresh(t)
	before := r.memory(t)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	set := func(at int, to byte) {
		_, err := f.WriteAt([]byte{to}, int64(at))
		require.NoError(t, err)
	}
	step := 3 // two bits or three of every byte
	if testing.Short() {
		step = 7
	}
	for bit := 0; bit < 8*len(b); bit += step {
		at := bit / 8
		set(at, b[at]^1<<(bit%8))
		require.Error(t, r.load(path), "bit %d of byte %d", bit%8, at)
		set(at, b[at])
	}
	require.Equal(t, before, r.memory(t))
	require.NoError(t, r.load(path))
}

func TestForeign(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run")
	r := fresh(t)
	require.NoError(t, Export(path, r.model))
	refuses(t, r, path, ErrForeign, "see Import")
	require.NoError(t, os.WriteFile(path, []byte("\x89PNG\r\n\x1a\n, or so"), 0o666))
	refuses(t, r, path, ErrDamaged, "this is a PNG picture")
	refuses(t, r, dir, nil, "want a regular file, got a directory")
	refuses(t, r, filepath.Join(dir, "none"), os.ErrNotExist, "none")
}

// resign writes the file with other tensors and metadata, and a checksum that is right.
func resign(t testing.TB, path string, b []byte, edit func(tensors map[string]safetensors.Tensor, metadata map[string]string)) {
	t.Helper()
	c, err := tampered.Read(b)
	require.NoError(t, err)
	edit(c.Tensors, c.Metadata)
	require.NoError(t, c.Write(path))
}

// Files that are whole, but not for this model and solver.
func TestMismatches(t *testing.T) {
	_, path, b := saved(t)
	type tensors = map[string]safetensors.Tensor
	type metadata = map[string]string
	replace := func(key, old, to string) func(tensors, metadata) {
		return func(_ tensors, m metadata) {
			if !strings.Contains(m[key], old) {
				t.Fatalf("no %s in %s", old, m[key])
			}
			m[key] = strings.Replace(m[key], old, to, 1)
		}
	}
	reshape := func(name string, shape ...int) func(tensors, metadata) {
		return func(all tensors, _ metadata) {
			x := all[name]
			n := 1
			for _, s := range shape {
				n *= s
			}
			if x.Shape = shape; x.F64 != nil {
				x.F64 = make([]float64, n)
			} else if x.I64 != nil {
				x.I64 = make([]int64, n)
			} else {
				x.F32 = make([]float32, n)
			}
			all[name] = x
		}
	}
	lack := func(name string) func(tensors, metadata) {
		return func(all tensors, _ metadata) { delete(all, name) }
	}
	for name, c := range map[string]struct {
		edit func(tensors, metadata)
		kind error
		want string
	}{
		"version":           {replace(versionKey, "1", "3"), ErrVersion, `want version 1 or 2, got "3"`},
		"turn":              {replace(solverKey, `"Turn":2`, fmt.Sprintf(`"Turn":%d`, math.MaxInt)), ErrMismatch, fmt.Sprintf("turn %d", math.MaxInt)},
		"negative turn":     {replace(solverKey, `"Turn":2`, `"Turn":-1`), ErrMismatch, "turn -1"},
		"many steps":        {replace(solverKey, `"Steps":2`, fmt.Sprintf(`"Steps":%d`, math.MaxInt)), ErrMismatch, fmt.Sprintf("%d steps", math.MaxInt)},
		"steps of a weight": {replace(solverKey, `"Steps":2,"Reprojections"`, `"Steps":-2,"Reprojections"`), ErrMismatch, "got -2 steps"},
		"re-projections":    {replace(solverKey, `"Reprojections":0`, `"Reprojections":-1`), ErrMismatch, "-1 re-projections"},
		"norm":              {replace(solverKey, `"Norm":`, `"Norm":-`), ErrMismatch, "norm of finite weights"},
		"bounds":            {replace(solverKey, `"Bounds":[`, `"Bounds":[-`), ErrMismatch, "bounds that are not negative"},
		"learning rate":     {replace(solverKey, `"LearnRate":`, `"LearnRate":-`), ErrMismatch, "got -0.05"},
		"a block twice": {func(_ tensors, m metadata) {
			m[solverKey] = strings.Replace(m[solverKey], `"second moment"`, `"first moment, before its transport"`, 1)
		}, ErrMismatch, "got it twice"},
		"NaN in the state":    {func(all tensors, _ metadata) { all["solver/fc.bias/first moment"].F32[1] = float32(math.NaN()) }, ErrMismatch, "want finite numbers, got NaN"},
		"negative square":     {func(all tensors, _ metadata) { all["solver/fc.bias/second moment"].F32[1] = -1 }, ErrMismatch, "not negative, got -1"},
		"count of batches":    {func(all tensors, _ metadata) { all["model/bn.num_batches_tracked"].I64[0] = math.MaxInt64 }, ErrMismatch, "got 9223372036854775807"},
		"missing weights":     {lack("model/conv.weight"), ErrMismatch, `want a tensor "model/conv.weight", got none`},
		"missing statistics":  {lack("model/bn.running_var"), ErrMismatch, `"model/bn.running_var"`},
		"missing count":       {lack("model/bn.num_batches_tracked"), ErrMismatch, `"model/bn.num_batches_tracked"`},
		"missing state":       {lack("solver/conv.weight/first moment, before its transport"), ErrMismatch, `"solver/conv.weight/first moment, before its transport"`},
		"shape of weights":    {reshape("model/conv.weight", 2, 2, 3, 3), ErrMismatch, `"model/conv.weight": want shape [1 2 3 3], got [2 2 3 3]`},
		"not transposed":      {reshape("model/fc.weight", 4, 3), ErrMismatch, `"model/fc.weight": want shape [3 4], got [4 3]`},
		"shape of a bias":     {reshape("model/fc.bias", 1, 3), ErrMismatch, `"model/fc.bias": want shape [3], got [1 3]`},
		"shape of statistics": {reshape("model/bn.running_mean", 2), ErrMismatch, `"model/bn.running_mean": want shape [1], got [2]`},
		"shape of the count":  {reshape("model/bn.num_batches_tracked", 1), ErrMismatch, `want shape [], got [1]`},
		"shape of state":      {reshape("solver/fc.bias/first moment", 2, 1, 1), ErrMismatch, `"solver/fc.bias/first moment": want shape [3 1 1], got [2 1 1]`},
		"surplus":             {func(all tensors, _ metadata) { all["x"] = safetensors.Tensor{Name: "x", F32: []float32{1}} }, ErrMismatch, `want no tensor "x"`},
		"precision of weights": {func(all tensors, _ metadata) {
			all["model/fc.bias"] = safetensors.Tensor{Name: "model/fc.bias", Shape: []int{3}, F64: make([]float64, 3)}
		}, ErrMismatch, `"model/fc.bias": want float32, got F64`},
		"precision of the mean": {func(all tensors, _ metadata) {
			all["model/bn.running_mean"] = safetensors.Tensor{Name: "model/bn.running_mean", Shape: []int{1}, F32: make([]float32, 1)}
		}, ErrMismatch, `want F64, got F32`},
		"precision of state": {func(all tensors, _ metadata) {
			n := "solver/fc.bias/first moment"
			all[n] = safetensors.Tensor{Name: n, Shape: []int{3, 1, 1}, F64: make([]float64, 3)}
		}, ErrMismatch, `first moment`},
		"variance":            {func(all tensors, _ metadata) { all["model/bn.running_var"].F64[0] = -1 }, ErrMismatch, "got -1"},
		"count":               {func(all tensors, _ metadata) { all["model/bn.num_batches_tracked"].I64[0] = -1 }, ErrMismatch, "count of batches"},
		"no noise":            {func(_ tensors, m metadata) { m[noiseKey] = "{}" }, ErrMismatch, "drop: want noise, got none"},
		"noise without layer": {replace(noiseKey, `"drop"`, `"dropp":{"Seed":1,"Run":1},"drop"`), ErrMismatch, "dropp: want no noise"},
		"noise is not JSON":   {replace(noiseKey, `}`, ``), ErrMismatch, "noise"},
		"noise has more":      {replace(noiseKey, `"Run"`, `"Ran"`), ErrMismatch, "Ran"},
		"no solver":           {func(_ tensors, m metadata) { delete(m, solverKey) }, ErrMismatch, "want the state of a solver, got none"},
		"another solver":      {replace(solverKey, `"Adam"`, `"SGD"`), ErrMismatch, "Adam"},
		"another manifold":    {replace(solverKey, `"Manifold":"Stiefel`, `"Manifold":"Sphere`), ErrMismatch, "manifold"},
		"another grouping":    {replace(solverKey, `"filter bank"`, `"per tap"`), ErrMismatch, "grouping"},
		"another parameter":   {replace(solverKey, `"Name":"fc.bias"`, `"Name":"fc.bios"`), ErrMismatch, "fc.bios"},
		"negative steps":      {replace(solverKey, `"Steps":2`, `"Steps":-2`), ErrMismatch, "steps"},
		"solver is not JSON":  {replace(solverKey, `{`, ``), ErrMismatch, "state of the solver"},
		"no loop":             {func(_ tensors, m metadata) { delete(m, loopKey) }, ErrMismatch, "want the state of a loop, got none"},
		"another loop":        {replace(loopKey, "Epoch", "Epic"), ErrMismatch, "Epic"},
		"two loops":           {func(_ tensors, m metadata) { m[loopKey] += m[loopKey] }, ErrMismatch, "one JSON value"},
	} {
		t.Run(name, func(t *testing.T) {
			resign(t, path, b, c.edit)
			refuses(t, fresh(t), path, c.kind, c.want)
		})
	}

	resign(t, path, b, func(tensors, metadata) {})
	r := fresh(t)
	r.solver = solvers.NewAdam(solvers.LearnRate(0.05), solvers.Kernels(manifolds.Stiefel{}, manifolds.PerTap))
	refuses(t, r, path, ErrMismatch, `"conv.weight"`)
	r.solver = solvers.NewAdam(solvers.AMSGrad(), solvers.Kernels(manifolds.Stiefel{}))
	refuses(t, r, path, ErrMismatch, "blocks of state")
	r = fresh(t)
	r.steps(t, 1)
	refuses(t, r, path, ErrMismatch, "has seen no parameters")
	r = fresh(t)
	r.model = modelOf(t, spec(precisions[0], 1), linear)
	refuses(t, r, path, ErrMismatch, `"model/fc.weight"`)

	before := r.memory(t)
	assert.ErrorIs(t, Load(path, nil, r.solver, nil), ErrMismatch)
	assert.ErrorIs(t, Load(path, r.model, r.solver, r.loop), ErrMismatch, "no pointer")
	assert.ErrorIs(t, Load(path, r.model, r.solver, (*loop)(nil)), ErrMismatch)
	assert.Equal(t, before, r.memory(t))
}

// To evaluate a net its weights are enough.
func TestLoadWithoutSolverAndLoop(t *testing.T) {
	was, path, _ := saved(t)
	r := fresh(t)
	require.NoError(t, Load(path, r.model, nil, nil))
	r.solver, was.solver, was.loop = nil, nil, r.loop
	require.Equal(t, was.memory(t), r.memory(t))

	require.NoError(t, Save(path, r.model, nil, nil))
	require.NoError(t, Load(path, fresh(t).model, nil, nil))
	refuses(t, fresh(t), path, ErrMismatch, "want the state of a solver, got none")
}

// Weights are written where they lie: a machine and a predictor that are at work see them.
func TestLoadKeepsMemory(t *testing.T) {
	_, path, _ := saved(t)
	r := fresh(t)
	before := map[string]any{}
	for _, n := range r.model.Learnables {
		before[n.Name()] = n.Value()
	}
	require.NoError(t, r.load(path))
	for _, n := range r.model.Learnables {
		assert.Same(t, before[n.Name()], n.Value())
	}
}

// FuzzLoad: no content of a file with a right checksum makes Load or the steps after it panic, and what Load refuses
// changes nothing. The inputs are single edits, so that the fuzzer has little to minimise:
//
//	go test -fuzz FuzzLoad -fuzztime 10m ./models/checkpoint
func FuzzLoad(f *testing.F) {
	_, path, b := saved(f)
	for n := range uint16(40) {
		f.Add(uint8(0), n, "-1")
		f.Add(uint8(0), n, fmt.Sprint(math.MaxInt))
	}
	for _, value := range []string{"null", "{}", "[]", `""`, "1e999", "18446744073709551615"} {
		for part := range uint8(3) {
			f.Add(part, uint16(0), value)
			f.Add(part, uint16(2), value)
		}
	}
	for n := range uint16(60) {
		f.Add(uint8(3), n, "\x7f\xc0\x00\x00\x00\x00\x00\x01") // NaN
		f.Add(uint8(3), n, "\xff\x80")                         // -Inf in float32, -1e308 or so in float64
	}
	f.Add(uint8(4), uint16(1), "[0]")
	f.Add(uint8(4), uint16(7), "[1,1]")
	f.Fuzz(func(t *testing.T, part uint8, n uint16, value string) {
		c, err := tampered.Read(b)
		require.NoError(t, err)
		if !c.Edit(part, n, value) || c.Write(path) != nil {
			return
		}
		r := fresh(t)
		before := r.memory(t)
		if err := r.load(path); err != nil {
			require.Equal(t, before, r.memory(t))
			return
		}
		for range 3 { // may fail, where numbers are large
			if err := r.step(t); err != nil {
				return
			}
		}
		_ = Save(path, r.model, r.solver, r.loop)
	})
}
