// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// orthogonalNet is the net of testdata/orthogonal.py.
func orthogonalNet(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	circular := nodes.Circular()
	x = b.MaxMin(b.Bias("conv1", b.Orthogonal("conv1", x, 4, 3, 1, circular)))
	x = b.MaxMin(b.Bias("conv2", b.Orthogonal("conv2", x, 6, 3, 2, circular)))
	x = b.MaxMin(b.Bias("conv3", b.Orthogonal("conv3", x, 6, 3, 1, circular, nodes.Groups(2))))
	x = b.Rectify(b.Bias("up1", b.OrthogonalTranspose("up1", x, 4, 4, 2)))
	x = b.Rectify(b.ConvTranspose("up2", x, 4, 3, 2, 1, nodes.OutputPadding(1, 1), nodes.Groups(2)))
	return b.Linear("fc", x, 3)
}

// A net with the factors that PyTorch has drawn has its logits. Released, it has the kernels that PyTorch made of
// the factors, and PyTorch reads it, after training too.
func TestOrthogonalNetInPyTorch(t *testing.T) {
	reference := tensorsIn(t, "testdata/orthogonal.safetensors")
	images := make([]float32, 0, 3*64)
	for _, v := range reference["images"].F64 {
		images = append(images, float32(v))
	}
	logits := func(n *models.Net) []float64 {
		p, err := n.Predictor()
		require.NoError(t, err)
		defer p.Close()
		out, err := p.Logits(images)
		require.NoError(t, err)
		return append([]float64(nil), out...)
	}
	dir := t.TempDir()
	m, err := models.Build(models.Spec{Batch: 3, Shape: [3]int{1, 8, 8}, Classes: 3, Dtype: tensor.Float64, Seed: 1}, orthogonalNet)
	require.NoError(t, err)
	release := func(name string) (file string, n *models.Net) {
		released, err := models.Release(m)
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, Export(path, released))
		near(t, logits(m.Net), logits(released), 1e-13)
		return path, released
	}

	factors := filepath.Join(dir, "factors")
	c := content{}
	for name, x := range reference {
		if name, ok := strings.CutPrefix(name, "factors/"); ok {
			x.Name = name
			c.tensors = append(c.tensors, x)
		}
	}
	require.NoError(t, disk.Replace(disk.OS{}, factors, c.writePlain))
	require.NoError(t, Import(factors, m, ImportOptions{}))
	near(t, reference["logits"].F64, logits(m.Net), 1e-13)
	path, _ := release("imported")
	plain := tensorsIn(t, path)
	for name, x := range reference {
		if name, ok := strings.CutPrefix(name, "plain/"); ok {
			assert.Equal(t, append([]int{}, x.Shape...), append([]int{}, plain[name].Shape...), name)
			near(t, x.F64, plain[name].F64, 1e-14)
		}
	}

	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	solver := solvers.NewAdam(solvers.LearnRate(0.1), solvers.Natural())
	require.NoError(t, m.SetBatch(images, []int{0, 1, 2}))
	for range 5 {
		require.NoError(t, vm.RunAll())
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(m.Learnables)))
		vm.Reset()
	}
	trained, released := release("trained")
	saved := filepath.Join(dir, "saved")
	require.NoError(t, Export(saved, m))
	again, err := models.Build(m.Spec(), orthogonalNet)
	require.NoError(t, err)
	require.NoError(t, Import(saved, again, ImportOptions{}))
	assert.Equal(t, logits(m.Net), logits(again.Net))

	if testing.Short() {
		t.Skip("starts PyTorch")
	}
	var stdout, stderr bytes.Buffer
	python := exec.Command(theirShell, "testdata/orthogonal.py", "check", path, trained)
	python.Env = append(python.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	python.Stdout, python.Stderr = &stdout, &stderr
	err = python.Run()
	if errors.Is(err, fs.ErrNotExist) || python.ProcessState != nil && python.ProcessState.ExitCode() == 77 {
		t.Skipf("there is no PyTorch to read our files: %v: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	require.NoError(t, err, stderr.String())
	var got [][]float64
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.Len(t, got, 2)
	near(t, reference["logits"].F64, got[0], 1e-13)
	near(t, logits(released), got[1], 1e-12)
}
