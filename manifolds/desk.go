// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file holds the workspace of the operations that run in float64, one point at a time: exponential maps, logarithms,
// distances and parallel transport.

// longest bounds the geodesics and Cayley transforms that are computed: a step is at most longest times as long as a point, which
// has sqrt(q) radii. In float32 the rotation angles of a longer step would be rounding errors.
const longest = 128

// admitGeodesic returns an error if a step of the given length, in radii, is longer than longest allows.
func admitGeodesic(length float64, q int) error {
	if most := longest * math.Sqrt(float64(q)); !(length <= most) {
		return fmt.Errorf("want a step of at most %.3g radii, got %.3g", most, length)
	}
	return nil
}

// desk is the workspace for one point in float64, tall and in units of r.
type desk[T vec.Float] struct {
	stiefel[T]
	block[T]
	rows, q       int
	x, y, v, u, t []float64 // rows x q each
	whole         []float64
}

func (m stiefel[T]) desk(b block[T]) desk[T] {
	l := b.n * b.p
	whole := scratch.Get[float64](5 * l)
	return desk[T]{m, b, max(b.n, b.p), b.q(), whole[:l], whole[l : 2*l], whole[2*l : 3*l], whole[3*l : 4*l], whole[4*l:], whole}
}

func (d desk[T]) free() { scratch.Put(d.whole) }

// read sets dst to point i of b in units of r, which must be finite.
func (d desk[T]) read(dst []float64, b block[T], i int) error {
	frames.Widen(dst, b.tall(b.at(i)), 1)
	for e, v := range dst {
		dst[e] = v / d.r()
	}
	switch largest := vec.MaxAbs(dst); {
	case largest != largest:
		return errors.New("want a finite matrix, got NaN")
	case math.IsInf(largest, 1):
		return errRange[float64]("matrix in units of the radius")
	}
	return nil
}

// write sets point i of b to r src.
func (d desk[T]) write(b block[T], i int, src []float64) error {
	frames.Narrow(b.tall(b.at(i)), src, d.r())
	if !allFinite(b.at(i)) {
		return errRange[T]("result")
	}
	return nil
}

// each calls f for every point of x.
func (m stiefel[T]) each(op string, x block[T], f func(d desk[T], i int) error) error {
	if err := m.holds(op); err != nil {
		return err
	}
	d := m.desk(x)
	defer d.free()
	for i := range x.k {
		if err := f(d, i); err != nil {
			return &PointError{m.name, op, i, err.Error()}
		}
	}
	return nil
}

// tidy sets dst to the frame nearest to y, where y is a frame up to rounding errors. y is overwritten.
func (d desk[T]) tidy(dst, y []float64) error {
	to, from := gemm.Of(dst, d.rows, d.q), gemm.Of(y, d.rows, d.q)
	if frames.NewtonSchulz(to, from, 1, 1, 10) {
		return nil
	}
	return frames.Polar(to, from, 1, vec.Eps[T]())
}
