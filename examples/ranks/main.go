// SPDX-License-Identifier: Apache-2.0

// Ranks predicts how training on several machines scales.
//
//	go run ./examples/ranks [-measured FILE,...] [-out DIR] [flags]
//
// It fits alpha + beta n to the transfers that TestMeasure of solvers/distributed has measured, and reads the times of the
// solver from the same files. Sums, gathers and broadcasts on networks with other alpha and beta are those of the model of
// Thakur, Rabenseifner and Gropp (IJHPCA 2005). The tables are of ResNet-20 and ResNet-18, on five networks or on yours,
// -latency and -bandwidth; or of your net, -weights and -compute. With -out DIR it also writes ranks.png. What comes out is
// explained in docs/scaling.md.
//
// The exit status is 2 for a wrong command line and 1 for a failure, with one line on standard error that says why.
package main

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/disk"
)

func main() {
	cli.Main("ranks", func(_ context.Context, args []string, stdout, stderr io.Writer) int {
		return cli.Status("ranks", run(args, stdout), stderr)
	})
}

// run is the program.
func run(args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("ranks", flag.ContinueOnError)
	files := f.String("measured", "", "`FILES` of TestMeasure of solvers/distributed, with commas between (default: those of docs/experiments, of 1, 2 and 4 ranks)")
	out := f.String("out", "", "folder for ranks.png")
	latency := f.Float64("latency", 0, "microseconds for a small message on your network, with -bandwidth")
	bandwidth := f.Float64("bandwidth", 0, "Gb/s of your network, with -latency")
	weights := f.Int("weights", 0, "weights of your net, with -compute")
	compute := f.Float64("compute", 0, "seconds of forward and backward on one rank of your net, with -weights")
	ranks := f.String("ranks", "2,32,1024", "numbers of ranks, with commas between")
	batch := f.Int("batch", 64, "images a rank")
	if err := cli.Parse(f, args, stdout, "ranks predicts how training on several machines scales.",
		"go run ./examples/ranks",
		"go run ./examples/ranks -latency 5 -bandwidth 50",
		"go run ./examples/ranks -weights 25000000 -compute 0.2 -ranks 8,64,512"); err != nil {
		return err
	}
	given := cli.Given(f)
	if f.NArg() > 0 {
		return cli.Usage("want flags only, got %q", f.Args())
	}
	for _, pair := range [][2]string{{"latency", "bandwidth"}, {"weights", "compute"}} {
		if given[pair[0]] != given[pair[1]] {
			return cli.Usage("want both of -%s and -%s or neither", pair[0], pair[1])
		}
	}
	if given["latency"] && !(*latency >= 0 && *latency < 1e9 && *bandwidth > 0 && *bandwidth < 1e9) {
		return cli.Usage("want a -latency of 0 us or more and a positive -bandwidth in Gb/s, got %g and %g", *latency, *bandwidth)
	}
	if given["weights"] && !(*weights > 0 && int64(*weights) < 1<<40 && *compute > 0 && *compute < 1e9) {
		return cli.Usage("want positive -weights and seconds of -compute, got %d and %g", *weights, *compute)
	}
	if *batch < 1 || *batch > 1<<20 {
		return cli.Usage("want a -batch of 1 to %d images, got %d", 1<<20, *batch)
	}
	if given["weights"] && (*out != "" || given["batch"]) {
		return cli.Usage("want no -out and no -batch with -weights: the picture is of ResNet-20 and ResNet-18, and -compute is of a batch")
	}
	s := scene{batch: *batch, networks: nominal}
	for _, word := range strings.Split(*ranks, ",") {
		p, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || p < 1 || p > 1<<20 {
			return cli.Usage("want -ranks as whole numbers from 1 to %d with commas between, got %q", 1<<20, *ranks)
		}
		s.ranks = append(s.ranks, p)
	}
	if given["latency"] {
		s.networks = []network{link("yours", *latency, *bandwidth)}
	}
	var err error
	if *files == "" {
		s.records, err = kept()
	} else {
		s.records, err = read(strings.Split(*files, ","))
	}
	if err != nil {
		return err
	}
	all, err := s.records.fit()
	if err != nil {
		return err
	}
	s.networks = adds(s.networks, gammaOf(all))
	if given["weights"] {
		s.own(stdout, *weights, *compute)
		return nil
	}
	s.records.stepTable(stdout)
	fitTable(stdout, all)
	if err := s.predictions(stdout); err != nil || *out == "" {
		return err
	}
	picture, err := s.png()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o777); err != nil {
		return err
	}
	return disk.WriteFile(filepath.Join(*out, "ranks.png"), picture)
}

// adds returns the networks with machines that add a byte in gamma seconds.
func adds(networks []network, gamma float64) []network {
	var with []network
	for _, w := range networks {
		w.gamma = gamma
		with = append(with, w)
	}
	return with
}
