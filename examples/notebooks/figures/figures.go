// SPDX-License-Identifier: Apache-2.0

// Package figures draws the figures of the notebooks. A figure is a value with a method PNG. If a cell of a notebook ends
// in a figure, the notebook shows the picture:
//
//	figures.Lines{
//		Title:  "Training loss",
//		X:      figures.Axis{Label: "epoch", Whole: true},
//		Y:      figures.Axis{Label: "mean cross-entropy (nats)", Zero: true},
//		Curves: []figures.Curve{{Name: "momentum", X: []float64{1, 2, 3}, Y: []float64{2.2, 1.1, 0.7}}},
//	}
//
// There are Lines and Panels of them, Images (digits, or the filters of a layer), and a drawn Sphere. Histogram makes a curve of
// numbers. If something cannot be drawn, the picture contains the error message, because PNG cannot return an error.
package figures

import (
	"math"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
)

// The parts of figures.
type (
	// Axis is one of the two axes of a plot.
	Axis = figure.Axis
	// Curve is a line through points, from left to right.
	Curve = figure.Curve
	// Row is a row of pictures with a name.
	Row = figure.Row
	// Image is a picture of Height rows of Width numbers.
	Image = figure.Image
	// Vector is a point of space, or a direction.
	Vector = figure.Vector
	// Path is a curve in space.
	Path = figure.Path
	// Arrow is an arrow in space.
	Arrow = figure.Arrow
	// Plane is a square of a tangent plane of the sphere.
	Plane = figure.Plane
	// Size is the size of a picture in inches.
	Size = figure.Size
)

// Lines is a plot of curves.
type Lines figure.Lines

// Panels are plots of the same curves, side by side and one below the other, with the legend of the first.
type Panels struct{ Rows [][]Lines }

// Images are rows of small pictures of one scale.
type Images figure.Images

// Sphere is a drawing of the unit sphere with curves, arrows and tangent planes.
type Sphere figure.Sphere

// PNG is the picture.
func (l Lines) PNG() []byte { return shown(figure.Lines(l).PNG()) }

// PNG is the picture.
func (p Panels) PNG() []byte {
	var rows [][]figure.Lines
	for _, r := range p.Rows {
		var row []figure.Lines
		for _, l := range r {
			row = append(row, figure.Lines(l))
		}
		rows = append(rows, row)
	}
	return shown(figure.Panels{Rows: rows}.PNG())
}

// PNG is the picture.
func (m Images) PNG() []byte { return shown(figure.Images(m).PNG()) }

// PNG is the picture.
func (s Sphere) PNG() []byte { return shown(figure.Sphere(s).PNG()) }

// String is what a notebook shows where there are no pictures.
func (l Lines) String() string { return "plot: " + l.Title }

// String is what a notebook shows where there are no pictures.
func (p Panels) String() string {
	if len(p.Rows) > 0 && len(p.Rows[0]) > 0 {
		return "plots: " + p.Rows[0][0].Title
	}
	return "plots"
}

// String is what a notebook shows where there are no pictures.
func (m Images) String() string { return "images: " + m.Title }

// String is what a notebook shows where there are no pictures.
func (s Sphere) String() string { return "sphere: " + s.Title }

// shown is the picture, or one of the error.
func shown(b []byte, err error) []byte {
	if err != nil {
		b, _ = figure.Lines{Title: err.Error()}.PNG() // without curves there is nothing that fails
	}
	return b
}

// Cut divides numbers into pictures: the slices of a layer's kernels, which lie one after the other.
func Cut(pixels []float32, height, width int) []Image { return figure.Cut(pixels, height, width) }

// Histogram is a curve of steps: the share of the values, in per cent, in each of the bins (1 at least) that divide the range from
// low to high. Values outside are in the first or the last bin, NaN is in none. Unless low < high, the range is that of the values.
func Histogram(name string, values []float64, low, high float64, bins int) Curve {
	if !(low < high) {
		low, high = math.Inf(1), math.Inf(-1)
		for _, v := range values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				low, high = min(low, v), max(high, v)
			}
		}
		switch {
		case low > high: // no values
			low, high = 0, 1
		case low == high:
			half := figure.Half(low)
			low, high = low-half, high+half
		}
	}
	share := make([]float64, max(bins, 1))
	for _, v := range values {
		if !math.IsNaN(v) {
			// By halves, because high-low may overflow. Of a range so short that they vanish, k is NaN.
			k := math.Floor((v/2 - low/2) / (high/2 - low/2) * float64(len(share)))
			if !(k > 0) {
				k = 0
			}
			share[int(min(k, float64(len(share)-1)))] += 100 / float64(len(values))
		}
	}
	c := Curve{Name: name}
	at := func(k int) float64 {
		part := float64(k) / float64(len(share))
		return low*(1-part) + high*part
	}
	c.Add(low, 0)
	for k, s := range share {
		c.Add(at(k), s)
		c.Add(at(k+1), s)
	}
	c.Add(high, 0)
	return c
}
