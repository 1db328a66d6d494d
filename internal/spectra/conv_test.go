// SPDX-License-Identifier: Apache-2.0

package spectra_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/spectra"
)

// operator writes a convolution out as a matrix, from its definition.
func operator(c spectra.Conv) *mat.Dense {
	in, out := c.Channels/c.Groups, c.Filters/c.Groups
	m := mat.NewDense(c.Filters*c.Rows.Out*c.Cols.Out, c.Channels*c.Rows.Size*c.Cols.Size, nil)
	pixel := func(a spectra.Axis, i, k int) (int, bool) {
		at := i*a.Stride + k*a.Dilation - a.Before
		if a.Circular {
			at = (at%a.Size + a.Size) % a.Size
		}
		return at, at >= 0 && at < a.Size
	}
	for f := range c.Filters {
		for ch := range in {
			for u := range c.Rows.Kernel {
				for v := range c.Cols.Kernel {
					w := c.Weights[((f*in+ch)*c.Rows.Kernel+u)*c.Cols.Kernel+v]
					for i := range c.Rows.Out {
						for j := range c.Cols.Out {
							y, ok := pixel(c.Rows, i, u)
							x, in2 := pixel(c.Cols, j, v)
							if ok && in2 {
								row, col := (f*c.Rows.Out+i)*c.Cols.Out+j, ((f/out*in+ch)*c.Rows.Size+y)*c.Cols.Size+x
								m.Set(row, col, m.At(row, col)+w)
							}
						}
					}
				}
			}
		}
	}
	return m
}

// norm returns the largest singular value.
func norm(t testing.TB, m mat.Matrix) float64 {
	var d mat.SVD
	require.True(t, d.Factorize(m, mat.SVDNone))
	return d.Values(nil)[0]
}

// axis returns the axis of a convolution with some padding on each side.
func axis(size, kernel, stride, dilation, pad int, circular bool) spectra.Axis {
	return spectra.Axis{Size: size, Kernel: kernel, Stride: stride, Dilation: dilation, Before: pad, Circular: circular,
		Out: (size+2*pad-dilation*(kernel-1)-1)/stride + 1}
}

// kinds are ways to draw weights of d filters of c channels and area taps.
var kinds = map[string]func(rng *rand.Rand, d, c, area int) []float64{
	"random": func(rng *rand.Rand, d, c, area int) []float64 {
		return drawn(rng, d*c*area)
	},
	"positive": func(rng *rand.Rand, d, c, area int) []float64 {
		w := drawn(rng, d*c*area)
		for i := range w {
			w[i] = math.Abs(w[i])
		}
		return w
	},
	"low rank": func(rng *rand.Rand, d, c, area int) []float64 {
		w, a, b := make([]float64, d*c*area), drawn(rng, d), drawn(rng, c*area)
		for i := range w {
			w[i] = a[i/(c*area)] * b[i%(c*area)]
		}
		return w
	},
	"orthogonal": func(rng *rand.Rand, d, c, area int) []float64 { // a permutation of the channels, each shifted
		w, to, shift := make([]float64, d*c*area), rng.Perm(max(c, d)), rng.Perm(area)
		for i := range d {
			if to[i] < c {
				w[(i*c+to[i])*area+shift[i%area]] = 1 + 1e-7*rng.NormFloat64()
			}
		}
		return w
	},
	// The largest singular value of the symbol is at a point halfway between those of any grid of even size, and is attained by a wave.
	"adversarial": func(rng *rand.Rand, d, c, area int) []float64 {
		w, a, b := make([]float64, d*c*area), drawn(rng, d), drawn(rng, c)
		ω, k := rng.Float64()*2*math.Pi, int(math.Sqrt(float64(area)))
		for i := range w {
			t := i % area
			w[i] = a[i/(c*area)] * b[i/area%c] * math.Cos(ω*float64(t/k+t%k))
		}
		return w
	},
	"sparse and huge": func(rng *rand.Rand, d, c, area int) []float64 {
		w := make([]float64, d*c*area)
		for i := range w {
			if rng.IntN(3) == 0 {
				w[i] = rng.NormFloat64() * math.Pow(10, 200*rng.Float64()-100)
			}
		}
		w[rng.IntN(len(w))] = 1e120
		return w
	},
}

func drawn(rng *rand.Rand, n int) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = rng.NormFloat64()
	}
	return w
}

