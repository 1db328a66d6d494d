// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"runtime"

	"github.com/kernelfold/kernelfold/internal/par"
)

// grain is the number of multiply-adds for which a goroutine is worthwhile.
const grain = 1 << 20

// spread multiplies on several cores if the product is large. It divides C, but not the sums for one
// element, so the bits of the result do not depend on the number of cores.
func (p *product[T]) spread() {
	if parts := int64(p.c.R) * int64(p.c.C) * int64(p.a.C) / grain; parts > 1 && runtime.GOMAXPROCS(0) > 1 {
		p.share(int(min(parts, math.MaxInt32)))
	} else {
		p.run()
	}
}

// share multiplies on several cores, in at most the given number of parts.
func (p product[T]) share(parts int) {
	n, unit, byRows := p.c.C, tileWidth[T](), p.c.R >= p.c.C
	switch p.form {
	case lowerC, upperB:
		byRows = true
	case lowerA:
		byRows = false
	}
	if byRows {
		n, unit = p.c.R, tileHeight[T]()
	}
	units := ceil(n, unit)
	parts = min(parts, units, runtime.GOMAXPROCS(0)) // each part packs a whole factor
	par.Do(parts, func(i int) {
		from, to := min(n, par.Cut(i, units, parts)*unit), min(n, par.Cut(i+1, units, parts)*unit)
		q := p
		switch {
		case p.form == lowerC:
			from, to = sameArea(from, n), sameArea(to, n)
			q.c, q.a, q.b = p.c.Sub(from, 0, to-from, to), p.a.Sub(from, 0, to-from, p.a.C), p.b.Sub(0, 0, p.b.R, to)
			q.diagonal = from
		case byRows:
			q.c, q.a = p.c.Sub(from, 0, to-from, p.c.C), p.a.Sub(from, 0, to-from, p.a.C)
		default:
			q.c, q.b = p.c.Sub(0, from, p.c.R, to-from), p.b.Sub(0, from, p.b.R, to-from)
		}
		if from < to {
			q.run()
		}
	})
}

// sameArea maps 0..n to itself so that ranges of equal length become ranges of rows that cover equal
// areas of a lower triangle.
func sameArea(i, n int) int { return int(math.Sqrt(float64(i)/float64(n)) * float64(n)) }
