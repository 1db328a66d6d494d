// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
)

func labels(t plot.Ticker, low, high float64) (all []string) {
	for _, tick := range t.Ticks(low, high) {
		all = append(all, tick.Label)
	}
	return all
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		whole     bool
		want      []string
	}{
		{1, 6, true, []string{"1", "2", "3", "4", "5", "6"}},
		{0.5, 1.5, true, []string{"1"}},
		{1, 60, true, []string{"10", "20", "30", "40", "50", "60"}},
		{0, 2.3, false, []string{"0", "0.5", "1", "1.5", "2"}},
		{29.8, 94.1, false, []string{"30", "40", "50", "60", "70", "80", "90"}},
		{0.0012, 0.0018, false, []string{"0.0012", "0.0013", "0.0014", "0.0015", "0.0016", "0.0017", "0.0018"}},
	} {
		assert.Equal(t, test.want, labels(roundTicks{test.whole}, test.low, test.high))
	}
	for _, empty := range [][2]float64{{1e17, 1e17}, {2, 1}, {0, 5e-324}, {-1.5e308, 1.5e308}} {
		assert.Empty(t, labels(roundTicks{}, empty[0], empty[1]))
		assert.Empty(t, labels(roundTicks{whole: true}, empty[0], empty[1]))
	}
	assert.NotEmpty(t, labels(roundTicks{}, 1e300, math.Nextafter(1e300, math.Inf(1))))
	assert.Equal(t, []string{"1e-08", "1e-07", "1e-06", "1e-05", "1e-04", "1e-03", "1e-02", "1e-01", "1e+00", "1e+01"}, labels(decadeTicks{}, -8, 1))
	assert.Equal(t, []string{"0.003", "0.01", "0.03", "0.1", "0.3"}, labels(thirdTicks{}, math.Log10(0.003), math.Log10(0.3)))
}

func TestAxis(t *testing.T) {
	for name, test := range map[string]struct {
		Axis
		low, high float64 // of the data
		min, max  float64
		want      []string
	}{
		"plain":           {Axis{}, 1, 2, 1, 2, []string{"1", "1.2", "1.4", "1.6", "1.8", "2"}},
		"zero":            {Axis{Zero: true}, 1, 2, 0, 2, []string{"0", "0.5", "1", "1.5", "2"}},
		"a large number":  {Axis{}, 1e17, 1e17, 0.999e17, 1.001e17, []string{"9.99e+16", "9.995e+16", "1e+17", "1.0005e+17", "1.001e+17"}},
		"one number":      {Axis{Whole: true}, 1, 1, 0.5, 1.5, []string{"1"}},
		"nothing but 0":   {Axis{Zero: true, Whole: true}, 0, 0, 0, 1, []string{"0", "1"}},
		"no data":         {Axis{Whole: true}, math.Inf(1), math.Inf(-1), 0, 1, []string{"0", "1"}},
		"rates":           {Axis{Log: true}, -2, -1, -2, -1, []string{"0.01", "0.03", "0.1"}},
		"within a decade": {Axis{Log: true}, -0.4, -0.1, -1, 0, []string{"1e-01", "1e+00"}},
		"many decades":    {Axis{Log: true}, -4.5, -0.1, -5, 0, []string{"1e-05", "1e-04", "1e-03", "1e-02", "1e-01", "1e+00"}},
		"own ticks":       {Axis{Ticks: plot.ConstantTicks{{Value: 8, Label: "eight"}}}, 8, 128, 8, 128, []string{"eight"}},
	} {
		a := plot.Axis{Min: test.low, Max: test.high}
		test.finish(&a)
		assert.Equal(t, []float64{test.min, test.max}, []float64{a.Min, a.Max}, name)
		assert.Equal(t, test.want, labels(a.Tick.Marker, a.Min, a.Max), name)
	}
}

// Where numbers are on an axis, and which have no place there.
func TestPlaces(t *testing.T) {
	l := Lines{X: Axis{Log: true}}
	p, err := l.points(Curve{X: []float64{100, 0, -1, 10, 1, math.NaN()}, Y: []float64{-3, 0, 0, 0, math.Inf(1), 0}})
	require.NoError(t, err)
	require.Len(t, p, 2)
	assert.Equal(t, [4]float64{2, -3, 1, 0}, [4]float64{p[0].X, p[0].Y, p[1].X, p[1].Y})
}

func decode(t *testing.T, f interface{ PNG() ([]byte, error) }) image.Image {
	t.Helper()
	b, err := f.PNG()
	require.NoError(t, err)
	im, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	return im
}

