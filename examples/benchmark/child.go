// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// childMark is the environment variable that tells a process that this program started it. Ctrl-C on a
// terminal reaches the whole group of processes. A child ignores it and waits for its parent's SIGTERM, because
// the second signal would end it at once.
const childMark = "KERNELFOLD_BENCHMARK_CHILD"

func isChild() bool { return os.Getenv(childMark) != "" }

// child prepares another run of this program, or of another build of it. When the context ends, the child is
// told to end.
func child(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), childMark+"=1")
	c.Cancel = func() error {
		if c.Process.Signal(syscall.SIGTERM) == nil {
			return nil
		}
		return c.Process.Kill() // Windows has no SIGTERM
	}
	return c
}

// output runs a child and returns its output. If the child fails, the error contains the last line of its standard error.
func output(ctx context.Context, c *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		err = fmt.Errorf("%s: %w", c.Path, err)
		if said := lastLine(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	return out, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// exitStatus is the error of a child that has already reported what went wrong.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// exitOf turns the error of a child that ended by itself into an exitStatus.
func exitOf(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exitStatus(exit.ExitCode())
	case err != nil && ctx.Err() != nil: // told to end before it listened
		return ctx.Err()
	}
	return err
}
