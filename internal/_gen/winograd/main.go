// SPDX-License-Identifier: Apache-2.0

// Command winograd writes the assembly of internal/winograd, for amd64 and for arm64: a transform of
// blocks of vectors for each of the five matrices.
package main

//go:generate go run . -out ../../winograd/kernels_amd64.s -stubs ../../winograd/stubs_amd64.go -pkg winograd

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/dispatch"
)

func main() {
	writeAMD64()
	writeNEON()
	dispatch.Write("../../winograd")
}

// machine is the arithmetic of any instruction set on vectors V. The destination comes last.
type machine[V any] interface {
	Vec() V
	Move(a, v V)
	Add(b, a, v V)
	Sub(b, a, v V) // a - b
	Mul(b, a, v V)
	FMA(b, a, v V)  // v += a b
	FNMA(b, a, v V) // v -= a b
}

// line is a map of the columns of a block, and then of its rows.
type line[V any] struct {
	name, formula string
	from, to      int
	constants     []float64
	// do maps x to the results, in order. It may overwrite x. c are the constants.
	do func(m machine[V], c, x []V) []V
}

// doc describes the function.
func (l line[V]) doc() []string {
	return []string{
		fmt.Sprintf("sets %s, from %d x %[2]d to %d x %[3]d vectors of n elements, a multiple of those of a register,", l.formula, l.from, l.to),
		"for at least one block. Element (i, j) of block b begins at b*next + i*row + j*col.",
	}
}

// The points of interpolation, and the polynomials at their own points, as in internal/winograd.
const (
	p, q = 0.75, 1.5
	at0  = p * p * q * q
	atP  = 2 * p * p * (p*p - q*q)
	atQ  = 2 * q * q * (q*q - p*p)
)

func lines[V any]() []line[V] {
	return []line[V]{
		{"image", "V = B^T d B", 6, 6, []float64{p*p + q*q, p * p * q * q, p * p, q * q, p, q}, image[V]},
		{"filter", "U = G g G^T", 3, 6, []float64{1 / at0, 1 / atP, p * p / atP, p / atP, 1 / atQ, q * q / atQ, q / atQ}, filter[V]},
		{"result", "Y = A^T M A", 6, 4, []float64{p, p * p, p * p * p, q, q * q, q * q * q}, result[V]},
		{"resultBack", "M = A Y A^T", 4, 6, []float64{p, p * p, p * p * p, q, q * q, q * q * q}, resultBack[V]},
		{"filterBack", "g = G^T U G", 6, 3, []float64{1 / at0, 1 / atP, p * p / atP, p / atP, 1 / atQ, q * q / atQ, q / atQ}, filterBack[V]},
	}
}

// plusMinus returns a + c b and a - c b. It overwrites a.
func plusMinus[V any](m machine[V], a, b, c V) (plus, minus V) {
	minus = m.Vec()
	m.Move(a, minus)
	m.FMA(c, b, a)
	m.FNMA(c, b, minus)
	return a, minus
}

// sumAndDifference returns a + b and a - b. It overwrites a.
func sumAndDifference[V any](m machine[V], a, b V) (sum, difference V) {
	difference = m.Vec()
	m.Sub(b, a, difference)
	m.Add(b, a, a)
	return a, difference
}

func moved[V any](m machine[V], x V) V {
	v := m.Vec()
	m.Move(x, v)
	return v
}

func times[V any](m machine[V], a, b V) V {
	v := m.Vec()
	m.Mul(a, b, v)
	return v
}

func image[V any](m machine[V], c, x []V) []V {
	sum, product, pp, qq, p, q := c[0], c[1], c[2], c[3], c[4], c[5]
	first := moved(m, x[4])
	m.FNMA(sum, x[2], first)
	m.FMA(product, x[0], first)
	m.FNMA(sum, x[3], x[5])
	m.FMA(product, x[1], x[5])
	even, odd := moved(m, x[4]), moved(m, x[3])
	m.FNMA(qq, x[2], even)
	m.FNMA(qq, x[1], odd)
	m.FNMA(pp, x[2], x[4])
	m.FNMA(pp, x[1], x[3])
	p1, p2 := plusMinus(m, even, odd, p)
	q1, q2 := plusMinus(m, x[4], x[3], q)
	return []V{first, p1, p2, q1, q2, x[5]}
}

func filter[V any](m machine[V], c, x []V) []V {
	all := []V{times(m, c[0], x[0])}
	for i := 1; i < len(c); i += 3 {
		even, minus, odd := times(m, c[i], x[0]), m.Vec(), times(m, c[i+2], x[1])
		m.FMA(c[i+1], x[2], even)
		m.Sub(odd, even, minus)
		m.Add(odd, even, even)
		all = append(all, even, minus)
	}
	return append(all, x[2])
}

func result[V any](m machine[V], c, x []V) []V {
	sumP, difP := sumAndDifference(m, x[1], x[2])
	sumQ, difQ := sumAndDifference(m, x[3], x[4])
	m.Add(sumP, x[0], x[0])
	m.Add(sumQ, x[0], x[0])
	m.FMA(c[2], difP, x[5])
	m.FMA(c[5], difQ, x[5])
	m.Mul(c[0], difP, difP)
	m.FMA(c[3], difQ, difP)
	m.Mul(c[1], sumP, sumP)
	m.FMA(c[4], sumQ, sumP)
	return []V{x[0], difP, sumP, x[5]}
}

func resultBack[V any](m machine[V], c, x []V) []V {
	all := []V{x[0]}
	for i := 0; i < len(c); i += 3 {
		even, minus, odd := moved(m, x[0]), m.Vec(), times(m, c[i], x[1])
		m.FMA(c[i+1], x[2], even)
		m.FMA(c[i+2], x[3], odd)
		m.Sub(odd, even, minus)
		m.Add(odd, even, even)
		all = append(all, even, minus)
	}
	return append(all, x[3])
}

func filterBack[V any](m machine[V], c, x []V) []V {
	sumP, difP := sumAndDifference(m, x[1], x[2])
	sumQ, difQ := sumAndDifference(m, x[3], x[4])
	m.Mul(c[0], x[0], x[0])
	m.FMA(c[1], sumP, x[0])
	m.FMA(c[4], sumQ, x[0])
	m.FMA(c[2], sumP, x[5])
	m.FMA(c[5], sumQ, x[5])
	m.Mul(c[3], difP, difP)
	m.FMA(c[6], difQ, difP)
	return []V{x[0], difP, x[5]}
}
