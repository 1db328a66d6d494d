// SPDX-License-Identifier: Apache-2.0

package gemm

import "github.com/kernelfold/kernelfold/internal/vec"

// Panels is a matrix A packed once for many products.
type Panels[T vec.Float] struct {
	r, c int
	data []T // alpha A, row-major
}

// Pack makes the panels those of alpha A. The memory of the last matrix is used
// again.
func (p *Panels[T]) Pack(alpha float64, a Mat[T]) {
	if n := a.R * a.C; cap(p.data) < n {
		p.data = make([]T, n)
	}
	p.r, p.c, p.data = a.R, a.C, p.data[:a.R*a.C]
	for i := range a.R {
		for j := range a.C {
			p.data[i*a.C+j] = T(alpha) * a.At(i, j)
		}
	}
}

// Slack is how many elements beyond the last one of a patch must be there to be
// read. What they hold, NaN included, does not matter.
const Slack = 64

// Patches is a matrix B of len(At) rows that is not stored: its rows are patches of
// an image. Element (k, j), j from 0 to Rows*Width-1, is
//
//	Data[At[k] + j/Width*Pitch + j%Width].
//
// A convolution is a product with such a matrix: a row for each tap, At where the
// tap meets the first pixel.
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
	for i := range c.R {
		row := c.Data[i*c.RS:][:c.C]
		if !add {
			clear(row)
		}
		for k, at := range b.At {
			f := a.data[i*a.c+k]
			for y := range b.Rows {
				from := b.Data[at+y*b.Pitch:][:b.Width]
				to := row[y*b.Width:][:b.Width]
				for x, v := range from {
					to[x] += f * v
				}
			}
		}
	}
}
