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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nowhere is an interpreter that is not there, so that tests do not wait for the peers.
const nowhere = "/nonexistent/python3"

func program(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func TestWithoutPeers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.json")
	status, stdout, stderr := program(t.Context(), "-quick", "-python", nowhere, "-rows", "sphere SGD step, per filter, ResNet-20|per 3x3, ResNet-20", "-json", name)
	require.Zero(t, status, stderr)
	assert.Empty(t, stderr, "no bar where there is no terminal")
	assert.Contains(t, stdout, "not measured: no "+nowhere)
	assert.Contains(t, stdout, "3x faster")
	assert.Contains(t, stdout, "GFLOP/s")

	b, err := os.ReadFile(name)
	require.NoError(t, err)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal(b, &rows))
	require.Len(t, rows, 7)
	for _, r := range rows {
		require.Len(t, r, 8)
		for _, key := range []string{"name", "ours_ms", "peer", "peer_ms", "ratio", "must", "aim", "met"} {
			require.Contains(t, r, key)
		}
		if !strings.Contains(r["peer"].(string), "stock") {
			for _, key := range []string{"ours_ms", "peer_ms", "ratio", "met"} {
				assert.Nil(t, r[key], r["name"])
			}
			continue
		}
		ratio := r["ratio"].(float64)
		assert.InDelta(t, r["ours_ms"].(float64)/r["peer_ms"].(float64), ratio, 1e-9)
		assert.Positive(t, ratio)
		assert.Equal(t, ratio <= r["must"].(float64), r["met"], r["name"])
	}
	files, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	assert.Len(t, files, 1, "nothing temporary is left")
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"-nonesuch"}, {"more"}, {"-threads", "0"}, {"-threads", "100000"}, {"-rows", "("}, {"-rows", "nonesuch"},
		{"-out", "x"}, {"-scaling", "-rows", "training"},
	} {
		status, stdout, stderr := program(t.Context(), args...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout, args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	status, _, stderr := program(t.Context(), "-json", filepath.Join(t.TempDir(), "none", "results.json"))
	assert.Equal(t, 1, status)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)

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
	assert.Contains(t, stdout, "not measured: interrupted")
}

// Every row has a name of its own, entrants that exist, and an aim beyond its bar.
func TestRows(t *testing.T) {
	names := map[string]bool{}
	count := 0
	for _, c := range contests() {
		entrants := map[string]bool{}
		for _, e := range c.entrants {
			assert.False(t, entrants[e.name], "%s: %s", c.name, e.name)
			entrants[e.name] = true
		}
		for _, r := range c.rows {
			assert.False(t, names[r.name()], r.name())
			names[r.name()] = true
			for _, p := range append(append(cost{}, r.ours...), r.its...) {
				assert.True(t, entrants[p.entrant], p.entrant)
			}
			assert.LessOrEqual(t, r.aim, r.must)
			if r.must != 0 {
				count++
			}
		}
	}
	assert.Equal(t, 18, count)

	kept := only(contests(), regexp.MustCompile("ResNet-20, against stock Gorgonia Adam"))
	require.Len(t, kept, 1)
	require.Len(t, kept[0].entrants, 2)
	assert.Equal(t, "ours", kept[0].entrants[0].name)
	assert.Equal(t, "stock Adam", kept[0].entrants[1].name)
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
	b := bounds{read: 40, update: 60, product: 80}
	assert.InDelta(t, 11166912*4e-6*(1./40+6./60), b.sphere(resNet18()), 1e-9)
	// A bank of 16 filters and 27 weights, and one of 4 weights and 16 filters.
	assert.InDelta(t, 7*(27*16*16+16*4*4)/80e6, b.stiefel(shapes{{16, 3, 3, 3}, {16, 4, 1, 1}}), 1e-12)
}

func TestSpread(t *testing.T) {
	rounds := times{{"a": 1, "b": 1}, {"a": 5, "b": 2}, {"a": 3, "b": 1}}
	assert.Equal(t, spread{2, 3, 4}, of("a").over(rounds))
	assert.Equal(t, spread{1, 2, 2.5}, of("a").minus("b").over(rounds))
	assert.Equal(t, 6., of("a").plus("a").over(rounds).median)
}

func TestVerdict(t *testing.T) {
	r := result{row: row{must: 0.5, aim: 0.25}, itsTime: spread{median: 8}}
	for ours, want := range map[float64]string{2: "met, and the aim", 4: "met", 5: "missed"} {
		r.ourTime.median = ours
		assert.Equal(t, want, r.verdict())
	}
	r.must = 0
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
