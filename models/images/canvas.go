// SPDX-License-Identifier: Apache-2.0

package images

import "math"

// canvas turns polygons into the share of each pixel that they cover, by the
// exact signed areas to the right of their edges, summed along each row (the method of
// font-rs and golang.org/x/image/vector, in float64). Overlapping polygons of one orientation are united, and a hole has the other orientation.
type canvas struct {
	side int
	area []float64 // signed area and height of the edges in each pixel, differentiated along x
	out  []float64
}

func newCanvas(side int) *canvas {
	return &canvas{side: side, area: make([]float64, side*(side+2)), out: make([]float64, side*side)}
}

func (c *canvas) clear() { clear(c.area) }

func (c *canvas) glyph(g glyph, m func(point) point) {
	for _, path := range g {
		mapped := make([]point, len(path))
		for i, p := range path {
			mapped[i] = m(p)
		}
		c.polygon(mapped)
	}
}

func (c *canvas) polygon(ps []point) {
	for i, p := range ps {
		c.edge(p, ps[(i+1)%len(ps)])
	}
}

// edge adds the edge from a to b.
func (c *canvas) edge(a, b point) {
	if a.y == b.y {
		return
	}
	dir := 1.0
	if a.y > b.y {
		a, b, dir = b, a, -1
	}
	dxdy := (b.x - a.x) / (b.y - a.y)
	limit := float64(c.side)
	for row := int(max(0, math.Floor(a.y))); row < c.side && float64(row) < b.y; row++ {
		y0, y1 := max(a.y, float64(row)), min(b.y, float64(row+1))
		x0, x1 := a.x+dxdy*(y0-a.y), a.x+dxdy*(y1-a.y)
		c.span(c.area[row*(c.side+2):(row+1)*(c.side+2)], min(x0, x1), max(x0, x1), dir*(y1-y0), limit)
	}
}

// span adds to a row an edge that goes from x0 to x1, x0 <= x1, over the
// height h. What lies beyond the left border covers whole pixels, what lies beyond the right
// border none.
func (c *canvas) span(row []float64, x0, x1, h, limit float64) {
	clamp := func(x float64) float64 { return min(limit, max(0, x)) }
	if x1-x0 < 1e-9 {
		c.piece(row, clamp(x0), clamp(x0), h)
		return
	}
	if x0 < 0 { // the part left of the border
		share := (min(0, x1) - x0) / (x1 - x0)
		c.piece(row, 0, 0, h*share)
		h *= 1 - share
		if x1 <= 0 {
			return
		}
		x0 = 0
	}
	if x1 > limit {
		if x0 >= limit {
			return
		}
		h *= (limit - x0) / (x1 - x0)
		x1 = limit
	}
	for x := x0; x < x1; {
		next := min(x1, math.Floor(x)+1)
		c.piece(row, x, next, h*(next-x)/(x1-x0))
		x = next
	}
}

// piece adds an edge within one pixel of a row.
func (c *canvas) piece(row []float64, x0, x1, h float64) {
	i := int(x0)
	covered := h * (1 - ((x0+x1)/2 - float64(i))) // of pixel i; the pixels to its right are covered by h
	row[i] += covered
	row[i+1] += h - covered
}

// coverage returns the covered share of each pixel, valid until the next call.
func (c *canvas) coverage() []float64 {
	for y := range c.side {
		sum := 0.0
		for x := range c.side {
			sum += c.area[y*(c.side+2)+x]
			c.out[y*c.side+x] = min(1, math.Abs(sum))
		}
	}
	return c.out
}
