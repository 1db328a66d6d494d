// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// bounds is how fast this machine does the three things that solver steps are made
// of, by our own kernels on arrays of the size of ResNet-18, in wall time.
type bounds struct {
	read    float64 // GB/s of reading one array: the check that a gradient is finite
	update  float64 // GB/s of weights, momentum and gradient, each read and written once
	product float64 // GFLOP/s of 512x4608 by 4608x512
}

func measureBounds() (b bounds) {
	const repeats = 9
	fastest := func(f func()) float64 {
		var seconds []float64
		for range repeats {
			ms, _ := wall.milliseconds(func() error { f(); return nil })
			seconds = append(seconds, ms/1e3)
		}
		return slices.Min(seconds)
	}
	n := resNet18().weights()
	x, m, g := make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		x[i], m[i], g[i] = 1, 1, 1
	}
	bytes := float64(4 * n)
	b.read = bytes / fastest(func() { vec.MaxAbs(g) }) / 1e9
	step := descent.Step{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 1e-3}
	b.update = 6 * bytes / fastest(func() { fused.Flat(x, m, g, step, 1) }) / 1e9

	const p, q = 512, 4608
	a, c := gemm.Of(x[:p*q], p, q), gemm.Of(make([]float32, p*p), p, p)
	b.product = 2 * p * p * q / fastest(func() { gemm.Mul(c, 1, a, a.T(), 0) }) / 1e9
	return b
}

// sphere returns the least milliseconds of a step on spheres: every gradient is read
// before anything is written, then all is read and written once.
func (b bounds) sphere(s shapes) float64 {
	gigabytes := 4e-9 * float64(s.weights())
	return 1e3 * (gigabytes/b.read + 6*gigabytes/b.update)
}

// stiefel returns the least milliseconds of a step on Stiefel by products of full
// matrices: for a bank of n x p, one tangent projection of 4 n p^2 flops and one
// Cholesky-QR of 3 n p^2, of which a symmetric product is half.
func (b bounds) stiefel(s shapes) float64 {
	flops := 0.0
	for _, shape := range s {
		out, rest := float64(shape[0]), float64(product(shape[1:]))
		flops += 7 * max(out, rest) * min(out, rest) * min(out, rest)
	}
	return flops / b.product / 1e6
}

// print says what the bounds are.
func (b bounds) print(w io.Writer) {
	fmt.Fprintf(w, "This machine, by our kernels: memory is read at %.0f GB/s and updated at %.0f GB/s, matrices are multiplied at %.0f GFLOP/s.\n",
		b.read, b.update, b.product)
	fmt.Fprintf(w, "From that a sphere step on ResNet-18 takes %s ms at least: it reads every gradient, then reads and writes weights, momentum and gradient.\n",
		digits(b.sphere(resNet18())))
	fmt.Fprintf(w, "A Stiefel step of 7 n p^2 flops for a bank of n x p takes %s ms on ResNet-18 and %s ms on ResNet-20.\n",
		digits(b.stiefel(resNet18())), digits(b.stiefel(resNet20())))
}
