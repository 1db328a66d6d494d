// SPDX-License-Identifier: Apache-2.0

// Benchmark measures the time and memory of solver steps, training steps and predictions, together with those
// of stock Gorgonia, PyTorch, geoopt and orthogonium, in one interleaved run.
//
//	go run ./examples/benchmark
//	go run ./examples/benchmark -quick -rows 'training step' -json results.json
//	go run ./examples/benchmark -avx2
//	go run ./examples/benchmark -before /tmp/older-build
//	go run ./examples/benchmark -scaling -out results
//
// A peer that /usr/bin/python3 cannot import is left out, and the rows say so.
// One thread is measured by process CPU time, or by wall time if the system does not provide that; several
// threads are measured by wall time. A ratio is ours/peer, of medians over the rounds. With -avx2 the program
// runs itself again, with AVX-512 hidden from it and from the peers.
//
// With -json the rows are written as a list of {name, threads, ours_ms, peer, peer_ms, ratio,
// must, aim, met, unit, ours, its}. A value that was not measured is null. A row without a bound has 0 for
// must and aim, and null for met. The unit is ms, MB (of peak memory) or B (bytes allocated); ours and its
// are in that unit, and ours_ms and peer_ms are null if it is not ms.
//
// With -before the rows are {name, unit, before, now, ratio}: our measurements in both builds, and now/before.
//
// With -bounds the table also shows the bounds of ratios. The exit status is 0 even if a bound is not kept, 2
// for a wrong command line, and 1 for a failure or Ctrl-C, with one line on standard error that says why.
// Progress is on standard error too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

func main() { cli.Main("benchmark", run) }

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if isChild() {
		signal.Ignore(os.Interrupt)
	}
	err := benchmark(ctx, args, stdout, stderr)
	var said exitStatus
	if errors.As(err, &said) {
		return int(said)
	}
	return cli.Status("benchmark", err, stderr)
}

// settings is the command line.
type settings struct {
	plan    plan
	rows    *regexp.Regexp
	json    string
	threads []int
	avx2    bool
	bounds  bool
	before  string
	same    []string // flags for both builds with -before
	peak    int
	peakNet string
	scaling bool
	draw    string
	out     string
	python  string
}

// parse reads the command line. Help goes to stdout.
func parse(args []string, stdout io.Writer) (*settings, error) {
	s := settings{plan: full}
	nets := strings.Join(slices.Sorted(maps.Keys(memoryNets())), ", ")
	var rows, threads string
	var hurry bool
	f := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	f.BoolVar(&hurry, "quick", false, "fewer and shorter rounds: in a minute or two")
	f.StringVar(&rows, "rows", "", "measure only the rows whose name matches the regular `expression`")
	f.StringVar(&s.json, "json", "", "write what was measured to `FILE`, as JSON")
	f.StringVar(&threads, "threads", defaultThreads(), "numbers of threads, ours and the peers', as a `list` with commas; wall time if more than 1")
	f.BoolVar(&s.avx2, "avx2", false, "use AVX2 at most, here and in the peers")
	f.BoolVar(&s.bounds, "bounds", false, "show the bounds that each ratio is held against, and whether it keeps them")
	f.StringVar(&s.before, "before", "", "compare with another build of this program, `PROGRAM`, instead of the peers")
	f.IntVar(&s.peak, "peak", 0, "only train a net on so many `images` and print the peak memory in MB: the program starts itself so")
	f.StringVar(&s.peakNet, "peak-net", "resnet20", "the `net` of -peak: "+nets)
	f.BoolVar(&s.scaling, "scaling", false, "measure how time and memory grow instead of the rows")
	f.StringVar(&s.draw, "draw", "", "with -scaling: measure nothing, but take what -scaling -json wrote to `FILE`")
	f.StringVar(&s.out, "out", "", "with -scaling: draw scaling.png in `DIR`")
	f.StringVar(&s.python, "python", "/usr/bin/python3", "`interpreter` of the peers")
	if err := cli.Parse(f, args, stdout, "benchmark measures solver steps, training steps and predictions beside those of stock Gorgonia, PyTorch, geoopt and orthogonium.",
		"go run ./examples/benchmark                             # ten minutes or more",
		"go run ./examples/benchmark -quick -rows 'training step'",
		"go run ./examples/benchmark -scaling -out results"); err != nil {
		return nil, err
	}
	if hurry {
		s.plan = quick
	}
	f.Visit(func(g *flag.Flag) {
		if !slices.Contains([]string{"before", "json", "avx2", "bounds"}, g.Name) { // -avx2 is in the environment
			s.same = append(s.same, fmt.Sprintf("-%s=%s", g.Name, g.Value))
		}
	})
	given := cli.Given(f)
	for _, lone := range []struct {
		flag string
		with []string // the only others that have an effect
	}{{"peak", []string{"threads", "peak-net"}}, {"scaling", []string{"quick", "json", "draw", "out", "avx2"}}} {
		if !given[lone.flag] || lone.flag == "scaling" && !s.scaling {
			continue
		}
		for name := range given {
			if name != lone.flag && !slices.Contains(lone.with, name) {
				return nil, cli.Usage("-%s: want no -%s with it", name, lone.flag)
			}
		}
	}
	var err error
	if s.rows, err = regexp.Compile(rows); err != nil {
		return nil, cli.Usage("-rows: %w", err)
	}
	if s.threads, err = parseThreads(threads); err != nil {
		return nil, cli.Usage("-threads: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return nil, cli.Usage("want flags only, got %q", f.Arg(0))
	case given["peak"] && s.peak < 1:
		return nil, cli.Usage("-peak: want a positive number, got %d", s.peak)
	case given["peak-net"] && !given["peak"]:
		return nil, cli.Usage("-peak-net: want -peak with it")
	case memoryNets()[s.peakNet] == nil:
		return nil, cli.Usage("-peak-net: want one of %s, got %q", nets, s.peakNet)
	case s.draw != "" && (!s.scaling || s.out == ""):
		return nil, cli.Usage("-draw: want -scaling and -out DIR with it")
	case cli.SameFile(s.json, s.draw) || cli.SameFile(s.json, s.before):
		return nil, cli.Usage("-json: want another file than those that are read, got %s", s.json)
	case s.out != "" && !s.scaling:
		return nil, cli.Usage("-out: want -scaling with it")
	case len(passes(s.threads, s.rows)) == 0:
		return nil, cli.Usage("-rows: want an expression that matches a row, got %q", rows)
	}
	return &s, nil
}

// defaultThreads is 1,2, or 1 where there is one core.
func defaultThreads() string {
	if runtime.NumCPU() == 1 {
		return "1"
	}
	return "1,2"
}

// parseThreads reads a list of different numbers from 1 to the number of cores.
func parseThreads(list string) (all []int, err error) {
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		switch {
		case err != nil:
			return nil, fmt.Errorf("want numbers with commas between them, got %q", list)
		case n < 1 || n > runtime.NumCPU():
			return nil, fmt.Errorf("want 1 to %d, got %d", runtime.NumCPU(), n)
		case slices.Contains(all, n):
			return nil, fmt.Errorf("want every number once, got %q", list)
		}
		all = append(all, n)
	}
	return all, nil
}

func benchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stdout)
	if err != nil {
		return err
	}
	if s.avx2 {
		if done, err := lower(ctx, args, stdout, stderr); done {
			return err
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(s.threads[0]))
	p := newProgress(stderr)
	switch {
	case s.peak != 0:
		return peak(ctx, memoryNets()[s.peakNet](s.peak), stdout)
	case s.before != "":
		return s.compareBefore(ctx, stdout, p)
	case s.scaling:
		return s.scale(ctx, stdout, p)
	}
	return s.compare(ctx, stdout, p)
}

// compare measures the rows. If it is interrupted, it reports the complete ones.
func (s *settings) compare(ctx context.Context, stdout io.Writer, p *progress) error {
	// The file is opened first, so that a long run does not end in an error.
	out, err := create(s.json)
	if err != nil {
		return err
	}
	defer out.close()

	all := passes(s.threads, s.rows)
	parts := 0
	for _, q := range all {
		parts += len(q.contests)
	}
	p.start(parts)
	var results []result
	var versions []string // of the peers
	var failure error
	for _, q := range all {
		r, v, err := s.pass(ctx, q, failure, p)
		results, failure = append(results, r...), err
		for _, version := range v {
			if !slices.Contains(versions, version) {
				versions = append(versions, version)
			}
		}
	}
	p.finish()
	s.header(stdout, versions)
	table(stdout, results, s.bounds)
	if failure == nil {
		fmt.Fprintln(stdout)
		measureBounds().print(stdout)
	}
	if err := out.write(asJSON(results)); failure == nil {
		failure = err
	}
	return failure
}

// The reasons for rows that the program did not reach.
const (
	interruption missing = "interrupted"
	failedBefore missing = "an error before"
)

// pass measures the contests of a number of threads, and returns the versions of the peers. After a failure nothing
// is measured, and the results say so.
func (s *settings) pass(ctx context.Context, q pass, failure error, p *progress) (results []result, versions []string, _ error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(q.threads))
	clock := clockFor(q.threads)
	peers := &peers{python: s.python, threads: q.threads, clock: clock}
	defer peers.close()
	stage := &stage{plan: s.plan, threads: q.threads, clock: clock, peers: peers}
	for _, c := range q.contests {
		var t times
		var absent map[string]missing
		if failure == nil {
			t, absent, failure = c.measure(ctx, stage, p)
		}
		if failure != nil {
			absent = c.all(interruption)
			if ctx.Err() == nil {
				absent = c.all(failedBefore)
			}
		}
		results = append(results, c.judge(q.threads, t, absent)...)
	}
	return results, peers.versions(), failure
}

// all marks every entrant as missing for the same reason.
func (c contest) all(why missing) map[string]missing {
	absent := map[string]missing{}
	for _, e := range c.entrants {
		absent[e.name] = why
	}
	return absent
}
