// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
	"github.com/kernelfold/kernelfold/solvers"
)

// TestMain lets this binary be the program, which starts itself again for some of what it measures.
func TestMain(m *testing.M) {
	if isChild() {
		main()
	}
	clitest.Main(m, main)
}

func TestOutputLost(t *testing.T) {
	clitest.LosesOutput(t, "benchmark", "-help")
}

// nowhere is an interpreter that is not there, so that tests do not wait for the peers.
const nowhere = "/nonexistent/python3"

func program(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func TestWithoutPeers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	status, stdout, stderr := program(t.Context(), "-quick", "-threads", "1", "-python", nowhere, "-rows", "sphere SGD step, per filter, ResNet-20|per 3x3, ResNet-20", "-json", name)
	require.Zero(t, status, stderr)
	assert.Regexp(t, `^(\d/\d [^\r\n]*\n)+$`, stderr, "no bar where there is no terminal")
	assert.Contains(t, stdout, "not measured: no "+nowhere)
	assert.Regexp(t, `sphere SGD step, per filter, ResNet-20: [\d.]+( \([\d.]+\))? ms\n`, stdout)
	assert.Regexp(t, `    stock Gorgonia Adam, unconstrained +[\d.]+( \([\d.]+\))? +[\d.]+x (faster|slower)\n`, stdout)
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "    ") && !strings.Contains(line, "not measured") {
			assert.LessOrEqual(t, len(line), 101, line)
		}
	}
	assert.Contains(t, stdout, "GFLOP/s")

	b, err := os.ReadFile(name)
	require.NoError(t, err)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal(b, &rows))
	require.Len(t, rows, 7)
	for _, r := range rows {
		require.Len(t, r, 12)
		for _, key := range []string{"name", "threads", "ours_ms", "peer", "peer_ms", "ratio", "must", "aim", "met", "unit", "ours", "its"} {
			require.Contains(t, r, key)
		}
		if !strings.Contains(r["peer"].(string), "stock") {
			for _, key := range []string{"ours_ms", "peer_ms", "ratio", "met", "ours", "its"} {
				assert.Nil(t, r[key], r["name"])
			}
			continue
		}
		ratio := r["ratio"].(float64)
		assert.InDelta(t, r["ours_ms"].(float64)/r["peer_ms"].(float64), ratio, 1e-9)
		assert.Positive(t, ratio)
		assert.Zero(t, r["must"], "0, not null")
		assert.Zero(t, r["aim"])
		assert.Nil(t, r["met"])
	}
	files, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	assert.Len(t, files, 1, "nothing temporary is left")
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"-nonesuch"}, {"more"}, {"-threads", "0"}, {"-threads", "100000"}, {"-threads", "1,"}, {"-threads", "1,1"}, {"-rows", "("}, {"-rows", "nonesuch"},
		{"-out", "x"}, {"-scaling", "-rows", "training"}, {"-before", "x", "-scaling"}, {"-before", "x", "-peak", "8"}, {"-peak", "-1"},
		{"-threads", "1", "-rows", "2 threads"}, {"-peak", "0"}, {"-peak-net", "resnet18"}, {"-peak", "8", "-peak-net", "resnet19"}, {"-peak", "8", "-json", "x"}, {"-peak", "8", "-rows", "stock"}, {"-peak", "8", "-scaling"},
		{"-draw", "x"}, {"-draw", "x", "-scaling"}, {"-draw", "x", "-out", "x"},
		{"-scaling", "-threads", "1"}, {"-scaling", "-python", "x"}, {"-rows", ""}, {"-json", ""}, {"-out", ""}, {"-before", ""}, {"-threads", ""}, {"-python", ""},
	} {
		status, stdout, stderr := program(t.Context(), args...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout, args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	status, _, stderr := program(t.Context(), "-json", filepath.Join(t.TempDir(), "none", "results.json"))
	assert.Equal(t, 1, status)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	dir := t.TempDir()
	status, _, stderr = program(t.Context(), "-json", dir)
	assert.Equal(t, 1, status)
	assert.Equal(t, "benchmark: -json: want the name of a file, got the folder "+dir+"\n", stderr)
	read := filepath.Join(dir, "read")
	require.NoError(t, os.WriteFile(read, []byte("[]"), 0o777))
	for _, args := range [][]string{{"-before", read}, {"-scaling", "-out", dir, "-draw", read}} {
		status, _, stderr = program(t.Context(), append(args, "-json", filepath.Join(dir, ".", "read"))...)
		assert.Equal(t, 2, status)
		assert.Contains(t, stderr, "-json: want another file than those that are read, got "+read)
	}

	status, stdout, stderr := program(t.Context(), "-h")
	assert.Zero(t, status)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "-scaling")
}

