// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
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
	assert.Equal(t, 0.4, s.LearnRate())
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

// String has an entry for parameters that are alike, Full one for each, both in 80 columns with whole numbers.
func TestReportString(t *testing.T) {
	m := model(tensor.Float32, 1)
	s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Stiefel{}), solvers.GeometricStep())
	run(t, s, m, 1)
	run(t, s, m, 2)
	r := s.Report()
	text := r.String()
	assert.True(t, strings.HasPrefix(text, "SGD after 2 steps, learning rate 0.5\n"), text)
	kernels := 0
	for _, p := range r.Parameters {
		if p.Kernel {
			kernels++
		}
		assert.Contains(t, r.Full(), "\n"+p.Name+" ")
	}
	assert.Contains(t, text, fmt.Sprintf("\n%d kernels on Stiefel, filter bank, membership <= ", kernels))
	assert.Contains(t, text, fmt.Sprintf("\n%d parameters without a constraint\n", len(m)-kernels))
	for _, want := range []string{"Stiefel", "1 point of 6x18", "kernel: ", "projected at first", "g_t", "no graph: judged by its shape"} {
		assert.Contains(t, strings.Join(strings.Fields(r.Full()), " "), want)
	}
	html := r.HTML()
	assert.Contains(t, html, fmt.Sprintf("%d kernels on Stiefel", kernels))
	assert.Contains(t, html, m[0].name)

	// However long the words are, no line is longer than 80 columns, and joined lines give the items back.
	r.Warnings = []string{strings.Repeat("3.14159e-05, ", 40), "<b>"}
	r.Parameters[0].Name = strings.Repeat("a", 70)
	for _, text := range []string{r.String(), r.Full()} {
		for _, line := range strings.Split(text, "\n") {
			assert.LessOrEqual(t, len(line), 80, line)
		}
		assert.Equal(t, 40, strings.Count(text, "3.14159e-05"))
	}
	assert.Contains(t, r.HTML(), "&lt;b&gt;")

	r.LearnRate = 0
	assert.Contains(t, r.String(), "learning rate 0\n")
	assert.NotContains(t, solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Sphere{}).Report().String(), "learning rate")
}

// The diagnostics of two points that can be followed by hand: the step of (r, 0) with the gradient (3, 4) is (0, -2), that of (0, r) is 0.
func TestReportDiagnoses(t *testing.T) {
	for _, of := range precisions {
		for _, radius := range []float64{1, 2} {
			m := two(of, radius)
			s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.Kernels(manifolds.Sphere{Radius: radius}))
			require.NoError(t, s.Step(valueGrads(m)))
			p := s.Report().Parameters[0]
			rounding := 8 * eps(of)
			assert.InEpsilon(t, math.Sqrt(2*2/2)/radius, p.Angle, rounding, "the root of the mean of 4/r^2 and 0")
			assert.InEpsilonSlice(t, []float64{2 / radius, 3 / radius}, p.Outwardness[:], rounding)
			// The filters are now r (c, -s) and r (0, 1) with tan = 2/r: their Gram matrix has the eigenvalues r^2 (1 +- s).
			sin := math.Sin(math.Atan(2 / radius))
			assert.InEpsilon(t, math.Sqrt((1+sin)/(1-sin)), p.Condition, 1e3*rounding)
			assert.Zero(t, p.Dead)
			assert.Zero(t, s.Report().Parameters[1].Condition)
		}
		// Free filters are points too.
		m := two(of, 2)
		s := solvers.NewSGD(solvers.LearnRate(0.5))
		require.NoError(t, s.Step(valueGrads(m)))
		p := s.Report().Parameters[0]
		assert.InEpsilonSlice(t, []float64{1, 1.5}, p.Outwardness[:], 8*eps(of))
		norm := math.Sqrt(0.5*0.5 + 2*2 + 0 + 1)
		assert.InEpsilon(t, 0.5*math.Sqrt(29)/norm, p.Angle, 8*eps(of))
	}
}

// A filter is dead while its gradient has been 0 in all steps, or if it is free and 0.
func TestReportOfDeadFilters(t *testing.T) {
	for _, of := range precisions {
		for _, on := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Stiefel{}} {
			m := two(of, 1)
			s := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Kernels(on))
			dead := func(grad ...float64) int {
				put(m[0].g, grad)
				require.NoError(t, s.Step(valueGrads(m)))
				return s.Report().Parameters[0].Dead
			}
			assert.Equal(t, 2, dead(0, 0, 0, 0))
			assert.Equal(t, 1, dead(0, 0, 0, 1))
			assert.Contains(t, s.Report().String(), "1 dead filter")
			assert.Equal(t, 1, dead(0, 0, 1, 0))
			assert.Equal(t, 0, dead(1, 0, 0, 0))
			assert.Equal(t, 0, dead(0, 0, 0, 0))
		}
		m := two(of, 1)
		put(m[0].w, []float64{0, 0, 0, 1})
		put(m[0].g, []float64{0, 0, 1, 0})
		s := solvers.NewSGD(solvers.LearnRate(0.1))
		require.NoError(t, s.Step(valueGrads(m)))
		p := s.Report().Parameters[0]
		assert.Equal(t, 1, p.Dead, "once, though weights and gradient are 0")
		assert.True(t, math.IsInf(p.Condition, 1))
	}
}
