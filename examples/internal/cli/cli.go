// SPDX-License-Identifier: Apache-2.0

// Package cli is what the programs of the examples have in common: Ctrl-C ends them in an orderly way, errors are one line on
// standard error, and the exit status is 0 if all went well or help was asked for, 2 for a wrong command line, 1 for a failure.
//
//	func main() { cli.Main(run) }
//
//	func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
//		return cli.Status("compare", compare(ctx, args, stdout), stderr)
//	}
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Main runs a program and ends the process with the status that it returns. The context ends at the first Ctrl-C or
// SIGTERM; a second one ends the process at once.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// usageError is a wrong command line.
type usageError struct{ error }

// Unwrap returns what was wrong with it.
func (e usageError) Unwrap() error { return e.error }

// Usage is the error of a wrong command line.
func Usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Status returns the exit status for an error, and says the error in one line that begins with the program's name.
func Status(name string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(stderr, name+": "+strings.Join(strings.Fields(err.Error()), " "))
	if errors.As(err, &usageError{}) {
		return 2
	}
	return 1
}

// Parse reads flags. Help goes to stdout, after a line that says what the program does, and is the error flag.ErrHelp; other
// errors are those of Usage.
func Parse(f *flag.FlagSet, args []string, stdout io.Writer, about string) error {
	f.Init(f.Name(), flag.ContinueOnError)
	f.SetOutput(io.Discard) // the flag package says more than a line
	err := f.Parse(args)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(stdout)
		fmt.Fprintln(stdout, about)
		f.PrintDefaults()
		return err
	}
	return Usage("%w (-help lists the flags)", err)
}
