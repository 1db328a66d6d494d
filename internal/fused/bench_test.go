// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// layer is a convolution with a number of filters of n weights each.
type layer struct{ filters, n int }

// net is the convolutions of a residual net.
type net []layer

func (l net) weights() int {
	sum := 0
	for _, c := range l {
		sum += c.filters * c.n
	}
	return sum
}

func times(n int, l layer) net {
	all := make(net, n)
	for i := range all {
		all[i] = l
	}
	return all
}

func join(parts ...net) net {
	var all net
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// The 3 x 3 convolutions, which have nearly all weights.
var nets = []struct {
	name string
	net
}{
	{"ResNet-18", join(times(4, layer{64, 576}), times(1, layer{128, 576}), times(3, layer{128, 1152}),
		times(1, layer{256, 1152}), times(3, layer{256, 2304}), times(1, layer{512, 2304}), times(3, layer{512, 4608}))},
	{"ResNet-20", join(times(1, layer{16, 27}), times(6, layer{16, 144}), times(1, layer{32, 144}),
		times(5, layer{32, 288}), times(1, layer{64, 288}), times(5, layer{64, 576}))},
}

// state is the weights of a net, with momentum and gradient.
type state[T vec.Float] struct{ x, m, g []T }

func newState[T vec.Float](n int) state[T] {
	rng := rand.New(rand.NewPCG(1, 2))
	s := state[T]{make([]T, n), make([]T, n), make([]T, n)}
	for i := range n {
		s.x[i], s.m[i], s.g[i] = T(rng.NormFloat64()), T(rng.NormFloat64()), T(rng.NormFloat64())
	}
	return s
}

// measure reports the smallest time of a step of all layers in ms. Gradients are 0 after the first step, which does not change the amount of work.
func measure[T vec.Float](b *testing.B, l net, step func(x, m, g []T, at, n int)) {
	s := newState[T](l.weights())
	best := time.Duration(1 << 62)
	for b.Loop() {
		start, at := time.Now(), 0
		for _, c := range l {
			to := at + c.filters*c.n
			step(s.x[at:to], s.m[at:to], s.g[at:to], at, c.n)
			at = to
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best.Nanoseconds())/1e6, "min-ms")
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms")
	b.ReportMetric(0, "ns/op")
}

func benchmark(b *testing.B, step func(x, m, g []float32, at, n int)) {
	for _, l := range nets {
		for _, level := range cpu.Levels() {
			b.Run(fmt.Sprint(l.name, "/", level), func(b *testing.B) {
				defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
				cpu.Use = level
				measure(b, l.net, step)
			})
		}
	}
}

var (
	sgd   = descent.Step{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true}
	round = Sphere{Radius: 1.4}
)

func BenchmarkFilters(b *testing.B) {
	benchmark(b, func(x, m, g []float32, _, n int) { Spheres(x, m, g, nil, n, round, sgd) })
}

func BenchmarkFiltersAmbient(b *testing.B) {
	s := sgd
	s.Tangent = false
	benchmark(b, func(x, m, g []float32, _, n int) { Spheres(x, m, g, nil, n, round, s) })
}

func BenchmarkSlices(b *testing.B) {
	benchmark(b, func(x, m, g []float32, _, _ int) { Spheres(x, m, g, nil, 9, round, sgd) })
}

func BenchmarkGeometricSlices(b *testing.B) {
	s := sgd
	s.Geometric = true
	benchmark(b, func(x, m, g []float32, _, _ int) { Spheres(x, m, g, nil, 9, Sphere{1.4, true}, s) })
}

func BenchmarkColumns(b *testing.B) {
	benchmark(b, func(x, m, g []float32, _, n int) { Columns(x, m, g, nil, n, len(x)/n, round, sgd) })
}

func BenchmarkSliceColumns(b *testing.B) {
	benchmark(b, func(x, m, g []float32, _, _ int) { Columns(x, m, g, nil, 3, 3, round, sgd) })
}

func BenchmarkFlat(b *testing.B) {
	benchmark(b, func(x, m, g []float32, _, _ int) { Flat(x, m, g, sgd, 1) })
}

func BenchmarkAdam(b *testing.B) {
	second := make([]float32, nets[0].weights())
	for i := range second {
		second[i] = 1
	}
	a := AdamStep{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Slope: 1, Shrink: 1, Rate: 1e-3, Correct1: 0.1, Correct2: 0.001}
	benchmark(b, func(x, m, g []float32, at, _ int) { Adam(x, m, second[at:at+len(x)], nil, g, a) })
}

// BenchmarkScattered is the smallest time for each of 912 slices that lie together, and that lie in order among twice as many others. All of them
// are in the cache.
//
//	go test -run '^$' -bench Scattered ./internal/fused
func BenchmarkScattered(b *testing.B) {
	const k = 912
	rng := rand.New(rand.NewPCG(1, 2))
	var among []int32
	for _, p := range rng.Perm(3 * k)[:k] {
		among = append(among, int32(p))
	}
	slices.Sort(among)
	for _, step := range []struct {
		name string
		make func(x, m, g []float32, order []int32)
	}{
		{"spheres", func(x, m, g []float32, order []int32) { Spheres(x, m, g, order, 9, Sphere{Radius: 1}, sgd) }},
		{"columns", func(x, m, g []float32, order []int32) { Columns(x, m, g, order, 3, 3, Sphere{Radius: 1}, sgd) }},
		{"frames", func(x, m, g []float32, order []int32) { lanes.Frames(x, m, g, order, 3, 1, sgd) }},
	} {
		for _, order := range [][]int32{nil, among} {
			for _, momentum := range []bool{false, true} {
				name := step.name + map[bool]string{true: " together", false: " scattered"}[order == nil] + map[bool]string{true: " momentum", false: ""}[momentum]
				b.Run(name, func(b *testing.B) {
					count := k
					if order != nil {
						count = 3 * k
					}
					x, m, g := make([]float32, 9*count), make([]float32, 9*k), make([]float32, 9*count)
					for i := range count {
						x[9*i], x[9*i+4], x[9*i+8] = 1, 1, 1
					}
					if !momentum {
						m = nil
					}
					best := time.Duration(1 << 62)
					for b.Loop() {
						start := time.Now()
						step.make(x, m, g, order)
						best = min(best, time.Since(start))
					}
					b.ReportMetric(float64(best.Nanoseconds())/k, "ns/slice")
				})
			}
		}
	}
}
