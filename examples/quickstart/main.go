// SPDX-License-Identifier: Apache-2.0

// Quickstart is a plain Gorgonia convnet in one file. Only the line that makes its solver involves manifolds: see "the changed line".
//
//	go run ./examples/quickstart           # kernels with orthonormal filters
//	go run ./examples/quickstart -stock    # the stock solver
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/solvers"
)

const (
	side, classes = 16, 10
	batch, epochs = 25, 5
)

func main() {
	cli.Main("quickstart", func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		return cli.Status("quickstart", run(ctx, args, stdout), stderr)
	})
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	stock := f.Bool("stock", false, "use the stock solver")
	if err := cli.Parse(f, args, stdout, "quickstart trains a convnet whose kernels are orthonormal.",
		"go run ./examples/quickstart",
		"go run ./examples/quickstart -stock"); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return cli.Usage("want flags only, got %q", f.Arg(0))
	}

	// Any images can be used; these are drawn by the program.
	data, err := images.Digits(1, 3000, 500, images.DigitOptions{Side: side, Noise: 0.08, Clutter: 0.5})
	if err != nil {
		return err
	}

	net, err := newConvnet(rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		return err
	}
	vm := gorgonia.NewTapeMachine(net.g, gorgonia.BindDualValues(net.learnables()...))
	defer vm.Close()

	// The changed line. Its stock counterpart is
	//	var solver gorgonia.Solver = gorgonia.NewMomentum(gorgonia.WithLearnRate(0.02), gorgonia.WithMomentum(0.9))
	var solver gorgonia.Solver = solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	if *stock {
		solver = gorgonia.NewMomentum(gorgonia.WithLearnRate(0.02), gorgonia.WithMomentum(0.9))
	}

	order := rand.New(rand.NewPCG(1, 2))
	for epoch := range epochs {
		loss := 0.0
		perm := order.Perm(data.Train.Len())
		for b := 0; b < len(perm); b += batch {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			net.feed(data.Train, perm[b:b+batch])
			if err := vm.RunAll(); err != nil {
				return err
			}
			loss += net.loss() * batch / float64(len(perm))
			if err := solver.Step(gorgonia.NodesToValueGrads(net.learnables())); err != nil {
				return err
			}
			vm.Reset()
		}

		right := 0
		for b := 0; b < data.Test.Len(); b += batch {
			net.feed(data.Test, sequence(b, batch))
			if err := vm.RunAll(); err != nil {
				return err
			}
			right += net.right(data.Test.Labels[b : b+batch])
			vm.Reset()
			forget(net.learnables()) // gradients add up over runs, and this one is not for training
		}
		fmt.Fprintf(stdout, "epoch %d: loss %.4f, test accuracy %.1f %%\n", epoch+1, loss, 100*float64(right)/float64(data.Test.Len()))
	}

	if s, ok := solver.(interface{ Report() solvers.Report }); ok {
		fmt.Fprintf(stdout, "\n%v", s.Report())
	}
	return nil
}

// convnet is two convolution layers and a linear one.
type convnet struct {
	g                  *gorgonia.ExprGraph
	w1, b1, w2, b2     *gorgonia.Node
	w3, b3             *gorgonia.Node
	x, y               *gorgonia.Node
	costVal, logitsVal gorgonia.Value
}

