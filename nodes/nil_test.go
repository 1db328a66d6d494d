// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// Nil graphs and nodes do not panic, and padding that no memory holds is refused at once.
func TestNilAndHuge(t *testing.T) {
	assert.ErrorContains(t, nodes.CheckGraph(nil), "want a graph, got nil")
	assert.NotPanics(t, func() { nodes.Plan(nil) })
	assert.Nil(t, nodes.StateOf(nil))
	_, ok := nodes.OperationOf(nil)
	assert.False(t, ok)

	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithShape(1, 1, 4, 4), gorgonia.WithName("x"))
	w := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithShape(1, 1, 3, 3), gorgonia.WithName("w"))
	_, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1<<20 + 1, 1}, []int{1, 1}, []int{1, 1})
	assert.ErrorContains(t, err, "want padding of at most 1048576")
}

// attempt calls f, and turns a panic into an error.
func attempt(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// A missing argument of any function is an error that says what is wanted.
func TestMissing(t *testing.T) {
	g := gorgonia.NewGraph()
	node := func(name string, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name), gorgonia.WithInit(gorgonia.Gaussian(0, 1)))
	}
	x, w, m := node("x", 2, 4, 6, 6), node("w", 4, 4, 3, 3), node("m", 2, 4)
	var none *gorgonia.Node
	var noSphere *manifolds.Sphere
	k, one, pad := tensor.Shape{3, 3}, []int{1, 1}, []int{0, 0}
	type result = *gorgonia.Node
	of := func(f func() (result, error)) func() error { return func() error { _, err := f(); return err } }
	one2 := func(f func(*gorgonia.Node) (result, error)) func() error {
		return of(func() (result, error) { return f(none) })
	}
	for name, f := range map[string]func() error{
		"AOL":                     of(func() (result, error) { return nodes.AOL(none, 1) }),
		"AdaptiveAveragePool2D":   of(func() (result, error) { return nodes.AdaptiveAveragePool2D(none, 1, 1) }),
		"Add":                     of(func() (result, error) { return nodes.Add(x, none) }),
		"Add nothing":             of(func() (result, error) { return nodes.Add() }),
		"AveragePool2D":           of(func() (result, error) { return nodes.AveragePool2D(none, k, pad, one) }),
		"AveragePool2D, no shape": of(func() (result, error) { return nodes.AveragePool2D(x, nil, nil, nil) }),
		"BatchNorm":               func() error { _, _, _, _, err := nodes.BatchNorm(none, none, none, 0.1, 1e-5); return err },
		"BatchNormWith":           of(func() (result, error) { return nodes.BatchNormWith(none, none, none, nil, 1e-5) }),
		"BatchNormWith, no scale": of(func() (result, error) {
			return nodes.BatchNormWith(x, none, node("bias1", 1, 4, 1, 1), &nodes.Statistics{}, 1e-5)
		}),
		"BatchNormWith, no statistics": of(func() (result, error) {
			return nodes.BatchNormWith(x, node("scale", 1, 4, 1, 1), node("bias", 1, 4, 1, 1), nil, 1e-5)
		}),
		"BatchNormWith, zero statistics": of(func() (result, error) {
			return nodes.BatchNormWith(x, node("scale2", 1, 4, 1, 1), node("bias2", 1, 4, 1, 1), &nodes.Statistics{}, 1e-5)
		}),
		"BatchNormWith, nil option": of(func() (result, error) {
			return nodes.BatchNormWith(x, node("scale3", 1, 4, 1, 1), node("bias3", 1, 4, 1, 1), must(nodes.NewStatistics(4, 0.1)), 1e-5, nil)
		}),
		"Bias":                        of(func() (result, error) { return nodes.Bias(x, none) }),
		"CayleyTrivialization":        of(func() (result, error) { return nodes.CayleyTrivialization(none, none) }),
		"CayleyTrivialization, base":  of(func() (result, error) { return nodes.CayleyTrivialization(node("v", 3, 3), none) }),
		"ExpTrivialization":           of(func() (result, error) { return nodes.ExpTrivialization(none, none) }),
		"CentredWeightNorm":           of(func() (result, error) { return nodes.CentredWeightNorm(w, none) }),
		"CheckGraph":                  func() error { return nodes.CheckGraph(nil) },
		"Concat":                      of(func() (result, error) { return nodes.Concat(x, none) }),
		"Concat of nothing":           of(func() (result, error) { return nodes.Concat() }),
		"Conv2d":                      of(func() (result, error) { return nodes.Conv2d(none, w, k, pad, one, one) }),
		"Conv2d, w":                   of(func() (result, error) { return nodes.Conv2d(x, none, k, pad, one, one) }),
		"Conv2d, no shape":            of(func() (result, error) { return nodes.Conv2d(x, w, nil, nil, nil, nil) }),
		"Conv2dWith, w":               of(func() (result, error) { return nodes.Conv2dWith(x, none, k, pad, one, one, nodes.Groups(1)) }),
		"Conv2dWith, nil option":      of(func() (result, error) { return nodes.Conv2dWith(x, w, k, pad, one, one, nil) }),
		"ConvOrthogonality":           of(func() (result, error) { return nodes.ConvOrthogonality(none, one) }),
		"ConvOrthogonality, stride":   of(func() (result, error) { return nodes.ConvOrthogonality(w, nil) }),
		"ConvSpectralNorm":            of(func() (result, error) { return nodes.ConvSpectralNorm(none, 0.1) }),
		"ConvTranspose2d":             of(func() (result, error) { return nodes.ConvTranspose2d(x, none, k, pad, one, one) }),
		"ConvexPotential":             of(func() (result, error) { return nodes.ConvexPotential(x, none, none) }),
		"CrossEntropy":                of(func() (result, error) { return nodes.CrossEntropy(none, none) }),
		"DoubleSoftOrthogonality":     of(func() (result, error) { return nodes.DoubleSoftOrthogonality(none) }),
		"Dropout":                     of(func() (result, error) { return nodes.Dropout(none, 0.5, &nodes.Noise{}) }),
		"Dropout, no noise":           of(func() (result, error) { return nodes.Dropout(x, 0.5, nil) }),
		"Flatten":                     one2(nodes.Flatten),
		"Fold":                        func() error { _, _, err := nodes.Fold(nil, none); return err },
		"Fold of nil weights":         func() error { _, _, err := nodes.Fold(gorgonia.Nodes{none}, x); return err },
		"Fuse":                        func() error { _, err := nodes.Fuse(none); return err },
		"GlobalAveragePool2D":         one2(nodes.GlobalAveragePool2D),
		"GroupNorm":                   of(func() (result, error) { return nodes.GroupNorm(x, none, none, 2, 4, 1e-5) }),
		"Householder":                 of(func() (result, error) { return nodes.Householder(x, none) }),
		"Linear":                      of(func() (result, error) { return nodes.Linear(m, none, none) }),
		"Lipschitz":                   func() error { _, err := nodes.Lipschitz(none, nil); return err },
		"Lipschitz, no inputs":        func() error { _, err := nodes.Lipschitz(x, nil); return err },
		"Lipschitz, nil input":        func() error { _, err := nodes.Lipschitz(x, gorgonia.Nodes{none}); return err },
		"Lipschitz, nil option":       func() error { _, err := nodes.Lipschitz(x, gorgonia.Nodes{x}, nil); return err },
		"MarginCrossEntropy":          of(func() (result, error) { return nodes.MarginCrossEntropy(none, none, 1, 1) }),
		"MaxMin":                      one2(nodes.MaxMin),
		"MaxPool2D":                   of(func() (result, error) { return nodes.MaxPool2D(none, k, pad, one) }),
		"MaxPool2D, no shape":         of(func() (result, error) { return nodes.MaxPool2D(x, nil, nil, nil) }),
		"MaxPool2DCeil":               of(func() (result, error) { return nodes.MaxPool2DCeil(none, k, pad, one) }),
		"MutualCoherence":             of(func() (result, error) { return nodes.MutualCoherence(none) }),
		"NormPool2D":                  of(func() (result, error) { return nodes.NormPool2D(none, k, pad, one) }),
		"Normalize":                   of(func() (result, error) { return nodes.Normalize(none, manifolds.Sphere{}) }),
		"Normalize to nil":            of(func() (result, error) { return nodes.Normalize(w, nil) }),
		"Normalize to a nil pointer":  of(func() (result, error) { return nodes.Normalize(w, noSphere) }),
		"Normalize with a nil option": of(func() (result, error) { return nodes.Normalize(w, manifolds.Sphere{}, nil) }),
		"OrthogonalConv":              of(func() (result, error) { return nodes.OrthogonalConv(none, none, none, k, one, one) }),
		"OrthogonalConvKernel":        of(func() (result, error) { return nodes.OrthogonalConvKernel(none, none, 4, k, one) }),
		"OrthogonalConvTranspose":     of(func() (result, error) { return nodes.OrthogonalConvTranspose(none, none, none, 4, k, one, one) }),
		"OrthogonalConvFactors":       func() error { _, _, err := nodes.OrthogonalConvFactors(4, 4, nil, nil); return err },
		"OrthogonalConvFactors, option": func() error {
			_, _, err := nodes.OrthogonalConvFactors(4, 4, k, one, nil)
			return err
		},
		"Orthogonalize":              of(func() (result, error) { return nodes.Orthogonalize(none, 5, manifolds.Unit) }),
		"Orthogonalize, nil option":  of(func() (result, error) { return nodes.Orthogonalize(w, 5, manifolds.Unit, nil) }),
		"Rectify":                    one2(nodes.Rectify),
		"RectifyTo":                  of(func() (result, error) { return nodes.RectifyTo(none, 6) }),
		"SLL":                        of(func() (result, error) { return nodes.SLL(w, none) }),
		"SRIP":                       of(func() (result, error) { return nodes.SRIP(none, 2, 1) }),
		"Shortcut":                   of(func() (result, error) { return nodes.Shortcut(none, 8, 2) }),
		"Shortcut, nil option":       of(func() (result, error) { return nodes.Shortcut(x, 8, 2, nil) }),
		"SoftOrthogonality":          of(func() (result, error) { return nodes.SoftOrthogonality(none) }),
		"SpectralNorm":               of(func() (result, error) { return nodes.SpectralNorm(none, nodes.NewPowerIteration(1), 1) }),
		"SpectralNorm without state": of(func() (result, error) { return nodes.SpectralNorm(w, nil, 1) }),
		"StochasticDepth":            of(func() (result, error) { return nodes.StochasticDepth(none, none, 0.5, &nodes.Noise{}) }),
		"StochasticDepth, no noise":  of(func() (result, error) { return nodes.StochasticDepth(x, x, 0.5, nil) }),
		"UnitNorm":                   one2(nodes.UnitNorm),
		"WeightNorm":                 of(func() (result, error) { return nodes.WeightNorm(w, none) }),
		"WeightStandardization":      of(func() (result, error) { return nodes.WeightStandardization(none, 1e-5) }),
		"Widen":                      func() error { _, err := nodes.Widen(none); return err },
		"Statistics from nothing":    func() error { return new(nodes.Statistics).UnmarshalBinary(nil) },
		"Noise from nothing":         func() error { return new(nodes.Noise).UnmarshalBinary(nil) },
		"PowerIteration of nothing":  func() error { return new(nodes.PowerIteration).UnmarshalBinary(nil) },
		"SetVectors of nil":          func() error { return new(nodes.PowerIteration).SetVectors(nil, nil) },
	} {
		t.Run(name, func(t *testing.T) { assert.ErrorContains(t, attempt(f), "want ") })
	}
	for name, f := range map[string]func(){
		"Plan":           func() { nodes.Plan(nil, none); nodes.Plan(g, none) },
		"StateOf":        func() { _ = nodes.StateOf(none) },
		"OperationOf":    func() { _, _ = nodes.OperationOf(none) },
		"ZeroChannels":   func() { _, _ = nodes.ZeroChannels(none) },
		"GroupsOf":       func() { _ = nodes.GroupsOf(nil) },
		"Cause":          func() { _ = nodes.Cause(nil) },
		"zero values":    func() { _, _ = nodes.Statistics{}.MarshalBinary(); _, _ = nodes.Noise{}.MarshalBinary() },
		"PowerIteration": func() { p := &nodes.PowerIteration{}; _ = p.Sigma(); _, _ = p.Vectors(); _, _ = p.MarshalBinary() },
		"Bounds":         func() { b := &nodes.Bounds{}; _, _ = b.String(), b.Rounding(1) },
	} {
		t.Run(name, func(t *testing.T) { assert.NotPanics(t, f) })
	}
}

