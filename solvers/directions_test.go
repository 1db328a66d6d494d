// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
)

// kernel is a parameter without a graph.
type kernel struct{ w, g *tensor.Dense }

func (k kernel) Value() gorgonia.Value         { return k.w }
func (k kernel) Grad() (gorgonia.Value, error) { return k.g, nil }

// Directions are tangent vectors where they begin, and descend, whatever the methods remember from other points.
func TestDirectionsAreTangent(t *testing.T) {
	for _, at := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Stiefel{}, manifolds.Stiefel{Metric: manifolds.CanonicalMetric},
		manifolds.Grassmann{}, manifolds.Oblique{}, manifolds.Sphere{Geodesic: true}, manifolds.Grassmann{Geodesic: true}} {
		for _, by := range []method{&steepest{}, conjugate{}, &lbfgs{memory: 3}} {
			k := kernel{tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(4, 3, 2, 2)), tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(4, 3, 2, 2))}
			for i := range k.w.Float64s() {
				k.w.Float64s()[i] = math.Sin(float64(i * i))
			}
			cost := func() (float64, error) {
				sum := 0.0
				for i, x := range k.w.Float64s() {
					k.g.Float64s()[i] = float64(i) * x
					sum += float64(i) * x * x / 2
				}
				return sum, nil
			}
			c, err := configure(sgd{}, settings{}, []Option{Kernels(at)})
			require.NoError(t, err)
			o, err := newObjective(context.Background(), c, []gorgonia.ValueGrad{k}, cost)
			require.NoError(t, err)
			x, err := o.start()
			require.NoError(t, err)
			m := &descent{objective: o, set: &minimizing{method: by}, along: o.blank()}
			m.at = step{x: o.blank(), y: x, d: o.blank(), v: o.blank(), before: o.blank(), after: o.blank()}
			m.result.Cost, err = o.evaluate(m.at.after, x)
			require.NoError(t, err)
			m.lowest, m.average, m.weight = m.result.Cost, m.result.Cost, 1
			for range 8 {
				square, err := o.inner(m.at.y, m.at.after, m.at.after)
				require.NoError(t, err)
				m.result.Gradient = math.Sqrt(square)
				m.size, err = o.norm(m.at.y)
				require.NoError(t, err)
				require.NoError(t, m.iterate())
				m.result.Iterations++
				d, p := m.at.d[0], m.at.d[0].Like()
				require.NoError(t, o.parts[0].Manifold.Tangent(p, m.at.x[0], d))
				require.NoError(t, p.Combine(1, p, -1, d))
				require.Less(t, p.Norm(), 1e-10*d.Norm()+1e-12, "%v %T", at, by)
				require.Negative(t, m.at.slope)
			}
			if l, ok := by.(*lbfgs); ok {
				require.Len(t, l.pairs, 3)
				own := map[*float64]bool{}
				for _, p := range l.pairs {
					own[&p.s[0].Data64()[0]], own[&p.y[0].Data64()[0]] = true, true
				}
				require.Len(t, own, 6, "each pair has vectors of its own")
			}
		}
	}
}
