// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// lattice is a rectangular grid of pixels of an image.
type lattice struct{ rows, cols comb }

func (l *lattice) n() int      { return l.rows.n * l.cols.n }
func (l *lattice) whole() bool { return l.rows.whole() && l.cols.whole() }

// plane returns the number of pixels of the whole image.
func (l *lattice) plane() int { return l.rows.size * l.cols.size }

// gather copies the pixels of a lattice from src to every step-th element of dst. It does not write
// the elements of pixels outside the image, unless the lattice is circular.
func gather[T vec.Float](l *lattice, dst []T, step int, src []T) {
	top, bottom := l.rows.inside()
	left, right := l.cols.inside()
	if l.rows.circular {
		top, bottom = 0, l.rows.n
	}
	if top == bottom || left == right && !l.cols.circular {
		return
	}
	if step == 1 && !l.rows.circular && !l.cols.circular {
		from := src[l.rows.element(top)*l.cols.size+l.cols.element(left):]
		vec.Pick(dst[top*l.cols.n+left:], l.cols.n, from, l.rows.step*l.cols.size, l.cols.step, bottom-top, right-left)
		return
	}
	for u := top; u < bottom; u++ {
		row := src[l.rows.element(u)*l.cols.size:][:l.cols.size]
		if l.cols.circular {
			at := u * l.cols.n
			for v := range left {
				dst[(at+v)*step] = row[l.cols.element(v)]
			}
			for v := right; v < l.cols.n; v++ {
				dst[(at+v)*step] = row[l.cols.element(v)]
			}
		}
		if left == right {
			continue
		}
		to := dst[(u*l.cols.n+left)*step : (u*l.cols.n+right-1)*step+1]
		from := row[left*l.cols.step+l.cols.at:]
		switch e := 0; {
		case step > 1:
			for i := 0; i < len(to); i += step {
				to[i] = from[e]
				e += l.cols.step
			}
		case l.cols.step > 1:
			for i := range to {
				to[i] = from[e]
				e += l.cols.step
			}
		default:
			copy(to, from)
		}
	}
}

// scatter copies every step-th element of src to the pixels of a lattice in dst. All pixels must lie
// inside the image.
func scatter[T vec.Float](l *lattice, dst, src []T, step int) {
	if step == 1 {
		vec.Place(dst[l.rows.at*l.cols.size+l.cols.at:], l.rows.step*l.cols.size, src, l.cols.n, l.cols.step, l.rows.n, l.cols.n)
		return
	}
	for u := range l.rows.n {
		to := dst[(l.rows.at+u*l.rows.step)*l.cols.size:][:l.cols.size]
		e := l.cols.at
		for i := u * l.cols.n * step; i < (u+1)*l.cols.n*step; i += step {
			to[e] = src[i]
			e += l.cols.step
		}
	}
}

// unfold copies the patches to dst, one after the other.
func unfold[T vec.Float](dst, src []T, t *taps) {
	for _, e := range t.at {
		for range t.rows {
			copy(dst, src[e:e+t.width])
			dst, e = dst[t.width:], e+t.pitch
		}
	}
}

// layout is the memory layout in which products read images: lattices of equal size one after the
// other, each with all channels. Several narrow images form a group whose pixels are interleaved, so
// that rows are long enough for the kernels of package gemm.
type layout struct {
	channels int
	together int // images in a group
	lattices []lattice
}

func (l *layout) plane() int { return l.lattices[0].n() * l.together }
func (l *layout) size() int  { return len(l.lattices) * l.channels * l.plane() }

// join returns the number of images that a group should have if the rows of products have the given
// width.
func join(images, width int) int {
	const narrow, wide = 8, 32 // kernels have tiles of 32, 16 or 8 columns, of one row or several
	if width >= narrow {
		return 1
	}
	parts := (images + wide/width - 1) / (wide / width)
	return (images + parts - 1) / parts
}

// padded returns the images at the start of src in a layout. It returns buffer, which must be zero
// outside the images, or src itself if it already has the layout and gemm.Slack elements after it.
func padded[T vec.Float](l *layout, buffer, src []T, images int) []T {
	if len(l.lattices) == 1 && l.together == 1 && l.lattices[0].whole() && len(src) >= l.size()+gemm.Slack {
		return src
	}
	pixels := l.lattices[0].plane()
	for i := range l.lattices {
		for c := range l.channels {
			to := buffer[(i*l.channels+c)*l.plane():]
			for b := range images {
				gather(&l.lattices[i], to[b:], l.together, src[(b*l.channels+c)*pixels:])
			}
		}
	}
	return buffer
}

// interleave copies the image at the start of src to dst, where the given number of channels of a
// pixel lie next to each other. The layout must have one lattice.
func interleave[T vec.Float](l *layout, dst, src []T, channels int) {
	rows, cols := l.lattices[0].rows, l.lattices[0].cols
	top, bottom := rows.inside()
	left, right := cols.inside()
	if rows.circular {
		top, bottom = 0, rows.n
	}
	for g := 0; g < l.channels; g += channels {
		for u := top; u < bottom; u++ {
			to := dst[g*l.plane()+u*cols.n*channels:][:cols.n*channels]
			from := src[(g*rows.size+rows.element(u))*cols.size:]
			if left < right {
				gemm.Transpose(to[left*channels:right*channels], channels, from[left+cols.at:], rows.size*cols.size, channels, right-left)
			}
			if cols.circular {
				for v := range left {
					gemm.Transpose(to[v*channels:(v+1)*channels], channels, from[cols.element(v):], rows.size*cols.size, channels, 1)
				}
				for v := right; v < cols.n; v++ {
					gemm.Transpose(to[v*channels:(v+1)*channels], channels, from[cols.element(v):], rows.size*cols.size, channels, 1)
				}
			}
		}
	}
}

// taps are the positions of patches for a product, as in gemm.Patches.
type taps struct {
	at                 []int
	rows, width, pitch int
}

func newTaps(at []int, rows, width, pitch int) taps {
	if rows == 1 || width == pitch {
		return taps{at, 1, rows * width, rows * width}
	}
	return taps{at, rows, width, pitch}
}

func patches[T vec.Float](t *taps, data []T) gemm.Patches[T] {
	return gemm.Patches[T]{Data: data, At: t.at, Rows: t.rows, Width: t.width, Pitch: t.pitch}
}
