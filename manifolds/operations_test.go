// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// operation is one of a manifold, with its arguments.
type operation struct {
	name string
	args []manifolds.Points
	call func(dst manifolds.Points, a []manifolds.Points) error
	nan  bool // whether it passes on NaN of its last argument
}

// operations returns those of m for a point x, a point y and a tangent vector v.
func operations(m manifolds.Manifold, x, y, v manifolds.Points) []operation {
	type points = manifolds.Points
	type batches = []manifolds.Points
	number := func(f func(out []float64, a batches) error) func(dst points, a batches) error {
		return func(_ points, a batches) error { return f(make([]float64, a[0].K), a) }
	}
	ops := []operation{
		{"Project", batches{x}, func(dst points, a batches) error { return m.Project(dst, a[0]) }, false},
		{"Tangent", batches{x, v}, func(dst points, a batches) error { return m.Tangent(dst, a[0], a[1]) }, true},
		{"Retract", batches{x, v}, func(dst points, a batches) error { return m.Retract(dst, a[0], a[1]) }, false},
		{"Transport", batches{x, y, v}, func(dst points, a batches) error { return m.Transport(dst, a[0], a[1], a[2]) }, true},
		{"Gradient", batches{x, v}, func(dst points, a batches) error { return manifolds.Gradient(m, dst, a[0], a[1]) }, true},
		{"Inner", batches{x, v, v}, number(func(out []float64, a batches) error { return manifolds.Inner(m, out, a[0], a[1], a[2]) }), true},
	}
	if m, ok := m.(manifolds.Exponential); ok {
		ops = append(ops, operation{"Exp", batches{x, v}, func(dst points, a batches) error { return m.Exp(dst, a[0], a[1]) }, false})
	}
	if m, ok := m.(manifolds.Logarithm); ok {
		ops = append(ops,
			operation{"Log", batches{x, y}, func(dst points, a batches) error { return m.Log(dst, a[0], a[1]) }, false},
			operation{"Dist", batches{x, y}, number(func(out []float64, a batches) error { return m.Dist(out, a[0], a[1]) }), false})
	}
	if m, ok := m.(manifolds.Inverse); ok {
		ops = append(ops, operation{"InverseRetract", batches{x, y}, func(dst points, a batches) error { return m.InverseRetract(dst, a[0], a[1]) }, false})
	}
	if m, ok := m.(manifolds.ParallelTransporter); ok {
		ops = append(ops, operation{"ParallelTransport", batches{x, y, v}, func(dst points, a batches) error {
			return m.ParallelTransport(dst, a[0], a[1], a[2])
		}, true})
	}
	if m, ok := m.(manifolds.PathTransporter); ok {
		ops = append(ops, operation{"TransportAlong", batches{x, v, y, v}, func(dst points, a batches) error {
			return m.TransportAlong(dst, a[0], a[1], a[2], a[3])
		}, true})
	}
	if m, ok := m.(manifolds.Differentiable); ok {
		ops = append(ops, operation{"ProjectAdjoint", batches{x, x, v}, func(dst points, a batches) error {
			return m.ProjectAdjoint(dst, a[0], a[1], a[2])
		}, true})
	}
	if m, ok := m.(manifolds.Adaptable); ok {
		ops = append(ops, operation{"GradientSquares", batches{x, v}, number(func(out []float64, a batches) error {
			return m.GradientSquares(out, a[0], a[1])
		}), true})
	}
	step := manifolds.Descent{Slope: 1, Rate: 0.1}
	if d, ok := m.(manifolds.Descender); ok && d.Descends(m, x, step, manifolds.Bounds{Gradient: v.Norm()}) {
		ops = append(ops, operation{"Descend", batches{x, v}, func(_ points, a batches) error {
			x, g := a[0].Like(), a[1].Like()
			if err := errors.Join(x.CopyFrom(a[0]), g.CopyFrom(a[1])); err != nil {
				return err
			}
			_, err := d.Descend(x, x.Slice(0, 0), g, step) // without momentum
			return err
		}, true})
	}
	return ops
}

// An empty batch is no error. A step and a second point that are NaN are errors of every operation that is not linear in them.
func TestOperationsOnNothingAndNaN(t *testing.T) {
	rng := rand.New(rand.NewPCG(51, 52))
	full, _ := definite(9)
	general, err := manifolds.NewGeneralizedStiefel(9, full)
	require.NoError(t, err)
	for _, m := range append(every(), general) {
		for _, s := range [][2]int{{3, 3}, {9, 4}, {9, 9}} {
			if m.Check(s[0], s[1]) != nil {
				continue
			}
			for _, bits := range []int{32, 64} {
				x := fresh(t, bits, 2, s[0], s[1])
				y, v := x.Like(), x.Like()
				require.NoError(t, m.Project(x, draw(x, rng, 1, 0)))
				require.NoError(t, m.Tangent(v, x, draw(v, rng, 1, 0)))
				if long := v.Norm(); long > 1e-3 { // shorter, it is a rounding error
					require.NoError(t, v.Combine(0.2*x.Norm()/long, v, 0, v))
				}
				require.NoError(t, m.Retract(y, x, v))
				assert.Zero(t, m.Membership(x.Slice(0, 0)), "%v", m)
				for _, o := range operations(m, x, y, v) {
					what := fmt.Sprintf("%s of %v, %dx%d, float%d", o.name, m, s[0], s[1], bits)
					require.NoError(t, o.call(x.Like(), o.args), what)
					var none []manifolds.Points
					for _, a := range o.args {
						none = append(none, a.Slice(0, 0))
					}
					assert.NoError(t, attempt(func() error { return o.call(x.Slice(0, 0), none) }), what)
					if o.nan {
						continue
					}
					last := len(o.args) - 1
					spoilt := o.args[last].Like()
					require.NoError(t, spoilt.CopyFrom(o.args[last]))
					spoilt.Set(1, s[0]-1, 0, math.NaN())
					var at *manifolds.PointError
					if assert.ErrorAs(t, o.call(x.Like(), append(o.args[:last:last], spoilt)), &at, what) {
						assert.Equal(t, 1, at.Point, what)
					}
				}
			}
		}
	}
}
