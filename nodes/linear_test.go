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

func linearBuild(in []*gorgonia.Node) (*gorgonia.Node, error) {
	if len(in) == 2 {
		in = append(in, nil)
	}
	return nodes.Linear(in[0], in[1], in[2])
}

// stockLinear is what users write.
func stockLinear(in []*gorgonia.Node) (n *gorgonia.Node, err error) {
	x := in[0]
	if x.Dims() > 2 {
		if x, err = gorgonia.Reshape(x, tensor.Shape{x.Shape()[0], size(x.Shape()[1:])}); err != nil {
			return nil, err
		}
	}
	if n, err = gorgonia.Mul(x, in[1]); err != nil || len(in) == 2 {
		return n, err
	}
	return gorgonia.BroadcastAdd(n, in[2], nil, []byte{0})
}

func TestLinear(t *testing.T) {
	for _, s := range []struct {
		x []int
		m int
	}{{[]int{3, 4}, 5}, {[]int{1, 1}, 1}, {[]int{1, 7}, 3}, {[]int{4, 2, 3, 3}, 6}, {[]int{2, 3, 4}, 1}, {[]int{17, 19}, 9}} {
		batch := s.x[0]
		n := size(s.x) / batch
		for _, bias := range []bool{false, true} {
			t.Run(fmt.Sprint(s, bias), func(t *testing.T) {
				in := []nodetest.Input{{Shape: s.x}, {Shape: []int{n, s.m}}}
				if bias {
					in = append(in, nodetest.Input{Shape: []int{1, s.m}})
				}
				nodetest.Run(t, nodetest.Case{
					Build: linearBuild, Inputs: in,
					Value: func(in [][]float64) []float64 {
						y := make([]float64, batch*s.m)
						for e := range y {
							i, j := e/s.m, e%s.m
							if bias {
								y[e] = in[2][j]
							}
							for k := range n {
								y[e] += in[0][i*n+k] * in[1][k*s.m+j]
							}
						}
						return y
					},
				})
			})
		}
	}
}

// A layer that several cores share is that of the stock ops.
func TestLinearIsStock(t *testing.T) {
	for of, tolerance := range map[tensor.Dtype]float64{tensor.Float32: 1e-4, tensor.Float64: 1e-13} { // sums of 640 products
		want := differentiate(t, of, []int{65, 10, 8, 8}, []int{640, 130}, stockLinear)
		got := differentiate(t, of, []int{65, 10, 8, 8}, []int{640, 130}, linearBuild)
		for i := range want {
			assert.LessOrEqual(t, differ(t, got[i], want[i]), tolerance)
		}
	}
}

func TestLinearRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	of := tensor.Float64
	x, w, b := zeros(g, "x", of, 3, 4), zeros(g, "w", of, 4, 5), zeros(g, "b", of, 1, 5)
	rejects(t, linearBuild, "want rank 2 at least, got shape (4)", zeros(g, "vector", of, 4), w, b)
	rejects(t, linearBuild, "want rank 2, got shape (4)", x, zeros(g, "vector w", of, 4), b)
	rejects(t, linearBuild, "want weights of 4 rows for an input of shape (3, 4), got shape (5, 4)", x, zeros(g, "wrong w", of, 5, 4), b)
	rejects(t, linearBuild, "want weights of 12 rows for an input of shape (3, 3, 2, 2), got shape (4, 5)", zeros(g, "images", of, 3, 3, 2, 2), w, b)
	rejects(t, linearBuild, "want a bias of shape (1, 5), got (1, 4)", x, w, zeros(g, "wrong b", of, 1, 4))
	rejects(t, linearBuild, "want rank 2, got shape (5)", x, w, zeros(g, "vector b", of, 5))
	rejects(t, linearBuild, "want a node, got nil", x, nil, b)
}

// BenchmarkLinear takes 64 images of 128 channels and 4x4 pixels to 256 units.
func BenchmarkLinear(b *testing.B) {
	for name, f := range map[string]nodetest.Build{"stock": stockLinear, "nodes": linearBuild} {
		b.Run(name, func(b *testing.B) {
			g, of := gorgonia.NewGraph(), tensor.Float32
			in := gorgonia.Nodes{zeros(g, "x", of, 64, 128, 4, 4), zeros(g, "w", of, 2048, 256), zeros(g, "b", of, 1, 256)}
			y, err := f(in)
			require.NoError(b, err)
			_, err = gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{zeros(g, "gradient", of, 64, 256)}, in)
			require.NoError(b, err)
			vm := gorgonia.NewTapeMachine(g)
			defer vm.Close()
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, vm.RunAll())
				vm.Reset()
			}
		})
	}
}