// Interrupted, the program reports what it has and says so in one line.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, stdout, stderr := program(ctx, "-quick", "-python", nowhere)
	assert.Equal(t, 1, status)
	assert.Equal(t, "benchmark: interrupted\n", stderr)
	assert.Regexp(t, `(?m)^\d+ rows not measured: interrupted$`, stdout)
	assert.Equal(t, 1, strings.Count(stdout, "not measured"), "a count alone")
}

// Rows that the program did not come to are counted, the others are listed.
func TestRowsNotReached(t *testing.T) {
	c := allocationContest()
	measured := c.judge(1, times{{"ours": 16e3, "bar": 64e3}}, nil)
	absent := c.judge(2, nil, c.all("no peer"))
	for _, why := range []missing{interruption, failedBefore} {
		left := c.judge(4, nil, c.all(why))
		var out bytes.Buffer
		table(&out, slices.Concat(measured, absent, left, left), false)
		assert.Contains(t, out.String(), "16.0 kB\n")
		assert.Contains(t, out.String(), "not measured: no peer\n")
		assert.Regexp(t, `(?m)^2 rows not measured: `+string(why)+`$`, out.String())
		assert.Equal(t, 1, strings.Count(out.String(), string(why)))
	}
}

// Where no bar can be drawn, each part is a line.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.start(2)
	p.next("training step")
	assert.Equal(t, "1/2 training step\n", out.String())
	p.next("prediction")
	p.finish()
	assert.Equal(t, "1/2 training step\n2/2 prediction\n", out.String())
}

// Every row has a name of its own over all numbers of threads, entrants that exist, and an aim beyond its bar.
func TestRows(t *testing.T) {
	names := map[string]bool{}
	bars := map[int]int{}
	for _, threads := range []int{1, 2} {
		all := contests(threads)
		if threads == 2 {
			all = append(all, speedUpContest(2))
		}
		for _, c := range all {
			entrants := map[string]bool{}
			for _, e := range c.entrants {
				assert.False(t, entrants[e.name], "%s: %s", c.name, e.name)
				entrants[e.name] = true
			}
			for _, r := range c.rows {
				assert.False(t, names[r.name()], r.name())
				names[r.name()] = true
				for _, name := range r.entrants() {
					assert.True(t, entrants[name], name)
				}
				assert.LessOrEqual(t, r.aim, r.must)
				if r.must != 0 {
					bars[threads]++
				}
			}
		}
	}
	// 2 banks, 3 spheres per filter, 4 slices, 2 + 4 + 2 of the small net, 3 transposed, 2 nets of 4, 2 predictions, 2 of memory, 3 of each of 2 nets for ImageNet;
	// 2 threads have no bar for prediction, and 3 for speed-up.
	assert.Equal(t, map[int]int{1: 42, 2: 43}, bars)

	kept := only(contests(1), regexp.MustCompile("ResNet-20, against stock Gorgonia Adam"))
	require.Len(t, kept, 1)
	require.Len(t, kept[0].entrants, 2)
	assert.Equal(t, "ours", kept[0].entrants[0].name)
	assert.Equal(t, "stock Adam", kept[0].entrants[1].name)

	kept = only([]contest{speedUpContest(2)}, regexp.MustCompile("WRN"))
	require.Len(t, kept, 1)
	assert.Len(t, kept[0].entrants, 4, "the product is needed for the bar")
}

