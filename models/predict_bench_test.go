// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
)

// BenchmarkPredict predicts 1, 16 and 256 images with a ResNet-20 of batch 128.
func BenchmarkPredict(b *testing.B) {
	m, err := models.ResNet(128, 20, models.Options{Shape: [3]int{3, 32, 32}, Classes: 10, Seed: 1})
	require.NoError(b, err)
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, err := m.Predictor()
			require.NoError(b, err)
			defer p.Close()
			images := make([]float32, n*3*32*32)
			for i := range images {
				images[i] = float32(i%17)/8 - 1
			}
			_, err = p.Logits(images) // makes the graphs
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				_, err := p.Logits(images)
				require.NoError(b, err)
			}
		})
	}
}
