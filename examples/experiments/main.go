// SPDX-License-Identifier: Apache-2.0

// Experiments reruns the experiments that the project's defaults rest on.
//
//	go run ./examples/experiments [-data DIR] [-limit N] [-epochs N] [-out FILE] scale
//
// The experiment "scale" trains one CNN, with and without batch normalisation,
// at four learning rates under every manifold, grouping and scale, and prints the test accuracy
// of each: a constraint is good where the row is flat. Its results are
// recorded in docs/choosing.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

const batch = 32

var rates = []float64{0.01, 0.03, 0.1, 0.3}

// arm is a constraint under test; no manifold is the unconstrained solver.
type arm struct {
	name     string
	manifold manifolds.Manifold
	options  []manifolds.Option
	solver   []solvers.Option
}

func arms() []arm {
	list := []arm{{name: "Euclidean"}}
	for _, c := range []struct {
		name     string
		manifold manifolds.Manifold
		grouping manifolds.Grouping
	}{
		{"sphere per filter", manifolds.Sphere{}, manifolds.PerFilter},
		{"centred sphere per filter", manifolds.CentredSphere{}, manifolds.PerFilter},
		{"sphere per kernel", manifolds.Sphere{}, manifolds.PerKernel},
		{"oblique per kernel", manifolds.Oblique{}, manifolds.PerKernel},
		{"Stiefel bank", manifolds.Stiefel{}, manifolds.FilterBank},
		{"Stiefel per kernel", manifolds.Stiefel{}, manifolds.PerKernel},
	} {
		add := func(s manifolds.Scale, suffix string, more ...solvers.Option) {
			list = append(list, arm{fmt.Sprintf("%s, %v%s", c.name, s, suffix), c.manifold, []manifolds.Option{c.grouping, s}, more})
		}
		if c.grouping == manifolds.PerKernel { // otherwise unit points are unit filters
			add(manifolds.Unit, "")
		}
		add(manifolds.UnitFilters, "")
		add(manifolds.UnitFilters, ", g_t", solvers.GeometricStep(true))
		add(manifolds.FilterNorm(2), "")
		add(manifolds.Initial, "")
	}
	return list
}

// row is what is recorded of an arm.
type row struct {
	Constraint string    `json:"constraint"`
	BatchNorm  bool      `json:"batch_norm"`
	Rates      []float64 `json:"learning_rates"`
	Accuracy   []float64 `json:"test_accuracy"` // 0 where the run diverged
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "experiments:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("experiments", flag.ContinueOnError)
	f.SetOutput(stderr)
	data := f.String("data", "", "folder of Fashion-MNIST, MNIST or CIFAR-10; drawn digits without it")
	limit := f.Int("limit", 4000, "training images")
	epochs := f.Int("epochs", 3, "passes over them")
	out := f.String("out", "", "JSON file for the results")
	only := f.String("only", "", "constraints whose name contains this")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 || f.Arg(0) != "scale" {
		return fmt.Errorf("want the name of an experiment, scale, got %q", f.Args())
	}
	if *limit < batch || *epochs < 1 {
		return fmt.Errorf("want a -limit of at least %d and -epochs of at least 1, got %d and %d", batch, *limit, *epochs)
	}
	var set *images.Set
	var err error
	if *data == "" {
		set, err = images.Digits(1, *limit, 1000, images.DigitOptions{})
	} else {
		set, err = images.Load(*data, *limit)
	}
	if err != nil {
		return err
	}
	set.Test = set.Test.First(1000)

	var rows []*row
	type job struct {
		arm  arm
		row  *row
		rate int
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.NumCPU() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range jobs {
				a, err := trial(ctx, set, j.arm, j.row.BatchNorm, rates[j.rate], *epochs)
				mu.Lock()
				j.row.Accuracy[j.rate] = a
				if err != nil && failed == nil {
					failed = fmt.Errorf("%s: %w", j.arm.name, err)
				}
				mu.Unlock()
			}
		}()
	}
	for _, norm := range []bool{false, true} {
		for _, a := range arms() {
			if !strings.Contains(a.name, *only) {
				continue
			}
			r := &row{a.name, norm, rates, make([]float64, len(rates))}
			rows = append(rows, r)
			for i := range rates {
				if ctx.Err() == nil {
					jobs <- job{a, r, i}
				}
			}
			fmt.Fprintf(stderr, "\r%d rows", len(rows))
		}
	}
	close(jobs)
	wg.Wait()
	fmt.Fprintln(stderr)
	if failed != nil {
		return failed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "constraint\tbatch norm\t%v\n", rates)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%v", r.Constraint, r.BatchNorm)
		for _, a := range r.Accuracy {
			fmt.Fprintf(t, "\t%.3f", a)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if *out == "" {
		return nil
	}
	text, err := json.MarshalIndent(rows, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out+".part", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(*out+".part", *out)
}

// trial trains one net and returns its test accuracy, 0 if it diverged.
func trial(ctx context.Context, set *images.Set, a arm, norm bool, rate float64, epochs int) (float64, error) {
	m, err := models.CNN(batch, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{8, 16, 32}, BatchNorm: norm, Seed: 1})
	if err != nil {
		return 0, err
	}
	opts := append([]solvers.Option{solvers.LearnRate(rate), solvers.Momentum(0.9)}, a.solver...)
	if a.manifold != nil {
		opts = append(opts, solvers.Kernels(a.manifold, a.options...))
	}
	var solver gorgonia.Solver = solvers.NewSGD(opts...)
	accuracy := 0.0
	_, err = train.Fit(ctx, m, solver, set.Train, train.Options{Epochs: epochs, Seed: 1, Test: set.Test,
		AfterEpoch: func(e train.Epoch) error { accuracy = e.Accuracy; return nil }})
	var diverged *train.DivergedError
	if errors.As(err, &diverged) || errors.Is(err, solvers.ErrNotFinite) || errors.Is(err, solvers.ErrDiverged) {
		return 0, nil
	}
	return accuracy, err
}
