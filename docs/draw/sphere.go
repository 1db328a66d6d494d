// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"

	"github.com/kernelfold/kernelfold/manifolds"
)

var (
	blue   = color.NRGBA{0x1f, 0x5f, 0xa8, 0xff}
	orange = color.NRGBA{0xd9, 0x7b, 0x06, 0xff}
	green  = color.NRGBA{0x12, 0x80, 0x5c, 0xff}
	plum   = color.NRGBA{0xb8, 0x2a, 0x5c, 0xff}
)

// sphere draws a step in the plane through the centre that it lies in.
func sphere() (*page, error) {
	p := newPage(664, 320)
	p.text(bold, 14, margin, p.h-30, ink, "A step on the sphere")

	// The geometry, on points of 1x2.
	m := manifolds.Sphere{}
	point := func(x, y float64) manifolds.Points {
		b, err := manifolds.Points64([]float64{x, y}, 1, 1, 2)
		if err != nil {
			panic(err) // two numbers are a point
		}
		return b
	}
	sin, cos := math.Sincos(128 * math.Pi / 180)
	x := point(cos, sin)
	down := point(0.95*sin+0.3*cos, -0.95*cos+0.3*sin) // minus the gradient: along the tangent, and outwards
	v, y, geodesic, u, ty := x.Like(), x.Like(), x.Like(), x.Like(), x.Like()
	for _, err := range []error{
		m.Tangent(v, x, down),
		m.Retract(y, x, v),
		m.Exp(geodesic, x, v),
		u.Combine(0.72, v, 0, v),
		m.Transport(ty, x, y, u),
	} {
		if err != nil {
			return nil, err
		}
	}

	const cx, cy, unit = 176, 34, 148
	at := func(b manifolds.Points) [2]float64 {
		return [2]float64{cx + unit*b.At(0, 0, 0), cy + unit*b.At(0, 0, 1)}
	}
	plus := func(a, b manifolds.Points) manifolds.Points {
		s := a.Like()
		_ = s.Combine(1, a, 1, b) // alike
		return s
	}

	// The sphere, and its tangent at x and y.
	var arc [][2]float64
	for k := 2; k <= 178; k++ {
		s, c := math.Sincos(float64(k) * math.Pi / 180)
		arc = append(arc, [2]float64{cx + unit*c, cy + unit*s})
	}
	p.curve(arc, 1.6, false, ink)
	for _, b := range []manifolds.Points{x, y} {
		a, t := at(b), [2]float64{b.At(0, 0, 1), -b.At(0, 0, 0)}
		p.curve([][2]float64{{a[0] - 56*t[0], a[1] - 56*t[1]}, {a[0] + 168*t[0], a[1] + 168*t[1]}}, 0.8, false, border)
	}

	// From x: minus the gradient, its tangent part, the way back.
	p.curve([][2]float64{at(plus(x, down)), at(plus(x, v))}, 0.9, true, soft)
	p.curve([][2]float64{at(plus(x, v)), at(y)}, 0.9, true, soft)
	p.vector(at(x), at(plus(x, down)), 1.8, false, orange)
	p.vector(at(x), at(plus(x, v)), 1.8, false, blue)
	// At y: the momentum as it was, and transported.
	p.curve([][2]float64{at(plus(y, u)), at(plus(y, ty))}, 0.9, true, soft)
	p.vector(at(y), at(plus(y, u)), 1.3, true, green)
	p.vector(at(y), at(plus(y, ty)), 1.8, false, green)
	p.dot(at(x), 3.6, ink)
	p.dot(at(y), 3.6, blue)
	p.dot(at(geodesic), 3.6, plum)

	label := func(b manifolds.Points, dx, dy float64, col color.Color, s string) {
		a := at(b)
		p.text(bold, 11, snap(a[0]+dx), snap(a[1]+dy), col, s)
	}
	label(x, -14, 6, ink, "x")
	label(plus(x, down), 5, 3, orange, "−ηg")
	label(plus(x, v), 8, -3, blue, "x + v")
	label(y, -12, -16, blue, "y")
	label(geodesic, -16, -22, plum, "Exp(x, v)")
	label(plus(y, u), 6, 2, green, "u")
	label(plus(y, ty), 4, 6, green, "T(u)")

	// What is what.
	row := p.h - 76
	for _, t := range []struct {
		col        color.Color
		head, text string
	}{
		{orange, "−ηg", "minus the Euclidean gradient, from backpropagation"},
		{blue, "v = Tangent(x, −ηg)", "its component in the tangent space at x"},
		{blue, "y = Retract(x, v)", "x + v, scaled back to the norm of the sphere"},
		{plum, "Exp(x, v)", "the end of the geodesic of length |v| (Geodesic: true)"},
		{green, "T(u) = Transport(x, y, u)", "a momentum u at x, projected to be tangent at y"},
	} {
		p.rect(408, row-1, 4, 24, t.col)
		p.text(bold, 10, 419, row+13, ink, t.head)
		p.text(regular, 9, 419, row, soft, t.text)
		row -= vg.Length(46)
	}
	return p, nil
}