func newConvnet(rng *rand.Rand) (*convnet, error) {
	g := gorgonia.NewGraph()
	dt := tensor.Float32
	flat := 16 * (side / 4) * (side / 4)
	n := &convnet{
		g:  g,
		x:  gorgonia.NewTensor(g, dt, 4, gorgonia.WithShape(batch, 1, side, side), gorgonia.WithName("x"), gorgonia.WithInit(gorgonia.Zeroes())),
		y:  gorgonia.NewMatrix(g, dt, gorgonia.WithShape(batch, classes), gorgonia.WithName("y"), gorgonia.WithInit(gorgonia.Zeroes())),
		w1: gorgonia.NewTensor(g, dt, 4, gorgonia.WithShape(8, 1, 3, 3), gorgonia.WithName("w1"), gorgonia.WithInit(he(rng, 9))),
		b1: gorgonia.NewTensor(g, dt, 4, gorgonia.WithShape(1, 8, 1, 1), gorgonia.WithName("b1"), gorgonia.WithInit(gorgonia.Zeroes())),
		w2: gorgonia.NewTensor(g, dt, 4, gorgonia.WithShape(16, 8, 3, 3), gorgonia.WithName("w2"), gorgonia.WithInit(he(rng, 8*9))),
		b2: gorgonia.NewTensor(g, dt, 4, gorgonia.WithShape(1, 16, 1, 1), gorgonia.WithName("b2"), gorgonia.WithInit(gorgonia.Zeroes())),
		w3: gorgonia.NewMatrix(g, dt, gorgonia.WithShape(flat, classes), gorgonia.WithName("w3"), gorgonia.WithInit(he(rng, 2*flat))),
		b3: gorgonia.NewMatrix(g, dt, gorgonia.WithShape(1, classes), gorgonia.WithName("b3"), gorgonia.WithInit(gorgonia.Zeroes())),
	}

	layer := func(x, w, b *gorgonia.Node) *gorgonia.Node {
		c := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
		a := gorgonia.Must(gorgonia.Rectify(gorgonia.Must(gorgonia.BroadcastAdd(c, b, nil, []byte{0, 2, 3}))))
		return gorgonia.Must(gorgonia.MaxPool2D(a, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	}
	features := gorgonia.Must(gorgonia.Reshape(layer(layer(n.x, n.w1, n.b1), n.w2, n.b2), tensor.Shape{batch, flat}))
	logits := gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Mul(features, n.w3)), n.b3, nil, []byte{0}))

	// y is -classes at the label and 0 elsewhere, so the mean over all of it is the cross-entropy.
	logp := gorgonia.Must(gorgonia.LogSoftMax(logits, 1))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.HadamardProd(logp, n.y))))
	gorgonia.Read(cost, &n.costVal)
	gorgonia.Read(logits, &n.logitsVal)
	_, err := gorgonia.Grad(cost, n.learnables()...)
	return n, err
}

func (n *convnet) learnables() gorgonia.Nodes {
	return gorgonia.Nodes{n.w1, n.b1, n.w2, n.b2, n.w3, n.b3}
}

// feed copies the images with the given numbers to x and y.
func (n *convnet) feed(s images.Split, which []int) {
	x, y := n.x.Value().Data().([]float32), n.y.Value().Data().([]float32)
	clear(y)
	for i, k := range which {
		copy(x[i*side*side:], s.Images[k*side*side:(k+1)*side*side])
		y[i*classes+s.Labels[k]] = -classes
	}
}

func (n *convnet) loss() float64 { return float64(n.costVal.Data().(float32)) }

// right counts the rows of the logits that are largest at the label.
func (n *convnet) right(labels []int) (count int) {
	logits := n.logitsVal.Data().([]float32)
	for i, label := range labels {
		best := 0
		for c, v := range logits[i*classes : (i+1)*classes] {
			if v > logits[i*classes+best] {
				best = c
			}
		}
		if best == label {
			count++
		}
	}
	return count
}

// forget sets the gradients to zero, as every solver does after its step.
func forget(ns gorgonia.Nodes) {
	for _, n := range ns {
		if g, err := n.Grad(); err == nil {
			gorgonia.ZeroValue(g)
		}
	}
}

// he draws weights of variance 2/fan-in. It replaces gorgonia.HeN, which is seeded by the clock and does not support float32.
func he(rng *rand.Rand, fanIn int) gorgonia.InitWFn {
	return func(_ tensor.Dtype, shape ...int) any {
		w := make([]float32, tensor.Shape(shape).TotalSize())
		for i := range w {
			w[i] = float32(rng.NormFloat64() * math.Sqrt(2/float64(fanIn)))
		}
		return w
	}
}

func sequence(from, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = from + i
	}
	return s
}
