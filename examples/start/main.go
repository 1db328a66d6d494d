// SPDX-License-Identifier: Apache-2.0

// Start is the program of docs/start.md: it trains a net whose kernels are
// orthonormal, reports, saves, and classifies with what it saved.
//
//	go run ./examples/start
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/progress"
	"github.com/kernelfold/kernelfold/solvers"
)

func main() {
	// The images are digits drawn by the program; images.Load reads MNIST and CIFAR.
	set, err := images.Digits(1, 3000, 500, images.DigitOptions{Side: 16})
	if err != nil {
		log.Fatal(err)
	}

	// A net for batches of 32 images: two convolutions and a linear layer.
	options := models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{8, 16}, Seed: 1}
	net, err := models.CNN(32, options)
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range net.Learnables {
		fmt.Println(w.Name(), w.Shape())
	}

	// A solver that keeps every convolution kernel orthonormal.
	const epochs = 8
	steps := epochs * (set.Train.Len() / 32)
	solver := solvers.NewSGD(
		solvers.LearnRate(0.05),
		solvers.Momentum(0.9),
		solvers.Anneal(solvers.Cosine(steps, 0)),
		solvers.Kernels(manifolds.Stiefel{}),
	)

	_, err = train.Fit(context.Background(), net, solver, set.Train, train.Options{
		Epochs:     epochs,
		Seed:       1,
		Test:       set.Test,
		Hooks:      []train.Hook{progress.New(os.Stderr)},
		Checkpoint: train.Checkpoint{Dir: "out/start", Replace: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(solver.Report())

	// The net from its file, as another program would load it.
	saved, err := models.CNN(32, options)
	if err != nil {
		log.Fatal(err)
	}
	if err := checkpoint.Load("out/start/"+train.BestFile, saved, nil, nil); err != nil {
		log.Fatal(err)
	}
	predictor, err := saved.Predictor()
	if err != nil {
		log.Fatal(err)
	}
	defer predictor.Close()
	classes, err := predictor.Classify(set.Test.First(10).Images)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("classified as", classes)
	if _, err := fmt.Println("labels       ", set.Test.First(10).Labels); err != nil {
		log.Fatal(err) // a full disk
	}
}
