// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/kernelfold/kernelfold/internal/gemm"
)

// replicates is their number.
const replicates = 4000

// resample draws test images and seeds together, and gives the accuracy of each run on those images, with the seeds. Of n seeds n-1 are
// drawn, so that the variance of their mean is s^2/n.
func resample(answers []bits, images, seeds int, do func(accuracy []float64, seeds []int)) {
	const block = 250
	random := rand.New(rand.NewPCG(1, 2))
	correct := make([]float32, len(answers)*images)
	for r, a := range answers {
		for i := range images {
			if a != nil && a.at(i) { // a run that diverged has no answers
				correct[r*images+i] = 1
			}
		}
	}
	drawn, counts := make([]float32, images*block), make([]float32, len(answers)*block)
	for done := 0; done < replicates; done += block {
		clear(drawn)
		for k := range block {
			for range images {
				drawn[random.IntN(images)*block+k]++
			}
		}
		// Sums of whole numbers up to the number of images: exact.
		gemm.Mul(gemm.Of(counts, len(answers), block), 1, gemm.Of(correct, len(answers), images), gemm.Of(drawn, images, block), 0)
		for k := range block {
			y := make([]float64, len(answers))
			for r := range y {
				y[r] = float64(counts[r*block+k]) / float64(images)
			}
			s := []int{0}
			if seeds > 1 {
				s = make([]int, seeds-1)
				for i := range s {
					s[i] = random.IntN(seeds)
				}
			}
			do(y, s)
		}
	}
}

// quantiles returns the quantiles at q and 1-q.
func quantiles(x []float64, q float64) (low, high float64) {
	x = slices.Sorted(slices.Values(x))
	return stat.Quantile(q, stat.Empirical, x, nil), stat.Quantile(1-q, stat.Empirical, x, nil)
}
