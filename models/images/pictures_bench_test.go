// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// BenchmarkFolder lists a folder of 10^5 files in 100 classes.
func BenchmarkFolder(b *testing.B) {
	dir := b.TempDir()
	for c := range 100 {
		class := filepath.Join(dir, fmt.Sprint("class", c))
		require.NoError(b, os.Mkdir(class, 0o777))
		for i := range 1000 {
			require.NoError(b, os.WriteFile(filepath.Join(class, fmt.Sprint("picture", i, ".jpg")), nil, 0o666))
		}
	}
	for b.Loop() {
		p, err := images.Folder(dir, images.FolderOptions{})
		require.NoError(b, err)
		require.Equal(b, 100_000, p.Len())
	}
}

// BenchmarkExample decodes a JPEG picture of about 500 pixels a side and makes an image of 224 pixels a side, as in evaluation and in training.
func BenchmarkExample(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, images.Draw(b.Context(), dir, images.DrawOptions{Classes: "A", PerClass: 8, Side: 480}))
	standard, colours := images.StandardTransform(), images.StandardTransform()
	colours.Brightness, colours.Contrast, colours.Saturation, colours.Hue = 0.4, 0.4, 0.4, 0.1
	for name, t := range map[string]*images.Transform{"evaluation": nil, "training": &standard, "colours": &colours} {
		b.Run(name, func(b *testing.B) {
			o := images.FolderOptions{}
			var rng *rand.Rand
			if t != nil {
				o.Transform, rng = *t, rand.New(rand.NewPCG(1, 1))
			}
			p, err := images.Folder(dir, o)
			require.NoError(b, err)
			row := []any{make([]float32, 3*224*224)}
			i := 0
			for b.Loop() {
				require.NoError(b, p.Example(i%p.Len(), row, rng))
				i++
			}
		})
	}
}
