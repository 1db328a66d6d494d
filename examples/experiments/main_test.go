// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
	"github.com/kernelfold/kernelfold/models/train"
)

func read(t *testing.T, file string) *results {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var r results
	require.NoError(t, json.Unmarshal(text, &r))
	return &r
}

func TestScale(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "scale.json")
	var table bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-limit", "64", "-epochs", "1", "-only", "Stiefel bank, unit filters, g_t", "-out", file, "scale"}, &table, io.Discard))
	assert.Contains(t, table.String(), "Stiefel bank, unit filters, g_t")
	r := read(t, file)
	assert.Equal(t, "scale", r.Settings.Experiment)
	assert.Equal(t, 64, r.Settings.Train)
	require.Len(t, r.Runs, 8, "without and with batch norm, four rates")
	for _, o := range r.Runs {
		assert.True(t, o.Accuracy >= 0 && o.Accuracy <= 1, "accuracy %g", o.Accuracy)
		assert.True(t, o.Diverged != "" || len(o.Epochs) == 1)
	}
	require.Len(t, r.Versions, 1)
	assert.Equal(t, "v0.9.18", r.Versions[0]["gorgonia"])
}

// Each experiment runs to its end, and writes its table and its plots.
func TestQuick(t *testing.T) {
	for _, of := range []struct {
		args  []string
		plots int
	}{
		{[]string{"-only", "S", "-case", "no batch", "fashion"}, 0},
		{[]string{"-only", "sphere per filter", "robust"}, 0},
		{[]string{"cifar"}, 3},
		{[]string{"-only", "bank", "omega"}, 0},
		{[]string{"transfer"}, 2},
		{[]string{"finetune"}, 4},
	} {
		name := of.args[len(of.args)-1]
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var table bytes.Buffer
			args := append([]string{"-quick", "-out", filepath.Join(dir, name+".json")}, of.args...)
			require.NoError(t, run(context.Background(), args, &table, io.Discard))
			first := table.String()
			assert.Contains(t, first, name)
			plots, err := filepath.Glob(filepath.Join(dir, "*.png"))
			require.NoError(t, err)
			assert.Len(t, plots, of.plots, "none of a part")
			assert.NoDirExists(t, filepath.Join(dir, name+"-under-way"))

			// Again: nothing is left to do.
			before, err := os.ReadFile(filepath.Join(dir, name+".json"))
			require.NoError(t, err)
			table.Reset()
			var progress bytes.Buffer
			require.NoError(t, run(context.Background(), args, &table, &progress))
			after, err := os.ReadFile(filepath.Join(dir, name+".json"))
			require.NoError(t, err)
			assert.Equal(t, before, after)
			assert.Equal(t, first, table.String())
			assert.Empty(t, progress.String())
		})
	}
}

// cutOff cancels after so many lines of progress.
type cutOff struct {
	lines  int
	cancel context.CancelFunc
}

func (c *cutOff) Write(b []byte) (int, error) {
	if c.lines -= strings.Count(string(b), "\n"); c.lines <= 0 {
		c.cancel()
	}
	return len(b), nil
}

