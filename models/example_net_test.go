// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// line is a net of plain Gorgonia: it fits a line to pairs of numbers.
func line(batch int) (*models.Net, error) {
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("x"), gorgonia.WithShape(batch, 1))
	y := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("y"), gorgonia.WithShape(batch, 1))
	slope := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("slope"), gorgonia.WithShape(1, 1), gorgonia.WithInit(gorgonia.Zeroes()))
	offset := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("offset"), gorgonia.WithShape(1, 1), gorgonia.WithInit(gorgonia.Zeroes()))

	out, err := nodes.Linear(x, slope, offset)
	if err != nil {
		return nil, err
	}
	difference, err := gorgonia.Sub(out, y)
	if err != nil {
		return nil, err
	}
	cost, err := gorgonia.Mean(gorgonia.Must(gorgonia.Square(difference))) // a mean over the batch
	return &models.Net{
		Inputs: gorgonia.Nodes{x}, Targets: gorgonia.Nodes{y}, Outputs: gorgonia.Nodes{out},
		Cost: cost, Learnables: gorgonia.Nodes{slope, offset},
	}, err
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// column returns a tensor of shape (n, 1).
func column(v ...float64) *tensor.Dense {
	return tensor.New(tensor.WithShape(len(v), 1), tensor.WithBacking(v))
}

// Any Gorgonia graph becomes a net, made of a function of the batch size. It trains on batches of that
// size and predicts any number of examples.
func ExampleNew() {
	net, err := models.New(3, line)
	check(err)
	vm, err := net.Machine()
	check(err)
	defer vm.Close()
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.2))
	for range 200 {
		check(net.Feed(column(0, 1, 2), column(1, 3, 5)))
		check(vm.RunAll())
		check(solver.Step(gorgonia.NodesToValueGrads(net.Learnables)))
		vm.Reset()
	}
	p, err := net.Predictor()
	check(err)
	defer p.Close()
	out, err := p.Predict(column(3, 4, 5, 6))
	check(err)
	fmt.Printf("%.3f\n", out[0].Data())

	// A mistake is an error that says what was wanted.
	_, err = models.New(3, func(batch int) (*models.Net, error) {
		net, err := line(batch)
		net.Cost = net.Outputs[0]
		return net, err
	})
	fmt.Println(err)
	// Output:
	// [7.000 9.000 11.000 13.000]
	// models: want a cost that is a scalar, such as gorgonia.Mean of it, got shape (3, 1)
}

// Weights go through encoding/gob as those of any Gorgonia program do, and predictors use them at once.
// The states of package nodes, such as nodes.Statistics, are values for gob too.
func ExampleNet_gob() {
	net, err := models.New(3, line)
	check(err)
	copy(net.Learnables[0].Value().Data().([]float64), []float64{2})
	var file bytes.Buffer
	encoder := gob.NewEncoder(&file)
	for _, l := range net.Learnables {
		check(encoder.Encode(l.Value()))
	}

	again, err := models.New(3, line)
	check(err)
	p, err := again.Predictor()
	check(err)
	defer p.Close()
	decoder := gob.NewDecoder(&file)
	for _, l := range again.Learnables {
		var value *tensor.Dense
		check(decoder.Decode(&value))
		check(gorgonia.Let(l, value))
	}
	out, err := p.Predict(column(3))
	check(err)
	fmt.Println(out[0].Data())
	// Output:
	// [6]
}
