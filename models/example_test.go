// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"

	"github.com/kernelfold/kernelfold/models"
)

func ExampleCNN() {
	m, err := models.CNN(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Widths: []int{8, 16}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Learnables {
		fmt.Println(n.Name(), n.Shape())
	}
	fmt.Println(m.Parameters(), "weights")
	// Output:
	// conv1.weight (8, 1, 3, 3)
	// conv1.bias (1, 8, 1, 1)
	// conv2.weight (16, 8, 3, 3)
	// conv2.bias (1, 16, 1, 1)
	// fc.weight (784, 10)
	// fc.bias (1, 10)
	// 9098 weights
}
