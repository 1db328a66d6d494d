// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Panels is a matrix A packed once for many products, for the instructions that cpu.Use names at
// that time, or a view of a matrix.
type Panels[T vec.Float] struct {
	r, c   int
	data   []T // packed
	viewed []T // or not: row-major
}

// Pack packs alpha A, in memory that is lent until Release.
func (p *Panels[T]) Pack(alpha float64, a Mat[T]) {
	n := a.R*a.C + slack
	if cap(p.data) < n {
		p.Release()
		p.data = scratch.Get[T](n)
	}
	p.r, p.c, p.data, p.viewed = a.R, a.C, p.data[:n], nil
	packRows(p.data, T(alpha), a)
}

// Release gives the memory back, or the matrix that is viewed.
func (p *Panels[T]) Release() {
	if p.data != nil {
		scratch.Put(p.data)
	}
	*p = Panels[T]{}
}

// View makes products read A, a row-major r x c matrix, where it lies, with the same bits. To pack a
// large matrix for one product of few columns can take longer than the product.
func (p *Panels[T]) View(a []T, r, c int) { p.r, p.c, p.viewed = r, c, a[:r*c] }

// panel returns the rows from..to-1 of A, and the strides of its rows and columns.
func (p *Panels[T]) panel(from, to int) (a []T, rs, cs int) {
	if p.viewed != nil {
		return p.viewed[from*p.c:], p.c, 1
	}
	return p.data[from*p.c:], 1, to - from
}

// Slack is the number of elements beyond the last one of a patch that must exist, because they may
// be read. Their values do not matter and may be NaN.
const Slack = 64

// Patches is a matrix B of len(At) rows that is not stored: its rows are patches of
// an image. Element (k, j), j from 0 to Rows*Width-1, is
//
//	Data[At[k] + j/Width*Pitch + j%Width].
//
// A convolution is a product with such a matrix: it has one row for each tap of the kernel, and At
// is the offset of the input under that tap for the first output pixel.
type Patches[T vec.Float] struct {
	Data               []T
	At                 []int
	Rows, Width, Pitch int
}

// MulPatches sets C = A B, or adds A B to C. The columns of C have stride 1. It is
// deterministic, and runs on the goroutine that calls it.
func MulPatches[T vec.Float](c Mat[T], a *Panels[T], b Patches[T], add bool) {
	if c.CS != 1 || c.R != a.r || a.c != len(b.At) || c.C != b.Rows*b.Width {
		panic("gemm: shapes do not match")
	}
	switch {
	case c.R == 0 || c.C == 0:
		return
	case len(b.At) == 0:
		if !add {
			c.scale(0)
		}
		return
	}
	first, last := b.span()
	_ = b.Data[first : last+tileWidth[T]()]
	m := patchwork[T]{tiling: tilingOf(&b), c: c, a: a, b: &b, panels: panelsOf[T](c.R)}
	if add {
		m.mode = modeAdd
	}
	// The factor that the inner loop runs through should be the one that stays in the cache.
	if c.R*a.c*sizeOf[T]() <= bytesOfBlock {
		for t := range m.tiles {
			for i := range m.panels {
				m.tile(i, t)
			}
		}
	} else {
		for i := range m.panels {
			for t := range m.tiles {
				m.tile(i, t)
			}
		}
	}
}

// span returns the indices of the first and of the last element of the patches.
func (b *Patches[T]) span() (first, last int) {
	first, last = b.At[0], b.At[0]
	for _, at := range b.At {
		first, last = min(first, at), max(last, at)
	}
	return first, last + (b.Rows-1)*b.Pitch + b.Width - 1
}

// tiling says how the columns of a Patches are cut into tiles.
type tiling struct {
	tiles  int
	whole  int  // number of tiles of band rows, which come first; the others have one row
	band   int  // rows of the image in such a tile
	across int  // tiles across a row
	step   int  // distance between the pieces of a tile
	mode   int  // modeQuarters or 0
	flat   bool // tiles ignore rows: they run over the pitch and include elements between rows
}

func tilingOf[T vec.Float](b *Patches[T]) tiling {
	if b.Pitch == b.Width {
		b.Rows, b.Width = 1, b.Rows*b.Width
	}
	width := tileWidth[T]()
	t := tiling{band: 1, step: width / 2}
	if b.Rows > 1 {
		switch b.Width {
		case width / 2:
			t.band, t.step = 2, b.Pitch
		case width / 4:
			t.band, t.step, t.mode = 4, b.Pitch, modeQuarters
		}
	}
	t.across = (b.Width + width - 1) / width
	t.whole = b.Rows / t.band * t.across
	t.tiles = t.whole + b.Rows%t.band
	if n := ((b.Rows-1)*b.Pitch + b.Width + width - 1) / width; n < t.tiles {
		t = tiling{tiles: n, step: width / 2, flat: true}
	}
	return t
}

// patchwork is a product with patches.
type patchwork[T vec.Float] struct {
	tiling
	c      Mat[T]
	a      *Panels[T]
	b      *Patches[T]
	panels int
	mode   int
	spill  [maxHeight * maxWidth]T
}

// tile multiplies panel i with tile t.
func (m *patchwork[T]) tile(i, t int) {
	b, width := m.b, tileWidth[T]()
	from, to := par.Cut(i, m.c.R, m.panels), par.Cut(i+1, m.c.R, m.panels)
	rows := to - from
	a, rs, cs := m.a.panel(from, to)
	switch {
	case m.flat:
		cols := min(width, (b.Rows-1)*b.Pitch+b.Width-t*width)
		tile(rows, cols, a, rs, cs, b.Data[t*width:], b.At, m.step, m.spill[:], width, 0)
		m.collect(from, to, t*width)
	case t < m.whole:
		y, x := t/m.across*m.band, t%m.across*width
		tile(rows, min(width, m.band*b.Width-x), a, rs, cs, b.Data[y*b.Pitch+x:], b.At, m.step,
			m.c.Data[from*m.c.RS+y*b.Width+x:], m.c.RS, m.mode|m.tiling.mode)
	default:
		y := m.whole*m.band + t - m.whole
		tile(rows, b.Width, a, rs, cs, b.Data[y*b.Pitch:], b.At, width/2,
			m.c.Data[from*m.c.RS+y*b.Width:], m.c.RS, m.mode)
	}
}

// collect copies those elements of a flat tile that lie in the image to rows from..to of C. The tile
// begins at element start, counted over rows of Pitch elements.
func (m *patchwork[T]) collect(from, to, start int) {
	b, width := m.b, tileWidth[T]()
	for y, x, j := start/b.Pitch, start%b.Pitch, 0; j < width && y < b.Rows; y, x, j = y+1, 0, j+b.Pitch-x {
		n := min(width-j, b.Width-x)
		if n <= 0 {
			continue
		}
		for i := from; i < to; i++ {
			dst, src := m.c.Data[i*m.c.RS+y*b.Width+x:][:n], m.spill[(i-from)*width+j:][:n]
			if m.mode == 0 {
				copy(dst, src)
				continue
			}
			for k, v := range src {
				dst[k] += v
			}
		}
	}
}
