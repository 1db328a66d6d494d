// SPDX-License-Identifier: Apache-2.0

// Package cli is shared by the programs of the examples: Ctrl-C ends them in an orderly way, errors are one
// line on standard error, and the exit status is 0 for success or help, 2 for a wrong command line, and 1 for
// a failure. Output that could not be written is a failure. If standard error cannot be written, the program
// continues without messages and progress.
//
//	func main() { cli.Main("compare", run) }
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
	"unicode/utf8"

	"golang.org/x/term"
)

// Main runs the program of a name and ends the process with the status that it returns, or with 1 if that is 0 and not all of
// the output could be written. The context ends at the first Ctrl-C or SIGTERM; a second one ends the process at once.
func Main(name string, run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	keepPipes()
	stdout := &output{w: os.Stdout}
	status := run(ctx, os.Args[1:], stdout, os.Stderr)
	if status == 0 && stdout.err != nil {
		status = Status(name, fmt.Errorf("standard output: %w", stdout.err), os.Stderr)
	}
	stop()
	os.Exit(status)
}

// output keeps the first error of a writer.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// Await returns the results of f, or the error of the context as soon as that ends. In that case f continues to run, so it must not have side
// effects.
func Await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// usageError is a wrong command line.
type usageError struct{ error }

// Unwrap returns what was wrong with it.
func (e usageError) Unwrap() error { return e.error }

// Usage is the error of a wrong command line.
func Usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Status returns the exit status for an error, and prints the error in one line that begins with the program's name. It calls a context that
// was cancelled an interruption.
func Status(name string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	fmt.Fprintln(stderr, name+": "+strings.Join(strings.Fields(text), " "))
	if errors.As(err, &usageError{}) {
		return 2
	}
	return 1
}

// Parse reads flags. For help it prints what the program does, examples of its command line and the flags to
// stdout, and returns flag.ErrHelp; other errors are those of Usage. A flag with an empty value, for example
// from an unset shell variable, is an error.
func Parse(f *flag.FlagSet, args []string, stdout io.Writer, about string, examples ...string) error {
	f.Init(f.Name(), flag.ContinueOnError)
	f.SetOutput(io.Discard) // the flag package prints more than one line
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, help(f, about, examples)) // Main tells what could not be written
		return err
	case err != nil:
		return Usage("%w (-h lists the flags)", err)
	}
	f.Visit(func(g *flag.Flag) {
		if err == nil && g.Value.String() == "" {
			err = Usage(`-%s: want a value, got an empty one, ""`, g.Name)
		}
	})
	return err
}

// help is of 80 columns, where no word is longer.
func help(f *flag.FlagSet, about string, examples []string) string {
	var b strings.Builder
	paragraph(&b, "", about)
	if len(examples) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range examples {
			b.WriteString("    " + e + "\n")
		}
	}
	flags := 0
	f.VisitAll(func(g *flag.Flag) {
		if flags++; flags == 1 {
			b.WriteString("\nFlags:\n")
		}
		kind, usage := flag.UnquoteUsage(g)
		b.WriteString(strings.TrimRight("  -"+g.Name+" "+kind, " ") + "\n")
		if d := g.DefValue; d != "" && d != "0" && d != "false" && !strings.Contains(usage, "(default") {
			usage += " (default " + d + ")"
		}
		paragraph(&b, "        ", usage)
	})
	return b.String()
}

// Paragraph writes a text in lines of at most 80 columns, where no word is longer.
func Paragraph(w io.Writer, text string) {
	var b strings.Builder
	paragraph(&b, "", text)
	_, _ = io.WriteString(w, b.String()) // Main tells what could not be written
}

// paragraph writes words in lines of at most 80 columns that begin with indent.
func paragraph(b *strings.Builder, indent, text string) {
	column := 0
	for _, w := range strings.Fields(text) {
		n := utf8.RuneCountInString(w)
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > 80:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += n
	}
	b.WriteByte('\n')
}

// Terminal reports whether w is a terminal on which a line can be redrawn, and its number of columns.
func Terminal(w io.Writer) (columns int, is bool) {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		return columns, true
	}
	return 80, true
}

// Given returns the names of the flags that are on the command line, to distinguish a flag that was set to zero from one that was not set.
func Given(f *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	f.Visit(func(g *flag.Flag) { given[g.Name] = true })
	return given
}
