// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Planes end where those of the next image begin, as another core may be writing them: vec.Place rewrites elements beside those that it sets.
func TestShortcutPlanesEnd(t *testing.T) {
	s := shortcut[float32]{shortcutLayer{images: 2, from: 2, to: 5, before: 1, stride: 2, height: 15, width: 15, rows: 8, columns: 8}}
	x, y := make([]float32, 2*2*15*15), make([]float32, 2*5*8*8)
	for _, dst := range [][]float32{x, y} {
		s.each(dst, x, y, func(x, y []float32) {
			assert.Len(t, x, 15*15)
			assert.Len(t, y, 8*8)
		})
	}
}