// Bounds are at least the norm of the convolution written out as a matrix: 1,002 kernels of all kinds, with zeros and circular padding, strides,
// dilation and groups. On images of this size the norm is less than on an infinite one, which the slack includes.
func TestBoundsOfConvolutions(t *testing.T) {
	each := 167
	if testing.Short() {
		each = 20
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			var slack, gram []float64
			for range each {
				k, stride, dilation, groups := 1+rng.IntN(3), 1+rng.IntN(2), 1+rng.IntN(2), 1+rng.IntN(2)
				size := max(1+dilation*(k-1), 3+rng.IntN(3))
				circular := rng.IntN(2) == 0
				c := spectra.Conv{
					Filters: groups * (1 + rng.IntN(2)), Channels: groups * (1 + rng.IntN(2)), Groups: groups,
					Rows: axis(size, k, stride, dilation, rng.IntN(3), circular), Cols: axis(size, k, stride, dilation, rng.IntN(2), circular),
				}
				c.Weights = kind(rng, c.Filters, c.Channels/groups, k*k)
				want := norm(t, operator(c))
				bound := c.Bound(0.01)
				require.GreaterOrEqual(t, bound, want*(1-1e-13), "%+v", c)
				slack = append(slack, bound/want)
				powers := c.Gram(3)
				require.GreaterOrEqual(t, powers, want*(1-1e-13), "%+v", c)
				gram = append(gram, powers/want)
			}
			slices.Sort(slack)
			slices.Sort(gram)
			t.Logf("bound/norm: median %.4f, 90%% %.4f; Gram(3): median %.4f, 90%% %.4f", slack[each/2], slack[each*9/10], gram[each/2], gram[each*9/10])
		})
	}
}

// On a large ring the norm is nearly that on an infinite image, and the bound is as close as the slack demands.
func TestSlackOfBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	for _, k := range []int{1, 2, 3, 5} {
		for _, stride := range []int{1, 2} {
			c := spectra.Conv{Filters: 3, Channels: 2, Groups: 1, Rows: axis(1, 1, 1, 1, 0, false), Cols: axis(80, k, stride, 1, k-1, true)}
			c.Cols.Before, c.Cols.Out = 0, 80/stride // of one row
			c.Weights = drawn(rng, 6*k)
			want := norm(t, operator(c))
			for _, slack := range []float64{0.1, 0.01, 0.001} {
				bound := c.Bound(slack)
				assert.GreaterOrEqual(t, bound, want*(1-1e-13))
				assert.Less(t, bound/want, (1+slack)*1.003, "kernel %d, stride %d, slack %g", k, stride, slack) // points of the ring are not those of the plane
			}
			assert.GreaterOrEqual(t, c.Gram(5), want*(1-1e-13))
			assert.Less(t, c.Gram(5), 1.15*want)
			assert.Greater(t, c.Gram(1)*(1+1e-12), c.Gram(2))
			assert.Greater(t, c.Gram(2)*(1+1e-12), c.Gram(4))
		}
	}
}

// A convolution that is orthogonal up to the rounding of float32 has a bound that is 1 up to that rounding, and the
// bound of a kernel that is as large as the image is the norm of its bank.
func TestTightBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	q := rotation(rng, 16)
	c := spectra.Conv{Filters: 16, Channels: 16, Groups: 1, Rows: axis(8, 3, 1, 1, 1, false), Cols: axis(8, 3, 1, 1, 1, false), Weights: make([]float64, 16*16*9)}
	for i := range 16 {
		for j := range 16 {
			c.Weights[(i*16+j)*9+j%9] = float64(float32(q[i*16+j]))
		}
	}
	assert.InDelta(t, 1, c.Bound(0.01), 2e-6)

	c = spectra.Conv{Filters: 3, Channels: 2, Groups: 1, Rows: axis(4, 4, 1, 1, 0, false), Cols: axis(4, 4, 1, 1, 0, false), Weights: drawn(rng, 96)}
	want := norm(t, mat.NewDense(3, 32, c.Weights))
	assert.InEpsilon(t, want, c.Bound(0.01), 1e-8)
	assert.Greater(t, c.Gram(4), 1.01*want)

	// Rescaled by the sums of absolute values of the kernel of J'J, a row at a time, the norm is at most 1.
	for _, stride := range []int{1, 2} {
		c = spectra.Conv{Filters: 5, Channels: 3, Groups: 1, Rows: axis(9, 3, stride, 1, 1, false), Cols: axis(9, 3, stride, 1, 1, false), Weights: drawn(rng, 135)}
		for e, sum := range almostOrthogonal(c.Weights, 5, 3, 3) {
			for f := range 5 {
				for i := range 9 {
					c.Weights[(f*3+e)*9+i] /= math.Sqrt(sum)
				}
			}
		}
		assert.LessOrEqual(t, c.Bound(0.5), 1+1e-8)
		assert.GreaterOrEqual(t, c.Bound(0.5), norm(t, operator(c)))
	}

	c.Weights = make([]float64, 135)
	assert.Zero(t, c.Bound(0.01))
	assert.Zero(t, c.Gram(2))
}

