// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
)

// parabola is an arm whose accuracies are those of a parabola in log2(omega), moved by an offset of each seed.
func parabola(top, at, bend float64, offset []float64, omegas ...float64) (a measuredArm, y []float64) {
	a.name = "parabola"
	for s, by := range offset {
		for _, o := range omegas {
			d := math.Log2(o / at)
			acc := top + by - bend*d*d
			a.runs = append(a.runs, measuredRun{o, outcome{spec: spec{Seed: uint64(s + 1)}, Accuracy: acc}})
			y = append(y, acc)
		}
	}
	return a, y
}

func indices(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

func TestPeak(t *testing.T) {
	offset := []float64{-0.01, 0, 0.03}
	t.Run("inside", func(t *testing.T) {
		a, y := parabola(0.8, 0.025, 0.01, offset, omegas...)
		// Seeds of the second round have two omegas.
		a.runs, y = a.runs[:12], y[:12]
		p := newPeak(a, indices(12), omegas)
		assert.Equal(t, 2, p.degree)
		best, u := p.of(y, 3)
		assert.InDelta(t, 0.025, math.Exp2(u), 1e-9)
		for s, by := range offset {
			assert.InDelta(t, 0.8+by, best[s], 1e-9)
		}
	})
	t.Run("at the end", func(t *testing.T) {
		a, y := parabola(0.8, 0.5, 0.01, offset, omegas...)
		p := newPeak(a, indices(len(y)), omegas)
		best, u := p.of(y, 3)
		assert.InDelta(t, 0.12, math.Exp2(u), 1e-9, "no further than the grid")
		d := math.Log2(0.12 / 0.5)
		assert.InDelta(t, 0.8-0.01*d*d, best[1], 1e-9)
	})
	t.Run("too far", func(t *testing.T) {
		a, y := parabola(0.8, 0.03, 0.02, offset, omegas...)
		for i := range a.runs {
			if a.runs[i].omega == 0.12 { // it collapsed
				a.runs[i].Accuracy, y[i] = 0.1, 0.1
			}
		}
		p := newPeak(a, indices(len(y)), omegas)
		assert.NotContains(t, p.u, math.Log2(0.12))
		best, u := p.of(y, 3)
		assert.InDelta(t, 0.03, math.Exp2(u), 1e-9)
		assert.InDelta(t, 0.8, best[1], 1e-9)
	})
	t.Run("few omegas", func(t *testing.T) {
		for n := 1; n <= 2; n++ {
			a, y := parabola(0.8, 0.015, 0.01, offset, omegas[:n]...)
			p := newPeak(a, indices(len(y)), omegas)
			assert.Equal(t, n-1, p.degree)
			best, _ := p.of(y, 3)
			assert.InDelta(t, y[n-1], best[0], 1e-12)
		}
	})
}

// The bootstrap has the standard error that is known: of a mean over n seeds s/sqrt(n), of a share p of N images sqrt(p(1-p)/N).
func TestResample(t *testing.T) {
	const images, seeds, share = 400, 5, 0.8
	random := rand.New(rand.NewPCG(3, 4))
	b := make(bits, (images+7)/8)
	right := 0
	for i := range images {
		if random.Float64() < share {
			b[i/8] |= 1 << (i % 8)
			right++
		}
	}
	of := []float64{1, 2, 4, 8, 16}
	var accuracy, mean []float64
	resample([]bits{b, nil}, images, seeds, func(y []float64, s []int) {
		assert.Zero(t, y[1])
		accuracy = append(accuracy, y[0])
		require.Len(t, s, seeds-1)
		sum := 0.0
		for _, i := range s {
			sum += of[i]
		}
		mean = append(mean, sum/float64(len(s)))
	})
	require.Len(t, accuracy, replicates)
	p := float64(right) / images
	assert.InDelta(t, p, stat.Mean(accuracy, nil), 0.002)
	assert.InEpsilon(t, math.Sqrt(p*(1-p)/images), stat.StdDev(accuracy, nil), 0.05)
	assert.InEpsilon(t, stat.StdDev(of, nil)/math.Sqrt(seeds), stat.StdDev(mean, nil), 0.05)
}

func TestJudge(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	normal := func(mean, sd float64) []float64 {
		x := make([]float64, replicates)
		for i := range x {
			x[i] = mean + sd*random.NormFloat64()
		}
		return x
	}
	// 2.1 standard errors are enough for one comparison, and not after the two that are certain for one of two.
	mean, drawn := map[string]float64{"zero": 0}, map[string][]float64{"zero": make([]float64, replicates)}
	var list []comparison
	for _, arm := range []struct {
		name     string
		mean, sd float64
	}{{"a", 0.02, 0.002}, {"b", 0.0021, 0.001}, {"c", 0.001, 0.01}, {"d", -0.02, 0.002}} {
		mean[arm.name], drawn[arm.name] = arm.mean, normal(arm.mean, arm.sd)
		list = append(list, comparison{name: arm.name + " - zero", of: []string{arm.name}, against: []string{"zero"}})
	}
	list = append(list, comparison{name: "not run", of: []string{"e"}, against: []string{"zero"}})
	got := map[string]string{}
	for _, v := range judge(list, mean, drawn) {
		got[v.of[0]] = v.String()
		assert.InDelta(t, mean[v.of[0]], v.mean, 1e-12)
		assert.True(t, v.from <= v.low && v.high <= v.to, "%s: the corrected interval is the wider one", v.name)
	}
	assert.Equal(t, map[string]string{"a": "better", "b": "equal", "c": "undecided", "d": "worse"}, got)

	// A comparison may have the name of an arm.
	before := slices.Clone(drawn["b"])
	alone := judge([]comparison{{name: "b", of: []string{"b"}, against: []string{"zero"}}}, mean, drawn)
	assert.Equal(t, "better, but equal", fmt.Sprint(alone[0]))
	assert.Equal(t, before, drawn["b"])

	best := judge([]comparison{{name: "best", of: []string{"b", "d"}, against: []string{"zero", "d"}}}, mean, drawn)
	assert.InDelta(t, 0.0021, best[0].mean, 1e-12)
}

// The arms of the first question are run first, and every comparison is of arms that are run.
func TestArms(t *testing.T) {
	later := map[string]bool{}
	for _, a := range arms() {
		later[a.name] = a.later
	}
	for _, q := range comparisons() {
		for _, name := range append(slices.Clone(q.of), q.against...) {
			require.Contains(t, later, name)
			assert.False(t, q.question == "1" && later[name], name)
		}
	}
}
