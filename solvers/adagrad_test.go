// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Adagrad and RMSProp, against NumPy and point by point.

// reference is a run of 100 steps by a program in testdata.
type reference struct {
	Rule, Manifold     string
	Shape              []int
	Start, First, Last []float64
}

func references(t *testing.T, file string) (all []reference) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	require.NotEmpty(t, all)
	return all
}

// slope writes the gradient of the weights of p at a step of a reference.
func slope(p *param, step int) {
	x, g := get(p.w), make([]float64, p.w.Size())
	for i := range g {
		g[i] = math.Sin(0.7*float64(i)+0.3*float64(step)) + 0.1*float64(1+i%3)*x[i]
	}
	put(p.g, g)
}

// Runs of 100 steps are those of testdata/adagrad.py.
func TestAdagradAgainstNumPy(t *testing.T) {
	type options = []solvers.Option
	on := map[string]options{
		"Euclidean":         {solvers.EuclideanDecay(0.1)},
		"Sphere":            {solvers.Param("w", manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit)},
		"Stiefel":           {solvers.Param("w", manifolds.Stiefel{}, manifolds.Unit)},
		"canonical Stiefel": {solvers.Param("w", manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, manifolds.Unit)},
	}
	for _, of := range precisions {
		for _, c := range references(t, "adagrad.json") {
			for _, buffers := range []bool{false, true} {
				t.Run(fmt.Sprint(of, c.Rule, c.Manifold, buffers), func(t *testing.T) {
					opts := append(options{solvers.LearnRate(0.05)}, on[c.Manifold]...)
					if buffers {
						opts = append(opts, solvers.ClipValue(1e30)) // nothing is clipped
					}
					var s *solvers.Solver
					switch c.Rule {
					case "Adagrad":
						s = solvers.NewAdagrad(opts...)
					case "RMSProp":
						s = solvers.NewRMSProp(append(opts, solvers.Rho(0.9))...)
					default:
						s = solvers.NewRMSProp(append(opts, solvers.Rho(0.9), solvers.Momentum(0.8))...)
					}
					p := newParam("w", of, c.Shape...)
					put(p.w, c.Start)
					for step := range 100 {
						slope(p, step)
						require.NoError(t, s.Step(valueGrads([]*param{p})))
						if step == 0 {
							assert.InDeltaSlice(t, c.First, get(p.w), 16*eps(of))
						}
					}
					// The cost is convex, or nearly so: errors do not grow from step to step.
					assert.InDeltaSlice(t, c.Last, get(p.w), 8*100*eps(of))
				})
			}
		}
	}
}

// One sum of squares, or mean, for each point, on every manifold and grouping.
func TestRiemannianAdagrad(t *testing.T) {
	const rho, small = 0.9, 1e-6
	for _, of := range precisions {
		for _, e := range examples {
			for _, c := range []struct {
				name              string
				make              func(...solvers.Option) *solvers.Solver
				own               []solvers.Option
				keep, take, theta float64
			}{
				{"Adagrad", solvers.NewAdagrad, nil, 1, 1, 0},
				{"RMSProp", solvers.NewRMSProp, []solvers.Option{solvers.Rho(rho)}, rho, 1 - rho, 0},
				{"RMSProp with momentum", solvers.NewRMSProp, []solvers.Option{solvers.Rho(rho), solvers.Momentum(0.5)}, rho, 1 - rho, 0.5},
			} {
				t.Run(of.String()+"/"+e.name+"/"+c.name, func(t *testing.T) {
					s := c.make(append(c.own, solvers.LearnRate(lr), solvers.Eps(small), solvers.Kernels(e.manifold, e.grouping))...)
					follow(t, of, e, s, func() func(x, g []float64, step int) []float64 {
						var mu []float64
						squares := 0.0
						return func(x, g []float64, step int) []float64 {
							g = e.geo.gradient(x, g)
							squares = c.keep*squares + c.take*e.geo.inner(x, g, g)
							if mu == nil {
								mu = make([]float64, len(g))
							}
							mu = plus(c.theta, mu, 1/(math.Sqrt(squares)+small), g)
							y := e.geo.retract(x, plus(-lr, mu, 0, mu))
							mu = e.geo.tangent(y, mu)
							return y
						}
					})
				})
			}
		}
	}
}

// The first step of Adagrad has the length of the learning rate at every point, however long the gradient.
func TestAdagradDoesNotSeeTheLengthOfGradients(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			var want []*param
			for _, scale := range []float64{1, 0x1p-40, 0x1p40} {
				m := model(of, 1)
				s := solvers.NewAdagrad(solvers.Eps(1e-8*scale), at.kernels())
				for step := range uint64(3) {
					gradients(m, step)
					for _, p := range m {
						put(p.g, plus(scale, get(p.g), 0, get(p.g)))
					}
					require.NoError(t, s.Step(valueGrads(m)))
				}
				if want == nil {
					want = m
					continue
				}
				for i, p := range want {
					near(t, get(p.w), get(m[i].w), 3, of, fmt.Sprintf("%s, %s times %g", p.name, at.name, scale))
				}
			}
		}
	}
}

// Weights whose gradient is 0 stay, with and without an Eps that float32 does not hold.
func TestAdagradWithoutGradients(t *testing.T) {
	for _, of := range precisions {
		for _, small := range []float64{1e-8, 1e-30} {
			for _, make := range []func(...solvers.Option) *solvers.Solver{solvers.NewAdagrad, solvers.NewRMSProp} {
				m := model(of, 1)
				s := make(solvers.Eps(small), solvers.Kernels(manifolds.Sphere{}))
				require.NoError(t, s.Init(valueGrads(m)))
				before := weights(m)
				for range 3 {
					require.NoError(t, s.Step(valueGrads(m)))
				}
				for _, p := range m {
					assert.InDeltaSlice(t, before[p.name], get(p.w), 4*eps(of), p.name)
				}
				run(t, s, m, 1)
				for _, p := range m {
					assert.NotEqual(t, before[p.name], get(p.w), p.name)
				}
			}
		}
	}
}

func TestAdagradRefuses(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, c := range []struct {
		name  string
		make  func(...solvers.Option) *solvers.Solver
		opt   solvers.Option
		wants string
	}{
		{"rho of Adagrad", solvers.NewAdagrad, solvers.Rho(0.9), "Adagrad has no option Rho"},
		{"momentum of Adagrad", solvers.NewAdagrad, solvers.Momentum(0.9), "Adagrad has no option Momentum"},
		{"Nesterov", solvers.NewRMSProp, solvers.Nesterov(), "RMSProp has no option Nesterov"},
		{"betas", solvers.NewRMSProp, solvers.Betas(0.9, 0.9), "RMSProp has no option Betas"},
		{"rho of Adam", solvers.NewAdam, solvers.Rho(0.9), "Adam has no option Rho"},
		{"a mean without end", solvers.NewRMSProp, solvers.Rho(1), "Rho: want a number in [0, 1), got 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, func() stepper { return c.make(c.opt) }, m, solvers.ErrOption, c.wants)
		})
	}
}