// A contest is held once for each number of threads, and speed-up where 1 is one of them.
func TestPasses(t *testing.T) {
	count := func(threads ...int) (rows []int) {
		for _, p := range passes(threads, regexp.MustCompile("ResNet-20, un|up .*ResNet-20")) {
			n := 0
			for _, c := range p.contests {
				n += len(c.rows)
			}
			rows = append(rows, p.threads, n)
		}
		return rows
	}
	assert.Equal(t, []int{1, 1, 2, 2}, count(1, 2))
	assert.Equal(t, []int{2, 1}, count(2))
	assert.Equal(t, []int{1, 1}, count(1))
	assert.Equal(t, "training step, ResNet-20, unconstrained, 2 threads", passes([]int{2}, regexp.MustCompile("20, un"))[0].contests[0].rows[0].what)

	bars := func(threads int) bar {
		return only(contests(threads), regexp.MustCompile("^training step.*against PyTorch$"))[0].rows[0].bar
	}
	assert.Equal(t, bar{0.8, 0.6}, bars(1))
	assert.Equal(t, bar{0.85, 0.65}, bars(2))
	assert.Equal(t, bar{0.85, 0.65}, bars(4))
	for _, r := range speedUpContest(4).rows {
		assert.Zero(t, r.bar, "the bar is for 2 threads")
	}
}

func TestShapes(t *testing.T) {
	assert.Len(t, resNet18(), 20)
	assert.Equal(t, 11166912, resNet18().weights())
	assert.Len(t, resNet20(), 19)
	assert.Equal(t, 267696, resNet20().weights())
	assert.Len(t, resNet18().kernels(), 16)
	assert.Len(t, resNet20().kernels(), 19)
}

func TestBounds(t *testing.T) {
	b := bounds{product: 80}
	// A bank of 16 filters and 27 weights, and one of 4 weights and 16 filters.
	assert.InDelta(t, 6*(27*16*16+16*4*4)/80e6, b.stiefel(shapes{{16, 3, 3, 3}, {16, 4, 1, 1}}), 1e-12)
}

func TestFlops(t *testing.T) {
	s := shapes{{16, 3, 3, 3}, {16, 4, 1, 1}} // banks of 27 x 16 and 16 x 4
	of := func(name string, stiefel bool) float64 {
		for _, r := range rules {
			if r.name == name {
				return r.flopsOf(s, stiefel)
			}
		}
		require.Fail(t, name)
		return 0
	}
	weights, bank, square := 27*16.+16*4, 27*16*16.+16*4*4, 16*16*16.+4*4*4
	assert.Equal(t, 4*weights, of("SGD with momentum", false))
	assert.Equal(t, 4*weights+6*bank+square, of("SGD with momentum", true))
	assert.Equal(t, 8*weights+15*bank+5*square, of("Muon", false))
	assert.Equal(t, 8*weights+20*bank+2*square, of("SAM of SGD with momentum", true))
	rows := only([]contest{flopsContest("net", s)}, regexp.MustCompile("step, SGD.*Stiefel"))[0].rows
	require.Len(t, rows, 1)
	round := times{{"product of matrices": productFlops, "SGD with momentum, Stiefel bank": 1}}
	assert.InDelta(t, of("SGD with momentum", true), rows[0].its.over(round).median, 1e-6, "a flop a millisecond")
}

