// SPDX-License-Identifier: Apache-2.0

// Package winograd has the transforms of the minimal filtering algorithm F(4x4, 3x3), which computes
// 4 x 4 results of a 3 x 3 convolution with 36 multiplications instead of 144 (Winograd 1980; Lavin
// and Gray, CVPR 2016):
//
//	Y = A^T [ (G g G^T) .* (B^T d B) ] A,
//
// where g is a filter, d the 6 x 6 pixels under it, and .* the product of elements. Summed over
// channels, the products of elements are 36 matrix products.
//
// A, B and G interpolate polynomials at 0, 3/4, -3/4, 3/2, -3/2 and infinity. The usual points 0, 1, -1,
// 2, -2 lose three to five times as much accuracy, because the sizes of their powers differ more.
// All entries of A and B are exact in float32.
//
// The channels of a pixel must lie next to each other, so that a transform is a sequence of sums of
// vectors. Transforms exist in float32 only.
package winograd

import "github.com/kernelfold/kernelfold/internal/cpu"

// The points of interpolation are 0, p, -p, q, -q and infinity.
const (
	p = 0.75
	q = 1.5
)

// Sizes of blocks.
const (
	Kernel = 3 // of filters
	Tile   = 4 // of results
	Window = 6 // of pixels under a tile
	Area   = Window * Window
)

// Grid says where the elements of blocks of vectors lie: element (i, j) of block b begins at
// At + b*Next + i*Row + j*Col.
type Grid struct{ At, Next, Row, Col int }

func (g Grid) offset(b, i, j int) int { return g.At + b*g.Next + i*g.Row + j*g.Col }

// span returns the first and the last index in use, for blocks of size x size vectors of n elements.
func (g Grid) span(blocks, size, n int) (first, last int) {
	first = g.At
	last = g.At + n - 1
	for _, d := range [3]int{(blocks - 1) * g.Next, (size - 1) * g.Row, (size - 1) * g.Col} {
		first, last = first+min(d, 0), last+max(d, 0)
	}
	return first, last
}

// Lanes divides the number of elements of vectors that have assembly at every level.
const Lanes = 16

// Image sets V = B^T d B, from 6 x 6 to 6 x 6, for the given number of blocks of vectors of n
// elements.
func Image(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	apply(image, dst, to, src, from, blocks, n)
}

// Filter sets U = G g G^T, from 3 x 3 to 6 x 6.
func Filter(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	apply(filter, dst, to, src, from, blocks, n)
}

// Result sets Y = A^T M A, from 6 x 6 to 4 x 4.
func Result(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	apply(result, dst, to, src, from, blocks, n)
}

// ResultBack sets M = A Y A^T, from 4 x 4 to 6 x 6. It is the adjoint of Result.
func ResultBack(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	apply(resultBack, dst, to, src, from, blocks, n)
}

// FilterBack sets g = G^T U G, from 6 x 6 to 3 x 3. It is the adjoint of Filter.
func FilterBack(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	apply(filterBack, dst, to, src, from, blocks, n)
}

// transform is one of the five maps of a block, made of a map of its columns and the same map of the
// rows of what comes out.
type transform struct {
	from, to int // sizes of blocks
	line     func(x [Window]float32) [Window]float32
	assembly func(dst []float32, toNext, toRow, toCol int, src []float32, fromNext, fromRow, fromCol int, blocks, n int) (done bool)
}

// Fast reports whether the transforms have assembly with the instructions in use.
func Fast() bool { return cpu.Use != cpu.Portable }

func apply(t *transform, dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	if blocks < 1 || n < 1 {
		return
	}
	first, last := from.span(blocks, t.from, n)
	_, _ = src[first], src[last]
	first, last = to.span(blocks, t.to, n)
	_, _ = dst[first], dst[last]
	if !Fast() || n%(cpu.Use.Bytes()/4) != 0 || !t.assembly(dst[to.At:], to.Next, to.Row, to.Col, src[from.At:], from.Next, from.Row, from.Col, blocks, n) {
		t.portable(dst, to, src, from, blocks, n)
	}
}

