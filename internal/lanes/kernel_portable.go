// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 || noasm

package lanes

import "github.com/kernelfold/kernelfold/internal/vec"

func transpose[T vec.Float](dst, src []T, rows, cols int) { transposePortable(dst, src, rows, cols) }

func product[T vec.Float](c Mat[T], alpha T, a, b Mat[T], beta T) {
	productPortable(c, alpha, a, b, beta)
}

func symmetrize[T vec.Float](s []T, q int) { symmetrizePortable(s, q) }

func cholesky[T vec.Float](g []T, q int, tiny, limit T) uint32 {
	return choleskyPortable(g, q, tiny, limit)
}

func solve[T vec.Float](y Mat[T], l []T) { solvePortable(y, l) }

func advance[T vec.Float](y, x, t, v []T) { advancePortable(y, x, t, v) }

func dots[T vec.Float](out []float64, u, v []T) { dotsPortable(out, u, v) }

func frames() (kernel framesKernel, group int) { return nil, 0 }