// SAM moves the weights twice in a step, and is measured as the others are: after a step that is not timed.
func TestParts(t *testing.T) {
	var done []string
	say := func(what string) { done = append(done, what) }
	now := time.Duration(0)
	moves := func(what string, d time.Duration) func() error {
		return func() error { say(what); now += d; return nil }
	}
	l := local{
		clock: clock{now: func() time.Duration { return now }}, prepare: func() { say("gradient") },
		step: moves("step", time.Millisecond),
	}
	ms, err := l.run(1)
	require.NoError(t, err)
	assert.Equal(t, []string{"gradient", "step"}, done)
	assert.InDelta(t, 1, ms, 1e-9)
	l.first, done = moves("ascent", 2*time.Millisecond), nil
	ms, err = l.run(2)
	require.NoError(t, err)
	assert.Equal(t, slices.Repeat([]string{"gradient", "ascent", "gradient", "step"}, 3), done, "the first is not timed")
	assert.InDelta(t, 3, ms, 1e-9)
	sam := solverStep(wall, shapes{{4, 2, 3, 3}}, solvers.NewSAM(solvers.NewSGD(), 0.05))
	assert.NotNil(t, sam.(local).first)
	_, err = sam.run(2)
	assert.NoError(t, err)
}

func TestSpread(t *testing.T) {
	rounds := times{{"a": 1, "b": 1}, {"a": 5, "b": 2}, {"a": 3, "b": 1}}
	assert.Equal(t, spread{2, 3, 4}, of("a").over(rounds))
	assert.Equal(t, spread{1, 2, 2.5}, of("a").minus("b").over(rounds))
	assert.Equal(t, 6., of("a").plus("a").over(rounds).median)
}

func TestVerdict(t *testing.T) {
	r := result{row: row{bar: bar{0.5, 0.25}}, itsTime: spread{median: 8}}
	for ours, want := range map[float64]string{2: "met, and the aim", 4: "met", 5: "missed"} {
		r.ourTime.median = ours
		assert.Equal(t, want, r.verdict())
	}
	r.bar = bar{}
	assert.Equal(t, "no bar", r.verdict())
	r.missing = "no torch"
	assert.Equal(t, "not measured: no torch", r.verdict())

	assert.Equal(t, "4x faster", faster(0.25))
	assert.Equal(t, "2x slower", faster(2))
	assert.Equal(t, "0.70 of its time", ofItsTime(0.7))
	assert.Equal(t, "1.3 %", percent(0.013))
	assert.Equal(t, "0.142", digits(0.1418))
	assert.Equal(t, "1085", digits(1085.2))
	assert.Equal(t, "-0.00123", digits(-0.001234))
}

// The bar for the speed-up is there where the product has it, and only there.
func TestPremise(t *testing.T) {
	c := speedUpContest(2)
	measured := func(product, net float64) (result, resultJSON) {
		sample := map[string]float64{}
		for _, e := range c.entrants {
			sample[e.name] = 100
		}
		sample["product of matrices, 2"], sample["training step, 2"] = 100/product, 100/net
		all := c.judge(2, times{sample}, nil)
		require.Equal(t, "speed-up from 1 to 2 threads, training step", all[1].what)
		return all[1], asJSON(all)[1]
	}
	for _, test := range []struct {
		product, net float64
		verdict      string
		must         float64
	}{
		{1.86, 1.9, "met, and the aim", 1 / 1.75},
		{1.86, 1.8, "met", 1 / 1.75},
		{1.86, 1.7, "missed", 1 / 1.75},
		{1.4, 1.7, "no bar: the product alone is 1.40x as fast", 0},
	} {
		r, j := measured(test.product, test.net)
		assert.Equal(t, test.verdict, r.verdict())
		assert.InDelta(t, 1/test.net, *j.Ratio, 1e-12)
		assert.Equal(t, test.must, j.Must)
		assert.Equal(t, test.must == 0, j.Met == nil)
		assert.Equal(t, 2, j.Threads)
	}
	assert.Equal(t, "1.70x as fast", timesAsFast(1/1.7))
}