// portable specifies the assembly.
func (t *transform) portable(dst []float32, to Grid, src []float32, from Grid, blocks, n int) {
	var half [Window][Window]float32 // columns of the block are mapped, its rows are not yet
	var x, y [Window]float32
	for b := range blocks {
		for e := range n {
			for j := range t.from {
				for i := range t.from {
					x[i] = src[from.offset(b, i, j)+e]
				}
				y = t.line(x)
				for i := range t.to {
					half[i][j] = y[i]
				}
			}
			for i := range t.to {
				y = t.line(half[i])
				for j := range t.to {
					dst[to.offset(b, i, j)+e] = y[j]
				}
			}
		}
	}
}

var (
	image      = &transform{from: Window, to: Window, line: imageLine, assembly: imageKernel}
	filter     = &transform{from: Kernel, to: Window, line: filterLine, assembly: filterKernel}
	result     = &transform{from: Window, to: Tile, line: resultLine, assembly: resultKernel}
	resultBack = &transform{from: Tile, to: Window, line: resultBackLine, assembly: resultBackKernel}
	filterBack = &transform{from: Window, to: Kernel, line: filterBackLine, assembly: filterBackKernel}
)

// imageLine multiplies by B^T. Its rows are the coefficients of the polynomials that vanish at all
// points but one. Those of p and -p have the same even part and opposite odd parts.
func imageLine(x [Window]float32) (y [Window]float32) {
	y[0] = x[4] - (p*p+q*q)*x[2] + p*p*q*q*x[0]
	even, odd := x[4]-q*q*x[2], x[3]-q*q*x[1]
	y[1], y[2] = even+p*odd, even-p*odd
	even, odd = x[4]-p*p*x[2], x[3]-p*p*x[1]
	y[3], y[4] = even+q*odd, even-q*odd
	y[5] = x[5] - (p*p+q*q)*x[3] + p*p*q*q*x[1]
	return y
}

// The polynomials of imageLine at their own points.
const (
	at0 = p * p * q * q
	atP = 2 * p * p * (p*p - q*q)
	atQ = 2 * q * q * (q*q - p*p)
)

// filterLine multiplies by G, which evaluates the filter at the points and divides by the values of
// the polynomials there.
func filterLine(x [Window]float32) (y [Window]float32) {
	y[0] = x[0] * (1 / at0)
	even, odd := x[0]*(1/atP)+x[2]*(p*p/atP), x[1]*(p/atP)
	y[1], y[2] = even+odd, even-odd
	even, odd = x[0]*(1/atQ)+x[2]*(q*q/atQ), x[1]*(q/atQ)
	y[3], y[4] = even+odd, even-odd
	y[5] = x[2]
	return y
}

// resultLine multiplies by A^T, whose rows are powers of the points.
func resultLine(x [Window]float32) (y [Window]float32) {
	sumP, difP, sumQ, difQ := x[1]+x[2], x[1]-x[2], x[3]+x[4], x[3]-x[4]
	y[0] = x[0] + sumP + sumQ
	y[1] = p*difP + q*difQ
	y[2] = p*p*sumP + q*q*sumQ
	y[3] = x[5] + p*p*p*difP + q*q*q*difQ
	return y
}

// resultBackLine multiplies by A.
func resultBackLine(x [Window]float32) (y [Window]float32) {
	y[0] = x[0]
	even, odd := x[0]+p*p*x[2], p*x[1]+p*p*p*x[3]
	y[1], y[2] = even+odd, even-odd
	even, odd = x[0]+q*q*x[2], q*x[1]+q*q*q*x[3]
	y[3], y[4] = even+odd, even-odd
	y[5] = x[3]
	return y
}

// filterBackLine multiplies by G^T.
func filterBackLine(x [Window]float32) (y [Window]float32) {
	sumP, difP, sumQ, difQ := x[1]+x[2], x[1]-x[2], x[3]+x[4], x[3]-x[4]
	y[0] = x[0]*(1/at0) + sumP*(1/atP) + sumQ*(1/atQ)
	y[1] = difP*(p/atP) + difQ*(q/atQ)
	y[2] = x[5] + sumP*(p*p/atP) + sumQ*(q*q/atQ)
	return y
}
