// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/spectra"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// ConvSpectralNorm returns v divided by an upper bound of the largest singular value of the convolution with it, so that the convolution is 1-Lipschitz, for zero and circular
// padding, any strides and any dilation:
//
//	w = v / b,   |v| <= b <= (1 + slack + 0.001) |v|,
//
// where |v| is the norm of the convolution on an infinite image without strides. SpectralNorm divides by the largest singular value of the filter bank, which bounds the
// convolution up to a factor of sqrt(height width) only, and estimates it from below. b is the largest singular value of the symbol on a grid of
// frequencies, times a constant factor (see docs/certificates.md), and is proved to be a bound. So the gradient,
// which is exact, is that of this singular value:
//
//	dL/dv = G/b - <G, v>/b^2 db/dv,   for the gradient G with respect to w.
//
// With w in ConvexPotential the layer is a convex potential layer (Meunier et al. 2022), without power iterations and state. The time of a
// run grows with the third power of the filters. v has shape (out, in, height, width).
//
// ConvSpectralNorm returns an error for another rank and for a slack that is not positive. A run fails if v is 0 or not finite.
func ConvSpectralNorm(v *gorgonia.Node, slack float64) (*gorgonia.Node, error) {
	const name = "nodes.ConvSpectralNorm"
	shapes, err := admit(name, []int{4}, v)
	if err != nil {
		return nil, err
	}
	if !(slack > 0) || !finite(slack) {
		return nil, fmt.Errorf("%s: want a positive slack, got %v", name, slack)
	}
	k := shapes[0]
	l := operatorNorm{filters: k[0], channels: k[1], rows: k[2], cols: k[3], slack: slack, last: &peak{}}
	s := signature{name: name, in: shapes, out: k}
	f32, f64 := convNorm[float32]{l}, convNorm[float64]{l}
	if err := computeEarly(s, f32, f64, v); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, v)
}

type operatorNorm struct {
	filters, channels, rows, cols int
	slack                         float64
	last                          *peak
}

// peak is that of the last run, which the gradient of that run needs.
type peak struct{ spectra.Peak }

type convNorm[T vec.Float] struct{ operatorNorm }

func (c convNorm[T]) Forward(out []T, in [][]T) error {
	v := in[0]
	if i, x := dense.NotFinite(v); i >= 0 {
		return notFinite("weight %d: want a finite number, got %v", i, x)
	}
	if vec.MaxAbs(v) == 0 {
		return fmt.Errorf("want a kernel that is not 0, got 0")
	}
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	along := func(kernel int) spectra.Axis {
		return spectra.Axis{Size: kernel, Kernel: kernel, Stride: 1, Dilation: 1, Out: 1}
	}
	c.last.Peak = spectra.Conv{Filters: c.filters, Channels: c.channels, Groups: 1, Rows: along(c.rows), Cols: along(c.cols), Weights: w}.Peak(c.slack)
	for i, x := range w {
		out[i] = T(x / c.last.Bound)
	}
	return nil
}

func (c convNorm[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	p := c.last.Peak
	along := vec.Dot(grad, in[0]) / p.Bound * p.Factor
	for i, g := range grad {
		dst[i] = T((float64(g) - along*p.Gradient[i]) / p.Bound)
	}
	return nil
}
