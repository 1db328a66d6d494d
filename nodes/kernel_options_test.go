// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// turned returns the kernel of Conv2dWith of the same filters as a kernel of ConvTranspose2d, or the other way round.
func turned(w []float64, s tensor.Shape, groups int, back bool) []float64 {
	channels, filters, area := s[0]/groups, s[1], s[2]*s[3]
	out := make([]float64, len(w))
	for q := range groups {
		for c := range channels {
			for e := range filters {
				for p := range area {
					kernel, bank := ((q*channels+c)*filters+e)*area+p, ((q*filters+e)*channels+c)*area+p
					if back {
						kernel, bank = bank, kernel
					}
					out[bank] = w[kernel]
				}
			}
		}
	}
	return out
}

// onKernel is a node of a kernel, and of gains if it has some.
type onKernel struct {
	name  string
	gains bool
	maps  bool // its value is a kernel
	node  func(in []*gorgonia.Node, opts ...nodes.KernelOption) (*gorgonia.Node, error)
}

var onKernels = []onKernel{
	{"WeightNorm", true, true, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.WeightNorm(in[0], in[1], o...)
	}},
	{"CentredWeightNorm", true, true, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.CentredWeightNorm(in[0], in[1], o...)
	}},
	{"WeightStandardization", false, true, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.WeightStandardization(in[0], 1e-5, o...)
	}},
	{"SpectralNorm", false, true, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.SpectralNorm(in[0], nodes.NewPowerIteration(3), 2, o...)
	}},
	{"Orthogonalize", false, true, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.Orthogonalize(in[0], 3, manifolds.UnitFilters, o...)
	}},
	{"SoftOrthogonality", false, false, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.SoftOrthogonality(in[0], o...)
	}},
	{"DoubleSoftOrthogonality", false, false, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.DoubleSoftOrthogonality(in[0], o...)
	}},
	{"MutualCoherence", false, false, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.MutualCoherence(in[0], o...)
	}},
	{"SRIP", false, false, func(in []*gorgonia.Node, o ...nodes.KernelOption) (*gorgonia.Node, error) {
		return nodes.SRIP(in[0], 2, 1, o...)
	}},
}

// A node of the kernel of a transposed convolution is that of the ordinary convolution with the same filters: its value and its gradients, in
// any number of groups.
func TestTransposedKernel(t *testing.T) {
	for _, k := range onKernels {
		for _, c := range []struct {
			shape  tensor.Shape
			groups int
		}{{tensor.Shape{4, 3, 2, 3}, 1}, {tensor.Shape{4, 3, 2, 2}, 2}, {tensor.Shape{3, 3, 1, 2}, 1}, {tensor.Shape{3, 1, 3, 3}, 3}} {
			t.Run(fmt.Sprint(k.name, c.shape, c.groups), func(t *testing.T) {
				filters := c.shape[1] * c.groups
				plain := tensor.Shape{filters, c.shape[0] / c.groups, c.shape[2], c.shape[3]}
				n := kernelNode{
					build: func(in []*gorgonia.Node) (*gorgonia.Node, error) { return k.node(in, nodes.TransposedKernel(c.groups)) },
					loop: func(in [][]float64) []float64 {
						g := gorgonia.NewGraph()
						nodesOf := []*gorgonia.Node{given(g, tensor.Float64, "w", plain, turned(in[0], c.shape, c.groups, false))}
						if k.gains {
							nodesOf = append(nodesOf, given(g, tensor.Float64, "gain", tensor.Shape{filters, 1, 1, 1}, in[1]))
						}
						y, err := k.node(nodesOf)
						require.NoError(t, err)
						vm := gorgonia.NewTapeMachine(g)
						defer vm.Close()
						require.NoError(t, vm.RunAll())
						value := floats(y.Value())
						if k.maps {
							value = turned(value, c.shape, c.groups, true)
						}
						return value
					},
					shapes:    []tensor.Shape{c.shape},
					condition: 100,
				}
				if k.gains {
					n.shapes = append(n.shapes, tensor.Shape{filters, 1, 1, 1})
				}
				if k.name == "SpectralNorm" { // its gradient is not that of its value: the vectors are constants
					g := gorgonia.NewGraph()
					w := make([]float64, c.shape.TotalSize())
					for i := range w {
						w[i] = math.Sin(float64(3 * i))
					}
					x := given(g, tensor.Float64, "w", c.shape, w)
					y, err := n.build([]*gorgonia.Node{x})
					require.NoError(t, err)
					vm := gorgonia.NewTapeMachine(g)
					defer vm.Close()
					require.NoError(t, vm.RunAll())
					assert.InDeltaSlice(t, n.loop([][]float64{w}), floats(y.Value()), 1e-14)
					assert.NotNil(t, nodes.StateOf(y))
					return
				}
				n.check(t)
			})
		}
	}
}

