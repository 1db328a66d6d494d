// SPDX-License-Identifier: Apache-2.0

//go:build !mpi

package distributed_test

import (
	"fmt"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// A program for several processes, here run as one.
func Example() {
	group, err := distributed.Join()
	if err != nil {
		log.Fatal(err)
	}
	defer group.Close()

	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("x"), gorgonia.WithShape(8/group.Size(), 3, 12, 12),
		gorgonia.WithInit(gorgonia.Gaussian(0, 1))) // this rank's part of a batch of 8 images
	w := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("w"), gorgonia.WithShape(16, 3, 3, 3), gorgonia.WithInit(gorgonia.GlorotN(1)))
	y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y))))
	if _, err := gorgonia.Grad(cost, w); err != nil {
		log.Fatal(err)
	}

	model := gorgonia.NodesToValueGrads(gorgonia.Nodes{w})
	solver := distributed.Average(group, solvers.NewSGD(solvers.LearnRate(0.1), solvers.Kernels(manifolds.Stiefel{})))
	if err := solver.Init(model); err != nil { // all ranks have the weights of rank 0 now
		log.Fatal(err)
	}
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
	defer vm.Close()
	for range 10 {
		if err := vm.RunAll(); err != nil {
			log.Fatal(err)
		}
		if err := solver.Step(model); err != nil {
			log.Fatal(err)
		}
		vm.Reset()
	}
	loss, err := group.Mean(float64(cost.Value().Data().(float32)))
	if err != nil {
		log.Fatal(err)
	}
	if group.Root() {
		r := solver.Report()
		fmt.Println(r.Solver, r.Steps, "steps")
		fmt.Println("orthonormal:", r.Parameters[0].Membership < 1e-6)
		fmt.Println("mean of the losses of all ranks:", loss[0] > 0)
	}
	// Output:
	// Average(SGD, 1 ranks) 10 steps
	// orthonormal: true
	// mean of the losses of all ranks: true
}
