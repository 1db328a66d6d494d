// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func biasBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Bias(in[0], in[1]) }

func stockBias(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.BroadcastAdd(in[0], in[1], nil, []byte{0, 2, 3})
}

func TestBias(t *testing.T) {
	for _, shape := range append(images(), []int{3, 5}, []int{1, 4}, []int{4, 1}, []int{3, 70}, []int{5, 3, 70, 70}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			b := []int{1, shape[1]}
			if len(shape) == 4 {
				b = []int{1, shape[1], 1, 1}
			}
			area := size(shape) / (shape[0] * shape[1])
			c := nodetest.Case{
				Build:  biasBuild,
				Inputs: []nodetest.Input{{Shape: shape}, {Shape: b}},
				Value: func(in [][]float64) []float64 {
					for i := range in[0] {
						in[0][i] += in[1][i/area%shape[1]]
					}
					return in[0]
				},
			}
			if area < 1000 {
				nodetest.Run(t, c)
				return
			}
			// Too large for differences: against the stock op.
			for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
				want, got := differentiate(t, of, shape, b, stockBias), differentiate(t, of, shape, b, biasBuild)
				for i := range want {
					assert.LessOrEqual(t, differ(t, got[i], want[i]), 1e-4) // stock sums in float32
				}
			}
		})
	}
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 2, 3, 4, 5)
	rejects(t, biasBuild, "want a bias of shape (1, 3, 1, 1) for an input of shape (2, 3, 4, 5), got (1, 4, 1, 1)", x, zeros(g, "b", tensor.Float64, 1, 4, 1, 1))
	rejects(t, biasBuild, "want a bias of shape (1, 3, 1, 1) for an input of shape (2, 3, 4, 5), got (1, 3)", x, zeros(g, "c", tensor.Float64, 1, 3))
	rejects(t, biasBuild, "want rank 2 or 4, got shape (2, 3, 4)", zeros(g, "y", tensor.Float64, 2, 3, 4), zeros(g, "d", tensor.Float64, 1, 3))
	rejects(t, biasBuild, "want a node, got nil", x, nil)
}

func size(shape []int) int { return tensor.Shape(shape).TotalSize() }

func BenchmarkBias(b *testing.B) {
	for name, f := range map[string]nodetest.Build{"stock": stockBias, "nodes": biasBuild} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(x, _, bias *gorgonia.Node) (*gorgonia.Node, error) { return f([]*gorgonia.Node{x, bias}) })
		})
	}
}
