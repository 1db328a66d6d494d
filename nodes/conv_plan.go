// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// axis is a convolution along rows or along columns: element i of the result sees
// the elements i*stride + k*dilation - pad, k from 0 to kernel-1.
type axis struct{ size, kernel, stride, dilation, pad, out int }

// tap returns where tap k is in the padded image: element shift of a phase, which
// is every stride-th element, so that the taps of neighbours are neighbours.
func (a axis) tap(k int) (phase, shift int) {
	return k * a.dilation % a.stride, k * a.dilation / a.stride
}

// phases lists the phases that taps meet.
func (a axis) phases() []int {
	var all []int
	for p := range a.stride {
		for k := range a.kernel {
			if phase, _ := a.tap(k); phase == p {
				all = append(all, p)
				break
			}
		}
	}
	return all
}

// last is the shift of the last tap.
func (a axis) last() int {
	_, shift := a.tap(a.kernel - 1)
	return shift
}

// phase is what taps in phase p may read of an image.
func (a axis) phase(p int) comb {
	return comb{at: p - a.pad, step: a.stride, n: a.out + a.last(), size: a.size}
}

// window is all that taps may read of an image.
func (a axis) window() comb {
	return comb{at: -a.pad, step: 1, n: (a.out-1)*a.stride + (a.kernel-1)*a.dilation + 1, size: a.size}
}

// result is what the elements of the image see of the result, each from pad/stride -
// last to (pad+size-1)/stride.
func (a axis) result() comb {
	at := a.pad/a.stride - a.last()
	return comb{at: at, step: 1, n: (a.pad+a.size-1)/a.stride + 1 - at, size: a.out}
}

// elements returns those of the image that are in phase p, and the shift of the
// first.
func (a axis) elements(p int) (c comb, shift int) {
	shift = (a.pad - p + a.stride - 1) / a.stride
	at := shift*a.stride + p - a.pad
	return comb{at: at, step: a.stride, n: max(0, (a.size-at+a.stride-1)/a.stride), size: a.size}, shift
}

// comb is every step-th of size elements: the u-th of n is u*step + at, which may
// be outside.
type comb struct{ at, step, n, size int }

// inside returns the range of u that is not outside.
func (c comb) inside() (from, to int) {
	from = min(c.n, max(0, (c.step-1-c.at)/c.step))
	return from, min(c.n, max(from, (c.size-c.at+c.step-1)/c.step))
}

func (c comb) whole() bool { return c.at == 0 && c.step == 1 && c.n == c.size }

// lattice is a set of pixels.
type lattice struct{ rows, cols comb }

func (l *lattice) n() int      { return l.rows.n * l.cols.n }
func (l *lattice) whole() bool { return l.rows.whole() && l.cols.whole() }

// plane is the number of pixels of the image that the lattice is of.
func (l *lattice) plane() int { return l.rows.size * l.cols.size }