// An input without elements is an error when the graph is built, whatever axis has the size 0.
func TestEmpty(t *testing.T) {
	for name, c := range constructors(t) {
		for i, shape := range c.shapes {
			for axis := range shape {
				g := gorgonia.NewGraph()
				var in []*gorgonia.Node
				for k, s := range c.shapes {
					if s = slices.Clone(s); k == i {
						s[axis] = 0
					}
					in = append(in, zeros(g, fmt.Sprint("input ", k), tensor.Float64, s...))
				}
				err := attempt(func() error { _, err := c.build(in); return err })
				require.ErrorContains(t, err, "want", "%s, input %d, axis %d", name, i, axis)
				assert.NotContains(t, err.Error(), "panic", "%s, input %d, axis %d", name, i, axis)
			}
		}
	}
}

// Without other processes to sum over a batch normalisation is that of this one.
func TestSynchronisedOverNothing(t *testing.T) {
	var noSums *sums
	for _, over := range []nodes.Sums{nil, noSums} {
		g := gorgonia.NewGraph()
		node := func(name string, shape ...int) *gorgonia.Node {
			return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithShape(shape...), gorgonia.WithName(name), gorgonia.WithInit(gorgonia.Ones()))
		}
		x, scale, bias := node("x", 2, 4, 6, 6), node("scale", 1, 4, 1, 1), node("bias", 1, 4, 1, 1)
		y, err := nodes.BatchNormWith(x, scale, bias, must(nodes.NewStatistics(4, 0.1)), 1e-5, nodes.Synchronised(over))
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(g)
		require.NoError(t, attempt(vm.RunAll))
		assert.Equal(t, 1.0, y.Value().Data().([]float64)[0])
		require.NoError(t, vm.Close())
		_, err = nodes.BatchNormWith(x, scale, bias, must(nodes.NewStatistics(4, 0.1)), 1e-5, nodes.Synchronised(over), nodes.Plus(nil))
		assert.EqualError(t, err, "nodes.BatchNorm: input 3: want a node, got nil")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sums is of a type that sums over processes, of which there is only a nil pointer.
type sums struct{ ranks int }

func (s *sums) Sum(v ...float64) ([]float64, error) { s.ranks++; return v, nil }
