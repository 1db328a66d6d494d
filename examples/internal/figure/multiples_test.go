// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"image"
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// Small plots on the same axes, the legend in the place of the next.
func TestMultiples(t *testing.T) {
	x := []float64{0.01, 0.1, 1}
	m := Multiples{
		Title: "t", X: Axis{Label: "x", Log: true}, Y: Axis{Label: "y", Floor: 50},
		Faint: []Curve{{Name: "f", X: x, Y: []float64{60, 55, 10}}},
		Key:   []Curve{{Name: "k", Hue: Blue}},
		Size:  Size{DPI: 72},
	}
	for range 4 {
		m.Panels = append(m.Panels, Panel{Title: "p", Curves: []Curve{{Name: "a", Hue: Vermilion, X: x, Y: []float64{90, 80, 70}}}})
	}
	im := decode(t, m)
	assert.Equal(t, image.Pt(720, 360), im.Bounds().Size(), "a row of panels, and one for the legend")
	above := dots(im, colours[1])
	assert.Greater(t, above, 500)
	assert.Greater(t, dots(im, colours[2]), 20, "the legend")

	// What is below the floor, or not finite, is a mark, and no line goes there.
	for _, low := range []float64{10, math.NaN(), math.Inf(-1)} {
		m.Panels[0].Curves[0].Y = []float64{90, 80, low}
		assert.NotEqual(t, im, decode(t, m))
		fallen := Lines{X: m.X, Y: m.Y}.fallen(m.Panels[0].Curves[0])
		require.Len(t, fallen, 1)
		assert.Equal(t, [2]float64{0, 50}, [2]float64{fallen[0].X, fallen[0].Y})
	}
	// That also holds of a curve without any other point.
	diverged := Curve{Name: "b", Hue: Vermilion, X: x, Y: []float64{math.NaN(), math.Inf(1), math.Inf(-1)}}
	l := Lines{X: m.X, Y: m.Y, Curves: []Curve{{Name: "a", Hue: Blue, X: x, Y: x}, diverged}}
	marked := dots(decode(t, l), colours[1])
	l.Y.Floor = 0
	assert.Zero(t, dots(decode(t, l), colours[1]))
	assert.Greater(t, marked, 100)

	m.Panels = m.Panels[:3]
	assert.Equal(t, image.Pt(720, 194), decode(t, m).Bounds().Size(), "the legend is the fourth")
	m.Panels[2].Curves[0].X = nil
	_, err := m.PNG()
	assert.EqualError(t, err, "figure: a: want as many X as Y, got 0 and 3")
	_, err = Multiples{Title: "t"}.PNG()
	assert.EqualError(t, err, "figure: t: want a panel at least, got none")
}

// The areas of the data are of one size, and on one line.
func TestAligned(t *testing.T) {
	to := newPage(Size{10, 5, 72})
	var plots [][]*plot.Plot
	for i, row := range [][]string{{"", "long label"}, {"x", ""}} {
		plots = append(plots, nil)
		for j, label := range row {
			p := newPlot(label, Axis{Label: row[1-j]}, Axis{Label: label})
			p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, math.Pow(10, float64(5*i+j))
			plots[i] = append(plots[i], p)
		}
	}
	at := aligned(plots, to.inside(), gap)
	data := func(i, j int) vg.Rectangle { return plots[i][j].DataCanvas(at[i][j]).Rectangle }
	for i := range 2 {
		for j := range 2 {
			d := data(i, j)
			assert.InDelta(t, float64(data(0, 0).Size().X), float64(d.Size().X), 0.01)
			assert.InDelta(t, float64(data(0, 0).Size().Y), float64(d.Size().Y), 0.01)
			assert.InDelta(t, float64(data(0, j).Min.X), float64(d.Min.X), 0.01)
			assert.InDelta(t, float64(data(i, 0).Min.Y), float64(d.Min.Y), 0.01)
			inside := to.inside()
			assert.GreaterOrEqual(t, float64(at[i][j].Min.X), float64(inside.Min.X)-0.01)
			assert.LessOrEqual(t, float64(at[i][j].Max.X), float64(inside.Max.X)+0.01)
		}
	}
}

