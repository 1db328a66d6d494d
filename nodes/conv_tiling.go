// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/internal/winograd"
)

// tiling is a convolution with 3 x 3 filters, without strides, in tiles of 4 x 4 results. Package
// winograd transforms tiles and filters; for each of the 36 elements of a transformed tile there is a
// matrix product, whose left factor has a row for each tile and a column for each input.
//
// The transforms take the channels of a pixel as one vector, so images are transposed, a few rows at
// a time.
type tiling struct {
	batch, inputs, outputs int
	rows, cols             span
	turned                 bool // filters are transposed and rotated by half a turn
}

// span is the geometry of a tiling along rows or columns: sizes of the image, of the padding before it
// and of the result. Around the image are zeros or, in a circular span, its repetitions.
type span struct {
	size, pad, out int
	circular       bool
}

func (s span) tiles() int { return (s.out + winograd.Tile - 1) / winograd.Tile }

const kernelArea = winograd.Kernel * winograd.Kernel

// planes are 36 matrices, for the elements of transformed tiles.
type planes struct {
	data           []float32
	cols, distance int
}

// planesOf returns the geometry of matrices of rows x cols. They lie an odd number of cache lines
// apart, because a transform writes to all of them at once and should not need the same set of the
// cache for all.
func planesOf(rows, cols int) planes {
	const line = 16
	return planes{cols: cols, distance: ((rows*cols+line-1)/line | 1) * line}
}

func (p *planes) size() int { return winograd.Area * p.distance }

// matrix returns the first rows of matrix k.
func (p *planes) matrix(k, rows int) gemm.Mat[float32] {
	return gemm.Of(p.data[k*p.distance:], rows, p.cols)
}

// grid says where the transforms of tiles from tile on are.
func (p *planes) grid(tile int) winograd.Grid {
	return winograd.Grid{At: tile * p.cols, Next: p.cols, Row: winograd.Window * p.distance, Col: p.distance}
}

// strip is a few rows of an image with padding, with the channels of a pixel next to each other.
type strip struct {
	data             []float32
	channels, height int
	pitch            int // elements from row to row
	rows, cols       span
	image, tile      int // whose rows are stored
}

func stripOf(channels, height int, rows, cols span) strip {
	return strip{channels: channels, height: height, pitch: (cols.tiles()*winograd.Tile + height - winograd.Tile) * channels, rows: rows, cols: cols, image: -1}
}

func (s *strip) size() int { return s.height * s.pitch }

// load stores the rows under a row of tiles of an image.
func (s *strip) load(src []float32, image, tile int) {
	known := 0
	if image == s.image && tile == s.tile+1 {
		known = copy(s.data, s.data[winograd.Tile*s.pitch:s.size()]) / s.pitch
	}
	s.image, s.tile = image, tile
	for i := known; i < s.height; i++ {
		row := s.data[i*s.pitch:][:s.pitch]
		y := tile*winograd.Tile + i - s.rows.pad
		if s.rows.circular {
			y = modulo(y, s.rows.size)
		}
		if y < 0 || y >= s.rows.size {
			clear(row)
			continue
		}
		n := min(s.cols.size, s.pitch/s.channels-s.cols.pad)
		from := src[(image*s.channels*s.rows.size+y)*s.cols.size:]
		gemm.Transpose(row[s.cols.pad*s.channels:], s.channels, from, s.rows.size*s.cols.size, s.channels, n)
		if s.cols.circular {
			repeat(row, s.channels, s.cols.pad, n)
		}
	}
}

// repeat fills a row of pixels with repetitions of the n pixels from first on.
func repeat(row []float32, channels, first, n int) {
	for x := range len(row) / channels {
		if x < first || x >= first+n {
			copy(row[x*channels:][:channels], row[(first+modulo(x-first, n))*channels:])
		}
	}
}

// store writes the rows of a row of tiles to an image of dst, without what lies beyond it.
func (s *strip) store(dst []float32, image, tile int) {
	y := tile * winograd.Tile
	n, width, area := min(winograd.Tile, s.rows.out-y), s.cols.out, s.rows.out*s.cols.out
	to := dst[image*s.channels*area+y*width:]
	if s.pitch == width*s.channels {
		gemm.Transpose(to, area, s.data, s.channels, n*width, s.channels)
		return
	}
	for i := range n {
		gemm.Transpose(to[i*width:], area, s.data[i*s.pitch:], s.channels, width, s.channels)
	}
}

