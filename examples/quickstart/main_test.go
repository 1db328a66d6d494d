// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
)

// stockProgram returns the source with the changed line replaced by its stock
// counterpart from the comment above it, and without the import that this
// leaves unused.
func stockProgram(t *testing.T, source string) string {
	lines := strings.Split(source, "\n")
	var out []string
	for i := 0; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) == `"github.com/kernelfold/kernelfold/manifolds"` {
			continue
		}
		out = append(out, lines[i])
		if strings.HasPrefix(strings.TrimSpace(lines[i]), "// The changed line.") {
			require.Less(t, i+2, len(lines))
			stock, ok := strings.CutPrefix(strings.TrimSpace(lines[i+1]), "//\t")
			require.True(t, ok, "the stock line stands below the comment")
			require.Contains(t, lines[i+2], "solvers.NewSGD(")
			out = append(out, lines[i+1], "\t"+stock)
			i += 2
		}
	}
	return strings.Join(out, "\n")
}

// differences returns the lines of each text that the other has not.
func differences(a, b string) (onlyA, onlyB []string) {
	count := map[string]int{}
	for _, l := range strings.Split(a, "\n") {
		count[l]++
	}
	for _, l := range strings.Split(b, "\n") {
		if count[l]--; count[l] < 0 {
			onlyB = append(onlyB, strings.TrimSpace(l))
		}
	}
	for _, l := range strings.Split(a, "\n") {
		if count[l] > 0 {
			onlyA = append(onlyA, strings.TrimSpace(l))
			count[l]--
		}
	}
	return onlyA, onlyB
}

// TestOneLine builds the program with the changed line and with its stock counterpart,
// and shows that they differ in that line and its import alone.
func TestOneLine(t *testing.T) {
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	swapped := stockProgram(t, string(source))

	ours, theirs := differences(string(source), swapped)
	require.Len(t, ours, 2)
	assert.Equal(t, `"github.com/kernelfold/kernelfold/manifolds"`, ours[0])
	assert.Equal(t, "var solver gorgonia.Solver = solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))", ours[1])
	assert.Equal(t, []string{"var solver gorgonia.Solver = gorgonia.NewMomentum(gorgonia.WithLearnRate(0.02), gorgonia.WithMomentum(0.9))"}, theirs)

	if testing.Short() {
		t.Skip("-short: not built and run")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(swapped), 0o666))
	here, err := filepath.Abs("main.go")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {here: filepath.Join(dir, "main.go")}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o666))
	build := func(name string, args ...string) string {
		exe := filepath.Join(dir, name)
		out, err := exec.Command("go", append(append([]string{"build", "-o", exe}, args...), ".")...).CombinedOutput()
		require.NoError(t, err, string(out))
		return exe
	}
	run := func(exe string, args ...string) string {
		out, err := exec.Command(exe, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	one, other := build("ours.exe"), build("stock.exe", "-overlay", filepath.Join(dir, "overlay.json"))

	// The swapped program does to the last digit what -stock does.
	stock := run(other)
	assert.Equal(t, run(one, "-stock"), stock)
	assert.Contains(t, stock, "epoch 5: ")
	assert.NotContains(t, stock, "Stiefel")

	constrained := run(one)
	assert.Contains(t, constrained, "epoch 5: ")
	assert.Contains(t, constrained, "Stiefel")
	assert.Contains(t, constrained, "\n2 kernels on Stiefel, filter bank, membership <= ", "both kernels are constrained")
	assert.Equal(t, 1, strings.Count(constrained, "membership"), "nothing else")
}

func TestMain(m *testing.M) { clitest.Main(m, main) }

// Wrong command lines and lost output are failures of one line.
func TestEnds(t *testing.T) {
	for args, want := range map[string]string{"-foo": "flag provided but not defined: -foo", "foo": `want flags only, got "foo"`} {
		c := clitest.Command(args)
		out, err := c.CombinedOutput()
		assert.Equal(t, 2, clitest.Status(err, c))
		assert.Contains(t, string(out), want)
		assert.Equal(t, 1, strings.Count(string(out), "\n"), string(out))
	}
	clitest.LosesOutput(t, "quickstart", "-help")
}
