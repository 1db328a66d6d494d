// SPDX-License-Identifier: Apache-2.0

// Classify trains a residual net, or another one, with any solver on your own pictures, CIFAR-10 or another data set,
// and classifies pictures with it.
//
//	go run ./examples/classify -data DIR -out RUN
//	go run ./examples/classify -out RUN -resume
//	go run ./examples/classify -out RUN -evaluate
//	go run ./examples/classify -out RUN -predict cat.jpg
//	go run ./examples/classify -out RUN -format csv -predict cat.jpg dog.jpg FOLDER
//	go run ./examples/classify -out RUN -serve :8080
//	go run ./examples/classify -out RUN -export net.onnx
//	go run ./examples/classify -data OTHERS -import RUN -new-head -out OTHER
//
// DIR holds pictures, in a sub-folder for each class, or CIFAR-10 or CIFAR-100 (binary), MNIST or Fashion-MNIST (idx files) as distributed,
// plain or gzipped. Without -data it draws its own images, digits in the Go typefaces.
//
// RUN is created and filled with run.json (what was trained, on what), last.safetensors and best.safetensors
// (checkpoints), log.csv and log.json (a line for each epoch), loss.png and accuracy.png, and with -tensorboard the
// folder events, for tensorboard --logdir RUN. The run is saved before its first step, after each epoch and every ten
// minutes, or as -save-steps and -save-minutes say, and the last -keep checkpoints are kept. Ctrl-C saves it too; a
// second Ctrl-C ends the program at once. After that, or after a kill, -resume continues from the newest intact
// checkpoint as if the run had never stopped.
//
// Built with -tags mpi and started by mpirun or srun it trains on several ranks, which divide each batch among
// themselves, with -sync-batch-norm the batch normalisations too:
//
//	go build -tags mpi -o classify ./examples/classify
//	mpirun -np 4 ./classify -data DIR -out RUN
//
// -serve answers requests for the classes of pictures: see package models/serve. Ctrl-C ends it after the requests in
// progress have been answered, with exit status 0.
//
// Rank 0 alone prints and writes RUN; all ranks read DIR. A run may be resumed on another number of ranks.
//
// The exit status is 2 for a wrong command line and 1 for a failure or an
// interruption, with one line on standard error that says why.
package main

import (
	"context"
	"io"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

func main() { cli.Main("classify", run) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	group, err := distributed.Join()
	if err != nil {
		return cli.Status("classify", err, stderr)
	}
	status := runRank(ctx, group, args, stdout, stderr)
	first, err := group.Broadcast([]byte{byte(status)}) // a launcher may report the status of any rank
	if err == nil {
		err = group.Close()
	}
	if err != nil {
		return cli.Status("classify", err, stderr)
	}
	return int(first[0])
}

// runRank is the program on one rank of a group. A failure on one rank is a failure on all of them, so all ranks end.
func runRank(ctx context.Context, g *distributed.Group, args []string, stdout, stderr io.Writer) int {
	if !g.Root() {
		stdout, stderr = io.Discard, io.Discard
	}
	return cli.Status("classify", start(ctx, g, args, stdout, stderr), stderr)
}

func start(ctx context.Context, g *distributed.Group, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stdout)
	if err != nil {
		return err
	}
	switch {
	case c.predict == "" && !c.evaluate && c.serve == "" && c.export == "" && c.draw == "":
		return c.train(ctx, g, stdout, stderr)
	case !g.Root():
		return nil
	case c.serve != "":
		return c.serveHTTP(ctx, stdout)
	case c.draw != "":
		return c.drawPictures(ctx, stdout)
	case c.predict != "":
		return c.classifyPictures(ctx, stdout, stderr)
	}
	write, err := cli.Await(ctx, func() (func() error, error) {
		if c.evaluate {
			return c.test(ctx, stdout, stderr)
		}
		return c.exportNet(stdout)
	})
	if err != nil {
		return err
	}
	return write()
}
