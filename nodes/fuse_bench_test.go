// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// BenchmarkFuse evaluates a residual block of 16 channels of 32x32, as nodes for each convolution and
// for each batch normalisation, and as Fuse makes it. It runs them in turns and reports the medians,
// and the share that Fuse takes of the time of the nodes.
func BenchmarkFuse(b *testing.B) {
	for _, images := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(images), func(b *testing.B) {
			state := map[int]*nodes.Statistics{}
			build := func() *gorgonia.Node {
				l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: state, extreme: 1}
				x := l.input(images, 16, 32, 32)
				y := l.norm(l.conv(x, 16, 3, 1, 1, 1), nodes.Rectified())
				return l.norm(l.conv(y, 16, 3, 1, 1, 1), nodes.Plus(x), nodes.Rectified())
			}
			fused := fuse(b, build())
			var machines []gorgonia.VM
			for _, n := range []*gorgonia.Node{build(), fused} {
				vm := gorgonia.NewTapeMachine(n.Graph(), gorgonia.EvalMode())
				defer vm.Close()
				require.NoError(b, vm.RunAll())
				vm.Reset()
				machines = append(machines, vm)
			}
			times := make([][]float64, len(machines))
			for b.Loop() {
				for i, vm := range machines {
					start := time.Now()
					require.NoError(b, vm.RunAll())
					times[i] = append(times[i], time.Since(start).Seconds())
					vm.Reset()
				}
			}
			median := func(x []float64) float64 {
				slices.Sort(x)
				return x[len(x)/2]
			}
			nodes, fuse := median(times[0]), median(times[1])
			b.ReportMetric(nodes*1e6, "nodes-us")
			b.ReportMetric(fuse*1e6, "fused-us")
			b.ReportMetric(fuse/nodes, "fused/nodes")
		})
	}
}
