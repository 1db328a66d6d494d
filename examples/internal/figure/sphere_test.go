// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"bytes"
	"image/color"
	"image/png"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSphereHides(t *testing.T) {
	for _, c := range []struct {
		v    Vector
		want bool
	}{
		{Vector{0, 0, 1}, false}, {Vector{0, 0, -1}, true}, {Vector{0, 0, 2}, false}, {Vector{0, 0, -2}, true}, {Vector{0.9, 0, 0.1}, true},
		{Vector{1.2, 0, -1}, false}, {Vector{0.6, 0, 0.799}, false}, {Vector{0.6, 0, -0.8}, true}, {Vector{0, 0, 0}, true},
	} {
		assert.Equal(t, c.want, hidden(c.v), "%v", c.v)
	}
}

func TestSphereView(t *testing.T) {
	s := Sphere{Azimuth: 90, Elevation: 30}
	assert.InDeltaSlice(t, []float64{-1, 0, 0}, slice(s.view(Vector{1, 0, 0})), 1e-12, "the first axis points left from the second")
	assert.InDeltaSlice(t, []float64{0, -0.5, math.Sqrt(3) / 2}, slice(s.view(Vector{0, 1, 0})), 1e-12)
	assert.InDeltaSlice(t, []float64{0, math.Sqrt(3) / 2, 0.5}, slice(s.view(Vector{0, 0, 1})), 1e-12)
}

func slice(v Vector) []float64 { return v[:] }

func TestPlaneIsTangent(t *testing.T) {
	for _, at := range []Vector{{0, 0, 1}, {1, 2, -2}, {0, -1, 0}} {
		n := math.Sqrt(dot(at, at))
		for _, c := range (Plane{At: at, Half: 0.5}).corners() {
			assert.InDelta(t, n, dot(c, at), 1e-12)
			assert.InDelta(t, 1.5, dot(c, c), 1e-12)
		}
	}
}

// The colour of a path is in the picture as it is where the path is in front, and paler where it is behind.
func TestSpherePNG(t *testing.T) {
	equator := circle(90, Vector{1, 0, 0}, Vector{0, 1, 0}, Vector{})
	b, err := Sphere{
		Title: "A sphere", Curves: []Path{{Name: "outline"}, {Name: "equator", Points: equator}},
		Arrows: []Arrow{{Name: "up", From: Vector{0, 0, 1}, To: Vector{0.4, 0, 1}}}, Planes: []Plane{{At: Vector{0, 0, 1}}},
	}.PNG()
	require.NoError(t, err)
	if dir := os.Getenv("KERNELFOLD_PICTURES"); dir != "" {
		require.NoError(t, os.WriteFile(dir+"/sphere.png", b, 0o644))
	}
	front, behind := count(t, b, colours[1]), count(t, b, pale(colours[1], 0.4))
	assert.Greater(t, front, 300)
	assert.Greater(t, behind, 300)

	_, err = Sphere{Curves: []Path{{Name: "c", Points: []Vector{{math.NaN(), 0, 0}}}}}.PNG()
	assert.ErrorContains(t, err, "figure: c: want finite points")
	_, err = Sphere{Planes: []Plane{{}}}.PNG()
	assert.ErrorContains(t, err, "want a tangent plane")
}

// count returns the dots of a colour.
func count(t *testing.T, b []byte, c color.RGBA) (n int) {
	t.Helper()
	im, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	for y := range im.Bounds().Dy() {
		for x := range im.Bounds().Dx() {
			if color.RGBAModel.Convert(im.At(x, y)) == c {
				n++
			}
		}
	}
	return n
}

func TestImages(t *testing.T) {
	b, err := Images{Title: "Filters", Signed: true, Rows: []Row{
		{"before", Cut([]float32{1, 0, -1, 0, 0, 0, 0, 0, 0.5}, 3, 3)},
		{"after", Cut([]float32{0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0}, 3, 3)},
	}}.PNG()
	require.NoError(t, err)
	if dir := os.Getenv("KERNELFOLD_PICTURES"); dir != "" {
		require.NoError(t, os.WriteFile(dir+"/images.png", b, 0o644))
	}
	assert.Greater(t, count(t, b, colours[1]), 100, "1 is all orange")
	assert.Greater(t, count(t, b, colours[2]), 100, "-1 is all blue")

	_, err = Images{Rows: []Row{{"r", []Image{{2, 2, []float32{1}}}}}}.PNG()
	assert.ErrorContains(t, err, "figure: r: want 2x2 pixels in image 0, got 1")
	_, err = Images{Rows: []Row{{"r", []Image{{1, 1, []float32{float32(math.NaN())}}}}}}.PNG()
	assert.ErrorContains(t, err, "want finite pixels")
}

func TestCut(t *testing.T) {
	assert.Equal(t, []Image{{1, 2, []float32{1, 2}}, {1, 2, []float32{3, 4}}}, Cut([]float32{1, 2, 3, 4, 5}, 1, 2))
	assert.Empty(t, Cut([]float32{1}, 0, 3))
}
