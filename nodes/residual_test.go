// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func shortcutBuild(channels, stride int, opts ...nodes.ShortcutOption) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.Shortcut(in[0], channels, stride, opts...)
	}
}

func TestShortcut(t *testing.T) {
	for _, shape := range images() {
		for _, stride := range []int{1, 2, 3} {
			for _, more := range []int{0, 1, 4} {
				t.Run(fmt.Sprint(shape, stride, more), func(t *testing.T) { testShortcut(t, shape, stride, more, 0) })
				t.Run(fmt.Sprint("around ", shape, stride, more), func(t *testing.T) {
					testShortcut(t, shape, stride, more, more/2, nodes.ZerosAround())
				})
			}
		}
	}
}

func testShortcut(t *testing.T, shape []int, stride, more, before int, opts ...nodes.ShortcutOption) {
	variants := []nodetest.Build{shortcutBuild(shape[1]+more+1, stride, opts...), shortcutBuild(shape[1]+more, stride+1, opts...)}
	if before > 0 {
		variants = append(variants, shortcutBuild(shape[1]+more, stride))
	}
	nodetest.Run(t, nodetest.Case{
		Build:    shortcutBuild(shape[1]+more, stride, opts...),
		Variants: variants,
		Inputs:   []nodetest.Input{{Shape: shape}},
		Value: func(in [][]float64) []float64 {
			var y []float64
			for b := range shape[0] {
				for c := range shape[1] + more {
					for i := 0; i < shape[2]; i += stride {
						for j := 0; j < shape[3]; j += stride {
							v := 0.0
							if c := c - before; c >= 0 && c < shape[1] {
								v = in[0][((b*shape[1]+c)*shape[2]+i)*shape[3]+j]
							}
							y = append(y, v)
						}
					}
				}
			}
			return y
		},
	})
}

// What a graph says of its shortcuts.
func TestZeroChannels(t *testing.T) {
	x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 1, 3, 2, 2)
	for _, test := range []struct {
		opts          []nodes.ShortcutOption
		before, after int
	}{{nil, 0, 5}, {[]nodes.ShortcutOption{nodes.ZerosAround()}, 2, 3}} {
		n, err := nodes.Shortcut(x, 8, 2, test.opts...)
		require.NoError(t, err)
		before, after := nodes.ZeroChannels(n)
		assert.Equal(t, [2]int{test.before, test.after}, [2]int{before, after})
	}
	before, after := nodes.ZeroChannels(x)
	assert.Zero(t, before+after)
}

// The sum of a convolution with a stride and the shortcut, each differentiated in the input.
func TestShortcutResidual(t *testing.T) {
	nodetest.Run(t, nodetest.Case{
		Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Conv2d(in[0], in[1], tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2}, []int{1, 1})
			if err != nil {
				return nil, err
			}
			s, err := nodes.Shortcut(in[0], 3, 2)
			if err != nil {
				return nil, err
			}
			return gorgonia.Add(y, s)
		},
		Inputs: []nodetest.Input{{Shape: []int{2, 2, 5, 4}}, {Shape: []int{3, 2, 3, 3}}},
		// Stock ops leave these out of their hash.
		Unhashed: []string{"retSame", "Type", "tensorLeft"},
	})
}

func TestShortcutRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 1, 3, 2, 2)
	rejects(t, shortcutBuild(2, 2), "want at least the 3 channels of the input, got 2", x)
	rejects(t, shortcutBuild(3, 0), "want a positive stride, got 0", x)
	rejects(t, shortcutBuild(3, 1), "want rank 4, got shape (3, 2)", zeros(g, "matrix", tensor.Float64, 3, 2))
	rejects(t, shortcutBuild(3, 1), "want a node, got nil", nil)
}
