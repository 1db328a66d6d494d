// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Householder reflects pairs of channels that lie on one side of a line. With a = x[b,c,...], p = x[b,c+C/2,...] and
// the angle θ of channel c < C/2, the pair (a, p) becomes
//
//	(a, p)                                   where a sin(θ/2) - p cos(θ/2) >= 0,
//	(a cos θ + p sin θ, a sin θ - p cos θ)   elsewhere.
//
// The second case is the reflection I - 2 v v' at the line orthogonal to v = (sin(θ/2), -cos(θ/2)), so results lie on
// one side of that line (Singla, Singla and Feizi 2022, order 1). Like MaxMin, which is the case θ = π/2, it is
// continuous, 1-Lipschitz in the 2-norm, and preserves the norm of gradients; the angles are learnt.
//
// x has shape (B, C) or (B, C, H, W) with an even C, and angle (1, C/2) or (1, C/2, 1, 1). The
// gradients with respect to x and angle are exact. Wrong shapes are errors.
func Householder(x, angle *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Householder"
	shapes, err := admit(name, []int{0, 0}, x, angle)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if len(in) != 2 && len(in) != 4 {
		return nil, fmt.Errorf("%s: want rank 2 or 4, got shape %v", name, in)
	}
	h, err := halvesOf(name, in)
	if err != nil {
		return nil, err
	}
	want := perChannel(in)
	want[1] = h.pairs
	if !slices.Equal(shapes[1], want) {
		return nil, fmt.Errorf("%s: want angles of shape %v for an input of shape %v, got %v", name, want, in, shapes[1])
	}
	return apply(signature{name: name, in: shapes, out: in}, householder[float32]{h}, householder[float64]{h}, x, angle)
}

type householder[T vec.Float] struct{ halves }

// reflection is that of a pair of channels.
type reflection[T vec.Float] struct{ sin, cos, sinHalf, cosHalf T }

func reflectionOf[T vec.Float](θ T) reflection[T] {
	sin, cos := math.Sincos(float64(θ))
	sinHalf, cosHalf := math.Sincos(float64(θ) / 2)
	return reflection[T]{T(sin), T(cos), T(sinHalf), T(cosHalf)}
}

// moves reports whether a pair is reflected.
func (r reflection[T]) moves(a, p T) bool { return a*r.sinHalf < p*r.cosHalf }

func (r reflection[T]) of(a, p T) (T, T) { return a*r.cos + p*r.sin, a*r.sin - p*r.cos }

// planes calls f, concurrently, for the elements of each channel of the first half, which are paired with those step
// further.
func (h householder[T]) planes(angle []T, f func(r reflection[T], first, step int)) {
	step := h.pairs * h.area
	all := make([]reflection[T], h.pairs) // once for all examples: sines take long
	for c, θ := range angle {
		all[c] = reflectionOf(θ)
	}
	par.Ranges(h.examples*h.pairs, 1+grain/h.area, func(from, to int) {
		for i := from; i < to; i++ {
			b, c := i/h.pairs, i%h.pairs
			f(all[c], 2*b*step+c*h.area, step)
		}
	})
}

func (h householder[T]) Forward(out []T, in [][]T) error {
	h.planes(in[1], func(r reflection[T], first, step int) {
		a, p := in[0][first:][:h.area], in[0][first+step:][:h.area]
		y, z := out[first:][:h.area], out[first+step:][:h.area]
		for i, u := range a {
			v := p[i]
			if r.moves(u, v) {
				u, v = r.of(u, v)
			}
			y[i], z[i] = u, v
		}
	})
	return nil
}

func (h householder[T]) Backward(dst []T, input int, in [][]T, _, grad []T) error {
	if input == 1 {
		h.angles(dst, in[0], in[1], grad)
		return nil
	}
	h.planes(in[1], func(r reflection[T], first, step int) {
		a, p := in[0][first:][:h.area], in[0][first+step:][:h.area]
		dy, dz := grad[first:][:h.area], grad[first+step:][:h.area]
		da, dp := dst[first:][:h.area], dst[first+step:][:h.area]
		for i, u := range dy {
			v := dz[i]
			if r.moves(a[i], p[i]) {
				u, v = r.of(u, v) // a reflection is symmetric
			}
			da[i], dp[i] = u, v
		}
	})
	return nil
}

// angles writes the gradient with respect to the angles. Where a pair is reflected to (y, z), d(y, z)/dθ = (-z, y).
func (h householder[T]) angles(dst, x, angle, grad []T) {
	step := h.pairs * h.area
	par.Ranges(h.pairs, 1+grain/(h.area*h.examples), func(from, to int) {
		for c := from; c < to; c++ {
			r, sum := reflectionOf(angle[c]), 0.0
			for b := range h.examples {
				first := 2*b*step + c*h.area
				a, p := x[first:][:h.area], x[first+step:][:h.area]
				dy, dz := grad[first:][:h.area], grad[first+step:][:h.area]
				for i, u := range a {
					if r.moves(u, p[i]) {
						y, z := r.of(u, p[i])
						sum += float64(dz[i])*float64(y) - float64(dy[i])*float64(z)
					}
				}
			}
			dst[c] = T(sum)
		}
	})
}