// A campaign that is cut off again and again has the runs, to the bit, of one that is not, also with
// other runs at their side.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	whole, parts := filepath.Join(dir, "whole.json"), filepath.Join(dir, "parts.json")
	args := func(file string) []string {
		return []string{"-quick", "-cores", "2", "-only", "Stiefel bank, a", "-case", "no batch", "-out", file, "fashion"}
	}
	require.NoError(t, run(context.Background(), args(whole), io.Discard, io.Discard))
	times := 0
	for ; ; times++ {
		require.Less(t, times, 20)
		ctx, cancel := context.WithCancel(context.Background())
		err := run(ctx, args(parts), io.Discard, &cutOff{1, cancel})
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "continues from there")
	}
	assert.Greater(t, times, 1)
	numbers := func(file string) map[spec]outcome {
		all := map[spec]outcome{}
		for _, o := range read(t, file).Runs {
			for i := range o.Epochs {
				o.Epochs[i].Seconds = 0
			}
			all[o.spec] = o
		}
		return all
	}
	assert.Equal(t, numbers(whole), numbers(parts))

	var table bytes.Buffer
	first := append([]string{"-again", "0"}, args(whole)...)
	require.NoError(t, run(context.Background(), first, &table, io.Discard))
	assert.Len(t, read(t, whole).Runs, 12, "nothing is left to do")

	bad := append([]string{"-epochs", "2"}, args(parts)...)
	assert.ErrorContains(t, run(context.Background(), bad, io.Discard, io.Discard), "choose another file or these settings")
	text, err := os.ReadFile(parts)
	require.NoError(t, err)
	for want, damaged := range map[string][]byte{"unexpected EOF": []byte("{"), "want one JSON value, got more": append(text, text...)} {
		require.NoError(t, os.WriteFile(parts, damaged, 0o666))
		err := run(context.Background(), args(parts), io.Discard, io.Discard)
		assert.ErrorContains(t, err, "want the results of a campaign: "+want)
		after, err := os.ReadFile(parts)
		require.NoError(t, err)
		assert.Equal(t, damaged, after)
	}
}

// A long run that is cut off goes on in the middle.
func TestResumeRun(t *testing.T) {
	size := size{Train: 96, Test: 16, Epochs: 3, Batch: 32, seeds: 1}
	set, err := load(t.Context(), "", "cifar", &size)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "cifar.json")
	trial := func(file string, afterEpoch func(train.Epoch) error) (*campaign, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c, err := newCampaign("cifar", size, 1, set, file)
		require.NoError(t, err)
		c.progress = newProgress(io.Discard)
		j := job{spec: spec{Method: "Stiefel bank", Rate: 0.03, Seed: 1}, net: c.smallCNN(normCase), solver: constraints[5].method("").solver(), resumable: true}
		j.options.AfterEpoch = func(e train.Epoch) error {
			if afterEpoch == nil {
				cancel()
				return nil
			}
			return afterEpoch(e)
		}
		return c, c.do(ctx, []job{j})
	}
	_, err = trial(file, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.DirExists(t, strings.TrimSuffix(file, ".json")+"-under-way")
	var made []int
	count := func(e train.Epoch) error { made = append(made, e.Number); return nil }
	c, err := trial(file, count)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 3}, made)
	whole, err := trial("", count)
	require.NoError(t, err)
	require.Len(t, c.results.Runs, 1)
	for i := range 3 {
		c.results.Runs[0].Epochs[i].Seconds, whole.results.Runs[0].Epochs[i].Seconds = 0, 0
	}
	assert.Equal(t, whole.results.Runs, c.results.Runs)
	assert.NoDirExists(t, strings.TrimSuffix(file, ".json")+"-under-way")
}

func TestMain(m *testing.M) { clitest.Main(m, main) }

func TestOutputLost(t *testing.T) {
	clitest.LosesOutput(t, "experiments", "-quick", "-only", "Stiefel bank, unit filters, g_t", "-case", "no batch", "scale")
}

func TestInterval(t *testing.T) {
	// Quantiles of Student's t of 2, 4 and 1 degrees of freedom: 4.302653, 2.776445, 12.706205.
	for _, c := range []struct {
		x          []float64
		mean, half float64
	}{
		{[]float64{1, 2, 3}, 2, 4.302653 / math.Sqrt(3)},
		{[]float64{2, 4, 4, 4, 6}, 4, 2.776445 * math.Sqrt2 / math.Sqrt(5)},
		{[]float64{0, 2}, 1, 12.706205},
		{[]float64{5, 5, 5}, 5, 0},
	} {
		mean, half := interval(c.x)
		assert.InDelta(t, c.mean, mean, 1e-12)
		assert.InDelta(t, c.half, half, 1e-6)
	}
	mean, half := interval([]float64{0.25})
	assert.Equal(t, 0.25, mean)
	assert.True(t, math.IsNaN(half))
	assert.Equal(t, "25.0", percent(mean, half))
	assert.Equal(t, "25.0 ± 1.5", percent(0.25, 0.015))
	a := []outcome{{Accuracy: 0.5}, {Accuracy: 0.75}}
	assert.Equal(t, []float64{0.25, -0.25}, minus(a, []outcome{{Accuracy: 0.25}, {Accuracy: 1}}))
}

