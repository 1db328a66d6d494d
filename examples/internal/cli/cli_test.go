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
	"strings"
	"testing"
	"time"

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
		{context.Canceled, 1, "name: interrupted\n"},
		{fmt.Errorf("run: %w; the rest is kept", context.Canceled), 1, "name: run: interrupted; the rest is kept\n"},
		{errors.New("a context canceled"), 1, "name: a context canceled\n"},
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
	assert.Equal(t, "name counts.\n\nFlags:\n  -n number\n        a number\n", stdout)

	f := flag.NewFlagSet("name", flag.ExitOnError)
	f.Int("n", 3, strings.Repeat("many words ", 20))
	f.Bool("yes", false, "`` or no (default: no)")
	var b bytes.Buffer
	err = Parse(f, []string{"-h"}, &b, strings.Repeat("about ", 20), "name -n 5")
	assert.ErrorIs(t, err, flag.ErrHelp)
	assert.Contains(t, b.String(), "\n\nExamples:\n    name -n 5\n\nFlags:\n  -n int\n        many words many ")
	assert.Contains(t, b.String(), "(default 3)\n")
	for line := range strings.Lines(b.String()) {
		assert.LessOrEqual(t, len(line), 81, line)
	}

	_, stdout, err = parse("-m")
	assert.EqualError(t, err, "flag provided but not defined: -m (-h lists the flags)")
	assert.Empty(t, stdout)
	assert.Equal(t, 2, Status("name", err, io.Discard))
}

// Main hands on the arguments and the status, and a signal ends the context: this test runs itself as the program.
func TestMainOfProgram(t *testing.T) {
	const variable = "KERNELFOLD_CLI_TEST"
	if os.Getenv(variable) != "" {
		Main("name", func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
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

// The second Ctrl-C ends a program that does not come to its end.
func TestSecondInterrupt(t *testing.T) {
	const variable = "KERNELFOLD_CLI_TEST_TWICE"
	if os.Getenv(variable) != "" {
		Main("name", func(ctx context.Context, _ []string, stdout, _ io.Writer) int {
			fmt.Fprintln(stdout, "ready")
			<-ctx.Done()
			time.Sleep(50 * time.Millisecond) // until the signal has its default again
			fmt.Fprintln(stdout, "heard")
			select {}
		})
	}
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt")
	}
	c := rerun.Command("-test.run=^TestSecondInterrupt$")
	c.Env = append(os.Environ(), variable+"=1")
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	for _, line := range []string{"ready\n", "heard\n"} {
		got := make([]byte, len(line))
		_, err = io.ReadFull(stdout, got)
		require.NoError(t, err)
		assert.Equal(t, line, string(got))
		require.NoError(t, c.Process.Signal(os.Interrupt))
	}
	assert.Error(t, c.Wait())
	assert.False(t, c.ProcessState.Exited(), "the signal has ended it")
}

func TestAwait(t *testing.T) {
	v, err := Await(context.Background(), func() (int, error) { return 3, io.EOF })
	assert.Equal(t, 3, v)
	assert.Equal(t, io.EOF, err)
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Await(ctx, func() (int, error) {
		cancel()
		select {}
	})
	assert.Equal(t, context.Canceled, err)
}

func TestParseEmptyAndZero(t *testing.T) {
	f := flag.NewFlagSet("name", flag.ContinueOnError)
	f.String("data", "", "")
	f.Int("n", 5, "")
	f.Int("m", 5, "")
	err := Parse(f, []string{"-n", "0", "-data", ""}, io.Discard, "")
	assert.EqualError(t, err, `-data: want a value, got an empty one, ""`)
	assert.Equal(t, 2, Status("name", err, io.Discard))
	assert.Equal(t, map[string]bool{"n": true, "data": true}, Given(f))
}
