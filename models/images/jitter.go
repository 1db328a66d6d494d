// SPDX-License-Identifier: Apache-2.0

package images

import (
	"math"
	"math/rand/v2"
)

// jitter changes the colours of an image of numbers in 0..1, channel after channel.
func (t Transform) jitter(x []float32, channels int, rng *rand.Rand) {
	order := rng.Perm(4)
	factor := func(by float64) float32 { return float32(between(rng, max(0, 1-by), 1+by)) }
	brightness, contrast, saturation := factor(t.Brightness), factor(t.Contrast), factor(t.Saturation)
	hue := between(rng, -t.Hue, t.Hue)
	for _, k := range order {
		switch {
		case k == 0 && t.Brightness > 0:
			brighten(x, brightness)
		case k == 1 && t.Contrast > 0:
			stretch(x, channels, contrast)
		case k == 2 && t.Saturation > 0 && channels == 3:
			saturate(x, saturation)
		case k == 3 && t.Hue > 0 && channels == 3:
			turnHue(x, hue)
		}
	}
}

// blend is a v + (1 - a) w in 0..1.
func blend(a, v, w float32) float32 { return min(1, max(0, a*v+(1-a)*w)) }

// luma is the grey of a colour, with the weights of torchvision for tensors.
func luma(r, g, b float32) float32 { return 0.2989*r + 0.587*g + 0.114*b }

// brighten multiplies all numbers.
func brighten(x []float32, a float32) {
	for i, v := range x {
		x[i] = blend(a, v, 0)
	}
}

// stretch multiplies the distance to the mean of the grey picture.
func stretch(x []float32, channels int, a float32) {
	n, sum := len(x)/channels, 0.0
	for i := range n {
		if channels == 3 {
			sum += float64(luma(x[i], x[n+i], x[2*n+i]))
		} else {
			sum += float64(x[i])
		}
	}
	mean := float32(sum / float64(n))
	for i, v := range x {
		x[i] = blend(a, v, mean)
	}
}

// saturate multiplies the distance of each pixel to its grey.
func saturate(x []float32, a float32) {
	n := len(x) / 3
	for i := range n {
		r, g, b := &x[i], &x[n+i], &x[2*n+i]
		y := luma(*r, *g, *b)
		*r, *g, *b = blend(a, *r, y), blend(a, *g, y), blend(a, *b, y)
	}
}

// turnHue adds by, in turns, to the hue of each pixel in the model of hue, saturation and value: with v the largest of a pixel's
// channels and c the difference to the smallest, the hue is the place on the hexagon of red, yellow, green, cyan, blue and magenta.
func turnHue(x []float32, by float64) {
	n := len(x) / 3
	for i := range n {
		r, g, b := float64(x[i]), float64(x[n+i]), float64(x[2*n+i])
		v := max(r, g, b)
		c := v - min(r, g, b)
		if c == 0 {
			continue // grey has no hue
		}
		var h float64 // in sixths of a turn
		switch v {
		case r:
			h = (g - b) / c
		case g:
			h = 2 + (b-r)/c
		default:
			h = 4 + (r-g)/c
		}
		h = math.Mod(h+6*by+12, 6)
		for k, from := range [3]float64{5, 3, 1} { // a channel falls and rises by c along the hexagon
			d := math.Mod(from+h, 6)
			x[k*n+i] = float32(v - c*max(0, min(d, 4-d, 1)))
		}
	}
}
