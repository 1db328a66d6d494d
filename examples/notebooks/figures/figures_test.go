// SPDX-License-Identifier: Apache-2.0

package figures_test

import (
	"bytes"
	"image/png"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/notebooks/figures"
	"github.com/kernelfold/kernelfold/solvers"
)

// Every figure is a picture, also one that cannot be drawn.
func TestPNG(t *testing.T) {
	good := figures.Lines{Title: "t", Curves: []figures.Curve{{Name: "c", X: []float64{1, 2}, Y: []float64{3, 4}}}}
	bad := figures.Lines{Curves: []figures.Curve{{Name: "c", X: []float64{1, 2}, Y: []float64{3}}}}
	for name, f := range map[string]interface{ PNG() []byte }{
		"lines": good, "lines, error": bad, "panels": figures.Panels{Rows: [][]figures.Lines{{good, good}}}, "panels, error": figures.Panels{},
		"images": figures.Images{Rows: []figures.Row{{Name: "r", Images: figures.Cut([]float32{1, 2, 3, 4}, 2, 2)}}},
		"sphere": figures.Sphere{Curves: []figures.Path{{Name: "p", Points: []figures.Vector{{1, 0, 0}, {0, 1, 0}}}}},
	} {
		_, err := png.Decode(bytes.NewReader(f.PNG()))
		require.NoError(t, err, name)
	}
	assert.Equal(t, "plot: t", good.String())
	assert.Equal(t, "plots: t", figures.Panels{Rows: [][]figures.Lines{{good}}}.String())
}

func TestHistogram(t *testing.T) {
	c := figures.Histogram("h", []float64{-9, 0.1, 0.6, 1, 9, math.NaN(), math.Inf(1), math.Inf(-1)}, 0, 1, 2)
	assert.Equal(t, []float64{0, 0, 0.5, 0.5, 1, 1}, c.X)
	assert.Equal(t, []float64{0, 37.5, 37.5, 50, 50, 0}, c.Y, "of eight values three are in the first half, four in the second")

	c = figures.Histogram("h", []float64{2, 4}, 0, 0, 1)
	assert.Equal(t, []float64{2, 2, 4, 4}, c.X)
	assert.Equal(t, []float64{0, 100, 100, 0}, c.Y)
	c = figures.Histogram("h", []float64{3}, 0, 0, 0)
	assert.Equal(t, []float64{2.5, 2.5, 3.5, 3.5}, c.X)
	c = figures.Histogram("h", []float64{1e17}, 0, 0, 10)
	assert.Equal(t, [2]float64{0.999e17, 1.001e17}, [2]float64{c.X[0], c.X[len(c.X)-1]})
	assert.Contains(t, c.Y, 100.0)
	c = figures.Histogram("h", []float64{-1e308, 1e308}, 0, 0, 2)
	assert.Equal(t, []float64{-1e308, -1e308, 0, 0, 1e308, 1e308}, c.X)
	assert.Equal(t, []float64{0, 50, 50, 50, 50, 0}, c.Y)
	c = figures.Histogram("h", []float64{0}, 0, 5e-324, 10)
	assert.Equal(t, 100.0, c.Y[1])
	c = figures.Histogram("h", nil, 0, 0, 1)
	assert.Equal(t, []float64{0, 0, 0, 0}, c.Y)
}

// A check of gradients has a curve for each parameter, and a line for each slope above rounding.
func TestGradients(t *testing.T) {
	c := solvers.GradientCheck{Parameters: []solvers.ParameterCheck{
		{Name: "w", Verdict: solvers.GradientRight, T: []float64{0.01, 0.1, 1}, Error: []float64{0.0002, 0.02, 2}, Rounding: []float64{0.001, 0.001, 0.001}},
		{Name: "b", Verdict: solvers.GradientWrong, T: []float64{0.01, 0.1, 1}, Error: []float64{0.01, 0.1, math.NaN()}, Rounding: []float64{0, 0, 0}},
	}}
	l := figures.Gradients(c)
	require.Len(t, l.Curves, 4)
	assert.Equal(t, "w: right", l.Curves[0].Name)
	assert.Equal(t, "b: wrong", l.Curves[1].Name)
	assert.InDeltaSlice(t, []float64{0.02, 0.2, 2}, l.Curves[2].Y, 1e-15)
	assert.Equal(t, []float64{0.1, 1}, l.Curves[3].X, "the line of slope 2 ends in rounding")
	assert.InDeltaSlice(t, []float64{0.02, 2}, l.Curves[3].Y, 1e-15)
	_, err := png.Decode(bytes.NewReader(l.PNG()))
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(figures.Gradients(solvers.GradientCheck{}).PNG()))
	require.NoError(t, err)
}
