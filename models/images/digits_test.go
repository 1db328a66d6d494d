// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

func TestDigits(t *testing.T) {
	s, err := images.Digits(1, 600, 100, images.DigitOptions{})
	require.NoError(t, err)
	assert.Equal(t, [3]int{1, 20, 20}, s.Shape())
	assert.Equal(t, 600, s.Train.Len())
	assert.Equal(t, 100, s.Test.Len())
	assert.Len(t, s.Classes, 10)
	checkNormalised(t, s)
	var count [10]int
	for _, l := range s.Train.Labels {
		count[l]++
	}
	for c, n := range count { // binomial: 60 +- 7.3
		assert.InDelta(t, 60, n, 30, "class %d", c)
	}
}

func digest(s *images.Set) string {
	h := sha256.New()
	for _, part := range []images.Split{s.Train, s.Test} {
		for i, v := range part.Images {
			h.Write([]byte{byte(math.Round(float64(v*s.Std[0]+s.Mean[0]) * 255)), byte(part.Labels[i/(s.Height*s.Width)])})
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// TestDigitsReproducible pins the bytes, so that published comparisons can be
// repeated.
func TestDigitsReproducible(t *testing.T) {
	draw := func(seed uint64, train int) *images.Set {
		s, err := images.Digits(seed, train, 20, images.DigitOptions{})
		require.NoError(t, err)
		return s
	}
	one := draw(1, 50)
	assert.Equal(t, one, draw(1, 50))
	assert.NotEqual(t, digest(one), digest(draw(2, 50)))
	// Image i does not depend on how many there are.
	assert.Equal(t, one.Train.Labels, draw(1, 80).Train.Labels[:50])
	if runtime.GOARCH == "amd64" { // elsewhere the compiler may fuse products and sums
		assert.Equal(t, "4420aaf12c910f91", digest(one))
	}
}

// TestDigitsClean checks that without noise, clutter and distortion a digit is
// ink on a smooth ground: classes differ, the border is empty.
func TestDigitsClean(t *testing.T) {
	s, err := images.Digits(3, 100, 1, images.DigitOptions{Side: 32, Noise: -1, Clutter: -1, Distortion: -1})
	require.NoError(t, err)
	assert.Equal(t, [3]int{1, 32, 32}, s.Shape())
	at := func(i, y, x int) float64 {
		return float64(s.Train.Images[(i*32+y)*32+x]*s.Std[0] + s.Mean[0])
	}
	for i := range s.Train.Len() {
		for x := range 31 {
			assert.InDelta(t, at(i, 0, x), at(i, 0, x+1), 0.02, "the ground is smooth")
		}
		far := 0.0
		for y := 8; y < 24; y++ {
			for x := 8; x < 24; x++ {
				far = max(far, math.Abs(at(i, y, x)-at(i, 0, 0)))
			}
		}
		assert.Greater(t, far, 0.2, "the ink stands out")
	}
}

func TestDigitsBadOptions(t *testing.T) {
	for want, call := range map[string]func() (*images.Set, error){
		"got 0 and 1":      func() (*images.Set, error) { return images.Digits(1, 0, 1, images.DigitOptions{}) },
		"got -3":           func() (*images.Set, error) { return images.Digits(1, 1, 1, images.DigitOptions{Side: -3}) },
		"8..512":           func() (*images.Set, error) { return images.Digits(1, 1, 1, images.DigitOptions{Side: 7}) },
		"got NaN":          func() (*images.Set, error) { return images.Digits(1, 1, 1, images.DigitOptions{Noise: math.NaN()}) },
		"at most 100, got": func() (*images.Set, error) { return images.Digits(1, 1, 1, images.DigitOptions{Clutter: math.Inf(1)}) },
	} {
		_, err := call()
		assert.ErrorContains(t, err, want)
	}
}

// Memory is bounded, whatever the numbers.
func TestDigitsRefusesMany(t *testing.T) {
	for _, n := range [][2]int{{math.MaxInt / 2, math.MaxInt / 10}, {671_088, 1}, {1, math.MaxInt}, {math.MaxInt, math.MaxInt}} {
		_, err := images.Digits(1, n[0], n[1], images.DigitOptions{})
		assert.ErrorContains(t, err, "want at most 671088 images of 20x20 in all")
	}
}
