// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

func program(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = cli.Status("certified", run(ctx, args, &out, &err), &err)
	return status, out.String(), err.String()
}

// A short run writes its files: numbers that fit together, pictures, and plain kernels.
func TestCertified(t *testing.T) {
	out := filepath.Join(t.TempDir(), "results")
	status, stdout, stderr := program(context.Background(), "-limit", "300", "-images", "40", "-epochs", "2", "-out", out)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "1-Lipschitz, orthogonal")
	assert.Contains(t, stdout, "kernels on Stiefel")
	assert.Contains(t, stderr, "free: epoch 2 of 2")

	data, err := os.ReadFile(filepath.Join(out, "results.json"))
	require.NoError(t, err)
	var all report
	require.NoError(t, json.Unmarshal(data, &all))
	assert.Equal(t, []any{300, 40, 2}, []any{all.Images, all.Certified, all.Epochs})
	results := all.Nets
	require.Len(t, results, 3)
	data, err = os.ReadFile(filepath.Join(out, "spectra.json"))
	require.NoError(t, err)
	var spectra map[string][]*spectrum
	require.NoError(t, json.Unmarshal(data, &spectra))
	for _, r := range results {
		require.Len(t, r.Certified, len(r.Radii))
		for i := 1; i < len(r.Radii); i++ {
			assert.LessOrEqual(t, r.Certified[i], r.Certified[i-1], r.Net)
		}
		assert.Len(t, spectra[r.Net], 6, r.Net)
	}
	assert.Less(t, results[0].Bound, results[2].Bound)
	for _, s := range spectra[results[0].Net] {
		assert.InDelta(t, 1, s.Values[0], 1e-5, s.Layer)
		assert.InDelta(t, 1, s.Values[len(s.Values)-1], 1e-5, s.Layer)
	}
	assert.Greater(t, spectra[results[1].Net][1].Values[0], 1.2, "orthonormal filters are no orthogonal convolution")

	// The same table and the same plot, of the results alone.
	redrawn := filepath.Join(t.TempDir(), "redrawn")
	status, again, stderr := program(context.Background(), "-draw", filepath.Join(out, "results.json"), "-out", redrawn)
	require.Zero(t, status, stderr)
	require.NotEmpty(t, again)
	assert.True(t, strings.HasPrefix(stdout, again))
	plots := [2][]byte{}
	for i, dir := range []string{out, redrawn} {
		plots[i], err = os.ReadFile(filepath.Join(dir, "accuracy.png"))
		require.NoError(t, err)
	}
	assert.Equal(t, plots[0], plots[1])

	for _, name := range []string{"accuracy.png", "spectra.png"} {
		f, err := os.Open(filepath.Join(out, name))
		require.NoError(t, err)
		_, err = png.Decode(f)
		assert.NoError(t, err, name)
		require.NoError(t, f.Close())
	}
	shapes := func(name string) map[string][]int {
		f, err := os.Open(filepath.Join(out, name))
		require.NoError(t, err)
		defer f.Close()
		info, err := f.Stat()
		require.NoError(t, err)
		file, err := safetensors.NewReader(f, info.Size())
		require.NoError(t, err)
		all := map[string][]int{}
		for _, i := range file.Tensors() {
			all[i.Name] = i.Shape
		}
		return all
	}
	assert.Contains(t, shapes("net.safetensors"), "stage1.conv.projectors")
	plain := shapes("released.safetensors")
	assert.Equal(t, []int{16, 1, 3, 3}, plain["stage1.conv.weight"])
	assert.NotContains(t, plain, "stage1.conv.projectors")
}

// Singular values by Fourier transform are those of the convolution written out as a matrix.
func TestSingularValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ filters, channels, size, stride int }{{3, 2, 3, 1}, {2, 3, 3, 1}, {3, 2, 2, 2}} {
		w := make([]float32, c.filters*c.channels*c.size*c.size)
		for i := range w {
			w[i] = float32(rng.NormFloat64())
		}
		got, err := singularValues(w, []int{c.filters, c.channels, c.size, c.size}, c.stride)
		require.NoError(t, err)
		n := frequencies / c.stride
		matrix := mat.NewDense(c.filters*n*n, c.channels*frequencies*frequencies, nil)
		for d := range c.filters {
			for i := range n * n {
				for ch := range c.channels {
					for k := range c.size * c.size {
						y, x := (i/n*c.stride+k/c.size)%frequencies, (i%n*c.stride+k%c.size)%frequencies
						row, column := d*n*n+i, (ch*frequencies+y)*frequencies+x
						matrix.Set(row, column, matrix.At(row, column)+float64(w[(d*c.channels+ch)*c.size*c.size+k]))
					}
				}
			}
		}
		var svd mat.SVD
		require.True(t, svd.Factorize(matrix, mat.SVDNone))
		want := svd.Values(nil)
		require.Len(t, got, len(want))
		assert.InDeltaSlice(t, want, got, 1e-6*math.Sqrt(float64(len(w))))
	}
}

