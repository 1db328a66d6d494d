// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"
	"sync/atomic"

	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/internal/winograd"
)

var directOnly atomic.Bool

// Winograd sets whether convolutions that are made from now on may use Winograd's algorithm
// F(4x4, 3x3), as they do by default, and returns the setting before. The algorithm needs a quarter of
// the multiplications. It is used in float32, for kernels of 3 x 3 without strides, dilation and groups,
// for numbers of channels and filters that are multiples of 16, where it was measured to be faster.
//
// A rounding error is relative to the largest sum of |x||w| in a tile of 4 x 4 results, not to the result
// itself. In the tests the largest error is at most ten times that of a direct convolution. Sums with
// few terms, as those of sparse images, are an exception: their direct computation has almost no error.
//
// Where a result would not be finite, everything is computed directly, so overflow, NaN and Inf are
// those of a direct convolution.
//
// This makes all convolutions of a function direct:
//
//	defer nodes.Winograd(nodes.Winograd(false))
func Winograd(on bool) (before bool) { return !directOnly.Swap(!on) }

// tiled is a convolution by Winograd's algorithm, or directly where a tiling is nil.
type tiled struct {
	conv[float32]
	value, images, kernels *tiling
}

// newTiled returns the body of a convolution in float32.
func newTiled(p *convPlan, rows, cols axis) twoWay[float32] {
	direct := newConv[float32](p)
	if directOnly.Load() || !winograd.Fast() || !tileable(p, rows, cols) {
		return direct
	}
	t := tilings(direct, rows, cols)
	value := t.value.used()
	if p.batch*p.pixelsOut < fewPixels || value < 0.5 {
		t.value = nil
	}
	if t.images != nil && (p.batch*p.pixelsIn < fewPixels || t.images.used() < 0.5) {
		t.images = nil
	}
	if p.batch*p.pixelsOut < fewPixels || value < 0.75 || p.channels*p.filters < fewFilters {
		t.kernels = nil
	}
	if t.value == nil && t.images == nil && t.kernels == nil {
		return direct
	}
	return t
}

// With fewer pixels in the whole batch, or if fewer than half of the pixels of tiles are results, the
// transforms take longer than the products save; docs/benchmarks.md has the measurements. The gradient with
// respect to the filters needs more transforms, so it pays off only from three quarters on and for larger
// products.
const (
	fewPixels  = 512
	fewFilters = 512
)

// used returns the share of the pixels of tiles that are results.
func (t *tiling) used() float64 {
	tile := func(s span) float64 { return float64(s.out) / float64(s.tiles()*winograd.Tile) }
	return tile(t.rows) * tile(t.cols)
}

// tilings returns a body that uses the algorithm for everything.
func tilings(direct conv[float32], rows, cols axis) tiled {
	p := direct.convPlan
	value := &tiling{
		batch: p.batch, inputs: p.channels, outputs: p.filters,
		rows: span{rows.size, rows.pad, rows.out, rows.circular}, cols: span{cols.size, cols.pad, cols.out, cols.circular},
	}
	images := &tiling{
		batch: p.batch, inputs: p.filters, outputs: p.channels, turned: true,
		rows: span{rows.out, 2 - rows.pad, rows.size, rows.circular}, cols: span{cols.out, 2 - cols.pad, cols.size, cols.circular},
	}
	if rows.folds() || cols.folds() {
		images = nil
	}
	return tiled{direct, value, images, value}
}

// tileable reports whether the algorithm can compute a convolution, with the assembly of the
// transforms.
func tileable(p *convPlan, rows, cols axis) bool {
	for _, a := range []axis{rows, cols} {
		if a.kernel != winograd.Kernel || a.stride != 1 || a.dilation != 1 || a.pad > 2 {
			return false
		}
	}
	return p.groups == 1 && p.channels%winograd.Lanes == 0 && p.filters%winograd.Lanes == 0
}

// Forward computes the value.
func (c tiled) Forward(out []float32, in [][]float32) error {
	c.Convolve(out, in[0], in[1], func(region) {})
	return nil
}

// Convolve is that of a convolver. Where results are not finite, it computes and finishes all of them
// again.
func (c tiled) Convolve(out, x, w []float32, finish func(region)) {
	if c.value == nil || !c.value.convolve(out, x, w, finish) {
		c.conv.Convolve(out, x, w, finish)
	}
}

// Transpose is that of a twoWay.
func (c tiled) Transpose(dst, grad, w []float32, finish func(region)) {
	if c.images == nil || !c.images.convolve(dst, grad, w, finish) {
		c.conv.Transpose(dst, grad, w, finish)
	}
}

// Backward computes the gradient with respect to the images or the filters.
func (c tiled) Backward(dst []float32, i int, in [][]float32, out, grad []float32) error {
	switch {
	case i == 0:
		c.Transpose(dst, grad, in[1], func(region) {})
	case i == 1 && c.kernels != nil && c.kernels.correlate(dst, in[0], grad):
	default:
		return c.conv.Backward(dst, i, in, out, grad)
	}
	return nil
}

func allFinite(x []float32) bool { return vec.MaxAbs(x) <= math.MaxFloat32 }
