// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot/vg"

	"github.com/kernelfold/kernelfold/manifolds"
)

// The layer of the drawing, W of shape (D, C, A, B).
const (
	outs, ins, height, width = 3, 4, 3, 3
)

// Lengths in points; at 216 dots an inch one is 3 dots, so that edges are sharp.
const (
	pageW, pageH = 664 * vg.Length(1), 669 * vg.Length(1)
	top          = 64 * vg.Length(1) // of the first row, from the upper edge
	rowH         = 118 * vg.Length(1)
	cell         = 10 * vg.Length(1) // of the layer
	gap          = 5 * vg.Length(1)
	layerX       = 172 * vg.Length(1)
	pointX       = 352 * vg.Length(1)
	pointCell    = 8 * vg.Length(1)
)

// A colour for each input channel: light for the first tap, deep for the last.
var (
	light = [ins]color.NRGBA{{0xc9, 0xdf, 0xf4, 0xff}, {0xff, 0xe2, 0xb8, 0xff}, {0xc4, 0xea, 0xd9, 0xff}, {0xf6, 0xcf, 0xdc, 0xff}}
	deep  = [ins]color.NRGBA{{0x1f, 0x5f, 0xa8, 0xff}, {0xd9, 0x7b, 0x06, 0xff}, {0x12, 0x80, 0x5c, 0xff}, {0xb8, 0x2a, 0x5c, 0xff}}
)

// panel is one row of the drawing.
type panel struct {
	grouping manifolds.Grouping
	shown    int    // the point drawn in colour
	points   string // how many points, in letters
	shape    string // of a point, in letters
}

func groupings() (*page, error) {
	p := newPage(pageW, pageH)
	p.text(bold, 14, margin, p.h-30, ink, "Five ways to cut a layer into points")
	p.text(regular, 9, layerX, p.h-52, soft, fmt.Sprintf("D = %d filters, C = %d channels", outs, ins))
	p.text(regular, 9, pointX, p.h-52, soft, "the coloured point as the matrix that a manifold sees")
	for i, n := range []panel{
		{manifolds.PerSlice, 5, "D·C", "A × B"},
		{manifolds.PerFilter, 1, "D", "C × AB"},
		{manifolds.PerInputChannel, 2, "C", "D × AB"},
		{manifolds.PerTap, 4, "A·B", "D × C"},
		{manifolds.FilterBank, 0, "1", "D × CAB"},
	} {
		if err := p.panel(n, p.h-top-vg.Length(i)*rowH); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// panel draws one row whose upper edge is at y.
func (p *page) panel(n panel, y vg.Length) error {
	l, err := n.grouping.Layout([]int{outs, ins, height, width})
	if err != nil {
		return err
	}
	p.line(margin, y, p.w-margin, y, 2.0/3, faint)
	layerH := outs*height*cell + (outs-1)*gap
	mid := y - rowH/2

	count := fmt.Sprintf("%s = %d points", n.points, l.K)
	if l.K == 1 {
		count = "1 point"
	}
	p.text(bold, 11.5, margin, mid+11, ink, n.grouping.String())
	p.text(regular, 9.5, margin, mid-5, ink, count)
	p.text(regular, 9.5, margin, mid-18, ink, fmt.Sprintf("of %s = %d × %d", n.shape, l.N, l.P))

	// owner[e] is the point that weight e belongs to; place[e] its row and column there.
	owner := make([]int, outs*ins*height*width)
	for k := range l.K {
		for i := range l.N {
			for j := range l.P {
				owner[k*l.StrideK+i*l.StrideN+j*l.StrideP] = k
			}
		}
	}

	// The layer, and the outline of each of its points: a cell has a border
	// towards every neighbour of another point.
	up := mid + layerH/2
	box := func(e int) (x, y vg.Length) {
		d, c, a, b := indices(e)
		return layerX + vg.Length(c*width+b)*cell + vg.Length(c)*gap, up - vg.Length(d*height+a+1)*cell - vg.Length(d)*gap
	}
	for e, k := range owner {
		x, y := box(e)
		fill := color.Color(empty)
		if k == n.shown {
			fill = shade(e)
		}
		p.rect(x, y, cell, cell, fill)
	}
	for e := range owner {
		x, y := box(e)
		p.frame(x, y, cell, cell, 2.0/3, paper)
	}
	for _, shown := range []bool{false, true} {
		for e, k := range owner {
			if (k == n.shown) == shown {
				p.outline(e, owner, box, shown)
			}
		}
	}

	// The arrow, and the point as a matrix.
	p.arrow(layerX+ins*width*cell+(ins-1)*gap+12, mid, 22)
	w, h := vg.Length(l.P)*pointCell, vg.Length(l.N)*pointCell
	for i := range l.N {
		for j := range l.P {
			x, y := pointX+vg.Length(j)*pointCell, mid+h/2-vg.Length(i+1)*pointCell
			p.rect(x, y, pointCell, pointCell, shade(n.shown*l.StrideK+i*l.StrideN+j*l.StrideP))
			p.frame(x, y, pointCell, pointCell, 2.0/3, paper)
		}
	}
	p.frame(pointX, mid-h/2, w, h, 4.0/3, ink)
	p.text(regular, 8.5, pointX, mid-h/2-12, soft, fmt.Sprintf("%d × %d", l.N, l.P))
	return nil
}

// outline draws the borders of weight e towards weights of other points. Where
// the point goes on beyond a gap between slices, a border goes half way across.
func (p *page) outline(e int, owner []int, box func(int) (x, y vg.Length), shown bool) {
	thick, col := vg.Length(2.0/3), border
	if shown {
		thick, col = 4.0/3, ink
	}
	// same reports whether the neighbour of e in direction (da, db) is of the same
	// point, and reach how far the outline extends that way.
	same := func(da, db int) (same bool, reach vg.Length) {
		d, c, a, b := indices(e)
		a, b = a+da, b+db
		if a < 0 || a >= height {
			d, a, reach = d+da, (a+height)%height, gap/2
		}
		if b < 0 || b >= width {
			c, b, reach = c+db, (b+width)%width, gap/2
		}
		if d < 0 || d >= outs || c < 0 || c >= ins || owner[number(d, c, a, b)] != owner[e] {
			return false, 0
		}
		return true, reach
	}
	x, y := box(e)
	upper, u := same(-1, 0)
	lower, l := same(1, 0)
	left, f := same(0, -1)
	right, r := same(0, 1)
	if !upper {
		p.line(x-f, y+cell, x+cell+r, y+cell, thick, col)
	}
	if !lower {
		p.line(x-f, y, x+cell+r, y, thick, col)
	}
	if !left {
		p.line(x, y-l, x, y+cell+u, thick, col)
	}
	if !right {
		p.line(x+cell, y-l, x+cell, y+cell+u, thick, col)
	}
}

func indices(e int) (d, c, a, b int) {
	return e / (ins * height * width), e / (height * width) % ins, e / width % height, e % width
}

func number(d, c, a, b int) int { return ((d*ins+c)*height+a)*width + b }

// shade is the colour of weight e: the hue of its input channel, deeper from tap
// to tap.
func shade(e int) color.Color {
	_, c, a, b := indices(e)
	t := float64(a*width+b) / float64(height*width-1)
	mix := func(x, y uint8) uint8 { return uint8(float64(x) + t*(float64(y)-float64(x)) + 0.5) }
	x, y := light[c], deep[c]
	return color.NRGBA{mix(x.R, y.R), mix(x.G, y.G), mix(x.B, y.B), 0xff}
}
