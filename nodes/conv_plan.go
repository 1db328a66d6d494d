// SPDX-License-Identifier: Apache-2.0

package nodes

// convPlan is the geometry of a convolution and of its matrix products.
type convPlan struct {
	batch, channels, filters int
	groups, inputs, outputs  int // inputs and outputs are the channels and filters of a group
	area                     int // taps of the kernel
	pixelsIn, pixelsOut      int
	rows, cols               axis

	depthwise *depthwise // or nil, for other convolutions

	// For the value: taps of the first group in the phases of padded images.
	image  layout
	taps   taps
	result lattice

	// For the gradient with respect to the images, by phases of the image.
	grad      layout
	phases    []phase
	uncovered bool // some phase has no taps
	// For an axis that folds, the convolution of padded images. Otherwise nil.
	unrolled *convPlan

	// For the gradient with respect to the filters.
	method       method
	single       layout // image and taps, for one image
	singleTaps   taps
	window       layout
	rowsOfWindow []windowRows
}

// phase is a set of pixels of an image whose distances are multiples of the strides.
type phase struct {
	pixels lattice
	kernel []int // the taps in this phase
	taps   taps  // their positions in the result, for each filter of the first group
}

// method is a way to compute the gradient with respect to the filters.
type method int

const (
	byWindows method = iota
	byColumns
	byDots
)

// windowRows are the rows of windows: all rows of the kernel or, with dilation along columns, the
// taps of one row.
type windowRows struct {
	offset int // of the first row in the image
	column int // of the first row in the product
	taps   taps
}

func newConvPlan(batch, channels, filters, groups int, rows, cols axis) *convPlan {
	p := &convPlan{
		batch: batch, channels: channels, filters: filters,
		groups: groups, inputs: channels / groups, outputs: filters / groups,
		area: rows.kernel * cols.kernel, pixelsIn: rows.size * cols.size, pixelsOut: rows.out * cols.out, rows: rows, cols: cols,
	}
	p.result = lattice{comb{step: 1, n: rows.out, size: rows.out}, comb{step: 1, n: cols.out, size: cols.out}}
	p.image, p.taps = p.planValue(rows, cols, join(batch, cols.out))
	p.single, p.singleTaps = p.planValue(rows, cols, 1)
	if rows.folds() || cols.folds() {
		p.unrolled = newConvPlan(batch, channels, filters, groups, rows.unrolled(), cols.unrolled())
	} else {
		p.planImages(rows, cols)
	}
	p.planKernels(rows, cols)
	p.depthwise = p.planDepthwise()
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
	p.uncovered = len(rows.phases())*len(cols.phases()) < rows.stride*cols.stride
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
	const short = 16 // rows up to half the width of a tile
	switch {
	case p.inputs == 1 && p.outputs == 1:
		p.method = byDots
	case p.area == 1 || p.rowsOfWindow[0].taps.width <= short:
		p.method = byColumns
	}
}
