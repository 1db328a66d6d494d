// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// frame makes the columns of the 3 x 3 matrix a orthogonal and of norm r, in float64.
func frame(a []float64, r float64) {
	for j := range 3 {
		for k := range j {
			s := 0.0
			for i := range 3 {
				s += a[3*i+j] * a[3*i+k]
			}
			for i := range 3 {
				a[3*i+j] -= s / (r * r) * a[3*i+k]
			}
		}
		n := 0.0
		for i := range 3 {
			n += a[3*i+j] * a[3*i+j]
		}
		for i := range 3 {
			a[3*i+j] *= r / math.Sqrt(n)
		}
	}
}

// tangentProjected returns v - x sym(x^T v) / r^2.
func tangentProjected(x, v []float64, r float64) []float64 {
	var sym [9]float64
	for j := range 3 {
		for k := range 3 {
			for i := range 3 {
				sym[3*j+k] += (x[3*i+j]*v[3*i+k] + x[3*i+k]*v[3*i+j]) / (2 * r * r)
			}
		}
	}
	u := slices.Clone(v)
	for e := range u {
		for k := range 3 {
			u[e] -= x[e/3*3+k] * sym[3*k+e%3]
		}
	}
	return u
}

// trial is a step of frames of a radius.
type trial struct {
	descent.Step
	Radius float64
}

// stepped makes the step for one frame, in float64.
func stepped(x, m, g []float64, s trial) descent.Progress {
	d := make([]float64, 9)
	for e := range d {
		d[e] = s.Ahead*m[e] + s.Slope*g[e]
		m[e] = s.Keep*m[e] + s.Take*g[e]
	}
	v, factor := tangentProjected(x, d, s.Radius), 1.0
	norm := vec.Norm(v)
	if s.Geometric {
		factor = descent.Factor(norm, 1/(s.Radius*s.Radius))
	}
	t := s.Rate / factor
	for e := range v {
		x[e] -= t * v[e]
	}
	frame(x, s.Radius)
	switch {
	case s.Tangent && s.Late:
		copy(m, v)
	case s.Tangent:
		copy(m, tangentProjected(x, v, s.Radius))
	}
	return descent.Progress{Direction: norm * norm, Length: t * t * norm * norm, Factor: factor}
}

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func TestFrames(t *testing.T) { everywhere(t, testFrames, nil) }

func testFrames(t *testing.T) {
	rng, group := source(11), cpu.Use.Bytes()/4
	for k := range 71 {
		for mask := range 32 {
			with := mask&1 == 0
			s := trial{descent.Step{Keep: 0.9, Take: 0.8, Ahead: 0.7, Slope: 1.1, Rate: 0.1}, []float64{1, 3, 0.05}[k%3]}
			if mask&2 != 0 {
				s.Ahead, s.Slope, s.Tangent = s.Keep, s.Take, with
			}
			if mask&4 != 0 {
				s.Geometric = true
			}
			if mask&8 != 0 {
				s.Late = s.Tangent
			}
			if mask&16 != 0 {
				s.Geometric, s.Factors = false, make([]float64, k)
				for i := range s.Factors {
					s.Factors[i] = rng.Float64()
				}
			}
			x, checkX := guarded[float32](rng, 9*k)
			m, checkM := guarded[float32](rng, 9*k)
			g, checkG := guarded[float32](rng, 9*k)
			vec.Scale(m, s.Radius, m)
			vec.Scale(g, s.Radius, g)
			points := widened(x)
			for i := range k {
				frame(points[9*i:9*i+9], s.Radius)
			}
			for e, v := range points {
				x[e] = float32(v)
			}
			bad := -1
			if k > 40 && !s.Geometric {
				bad = rng.IntN(k)
				for e := range 9 { // too long for one pass
					g[9*bad+e] *= 300
				}
				if s.Factors != nil {
					s.Factors[bad] = 1
				}
			}
			wantX, wantM, wantG := slices.Clone(x), slices.Clone(m), slices.Clone(g)
			momentum, x64, m64, g64 := m, widened(x), widened(m), widened(g)
			if !with {
				momentum = nil
				clear(m64)
			}
			moved, got := Frames(x, momentum, g, nil, 3, s.Radius, s.Step)
			checkX(t)
			checkM(t)
			checkG(t)
			want := 0
			if group > 0 {
				want = k / group * group
				if bad >= 0 {
					want = min(want, bad/group*group)
				}
			}
			require.Equal(t, want, moved)
			sum := descent.Progress{Factor: 1}
			for i := range moved {
				e := 9 * i
				own, factor := s, 1.0
				if s.Factors != nil {
					factor = s.Factors[i]
					own.Rate *= factor
				}
				one := stepped(x64[e:e+9], m64[e:e+9], g64[e:e+9], own)
				one.Direction *= factor * factor
				sum = sum.Plus(one)
				for j := e; j < e+9; j++ {
					wantX[j], wantG[j] = float32(x64[j]), 0
					if with {
						wantM[j] = float32(m64[j])
					}
				}
			}
			near(t, wantX, x, 60*0x1p-23, s.Radius, "x")
			near(t, wantM, m, 16*0x1p-23, 10*s.Radius, "m")
			assert.Equal(t, wantG, g)
			assert.InDelta(t, sum.Direction, got.Direction, 1e-5*sum.Direction)
			assert.InDelta(t, sum.Length, got.Length, 1e-5*sum.Length)
			assert.InDelta(t, sum.Factor, got.Factor, 1e-5*sum.Factor)
		}
	}
}

