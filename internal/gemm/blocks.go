// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Block sizes in bytes: a panel of B stays in the first-level cache while all
// panels of a block of A, which stays in the second, are multiplied with it.
const (
	bytesOfPanel = 32 << 10
	bytesOfBlock = 320 << 10
	maxDepth     = 512
	maxCols      = 2048
)

// A factor that is needed for at most fewTiles tiles is read in place, because packing would cost
// more than it saves. Rows that lie a multiple of badDistance bytes apart evict each other from the
// cache, and may be read at most twice.
const (
	fewTiles    = 3
	badDistance = 1024
)

// form says which elements of a product are needed or known to be zero.
type form int

const (
	general form = iota
	lowerC       // only C on and below the diagonal is needed; tiles above it are not computed
	lowerA       // A is zero above the diagonal and mostly not read there
	upperB       // B is zero below the diagonal and mostly not read there
)

// product is C = alpha A B, or C += alpha A B. The columns of C have stride 1.
type product[T vec.Float] struct {
	c, a, b Mat[T]
	alpha   T
	adding  bool
	form    form

	diagonal int // the column of the diagonal in row 0, for lowerC
}

// transposed returns the transposed product, C^T = alpha B^T A^T.
func (p product[T]) transposed() product[T] {
	p.c, p.a, p.b = p.c.T(), p.b.T(), p.a.T()
	switch p.form {
	case lowerA:
		p.form = upperB
	case upperB:
		p.form = lowerA
	}
	return p
}

// sources says where the tiles of a block read A and B.
type sources[T vec.Float] struct {
	packedA, packedB []T
	at               []int // offsets of the rows of B if it is not packed
	readsA, readsB   bool  // A or B is read in place
	shared           bool  // A is B^T and is read from packed B
}

// run multiplies on this goroutine.
func (p *product[T]) run() {
	if p.runSlim() {
		return
	}
	k, width, height, size := p.a.C, tileWidth[T](), tileHeight[T](), sizeOf[T]()
	depth := p.depth()
	s := sources[T]{
		readsA: p.alpha == 1 && p.c.C <= fewTiles*width && (p.a.RS == 1 || p.a.RS*size%badDistance != 0),
		readsB: p.b.CS == 1 && (p.c.R <= 2*height || p.c.R <= fewTiles*height && p.b.RS*size%badDistance != 0),
		shared: p.c.R <= maxCols && p.alpha == 1 && p.a.same(p.b.T()),
	}
	s.readsB = s.readsB && !s.shared
	rows, cols := p.c.R, min(maxCols, ceil(p.c.C, width)*width)
	forA, forB, forAt := 0, cols*depth+slack, 0
	if !s.readsA && !s.shared {
		rows = evenly(p.c.R, max(height, bytesOfBlock/size/depth/height*height))
		forA = rows*depth + slack
	}
	if s.readsB {
		forB = 0
		if p.overruns() {
			forB = width*depth + slack
		}
		if s.at = stepsOf(p.b.RS, depth); s.at == nil {
			forAt = depth * 8 / size
		}
	}
	var work []T
	if n := forAt + forA + forB; n > 0 {
		work = scratch.Get[T](n)
		defer scratch.Put(work)
	}
	s.packedA, s.packedB = work[forAt:], work[forAt+forA:]
	if forAt > 0 { // a slice of ints in the workspace, so that nothing is allocated
		s.at = unsafe.Slice((*int)(unsafe.Pointer(unsafe.SliceData(work))), depth)
		for i := range s.at {
			s.at[i] = i * p.b.RS
		}
	}
	for p0 := 0; p0 < k; p0 += depth {
		kb := min(depth, k-p0)
		for j0 := 0; j0 < p.c.C; j0 += cols {
			nb := min(cols, p.c.C-j0)
			if p.form == upperB && p0 >= j0+nb {
				continue
			}
			if !s.readsB {
				packCols(s.packedB, p.b.Sub(p0, j0, kb, nb))
			}
			for i0 := 0; i0 < p.c.R; i0 += rows {
				mb := min(rows, p.c.R-i0)
				if p.form == lowerC && j0 >= i0+mb+p.diagonal || p.form == lowerA && p0 >= i0+mb {
					continue
				}
				if !s.readsA && !s.shared {
					packRows(s.packedA, p.alpha, p.a.Sub(i0, p0, mb, kb))
				}
				p.block(&s, i0, mb, j0, nb, p0, kb)
			}
		}
	}
}

