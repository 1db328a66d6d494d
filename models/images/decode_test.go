// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"image"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Pictures of all formats are those that Pillow reads: testdata/formats.py.
func TestFormats(t *testing.T) {
	b, err := os.ReadFile("testdata/formats.json")
	require.NoError(t, err)
	var all map[string]struct {
		Width, Height int
		Pixels        []int
	}
	require.NoError(t, json.Unmarshal(b, &all))
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			m, err := readPicture("testdata/formats/" + name)
			if strings.HasPrefix(name, "unknown") {
				assert.ErrorIs(t, err, ErrFormat)
				return
			}
			require.NoError(t, err)
			w, h := m.size()
			require.Equal(t, [2]int{want.Width, want.Height}, [2]int{w, h})
			tolerance := 0.
			switch {
			case strings.HasSuffix(name, ".jpg"):
				tolerance = 3 // the inverse cosine transforms differ
			case name == "lossy.webp":
				tolerance = 20 // the colours of four pixels are one, which Pillow interpolates
			case name == "grey-lossy.webp":
				tolerance = 1
			}
			got := ints(m.scaled(image.Rect(0, 0, w, h), w, h, image.Rect(0, 0, w, h), 3))
			assert.InDeltaSlice(t, want.Pixels, got, tolerance)
		})
	}
}
