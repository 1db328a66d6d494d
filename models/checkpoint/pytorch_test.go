// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// Files that PyTorch wrote: see pytorch.py there.
const (
	theirs     = "testdata/pytorch.safetensors"
	theirHalf  = "testdata/pytorch-half.safetensors"
	theirRun   = "testdata/pytorch-run.safetensors"
	theirPart  = "testdata/pytorch.py"
	theirShell = "/usr/bin/python3"
)

// torchNet is the net of pytorch.py.
func torchNet(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Bias("conv1", b.Conv("conv1", x, 4, 3, 1, 1))
	x = b.MaxPool(b.Rectify(b.BatchNorm("bn1", x)), 2)
	block := b.In("layer1.0")
	x = block.Rectify(block.BatchNorm("bn1", block.Conv("conv1", x, 6, 3, 2, 1)))
	x = b.Apply("gn", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		var affine [2]*gorgonia.Node
		for i, name := range []string{"gn.weight", "gn.bias"} {
			var err error
			if affine[i], err = b.Weight(name, b.Spec().Kernels, 1, 6, 1, 1); err != nil {
				return nil, err
			}
		}
		return nodes.GroupNorm(x, affine[0], affine[1], 2, 6, 1e-5)
	})
	x = b.Bias("mix", b.Conv("mix", x, 1, 1, 1, 0))
	x = b.Dropout("dropout", b.Linear("fc1", x, 5), 0.4)
	return b.Linear("fc", b.BatchNorm("bn2", x), 3)
}

func torchModel(t *testing.T, of tensor.Dtype, seed uint64) *models.Model {
	return modelOf(t, spec(of, seed), torchNet)
}

// tensorsIn reads a file.
func tensorsIn(t *testing.T, path string) map[string]safetensors.Tensor {
	t.Helper()
	f, err := open(path)
	require.NoError(t, err)
	defer f.Close()
	all := map[string]safetensors.Tensor{}
	for _, i := range f.Tensors() {
		all[i.Name], err = f.Read(i.Name)
		require.NoError(t, err)
	}
	return all
}

// logitsOf are those of a model in evaluation for the images of PyTorch's run.
func logitsOf(t *testing.T, m *models.Model) []float64 {
	t.Helper()
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	logits, err := p.Logits(tensorsIn(t, theirRun)["images"].F32)
	require.NoError(t, err)
	return append([]float64(nil), logits...)
}

// near compares logits, sums of some hundred products in float32, through three layers
// and normalisations.
func near(t *testing.T, want, got []float64, tolerance float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InDelta(t, want[i], got[i], tolerance)
	}
}

// A net with PyTorch's weights gives PyTorch's logits.
func TestImportsFromPyTorch(t *testing.T) {
	want := widened(tensorsIn(t, theirRun)["logits"])
	for _, of := range precisions {
		m := torchModel(t, of, 1)
		require.NoError(t, Import(theirs, m, ImportOptions{}))
		near(t, want, logitsOf(t, m), 3e-6)
		for _, b := range m.Buffers {
			if b.Statistics != nil {
				assert.EqualValues(t, 3, b.Statistics.Batches)
			}
		}
		require.NoError(t, Import(theirHalf, m, ImportOptions{}))
		near(t, want, logitsOf(t, m), 1e-2)
	}
}

// What is imported and exported is, to the bit, what PyTorch wrote, with the statistics in
// F64.
func TestExportsWhatWasImported(t *testing.T) {
	want := tensorsIn(t, theirs)
	path := filepath.Join(t.TempDir(), "ours.safetensors")
	for _, of := range precisions {
		m := torchModel(t, of, 1)
		require.NoError(t, Import(theirs, m, ImportOptions{}))
		require.NoError(t, Export(path, m))
		got := tensorsIn(t, path)
		require.Len(t, got, len(want))
		for name, w := range want {
			assert.Equal(t, append([]int{}, w.Shape...), append([]int{}, got[name].Shape...), name)
			assert.Equal(t, widened(w), widened(got[name]), name)
			assert.Equal(t, w.I64, got[name].I64, name)
		}
		assert.Equal(t, of == tensor.Float32, got["fc.weight"].F32 != nil)
		again := torchModel(t, of, 2)
		require.NoError(t, Import(path, again, ImportOptions{}))
		assert.Equal(t, logitsOf(t, m), logitsOf(t, again))
	}
}

