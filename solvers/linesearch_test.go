// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The first three test functions of Moré and Thuente (ACM TOMS 1994, section 5), with the conditions that they
// ask for and the first steps that they begin with.
func TestSearch(t *testing.T) {
	oscillating := func(a float64) (f, slope float64) { // 5.3, l = 39, beta = 0.01
		const l, beta = 39.0, 0.01
		switch w := math.Sin(l*math.Pi*a/2) * 2 * (1 - beta) / (l * math.Pi); {
		case a <= 1-beta:
			f, slope = 1-a+w, -1
		case a >= 1+beta:
			f, slope = a-1+w, 1
		default:
			f, slope = (a-1)*(a-1)/(2*beta)+beta/2+w, (a-1)/beta
		}
		return f, slope + (1-beta)*math.Cos(l*math.Pi*a/2)
	}
	for _, c := range []struct {
		name                string
		phi                 func(a float64) (f, slope float64)
		decrease, curvature float64
	}{
		{"5.1", func(a float64) (f, slope float64) {
			return -a / (a*a + 2), (a*a - 2) / ((a*a + 2) * (a*a + 2))
		}, 1e-3, 0.1},
		{"5.2", func(a float64) (f, slope float64) {
			b := a + 0.004
			return math.Pow(b, 5) - 2*math.Pow(b, 4), 5*math.Pow(b, 4) - 8*math.Pow(b, 3)
		}, 0.1, 0.1},
		{"5.3", oscillating, 0.1, 0.1},
	} {
		for _, first := range []float64{1e-3, 1e-1, 10, 1e3} {
			t.Run(fmt.Sprintf("%s from %g", c.name, first), func(t *testing.T) {
				n, last := 0, 0.0
				phi := func(a float64) (trial, error) {
					n, last = n+1, a
					f, slope := c.phi(a)
					return trial{a, f, slope}, nil
				}
				from, _ := phi(0)
				p, err := search{decrease: c.decrease, curvature: c.curvature, reference: from.cost, trials: 30}.along(phi, from, first)
				require.NoError(t, err)
				require.LessOrEqual(t, math.Abs(p.slope), -c.curvature*from.slope)
				require.LessOrEqual(t, p.cost, from.cost+c.decrease*p.t*from.slope)
				require.Equal(t, p.t, last)
				require.LessOrEqual(t, n-1, 15) // theirs need up to 12
			})
		}
	}
}

// Where the cost is flat to rounding the slopes decide.
func TestSearchInNoise(t *testing.T) {
	const offset, noise = 1e8, 100 * 0x1p-52 * 1e8 // the cost has steps of 1.5e-8
	phi := func(a float64) (trial, error) { return trial{a, offset + 1e-10*(a-3)*(a-3), 2e-10 * (a - 3)}, nil }
	from, _ := phi(0)
	p, err := search{decrease: 1e-4, curvature: 0.1, reference: from.cost, noise: noise, hidden: from.cost + noise, trials: 10}.along(phi, from, 0.1)
	require.NoError(t, err)
	require.InDelta(t, 3, p.t, 0.3)
}

// A trial without a cost is too far; other errors end the search.
func TestSearchAtTheEdge(t *testing.T) {
	n := 0
	phi := func(a float64) (trial, error) { // -log(1-a) - 2a, with the minimum at 1/2
		n++
		if !(a < 1) {
			return trial{}, undefined{errors.New("no logarithm")}
		}
		return trial{a, -math.Log1p(-a) - 2*a, 1/(1-a) - 2}, nil
	}
	from, _ := phi(0)
	p, err := search{decrease: 1e-4, curvature: 0.1, reference: from.cost, trials: 30}.along(phi, from, 1000)
	require.NoError(t, err)
	require.InDelta(t, 0.5, p.t, 0.05)
	require.Less(t, n, 15)

	failed := errors.New("failed")
	_, err = search{decrease: 1e-4, curvature: 0.1, reference: from.cost, trials: 30}.along(func(float64) (trial, error) { return trial{}, failed }, from, 1)
	require.ErrorIs(t, err, failed)
	_, err = search{decrease: 1e-4, curvature: 0.1, reference: from.cost, trials: 30}.along(func(a float64) (trial, error) { return trial{a, from.cost + a, -1}, nil }, from, 1)
	require.ErrorIs(t, err, errNoStep, "the slope is wrong")

	_, err = search{decrease: 1e-4, curvature: math.Inf(1), reference: from.cost, noise: 1e-3, hidden: from.cost + 1e-3, trials: 30}.along(func(a float64) (trial, error) {
		return trial{a, from.cost + a, -1}, nil
	}, from, 1)
	require.ErrorIs(t, err, errNoStep, "where rounding errors hide the cost, too")

	n = 0
	_, err = search{decrease: 1e-4, curvature: 0.1, reference: from.cost, shortest: 1e-6, trials: 30}.along(func(float64) (trial, error) {
		n++
		return trial{}, undefined{errors.New("nowhere")}
	}, from, 1)
	require.ErrorIs(t, err, errNoStep)
	require.LessOrEqual(t, n, 8, "shorter steps than the shortest are tried")
}

// Above phi(0) and up to the reference, a cost is accepted at once. One that rounding errors may have raised is accepted where they hide
// the decrease.
func TestSearchNonmonotone(t *testing.T) {
	const bend = 1e6
	phi := func(a float64) (trial, error) { return trial{a, 1 + bend*a*a/2 - a, bend*a - 1}, nil } // the minimum is at 1e-6, 5e-7 below phi(0)
	from, _ := phi(0)
	s := search{decrease: 1e-4, curvature: math.Inf(1), reference: 2, trials: 30}
	p, err := s.along(phi, from, 1e-3)
	require.NoError(t, err)
	require.Equal(t, 1e-3, p.t)
	p, err = s.along(phi, from, 1e-2)
	require.NoError(t, err)
	require.Less(t, p.t, 2e-3)

	flat := func(a float64) (trial, error) { // it hides the decrease
		p, _ := phi(a)
		p.cost = math.Round(p.cost*1e4) / 1e4
		return p, nil
	}
	s = search{decrease: 1e-4, curvature: math.Inf(1), reference: 1, noise: 1e-3, hidden: 1 + 1e-3, shortest: 1e-9, trials: 30}
	p, err = s.along(flat, from, 1e-2)
	require.NoError(t, err)
	require.LessOrEqual(t, p.cost, s.hidden)
	s.noise, s.hidden = 0, 1
	_, err = s.along(flat, from, 1e-2)
	require.ErrorIs(t, err, errNoStep)
}
