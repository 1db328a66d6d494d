// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// bounds holds the speeds, by wall time, at which one thread of this machine does the three operations that
// solver steps consist of, with our own kernels on arrays of the size of ResNet-18.
type bounds struct {
	read    float64 // GB/s of reading one array: the check that a gradient is finite
	update  float64 // GB/s of weights, momentum and gradient, each read and written once
	product float64 // GFLOP/s of a product of matrices
}

func measureBounds() (b bounds) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
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

	b.product = productFlops / fastest(newMatrices().multiply) / 1e9
	return b
}

// matrices are those of a product of the size of a layer of ResNet-18: 512x4608 by 4608x512.
type matrices struct{ a, c gemm.Mat[float32] }

const (
	productP, productQ = 512, 4608
	productFlops       = 2 * productP * productP * productQ
)

func newMatrices() matrices {
	a := make([]float32, productP*productQ)
	for i := range a {
		a[i] = 1
	}
	return matrices{gemm.Of(a, productP, productQ), gemm.Of(make([]float32, productP*productP), productP, productP)}
}

func (m matrices) multiply() { gemm.Mul(m.c, 1, m.a, m.a.T(), 0) }

// sweeps is the entrant of the smallest memory traffic of a step with momentum, on all threads: every
// gradient is read before anything is written, then weights, momentum and gradient are read and written once.
func sweeps(name string, s shapes) entrant {
	return entrant{name, func(_ context.Context, stage *stage) (contestant, error) {
		const grain = 1 << 16
		parameters := newParameters(s)
		var momenta [][]float32
		for _, p := range parameters {
			momenta = append(momenta, make([]float32, len(p.saved)))
		}
		step := descent.Step{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 1e-3}
		return local{
			clock: stage.clock, prepare: func() { restore(parameters) },
			step: func() error {
				for _, p := range parameters {
					g := p.grad.Float32s()
					par.Ranges(len(g), grain, func(from, to int) { vec.MaxAbs(g[from:to]) })
				}
				for i, p := range parameters {
					x, m, g := p.weight.Float32s(), momenta[i], p.grad.Float32s()
					par.Ranges(len(g), grain, func(from, to int) { fused.Flat(x[from:to], m[from:to], g[from:to], step, 1) })
				}
				return nil
			},
		}, nil
	}}
}

// stiefel returns the least milliseconds of a step on Stiefel by products of full
// matrices: for a bank of n x p, one tangent projection of 4 n p^2 flops and one
// Cholesky-QR of 2 n p^2, whose two products are halves: the result of one is symmetric, and a factor of the other is a triangle.
func (b bounds) stiefel(s shapes) float64 {
	flops := 0.0
	for _, shape := range s {
		out, rest := float64(shape[0]), float64(product(shape[1:]))
		flops += 6 * max(out, rest) * min(out, rest) * min(out, rest)
	}
	return flops / b.product / 1e6
}

// print prints the bounds.
func (b bounds) print(w io.Writer) {
	fmt.Fprintf(w, "One thread of this machine, by our kernels: memory is read at %.0f GB/s and updated at %.0f GB/s, matrices are multiplied at %.0f GFLOP/s.\n",
		b.read, b.update, b.product)
	fmt.Fprintf(w, "A Stiefel step of 6 n p^2 flops for a bank of n x p takes %s ms on ResNet-18 and %s ms on ResNet-20.\n",
		digits(b.stiefel(resNet18())), digits(b.stiefel(resNet20())))
}
