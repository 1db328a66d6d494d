// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Manifolds in a space with an inner product of its own.

// What is true in the Frobenius product alone is refused in another, and nothing changes.
func TestOtherInnerProductsAreRefused(t *testing.T) {
	at := beyond[len(beyond)-1]
	for _, of := range precisions {
		for _, c := range []struct {
			s     func() stepper
			wants []string
		}{
			{func() stepper { return solvers.NewMuon(at.kernels()) },
				[]string{`"conv1"`, "want a manifold with the Frobenius inner product for Muon, got GeneralizedStiefel", "Rest"}},
			{func() stepper { return solvers.NewSGD(solvers.AmbientDecay(0.1), at.kernels()) },
				[]string{`"conv1"`, "want a manifold with the Frobenius inner product for AmbientDecay(0.1), got GeneralizedStiefel", "EuclideanDecay"}},
			{func() stepper {
				return solvers.NewSGD(at.kernels(), solvers.Param("conv2", nil).With(solvers.AmbientDecay(0.1)))
			},
				[]string{`"conv2"`, "for AmbientDecay(0.1)"}},
		} {
			refuses(t, c.s, model(of, 1), solvers.ErrConstraint, c.wants...)
		}
		// No decay, frozen kernels, and kernels that another rule moves are fine.
		run(t, solvers.NewSGD(solvers.AmbientDecay(0), at.kernels()), model(of, 1), 1)
		run(t, solvers.NewMuon(at.kernels(), solvers.Param("conv1", nil).With(solvers.Frozen()), solvers.Param("conv2", nil).With(solvers.Rest())), model(of, 1), 1)
	}
}

// Where Muon would climb from the minimum of a linear cost, the rule for the rest stays there.
func TestRestInAnotherInnerProduct(t *testing.T) {
	m, err := manifolds.NewGeneralizedStiefel(3, []float64{1, 10, 100})
	require.NoError(t, err)
	on := solvers.Param("w", m, manifolds.FilterBank, manifolds.Unit)
	c := []float64{1, 2, 3, 1, -1, 1}
	w := newParam("w", tensor.Float64, 2, 3)
	gaussian(w.w, source(1), 1)
	cost := func() (float64, error) {
		put(w.g, c)
		return dot(c, get(w.w)), nil
	}
	r, err := minimize([]*param{w}, cost, on, solvers.GradientTolerance(1e-10))
	require.NoError(t, err)
	assert.InDelta(t, -2.13651, r.Cost, 1e-5)
	s := solvers.NewMuon(on.With(solvers.Rest()), solvers.RestBy(solvers.NewSGD(solvers.LearnRate(0.01))))
	for range 500 {
		put(w.g, c)
		require.NoError(t, s.Step(valueGrads([]*param{w})))
	}
	assert.InDelta(t, r.Cost, dot(c, get(w.w)), 1e-12)
}

// isometric is the generalised Stiefel manifold of B = s I, which x = z / sqrt(s) maps to Stiefel, and a layer on it.
type isometric struct {
	w    *param
	on   solvers.Option
	root float64 // of s
}

// isometries are the same layer of 4 x 3 on manifolds of several scales s.
func isometries(t *testing.T, of tensor.Dtype) (all []isometric) {
	t.Helper()
	for _, s := range []float64{1, 1e-8, 1e-4, 1e4, 1e8} {
		m, err := manifolds.NewGeneralizedStiefel(4, []float64{s, s, s, s})
		require.NoError(t, err)
		i := isometric{newParam("w", of, 4, 3), solvers.Param("w", m, manifolds.FilterBank, manifolds.Unit), math.Sqrt(s)}
		gaussian(i.w.w, source(1), 1/i.root)
		all = append(all, i)
	}
	return all
}

// z is where the layer is on Stiefel.
func (i isometric) z() []float64 { return plus(i.root, get(i.w.w), 0, get(i.w.w)) }

// slope sets the gradient of sum (k+1) z_k^2 / 20 + z_k / 2 + z_k^2 / 4, which points outward, and returns that cost.
func (i isometric) slope() (float64, error) {
	z := i.z()
	g, cost := make([]float64, len(z)), 0.0
	for k, v := range z {
		g[k] = i.root * (float64(k+1)*v/10 + 0.5 + 0.5*v)
		cost += float64(k+1)*v*v/20 + v/2 + v*v/4
	}
	put(i.w.g, g)
	return cost, nil
}

// Isometric manifolds have isometric trajectories, whatever the scale of their inner product, and equal reports but for the
// norm of the Euclidean gradient.
func TestIsometricInnerProducts(t *testing.T) {
	list := []maker{
		{name: "ambient momentum", of: func(o ...solvers.Option) stepper {
			return solvers.NewSGD(append(o, solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.AmbientMomentum())...)
		}},
	}
	list = append(list, everyDog(solvers.InitialDistance(0.1))...)
	for _, of := range precisions {
		for _, kind := range list {
			t.Run(of.String()+"/"+kind.name, func(t *testing.T) {
				const steps = 20
				var want []float64
				var first solvers.ParameterReport
				var warnings int
				for _, i := range isometries(t, of) {
					s := kind.of(i.on)
					for range steps {
						_, _ = i.slope()
						require.NoError(t, s.Step(valueGrads([]*param{i.w})))
					}
					r := s.Report()
					row := r.Parameters[0]
					if want == nil {
						want, first, warnings = i.z(), row, len(r.Warnings)
						if kind.name == "ambient momentum" {
							require.Greater(t, row.Outward, 1.0)
							require.Equal(t, 1, warnings)
						}
						continue
					}
					tolerance := 1e4 * steps * eps(of) // the roundings of a step grow where the cost is steep
					assert.InDeltaSlice(t, want, i.z(), tolerance, "s = %g", i.root*i.root)
					for _, v := range [][2]float64{{first.Angle, row.Angle}, {first.Direction, row.Direction}, {first.StepLength, row.StepLength},
						{first.Outwardness[0], row.Outwardness[0]}, {first.Outwardness[1], row.Outwardness[1]}, {first.Outward, row.Outward}} {
						assert.InDelta(t, v[0], v[1], tolerance*(1+math.Abs(v[0])), "s = %g", i.root*i.root)
					}
					assert.Len(t, r.Warnings, warnings)
				}
			})
		}
	}
}

// Minimize makes the same steps at every scale, the first of which has a tenth of the length of the weights.
func TestMinimizeInIsometricInnerProducts(t *testing.T) {
	var want []float64
	var first solvers.Result
	for _, i := range isometries(t, tensor.Float64) {
		r, err := minimize([]*param{i.w}, i.slope, i.on, solvers.MaxIterations(5))
		require.NoError(t, err)
		if want == nil {
			want, first = i.z(), r
			continue
		}
		assert.Equal(t, first.Evaluations, r.Evaluations)
		assert.InDeltaSlice(t, want, i.z(), 1e-9, "s = %g", i.root*i.root)
	}
}
