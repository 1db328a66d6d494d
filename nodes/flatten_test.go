// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func flattenBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Flatten(in[0]) }

func TestFlatten(t *testing.T) {
	for _, shape := range append(images(), []int{3, 5}, []int{2, 3, 4}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{Build: flattenBuild, Inputs: []nodetest.Input{{Shape: shape}},
				Value: func(in [][]float64) []float64 { return in[0] }})
		})
	}
	rejects(t, flattenBuild, "want rank 2 at least, got shape (4)", zeros(gorgonia.NewGraph(), "vector", tensor.Float64, 4))
	rejects(t, flattenBuild, "want a node, got nil", nil)
}
