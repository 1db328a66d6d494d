// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"image"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reference holds the results of torchvision: testdata/transforms.py.
type reference struct {
	Middle []struct {
		Picture      string
		Resize, Size int
		Pixels       []int
	}
	Crops []struct {
		Picture string
		Box     [4]int
		Size    int
		Pixels  []int
	}
	Colours []struct {
		Change        string
		By            float64
		Channels      int
		Before, After []float32
	}
	Fallback []struct {
		Size [2]int
		Box  [4]int
	}
}

func readReference(t *testing.T) (r reference) {
	b, err := os.ReadFile("testdata/transforms.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r))
	return r
}

func ints(p *planes) (all []int) {
	for _, plane := range p.pix {
		for _, v := range plane {
			all = append(all, int(v))
		}
	}
	return all
}

func box(b [4]int) image.Rectangle { return image.Rect(b[0], b[1], b[2], b[3]) }

// Scaled pictures are those of torchvision to the last bit.
func TestScaling(t *testing.T) {
	ref := readReference(t)
	channels := map[string]int{"wide": 3, "tall": 3, "grey": 1}
	open := func(name string) *decoded {
		m, err := readPicture("testdata/pictures/" + name + ".png")
		require.NoError(t, err)
		return m
	}
	for _, c := range ref.Middle {
		assert.Equal(t, c.Pixels, ints(open(c.Picture).middle(c.Resize, c.Size, channels[c.Picture])), "%s, %d, %d", c.Picture, c.Resize, c.Size)
	}
	for _, c := range ref.Crops {
		got := open(c.Picture).scaled(box(c.Box), c.Size, c.Size, image.Rect(0, 0, c.Size, c.Size), channels[c.Picture])
		assert.Equal(t, c.Pixels, ints(got), "%s, %v", c.Picture, c.Box)
	}
}

// Changes of colour are those of torchvision for tensors.
func TestColours(t *testing.T) {
	for _, c := range readReference(t).Colours {
		x := append([]float32{}, c.Before...)
		switch {
		case c.Change == "brightness":
			brighten(x, float32(c.By))
		case c.Change == "contrast":
			stretch(x, c.Channels, float32(c.By))
		case c.Channels == 1:
		case c.Change == "saturation":
			saturate(x, float32(c.By))
		case c.Change == "hue":
			turnHue(x, c.By)
		}
		assert.InDeltaSlice(t, c.After, x, 2e-6, "%s by %v, %d channels", c.Change, c.By, c.Channels)
	}
}

// Crops have the required share of the area and proportion; where none fits, the crop is that of torchvision.
func TestCrops(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	tr := StandardTransform()
	smallest, largest, left := 1.0, 0.0, 0
	for range 2000 {
		b := tr.crop(300, 200, rng)
		require.True(t, b.In(image.Rect(0, 0, 300, 200)))
		area, ratio := float64(b.Dx()*b.Dy())/60000, float64(b.Dx())/float64(b.Dy())
		assert.True(t, ratio > 0.73 && ratio < 1.37, ratio)
		smallest, largest, left = min(smallest, area), max(largest, area), max(left, b.Min.X)
	}
	assert.InDelta(t, 0.08, smallest, 0.005)
	assert.InDelta(t, 0.88, largest, 0.02) // the square of ratio 4/3: 266 x 200
	assert.Greater(t, left, 200)
	never := Transform{Scale: [2]float64{4, 4}, Ratio: tr.Ratio}
	for _, c := range readReference(t).Fallback {
		assert.Equal(t, box(c.Box), never.crop(c.Size[0], c.Size[1], rng), "%v", c.Size)
	}
}
