// SPDX-License-Identifier: Apache-2.0

// Experiments repeats the experiments on which the defaults and the advice of the project are based.
//
//	go run ./examples/experiments [-data DIR] [-out FILE] [flags] EXPERIMENT
//
//	scale    every manifold, grouping and scale at four learning rates (docs/choosing.md)
//	fashion  a small CNN on Fashion-MNIST: stock solvers, Euclidean SGD, and SGD on every manifold
//	         with either momentum, with and without the geometric step, each at its best rate
//	robust   large learning rates, layers of badly matched scale, deep nets without batch norm
//	cifar    ResNet-20 on CIFAR-10 with augmentation, Euclidean and constrained
//	omega    ResNet-8 on CIFAR-10: free and constrained kernels, ensembles and Muon at equal angular rates
//	finetune ResNet-8 trained on drawn letters, then on few pictures of other classes, free and constrained
//	transfer ResNet-20 on CIFAR-10: some of these at the rates that omega has found, given by -from
//
// A campaign consists of many runs. Each of them depends only on its settings, runs on one core, and is
// written to FILE when it ends. The same command continues an interrupted campaign, and Ctrl-C interrupts it
// cleanly. The table is written next to FILE with the ending .txt in place of .json, the plots with -*.png.
// docs/experiments.md has the results.
//
// The exit status is 2 for a wrong command line and 1 for a failure or an
// interruption, with one line on standard error that says why.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/images"
)

// experiment is a kind of campaign.
type experiment struct {
	name        string
	full, quick size
	run         func(context.Context, *campaign) error
}

// size holds the size of a campaign, except for the methods.
type size struct {
	Train       int `json:"train_images"` // beside those for validation
	Validation  int `json:"validation_images"`
	Test        int `json:"test_images"`
	Epochs      int `json:"epochs"`
	Batch       int `json:"batch"`
	SearchTrain int `json:"search_train_images,omitempty"` // of the runs that choose the rate, if they have fewer
	SearchEpoch int `json:"search_epochs,omitempty"`
	seeds       int // with each chosen rate; more of them may join a campaign later
	again       int // more runs with each of the two rates that look best
}

var experiments = []experiment{scale, fashion, robust, cifar, omega, transfer, finetune}

func main() {
	cli.Main("experiments", func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		return cli.Status("experiments", run(ctx, args, stdout, stderr), stderr)
	})
}

// The largest flags.
const (
	mostImages = 1_000_000_000 // a sum of two is an int of 32 bits
	mostCores  = 64            // or as many as there are, if they are more: each run has a net in memory
)

// run is the program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("experiments", flag.ContinueOnError)
	data := f.String("data", "", "folder of Fashion-MNIST, MNIST or CIFAR-10; drawn digits without it")
	out := f.String("out", "", "JSON file for the results, which is continued if it exists")
	quick := f.Bool("quick", false, "a tiny campaign that shows that all works, in less than a minute")
	limit := f.Int("limit", 0, "training images (default: what the experiment wants)")
	epochs := f.Int("epochs", 0, "passes over them (default: what the experiment wants)")
	seeds := f.Int("seeds", 0, "runs with each chosen learning rate (default: what the experiment wants)")
	again := f.Int("again", 0, "more runs of the search with each of the two best rates (default: what the experiment wants)")
	cores := f.Int("cores", runtime.NumCPU(), "runs side by side, and GOMAXPROCS, on which their rounding depends")
	only := f.String("only", "", "methods whose name contains this")
	from := f.String("from", "", "JSON file with the results of omega, for transfer")
	cases := f.String("case", "", "cases whose name contains this")
	if err := cli.Parse(f, args, stdout, "experiments reruns an experiment, whose name follows the flags: "+names()+".",
		"go run ./examples/experiments -quick scale",
		"go run ./examples/experiments -data DIR -out fashion.json fashion"); err != nil {
		return err
	}
	e, err := choose(f.Args())
	if err != nil {
		return err
	}
	s := e.full
	if *quick {
		s = e.quick
	}
	given := cli.Given(f)
	if given["again"] && s.Validation == 0 {
		return cli.Usage("want no -again with %s, which searches for no rate", e.name)
	}
	for _, n := range []struct {
		flag        string
		value       int
		least, most int
		into        *int
	}{{"limit", *limit, s.Batch, mostImages, &s.Train}, {"epochs", *epochs, 1, 1_000_000, &s.Epochs}, {"seeds", *seeds, 1, 1000, &s.seeds}, {"again", *again, 0, 1000, &s.again}} {
		switch {
		case !given[n.flag]:
		case n.value < n.least:
			return cli.Usage("want a -%s of at least %d, got %d", n.flag, n.least, n.value)
		case n.value > n.most:
			return cli.Usage("want a -%s of at most %d, got %d", n.flag, n.most, n.value)
		default:
			*n.into = n.value
		}
	}
	if given["from"] && e.name != transfer.name {
		return cli.Usage("want -from with %s only, got it with %s", transfer.name, e.name)
	}
	if most := max(runtime.NumCPU(), mostCores); *cores < 1 || *cores > most {
		return cli.Usage("want -cores from 1 to %d, got %d", most, *cores)
	}
	if *out != "" && !strings.HasSuffix(*out, ".json") {
		return cli.Usage("want an -out that ends in .json, got %q", *out)
	}
	if err := cli.Outside("out", *out, "-data", *data); err != nil {
		return err
	}
	if cli.SameFile(*out, *from) {
		return cli.Usage("want another -out than -from, got %s", *out)
	}
	set, err := load(ctx, *data, e.name, &s)
	if err != nil {
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(*cores))
	c, err := newCampaign(e.name, s, *cores, set, *out)
	if err != nil {
		return err
	}
	c.only, c.cases, c.from, c.quick = *only, *cases, *from, *quick
	c.stdout, c.progress = stdout, newProgress(stderr)
	defer c.progress.finish()
	return c.finish(e.run(ctx, c))
}

// choose finds the experiment by its name.
func choose(args []string) (experiment, error) {
	for _, e := range experiments {
		if len(args) == 1 && args[0] == e.name {
			return e, nil
		}
	}
	return experiment{}, cli.Usage("want the name of an experiment, one of %s, got %q", names(), args)
}

// names lists the experiments.
func names() string {
	var list []string
	for _, e := range experiments {
		list = append(list, e.name)
	}
	return strings.Join(list, ", ")
}

// load returns the images, of the size that is wanted or that there is.
func load(ctx context.Context, dir, experiment string, s *size) (*images.Set, error) {
	if experiment != finetune.name {
		return cli.Await(ctx, func() (*images.Set, error) { return loadSet(dir, s) })
	}
	if dir != "" {
		return nil, cli.Usage("-data: want none with %s, which draws its pictures, got %q", experiment, dir)
	}
	return newLetters(ctx, s)
}

// loadSet returns the images of a folder, or drawn digits.
func loadSet(dir string, s *size) (*images.Set, error) {
	if dir == "" {
		set, err := images.Digits(1, s.Train+s.Validation, s.Test, images.DigitOptions{})
		if err != nil {
			return nil, cli.Usage("-limit: %w", err)
		}
		return set, nil
	}
	set, err := images.Load(dir, 0)
	if err != nil {
		return nil, err
	}
	if n := set.Train.Len(); n < s.Train+s.Validation {
		if s.Train = n - s.Validation; s.Train < s.Batch {
			return nil, fmt.Errorf("%s: want %d training images at least, got %d", dir, s.Batch+s.Validation, n)
		}
	}
	s.Test = min(s.Test, set.Test.Len())
	return set, nil
}