// Settings are chosen on images held out from the training images, without the test images: a rate that makes the net diverge is passed over.
func TestTune(t *testing.T) {
	s := settings{variants: []models.Variant{models.OrthogonalVariant}, tuning: 1, certified: 20, seed: 1}
	set, err := images.Digits(1, 200, 20, images.DigitOptions{Side: 8})
	require.NoError(t, err)
	set.Test = images.Split{}
	c := s.contestants(set)[2]
	c.choice.Rate = 1e30
	var log bytes.Buffer
	got, err := s.tune(context.Background(), c, set, &log)
	require.NoError(t, err)
	assert.Equal(t, 1e30, got.Rate, "all rates that were tried are too large")

	c.choice.Rate = 1e-6
	log.Reset()
	got, err = s.tune(context.Background(), c, set, &log)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	assert.GreaterOrEqual(t, len(lines), 2)
	most, best := -1.0, 0.0
	for _, l := range lines { // the free net certifies nothing, so the clean accuracy counts
		var rate, clean float64
		_, after, _ := strings.Cut(l, "learning rate ")
		_, err := fmt.Sscanf(after, "%g", &rate)
		require.NoError(t, err)
		_, after, _ = strings.Cut(l, "accuracies [")
		_, err = fmt.Sscanf(after, "%g", &clean)
		require.NoError(t, err)
		if clean > most {
			most, best = clean, rate
		}
	}
	assert.Equal(t, best, got.Rate)
	assert.Zero(t, got.Temperature)
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"-out: want a place outside of -data, " + dir:                           {"-data", dir, "-out", filepath.Join(dir, "x")},
		`want different ones among orthogonal, aol, sll and cpl, got "free"`:    {"-variant", "free"},
		`want different ones among orthogonal, aol, sll and cpl, got "sll,sll"`: {"-variant", "sll,sll"},
		"-tune: want a number of epochs, or 0, got -1":                          {"-tune", "-1"},
		"-epochs: want at least 1, got 0":                                       {"-epochs", "0"},
		"-images: want at least 1, got 0":                                       {"-images", "0"},
		"-limit: want a positive number, got -1":                                {"-limit", "-1"},
		"-temperature: want a positive number":                                  {"-temperature", "-1"},
		`want flags only, got "x"`:                                              {"x"},
		"-draw: want no other flag than -out with it, got -epochs -seed":        {"-draw", "x", "-seed", "2", "-epochs", "3"},
	} {
		status, stdout, stderr := program(context.Background(), args...)
		assert.Equal(t, 2, status, want)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, want)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "x")
	status, _, stderr := program(ended, "-out", out)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "interrupted")
	assert.NoDirExists(t, out)
}

// A folder in which no file can be made is refused before the first epoch. If the files cannot be written later, the table is printed.
func TestUnwritable(t *testing.T) {
	if runtime.GOOS == "linux" {
		status, stdout, stderr := program(context.Background(), "-limit", "50", "-images", "2", "-out", "/proc")
		assert.Equal(t, 1, status)
		assert.Empty(t, stdout)
		assert.Regexp(t, "^certified: -out: .*/proc/[^\n]*\n$", stderr)
	}
	out := t.TempDir()
	for _, name := range []string{"results.json", "accuracy.png"} {
		require.NoError(t, os.MkdirAll(filepath.Join(out, name, "full"), 0o777))
	}
	status, stdout, stderr := program(context.Background(), "-limit", "50", "-images", "2", "-epochs", "1", "-out", out)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "certified: -out: ")
	assert.Contains(t, stdout, "1-Lipschitz, orthogonal")
	assert.NotContains(t, stdout, "wrote")
}

// Results of more nets than one run can have are drawn: those of several runs, put together.
func TestDrawMany(t *testing.T) {
	var all report
	for i := range 8 {
		all.Nets = append(all.Nets, result{Net: fmt.Sprint("net ", i), Radii: shown, Certified: make([]float64, len(shown))})
	}
	data, err := json.Marshal(all)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "results.json")
	require.NoError(t, os.WriteFile(file, data, 0o644))
	status, stdout, stderr := program(context.Background(), "-draw", file, "-out", t.TempDir())
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "net 7")
}

// Damaged results are refused, and nothing is written.
func TestDrawRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	for content, want := range map[string]string{
		"[]":                         "want results.json of certified",
		`{"epochs": 3}{"epochs": 3}`: "want one JSON value, got more",
		`{"epochs": 3}`:              "want results of at least one net, got none",
		`{"nets": [{"radii":[0]}]}`:  "want an accuracy for each of the 1 radii, got 0",
		`{"nets": [{"radii":[0], "certified_accuracy":[1]}]}`: "want the accuracy at the radius 0.14",
	} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
		out := filepath.Join(t.TempDir(), "out")
		status, stdout, stderr := program(context.Background(), "-draw", file, "-out", out)
		assert.Equal(t, 1, status)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, want)
		assert.NoDirExists(t, out)
	}
}

// The help names the temperatures that are used.
func TestHelp(t *testing.T) {
	status, stdout, _ := program(context.Background(), "-h")
	require.Zero(t, status)
	text := strings.Join(strings.Fields(stdout), " ")
	for v, c := range choices {
		assert.Contains(t, text, fmt.Sprintf("%s %g", v, c.Temperature))
	}
}
