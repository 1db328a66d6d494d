// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// The algorithms of Ozay and Okatani to the letter, as docs/paper.md shows them.

// Slices on the unit sphere, momentum and decay in the ambient space, and a step factor that is a function of the
// gradient that it divides: algorithm 1 of arXiv 1610.07008.
func ExampleNewSGD_paper() {
	solver := solvers.NewSGD(
		solvers.LearnRate(0.1),
		solvers.Anneal(solvers.RobbinsMonro(1000, 1)),
		solvers.Momentum(0.9),
		solvers.AmbientMomentum(),
		solvers.AmbientDecay(5e-4),
		solvers.SampledGeometricStep(),
		solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice, manifolds.Unit),
	)
	p := descend(solver, 1)
	fmt.Println(p.Points, "slices on", p.Manifold)
	// Output: 8 slices on Sphere
}

// Slices that are dealt to products of weight manifolds, each with one step factor: G-SGD of arXiv 1701.06123 and
// FG-SGD of arXiv 1905.09054, without its re-scaling.
func ExampleNewSGD_ensemble() {
	ensemble := manifolds.Ensemble{
		Strategy: manifolds.PIO, // or manifolds.PI, manifolds.PO
		Parts:    manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}),
		Groups:   2,
		Seed:     1,
	}
	solver := solvers.NewSGD(
		solvers.LearnRate(0.1),
		solvers.Anneal(solvers.RobbinsMonro(1000, 1)),
		solvers.Momentum(0.9),
		solvers.AmbientMomentum(),
		solvers.AmbientDecay(5e-4),
		solvers.SampledGeometricStep(),
		solvers.FactorFor(solvers.EachGroup),
		solvers.Kernels(ensemble, manifolds.Unit),
	)
	descend(solver, 1)
	for _, p := range solver.Report().Parameters {
		fmt.Println(p.Points, "slices on", p.Manifold)
	}
	// Output:
	// 4 slices on Sphere
	// 4 slices on Oblique
}

// columns is a product of unit spheres, one for each column of n x p matrices.
func columns(n, p int) geometry {
	each := func(f func(x, u []float64) []float64) func(x, u []float64) []float64 {
		return func(x, u []float64) []float64 {
			x, u = transposed(x, n, p), transposed(u, n, p)
			var out []float64
			for c := range p {
				out = append(out, f(x[c*n:c*n+n], u[c*n:c*n+n])...)
			}
			return transposed(out, p, n)
		}
	}
	one := sphere(1)
	return geometry{each(one.tangent), each(one.tangent), each(one.retract), one.inner, 1}
}

// The papers' algorithm slice by slice, with the factor as they state it: the layer is dealt to products of weight
// manifolds, whose squared norms add up.
func TestPapersToTheLetter(t *testing.T) {
	const eta, theta, lambda, steps = 0.1, 0.6, 0.05, 8
	shape, size := []int{4, 6, 3, 2}, 6
	parts := manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{})
	geometries := []geometry{sphere(1), columns(3, 2), stiefel(3, 2, 1, false)}
	for _, of := range precisions {
		for _, strategy := range []manifolds.Strategy{manifolds.PIO, manifolds.PI, manifolds.PO} {
			t.Run(fmt.Sprint(of, "/", strategy), func(t *testing.T) {
				e := manifolds.Ensemble{Strategy: strategy, Parts: parts, Seed: 3}
				if strategy == manifolds.PIO {
					e.Groups = 3
				}
				p := newParam("kernel", of, shape...)
				gaussian(p.w, source(5), 1)
				m := []*param{p}
				solver := solvers.NewSGD(solvers.LearnRate(eta), solvers.Anneal(solvers.RobbinsMonro(10, 1)),
					solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.AmbientDecay(lambda),
					solvers.SampledGeometricStep(), solvers.FactorFor(solvers.EachGroup), solvers.Kernels(e, manifolds.Unit))
				require.NoError(t, solver.Init(valueGrads(m)))

				c := manifolds.On(e, manifolds.Unit)
				c.Layer = "kernel"
				pieces, err := c.Bind(shape, 1)
				require.NoError(t, err)
				x, mu := slices.Collect(slices.Chunk(get(p.w), size)), make([][]float64, 24)
				largest := 1.0
				for step := range steps {
					gradients(m, uint64(step))
					g := slices.Collect(slices.Chunk(get(p.g), size))
					rate := eta / (1 + float64(step)/10)
					for i, piece := range pieces {
						geo, order := geometries[i], piece.Layout.Order
						for _, n := range piece.Groups {
							group := order[:n]
							order = order[n:]
							square, v := 0.0, map[int32][]float64{}
							for _, k := range group {
								if mu[k] == nil {
									mu[k] = make([]float64, size)
								}
								mu[k] = plus(theta, mu[k], -1, plus(1, g[k], lambda, x[k]))
								v[k] = geo.gradient(x[k], mu[k])
								square += geo.inner(x[k], v[k], v[k])
							}
							const curvature, rho = 1, 1
							r := math.Sqrt(square)
							gamma2 := max((2*rho+r)*(2*rho+r), 1+curvature*(rho+r))
							factor := math.Sqrt(max(1, r*r*gamma2))
							largest = max(largest, factor)
							for _, k := range group {
								x[k] = geo.retract(x[k], plus(rate/factor, v[k], 0, v[k]))
							}
						}
					}
					require.NoError(t, solver.Step(valueGrads(m)))
				}
				require.Greater(t, largest, 10.0)
				for i, want := range slices.Concat(x...) {
					require.InDelta(t, want, get(p.w)[i], 64*steps*eps(of), "element %d", i)
				}
			})
		}
	}
}
