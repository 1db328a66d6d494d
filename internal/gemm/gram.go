// SPDX-License-Identifier: Apache-2.0

package gemm

import "github.com/kernelfold/kernelfold/internal/vec"

// Gram sets G = alpha A^T A in about half the time of Mul. G is exactly symmetric. Its rows or its
// columns must have stride 1.
func Gram[T vec.Float](g Mat[T], alpha float64, a Mat[T]) {
	if g.CS != 1 {
		g = g.T()
	}
	switch {
	case g.R != a.C || g.C != a.C:
		panic("gemm: shapes do not match")
	case g.CS != 1:
		panic("gemm: a Gram matrix without a unit stride")
	case g.R == 0:
		return
	case a.R == 0:
		g.scale(0)
		return
	}
	p := product[T]{c: g, a: a.T(), b: a, alpha: 1, form: lowerC}
	if g.R > tileWidth[T]() {
		p.spread()
		mirror(g, T(alpha))
		return
	}
	p.form = general // every tile meets the diagonal, and equal sums have equal bits
	p.spread()
	for i := 0; alpha != 1 && i < g.R; i++ {
		row := g.Data[i*g.RS:][:g.R]
		vec.Scale(row, alpha, row)
	}
}

// mirror multiplies the lower triangle by alpha and copies it to the upper one.
func mirror[T vec.Float](g Mat[T], alpha T) {
	lanes := transposeLanes[T]()
	for i0 := 0; i0 < g.R; i0 += lanes {
		rows := min(lanes, g.R-i0)
		for i := i0; i < i0+rows; i++ {
			row := g.Data[i*g.RS:][:i+1]
			if alpha != 1 {
				vec.Scale(row, float64(alpha), row)
			}
			for j := i0; j < i; j++ {
				g.Data[j*g.RS+i] = row[j]
			}
		}
		switch left := g.Sub(i0, 0, rows, i0); {
		case i0 == 0:
		case rows == lanes:
			transpose(g.Data[i0:], g.RS, left.Data, g.RS, rows, i0, 1)
		default:
			for i := range rows {
				for j, v := range left.Data[i*g.RS:][:i0] {
					g.Data[j*g.RS+i0+i] = v
				}
			}
		}
	}
}