func TestScatteredFrames(t *testing.T) { everywhere(t, testScatteredFrames, nil) }

// Scattered frames move as frames that lie together do, to the bit. All other frames are NaN, so that reading them shows.
func testScatteredFrames(t *testing.T) {
	rng := source(12)
	for _, k := range []int{1, 5, 16, 37, 64, 700} {
		for mask := range 16 {
			s := descent.Step{Keep: 0.9, Take: 0.8, Ahead: 0.7, Slope: 1.1, Rate: 0.1, Geometric: mask&2 != 0, Tangent: mask&4 != 0, Late: mask&4 != 0 && mask&8 != 0}
			x, checkX := guarded[float32](rng, 18*k)
			g, checkG := guarded[float32](rng, 18*k)
			m, checkM := guarded[float32](rng, 9*k)
			if mask&1 != 0 {
				m = nil
			}
			order, nan := make([]int32, 2*k), float32(math.NaN())
			for i, p := range rng.Perm(2 * k) {
				order[i] = int32(p)
				for e := 9 * p; e < 9*p+9; e++ {
					if i >= k {
						x[e], g[e] = nan, nan
					} else if s.Geometric && mask&8 != 0 && i == k/2 {
						g[e] = nan // its group and those after it do not move
					}
				}
			}
			var copyX, copyG []float32
			for _, p := range order[:k] {
				own := widened(x[9*p : 9*p+9])
				frame(own, 1)
				for e, v := range own {
					x[9*int(p)+e] = float32(v)
				}
				copyX, copyG = append(copyX, x[9*p:9*p+9]...), append(copyG, g[9*p:9*p+9]...)
			}
			copyM := slices.Clone(m)
			want, whole := Frames(copyX, copyM, copyG, nil, 3, 1, s)
			got, progress := Frames(x, m, g, order[:k], 3, 1, s)
			require.Equal(t, want, got)
			assert.Equal(t, whole, progress)
			for i, p := range order[:k] {
				require.Equal(t, copyX[9*i:9*i+9], x[9*p:9*p+9])
			}
			require.Equal(t, copyM, m)
			for _, p := range order[k:] {
				for e := 9 * p; e < 9*p+9; e++ {
					require.True(t, x[e] != x[e] && g[e] != g[e])
				}
			}
			checkX(t)
			checkG(t)
			checkM(t)
		}
	}
}

func TestFramesRefuse(t *testing.T) { everywhere(t, testFramesRefuse, nil) }

func testFramesRefuse(t *testing.T) {
	x := make([]float32, 9*32)
	for name, f := range map[string]func(){
		"other gradients": func() { Frames(x, nil, x[1:], nil, 3, 1, descent.Step{}) },
		"other momentum":  func() { Frames(x, x[1:], x, nil, 3, 1, descent.Step{}) },
	} {
		assert.Panics(t, f, name)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), 0} {
		for i := range 32 {
			for _, e := range []int{0, 4, 8} {
				x[9*i+e] = 1
			}
		}
		x[9*20+4] = bad
		before := slices.Clone(x)
		moved, _ := Frames(x, nil, make([]float32, len(x)), nil, 3, 1, descent.Step{})
		want := 0
		if group := cpu.Use.Bytes() / 4; group > 0 {
			want = 20 / group * group
		}
		assert.Equal(t, want, moved)
		near(t, before, x, 2*0x1p-23, 1, "x")
	}
	y := make([]float64, 9*32)
	moved, _ := Frames(y, nil, make([]float64, len(y)), nil, 3, 1, descent.Step{})
	assert.Zero(t, moved, "float64")
	moved, _ = Frames(x, nil, make([]float32, len(x)), nil, 3, 1, descent.Step{Geometric: true})
	assert.Zero(t, moved, "no rate to see g_t by")
	moved, _ = Frames(x[:16*16], nil, make([]float32, 16*16), nil, 4, 1, descent.Step{})
	assert.Zero(t, moved, "4 x 4")
}
