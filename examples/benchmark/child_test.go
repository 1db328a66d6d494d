// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEnvironmentWithAVX2(t *testing.T) {
	assert.Equal(t, []string{"A=1", "GODEBUG=x=1", "GODEBUG=x=1,cpu.avx512f=off", "ONEDNN_MAX_CPU_ISA=AVX2", "ATEN_CPU_CAPABILITY=avx2"},
		withAVX2([]string{"A=1", "GODEBUG=x=1"}))
	assert.Equal(t, "GODEBUG=cpu.avx512f=off", withAVX2([]string{"GODEBUG="})[1])

	assert.False(t, hasAVX2Only())
	for _, v := range withAVX2([]string{"GODEBUG=x=1"}) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	assert.True(t, hasAVX2Only())
}

// With -avx2 the program is another process, whose output and exit status are its own.
func TestAVX2(t *testing.T) {
	status, stdout, stderr := program(t.Context(), "-avx2", "-quick", "-threads", "1", "-python", nowhere, "-rows", "ResNet-20, against stock Gorgonia Momentum")
	require.Zero(t, status, stderr)
	assert.NotContains(t, stdout, "AVX-512")
	assert.Contains(t, stdout, "faster")

	status, stdout, stderr = program(t.Context(), "-avx2", "-json", filepath.Join(t.TempDir(), "none", "results.json"))
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
}

// Interrupted, the program has the other process report what it has.
func TestAVX2Interrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be told to end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(2*time.Second, cancel)
	status, stdout, stderr := program(ctx, "-avx2", "-python", nowhere, "-rows", "stock")
	assert.Equal(t, 1, status)
	assert.Equal(t, "benchmark: interrupted", lastLine(stderr))
	assert.Contains(t, stdout, "not measured: interrupted")
}

func TestMemoryOf(t *testing.T) {
	u, err := memoryOf("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t   1024 kB\n")
	require.NoError(t, err)
	assert.Equal(t, usage{Now: 1 << 20, Peak: 2 << 20}, u)
	_, err = memoryOf("Name:\tx\n")
	assert.Equal(t, untold, err)
	_, err = memoryOf("VmRSS:\tmuch\n")
	assert.ErrorContains(t, err, "VmRSS")
}

// A process takes the memory of the activations, which are 2 MB for an image.
func TestPeak(t *testing.T) {
	if _, err := ownMemory(); err != nil {
		t.Skip(err)
	}
	const batch = 8
	s := &stage{threads: 1, clock: wall, peers: newPeers(t)}
	for _, e := range memoryContest(resNet(batch)).entrants {
		made, err := e.make(t.Context(), s)
		if asMissing(err) != "" {
			t.Skip(err)
		}
		require.NoError(t, err)
		megabytes, err := made.run(1)
		require.NoError(t, err)
		assert.Greater(t, megabytes, 2.*batch, e.name)
		assert.Less(t, megabytes, 2000., e.name)
	}
}

// A fake build writes rows, with numbers that grow by the round.
func fakeBuild(t *testing.T, rows string) string {
	if runtime.GOOS == "windows" {
		t.Skip("there is no /bin/sh")
	}
	name := filepath.Join(t.TempDir(), "build")
	require.NoError(t, os.WriteFile(name, []byte(`#!/bin/sh
echo "$@" >>"$0.args"
n=$(wc -l <"$0.args")
while [ "$1" != -json ]; do shift; done
cat >"$2" <<END
`+rows+`
END
`), 0o755))
	return name
}

// Rows that both builds have measured are compared by their medians.
func TestChanges(t *testing.T) {
	older := fakeBuild(t, `[{"name": "a", "ours_ms": $n}, {"name": "gone", "ours_ms": 1}, {"name": "b", "ours_ms": null}]`)
	newer := fakeBuild(t, `[{"name": "new", "unit": "ms", "ours": 1}, {"name": "a", "unit": "ms", "ours_ms": 0.5, "ours": 0.5}, {"name": "b", "unit": "B", "ours": 5}]`)
	var before, now []measured
	for range 3 {
		m, err := measureBuild(t.Context(), older, t.TempDir(), []string{"-quick=true"})
		require.NoError(t, err)
		before = append(before, m)
		m, err = measureBuild(t.Context(), newer, t.TempDir(), nil)
		require.NoError(t, err)
		now = append(now, m)
	}
	args, err := os.ReadFile(older + ".args")
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(string(args), "-quick=true -json "))
	changes := changesOf(before, now)
	require.Len(t, changes, 1)
	c := changes[0]
	assert.Equal(t, change{Name: "a", Unit: "ms", Before: 2, Now: 0.5, Ratio: 0.25, before: spread{1.5, 2, 2.5}, now: spread{0.5, 0.5, 0.5}}, c)
	var out bytes.Buffer
	printChanges(&out, changes)
	assert.Regexp(t, `a +2.00 \(1.50..2.50\) ms +0.500 ms +0.25 of before\n`, out.String())
}

// The program compares itself with another build, and hands on the flags.
func TestBefore(t *testing.T) {
	row := "sphere SGD step, per filter, ResNet-20, against stock Gorgonia Momentum, unconstrained"
	older := fakeBuild(t, fmt.Sprintf(`[{"name": %q, "ours_ms": 1000}]`, row))
	name := filepath.Join(t.TempDir(), "changes.json")
	status, stdout, stderr := program(t.Context(), "-before", older, "-quick", "-threads", "1", "-python", nowhere, "-rows", "ResNet-20, against stock", "-json", name)
	require.Zero(t, status, stderr)
	assert.Regexp(t, `sphere SGD step.*1000 ms.* of before`, stdout)
	args, err := os.ReadFile(older + ".args")
	require.NoError(t, err)
	assert.Contains(t, string(args), "-python="+nowhere+" -quick=true -rows=ResNet-20, against stock -threads=1 -json ")
	assert.NotContains(t, string(args), "-before")
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal(b, &rows))
	require.Len(t, rows, 1)
	assert.Equal(t, 1000., rows[0]["before"])
	assert.InDelta(t, rows[0]["now"].(float64)/1000, rows[0]["ratio"], 1e-12)

	older = fakeBuild(t, `[]`)
	status, _, stderr = program(t.Context(), "-before", older, "-quick", "-threads", "1", "-python", nowhere, "-rows", "ResNet-20, against stock Gorgonia Momentum")
	assert.Equal(t, 1, status)
	assert.Equal(t, "benchmark: -before: want a row that both builds measure, got none", lastLine(stderr))
}

// A build that fails is an error in one line, which ends in its own.
func TestBuildThatFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no /bin/sh")
	}
	older := filepath.Join(t.TempDir(), "build")
	require.NoError(t, os.WriteFile(older, []byte("#!/bin/sh\necho first >&2\necho why >&2\nexit 2\n"), 0o755))
	status, stdout, stderr := program(t.Context(), "-before", older)
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout)
	assert.Equal(t, "benchmark: "+older+": exit status 2: why", lastLine(stderr))

	status, _, stderr = program(t.Context(), "-before", older+".none")
	assert.Equal(t, 1, status)
	assert.Regexp(t, `^1/6 before\nbenchmark: [^\n]*\n$`, stderr)
}