// Labels that are longer than their axes take little of the plots away.
func TestLongLabels(t *testing.T) {
	for _, label := range []string{"the accuracy on the test images of all the classes, in percent (%)", "accuracyonthetestimagesofalltheclassesinpercent"} {
		areas := map[string]vg.Point{}
		for _, text := range []string{"y", label} {
			to := newPage(Size{6, 2.6, 144})
			var plots [][]*plot.Plot
			for i := range 2 {
				plots = append(plots, nil)
				for range 3 {
					p := newPlot("", Axis{Label: text}, Axis{Label: text})
					p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
					plots[i] = append(plots[i], p)
				}
			}
			at := aligned(plots, to.inside(), gap)
			areas[text] = plots[1][1].DataCanvas(at[1][1]).Size()
			for i := range plots {
				for j, p := range plots[i] {
					data := p.DataCanvas(at[i][j]).Size()
					assert.InDelta(t, float64(areas[text].X), float64(data.X), 0.01)
					assert.InDelta(t, float64(areas[text].Y), float64(data.Y), 0.01)
				}
			}
		}
		assert.Greater(t, float64(areas[label].X/areas["y"].X), 0.4, label)
		assert.Greater(t, float64(areas[label].Y/areas["y"].Y), 0.4, label)
	}
}

func TestManifold(t *testing.T) {
	for name, want := range map[string]Hue{
		"sphere per filter, g_t": Blue, "centred sphere per filter": Sky, "Oblique": Green, "sgd-stiefel": Vermilion, "Euclidean SGD": Black,
		"CentredSphere": Sky, "SpecialOrthogonal": Wine, "Grassmann": Yellow,
		"pio:sphere+oblique": Purple, "PI(Sphere + Stiefel)": Purple, "po:stiefel+sphere": Purple, "PIO with Euclidean": Purple,
	} {
		assert.Equal(t, want, Manifold(name), name)
	}
}

// Readers without one kind of cones tell the hues of manifolds apart: after the simulation of Viénot, Brettel, Mollon 1999 their distances stay
// above 12 in CIELAB, where about 2 can be seen.
func TestColourBlind(t *testing.T) {
	linear := func(c uint8) float64 {
		v := float64(c) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	type matrix [3][3]float64
	times := func(m matrix, v [3]float64) (out [3]float64) {
		for i := range out {
			for j := range v {
				out[i] += m[i][j] * v[j]
			}
		}
		return out
	}
	lab := func(rgb [3]float64) [3]float64 {
		xyz := times(matrix{{0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}}, rgb)
		f := func(v, white float64) float64 {
			if v /= white; v > 0.008856 {
				return math.Cbrt(v)
			}
			return 7.787*v + 16./116
		}
		x, y, z := f(xyz[0], 0.9505), f(xyz[1], 1), f(xyz[2], 1.089)
		return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
	}
	for name, m := range map[string]matrix{
		"all cones":      {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"no long waves":  {{0.11238, 0.88762, 0}, {0.11238, 0.88762, 0}, {0.00401, -0.00401, 1}},
		"no middle ones": {{0.29275, 0.70725, 0}, {0.29275, 0.70725, 0}, {-0.02234, 0.02234, 1}},
		"no short ones":  {{1, 0.14461, -0.14461}, {0, 0.85924, 0.14076}, {0, 0.85924, 0.14076}},
	} {
		see := func(c color.RGBA) [3]float64 { return lab(times(m, [3]float64{linear(c.R), linear(c.G), linear(c.B)})) }
		// The hues of manifolds, and of what has no constraint.
		for _, a := range []Hue{Black, Vermilion, Blue, Green, Sky, Purple} {
			for b := Black; b < a; b++ {
				x, y := see(a.colour()), see(b.colour())
				assert.Greater(t, math.Sqrt((x[0]-y[0])*(x[0]-y[0])+(x[1]-y[1])*(x[1]-y[1])+(x[2]-y[2])*(x[2]-y[2])), 12.0, "%s: %d and %d", name, a, b)
			}
		}
	}
}