// PyTorch reads what Export and Save write, with load_state_dict(strict=True), and gets our
// logits.
func TestPyTorchReadsOurs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PyTorch")
	}
	dir := t.TempDir()
	var want [][]float64
	arguments := []string{theirPart, "check", theirRun}
	for _, of := range precisions {
		r := &run{torchModel(t, of, 3), solvers.NewAdam(solvers.LearnRate(0.01)), loop{}}
		r.steps(t, 3)
		exported, checkpoint := filepath.Join(dir, of.String()), filepath.Join(dir, of.String()+"-run")
		require.NoError(t, Export(exported, r.model))
		r.save(t, checkpoint)
		logits := logitsOf(t, r.model)
		folded, err := models.Release(r.model)
		require.NoError(t, err)
		released := exported + "-released"
		require.NoError(t, Export(released, folded))
		arguments = append(arguments, exported, checkpoint, released)
		want = append(want, logits, logits, logits)
	}
	var stdout, stderr bytes.Buffer
	python := exec.Command(theirShell, arguments...)
	python.Stdout, python.Stderr = &stdout, &stderr
	err := python.Run()
	if errors.Is(err, fs.ErrNotExist) || python.ProcessState != nil && python.ProcessState.ExitCode() == 77 {
		t.Skipf("there is no PyTorch to read our files: %v: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	require.NoError(t, err, stderr.String())
	var got [][]float64
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.Len(t, got, 6)
	for i, tolerance := range []float64{3e-6, 3e-6, 6e-6, 1e-14, 1e-14, 2e-14} {
		near(t, want[i], got[i], tolerance)
	}
}

// What does not fit changes nothing, and the error names the tensor.
func TestImportRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	m := torchModel(t, tensor.Float32, 1)
	state := func() memory { return (&run{model: m}).memory(t) }
	before := state()
	write := func(edit func(all map[string]safetensors.Tensor)) {
		all := tensorsIn(t, theirs)
		edit(all)
		c := content{}
		for _, x := range all {
			c.tensors = append(c.tensors, x)
		}
		require.NoError(t, disk.Replace(disk.OS{}, path, c.writePlain))
	}
	refuse := func(want string) {
		t.Helper()
		err := Import(path, m, ImportOptions{})
		require.ErrorIs(t, err, ErrMismatch)
		assert.ErrorContains(t, err, want)
		require.Equal(t, before, state())
	}
	write(func(all map[string]safetensors.Tensor) { delete(all, "bn2.running_var") })
	refuse(`want the tensor "bn2.running_var", got none`)
	write(func(all map[string]safetensors.Tensor) {
		x := all["fc1.weight"]
		x.Shape = []int{4, 5}
		all["fc1.weight"] = x
	})
	refuse(`tensor "fc1.weight": want shape [5 4], got [4 5]`)
	write(func(all map[string]safetensors.Tensor) {
		x := all["conv1.weight"]
		x.F64, x.F32 = widened(x), nil
		all["conv1.weight"] = x
	})
	refuse(`tensor "conv1.weight": want float32, got F64`)
	write(func(all map[string]safetensors.Tensor) {
		all["fc1.bias"] = safetensors.Tensor{Name: "fc1.bias", Shape: []int{5}, I64: make([]int64, 5)}
	})
	refuse(`tensor "fc1.bias": want float32, got I64`)
	write(func(all map[string]safetensors.Tensor) { all["conv1.weight"].F32[4] = float32(math.Inf(-1)) })
	refuse(`tensor "conv1.weight": want finite numbers, got -Inf at element 4`)
	write(func(all map[string]safetensors.Tensor) { all["fc1.bias"].F32[0] = float32(math.NaN()) })
	refuse(`tensor "fc1.bias": want finite numbers, got NaN at element 0`)
	write(func(all map[string]safetensors.Tensor) { all["bn1.running_mean"].F32[1] = float32(math.NaN()) })
	refuse(`got NaN at element 1`)
	write(func(all map[string]safetensors.Tensor) {
		all["x"] = safetensors.Tensor{Name: "x", I64: []int64{1}}
	})
	refuse(`want no tensor "x", which the model does not have: see ImportOptions.Surplus`)
	require.NoError(t, Import(path, m, ImportOptions{Surplus: true}))
	require.NotEqual(t, before, state())

	require.NoError(t, os.Truncate(path, 1000))
	before = state()
	require.ErrorIs(t, Import(path, m, ImportOptions{}), ErrDamaged)
	require.Equal(t, before, state())
	require.ErrorContains(t, Import(path, nil, ImportOptions{}), "want a model")
}