// dots counts those of a colour.
func dots(im image.Image, c color.RGBA) (n int) {
	for y := range im.Bounds().Dy() {
		for x := range im.Bounds().Dx() {
			if color.RGBAModel.Convert(im.At(x, y)) == c {
				n++
			}
		}
	}
	return n
}

func TestLines(t *testing.T) {
	x := []float64{1, 2, 3}
	l := Lines{Title: "t", X: Axis{Label: "x"}, Curves: []Curve{
		{Name: "a", X: x, Y: []float64{1, 2, 3}},
		{Name: "b", X: x, Y: []float64{3, 3, 1}, Kind: "k"},
		{Name: "c", X: x, Y: []float64{2, 2, 2}, Kind: "k", Dashed: true},
	}}
	im := decode(t, l)
	assert.Equal(t, image.Pt(1080, 605), im.Bounds().Size(), "7.5 x 4.2 inches")
	assert.Greater(t, dots(im, colours[1]), 1000)
	assert.Zero(t, dots(im, colours[2]), "two curves of one kind")
	l.Curves[2].Kind = ""
	assert.Greater(t, dots(decode(t, l), colours[2]), 1000)

	// A curve without points keeps the colours of the others, and has no place in the legend.
	l.Curves[1].Y = []float64{math.NaN(), math.Inf(1), math.NaN()}
	im = decode(t, l)
	assert.Zero(t, dots(im, colours[1]))
	assert.Greater(t, dots(im, colours[2]), 1000)

	l.Size = Size{Width: 10, Height: 5, DPI: 72}
	assert.Equal(t, image.Pt(720, 360), decode(t, l).Bounds().Size())

	l.Curves[0].Y = nil
	_, err := l.PNG()
	assert.EqualError(t, err, "figure: a: want as many X as Y, got 3 and 0")
}

// Many points are drawn without marks.
func TestManyPoints(t *testing.T) {
	curve := func(n int) (l Lines) {
		c := Curve{Name: "a"}
		for i := range n {
			c.Add(float64(i)/float64(n), 0)
		}
		l.Curves = []Curve{c}
		return l
	}
	assert.Greater(t, dots(decode(t, curve(manyPoints)), colours[0]), dots(decode(t, curve(manyPoints+1)), colours[0])+1000)
}

// What could upset an axis is drawn: nothing at all, one point, zeros, numbers without a logarithm.
func TestExtremes(t *testing.T) {
	for _, curves := range [][]Curve{nil, {{Name: "a"}}, {{X: []float64{1}, Y: []float64{0}}}, {{X: []float64{1, 2}, Y: []float64{-1, 1e-300}}}, {{X: []float64{1, 2}, Y: []float64{5, 5}}}, {{X: []float64{1e17}, Y: []float64{1e17}}}} {
		for _, a := range []Axis{{}, {Whole: true}, {Zero: true}, {Log: true}, {Log: true, Zero: true}} {
			decode(t, Lines{X: a, Y: a, Curves: curves, Note: "note"})
		}
	}
}

func TestPanels(t *testing.T) {
	l := Lines{Title: "t", Curves: []Curve{{Name: "a", X: []float64{1, 2}, Y: []float64{1, 2}}}}
	p := Panels{Rows: [][]Lines{{l, l}, {l, l}}, Size: Size{DPI: 72}}
	assert.Equal(t, image.Pt(648, 518), decode(t, p).Bounds().Size())
	p.Rows[1] = p.Rows[1][:1]
	_, err := p.PNG()
	assert.EqualError(t, err, "figure: want rows of 2 panels, as the first has, got one of 1")
	_, err = Panels{}.PNG()
	assert.Error(t, err)
	l.Curves[0].X = nil
	_, err = Panels{Rows: [][]Lines{{l}}}.PNG()
	assert.Error(t, err)
}

func TestIntervals(t *testing.T) {
	s := Intervals{Title: "t", Rows: []Interval{{Name: "a", Mean: 1, Half: 2}, {Name: "b", Mean: 2, Half: math.NaN()}}, Size: Size{DPI: 100}}
	im := decode(t, s)
	assert.Equal(t, image.Pt(900, 158), im.Bounds().Size(), "as high as two rows need")
	narrow := dots(im, colours[2])
	s.Rows[1].Half = 0.5
	assert.Greater(t, dots(decode(t, s), colours[2]), narrow, "with a second whisker")
	s.Rows[0].Mean = math.NaN()
	_, err := s.PNG()
	assert.ErrorContains(t, err, "figure: t: ")
	_, err = Intervals{Title: "t"}.PNG()
	assert.ErrorContains(t, err, "figure: t: ")
}