// gather copies the pixels of a lattice from src to every step-th element of dst, and leaves
// in dst those that are outside.
func gather[T vec.Float](l *lattice, dst []T, step int, src []T) {
	top, bottom := l.rows.inside()
	left, right := l.cols.inside()
	if left == right {
		return
	}
	for u := top; u < bottom; u++ {
		to := dst[(u*l.cols.n+left)*step : (u*l.cols.n+right-1)*step+1]
		from := src[(l.rows.at+u*l.rows.step)*l.cols.size:][:l.cols.size]
		from = from[left*l.cols.step+l.cols.at:]
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

// scatter copies the pixels of a lattice that is all inside from every step-th element of
// src to dst.
func scatter[T vec.Float](l *lattice, dst, src []T, step int) {
	for u := range l.rows.n {
		to := dst[(l.rows.at+u*l.rows.step)*l.cols.size:][:l.cols.size]
		e := l.cols.at
		for i := u * l.cols.n * step; i < (u+1)*l.cols.n*step; i += step {
			to[e] = src[i]
			e += l.cols.step
		}
	}
}

// unfold copies the patches that the taps see to dst, one after the other.
func unfold[T vec.Float](dst, src []T, t *taps) {
	for _, e := range t.at {
		for range t.rows {
			copy(dst, src[e:e+t.width])
			dst, e = dst[t.width:], e+t.pitch
		}
	}
}

// layout is how products read images: lattices of equal size one after the other, each with
// all channels. Images that are narrow come several together, pixel by pixel, so that
// their rows are long enough for kernels.
type layout struct {
	channels int
	together int
	lattices []lattice
}

func (l *layout) plane() int { return l.lattices[0].n() * l.together }
func (l *layout) size() int  { return len(l.lattices) * l.channels * l.plane() }

// join returns how many of so many images should be together if products have rows of
// the given width.
func join(images, width int) int {
	const narrow, wide = 8, 32 // kernels have tiles of 32, 16 or 8, of one row or of several
	if width >= narrow {
		return 1
	}
	parts := (images + wide/width - 1) / (wide / width)
	return (images + parts - 1) / parts
}

// padded returns the images at the start of src in a layout: buffer, which has zeros outside, or
// src itself if that is the layout and what follows may be read.
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

// interleave copies the image at the start of src, of which the layout has one
// lattice, to dst with the given number of channels next to each other.
func interleave[T vec.Float](l *layout, dst, src []T, channels int) {
	rows, cols := l.lattices[0].rows, l.lattices[0].cols
	top, bottom := rows.inside()
	left, right := cols.inside()
	if left == right {
		return
	}
	for g := 0; g < l.channels; g += channels {
		for u := top; u < bottom; u++ {
			to := dst[g*l.plane()+(u*cols.n+left)*channels:][:(right-left)*channels]
			from := src[(g*rows.size+u+rows.at)*cols.size+left+cols.at:]
			transpose(to, from, channels, right-left, rows.size*cols.size)
		}
	}
}

// transpose sets dst, row-major c x r, to the transpose of the r x c matrix whose rows
// are stride apart in src.
func transpose[T vec.Float](dst, src []T, r, c, stride int) {
	i := 0
	for ; i+4 <= r; i += 4 {
		s0, s1, s2, s3 := src[i*stride:][:c], src[(i+1)*stride:][:c], src[(i+2)*stride:][:c], src[(i+3)*stride:][:c]
		e := i
		for j := range s0 {
			d := dst[e : e+4 : e+4]
			d[0], d[1], d[2], d[3] = s0[j], s1[j], s2[j], s3[j]
			e += r
		}
	}
	for ; i < r; i++ {
		e := i
		for _, v := range src[i*stride:][:c] {
			dst[e] = v
			e += r
		}
	}
}

// taps are where a product finds the rows of its patches.
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

// convPlan is the geometry of a convolution, and where its products read.
type convPlan struct {
	batch, channels, filters int
	groups, inputs, outputs  int // inputs and outputs are the channels and filters of a group
	area                     int // of the kernel
	pixelsIn, pixelsOut      int

	// The value: taps of the first group in the phases of padded images.
	image  layout
	taps   taps
	result lattice

	// The gradient in the images, by phases of the image.
	grad   layout
	phases []phase
	unseen bool // no tap meets some phase

	// The gradient in the filters.
	method       method
	single       layout // image and taps for one image
	singleTaps   taps
	window       layout
	rowsOfWindow []windowRows
}

// phase is the pixels of an image that are a number of strides apart.
type phase struct {
	pixels lattice
	kernel []int // the taps that meet them
	taps   taps  // the same in the result, for each filter of the first group
}

// method is a way to the gradient in the filters.
type method int

const (
	byWindows method = iota
	byColumns
	byDots
)

// windowRows are rows of a window, that is rows of the kernel, or taps if there is something
// between them.
type windowRows struct {
	offset int // in the image
	column int // in the product
	taps   taps
}

func newConvPlan(batch, channels, filters, groups int, rows, cols axis) *convPlan {
	p := &convPlan{
		batch: batch, channels: channels, filters: filters,
		groups: groups, inputs: channels / groups, outputs: filters / groups,
		area: rows.kernel * cols.kernel, pixelsIn: rows.size * cols.size, pixelsOut: rows.out * cols.out,
	}
	p.result = lattice{comb{0, 1, rows.out, rows.out}, comb{0, 1, cols.out, cols.out}}
	p.image, p.taps = p.planValue(rows, cols, join(batch, cols.out))
	p.single, p.singleTaps = p.planValue(rows, cols, 1)
	p.planImages(rows, cols)
	p.planKernels(rows, cols)
	return p
}

func (p *convPlan) planValue(rows, cols axis, together int) (layout, taps) {
	l := layout{channels: p.channels, together: together}
	start := map[[2]int]int{}
	for _, i := range rows.phases() {
		for _, j := range cols.phases() {
			start[[2]int{i, j}] = len(l.lattices) * p.channels
			l.lattices = append(l.lattices, lattice{rows.phase(i), cols.phase(j)})
		}
	}
	pitch := l.lattices[0].cols.n
	var at []int
	for c := range p.inputs {
		for u := range rows.kernel {
			for v := range cols.kernel {
				i, y := rows.tap(u)
				j, x := cols.tap(v)
				at = append(at, (start[[2]int{i, j}]+c)*l.plane()+(y*pitch+x)*together)
			}
		}
	}
	return l, newTaps(at, rows.out, cols.out*together, pitch*together)
}

func (p *convPlan) planImages(rows, cols axis) {
	seen := lattice{rows.result(), cols.result()}
	together := join(p.batch, (cols.size+cols.stride-1)/cols.stride)
	p.grad = layout{p.filters, together, []lattice{seen}}
	p.unseen = len(rows.phases())*len(cols.phases()) < rows.stride*cols.stride
	for _, i := range rows.phases() {
		for _, j := range cols.phases() {
			var f phase
			var y, x int
			f.pixels.rows, y = rows.elements(i)
			f.pixels.cols, x = cols.elements(j)
			if f.pixels.n() == 0 {
				continue
			}
			var at []int
			for u := range rows.kernel {
				for v := range cols.kernel {
					pi, dy := rows.tap(u)
					pj, dx := cols.tap(v)
					if pi == i && pj == j {
						f.kernel = append(f.kernel, u*cols.kernel+v)
						at = append(at, ((y-dy-seen.rows.at)*seen.cols.n+x-dx-seen.cols.at)*together)
					}
				}
			}
			var all []int
			for o := range p.outputs {
				for _, e := range at {
					all = append(all, o*p.grad.plane()+e)
				}
			}
			f.taps = newTaps(all, f.pixels.rows.n, f.pixels.cols.n*together, seen.cols.n*together)
			p.phases = append(p.phases, f)
		}
	}
}

func (p *convPlan) planKernels(rows, cols axis) {
	l := lattice{rows.window(), cols.window()}
	p.window = layout{p.channels, 1, []lattice{l}}
	var at []int
	for i := range rows.out {
		for j := range cols.out {
			at = append(at, (i*rows.stride*l.cols.n+j*cols.stride)*p.inputs)
		}
	}
	down, width := rows.dilation*l.cols.n*p.inputs, cols.kernel*p.inputs
	if cols.dilation == 1 || cols.kernel == 1 {
		p.rowsOfWindow = []windowRows{{taps: newTaps(at, rows.kernel, width, down)}}
	} else {
		for u := range rows.kernel {
			t := newTaps(at, cols.kernel, p.inputs, cols.dilation*p.inputs)
			p.rowsOfWindow = append(p.rowsOfWindow, windowRows{u * down, u * width, t})
		}
	}
	const short = 16 // rows that kernels make half a tile of, or less
	switch {
	case p.inputs == 1 && p.outputs == 1:
		p.method = byDots
	case p.area == 1 || p.rowsOfWindow[0].taps.width <= short:
		p.method = byColumns
	}
}
