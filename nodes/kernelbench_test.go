// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// BenchmarkKernels takes a step, value and gradient, of a convolution of 8 images of 64 channels
// and 16x16 pixels with 64 filters of 3x3, in float32, without a node (plain) and with each node:
// the difference is the cost of the node.
func BenchmarkKernels(b *testing.B) {
	shape := tensor.Shape{64, 64, 3, 3}
	rng := rand.New(rand.NewPCG(1, 1))
	draw := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = rng.NormFloat64()
		}
		return x
	}
	kernel, image := draw(shape.TotalSize()), draw(8*64*16*16)
	type (
		maps    = func(v *gorgonia.Node) (*gorgonia.Node, error)
		scalars = func(w *gorgonia.Node) (*gorgonia.Node, error)
	)
	normalize := func(m manifolds.Manifold, opts ...manifolds.Option) maps {
		return func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Normalize(v, m, opts...) }
	}
	based := func(f func(v, base *gorgonia.Node) (*gorgonia.Node, error)) maps {
		return func(v *gorgonia.Node) (*gorgonia.Node, error) {
			return f(v, given(v.Graph(), tensor.Float32, "base", shape, orthonormal(shape, 1)))
		}
	}
	for _, c := range []struct {
		name    string
		kernel  maps
		penalty scalars
	}{
		{"plain", nil, nil},
		{"WeightNorm", func(v *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.WeightNorm(v, given(v.Graph(), tensor.Float32, "g", gainShape(shape), waves(64, 1)))
		}, nil},
		{"WeightStandardization", func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.WeightStandardization(v, 1e-5) }, nil},
		{"Sphere", normalize(manifolds.Sphere{}), nil},
		{"Oblique per slice", normalize(manifolds.Oblique{}), nil},
		{"Stiefel", normalize(manifolds.Stiefel{}), nil},
		{"Stiefel per slice", normalize(manifolds.Stiefel{}, manifolds.PerSlice), nil},
		{"SpectralNorm", func(v *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.SpectralNorm(v, nodes.NewPowerIteration(1), 1)
		}, nil},
		{"Orthogonalize 5", func(v *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Orthogonalize(v, 5, manifolds.UnitFilters)
		}, nil},
		{"ExpTrivialization", based(nodes.ExpTrivialization), nil},
		{"CayleyTrivialization", based(nodes.CayleyTrivialization), nil},
		{"SoftOrthogonality", nil, func(w *gorgonia.Node) (*gorgonia.Node, error) { return nodes.SoftOrthogonality(w) }},
		{"SRIP 2", nil, func(w *gorgonia.Node) (*gorgonia.Node, error) { return nodes.SRIP(w, 2, 1) }},
		{"ConvOrthogonality", nil, func(w *gorgonia.Node) (*gorgonia.Node, error) { return nodes.ConvOrthogonality(w, []int{1, 1}) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := gorgonia.NewGraph()
			v := given(g, tensor.Float32, "v", shape, kernel)
			x := given(g, tensor.Float32, "x", tensor.Shape{8, 64, 16, 16}, image)
			w := v
			if c.kernel != nil {
				w = gorgonia.Must(c.kernel(v))
			}
			cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))))
			if c.penalty != nil {
				cost = gorgonia.Must(gorgonia.Add(cost, gorgonia.Must(c.penalty(w))))
			}
			_, err := gorgonia.Grad(cost, v)
			require.NoError(b, err)
			vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(v))
			defer vm.Close()
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, vm.RunAll())
				vm.Reset()
			}
		})
	}
}