// The table of names.go, by example.
func TestPlaces(t *testing.T) {
	m := torchModel(t, tensor.Float32, 1)
	got := map[string]place{}
	for i, p := range places(m.State()) {
		got[m.Learnables[i].Name()] = p
	}
	assert.Equal(t, map[string]place{
		"conv1.weight":          {shape: []int{4, 2, 3, 3}},
		"conv1.bias":            {shape: []int{4}},
		"bn1.weight":            {shape: []int{4}},
		"bn1.bias":              {shape: []int{4}},
		"layer1.0.conv1.weight": {shape: []int{6, 4, 3, 3}},
		"layer1.0.bn1.weight":   {shape: []int{6}},
		"layer1.0.bn1.bias":     {shape: []int{6}},
		"gn.weight":             {shape: []int{6}},
		"gn.bias":               {shape: []int{6}},
		"mix.weight":            {shape: []int{1, 6, 1, 1}},
		"mix.bias":              {shape: []int{1}},
		"fc1.weight":            {shape: []int{5, 4}, transposed: true},
		"fc1.bias":              {shape: []int{5}},
		"bn2.weight":            {shape: []int{5}},
		"bn2.bias":              {shape: []int{5}},
		"fc.weight":             {shape: []int{3, 5}, transposed: true},
		"fc.bias":               {shape: []int{3}},
	}, got)

	one := modelOf(t, models.Spec{Batch: 2, Shape: [3]int{1, 1, 1}, Classes: 3}, linear)
	assert.Equal(t, []place{{[]int{3, 1}, true}, {shape: []int{3}}}, places(one.State()), "a linear layer with one input")
}

func TestTranspose(t *testing.T) {
	assert.Equal(t, []int{1, 4, 2, 5, 3, 6}, transpose([]int{1, 2, 3, 4, 5, 6}, 3))
	m := modelOf(t, models.Spec{Batch: 2, Shape: [3]int{2, 1, 1}, Classes: 3}, linear)
	v, err := dense.Of(m.Learnables[0].Value()) // (2, 3)
	require.NoError(t, err)
	copy(v.F32, []float32{1, 2, 3, 4, 5, 6})
	path := filepath.Join(t.TempDir(), "w")
	require.NoError(t, Export(path, m))
	w := tensorsIn(t, path)["fc.weight"]
	assert.Equal(t, []int{3, 2}, w.Shape)
	assert.Equal(t, []float32{1, 4, 2, 5, 3, 6}, w.F32)
	clear(v.F32)
	require.NoError(t, Import(path, m, ImportOptions{}))
	assert.Equal(t, []float32{1, 2, 3, 4, 5, 6}, v.F32)
}
