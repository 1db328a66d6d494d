// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A grouping only says which weights are a point. Gathered by hand into a kernel
// of shape (points, n, p, 1), each filter of which is then a point, they move the
// same way to the bit.
func TestGroupingsAreGatheredPoints(t *testing.T) {
	// at returns the place of element (i, j) of point k in weights of shape
	// (d, c, a, b).
	type layout struct {
		grouping manifolds.Grouping
		size     func(d, c, a, b int) (k, n, p int)
		at       func(d, c, a, b, k, i, j int) int
	}
	layouts := []layout{
		{manifolds.PerTap, func(d, c, a, b int) (int, int, int) { return a * b, d, c },
			func(_, c, a, b, k, i, j int) int { return (i*c+j)*a*b + k }},
		{manifolds.PerInputChannel, func(d, c, a, b int) (int, int, int) { return c, d, a * b },
			func(_, c, a, b, k, i, j int) int { return (i*c+k)*a*b + j }},
		{manifolds.PerFilter, func(d, c, a, b int) (int, int, int) { return d, c, a * b },
			func(_, c, a, b, k, i, j int) int { return (k*c+i)*a*b + j }},
		{manifolds.FilterBank, func(d, c, a, b int) (int, int, int) { return 1, d, c * a * b },
			func(_, c, a, b, _, i, j int) int { return i*c*a*b + j }},
		{manifolds.PerFilter.Transposed(), func(d, c, a, b int) (int, int, int) { return c, d, a * b },
			func(_, c, a, b, k, i, j int) int { return (i*c+k)*a*b + j }},
		{manifolds.FilterBank.Transposed(), func(d, c, a, b int) (int, int, int) { return 1, c, d * a * b },
			func(_, c, a, b, _, i, j int) int { return (j/(a*b)*c+i)*a*b + j%(a*b) }},
		{manifolds.PerSlice, func(d, c, a, b int) (int, int, int) { return d * c, a, b },
			func(_, _, a, b, k, i, j int) int { return (k*a+i)*b + j }},
	}
	shapes := [][]int{
		{4, 3, 2, 3},  // not square
		{16, 2, 3, 1}, // more filters than weights in one
		{5, 7, 1, 1},  // a matrix
		{6, 1, 3, 3},  // one channel
	}
	on := []manifolds.Manifold{
		manifolds.Sphere{Radius: 1}, manifolds.CentredSphere{Radius: 1},
		manifolds.Oblique{Radius: 1, Axis: manifolds.Rows}, manifolds.Oblique{Radius: 1, Axis: manifolds.Columns},
		manifolds.Grassmann{Radius: 1}, manifolds.Stiefel{Radius: 1}, manifolds.Stiefel{Radius: 1, Metric: manifolds.CanonicalMetric, Retraction: manifolds.Geodesic},
	}
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			for _, shape := range shapes {
				for _, l := range layouts {
					k, n, p := l.size(shape[0], shape[1], shape[2], shape[3])
					for _, m := range on {
						if m.Check(n, p) != nil || manifolds.PropertiesOf(m, n, p).Dim < 1 || s.layers && k == 1 {
							continue
						}
						whole, gathered := newParam("kernel", of, shape...), newParam("kernel", of, k, n, p, 1)
						gaussian(whole.w, source(3), 1)
						gather := func(src *tensor.Dense) []float64 {
							w, out := get(src), make([]float64, 0, k*n*p)
							for point := range k {
								for i := range n {
									for j := range p {
										out = append(out, w[l.at(shape[0], shape[1], shape[2], shape[3], point, i, j)])
									}
								}
							}
							return out
						}
						put(gathered.w, gather(whole.w))
						a := s.of(solvers.Param("kernel", m, l.grouping))
						b := s.of(solvers.Param("kernel", m, manifolds.PerFilter))
						for step := range uint64(4) {
							gaussian(whole.g, source(step), 1)
							put(gathered.g, gather(whole.g))
							require.NoError(t, a.Step(valueGrads([]*param{whole})))
							require.NoError(t, b.Step(valueGrads([]*param{gathered})))
						}
						r := a.Report().Parameters[0]
						require.Equal(t, []int{k, n, p}, []int{r.Points, r.N, r.P})
						same(t, map[string][]float64{"kernel": get(gathered.w)}, map[string][]float64{"kernel": gather(whole.w)},
							of, s.name, shape, l.grouping, manifolds.Name(m))
					}
				}
			}
		}
	}
}

// A point of its own in a parameter of its own moves like one among many.
func TestPointsAreIndependent(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			if s.layers {
				continue
			}
			for _, m := range []manifolds.Manifold{manifolds.Sphere{Radius: 1}, manifolds.Stiefel{Radius: 1}, manifolds.Oblique{Radius: 1, Axis: manifolds.Rows}} {
				whole := newParam("kernel", of, 5, 2, 3, 3)
				gaussian(whole.w, source(3), 1)
				var alone []*param
				for k := range 5 {
					p := newParam(string(rune('a'+k)), of, 1, 2, 3, 3)
					put(p.w, get(whole.w)[18*k:18*k+18])
					alone = append(alone, p)
				}
				a, b := s.of(solvers.Kernels(m, manifolds.PerFilter)), s.of(solvers.Kernels(m, manifolds.PerFilter))
				for step := range uint64(4) {
					gaussian(whole.g, source(step), 1)
					for k, p := range alone {
						put(p.g, get(whole.g)[18*k:18*k+18])
					}
					require.NoError(t, a.Step(valueGrads([]*param{whole})))
					require.NoError(t, b.Step(valueGrads(alone)))
				}
				for k, p := range alone {
					require.Equal(t, get(p.w), get(whole.w)[18*k:18*k+18], "%s, %s, point %d", s.name, manifolds.Name(m), k)
				}
			}
		}
	}
}
