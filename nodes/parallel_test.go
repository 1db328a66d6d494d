// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// The bits of the results do not depend on the number of processors.
func TestParallel(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	p := pooling{[]int{3, 2}, []int{1, 1}, []int{2, 1}}
	for name, build := range map[string]nodetest.Build{
		"MaxPool2D":     poolBuild(nodes.MaxPool2D, p),
		"AveragePool2D": poolBuild(nodes.AveragePool2D, p),
		"BatchNorm": func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.BatchNormWith(in[0], in[1], in[2], statistics(t, 6), 1e-5)
		},
		"GroupNorm": groupNormBuild(3, 6, 1e-5),
	} {
		t.Run(name, func(t *testing.T) {
			var want [][]float64
			for _, processors := range []int{1, 2, 5} {
				runtime.GOMAXPROCS(processors)
				g := gorgonia.NewGraph()
				in := gorgonia.Nodes{
					zeros(g, "x", tensor.Float64, 5, 6, 70, 80), zeros(g, "scale", tensor.Float64, 1, 6, 1, 1), zeros(g, "bias", tensor.Float64, 1, 6, 1, 1),
				}
				y, err := build(in)
				require.NoError(t, err)
				grad := zeros(g, "gradient", tensor.Float64, y.Shape()...)
				for _, n := range append(in, grad) {
					d := n.Value().Data().([]float64)
					copy(d, ramp(len(d)))
				}
				if g.To(in[1].ID()).Len() == 0 {
					in = in[:1]
				}
				d, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{grad}, in)
				require.NoError(t, err)
				vm := gorgonia.NewTapeMachine(g)
				require.NoError(t, vm.RunAll())
				got := [][]float64{floats(y.Value())}
				for _, n := range d {
					got = append(got, floats(n.Value()))
				}
				vm.Close()
				if want == nil {
					want = got
				}
				assert.True(t, assert.ObjectsAreEqual(want, got), "%d processors", processors)
			}
		})
	}
}