// grid says where the tiles of a strip are.
func (s *strip) grid() winograd.Grid {
	return winograd.Grid{Next: winograd.Tile * s.channels, Row: s.pitch, Col: s.channels}
}

// tiles is the work space of a goroutine, for some rows of tiles.
type tiles struct {
	*tiling
	memory        []float32
	image, result strip
	left, right   planes
}

var spare = sync.Pool{New: func() any { return new(tiles) }}

// back returns tiles, which must not be used afterwards.
func (s *tiles) back() {
	scratch.Put(s.memory)
	*s = tiles{}
	spare.Put(s)
}

func (t *tiling) tiles(rows int) *tiles {
	n := rows * t.cols.tiles()
	s := spare.Get().(*tiles)
	*s = tiles{
		tiling: t, left: planesOf(n, t.inputs), right: planesOf(n, t.outputs),
		image: stripOf(t.inputs, winograd.Window, t.rows, t.cols),
		// The image that a gradient of the result is.
		result: stripOf(t.outputs, winograd.Tile, span{size: t.rows.out, out: t.rows.out}, span{size: t.cols.out, out: t.cols.out}),
	}
	s.memory = scratch.Get[float32](s.image.size() + s.result.size() + s.left.size() + s.right.size())
	rest := s.memory
	for _, part := range []struct {
		data *[]float32
		size int
	}{{&s.image.data, s.image.size()}, {&s.result.data, s.result.size()}, {&s.left.data, s.left.size()}, {&s.right.data, s.right.size()}} {
		*part.data, rest = rest[:part.size], rest[part.size:]
	}
	clear(s.image.data)
	clear(s.result.data)
	return s
}

// images sets the left factors to the transforms of rows from..to of tiles of all images.
func (s *tiles) images(src []float32, from, to int) {
	down, across := s.rows.tiles(), s.cols.tiles()
	for r := from; r < to; r++ {
		s.image.load(src, r/down, r%down)
		winograd.Image(s.left.data, s.left.grid((r-from)*across), s.image.data, s.image.grid(), across, s.inputs)
	}
}

// results writes the rows of tiles whose transforms are the products, and calls finish for each row. It
// reports whether all are finite.
func (s *tiles) results(dst []float32, from, to int, finish func(region)) bool {
	down, across := s.rows.tiles(), s.cols.tiles()
	ok := true
	for r := from; r < to; r++ {
		winograd.Result(s.result.data, s.result.grid(), s.right.data, s.right.grid((r-from)*across), across, s.outputs)
		s.result.store(dst, r/down, r%down)
		ok = ok && allFinite(s.result.data)
		y := r % down * winograd.Tile
		finish(region{r / down, r/down + 1, 0, s.outputs, y * s.cols.out, min(y+winograd.Tile, s.rows.out) * s.cols.out})
	}
	return ok
}

// gradients sets the right factors to the transforms of rows from..to of tiles of the gradient.
func (s *tiles) gradients(grad []float32, from, to int) {
	down, across := s.rows.tiles(), s.cols.tiles()
	for r := from; r < to; r++ {
		s.result.load(grad, r/down, r%down)
		winograd.ResultBack(s.right.data, s.right.grid((r-from)*across), s.result.data, s.result.grid(), across, s.outputs)
	}
}

// tileRun holds what the cores share while convolve runs. It comes from a pool, because functions that captured all of it would be allocated in each
// run.
type tileRun struct {
	*tiling
	dst, src, w []float32
	finish      func(region)
	transposed  []float32 // the filters, of shape (inputs, 3, 3, outputs)
	filters     planes    // their transforms, in panels for products
	all, block  int       // rows of tiles: all, and those whose products are made at once
	spoilt      atomic.Bool
}

var spareRuns = sync.Pool{New: func() any { return new(tileRun) }}

// convolve writes the convolution of src and w to dst, and calls finish for each region of it. It reports
// whether all results are finite.
func (t *tiling) convolve(dst, src, w []float32, finish func(region)) bool {
	c := spareRuns.Get().(*tileRun)
	c.tiling, c.dst, c.src, c.w, c.finish = t, dst, src, w, finish
	c.all = t.batch * t.rows.tiles()
	cores := runtime.GOMAXPROCS(0)
	c.block = min(t.block(), (c.all+cores-1)/cores)

	width := gemm.PanelWidth[float32]()
	c.filters = planesOf((t.outputs+width-1)/width*t.inputs, width)
	c.filters.data = scratch.Get[float32](c.filters.size())
	c.transposed = scratch.Get[float32](len(w))
	par.Ranges(t.inputs, 1+grain/(winograd.Area*t.outputs), c.transform)
	scratch.Put(c.transposed)
	par.Ranges((c.all+c.block-1)/c.block, 1, c.blocks)
	scratch.Put(c.filters.data)
	ok := !c.spoilt.Load()
	*c = tileRun{}
	spareRuns.Put(c)
	return ok
}

