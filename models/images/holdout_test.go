// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// numbered has images of two pixels that say their number and their label; of class c
// there are c+1 in 55.
func numbered(n int) images.Split {
	s := images.Split{Name: "train"}
	for i := range n {
		label := 0
		for k := i % 55; k > label; label++ {
			k -= label + 1
		}
		s.Labels = append(s.Labels, label)
		s.Images = append(s.Images, float32(i), float32(label))
	}
	return s
}

func TestHoldout(t *testing.T) {
	s := numbered(550)
	count := func(p images.Split) (n [10]int) {
		for i, l := range p.Labels {
			n[l]++
			assert.Equal(t, float32(l), p.Images[2*i+1])
			if i > 0 {
				assert.Greater(t, p.Images[2*i], p.Images[2*i-2], "the order of the images")
			}
		}
		return n
	}
	all := count(s)
	for _, n := range []int{0, 1, 55, 57, 110, 549} {
		rest, held, err := s.Holdout(n, 7)
		require.NoError(t, err)
		assert.Equal(t, "train", rest.Name)
		assert.Equal(t, "validation", held.Name)
		assert.Equal(t, n, held.Len())
		assert.Equal(t, 550-n, rest.Len())
		assert.Len(t, held.Images, 2*n)
		a, b := count(rest), count(held)
		for c := range all {
			assert.Equal(t, all[c], a[c]+b[c])
			assert.InDelta(t, float64(all[c]*n)/550, b[c], 0.9999, "%d held out, class %d", n, c)
		}
		seen := map[float32]bool{}
		for i := range 550 {
			if i < n {
				seen[held.Images[2*i]] = true
			} else {
				seen[rest.Images[2*(i-n)]] = true
			}
		}
		assert.Len(t, seen, 550, "every image is in one part")
	}
	_, one, err := s.Holdout(100, 1)
	require.NoError(t, err)
	_, again, err := s.Holdout(100, 1)
	require.NoError(t, err)
	_, other, err := s.Holdout(100, 2)
	require.NoError(t, err)
	assert.Equal(t, one, again)
	assert.NotEqual(t, one, other)
	for _, n := range []int{-1, 550} {
		_, _, err := s.Holdout(n, 1)
		assert.ErrorContains(t, err, "want to hold out fewer than the 550 images")
	}
}
