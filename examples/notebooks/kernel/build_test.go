// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

func TestPatchesApplyOnce(t *testing.T) {
	text, err := run(".", "go", "list", "-m", "-f", "{{.Version}}", gomacro)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, copyModule(".", gomacro, strings.TrimSpace(string(text)), dir))
	for _, a := range additions {
		assert.NoFileExists(t, filepath.Join(dir, a.file), "an addition would hide a file of the module")
	}
	for _, p := range patches {
		require.NoError(t, p.apply(dir))
	}
	missing := patch{file: "fast/compile.go", old: "nonesuch"}
	assert.ErrorContains(t, missing.apply(dir), "kernel: patch of github.com/cosmos72/gomacro, fast/compile.go: want the text")
	missing.file = "nonesuch.go"
	assert.ErrorContains(t, missing.apply(dir), "kernel: patch of github.com/cosmos72/gomacro")
}

// The packages that need the patched interpreter are tested with it. Those of the library are not compiled for that.
func TestInterpreter(t *testing.T) {
	mod, err := prepareIn(".", t.TempDir())
	require.NoError(t, err)
	out, err := run(".", "go", append(append([]string{"test"}, flags(mod)...), "./interp", "./jupyter")...)
	assert.NoError(t, err)
	t.Logf("%s", out)
}

func TestBoundListsTheLibrary(t *testing.T) {
	paths, err := bound("bound.go")
	require.NoError(t, err)
	for _, want := range []string{
		"gorgonia.org/gorgonia", "gorgonia.org/tensor", "gonum.org/v1/plot",
		"github.com/kernelfold/kernelfold/manifolds", "github.com/kernelfold/kernelfold/solvers", "github.com/kernelfold/kernelfold/nodes",
	} {
		assert.Contains(t, paths, want)
	}
}

func TestWriteModule(t *testing.T) {
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	work := t.TempDir()
	path, err := writeModule(root, work, "v1.2.3", "/copy")
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), gomacro+" v1.2.3 => /copy")
	assert.Contains(t, string(text), "github.com/kernelfold/kernelfold => "+filepath.Join(root, "..", "..", ".."))
	assert.FileExists(t, filepath.Join(work, "go.sum"))
}

// No name of the library is generic, so a notebook has all of them.
func TestTheLibraryIsBoundWhole(t *testing.T) {
	paths, err := bound("bound.go")
	require.NoError(t, err)
	paths = slices.DeleteFunc(paths, func(p string) bool { return !strings.HasPrefix(p, module+"/") })
	pkgs, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps}, paths...)
	require.NoError(t, err)
	have := map[string]bool{}
	for _, p := range pkgs {
		require.Empty(t, p.Errors)
		b, err := bind(p.Types)
		require.NoError(t, err)
		assert.Empty(t, b.Skipped, p.PkgPath)
		for _, n := range b.Binds {
			have[p.Name+"."+n.Name] = true
		}
		for _, n := range b.Types {
			have[p.Name+"."+n] = true
		}
	}
	for _, want := range []string{
		"solvers.Minimize", "solvers.CheckGradient", "solvers.NewEMA", "solvers.NewSWA", "solvers.NewSAM", "solvers.NewMuon",
		"manifolds.KarcherMean", "manifolds.Mean", "manifolds.Ensemble", "nodes.ConvTranspose2d", "nodes.OrthogonalConvTranspose",
		"figures.Training", "display.Show", "train.Fit", "models.Builder",
	} {
		assert.True(t, have[want], want)
	}
}
