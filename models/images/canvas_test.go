// SPDX-License-Identifier: Apache-2.0

package images

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// inside tells whether p lies in the convex polygon, either orientation.
func inside(ps []point, p point) bool {
	pos, neg := false, false
	for i, a := range ps {
		b := ps[(i+1)%len(ps)]
		cross := (b.x-a.x)*(p.y-a.y) - (b.y-a.y)*(p.x-a.x)
		pos, neg = pos || cross > 0, neg || cross < 0
	}
	return !(pos && neg)
}

// TestCanvas compares the exact coverage with 64x64 samples a pixel, for
// rectangles that lie anywhere, across every border too.
func TestCanvas(t *testing.T) {
	const side, samples = 6, 64
	rng := rand.New(rand.NewPCG(1, 2))
	c := newCanvas(side)
	for range 60 {
		cx, cy := 10*rng.Float64()-2, 10*rng.Float64()-2
		sin, cos := math.Sincos(2 * math.Pi * rng.Float64())
		u, v := 0.2+4*rng.Float64(), 0.2+2*rng.Float64()
		if rng.IntN(8) == 0 {
			sin, cos = 0, 1 // along the axes
		}
		at := func(a, b float64) point { return point{cx + cos*a - sin*b, cy + sin*a + cos*b} }
		ps := []point{at(-u, -v), at(u, -v), at(u, v), at(-u, v)}
		if rng.IntN(2) == 0 {
			ps[1], ps[3] = ps[3], ps[1]
		}
		c.clear()
		c.polygon(ps)
		for i, got := range c.coverage() {
			n := 0
			for s := range samples * samples {
				x := float64(i%side) + (float64(s%samples)+0.5)/samples
				y := float64(i/side) + (float64(s/samples)+0.5)/samples
				if inside(ps, point{x, y}) {
					n++
				}
			}
			assert.InDelta(t, float64(n)/(samples*samples), got, 2.0/samples, "pixel %d of %v", i, ps)
		}
	}
}

// TestGlyphs checks that each face has ten different digits of height about 1.
func TestGlyphs(t *testing.T) {
	faces, err := loadGlyphs("0123456789")
	assert.NoError(t, err)
	assert.Len(t, faces, 10)
	for _, face := range faces {
		for d, g := range face {
			low, high := math.Inf(1), math.Inf(-1)
			for _, path := range g {
				for _, p := range path {
					low, high = min(low, p.y), max(high, p.y)
				}
			}
			assert.InDelta(t, 0, low+high, 0.1, "centred")
			assert.InDelta(t, 1, high-low, 0.15, "digit %d", d)
			// 8 has two holes, 0 4 6 9 one; the zero of the fixed-width faces has a bar.
			if d == 8 {
				assert.Len(t, g, 3)
			}
			if d == 1 || d == 7 {
				assert.Len(t, g, 1)
			}
		}
	}
}
