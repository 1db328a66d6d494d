// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func maxMinBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.MaxMin(in[0]) }
func householderBuild(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return nodes.Householder(in[0], in[1])
}

// inPairs replaces each pair of channels by what f makes of it and of the number of its channel.
func inPairs(shape []int, x []float64, f func(a, b float64, channel int) (float64, float64)) []float64 {
	y, half := make([]float64, len(x)), shape[1]/2
	area := len(x) / (shape[0] * shape[1])
	for i := range x {
		if c := i / area % shape[1]; c < half {
			y[i], y[i+half*area] = f(x[i], x[i+half*area], c)
		}
	}
	return y
}

// pairs are shapes with an even number of channels.
func pairs() [][]int { return [][]int{{2, 4, 3, 2}, {1, 2, 5, 1}, {3, 6}, {1, 2}, {2, 8, 1, 1}} }

func TestMaxMin(t *testing.T) {
	for _, shape := range append(pairs(), []int{2, 4, 3}, []int{2, 2, 2, 1, 3}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{Build: maxMinBuild, Inputs: []nodetest.Input{{Shape: shape}},
				Value: func(in [][]float64) []float64 {
					return inPairs(shape, in[0], func(a, b float64, _ int) (float64, float64) { return max(a, b), min(a, b) })
				}})
		})
	}
	g, of := gorgonia.NewGraph(), tensor.Float64
	rejects(t, maxMinBuild, "want rank 2 or more and an even number of channels, got shape (2, 3, 4, 4)", zeros(g, "odd", of, 2, 3, 4, 4))
	rejects(t, maxMinBuild, "got shape (4)", zeros(g, "vector", of, 4))
	rejects(t, maxMinBuild, "want a node, got nil", nil)
}

// Numbers that are equal keep their order, and go back to where they came from; so do NaN and infinities.
func TestMaxMinAtTies(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	y, dx, err := execute(t, []float64{1, 0, nan, 1, -inf, inf, 1, math.Copysign(0, -1), 1, nan, inf, inf}, []int{1, 12}, maxMinBuild)
	require.NoError(t, err)
	for i, want := range []float64{1, 0, nan, 1, inf, inf, 1, math.Copysign(0, -1), 1, nan, -inf, inf} {
		assert.True(t, math.Float64bits(want) == math.Float64bits(y[i]) || want != want && y[i] != y[i], "%d: want %g, got %g", i, want, y[i])
	}
	assert.Equal(t, []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, dx)
}

// Images that several cores share. The gradient is permuted as the numbers are.
func TestMaxMinLarge(t *testing.T) {
	shape := []int{3, 14, 40, 41}
	x := ramp(3 * 14 * 40 * 41)
	g := gorgonia.NewGraph()
	in, cotangent := zeros(g, "x", tensor.Float32, shape...), zeros(g, "cotangent", tensor.Float32, shape...)
	for i, v := range x {
		set(in, i, v)
		set(cotangent, i, float64(i%1000))
	}
	n, err := nodes.MaxMin(in)
	require.NoError(t, err)
	d, err := gorgonia.Backpropagate(gorgonia.Nodes{n}, gorgonia.Nodes{cotangent}, gorgonia.Nodes{in})
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	numbers, gradients := floats(in.Value()), floats(cotangent.Value())
	assert.Equal(t, inPairs(shape, numbers, func(a, b float64, _ int) (float64, float64) { return max(a, b), min(a, b) }), floats(n.Value()))
	area, half := 40*41, 7*40*41
	for i, v := range floats(d[0].Value()) {
		first, from := i/area%14 < 7, i
		other := i + half
		if !first {
			other = i - half
		}
		if numbers[i] < numbers[other] == first && numbers[i] != numbers[other] {
			from = other
		}
		require.Equal(t, gradients[from], v, "gradient %d", i)
	}
}

