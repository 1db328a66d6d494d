// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// two makes a kernel of two points of 1x2 and a bias, with gradients, whose
// step can be followed by hand.
func two(of tensor.Dtype, radius float64) []*param {
	kernel, bias := newParam("kernel", of, 2, 1, 1, 2), newParam("bias", of, 2)
	put(kernel.w, []float64{radius, 0, 0, radius})
	put(kernel.g, []float64{3, 4, 0, 2})
	put(bias.g, []float64{3, 4})
	return []*param{kernel, bias}
}

// On the unit circle at (1, 0) the gradient (3, 4) has the tangent part (0, 4),
// at (0, 1) the gradient (0, 2) has none.
func TestReportOfOneStep(t *testing.T) {
	for _, of := range precisions {
		for _, c := range []struct {
			name   string
			radius float64
			opts   []solvers.Option
			// of the kernel
			riemannian, length, factor float64
			// what (r, 0) goes to, before normalisation, over r
			slope float64
		}{
			{"plain", 1, nil, 4, 2, 1, -2},
			{"radius 2", 2, nil, 4, 2, 1, -1},
			// R' = 4: g = R' (2 + R') = 24.
			{"sampled geometric step", 1, []solvers.Option{solvers.SampledGeometricStep()}, 4, 2. / 24, 24, -2. / 24},
			// R' = 4*2: g = R' (2 + R') = 80.
			{"sampled geometric step, radius 2", 2, []solvers.Option{solvers.SampledGeometricStep()}, 4, 2. / 80, 80, -1. / 80},
			// nothing is known before the first step.
			{"geometric step", 1, []solvers.Option{solvers.GeometricStep()}, 4, 2, 1, -2},
			// the gradient before the batch size, the direction after.
			{"batch size", 1, []solvers.Option{solvers.BatchSize(2)}, 2, 1, 1, -1},
			{"momentum", 1, []solvers.Option{solvers.Momentum(0.5), solvers.Nesterov()}, 6, 3, 1, -3},
		} {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				m := two(of, c.radius)
				s := solvers.NewSGD(append(c.opts, solvers.LearnRate(0.5), solvers.Kernels(manifolds.Sphere{Radius: c.radius}))...)
				require.NoError(t, s.Step(valueGrads(m)))
				n := c.radius / math.Hypot(1, c.slope)
				assert.InDeltaSlice(t, []float64{n, n * c.slope, 0, c.radius}, get(m[0].w), 4*eps(of))

				r := s.Report()
				assert.Equal(t, "SGD", r.Solver)
				assert.Equal(t, 1, r.Steps)
				assert.Equal(t, 0.5, r.LearnRate)
				require.Len(t, r.Parameters, 2)
				p := r.Parameters[0]
				assert.Equal(t, "kernel", p.Name)
				assert.Equal(t, tensor.Shape{2, 1, 1, 2}, p.Shape)
				assert.True(t, p.Kernel)
				assert.Equal(t, manifolds.Name(manifolds.Sphere{Radius: c.radius}), p.Manifold)
				assert.Equal(t, "per filter", p.Grouping)
				assert.Equal(t, []int{2, 1, 2}, []int{p.Points, p.N, p.P})
				rounding := 8 * eps(of)
				assert.InEpsilon(t, math.Sqrt(29), p.Gradient, rounding)
				assert.InEpsilon(t, c.riemannian, p.Direction, rounding)
				assert.InEpsilon(t, c.length, p.StepLength, rounding)
				assert.InEpsilon(t, c.factor, p.GeometricFactor, rounding)
				assert.LessOrEqual(t, p.Membership, eps(of))
				assert.False(t, p.Projected)
				assert.Zero(t, p.Reprojections)

				b := r.Parameters[1]
				assert.False(t, b.Kernel)
				assert.Equal(t, "Euclidean", b.Manifold)
				assert.Empty(t, b.Grouping)
				assert.Equal(t, []int{1, 2, 1}, []int{b.Points, b.N, b.P})
				assert.InEpsilon(t, 5, b.Gradient, rounding)
				assert.Equal(t, 1.0, b.GeometricFactor)
				assert.Zero(t, b.Membership)
			})
		}
	}
}

