// SPDX-License-Identifier: Apache-2.0

// Compare trains one CNN with several solvers, stock and constrained, from the same initial weights and on
// the same sequence of images, and shows the results side by side.
//
//	go run ./examples/compare
//	go run ./examples/compare -data DIR -limit 10000 -out results
//	go run ./examples/compare -solvers list
//
// Without -data it draws its own images, digits in the Go typefaces. DIR holds
// MNIST, Fashion-MNIST (idx files) or CIFAR-10 (binary) as distributed, plain
// or gzipped. At the end it prints a table; with -out it also writes
// results.json (see results), loss.png, accuracy.png and membership.png, each of them complete or not at all;
// with -tensorboard it also writes the folder events, for tensorboard --logdir.
//
// Ctrl-C ends the run at once, and the complete epochs are reported. The exit status is 2 for a wrong command
// line and 1 for a failure or an interruption, with one line on standard error that says why.
package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

func main() { cli.Main("compare", run) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Status("compare", compare(ctx, args, stdout, stderr), stderr)
}

func compare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if s.list {
		return list(stdout)
	}
	set, err := cli.Await(ctx, s.load)
	if err != nil {
		return err
	}
	out, err := openOutput(s.out)
	if err != nil {
		return err
	}
	defer out.close()
	r, err := s.trials(ctx, set, newProgress(stderr))
	if err != nil {
		return err
	}
	// Write the files first: the program that reads the table may stop reading.
	wrote := "-out DIR writes these numbers, epoch by epoch, and plots of them"
	kept := "nothing is kept without -out DIR"
	switch {
	case s.out == "":
	case len(r.Solvers) == 0:
		wrote = "nothing to write to " + s.out
		kept = "nothing is kept"
	default:
		if err := out.write(r); err != nil {
			r.table(stdout) // the only place for the numbers
			return err
		}
		wrote = "wrote " + out.String()
		kept = "they are kept in " + s.out
		if s.events {
			wrote += fmt.Sprintf("; tensorboard --logdir %s shows the runs", filepath.Join(s.out, "events"))
		}
	}
	r.table(stdout)
	fmt.Fprintf(stdout, "\n%s\n", wrote)
	return r.failure(kept)
}
