// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func adaptiveBuild(rows, columns int) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.AdaptiveAveragePool2D(in[0], rows, columns)
	}
}

// adaptiveReference is the mean of windows whose ends are computed with fractions.
func adaptiveReference(shape []int, rows, columns int, x []float64) (y []float64) {
	ends := func(i, n, size int) (int, int) {
		return int(math.Floor(float64(i*size) / float64(n))), int(math.Ceil(float64((i+1)*size) / float64(n)))
	}
	for plane := range shape[0] * shape[1] {
		for i := range rows {
			top, bottom := ends(i, rows, shape[2])
			for j := range columns {
				left, right := ends(j, columns, shape[3])
				var window []float64
				for u := top; u < bottom; u++ {
					at := (plane*shape[2] + u) * shape[3]
					window = append(window, x[at+left:at+right]...)
				}
				y = append(y, mean(window))
			}
		}
	}
	return y
}

func TestAdaptiveAveragePool2D(t *testing.T) {
	for _, shape := range append(images(), []int{1, 2, 9, 7}) {
		for _, to := range [][2]int{{1, 1}, {2, 2}, {3, 2}, {4, 7}} {
			t.Run(fmt.Sprint(shape, to), func(t *testing.T) {
				nodetest.Run(t, nodetest.Case{
					Build:  adaptiveBuild(to[0], to[1]),
					Inputs: []nodetest.Input{{Shape: shape}},
					Value:  func(in [][]float64) []float64 { return adaptiveReference(shape, to[0], to[1], in[0]) },
				})
			})
		}
	}
	nodetest.Run(t, nodetest.Case{
		Build: adaptiveBuild(2, 3), Inputs: []nodetest.Input{{Shape: []int{1, 2, 5, 4}}},
		Variants: []nodetest.Build{adaptiveBuild(3, 2), adaptiveBuild(2, 2), adaptiveBuild(1, 3)},
	})
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 2, 3, 4, 5)
	rejects(t, adaptiveBuild(0, 7), "want a result of a positive number of rows and columns, got 0x7", x)
	rejects(t, adaptiveBuild(7, -1), "got 7x-1", x)
	rejects(t, adaptiveBuild(7, 7), "want rank 4, got shape (4)", zeros(g, "vector", tensor.Float64, 4))
	rejects(t, adaptiveBuild(7, 7), "want a node, got nil", nil)
}
