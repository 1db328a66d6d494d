// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/rerun"
)

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		line   string
	}{
		{nil, 0, ""},
		{flag.ErrHelp, 0, ""},
		{errors.New("broken"), 1, "name: broken\n"},
		{errors.Join(errors.New("one"), errors.New("two")), 1, "name: one two\n"},
		{Usage("-n: want %d", 1), 2, "name: -n: want 1\n"},
		{fmt.Errorf("run: %w", Usage("-n: want %w", io.EOF)), 2, "name: run: -n: want EOF\n"},
	} {
		var stderr bytes.Buffer
		assert.Equal(t, test.status, Status("name", test.err, &stderr))
		assert.Equal(t, test.line, stderr.String())
	}
	assert.ErrorIs(t, Usage("-n: want %w", io.EOF), io.EOF)
}

func TestParse(t *testing.T) {
	parse := func(args ...string) (n int, stdout string, err error) {
		f := flag.NewFlagSet("name", flag.ExitOnError)
		f.IntVar(&n, "n", 0, "a `number`")
		var b bytes.Buffer
		err = Parse(f, args, &b, "name counts.")
		return n, b.String(), err
	}
	n, stdout, err := parse("-n", "3", "rest")
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Empty(t, stdout)

	_, stdout, err = parse("-help")
	assert.ErrorIs(t, err, flag.ErrHelp)
	assert.Equal(t, "name counts.\n  -n number\n    \ta number\n", stdout)

	_, stdout, err = parse("-m")
	assert.EqualError(t, err, "flag provided but not defined: -m (-help lists the flags)")
	assert.Empty(t, stdout)
	assert.Equal(t, 2, Status("name", err, io.Discard))
}

// Main hands on the arguments and the status, and a signal ends the context: this test runs itself as the program.
func TestMainOfProgram(t *testing.T) {
	const variable = "KERNELFOLD_CLI_TEST"
	if os.Getenv(variable) != "" {
		Main(func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
			fmt.Fprintln(stdout, "ready")
			<-ctx.Done()
			fmt.Fprintln(stderr, args[len(args)-1])
			return 7
		})
	}
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt")
	}
	c := rerun.Command("-test.run=^TestMainOfProgram$", "last")
	c.Env = append(os.Environ(), variable+"=1")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	_, err = io.ReadFull(stdout, make([]byte, len("ready\n")))
	require.NoError(t, err)
	require.NoError(t, c.Process.Signal(os.Interrupt))
	err = c.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 7, exit.ExitCode())
	assert.Equal(t, "last\n", stderr.String())
}