func TestHouseholder(t *testing.T) {
	for _, shape := range pairs() {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			angle := []int{1, shape[1] / 2, 1, 1}[:len(shape)]
			nodetest.Run(t, nodetest.Case{Build: householderBuild, Inputs: []nodetest.Input{{Shape: shape}, {Shape: angle}},
				Value: func(in [][]float64) []float64 {
					return inPairs(shape, in[0], func(a, b float64, c int) (float64, float64) {
						v := [2]float64{math.Sin(in[1][c] / 2), -math.Cos(in[1][c] / 2)} // I - 2 v v'
						along := min(0, a*v[0]+b*v[1])
						return a - 2*along*v[0], b - 2*along*v[1]
					})
				}})
		})
	}
	g, of := gorgonia.NewGraph(), tensor.Float64
	x, angle := zeros(g, "x", of, 2, 4, 3, 3), zeros(g, "angle", of, 1, 2, 1, 1)
	rejects(t, householderBuild, "even number of channels", zeros(g, "odd", of, 2, 3, 4, 4), angle)
	rejects(t, householderBuild, "want rank 2 or 4, got shape (2, 4, 3)", zeros(g, "rank 3", of, 2, 4, 3), angle)
	rejects(t, householderBuild, "want angles of shape (1, 2, 1, 1) for an input of shape (2, 4, 3, 3), got (1, 4, 1, 1)", x, zeros(g, "four", of, 1, 4, 1, 1))
	rejects(t, householderBuild, "want angles of shape (1, 2)", zeros(g, "matrix", of, 2, 4), angle)
	rejects(t, householderBuild, "want a node, got nil", x, nil)
}

// With angles of a right angle Householder is MaxMin. With any angles it keeps the norms of images and gradients, and no
// two images get further apart.
func TestHouseholderIsAnIsometry(t *testing.T) {
	shape := []int{2, 6, 4, 4}
	n := 2 * 6 * 4 * 4
	run := func(x, angles []float64) (y, dx []float64) {
		y, dx, err := execute(t, x, shape, func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			angle := zeros(in[0].Graph(), "angle", tensor.Float64, 1, 3, 1, 1)
			for c, θ := range angles {
				set(angle, c, θ)
			}
			return nodes.Householder(in[0], angle)
		})
		require.NoError(t, err)
		return y, dx
	}
	distance := func(a, b []float64) float64 {
		sum := 0.0
		for i, v := range a {
			sum += (v - b[i]) * (v - b[i])
		}
		return math.Sqrt(sum)
	}
	x, origin := ramp(2 * n)[:n], make([]float64, n)
	y, _ := run(x, []float64{math.Pi / 2, math.Pi / 2, math.Pi / 2})
	want, _, err := execute(t, x, shape, maxMinBuild)
	require.NoError(t, err)
	assert.InDeltaSlice(t, want, y, 1e-15)
	for _, angles := range [][]float64{{0, 1, -2}, {3, 6, 100}} {
		y, dx := run(x, angles)
		assert.InEpsilon(t, distance(x, origin), distance(y, origin), 1e-14)
		assert.InEpsilon(t, math.Sqrt(float64(n)), distance(dx, origin), 1e-14)
		other := ramp(2 * n)[n:]
		z, _ := run(other, angles)
		assert.LessOrEqual(t, distance(y, z), distance(x, other)*(1+1e-14))
	}
}

func BenchmarkActivations(b *testing.B) {
	angles := func(x *gorgonia.Node) *gorgonia.Node {
		θ := zeros(x.Graph(), "angles", tensor.Float32, 1, 16, 1, 1)
		for c := range 16 {
			set(θ, c, 1)
		}
		return θ
	}
	for name, f := range map[string]func(x *gorgonia.Node) (*gorgonia.Node, error){
		"Rectify":     nodes.Rectify,
		"MaxMin":      nodes.MaxMin,
		"Householder": func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Householder(x, angles(x)) },
	} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) { return f(x) })
		})
	}
}