// almostOrthogonal returns sum_f,s |sum_o,t w[o,e,t] w[o,f,t+s]| for each channel e.
func almostOrthogonal(w []float64, filters, channels, k int) []float64 {
	sums := make([]float64, channels)
	for e := range channels {
		for f := range channels {
			for down := 1 - k; down < k; down++ {
				for along := 1 - k; along < k; along++ {
					sum := 0.0
					for o := range filters {
						for u := max(0, -down); u < min(k, k-down); u++ {
							for v := max(0, -along); v < min(k, k-along); v++ {
								sum += w[((o*channels+e)*k+u)*k+v] * w[((o*channels+f)*k+u+down)*k+v+along]
							}
						}
					}
					sums[e] += math.Abs(sum)
				}
			}
		}
	}
	return sums
}

// rotation returns an orthogonal matrix.
func rotation(rng *rand.Rand, n int) []float64 {
	var qr mat.QR
	qr.Factorize(mat.NewDense(n, n, drawn(rng, n*n)))
	var q mat.Dense
	qr.QTo(&q)
	return q.RawMatrix().Data
}

// Dilation does not change the bound, nor does exchanging rows and columns; the bound of two groups is the larger of their bounds.
func TestBoundsThatAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 7))
	w := drawn(rng, 4*2*9)
	bound := func(dilation int) float64 {
		a := axis(12, 3, 1, dilation, dilation, false)
		return spectra.Conv{Filters: 4, Channels: 4, Groups: 2, Rows: a, Cols: a, Weights: w}.Bound(0.01)
	}
	assert.Equal(t, bound(1), bound(2))
	half := spectra.Conv{Filters: 2, Channels: 2, Groups: 1, Rows: axis(12, 3, 1, 1, 1, false), Cols: axis(12, 3, 1, 1, 1, false)}
	one, other := half, half
	one.Weights, other.Weights = w[:36], w[36:]
	assert.Equal(t, max(one.Bound(0.01), other.Bound(0.01)), bound(1))
}

// Matrices whose norm is known, with gaps of all sizes between the largest singular values, and with numbers from 1e-150 to 1e150.
func TestNormsOfMatrices(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	for _, n := range [][2]int{{1, 1}, {1, 7}, {5, 2}, {17, 17}, {40, 23}, {64, 100}} {
		for _, scale := range []float64{1e-150, 1, 1e150} {
			m := mat.NewDense(n[0], n[1], drawn(rng, n[0]*n[1]))
			m.Scale(scale, m)
			want := norm(t, m)
			got := spectra.Norm(gemm.Of(m.RawMatrix().Data, n[0], n[1]))
			assert.GreaterOrEqual(t, got, want*(1-1e-14), n)
			assert.InEpsilon(t, want, got, 1e-8, n)
		}
	}
	for _, gap := range []float64{0, 1e-15, 1e-9, 1e-3} {
		q, d := mat.NewDense(20, 20, rotation(rng, 20)), mat.NewDiagDense(20, nil)
		for i := range 20 {
			d.SetDiag(i, 1-gap*float64(i))
		}
		var m mat.Dense
		m.Product(q, d, q.T())
		got := spectra.Norm(gemm.Of(m.RawMatrix().Data, 20, 20))
		assert.GreaterOrEqual(t, got, 1-1e-14)
		assert.InDelta(t, 1, got, 1e-8)
	}
	assert.Zero(t, spectra.Norm(gemm.Of(make([]float64, 6), 2, 3)))
}

func BenchmarkBound(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, channels := range []int{16, 32, 64, 128} {
		b.Run(fmt.Sprint(channels), func(b *testing.B) {
			a := axis(32, 3, 1, 1, 1, false)
			c := spectra.Conv{Filters: channels, Channels: channels, Groups: 1, Rows: a, Cols: a, Weights: drawn(rng, channels*channels*9)}
			for b.Loop() {
				c.Bound(0.01)
			}
		})
	}
}

// The bound at a peak is an upper bound, and its gradient agrees with finite differences.
func TestPeak(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 11))
	for _, shape := range [][3]int{{3, 2, 3}, {2, 4, 3}, {4, 4, 1}, {2, 2, 5}, {1, 1, 3}} {
		k := shape[2]
		c := spectra.Conv{Filters: shape[0], Channels: shape[1], Groups: 1, Rows: axis(9, k, 1, 1, k/2, false), Cols: axis(9, k, 1, 1, k/2, false),
			Weights: drawn(rng, shape[0]*shape[1]*k*k)}
		p := c.Peak(0.05)
		assert.GreaterOrEqual(t, p.Bound, norm(t, operator(c)))
		fine := c.Bound(1e-3)
		assert.GreaterOrEqual(t, p.Bound, fine/1.0011)
		assert.LessOrEqual(t, p.Bound, 1.052*fine)
		for i := 0; i < len(c.Weights); i += 5 {
			const h = 1e-6
			d := c
			d.Weights = slices.Clone(c.Weights)
			d.Weights[i] += h
			after := d.Peak(0.05).Bound
			d.Weights[i] -= 2 * h
			assert.InDelta(t, (after-d.Peak(0.05).Bound)/(2*h), p.Factor*p.Gradient[i], 1e-7, "%v: weight %d", shape, i)
		}
	}
}
