// SPDX-License-Identifier: Apache-2.0

// Cifar trains a residual net, or another one, on CIFAR-10 with any solver, and classifies pictures
// by it.
//
//	go run ./examples/cifar -data DIR -out RUN
//	go run ./examples/cifar -out RUN -resume
//	go run ./examples/cifar -out RUN -evaluate
//	go run ./examples/cifar -out RUN -predict cat.jpg
//
// DIR holds CIFAR-10 or CIFAR-100 (binary), MNIST or Fashion-MNIST (idx files) as distributed,
// plain or gzipped. Without -data it draws its own images, digits in the Go typefaces.
//
// RUN is made and filled with run.json (what was trained, on what), last.safetensors and
// best.safetensors (checkpoints), log.csv and log.json (a line for each epoch), loss.png and
// accuracy.png. Ctrl-C saves the run, which -resume then continues as if it had never stopped.
//
// The exit status is 2 for a wrong command line and 1 for a failure or an
// interruption, with one line on standard error that says why.
package main

import (
	"context"
	"io"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

func main() { cli.Main(run) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Status("cifar", cifar(ctx, args, stdout, stderr), stderr)
}

func cifar(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	switch {
	case c.predict != "":
		return c.classify(stdout)
	case c.evaluate:
		return c.test(ctx, stdout)
	}
	return c.train(ctx, stdout, stderr)
}
