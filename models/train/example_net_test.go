// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// pairs is data of two images, where the target is how much brighter the first is. Training exchanges
// them at random.
type pairs int

func (n pairs) Len() int { return int(n) }

func (n pairs) Example(i int, row []any, rng *rand.Rand) error {
	first, second, target := row[0].([]float32), row[1].([]float32), row[2].([]float32)
	if rng != nil && rng.IntN(2) == 1 {
		first, second = second, first
	}
	own := rand.New(rand.NewPCG(7, uint64(i)))
	a, b := own.Float32(), own.Float32()
	for k := range first {
		first[k], second[k] = a+0.1*own.Float32(), b+0.1*own.Float32()
	}
	target[0] = a - b
	if &first[0] != &row[0].([]float32)[0] {
		target[0] = b - a
	}
	return nil
}

// brighter compares two images by one convolution, whose weights both share.
func brighter(batch int) (*models.Net, error) {
	g := gorgonia.NewGraph()
	leaf := func(name string, init gorgonia.InitWFn, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithInit(init))
	}
	a, b := leaf("a", gorgonia.Zeroes(), batch, 1, 4, 4), leaf("b", gorgonia.Zeroes(), batch, 1, 4, 4)
	target := leaf("target", gorgonia.Zeroes(), batch, 1)
	w, v, c := leaf("conv", nodes.HeNormal(1, 1), 4, 1, 3, 3), leaf("out", nodes.HeNormal(1, 2), 4, 1), leaf("offset", gorgonia.Zeroes(), 1, 1)
	features := func(x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{0, 0}, []int{1, 1}, []int{1, 1}))
		return gorgonia.Must(nodes.GlobalAveragePool2D(y))
	}
	y := gorgonia.Must(nodes.Linear(gorgonia.Must(gorgonia.Sub(features(a), features(b))), v, c))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(y, target))))))
	return &models.Net{
		Inputs: gorgonia.Nodes{a, b}, Targets: gorgonia.Nodes{target}, Outputs: gorgonia.Nodes{y}, Cost: cost,
		Learnables: gorgonia.Nodes{w, v, c},
		Score: func(outputs, targets []*tensor.Dense) (right float64) {
			for i, t := range targets[0].Float32s() {
				if (outputs[0].Float32s()[i] > 0) == (t > 0) {
					right++
				}
			}
			return right
		},
	}, nil
}

// A net of one's own, of two inputs, is trained on examples of one's own. Its score is what epochs call
// accuracy.
func ExampleFit_net() {
	net, err := models.New(10, brighter)
	if err != nil {
		fmt.Println(err)
		return
	}
	solver := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	epochs, err := train.Fit(context.Background(), net, solver, pairs(200), train.Options{Epochs: 10, Seed: 1, Test: pairs(50)})
	if err != nil {
		fmt.Println(err)
		return
	}
	last := epochs[len(epochs)-1]
	fmt.Println("loss below 0.001:", last.TestLoss < 0.001)
	fmt.Println("over 95 % right:", last.TestAccuracy > 0.95)
	// Output:
	// loss below 0.001: true
	// over 95 % right: true
}