// depth returns the number of rows of B that are multiplied at a time. It decides the order of additions, so it depends neither on how C is
// divided nor on where B is read.
func (p *product[T]) depth() int {
	return evenly(p.a.C, min(maxDepth, bytesOfPanel/(sizeOf[T]()*tileWidth[T]())))
}

// overruns reports whether a tile that reads B where it lies would read beyond the end of its data.
func (p *product[T]) overruns() bool {
	width := tileWidth[T]()
	last := (p.c.C - 1) / width * width // the first column of the last tile
	return (p.b.R-1)*p.b.RS+last+reach[T](p.c.C-last) > len(p.b.Data)
}

// reach is the number of elements that a tile of so many columns reads of each row of B.
func reach[T vec.Float](cols int) int {
	width := tileWidth[T]()
	if cols > width/2 || width == portableWidth {
		return width
	}
	return width / 2
}

// block multiplies rows i0.. of A with columns j0.. of B, at columns and rows p0..
func (p *product[T]) block(s *sources[T], i0, mb, j0, nb, p0, kb int) {
	width, mode := tileWidth[T](), 0
	if p.adding || p0 > 0 {
		mode = modeAdd
	}
	panels := panelsOf[T](mb)
	if s.shared {
		panels = ceil(mb, width) * panelsOf[T](width)
	}
	for j := j0; j < j0+nb; j += width {
		cols := min(width, j0+nb-j)
		b, at := s.packedB, steps(width)
		switch {
		case !s.readsB:
			b = b[(j-j0)*kb:]
		case (p0+kb-1)*p.b.RS+j+reach[T](cols) <= len(p.b.Data):
			b, at = p.b.Data[p0*p.b.RS+j:], s.at
		default: // a tile may not read beyond the end
			pack(b, width, p.b.Sub(p0, j, kb, cols), 1)
		}
		for i, end := 0, 0; i < panels; i++ {
			from, to := end, mb
			if i < panels-1 {
				to = par.Cut(i+1, mb, panels)
			}
			end = to
			var a []T
			rs, cs := 1, to-from
			switch {
			case s.shared:
				from, to = within[T](mb, i)
				a, cs = s.packedB[from/width*width*kb+from%width:], width
			case s.readsA:
				a, rs, cs = p.a.Data[(i0+from)*p.a.RS+p0*p.a.CS:], p.a.RS, p.a.CS
			default:
				a = s.packedA[from*kb:]
			}
			from, to = i0+from, i0+to
			n, needed := p.needed(to, j, cols, p0, kb)
			if n > 0 && needed > 0 && from < to {
				tile(to-from, needed, a, rs, cs, b, at[:n], width/2, p.c.Data[from*p.c.RS+j:], p.c.RS, mode)
			}
		}
	}
}

// needed returns how many columns of the tile that ends at row to and begins at column j are needed, and to how many rows of B from p0 on their
// sums extend. If either is not positive the tile is left out.
func (p *product[T]) needed(to, j, cols, p0, kb int) (n, needed int) {
	switch p.form {
	case lowerC:
		return kb, min(cols, to+p.diagonal-j)
	case lowerA:
		return min(kb, to-p0), cols
	case upperB:
		return min(kb, j+cols-p0), cols
	}
	return kb, cols
}

// within returns the rows of panel i of A = B^T if A is read from the panels of B, which are as wide
// as a tile. Some panels are empty.
func within[T vec.Float](rows, i int) (from, to int) {
	width := tileWidth[T]()
	most := panelsOf[T](width)
	start := i / most * width
	n := min(width, rows-start)
	panels := panelsOf[T](n)
	if i %= most; i >= panels {
		return 0, 0
	}
	return start + par.Cut(i, n, panels), start + par.Cut(i+1, n, panels)
}

// evenly returns the length of equal parts of n, none longer than most.
func evenly(n, most int) int { return ceil(n, ceil(n, most)) }
