// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// show keeps a picture in the folder KERNELFOLD_PICTURES, if that is set, to be looked at.
func show(t *testing.T, name string, b []byte) {
	if dir := os.Getenv("KERNELFOLD_PICTURES"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
}

func TestHeat(t *testing.T) {
	for _, n := range []int{3, 20, 100} {
		h := Heat{Title: "Confusion, " + fmt.Sprint(n), X: "predicted", Y: "class"}
		for i := range n {
			name := fmt.Sprint("class ", i)
			h.Rows, h.Columns = append(h.Rows, name), append(h.Columns, name)
			row := make([]float64, n)
			row[i], row[(i+1)%n] = 1, 0.25
			h.Values = append(h.Values, row)
		}
		b, err := h.PNG()
		require.NoError(t, err)
		show(t, fmt.Sprintf("heat-%d.png", n), b)
		blue := count(t, b, colours[2])
		assert.Greater(t, blue, n*8, "a square for each 1")
		h.Values[0][0] = math.NaN()
		b, err = h.PNG()
		require.NoError(t, err)
		assert.Less(t, count(t, b, colours[2]), blue)
	}
	for want, h := range map[string]Heat{
		"figure: want a row of values for each of 1 names, got 0": {Rows: []string{"a"}, Columns: []string{"a"}},
		"figure: row a: want 2 values, got 1":                     {Rows: []string{"a"}, Columns: []string{"a", "b"}, Values: [][]float64{{1}}},
		"figure: row a: want values of 0 to 1, got 1.5":           {Rows: []string{"a"}, Columns: []string{"a"}, Values: [][]float64{{1.5}}},
	} {
		_, err := h.PNG()
		assert.EqualError(t, err, want)
	}
}

func TestSheet(t *testing.T) {
	red := color.RGBA{0xff, 0, 0, 0xff}
	small := image.NewRGBA(image.Rect(0, 0, 2, 1))
	small.Set(0, 0, red)
	small.Set(1, 0, colours[2])
	s := Sheet{Title: "The worst pictures", Across: 3}
	for i := range 5 {
		s.Pictures = append(s.Pictures, Captioned{small, []string{fmt.Sprint("picture ", i), "cat, taken for dog", "a line that is much longer than a picture is wide"}})
	}
	b, err := s.PNG()
	require.NoError(t, err)
	show(t, "sheet.png", b)
	// A pixel is a square of half the picture's width: 5 x (1.35 - 0.11)^2/4 square inches, less its edges.
	assert.InEpsilon(t, 5*math.Pow(1.24*110, 2)/4, count(t, b, red), 0.1)
	assert.InEpsilon(t, 5*math.Pow(1.24*110, 2)/4, count(t, b, colours[2]), 0.1)
	_, err = Sheet{}.PNG()
	assert.NoError(t, err)
	_, err = Sheet{Pictures: []Captioned{{}}}.PNG()
	assert.EqualError(t, err, "figure: picture 0: want one with pixels, got none")
}
