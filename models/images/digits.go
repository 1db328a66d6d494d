// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math"
	"math/rand/v2"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gobolditalic"
	"golang.org/x/image/font/gofont/goitalic"
	"golang.org/x/image/font/gofont/gomedium"
	"golang.org/x/image/font/gofont/gomediumitalic"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/gofont/gomonobolditalic"
	"golang.org/x/image/font/gofont/gomonoitalic"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// DigitOptions are the options of Digits. A zero field takes its default; a
// negative Noise, Clutter or Distortion stands for none.
type DigitOptions struct {
	// Side is the height and the width in pixels: 20 by default, 8 at least.
	Side int
	// Noise is the largest standard deviation of the Gaussian noise of a
	// pixel, where black is 0 and white is 1: 0.12 by default.
	Noise float64
	// Clutter is the number of strokes and of pieces of other digits that lie around or across the digit, on average: 1.5 by default.
	Clutter float64
	// Distortion scales the random rotation, shear, stretching and shift: 1 by
	// default, which rotates by up to 25 degrees.
	Distortion float64
}

func (o *DigitOptions) defaults() error {
	set := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
		*v = max(0, *v)
	}
	if o.Side == 0 {
		o.Side = 20
	}
	if o.Side < 8 || o.Side > 512 {
		return fmt.Errorf("images: digits: want a side of 8..512 pixels, got %d", o.Side)
	}
	for _, v := range []float64{o.Noise, o.Clutter, o.Distortion} {
		if math.IsNaN(v) || v > 100 {
			return fmt.Errorf("images: digits: want noise, clutter and distortion of at most 100, got %v", v)
		}
	}
	set(&o.Noise, 0.12)
	set(&o.Clutter, 1.5)
	set(&o.Distortion, 1)
	return nil
}

// digitPixels is the largest number of pixels that Digits draws in all. They take 1.25 GiB of memory.
const digitPixels = 1 << 28

// Digits draws grey images of the digits 0 to 9 in the ten Go typefaces,
// with a random affine distortion, random ink on a random background, clutter and noise.
// Image i of a part depends on seed and i alone, so a larger set begins with the
// smaller one, and a program draws the same bytes each time it runs. More than 2^28 pixels in all, 671,088 images of the default side, are an error.
func Digits(seed uint64, train, test int, o DigitOptions) (*Set, error) {
	if train < 1 || test < 1 {
		return nil, fmt.Errorf("images: digits: want at least one training and one test image, got %d and %d", train, test)
	}
	if err := o.defaults(); err != nil {
		return nil, err
	}
	if most := digitPixels / (o.Side * o.Side); train > most || test > most-train {
		return nil, fmt.Errorf("images: digits: want at most %d images of %dx%d in all, got %d training and %d test images", most, o.Side, o.Side, train, test)
	}
	glyphs, err := loadGlyphs("0123456789")
	if err != nil {
		return nil, fmt.Errorf("images: digits: %w", err)
	}
	set := &Set{Name: "digits", Channels: 1, Height: o.Side, Width: o.Side}
	for c := range 10 {
		set.Classes = append(set.Classes, fmt.Sprint(c))
	}
	d := drawing{DigitOptions: o, glyphs: glyphs, ink: newCanvas(o.Side)}
	draw := func(n int, stream uint64) raw {
		r := raw{make([]byte, n*o.Side*o.Side), make([]byte, n)}
		for i := range n {
			d.rng = rand.New(rand.NewPCG(seed, stream+uint64(i)))
			r.labels[i] = byte(d.rng.IntN(10))
			d.draw(r.pixels[i*o.Side*o.Side:(i+1)*o.Side*o.Side], int(r.labels[i]))
		}
		return r
	}
	set.normalise(draw(train, 0), draw(test, 1<<32))
	return set, nil
}

// glyph is the outline of a character, closed polygons in units of its height
// about the centre of its bounding box, y downwards.
type glyph [][]point

type point struct{ x, y float64 }

// loadGlyphs returns the outlines of characters in each of the typefaces.
func loadGlyphs(characters string) ([][]glyph, error) {
	var faces [][]glyph
	for _, ttf := range [][]byte{
		goregular.TTF, goitalic.TTF, gomedium.TTF, gomediumitalic.TTF, gobold.TTF, gobolditalic.TTF,
		gomono.TTF, gomonoitalic.TTF, gomonobold.TTF, gomonobolditalic.TTF,
	} {
		f, err := opentype.Parse(ttf)
		if err != nil {
			return nil, err
		}
		var face []glyph
		for _, r := range characters {
			g, err := loadGlyph(f, r)
			if err != nil {
				return nil, err
			}
			face = append(face, g)
		}
		faces = append(faces, face)
	}
	return faces, nil
}

func loadGlyph(f *sfnt.Font, r rune) (glyph, error) {
	var buf sfnt.Buffer
	i, err := f.GlyphIndex(&buf, r)
	if err != nil {
		return nil, err
	}
	if i == 0 {
		return nil, fmt.Errorf("want characters that the Go typefaces have, got %q", r)
	}
	const em = 1000
	segments, err := f.LoadGlyph(&buf, i, fixed.I(em), nil)
	if err != nil {
		return nil, err
	}
	// The characters of a face have one height, so that they share one scale.
	m, err := f.Metrics(&buf, fixed.I(em), font.HintingNone)
	if err != nil {
		return nil, err
	}
	box := segments.Bounds()
	cx, cy := float64(box.Min.X+box.Max.X)/2, float64(box.Min.Y+box.Max.Y)/2
	at := func(p fixed.Point26_6) point {
		return point{(float64(p.X) - cx) / float64(m.CapHeight), (float64(p.Y) - cy) / float64(m.CapHeight)}
	}
	var g glyph
	for _, s := range segments {
		if s.Op == sfnt.SegmentOpMoveTo {
			g = append(g, []point{at(s.Args[0])})
			continue
		}
		path := &g[len(g)-1]
		a := (*path)[len(*path)-1]
		switch s.Op {
		case sfnt.SegmentOpLineTo:
			*path = append(*path, at(s.Args[0]))
		case sfnt.SegmentOpQuadTo: // all that TrueType has
			b, c := at(s.Args[0]), at(s.Args[1])
			const steps = 6
			for k := 1; k <= steps; k++ {
				t := float64(k) / steps
				*path = append(*path, point{bezier(t, a.x, b.x, c.x), bezier(t, a.y, b.y, c.y)})
			}
		}
	}
	return g, nil
}