func TestChoose(t *testing.T) {
	at := func(accuracy ...[]float64) tuned {
		var u tuned
		for i, cell := range accuracy {
			u.search = append(u.search, nil)
			for _, a := range cell {
				u.search[i] = append(u.search[i], outcome{spec: spec{Rate: float64(i)}, Accuracy: a})
			}
		}
		u.finalists = twoBest(len(u.search), u.validation)
		u.choose()
		return u
	}
	type one = []float64
	u := at(one{0.1}, one{0.5}, one{0.5}, one{0})
	assert.Equal(t, []int{1, 2}, u.finalists)
	assert.Equal(t, 1.0, u.best)
	assert.False(t, u.edge)
	u = at(one{0.6}, one{0.5}, one{0})
	assert.Equal(t, []int{0, 1}, u.finalists)
	assert.True(t, u.edge)
	u = at(one{0}, one{0.25}, one{0.6})
	assert.Equal(t, 2.0, u.best)
	assert.True(t, u.edge)
	u = at(one{0}, one{0.6, 0.7, 0.8}, one{0.7, 0.7, 0.6})
	assert.Equal(t, 1.0, u.best)
	assert.Equal(t, []int{0}, at(one{0.5}).finalists)
}

func TestRates(t *testing.T) {
	assert.Equal(t, 0.03, stockAdam.rate(0.3))
	assert.Equal(t, 0.3, euclidean.rate(0.3))
}

// The scaled net is the same function, and its kernels are what the case says.
func TestScaled(t *testing.T) {
	set, err := load(t.Context(), "", "robust", &size{Train: 64, Test: 32, Batch: 32})
	require.NoError(t, err)
	c, err := newCampaign("robust", size{Train: 64, Test: 32, Batch: 32}, 1, set, "")
	require.NoError(t, err)
	logits := func(kase string) (l []float64, first float32) {
		m, err := c.robustNet(kase)(1)
		require.NoError(t, err)
		w, err := kernel(m, "conv1.weight")
		require.NoError(t, err)
		p, err := m.Predictor()
		require.NoError(t, err)
		defer p.Close()
		l, err = p.Logits(c.test.Images)
		require.NoError(t, err)
		return append([]float64(nil), l...), w[0]
	}
	plain, w := logits(scaledCases[0])
	for i, by := range []float32{1, 10, 100} {
		l, first := logits(scaledCases[i])
		assert.InEpsilon(t, by*w, first, 1e-6)
		assert.InDeltaSlice(t, plain, l, 1e-4)
	}
}

// Depths are those of the cases.
func TestDepths(t *testing.T) {
	set, err := load(t.Context(), "", "robust", &size{Train: 64, Test: 32, Batch: 32})
	require.NoError(t, err)
	c, err := newCampaign("robust", size{Train: 64, Test: 32, Batch: 32}, 1, set, "")
	require.NoError(t, err)
	for kase, learnables := range map[string]int{ratesCase: 3*2 + 2, "4 layers": 4*2 + 2, "32 layers": 32*2 + 2, "32 layers, batch norm": 32*3 + 2} {
		m, err := c.robustNet(kase)(1)
		require.NoError(t, err)
		assert.Len(t, m.Learnables, learnables, kase)
	}
}

