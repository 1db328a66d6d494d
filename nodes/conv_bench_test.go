// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// BenchmarkConv2d runs 3x3 convolutions of 32 images and their gradients, float32; in the
// first images none, as a net has none. See conv_test.go for a benchmark of the parts.
func BenchmarkConv2d(b *testing.B) {
	c := convolve{[]int{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 0}
	for _, s := range []struct{ channels, size, filters int }{{3, 32, 32}, {32, 32, 64}, {32, 16, 64}, {64, 8, 128}} {
		x, w := []int{32, s.channels, s.size, s.size}, []int{s.filters, s.channels, 3, 3}
		for name, f := range map[string]nodetest.Build{"stock": c.stock, "nodes": c.build} {
			b.Run(fmt.Sprintf("%dx%dx%d to %d/%s", s.channels, s.size, s.size, s.filters, name), func(b *testing.B) {
				g, of := gorgonia.NewGraph(), tensor.Float32
				in := gorgonia.Nodes{zeros(g, "x", of, x...), zeros(g, "w", of, w...)}
				y, err := f(in)
				require.NoError(b, err)
				cotangent := zeros(g, "cotangent", of, y.Shape()...)
				for _, n := range append(in, cotangent) {
					for i, v := range ramp(n.Shape().TotalSize()) {
						set(n, i, v)
					}
				}
				products := 2
				if s.channels > 3 {
					products = 3
				}
				_, err = gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{cotangent}, in[3-products:])
				require.NoError(b, err)
				vm := gorgonia.NewTapeMachine(g)
				defer vm.Close()
				b.ReportAllocs()
				for b.Loop() {
					require.NoError(b, vm.RunAll())
					vm.Reset()
				}
				flops := 2 * float64(products*size(y.Shape())*s.channels*9)
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
