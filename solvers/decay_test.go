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

// The three kinds of weight decay.

// decaying are the solvers that have one.
var decaying = []struct {
	name string
	of   func(...solvers.Option) *solvers.Solver
	// ambient tells that decay in the ambient space can act on a manifold.
	ambient bool
}{
	{"SGD", solvers.NewSGD, false},
	{"SGD ambient momentum", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.9), solvers.AmbientMomentum())...)
	}, true},
	{"SGD tangent momentum", func(o ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.9))...)
	}, false},
	{"Adam", solvers.NewAdam, false},
	{"AdamW", solvers.NewAdamW, false},
	{"Adagrad", solvers.NewAdagrad, false},
	{"RMSProp", solvers.NewRMSProp, false},
}

// WeightDecay on a kernel of fixed scale does nothing: it is refused.
func TestWeightDecayOnAManifold(t *testing.T) {
	for _, s := range decaying {
		for _, at := range everywhere {
			t.Run(s.name+"/"+at.name, func(t *testing.T) {
				m := model(tensor.Float64, 1)
				refuses(t, func() stepper { return s.of(solvers.WeightDecay(0.1), at.kernels()) }, m,
					solvers.ErrConstraint, `"conv1"`, "EuclideanDecay", "AmbientDecay")
				// Zero decay, and decay where nothing is constrained, are fine.
				run(t, s.of(solvers.WeightDecay(0), at.kernels()), m, 1)
				run(t, s.of(solvers.WeightDecay(0.1)), m, 1)
			})
		}
	}
}

// EuclideanDecay leaves the kernels to the bit where they were, and takes
// lr lambda x off the others.
func TestEuclideanDecay(t *testing.T) {
	const lr, lambda = 0.125, 0.5
	for _, of := range precisions {
		for _, s := range decaying {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				kernels := solvers.Kernels(manifolds.Stiefel{})
				m, plain := model(of, 1), model(of, 1)
				start := weights(m)
				run(t, s.of(solvers.LearnRate(lr), solvers.EuclideanDecay(lambda), kernels), m, 1)
				run(t, s.of(solvers.LearnRate(lr), solvers.EuclideanDecay(0), kernels), plain, 1)
				for i, p := range m {
					if i == 0 || i == 2 {
						assert.Equal(t, get(plain[i].w), get(p.w))
						continue
					}
					want := get(plain[i].w)
					for j := range want {
						want[j] -= lr * lambda * start[p.name][j]
					}
					// Three roundings of numbers below 1.
					assert.InDeltaSlice(t, want, get(p.w), 3*eps(of), p.name)
				}
			})
		}
	}
}

// AmbientDecay adds lambda x to the gradient, normal to the tangent space at
// x. It is felt on a manifold through ambient momentum alone, from the second
// step on; without constraints it is the textbook's L2 penalty.
func TestAmbientDecay(t *testing.T) {
	const lr, lambda = 0.1, 0.5
	for _, of := range precisions {
		for _, s := range decaying {
			for _, at := range everywhere {
				if manifolds.PropertiesOf(at.manifold, 2, 2).Convex {
					continue // decay moves points inwards
				}
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m, plain := model(of, 1), model(of, 1)
					a := s.of(solvers.LearnRate(lr), solvers.AmbientDecay(lambda), at.kernels())
					b := s.of(solvers.LearnRate(lr), solvers.EuclideanDecay(0), at.kernels())
					for step := range uint64(3) {
						run(t, a, m, step)
						run(t, b, plain, step)
						for _, i := range []int{0, 2} {
							off := 0.0
							w := get(plain[i].w)
							for j, v := range get(m[i].w) {
								off = max(off, v-w[j], w[j]-v)
							}
							if s.ambient && step > 0 {
								require.Greater(t, off, 1e-4)
							} else {
								// The normal part cancels but for the rounding of lambda x, a
								// few of them a step, on weights below 1. Adam divides by a norm
								// of the order of 1.
								require.Less(t, off, 64*eps(of))
							}
						}
						onManifold(t, a.Report(), of)
					}
				})
			}
		}
	}
}

// Layers that are too large for one chunk move as in buffers, which a limit that nothing reaches asks for.
func TestAmbientDecayOfLargeLayers(t *testing.T) {
	for _, of := range precisions {
		for name, c := range map[string]struct {
			of  func(...solvers.Option) *solvers.Solver
			own []solvers.Option
		}{
			"unconstrained":      {solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9)}},
			"sphere":             {solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Kernels(manifolds.Sphere{})}},
			"Stiefel per slice":  {solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}, manifolds.PerSlice)}},
			"Adam":               {solvers.NewAdam, nil},
			"Adam on spheres":    {solvers.NewAdam, []solvers.Option{solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice)}},
			"Adagrad on oblique": {solvers.NewAdagrad, []solvers.Option{solvers.Kernels(manifolds.Oblique{}, manifolds.PerSlice)}},
		} {
			t.Run(of.String()+"/"+name, func(t *testing.T) {
				a, b := []*param{newParam("w", of, 128, 32, 3, 3)}, []*param{newParam("w", of, 128, 32, 3, 3)}
				gaussian(a[0].w, source(2), 0.05)
				put(b[0].w, get(a[0].w))
				own := append([]solvers.Option{solvers.LearnRate(1e-2), solvers.AmbientDecay(0.1)}, c.own...)
				direct, buffered := c.of(own...), c.of(append(own, solvers.ClipValue(1e30))...)
				const steps = 3
				for step := range uint64(steps) {
					run(t, direct, a, step)
					run(t, buffered, b, step)
				}
				off, w := 0.0, get(b[0].w)
				for i, v := range get(a[0].w) {
					off = max(off, math.Abs(v-w[i]))
				}
				assert.Less(t, off, 8*steps*eps(of)) // as in near, of weights below 1
			})
		}
	}
}

// A gradient to which the decay cannot be added in the precision of the weights before the gradient is clipped.
func TestAmbientDecayOfClippedGradients(t *testing.T) {
	for _, c := range []struct {
		name string
		of   func(...solvers.Option) *solvers.Solver
		want float64
	}{
		{"SGD", solvers.NewSGD, 100 - 0.01*(1+100)},
		{"Adam", solvers.NewAdam, 100 - 0.01},
	} {
		for _, of := range precisions {
			t.Run(c.name+"/"+of.String(), func(t *testing.T) {
				p := newParam("w", of, 1)
				huge := 1e38
				if of == tensor.Float64 {
					huge = 1e307
				}
				put(p.w, []float64{100})
				put(p.g, []float64{huge})
				s := c.of(solvers.LearnRate(0.01), solvers.ClipNorm(1), solvers.AmbientDecay(1))
				require.NoError(t, s.Step(valueGrads([]*param{p})))
				assert.InDelta(t, c.want, get(p.w)[0], 1e-4)
			})
		}
	}
}
