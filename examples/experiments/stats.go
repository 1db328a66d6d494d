// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// interval returns the mean of n independent numbers and half the width of its 95% confidence
// interval, t_{n-1, 0.975} s/sqrt(n) with Student's t: NaN if n < 2.
func interval(x []float64) (mean, half float64) {
	n := float64(len(x))
	if n < 2 {
		return stat.Mean(x, nil), math.NaN()
	}
	mean, s := stat.MeanStdDev(x, nil)
	return mean, distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile(0.975) * s / math.Sqrt(n)
}

// percent words an interval of shares.
func percent(mean, half float64) string {
	if math.IsNaN(half) {
		return fmt.Sprintf("%.1f", 100*mean)
	}
	return fmt.Sprintf("%.1f ± %.1f", 100*mean, 100*half)
}

// accuracies returns those of runs.
func accuracies(runs []outcome) []float64 {
	var a []float64
	for _, o := range runs {
		a = append(a, o.Accuracy)
	}
	return a
}

// minus returns the differences of runs with the same seeds, in order.
func minus(a, b []outcome) []float64 {
	d := accuracies(a)
	for i := range d {
		d[i] -= b[i].Accuracy
	}
	return d
}