func bezier(t, a, b, c float64) float64 { return (1-t)*(1-t)*a + 2*t*(1-t)*b + t*t*c }

// drawing draws one image after the other.
type drawing struct {
	DigitOptions
	glyphs [][]glyph // of each typeface
	rng    *rand.Rand
	ink    *canvas
	values []float64
}

// draw fills the pixels of one image of the given character of a typeface.
func (d *drawing) draw(pixels []byte, character int) {
	side, rng := float64(d.Side), d.rng
	d.values = append(d.values[:0], make([]float64, len(pixels))...)

	// A background with a gradient, and ink that is darker or lighter than it.
	contrast := d.between(0.3, 0.75)
	ground := d.between(0, 1-contrast)
	ink := ground + contrast
	if rng.IntN(2) == 0 {
		ground, ink = ink, ground
	}
	slope, angle := d.between(0, 0.25), d.between(0, 2*math.Pi)
	sin, cos := math.Sincos(angle)
	for i := range d.values {
		x, y := float64(i%d.Side)/side-0.5, float64(i/d.Side)/side-0.5
		d.values[i] = ground + slope*(cos*x+sin*y)
	}

	// Clutter beneath the digit, then the digit, then a little across it.
	clutter := d.poisson(d.Clutter)
	for range clutter {
		d.clutter(ground, ink)
	}
	d.ink.clear()
	d.ink.glyph(d.glyphs[rng.IntN(len(d.glyphs))][character], d.affine(d.between(0.52, 0.78)*side, side/2, side/2))
	d.paint(ink)
	if d.Clutter > 0 && rng.IntN(3) == 0 {
		d.stroke(0.4 * d.between(1, 2))
		d.paint(ground + d.between(-0.3, 0.3))
	}

	noise := d.between(0.2, 1) * d.Noise
	for i, v := range d.values {
		v += noise * rng.NormFloat64()
		pixels[i] = byte(math.Round(255 * min(1, max(0, v))))
	}
}

// clutter paints a stroke anywhere or a digit cut off by the border.
func (d *drawing) clutter(ground, ink float64) {
	side := float64(d.Side)
	value := ground + d.between(0.3, 0.9)*(ink-ground)
	if d.rng.IntN(3) > 0 {
		d.stroke(d.between(0.5, 1.5))
		d.paint(value)
		return
	}
	angle := d.between(0, 2*math.Pi)
	sin, cos := math.Sincos(angle)
	r := d.between(0.5, 0.65) * side
	d.ink.clear()
	d.ink.glyph(d.glyphs[d.rng.IntN(len(d.glyphs))][d.rng.IntN(len(d.glyphs[0]))], d.affine(d.between(0.4, 0.7)*side, side/2+r*cos, side/2+r*sin))
	d.paint(value)
}

// stroke draws a straight line of the given width in 24ths of the side.
func (d *drawing) stroke(width float64) {
	side := float64(d.Side)
	width *= side / 24
	cx, cy := d.between(0, side), d.between(0, side)
	length, angle := d.between(0.2, 0.7)*side, d.between(0, math.Pi)
	sin, cos := math.Sincos(angle)
	dx, dy := length/2*cos, length/2*sin
	nx, ny := -width/2*sin, width/2*cos
	d.ink.clear()
	d.ink.polygon([]point{{cx - dx - nx, cy - dy - ny}, {cx + dx - nx, cy + dy - ny}, {cx + dx + nx, cy + dy + ny}, {cx - dx + nx, cy - dy + ny}})
}

// paint lays the value over the image where there is ink.
func (d *drawing) paint(value float64) {
	for i, a := range d.ink.coverage() {
		d.values[i] += a * (value - d.values[i])
	}
}

// affine returns a random map that draws a glyph of about the given size at about the given centre.
func (d *drawing) affine(size, cx, cy float64) func(point) point {
	k := d.Distortion
	sin, cos := math.Sincos(k * d.between(-25, 25) * math.Pi / 180)
	shear := k * d.between(-0.28, 0.28)
	sx := size * math.Exp(k*d.between(-0.2, 0.2))
	sy := size * math.Exp(k*d.between(-0.12, 0.12))
	shift := 0.08 * k * float64(d.Side)
	cx, cy = cx+d.between(-shift, shift), cy+d.between(-shift, shift)
	return func(p point) point {
		x, y := sx*(p.x+shear*p.y), sy*p.y
		return point{cx + cos*x - sin*y, cy + sin*x + cos*y}
	}
}

func (d *drawing) between(a, b float64) float64 { return a + (b-a)*d.rng.Float64() }

// poisson draws a number with the given mean (Knuth, The Art of Computer Programming, 3.4.1).
func (d *drawing) poisson(mean float64) int {
	n, p, stop := 0, d.rng.Float64(), math.Exp(-mean)
	for p > stop {
		p *= d.rng.Float64()
		n++
	}
	return n
}
