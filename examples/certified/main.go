// SPDX-License-Identifier: Apache-2.0

// Certified trains a net of 1-Lipschitz layers, an unconstrained net and one with kernels on Stiefel, and
// compares their certified accuracy: the share of test images that a net classifies correctly, and provably
// also after any change of a given size.
//
//	go run ./examples/certified                  # digits drawn by the program, about half a minute
//	go run ./examples/certified -data DIR -out results
//	go run ./examples/certified -variant orthogonal,sll
//	go run ./examples/certified -tune 12         # chooses learning rates and the temperature on validation images first
//	go run ./examples/certified -draw FILE       # the table of results.json of an earlier run
//
// Radii are Euclidean, in pixel values from 0 to 1 over all pixels of an image. DIR holds MNIST, Fashion-MNIST (idx files) or CIFAR-10
// (binary) as distributed. With -out it writes results.json, accuracy.png (certified accuracy over the radius), spectra.json and spectra.png (singular values of the
// convolutions, layer by layer), net.safetensors (the weights of the first net) and released.safetensors (the same net with plain kernels, for PyTorch).
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

func main() {
	cli.Main("certified", func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		return cli.Status("certified", run(ctx, args, stdout, stderr), stderr)
	})
}

// settings is the command line.
type settings struct {
	data        string
	limit       int // training images
	certified   int // test images
	epochs      int
	tuning      int // epochs of each run of -tune
	variants    []models.Variant
	temperature float64
	seed        uint64
	out         string
	draw        string // a file with results
}

// The number and the size of images without -data.
const drawn, side = 3000, 16

func parse(args []string, stdout io.Writer) (*settings, error) {
	var s settings
	f := flag.NewFlagSet("certified", flag.ContinueOnError)
	f.StringVar(&s.data, "data", "", "read images from `DIR` (MNIST, Fashion-MNIST or CIFAR-10 as distributed) instead of drawing digits")
	f.IntVar(&s.limit, "limit", 0, "training images used (default: all; of drawn digits 3000)")
	f.IntVar(&s.certified, "images", 500, "test `images` that are certified")
	f.IntVar(&s.epochs, "epochs", 12, "passes over the training images")
	f.IntVar(&s.tuning, "tune", 0, "first choose learning rates and the temperature by runs of `N` epochs, on a tenth of the training images that these runs do not see (default: those that \"-tune 12\" finds for drawn digits)")
	variants := f.String("variant", string(models.OrthogonalVariant), "1-Lipschitz `layers`: orthogonal, aol, sll or cpl, or several of them for a net of each: orthogonal,sll")
	f.Float64Var(&s.temperature, "temperature", 0, fmt.Sprintf("norm of the columns of the last layer of the 1-Lipschitz net; less favours large radii, more accuracy (default: %s)", temperatures()))
	f.Uint64Var(&s.seed, "seed", 1, "seed of the images, the initial weights and the order of the images")
	f.StringVar(&s.out, "out", "", "write results, plots and weights to `DIR` (default: nothing is written)")
	f.StringVar(&s.draw, "draw", "", "train nothing: print the table of `FILE`, the results.json of a run, and draw its accuracy.png in -out")
	if err := cli.Parse(f, args, stdout, "certified trains a 1-Lipschitz net, and shows what it and others can promise."); err != nil {
		return nil, err
	}
	var others []string
	f.Visit(func(g *flag.Flag) {
		if g.Name != "draw" && g.Name != "out" {
			others = append(others, "-"+g.Name)
		}
	})
	switch {
	case s.draw != "" && others != nil:
		return nil, cli.Usage("-draw: want no other flag than -out with it, got %s", strings.Join(others, " "))
	case f.NArg() > 0:
		return nil, cli.Usage("want flags only, got %q", f.Arg(0))
	case s.limit < 0:
		return nil, cli.Usage("-limit: want a positive number, got %d", s.limit)
	case s.certified < 1:
		return nil, cli.Usage("-images: want at least 1, got %d", s.certified)
	case s.epochs < 1:
		return nil, cli.Usage("-epochs: want at least 1, got %d", s.epochs)
	case s.tuning < 0:
		return nil, cli.Usage("-tune: want a number of epochs, or 0, got %d", s.tuning)
	case !(s.temperature >= 0 && s.temperature <= 1e6):
		return nil, cli.Usage("-temperature: want a positive number up to 1e6, or 0, got %g", s.temperature)
	}
	if err := cli.Outside("out", s.out, "-data", s.data); err != nil {
		return nil, err
	}
	for v := range strings.SplitSeq(*variants, ",") {
		v := models.Variant(v)
		if _, ok := choices[v]; !ok || slices.Contains(s.variants, v) {
			return nil, cli.Usage("-variant: want different ones among orthogonal, aol, sll and cpl, got %q", *variants)
		}
		s.variants = append(s.variants, v)
	}
	return &s, nil
}

func (s *settings) load() (*images.Set, error) {
	if s.data != "" {
		return images.Load(s.data, s.limit)
	}
	n := s.limit
	if n == 0 {
		n = drawn
	}
	return images.Digits(s.seed, n, s.certified, images.DigitOptions{Side: side, Noise: 0.05, Clutter: 0.3})
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if s.draw != "" {
		return s.redraw(stdout)
	}
	set, err := cli.Await(ctx, s.load)
	if err != nil {
		return err
	}
	undo, err := cli.Folder(s.out)
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer undo() // if nothing was written
	all := report{Data: set.Name, Images: set.Train.Len(), Epochs: s.epochs, Tuning: s.tuning, Certified: min(s.certified, set.Test.Len()), Seed: s.seed}
	var first *models.Model
	for _, c := range s.contestants(set) {
		m, r, err := s.train(ctx, c, set, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if first == nil {
			first = m
		}
		all.Nets = append(all.Nets, *r)
	}
	table(stdout, all.Nets) // first: if the files cannot be written, the numbers are there
	if s.out != "" {
		if err := s.write(first, all); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		fmt.Fprintf(stdout, "\nwrote results.json, accuracy.png, spectra.json, spectra.png, net.safetensors and released.safetensors to %s\n", s.out)
	}
	return nil
}