// Names tell runs apart.
func TestMethodsDiffer(t *testing.T) {
	for _, list := range [][]method{scaleMethods(), fashionMethods(), append(robustMethods(), append(steady(), initialScale)...), cifarMethods()} {
		names := map[string]bool{}
		for _, m := range list {
			assert.False(t, names[m.name], m.name)
			names[m.name] = true
		}
	}
	assert.Len(t, cifarMethods(), 3)
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	omega := filepath.Join(dir, "omega.json")
	require.NoError(t, os.WriteFile(omega, nil, 0o666))
	for want, args := range map[string][]string{
		"want the name of an experiment":              {"scales"},
		"one of scale, fashion":                       {},
		"-limit":                                      {"-limit", "3", "scale"},
		"-limit of at least 32, got 0":                {"-limit", "0", "scale"},
		"-epochs of at least 1, got 0":                {"-epochs", "0", "scale"},
		"-epochs of at most 1000000":                  {"-epochs", "1000000000", "scale"},
		"-seeds of at least 1, got 0":                 {"-seeds", "0", "scale"},
		"-seeds of at most 1000":                      {"-seeds", "100000", "scale"},
		"-again of at least 0, got -1":                {"-again", "-1", "fashion"},
		"no -again with robust":                       {"-again", "1", "robust"},
		"-only: want a value":                         {"-only", "", "scale"},
		"-data: want a value":                         {"-data", "", "scale"},
		"-out: want a value":                          {"-out", "", "scale"},
		"-case: want a value":                         {"-case", "", "scale"},
		"-epochs":                                     {"-epochs", "-1", "scale"},
		"-seeds":                                      {"-seeds", "-1", "scale"},
		"-cores":                                      {"-cores", "0", "scale"},
		"-cores from 1 to":                            {"-cores", "100000", "scale"},
		"-limit of at most 1000000000":                {"-limit", fmt.Sprint(math.MaxInt), "scale"},
		"-limit: images: digits: want at most 671088": {"-limit", "1000000000", "scale"},
		"ends in .json":                               {"-out", "results", "scale"},
		"no such file":                                {"-data", filepath.Join(t.TempDir(), "none"), "scale"},
		"leave some":                                  {"-quick", "-only", "torus", "robust"},
		"-out: want a place outside of -data, " + dir: {"-data", dir, "-out", filepath.Join(dir, "x.json"), "scale"},
		"want another -out than -from, got " + omega:  {"-quick", "-out", omega, "-from", omega, "transfer"},
	} {
		assert.ErrorContains(t, run(context.Background(), args, io.Discard, io.Discard), want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, run(ctx, []string{"-limit", "64", "scale"}, io.Discard, io.Discard), context.Canceled)

	if runtime.GOOS == "windows" {
		return // where the folder of temporary files has another variable
	}
	// An interruption leaves none of the pictures that finetune draws.
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, cancel = context.WithCancel(context.Background())
	there := func() []string {
		paths, _ := filepath.Glob(filepath.Join(temporary, "*", "*", "*"))
		return paths
	}
	go func() {
		for there() == nil {
			runtime.Gosched()
		}
		cancel()
	}()
	assert.ErrorIs(t, run(ctx, []string{"finetune"}, io.Discard, io.Discard), context.Canceled)
	assert.Empty(t, there())
}

// A run that cannot be made is an error that names it, not an outcome.
func TestFailure(t *testing.T) {
	set, err := load(t.Context(), "", "scale", &size{Train: 64, Test: 8, Batch: 32})
	require.NoError(t, err)
	c, err := newCampaign("scale", size{Train: 64, Test: 8, Epochs: 1, Batch: 32, seeds: 1}, 2, set, "")
	require.NoError(t, err)
	c.progress = newProgress(io.Discard)
	bad := method{name: "bad", options: scaleMethods()[1].options, times: -1}
	err = c.grid(context.Background(), []part{{[]string{plainCase}, []method{bad}, []float64{0.1}}}, c.smallCNN)
	assert.ErrorContains(t, err, "no batch norm: bad, learning rate -0.1")
	assert.False(t, errors.Is(err, context.Canceled))
}
