// SPDX-License-Identifier: Apache-2.0

// Benchmark measures how fast solver steps and training steps are, beside stock
// Gorgonia, PyTorch and geoopt, all in one interleaved run.
//
//	go run ./examples/benchmark
//	go run ./examples/benchmark -quick -rows 'training step' -json results.json
//	go run ./examples/benchmark -scaling -out results
//
// A peer that /usr/bin/python3 cannot import is left out, and the rows say so.
// One thread is measured by process CPU time (wall time where the system does not
// tell it), more threads by wall time. A ratio is ours/peer, of medians over the rounds.
//
// With -json the rows are written as a list of {name, ours_ms, peer, peer_ms, ratio,
// must, aim, met}, where what was not measured, or has no bar, is null. The exit status is 0
// also where a bar is missed, 2 for a wrong command line and 1 for a failure or Ctrl-C, with
// one line on standard error that says why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"runtime"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

func main() { cli.Main(run) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := benchmark(ctx, args, stdout, stderr)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return cli.Status("benchmark", err, stderr)
}

// settings is the command line.
type settings struct {
	plan    plan
	rows    *regexp.Regexp
	json    string
	threads int
	scaling bool
	out     string
	python  string
}

// parse reads the command line. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	s := settings{plan: full}
	var rows string
	var hurry bool
	f := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	f.BoolVar(&hurry, "quick", false, "fewer and shorter rounds: less than a minute")
	f.StringVar(&rows, "rows", "", "measure only the rows whose name matches the regular `expression`")
	f.StringVar(&s.json, "json", "", "write what was measured to `FILE`, as JSON")
	f.IntVar(&s.threads, "threads", 1, "threads, ours and the peers'; wall time if more than 1")
	f.BoolVar(&s.scaling, "scaling", false, "measure how time and memory grow instead of the rows")
	f.StringVar(&s.out, "out", "", "with -scaling: draw scaling.png in `DIR`")
	f.StringVar(&s.python, "python", "/usr/bin/python3", "`interpreter` of the peers")
	if err := cli.Parse(f, args, stdout, "benchmark measures solver steps and training steps beside those of stock Gorgonia, PyTorch and geoopt."); err != nil {
		return nil, err
	}
	if hurry {
		s.plan = quick
	}
	var err error
	if s.rows, err = regexp.Compile(rows); err != nil {
		return nil, cli.Usage("-rows: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return nil, cli.Usage("want flags only, got %q", f.Arg(0))
	case s.threads < 1 || s.threads > runtime.NumCPU():
		return nil, cli.Usage("-threads: want 1 to %d, got %d", runtime.NumCPU(), s.threads)
	case s.out != "" && !s.scaling:
		return nil, cli.Usage("-out: want -scaling with it")
	case rows != "" && s.scaling:
		return nil, cli.Usage("-rows: want no -scaling with it")
	case len(only(contests(), s.rows)) == 0:
		return nil, cli.Usage("-rows: want an expression that matches a row, got %q", rows)
	}
	return &s, nil
}

func benchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stdout)
	if err != nil {
		return err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(s.threads))
	p := newProgress(stderr)
	if s.scaling {
		return s.scale(ctx, stdout, p)
	}
	return s.compare(ctx, stdout, p)
}

// compare measures the rows. Interrupted, it reports those that are complete.
func (s *settings) compare(ctx context.Context, stdout io.Writer, p *progress) error {
	// Files first: a long run is not to end in an error.
	out, err := create(s.json)
	if err != nil {
		return err
	}
	defer out.close()
	clock := clockFor(s.threads)
	peers := &peers{python: s.python, threads: s.threads, clock: clock}
	defer peers.close()
	stage := &stage{plan: s.plan, threads: s.threads, clock: clock, peers: peers}

	selected := only(contests(), s.rows)
	p.start(len(selected))
	var results []result
	var failure error
	for _, c := range selected {
		var t times
		var absent map[string]missing
		if failure == nil {
			t, absent, failure = c.measure(ctx, stage, p)
		}
		if failure != nil {
			absent = c.all("interrupted")
			if ctx.Err() == nil {
				absent = c.all("an error before")
			}
		}
		results = append(results, c.judge(t, absent)...)
	}
	p.finish()
	header(stdout, stage)
	table(stdout, results)
	if failure == nil {
		fmt.Fprintln(stdout)
		measureBounds().print(stdout)
	}
	if err := out.write(asJSON(results)); failure == nil {
		failure = err
	}
	return failure
}

// all gives every entrant the same reason to be missing.
func (c contest) all(why missing) map[string]missing {
	absent := map[string]missing{}
	for _, e := range c.entrants {
		absent[e.name] = why
	}
	return absent
}
