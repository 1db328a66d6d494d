// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
)

// Transform varies the pictures of a training part at random, differently each time, in this order: a random part of the picture is scaled
// to the size of the net's input, as torchvision's RandomResizedCrop does; it is mirrored; and its colours are changed, as torchvision's
// ColorJitter does. The zero value changes nothing: pictures are then as in evaluation.
type Transform struct {
	// Scale is the smallest and the largest share of the area of the picture that a crop has, and Ratio the least and the greatest
	// proportion of its width to its height. Without Scale, crops are in the middle, as in evaluation. Ratio is by default
	// 3/4 to 4/3.
	Scale, Ratio [2]float64
	// Flip mirrors left and right with probability 1/2. It is not suitable for digits and letters.
	Flip bool
	// Brightness, Contrast and Saturation multiply that property by a number from 1 - x to 1 + x, which is not negative. Hue, at most
	// 1/2, turns the hue by -x..x of the colour circle. The four come in random order. Grey pictures have no saturation and no hue.
	Brightness, Contrast, Saturation, Hue float64
}

// StandardTransform is the usual transform for training on ImageNet: crops of 8 % to 100 % of the area, and mirror images.
func StandardTransform() Transform {
	return Transform{Scale: [2]float64{0.08, 1}, Ratio: [2]float64{3. / 4, 4. / 3}, Flip: true}
}

func (t Transform) withDefaults() (Transform, error) {
	crops := t.Scale != [2]float64{}
	switch unset := t.Ratio == [2]float64{}; {
	case crops && unset:
		t.Ratio = [2]float64{3. / 4, 4. / 3}
	case !crops && !unset:
		return t, fmt.Errorf("images: want a scale for crops of the ratio %v, got none", t.Ratio)
	}
	if crops && !(t.Scale[0] > 0 && t.Scale[0] <= t.Scale[1] && t.Scale[1] <= 1) {
		return t, fmt.Errorf("images: want crops of a share of the area from above 0 to 1, the smaller first, got %v", t.Scale)
	}
	if crops && !(t.Ratio[0] > 0 && t.Ratio[0] <= t.Ratio[1] && !math.IsInf(t.Ratio[1], 1)) {
		return t, fmt.Errorf("images: want a range of ratios above 0, the smaller first, got %v", t.Ratio)
	}
	for _, v := range []float64{t.Brightness, t.Contrast, t.Saturation, t.Hue} {
		if !(v >= 0) || math.IsInf(v, 1) {
			return t, fmt.Errorf("images: want changes of colour of 0 at least, got %v", v)
		}
	}
	if t.Hue > 0.5 {
		return t, fmt.Errorf("images: want a change of hue of at most 1/2, got %v", t.Hue)
	}
	return t, nil
}

// crop draws the part of a picture of w x h: a share of the area and a proportion, the latter on a logarithmic scale. If ten
// draws do not fit, it is the largest part in the middle that has an allowed proportion.
func (t Transform) crop(w, h int, rng *rand.Rand) image.Rectangle {
	area := float64(w) * float64(h)
	for range 10 {
		target := area * between(rng, t.Scale[0], t.Scale[1])
		ratio := math.Exp(between(rng, math.Log(t.Ratio[0]), math.Log(t.Ratio[1])))
		cw, ch := int(math.RoundToEven(math.Sqrt(target*ratio))), int(math.RoundToEven(math.Sqrt(target/ratio)))
		if cw > 0 && cw <= w && ch > 0 && ch <= h {
			y, x := rng.IntN(h-ch+1), rng.IntN(w-cw+1)
			return image.Rect(x, y, x+cw, y+ch)
		}
	}
	cw, ch := w, h
	switch ratio := float64(w) / float64(h); {
	case ratio < t.Ratio[0]:
		ch = max(1, int(math.RoundToEven(float64(cw)/t.Ratio[0])))
	case ratio > t.Ratio[1]:
		cw = max(1, int(math.RoundToEven(float64(ch)*t.Ratio[1])))
	}
	cw, ch = min(cw, w), min(ch, h)
	x, y := (w-cw)/2, (h-ch)/2
	return image.Rect(x, y, x+cw, y+ch)
}

func between(rng *rand.Rand, a, b float64) float64 { return a + (b-a)*rng.Float64() }

// apply writes a variant of a picture to x.
func (t Transform) apply(x []float32, m *decoded, by Preprocessing, rng *rand.Rand) {
	var p *planes
	if t.Scale == [2]float64{} {
		p = m.middle(by.Resize, by.Size, by.Channels())
	} else {
		w, h := m.size()
		p = m.scaled(t.crop(w, h, rng), by.Size, by.Size, image.Rect(0, 0, by.Size, by.Size), by.Channels())
	}
	if t.Flip && rng.Uint64()>>63 == 1 {
		p.flip()
	}
	if t.Brightness == 0 && t.Contrast == 0 && t.Saturation == 0 && t.Hue == 0 {
		p.floats(x, by)
		return
	}
	p.floats(x, unnormalised)
	t.jitter(x, len(p.pix), rng)
	n := len(x) / len(p.pix)
	for c := range p.pix {
		for i, v := range x[c*n : (c+1)*n] {
			x[c*n+i] = (v - by.Mean[c]) / by.Std[c]
		}
	}
}

// unnormalised leaves pixels in 0..1.
var unnormalised = Preprocessing{Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}

func (p *planes) flip() {
	for _, plane := range p.pix {
		for y := range p.height {
			row := plane[y*p.width:][:p.width]
			for i, j := 0, len(row)-1; i < j; i, j = i+1, j-1 {
				row[i], row[j] = row[j], row[i]
			}
		}
	}
}
