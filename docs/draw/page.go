// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"image/color"
	"math"
	"os"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
)

const margin = 22 * vg.Length(1)

var (
	paper  = color.White
	ink    = color.NRGBA{0x22, 0x2b, 0x36, 0xff}
	soft   = color.NRGBA{0x6b, 0x76, 0x83, 0xff}
	faint  = color.NRGBA{0xdf, 0xe3, 0xe8, 0xff}
	empty  = color.NRGBA{0xee, 0xf0, 0xf3, 0xff}
	border = color.NRGBA{0xa3, 0xad, 0xb8, 0xff}
)

const (
	regular = xfont.WeightNormal
	bold    = xfont.WeightBold
)

// page is a canvas with the origin at the lower left.
type page struct {
	w, h  vg.Length
	c     *vgimg.Canvas
	fonts *font.Cache
}

func newPage(w, h vg.Length) *page {
	p := &page{w: w, h: h, c: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(216)), fonts: font.NewCache(liberation.Collection())}
	p.rect(0, 0, w, h, paper)
	return p
}

func (p *page) text(weight xfont.Weight, size, x, y vg.Length, col color.Color, s string) {
	p.c.SetColor(col)
	p.c.FillString(p.fonts.Lookup(font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, size), vg.Point{X: x, Y: y}, s)
}

func (p *page) rect(x, y, w, h vg.Length, col color.Color) {
	p.c.SetColor(col)
	p.c.Fill(rectangle(x, y, w, h))
}

func (p *page) frame(x, y, w, h, thick vg.Length, col color.Color) {
	p.c.SetLineWidth(thick)
	p.c.SetColor(col)
	p.c.Stroke(rectangle(x, y, w, h))
}

// line draws a line along an axis, x0 <= x1 and y0 <= y1, lengthened by half its
// thickness at both ends so that corners close.
func (p *page) line(x0, y0, x1, y1, thick vg.Length, col color.Color) {
	p.rect(x0-thick/2, y0-thick/2, x1-x0+thick, y1-y0+thick, col)
}

func (p *page) arrow(x, y, length vg.Length) {
	p.rect(x, y-0.7, length-5, 1.4, soft)
	var head vg.Path
	head.Move(vg.Point{X: x + length, Y: y})
	head.Line(vg.Point{X: x + length - 7, Y: y + 3.6})
	head.Line(vg.Point{X: x + length - 7, Y: y - 3.6})
	head.Close()
	p.c.SetColor(soft)
	p.c.Fill(head)
}

// snap rounds a coordinate to 1/16 of a point.
func snap(v float64) vg.Length { return vg.Length(math.Round(16*v) / 16) }

// curve draws a line through points, dashed if it is to be.
func (p *page) curve(points [][2]float64, thick vg.Length, dashed bool, col color.Color) {
	var path vg.Path
	for i, q := range points {
		at := vg.Point{X: snap(q[0]), Y: snap(q[1])}
		if i == 0 {
			path.Move(at)
		} else {
			path.Line(at)
		}
	}
	p.c.SetColor(col)
	p.c.SetLineWidth(thick)
	if dashed {
		p.c.SetLineDash([]vg.Length{4, 3}, 0)
		defer p.c.SetLineDash(nil, 0)
	}
	p.c.Stroke(path)
}

// vector draws an arrow from a point to a point.
func (p *page) vector(from, to [2]float64, thick vg.Length, dashed bool, col color.Color) {
	dx, dy := to[0]-from[0], to[1]-from[1]
	n := math.Hypot(dx, dy)
	dx, dy = dx/n, dy/n
	const length, half = 9.0, 3.8
	p.curve([][2]float64{from, {to[0] - 0.8*length*dx, to[1] - 0.8*length*dy}}, thick, dashed, col)
	p.polygon([][2]float64{to,
		{to[0] - length*dx - half*dy, to[1] - length*dy + half*dx},
		{to[0] - length*dx + half*dy, to[1] - length*dy - half*dx}}, col)
}

func (p *page) polygon(points [][2]float64, col color.Color) {
	var path vg.Path
	for i, q := range points {
		at := vg.Point{X: snap(q[0]), Y: snap(q[1])}
		if i == 0 {
			path.Move(at)
		} else {
			path.Line(at)
		}
	}
	path.Close()
	p.c.SetColor(col)
	p.c.Fill(path)
}

// dot draws a disc.
func (p *page) dot(at [2]float64, radius float64, col color.Color) {
	var round [][2]float64
	for i := range 32 {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / 32)
		round = append(round, [2]float64{at[0] + radius*cos, at[1] + radius*sin})
	}
	p.polygon(round, col)
}

// centred writes a text around x.
func (p *page) centred(weight xfont.Weight, size, x, y vg.Length, col color.Color, s string) {
	face := p.fonts.Lookup(font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, size)
	p.text(weight, size, snap(float64(x-face.Width(s)/2)), y, col, s)
}

func rectangle(x, y, w, h vg.Length) vg.Path {
	var r vg.Path
	r.Move(vg.Point{X: x, Y: y})
	r.Line(vg.Point{X: x + w, Y: y})
	r.Line(vg.Point{X: x + w, Y: y + h})
	r.Line(vg.Point{X: x, Y: y + h})
	r.Close()
	return r
}

func (p *page) save(path string) error {
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: p.c}).WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
