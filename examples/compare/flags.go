// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// The defaults. A run without arguments takes about ten seconds on two cores.
const (
	defaultSolvers = "momentum,adam,sgd-sphere,sgd-oblique,sgd-stiefel,constrain-adam-stiefel"
	defaultEpochs  = 5
	defaultBatch   = 32
	defaultWidths  = "8,16,32"
	defaultDigits  = 4000 // training images; a quarter as many test images

	mostEpochs = 1_000_000
)

// settings is the command line.
type settings struct {
	data      string
	list      bool
	entries   []entry
	epochs    int
	batch     int
	seed      uint64
	limit     int
	widths    []int
	batchNorm bool
	out       string
	events    bool // for TensorBoard, in out
}

// parse reads the command line. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	var s settings
	var names, rates, widths string
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.StringVar(&s.data, "data", "", "read images from `DIR` (MNIST, Fashion-MNIST or CIFAR-10 as distributed) instead of drawing digits")
	f.StringVar(&names, "solvers", defaultSolvers, "`names` of the solvers to compare, separated by commas, or list")
	f.IntVar(&s.epochs, "epochs", defaultEpochs, "passes over the training images")
	f.IntVar(&s.batch, "batch", defaultBatch, "images in a step")
	f.StringVar(&rates, "lr", "", "learning `rate`: one number for all solvers, or name=rate,... (default: each solver its own, see -solvers list)")
	f.Uint64Var(&s.seed, "seed", 1, "seed of the drawn images, the initial weights and the order of the images")
	f.IntVar(&s.limit, "limit", 0, "training images used, and a fifth as many test images (default: all; of drawn digits 4000 and 1000)")
	f.StringVar(&widths, "widths", defaultWidths, "output `channels` of the convolution layers, separated by commas")
	f.BoolVar(&s.batchNorm, "batchnorm", false, "batch normalisation after each convolution")
	f.StringVar(&s.out, "out", "", "write results.json, loss.png, accuracy.png and membership.png to `DIR` (default: nothing is written)")
	f.BoolVar(&s.events, "tensorboard", false, "write event files for TensorBoard to events/SOLVER in -out: losses, kernels, their singular values")
	if err := cli.Parse(f, args, stdout, "compare trains one CNN from one initialisation with several solvers and shows them side by side.",
		"go run ./examples/compare                               # about ten seconds",
		"go run ./examples/compare -solvers list",
		"go run ./examples/compare -data DIR -limit 10000 -out results"); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, cli.Usage("want flags only, got %q", f.Arg(0))
	}
	if names == "list" {
		if f.NFlag() > 1 {
			return nil, cli.Usage("-solvers list: want no other flags beside it")
		}
		s.list = true
		return &s, nil
	}
	switch {
	case s.epochs < 1 || s.epochs > mostEpochs:
		return nil, cli.Usage("-epochs: want 1 to %d, got %d", mostEpochs, s.epochs)
	case s.batch < 1:
		return nil, cli.Usage("-batch: want at least 1, got %d", s.batch)
	case s.events && s.out == "":
		return nil, cli.Usage("-tensorboard: want -out DIR beside it")
	case s.limit < 0:
		return nil, cli.Usage("-limit: want 0 (all) or a number of images, got %d", s.limit)
	}
	if err := cli.Outside("out", s.out, "-data", s.data); err != nil {
		return nil, err
	}
	for _, w := range strings.Split(widths, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(w))
		if err != nil || n < 1 || n > 4096 {
			return nil, cli.Usage("-widths: want numbers of 1..4096 separated by commas, got %q", widths)
		}
		s.widths = append(s.widths, n)
	}
	for _, name := range strings.Split(names, ",") {
		e, err := lookup(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		for _, other := range s.entries {
			if other.name == e.name {
				return nil, cli.Usage("-solvers: want each solver once, got %q twice", e.name)
			}
		}
		s.entries = append(s.entries, e)
	}
	return &s, s.setRates(rates)
}

// setRates replaces the default learning rates by those of -lr.
func (s *settings) setRates(rates string) error {
	if rates == "" {
		return nil
	}
	set := map[string]bool{}
	for _, item := range strings.Split(rates, ",") {
		name, number, named := strings.Cut(item, "=")
		if !named {
			number = item
		}
		rate, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
			return cli.Usage("-lr: want a positive number, or name=number,..., got %q", item)
		}
		found := false
		for i := range s.entries {
			if e := &s.entries[i]; !named || e.name == strings.TrimSpace(name) {
				if set[e.name] {
					return cli.Usage("-lr: want one rate for each solver, got a second one for %q", e.name)
				}
				e.rate, found, set[e.name] = rate, true, true
			}
		}
		if !found {
			return cli.Usage("-lr: want a name that is among the solvers, got %q", name)
		}
		if !named && strings.Contains(rates, ",") {
			return cli.Usage("-lr: want one number or name=number,..., got %q", rates)
		}
	}
	return nil
}

// load reads or draws the images and checks that the net and the batch fit them.
func (s *settings) load() (*images.Set, error) {
	var set *images.Set
	var err error
	if s.data != "" {
		set, err = images.Load(filepath.Clean(s.data), s.limit)
	} else {
		n := s.limit
		test := n/5 + min(1, n%5)
		if n == 0 {
			n, test = defaultDigits, defaultDigits/4
		}
		if set, err = images.Digits(s.seed, n, test, images.DigitOptions{}); err != nil {
			err = cli.Usage("-limit: %w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	if n := set.Train.Len(); s.batch > n {
		return nil, cli.Usage("-batch: want at most the %d training images, got %d", n, s.batch)
	}
	// The first net shows whether the widths fit the images.
	if _, err := s.model(set, 1); err != nil {
		return nil, cli.Usage("-widths: %w", err)
	}
	return set, nil
}

// model builds the net; it is the same each time.
func (s *settings) model(set *images.Set, batch int) (*models.Model, error) {
	return models.CNN(batch, models.Options{
		Shape: set.Shape(), Classes: len(set.Classes), Widths: s.widths, BatchNorm: s.batchNorm, Seed: s.seed,
	})
}