// Rows in other units than milliseconds, in the table and as JSON.
func TestUnits(t *testing.T) {
	c := allocationContest()
	all := c.judge(1, times{{"ours": 16e3, "bar": 64e3}}, nil)
	j := asJSON(all)[0]
	assert.Nil(t, j.OursMS)
	assert.Nil(t, j.PeerMS)
	assert.Equal(t, "B", j.Unit)
	assert.Equal(t, 16e3, *j.Ours)
	assert.Equal(t, 64e3, *j.Its)
	assert.Equal(t, 0.25, *j.Ratio)
	assert.Equal(t, 0.125, j.Aim)
	assert.True(t, *j.Met)
	var out bytes.Buffer
	table(&out, all, true)
	assert.Regexp(t, `: 16000 B\n +64 kB +64000 B +16.0 kB +64.0 kB +8.0 kB +met\n`, out.String())
	out.Reset()
	table(&out, all, false)
	assert.Regexp(t, `: 16000 B\n +64 kB +64000 B +16.0 kB\n`, out.String())
}

// Entrants that have nobody to be compared with are not run.
func TestOnlyNeededEntrantsRun(t *testing.T) {
	ran := map[string]int{}
	entrantOf := func(name string) entrant {
		return entrant{name, func(context.Context, *stage) (contestant, error) {
			if name == "gone" {
				return nil, missing("no " + name)
			}
			return count(func() (float64, error) { ran[name]++; return 1, nil }), nil
		}}
	}
	c := contest{
		entrants: []entrant{entrantOf("a"), entrantOf("b"), entrantOf("c"), entrantOf("gone")},
		rows:     []row{{ours: of("a"), its: of("gone")}, {ours: of("b"), its: of("c")}},
		counted:  true,
	}
	_, absent, err := c.measure(t.Context(), &stage{}, newProgress(io.Discard))
	require.NoError(t, err)
	assert.Equal(t, map[string]missing{"gone": "no gone"}, absent)
	assert.Equal(t, map[string]int{"b": 1, "c": 1}, ran)
}

// smallNet has all that plainNet has.
var smallNet = netSpec{4, []int{6, 8}}

// gradients are the loss of a net and the gradients of its learnables, in their order.
type gradients struct {
	Loss      float64
	Gradients [][]float32
}

func (n netSpec) gradients(t *testing.T, o ops) gradients {
	m, err := n.build(o, n.values())
	require.NoError(t, err)
	defer m.close()
	require.NoError(t, m.backward())
	g := gradients{Loss: float64(m.loss.Data().(float32))}
	for _, l := range m.learnables {
		v, err := l.Grad()
		require.NoError(t, err)
		g.Gradients = append(g.Gradients, append([]float32(nil), v.Data().([]float32)...))
	}
	return g
}

// alike compares the losses up to 1e-5, which is the rounding of sums of some
// thousand float32, and every gradient up to so much of its norm.
func (g gradients) alike(t *testing.T, want gradients, tolerance float64) {
	assert.InDelta(t, want.Loss, g.Loss, 1e-5*want.Loss)
	require.Len(t, g.Gradients, len(want.Gradients))
	for i, w := range want.Gradients {
		require.Len(t, g.Gradients[i], len(w))
		var norm, off float64
		for k, v := range w {
			norm = math.Hypot(norm, float64(v))
			off = math.Hypot(off, float64(g.Gradients[i][k]-v))
		}
		require.Positive(t, norm)
		assert.Less(t, off, tolerance*norm, "learnable %d", i)
	}
}

// All nets of the training step compute the same. In a million windows of the larger one some
// have two largest elements that differ by rounding alone; which one the gradient of the pooling
// goes to differs then, and with it a part of the gradients of the kernels.
func TestNetsAgree(t *testing.T) {
	smallNet.gradients(t, ourOps).alike(t, smallNet.gradients(t, stockOps), 1e-5)
	plainNet.gradients(t, ourOps).alike(t, plainNet.gradients(t, stockOps), 2e-2)
}

func TestNetOfPyTorchAgrees(t *testing.T) {
	p := newPeers(t)
	q, err := p.get(t.Context(), "torch")
	if missing("") != asMissing(err) {
		t.Skip(err)
	}
	require.NoError(t, err)
	c, err := q.contestant("net", "net", smallNet.request())
	require.NoError(t, err)
	var its gradients
	require.NoError(t, q.ask("gradients", "net", nil, &its))
	smallNet.gradients(t, ourOps).alike(t, its, 1e-5)
	ms, err := c.run(2)
	require.NoError(t, err)
	assert.Positive(t, ms)
	c.close()
	_, err = c.run(1)
	assert.ErrorContains(t, err, "KeyError", "it is gone")
}

