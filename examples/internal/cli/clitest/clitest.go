// SPDX-License-Identifier: Apache-2.0

// Package clitest runs the programs of the examples as processes of their own, in their tests.
package clitest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/rerun"
)

const variable = "KERNELFOLD_EXAMPLE"

// Main is the TestMain of a program: the binary of its tests becomes the program where Command says so.
func Main(m *testing.M, main func()) {
	if os.Getenv(variable) != "" {
		os.Unsetenv(variable)
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Command is the program with arguments.
func Command(args ...string) *exec.Cmd {
	c := rerun.Command(args...)
	c.Env = append(os.Environ(), variable+"=1")
	return c
}

// Status returns the exit status of a program that has ended, and -1 if it was killed.
func Status(err error, c *exec.Cmd) int {
	if err != nil && c.ProcessState == nil {
		return -2
	}
	return c.ProcessState.ExitCode()
}

// LosesOutput checks the behaviour of a program that cannot write its output: with a full disk or a closed
// pipe as standard output, it ends with status 1 and a line that begins with its name; with either as
// standard error, it ends successfully. The arguments must be those of a run that succeeds and prints
// something.
func LosesOutput(t *testing.T, name string, args ...string) {
	for _, lost := range []struct {
		name string
		open func(t *testing.T) *os.File
	}{{"full disk", full}, {"closed pipe", closedPipe}} {
		t.Run(lost.name+" as standard output", func(t *testing.T) {
			c := Command(args...)
			var stderr bytes.Buffer
			c.Stdout, c.Stderr = lost.open(t), &stderr
			assert.Equal(t, 1, Status(c.Run(), c), stderr.String())
			lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
			last := lines[len(lines)-1]
			assert.True(t, strings.HasPrefix(last, fmt.Sprintf("%s: standard output: write ", name)), stderr.String())
			assert.Equal(t, 1, strings.Count(stderr.String(), name+": "), stderr.String())
		})
		t.Run(lost.name+" as standard error", func(t *testing.T) {
			c := Command(args...)
			var stdout bytes.Buffer
			c.Stdout, c.Stderr = &stdout, lost.open(t)
			assert.Equal(t, 0, Status(c.Run(), c))
			assert.NotEmpty(t, stdout.String())
		})
	}
}

func full(t *testing.T) *os.File {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("the system has no disk that is always full: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func closedPipe(t *testing.T) *os.File {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	t.Cleanup(func() { w.Close() })
	return w
}
