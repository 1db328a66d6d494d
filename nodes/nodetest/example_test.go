// SPDX-License-Identifier: Apache-2.0

package nodetest_test

import (
	"fmt"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// Stock GroupNorm leaves its epsilon out of the hash: of two that differ in nothing
// else, Gorgonia computes one.
func ExampleCheck() {
	norm := func(epsilon float64) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			one := func(name string, init gorgonia.InitWFn) *gorgonia.Node {
				return gorgonia.NewTensor(in[0].Graph(), in[0].Dtype(), 4, gorgonia.WithName(name), gorgonia.WithShape(1, 2, 1, 1), gorgonia.WithInit(init))
			}
			return gorgonia.GroupNorm(in[0], one("scale", gorgonia.Ones()), one("bias", gorgonia.Zeroes()), 2, 2, epsilon)
		}
	}
	err := nodetest.Check(nodetest.Case{
		Build:    norm(0.1),
		Inputs:   []nodetest.Input{{Shape: []int{1, 2, 3, 3}}},
		Variants: []nodetest.Build{norm(0.2)},
	})
	for line := range strings.Lines(err.Error()) {
		if strings.Contains(line, "variants") {
			fmt.Print(line)
		}
	}
	// Output: nodetest: variants: variant 1: want a node of its own, got that of variant 0
}
