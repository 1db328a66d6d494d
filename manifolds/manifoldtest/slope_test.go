// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSlope(t *testing.T) {
	const noise = 1e-13
	for _, c := range []struct {
		name string
		e    func(t float64) float64
		want float64
	}{
		{"first order", func(t float64) float64 { return 0.3 * t }, 1},
		{"second order", func(t float64) float64 { return 0.3 * t * t }, 2},
		{"second order, small", func(t float64) float64 { return 1e-6 * t * t }, 2},
		{"second order and higher", func(t float64) float64 { return math.Exp(t) - 1 - t }, 2},
		{"third order", func(t float64) float64 { return t * t * t }, 3},
		{"second order above rounding", func(t float64) float64 { return 1e-4*t*t + noise*math.Abs(math.Sin(1e6*t)) }, 2},
		{"a jump", func(t float64) float64 { return 0.01 }, 0},
		{"exact", func(t float64) float64 { return 0 }, math.Inf(1)},
		{"exact to rounding", func(t float64) float64 { return noise * math.Abs(math.Sin(1e6*t)) }, math.Inf(1)},
		{"NaN", func(t float64) float64 { return math.Log(t - 1e-4) }, math.NaN()},
	} {
		es := make([]float64, len(steps))
		for i, s := range steps {
			es[i] = c.e(s)
		}
		got := slope(steps, es, noise)
		if math.IsNaN(c.want) {
			assert.True(t, math.IsNaN(got), "%s: got %v", c.name, got)
			continue
		}
		assert.InDelta(t, c.want, got, 0.05, c.name)
	}
}

func TestRank(t *testing.T) {
	assert.Equal(t, 0, rank([][]float64{{0, 0}, {0, 0}}, 1e-12))
	assert.Equal(t, 1, rank([][]float64{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, 1e-12))
	assert.Equal(t, 2, rank([][]float64{{1, 0, 0}, {0, 1e-20, 0}, {0, 0, 4}}, 1e-12))
	assert.Equal(t, 3, rank([][]float64{{2, 1, 0}, {1, 2, 1}, {0, 1, 2}}, 1e-12))
}