// transform makes the transforms of the filters for a range of inputs.
func (c *tileRun) transform(first, last int) {
	width, n := c.filters.cols, kernelArea*c.outputs
	from := winograd.Grid{At: first * n, Next: n, Row: winograd.Kernel * c.outputs, Col: c.outputs}
	if c.turned { // w has shape (inputs, outputs, 3, 3)
		for i := first; i < last; i++ {
			gemm.Transpose(c.transposed[i*n:], c.outputs, c.w[i*n:], kernelArea, c.outputs, kernelArea)
		}
		from.At, from.Row, from.Col = from.At+n-c.outputs, -from.Row, -from.Col
	} else {
		gemm.Transpose(c.transposed[first*n:], c.outputs, c.w[first*kernelArea:], c.inputs*kernelArea, c.outputs, (last-first)*kernelArea)
	}
	for j := 0; j < c.outputs; j += width {
		winograd.Filter(c.filters.data, c.filters.grid(j/width*c.inputs+first), c.transposed, from, last-first, min(width, c.outputs-j))
		from.At += width
	}
}

// blocks computes a range of blocks of the result.
func (c *tileRun) blocks(first, last int) {
	s := c.tiles(c.block)
	defer s.back()
	for i := first; i < last; i++ {
		from, to := i*c.block, min(c.all, (i+1)*c.block)
		s.images(c.src, from, to)
		n := (to - from) * c.cols.tiles()
		for k := range winograd.Area {
			gemm.MulPanels(s.right.matrix(k, n), s.left.matrix(k, n), c.filters.data[k*c.filters.distance:])
		}
		if !s.results(c.dst, from, to, c.finish) {
			c.spoilt.Store(true)
		}
	}
}

// block returns the number of rows of tiles whose products are made at once. Their factors should
// stay in the second-level cache, but the filters are read once for each block.
func (t *tiling) block() int {
	const bytes, least = 600 << 10, 32
	return max(1, max(least, bytes/(4*winograd.Area*(t.inputs+t.outputs)))/t.cols.tiles())
}

// correlate writes the gradient with respect to the filters to dst, from that with respect to the
// result. It sums over parts of the batch concurrently, and then adds up these sums in a fixed
// order. It reports whether all results are finite.
func (t *tiling) correlate(dst, src, grad []float32) bool {
	const most = 1 << 25 // limit of the elements of sums
	sum := planesOf(t.inputs, t.outputs)
	rows := t.batch * t.rows.tiles()
	parts := max(1, min(runtime.GOMAXPROCS(0), rows, most/sum.size()))
	sums := scratch.Get[float32](parts * sum.size())
	block := t.block()
	par.Do(parts, func(part int) {
		sum := sum
		sum.data = sums[part*sum.size():][:sum.size()]
		s := t.tiles(block)
		first, last := part*rows/parts, (part+1)*rows/parts
		for from := first; from < last; from += block {
			to, beta := min(last, from+block), 1.0
			if from == first {
				beta = 0
			}
			s.images(src, from, to)
			s.gradients(grad, from, to)
			n := (to - from) * t.cols.tiles()
			for k := range winograd.Area {
				gemm.Mul(sum.matrix(k, t.inputs), 1, s.left.matrix(k, n).T(), s.right.matrix(k, n), beta)
			}
		}
		s.back()
	})
	par.Ranges(sum.size(), grain, func(from, to int) {
		for part := 1; part < parts; part++ {
			vec.Add(sums[from:to], sums[part*sum.size()+from:part*sum.size()+to])
		}
	})
	turned := scratch.Get[float32](len(dst))
	n := kernelArea * t.outputs
	par.Ranges(t.inputs, 1+grain/(winograd.Area*t.outputs), func(from, to int) {
		grid := winograd.Grid{At: from * n, Next: n, Row: winograd.Kernel * t.outputs, Col: t.outputs}
		winograd.FilterBack(turned, grid, sums, sum.grid(from), to-from, t.outputs)
		gemm.Transpose(dst[from*kernelArea:], t.inputs*kernelArea, turned[from*n:], t.outputs, (to-from)*kernelArea, t.outputs)
	})
	scratch.Put(turned)
	scratch.Put(sums)
	return allFinite(dst)
}
