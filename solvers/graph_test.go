// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Steps of real Gorgonia programs.

// net is a small CNN and its cost.
type net struct {
	learnables gorgonia.Nodes
	cost       gorgonia.Value
	vm         gorgonia.VM
}

// newNet builds two convolutions with a bias and a linear layer, the mean square
// of whose output is the cost. Gradients are bound to the learnables or left at
// their own nodes.
func newNet(t *testing.T, of tensor.Dtype, bound bool) *net {
	t.Helper()
	g, n := gorgonia.NewGraph(), &net{}
	value := func(name string, seed uint64, shape ...int) *gorgonia.Node {
		v := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
		gaussian(v, source(seed), 0.5)
		return gorgonia.NewTensor(g, of, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithValue(v))
	}
	x := value("x", 1, 2, 2, 6, 6)
	k1, b1 := value("kernel1", 2, 3, 2, 3, 3), value("bias1", 3, 1, 3, 1, 1)
	k2, w := value("kernel2", 4, 2, 3, 2, 2), value("weight", 5, 50, 3)
	n.learnables = gorgonia.Nodes{k1, b1, k2, w}

	must := gorgonia.Must
	one := []int{1, 1}
	y := must(gorgonia.Conv2d(x, k1, tensor.Shape{3, 3}, one, one, one))
	y = must(gorgonia.Rectify(must(gorgonia.BroadcastAdd(y, b1, nil, []byte{0, 2, 3}))))
	y = must(gorgonia.Conv2d(y, k2, tensor.Shape{2, 2}, []int{0, 0}, one, one))
	y = must(gorgonia.Mul(must(gorgonia.Reshape(y, tensor.Shape{2, 50})), w))
	cost := must(gorgonia.Mean(must(gorgonia.Square(y))))
	gorgonia.Read(cost, &n.cost)
	_, err := gorgonia.Grad(cost, n.learnables...)
	require.NoError(t, err)
	var opts []gorgonia.VMOpt
	if bound {
		opts = append(opts, gorgonia.BindDualValues(n.learnables...))
	}
	n.vm = gorgonia.NewTapeMachine(g, opts...)
	t.Cleanup(func() { _ = n.vm.Close() })
	return n
}

func (n *net) run(t *testing.T) float64 {
	t.Helper()
	require.NoError(t, n.vm.RunAll())
	n.vm.Reset()
	return read(n.cost)
}

func (n *net) weights() map[string][]float64 {
	out := map[string][]float64{}
	for _, l := range n.learnables {
		out[l.Name()] = get(l.Value().(*tensor.Dense))
	}
	return out
}

// With BindDualValues gradients are added up over runs, without it each run
// makes its own: as the solver zeroes them, both go the same way.
func TestBoundAndUnboundGradients(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				kernels := solvers.Kernels(manifolds.Stiefel{})
				bound, unbound := newNet(t, of, true), newNet(t, of, false)
				a, b := s.of(kernels), s.of(kernels)
				var first, last float64
				for step := range 8 {
					last = bound.run(t)
					require.Equal(t, last, unbound.run(t))
					if step == 1 { // the first step has projected
						first = last
					}
					require.NoError(t, a.Step(gorgonia.NodesToValueGrads(bound.learnables)))
					require.NoError(t, b.Step(gorgonia.NodesToValueGrads(unbound.learnables)))
					same(t, bound.weights(), unbound.weights(), "at step ", step)
				}
				assert.Less(t, last, first)
				onManifold(t, a.Report(), of)
				runtime.KeepAlive(bound) // the report is of weights that are still there
			})
		}
	}
}

// Several runs between two steps add up their gradients. BatchSize takes their
// mean, which for equal batches is the gradient of one, to the bit for a power of
// two.
func TestRunsBetweenStepsAccumulate(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				kernels := solvers.Kernels(manifolds.Sphere{})
				once, often := newNet(t, of, true), newNet(t, of, true)
				a, b := s.of(kernels), s.of(kernels, solvers.BatchSize(4))
				for step := range 4 {
					once.run(t)
					for range 4 {
						often.run(t)
					}
					require.NoError(t, a.Step(gorgonia.NodesToValueGrads(once.learnables)))
					require.NoError(t, b.Step(gorgonia.NodesToValueGrads(often.learnables)))
					same(t, once.weights(), often.weights(), "at step ", step)
				}
			})
		}
	}
}

// Without BindDualValues two parameters can share one gradient tensor, as the
// terms of a sum do. Both must move, though the step zeroes it.
func TestSharedGradients(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Stiefel{}, manifolds.Euclidean{}} {
				t.Run(of.String()+"/"+s.name+"/"+manifolds.Name(m), func(t *testing.T) {
					p, q := newParam("p", of, 2, 3, 2, 2), newParam("q", of, 2, 3, 2, 2)
					q.g = p.g
					gaussian(p.w, source(1), 1)
					gaussian(q.w, source(1), 1)
					before := get(p.w)
					solver := s.of(solvers.Kernels(m))
					for step := range uint64(3) {
						gaussian(p.g, source(step), 1)
						require.NoError(t, solver.Step(valueGrads([]*param{p, q})))
					}
					assert.NotEqual(t, before, get(p.w))
					assert.Equal(t, get(p.w), get(q.w))
				})
			}
		}
	}
}

// Scalar nodes: (w - 3)^2 falls.
func TestScalarNodes(t *testing.T) {
	for _, of := range precisions {
		for _, bound := range []bool{true, false} {
			for _, s := range everySolver(0.05) {
				t.Run(of.String()+"/"+s.name, func(t *testing.T) {
					g := gorgonia.NewGraph()
					w := gorgonia.NewScalar(g, of, gorgonia.WithName("w"), gorgonia.WithValue(number(of, 1)))
					three := gorgonia.NewConstant(number(of, 3), gorgonia.WithName("three"))
					cost := gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(w, three))))
					_, err := gorgonia.Grad(cost, w)
					require.NoError(t, err)
					var opts []gorgonia.VMOpt
					if bound {
						opts = append(opts, gorgonia.BindDualValues(w))
					}
					vm := gorgonia.NewTapeMachine(g, opts...)
					defer vm.Close()
					solver := s.of()
					last := 1.0
					for range 5 {
						require.NoError(t, vm.RunAll())
						require.NoError(t, solver.Step([]gorgonia.ValueGrad{w}))
						vm.Reset()
						require.Greater(t, read(w.Value()), last)
						last = read(w.Value())
					}
				})
			}
		}
	}
}
