// SPDX-License-Identifier: Apache-2.0

package models

import (
	"cmp"
	"math"
	"slices"
)

// Softmax returns the probabilities of the classes of one example, exp(z_i) / sum_j exp(z_j) of its logits z. Finite logits of any
// size have probabilities.
func Softmax(logits []float64) []float64 {
	p := make([]float64, len(logits))
	if len(p) == 0 {
		return p
	}
	largest, sum := slices.Max(logits), 0.0
	for i, z := range logits {
		p[i] = math.Exp(z - largest)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Top returns the indices of the n largest numbers, or of all if there are fewer, the largest first. Of equal numbers the first comes first.
func Top(of []float64, n int) []int {
	order := make([]int, len(of))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(of[j], of[i]) })
	return order[:max(0, min(n, len(order)))]
}

// Probabilities returns the probabilities of the classes, by Softmax, for each of any number of images: images x classes
// numbers. It fails where Logits fails.
func (p *Predictor) Probabilities(images []float32) ([]float64, error) {
	logits, n, err := p.logits(images)
	if err != nil {
		return nil, err
	}
	k := len(logits) / n
	for i := 0; i < len(logits); i += k {
		copy(logits[i:], Softmax(logits[i:i+k]))
	}
	return logits, nil
}
