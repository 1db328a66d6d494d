// SPDX-License-Identifier: Apache-2.0

// A program of a user: it imports Kernelfold and Gorgonia and nothing else,
// and squares a number.
package main

import (
	"fmt"

	_ "github.com/kernelfold/kernelfold/solvers"
	"gorgonia.org/gorgonia"
)

func main() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewScalar(g, gorgonia.Float64, gorgonia.WithName("x"), gorgonia.WithValue(3.0))
	y, err := gorgonia.Square(x)
	if err != nil {
		panic(err)
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		panic(err)
	}
	fmt.Println(y.Value())
}