func newPeers(t *testing.T) *peers {
	p := &peers{python: "/usr/bin/python3", threads: 1, clock: single}
	t.Cleanup(p.close)
	return p
}

func asMissing(err error) missing {
	m, _ := err.(missing)
	return m
}

// A peer that ends by itself is an error in one line; one whose context ends is that.
func TestPeerThatEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no /bin/sh")
	}
	script := filepath.Join(t.TempDir(), "interpreter")
	write := func(body string) {
		require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	}
	write("echo '{\"ready\": \"x\"}'; read line; echo why >&2")
	p := &peers{python: script, clock: single}
	defer p.close()
	q, err := p.get(t.Context(), "torch")
	require.NoError(t, err)
	_, err = q.contestant("a", "sgd", nil)
	assert.EqualError(t, err, "torch: the process ended: why")

	write("echo '{\"ready\": \"x\"}'; exec sleep 100")
	ctx, cancel := context.WithCancel(t.Context())
	q, err = p.get(ctx, "geoopt")
	require.NoError(t, err)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = q.contestant("a", "sgd", nil)
	assert.ErrorIs(t, err, context.Canceled)
}

// The residual nets are those of PyTorch: the names and sizes of their parameters, and what they make of images.
func TestResidualNetsOfPyTorchAgree(t *testing.T) {
	p := newPeers(t)
	q, err := p.get(t.Context(), "torch")
	if missing("") != asMissing(err) {
		t.Skip(err)
	}
	require.NoError(t, err)
	for _, r := range []residual{resNet(2), wideResNet(2)} {
		m, err := r.model(r.batch)
		require.NoError(t, err)
		predictor, err := m.Predictor()
		require.NoError(t, err)
		images, _ := r.images(r.batch)
		want, err := predictor.Logits(images)
		require.NoError(t, err)

		weights := map[string][]float32{}
		for _, l := range m.Learnables {
			weights[l.Name()] = l.Value().Data().([]float32)
		}
		_, err = q.contestant("net", r.kind+" prediction", r.request())
		require.NoError(t, err)
		var its struct{ Logits []float64 }
		require.NoError(t, q.ask("logits", "net", map[string]any{"weights": weights, "images": images}, &its))
		require.Len(t, its.Logits, len(want))
		for i, w := range want {
			assert.InDelta(t, w, its.Logits[i], 1e-4, r.name) // of float32 through 20 layers
		}
		require.NoError(t, predictor.Close())

		trains, err := q.contestant("net", r.kind, r.request())
		require.NoError(t, err)
		ms, err := trains.run(1)
		require.NoError(t, err)
		assert.Positive(t, ms)
	}
}

// The tables and the picture of the scaling, from two points that are measured.
func TestScaling(t *testing.T) {
	s := scaling{}
	p := newProgress(io.Discard)
	for _, name := range []string{"batch", "channels", "layers", "cores"} {
		q := point{Series: name, X: 4, net: smallNet, cores: 1}
		require.NoError(t, q.measure(t.Context(), plan{rounds: 1}, p))
		assert.Positive(t, q.Ours.MS)
		assert.Greater(t, q.Stock.Allocated, q.Ours.Allocated)
		assert.Greater(t, q.Stock.Peak, 1e5)
		s.Steps = append(s.Steps, q)
	}
	var err error
	s.Solvers, err = allocations(t.Context())
	require.NoError(t, err)
	var out bytes.Buffer
	s.table(&out)
	for _, want := range []string{"images in a batch", "cores", "SGD momentum, sphere per filter"} {
		assert.Contains(t, out.String(), want)
	}
	image, err := s.png()
	require.NoError(t, err)
	assert.Equal(t, "\x89PNG", string(image[:4]))
}
