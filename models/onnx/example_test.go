// SPDX-License-Identifier: Apache-2.0

package onnx_test

import (
	"bytes"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/onnx"
	"github.com/kernelfold/kernelfold/nodes"
	"gorgonia.org/tensor"
)

// A net whose kernels are computed in the graph is released first. Its batch norm becomes part of the kernel.
func Example() {
	m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 8, 8}, Classes: 3, Seed: 1}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.Apply("conv", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			v, err := b.Weight("conv.weight", nil, 4, 1, 3, 3)
			if err != nil {
				return nil, err
			}
			w, err := nodes.Normalize(v, manifolds.Sphere{})
			if err != nil {
				return nil, err
			}
			return nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
		})
		return b.Linear("fc", b.BatchNorm("bn", x, nodes.Rectified()), 3)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var file bytes.Buffer
	fmt.Println(onnx.Write(&file, m))
	released, err := models.Release(m)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(onnx.Write(&file, released), file.Len() > 4*released.Parameters())
	// Output:
	// onnx: want an operation that can be written, or one of a kernel that models.Release folds, got nodes.Normalize[(4, 1, 3, 3)]
	// <nil> true
}