// Constrain reports the same figures as the solver that it amounts to.
func TestReportOfConstrain(t *testing.T) {
	m := two(tensor.Float64, 1)
	s := solvers.Constrain(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.5)), manifolds.Sphere{Radius: 1})
	require.NoError(t, s.Step(valueGrads(m)))
	r := s.Report()
	assert.Equal(t, "Constrain(*gorgonia.VanillaSolver)", r.Solver)
	p := r.Parameters[0]
	assert.InEpsilon(t, math.Sqrt(29), p.Gradient, 1e-15)
	assert.InEpsilon(t, 4, p.Direction, 1e-15)
	assert.InEpsilon(t, 2, p.StepLength, 1e-15)
	assert.InEpsilon(t, 2.5, r.Parameters[1].StepLength, 1e-15)
}

// Membership is measured when the report is made.
func TestReportMeasuresNow(t *testing.T) {
	m := two(tensor.Float64, 1)
	s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{Radius: 1}))
	require.NoError(t, s.Step(valueGrads(m)))
	w := get(m[0].w)
	for i := range w {
		w[i] *= 1.25
	}
	put(m[0].w, w)
	assert.InDelta(t, 0.25, s.Report().Parameters[0].Membership, 1e-15)
}

// The learning rate is the next step's.
func TestReportLearnRate(t *testing.T) {
	s := solvers.NewSGD(solvers.LearnRate(0.8), solvers.Anneal(solvers.StepDecay(1, 0.5)))
	assert.Equal(t, 0.8, s.Report().LearnRate)
	assert.Empty(t, s.Report().Parameters)
	m := two(tensor.Float64, 1)
	require.NoError(t, s.Step(valueGrads(m)))
	assert.Equal(t, 0.4, s.Report().LearnRate)
	require.NoError(t, s.SetLearnRate(0.2))
	assert.Equal(t, 0.1, s.Report().LearnRate)
}

// A report is the caller's own.
func TestReportIsACopy(t *testing.T) {
	m := two(tensor.Float64, 1)
	s := solvers.NewSGD()
	require.NoError(t, s.Step(valueGrads(m)))
	r := s.Report()
	r.Parameters[0].Shape[0] = 99
	r.Parameters[0].Name = "other"
	assert.Equal(t, "kernel", s.Report().Parameters[0].Name)
	assert.Equal(t, tensor.Shape{2, 1, 1, 2}, s.Report().Parameters[0].Shape)
}

// String is a table: a line of what the solver is, one of headings, one a
// parameter, the columns one below the other.
func TestReportString(t *testing.T) {
	m := model(tensor.Float32, 1)
	s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Stiefel{}), solvers.GeometricStep())
	run(t, s, m, 1)
	run(t, s, m, 2)
	lines := strings.Split(strings.TrimRight(s.Report().String(), "\n"), "\n")
	require.Len(t, lines, 2+len(m))
	assert.Contains(t, lines[0], "SGD")
	assert.Contains(t, lines[0], "0.5")
	headings := strings.Fields(lines[1])
	assert.Equal(t, []string{"parameter", "shape", "manifold", "points", "gradient", "direction", "step", "membership", "notes"}, headings)
	for i, p := range m {
		line := lines[2+i]
		for _, h := range headings[1:] {
			at := strings.Index(lines[1], h)
			if at < len(line) {
				assert.Equal(t, "  ", line[at-2:at], "before %s in %q", h, line)
			}
		}
		assert.Equal(t, p.name, strings.Fields(line)[0])
	}
	for _, want := range []string{"Stiefel", "filter bank", "1 of 6x18", "kernel", "projected at first", "g_t"} {
		assert.Contains(t, lines[2], want)
	}
	assert.NotContains(t, lines[3], "kernel")
	assert.Contains(t, lines[3], "no graph: judged by its shape")
}