// The graph tells that the weights of the nodes are kernels of the transposed convolution.
func TestTransposedKernelIsOne(t *testing.T) {
	for _, k := range onKernels {
		if !k.maps {
			continue
		}
		g := gorgonia.NewGraph()
		x, v, gain := zeros(g, "x", tensor.Float64, 1, 4, 5, 5), zeros(g, "v", tensor.Float64, 4, 3, 2, 2), zeros(g, "g", tensor.Float64, 6, 1, 1, 1)
		for i := range v.Value().Data().([]float64) {
			v.Value().Data().([]float64)[i] = math.Sin(float64(3 * i))
		}
		w, err := k.node([]*gorgonia.Node{v, gain}, nodes.TransposedKernel(2))
		require.NoError(t, err)
		_, err = nodes.ConvTranspose2d(x, w, tensor.Shape{2, 2}, []int{0, 0}, []int{1, 1}, []int{1, 1}, nodes.Groups(2))
		require.NoError(t, err)
		answer := roles.Of(v)
		assert.Equal(t, roles.Convolution{Groups: 2, Transposed: true}, answer.Convolution)
		assert.Empty(t, answer.Unclear)
		assert.Contains(t, answer.Why, "filter of ConvTranspose2d through "+k.name)
	}
}

// Kernels of transposed convolutions start with the scale of the filters, not of the channels.
func TestTransposedInitialisers(t *testing.T) {
	shape := tensor.Shape{96, 8, 4, 3}
	for _, groups := range []int{1, 4} {
		in := 96 / groups * 12
		w := draw(nodes.HeNormal(2, 1, nodes.TransposedKernel(groups)), tensor.Float64, shape...)
		squares := 0.0
		for _, v := range w {
			squares += v * v
		}
		assert.InEpsilon(t, 4/float64(in), squares/float64(len(w)), 0.1, "variance gain^2/fan-in")
		for name, of := range map[string]func(float64, uint64, ...nodes.KernelOption) gorgonia.InitWFn{"Orthonormal": nodes.Orthonormal, "UnitFilterInit": nodes.UnitFilterInit} {
			w := turned(draw(of(1, 2, nodes.TransposedKernel(groups)), tensor.Float64, shape...), shape, groups, false)
			for i := range 8 * groups {
				norm := 0.0
				for _, v := range w[i*in:][:in] {
					norm += v * v
				}
				assert.InDelta(t, 1, norm, 1e-12, "%s, filter %d", name, i)
			}
		}
	}
	assert.PanicsWithError(t, "nodes.HeNormal: want groups that divide 96 channels for TransposedKernel, got 5", func() {
		draw(nodes.HeNormal(1, 1, nodes.TransposedKernel(5)), tensor.Float64, shape...)
	})
	assert.PanicsWithError(t, "nodes.Orthonormal: options: want options, got nil as number 1 (invalid option)", func() {
		draw(nodes.Orthonormal(1, 1, nil), tensor.Float64, shape...)
	})
}

// Nil options are typed errors, and so are kernels that no transposed convolution has.
func TestNilOptions(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w, b := zeros(g, "x", tensor.Float64, 1, 2, 4, 4), zeros(g, "w", tensor.Float64, 2, 2, 3, 3), zeros(g, "b", tensor.Float64, 1, 2, 1, 1)
	one := []int{1, 1}
	stats, err := nodes.NewStatistics(2, 0.1)
	require.NoError(t, err)
	for name, call := range map[string]func() (*gorgonia.Node, error){
		"Conv2d": func() (*gorgonia.Node, error) { return nodes.Conv2dWith(x, w, tensor.Shape{3, 3}, one, one, one, nil) },
		"ConvTranspose2d": func() (*gorgonia.Node, error) {
			return nodes.ConvTranspose2d(x, w, tensor.Shape{3, 3}, one, one, one, nil)
		},
		"BatchNorm": func() (*gorgonia.Node, error) {
			return nodes.BatchNormWith(x, b, b, stats, 1e-5, nodes.Rectified(), nil)
		},
		"Shortcut":  func() (*gorgonia.Node, error) { return nodes.Shortcut(x, 4, 2, nil) },
		"Lipschitz": func() (*gorgonia.Node, error) { _, err := nodes.Lipschitz(w, gorgonia.Nodes{x}, nil); return nil, err },
		"OrthogonalConvFactors": func() (*gorgonia.Node, error) {
			_, _, err := nodes.OrthogonalConvFactors(2, 2, tensor.Shape{3, 3}, one, nil)
			return nil, err
		},
	} {
		n, err := call()
		require.ErrorIs(t, err, nodes.ErrOption, name)
		assert.ErrorContains(t, err, "nodes."+name)
		assert.Nil(t, n)
	}
	for _, k := range onKernels {
		_, err := k.node([]*gorgonia.Node{w, zeros(g, "gain"+k.name, tensor.Float64, 2, 1, 1, 1)}, nil)
		require.ErrorIs(t, err, nodes.ErrOption, k.name)
		_, err = k.node([]*gorgonia.Node{w, w}, nodes.TransposedKernel(0))
		require.ErrorContains(t, err, "want groups that divide 2 channels for TransposedKernel, got 0", k.name)
		_, err = k.node([]*gorgonia.Node{zeros(g, "m"+k.name, tensor.Float64, 2, 3), w}, nodes.TransposedKernel(1))
		require.ErrorContains(t, err, "(in, out/groups, height, width)", k.name)
	}
}
