// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

// After the first steps a step makes next to no garbage: one small allocation a
// parameter, none of the size of the weights. A wrapped solver may allocate what
// it does when bare, and is shown one slice.
func TestStepsDoNotAllocate(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					count, bytes := allocations(t, s.of(at.kernels()), of)
					if s.bare != nil {
						stock, _ := allocations(t, s.bare(), of)
						// The pools of stock tensors drop some at random, more so under
						// the race detector.
						assert.LessOrEqual(t, count, 1.1*stock+6+1+4)
						return
					}
					assert.LessOrEqual(t, count, 6.0)
					assert.LessOrEqual(t, bytes, 6*64.0)
				})
			}
		}
	}
}

// Nor do the options that work on gradients.
func TestOptionsDoNotAllocate(t *testing.T) {
	for _, of := range precisions {
		for _, own := range [][]solvers.Option{{solvers.GeometricStep()}, {solvers.SampledGeometricStep(), solvers.AmbientMomentum()}} {
			s := solvers.NewSGD(append(own, solvers.Momentum(0.9), solvers.ClipNorm(1), solvers.ClipValue(1), solvers.BatchSize(3),
				solvers.AmbientDecay(0.1), solvers.Anneal(solvers.Warmup(5, solvers.Cosine(100, 0))), places[3].kernels())...)
			count, bytes := allocations(t, s, of)
			assert.LessOrEqual(t, count, 6.0)
			assert.LessOrEqual(t, bytes, 6*64.0)
		}
	}
}

// allocations returns how many a step of six parameters makes, and of how many
// bytes.
func allocations(t *testing.T, s gorgonia.Solver, of tensor.Dtype) (count, bytes float64) {
	t.Helper()
	m := model(of, 1)
	all := valueGrads(m)
	step := func() {
		for _, p := range m {
			if of == tensor.Float64 {
				p.g.Float64s()[0] = 1
			} else {
				p.g.Float32s()[0] = 1
			}
		}
		if err := s.Step(all); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		step()
	}
	var before, after runtime.MemStats
	const steps = 20
	count = testing.AllocsPerRun(steps, step)
	runtime.ReadMemStats(&before)
	for range steps {
		step()
	}
	runtime.ReadMemStats(&after)
	return count, float64(after.TotalAlloc-before.TotalAlloc) / steps
}
