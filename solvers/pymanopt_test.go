// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Minimize finds the minima that the solvers of pymanopt find from the same start, in testdata/pymanopt.py. It evaluates the cost with its gradient less often than
// they evaluate the cost.
func TestPymanopt(t *testing.T) {
	text, err := os.ReadFile("testdata/pymanopt.json")
	require.NoError(t, err)
	var runs []struct {
		Manifold, Method                   string
		N, P, Costs, Gradients, Iterations int
		Start                              []float64
		Cost                               float64
	}
	require.NoError(t, json.Unmarshal(text, &runs))
	on := map[string]manifolds.Manifold{
		"Sphere": manifolds.Sphere{}, "Grassmann": manifolds.Grassmann{}, "Stiefel": manifolds.Stiefel{}, "SpecialOrthogonal": manifolds.SpecialOrthogonal{},
	}
	for _, r := range runs {
		n, p := r.N, r.P
		w := newParam("w", tensor.Float64, 1, 1, n, p)
		put(w.w, r.Start)
		a := make([]float64, n*n)
		for i := range n {
			for j := range n {
				if r.Manifold == "SpecialOrthogonal" {
					a[i*n+j] = math.Cos(float64(i + 1 + 2*(j+1)))
				} else {
					a[i*n+j] = math.Sin(float64((i + 1) * (j + 1)))
				}
			}
			a[i*n+i] += 2
			if r.Manifold != "SpecialOrthogonal" {
				a[i*n+i] += float64(i - 1)
			}
		}
		cost := func() (sum float64, err error) {
			x, g := get(w.w), make([]float64, n*p)
			if r.Manifold == "SpecialOrthogonal" {
				copy(g, a)
			} else {
				multiply(g, a, x, n, p)
			}
			for i, v := range g {
				if r.Manifold == "Stiefel" {
					v *= float64(p - i%p)
				}
				g[i] = -v
				sum -= x[i] * v
			}
			put(w.g, g)
			if r.Manifold != "SpecialOrthogonal" {
				sum /= 2
			}
			return sum, nil
		}
		for _, m := range methods {
			if m.name == r.Method {
				got, err := minimize([]*param{w}, cost, m.of, solvers.Param("w", on[r.Manifold], manifolds.PerSlice, manifolds.Unit),
					solvers.GradientTolerance(1e-6), solvers.MaxEvaluations(20000))
				require.NoError(t, err)
				t.Logf("%s, %s: %d evaluations of the cost with its gradient, pymanopt %d of the cost and %d of the gradient", r.Manifold, r.Method, got.Evaluations, r.Costs, r.Gradients)
				assert.InDelta(t, r.Cost, got.Cost, 1e-8)
				assert.Equal(t, solvers.SmallGradient, got.Reason)
				assert.LessOrEqual(t, got.Evaluations, r.Costs)
			}
		}
	}
}
