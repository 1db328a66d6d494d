// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// finetune trains ResNet-8 without a constraint on drawn pictures of 20 classes, and then, with a new last layer, on few pictures of 5 others: free, and
// on manifolds at the size that the kernels have, with the momentum of the paper. The second case begins with random weights, which says what the first one gains.
var finetune = experiment{
	"finetune",
	size{Train: 200, Validation: 50, Test: 500, Epochs: 15, Batch: 25, SearchTrain: 200, SearchEpoch: 15, seeds: 3, again: 2},
	size{Train: 30, Validation: 10, Test: 20, Epochs: 1, Batch: 10, SearchTrain: 30, SearchEpoch: 1, seeds: 1},
	func(ctx context.Context, c *campaign) error {
		rates := []float64{0.01, 0.03, 0.1, 0.3}
		b := base{batch: 32, perClass: 100, epochs: 10, classes: baseClasses, trained: map[uint64]func() (string, error){}}
		if c.quick {
			rates, b.perClass, b.epochs, b.classes = []float64{0.01}, 16, 1, baseClasses[:3]
		}
		var err error
		if b.dir, err = os.MkdirTemp("", "finetune"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
		b.set = sync.OnceValues(func() (*images.Set, error) { return letters(ctx, b.classes, b.perClass, 1) })

		make := func(kase string) func(m method, s spec) job {
			return func(m method, s spec) job {
				data, epochs := c.material(s.Search)
				steps := data.Len() / c.Batch * epochs
				return job{
					spec: s,
					net: func(seed uint64) (*models.Model, error) {
						net, err := resNet8(c.Batch, c.shape, c.classes, seed)
						if err != nil || kase == newCase {
							return net, err
						}
						return net, b.into(ctx, net, seed)
					},
					solver: m.solver(solvers.AmbientMomentum(), solvers.Anneal(solvers.Cosine(steps, 0))),
				}
			}
		}
		for _, kase := range finetuneCases {
			c.expectTuned(kase, finetuneMethods(), rates)
		}
		for _, kase := range finetuneCases {
			all, err := c.tuned(ctx, kase, finetuneMethods(), rates, make(kase))
			if err != nil {
				return err
			}
			if err := c.report(kase, all); err != nil {
				return err
			}
		}
		return nil
	},
}

// The cases of finetune.
const (
	tunedCase = "trained before"
	newCase   = "random weights"
)

var finetuneCases = []string{tunedCase, newCase}

// Letters and digits of the net that is trained first, and those of the second training.
const (
	baseClasses = "ABCDEFGHJKLMNPQRSTUV"
	newClasses  = "23457"
)

func finetuneMethods() []method {
	on := func(name string, m manifolds.Manifold, g manifolds.Grouping) method {
		return method{name: name, options: []solvers.Option{solvers.Kernels(m, g, manifolds.Initial)}}
	}
	return []method{euclidean, on("sphere per filter", manifolds.Sphere{}, manifolds.PerFilter), on("Stiefel bank", manifolds.Stiefel{}, manifolds.FilterBank)}
}

func resNet8(batch int, shape [3]int, classes int, seed uint64) (*models.Model, error) {
	return models.ResNet(batch, 8, models.Options{Shape: shape, Classes: classes, Seed: seed})
}

// base is the nets that are trained first, one for each seed.
type base struct {
	dir                     string
	batch, perClass, epochs int
	classes                 string
	set                     func() (*images.Set, error)

	mu      sync.Mutex
	trained map[uint64]func() (string, error) // to a file
}

// into takes the weights of the net of a seed, but for the last layer.
func (b *base) into(ctx context.Context, net *models.Model, seed uint64) error {
	b.mu.Lock()
	if b.trained[seed] == nil {
		b.trained[seed] = sync.OnceValues(func() (string, error) { return b.train(ctx, seed) })
	}
	file := b.trained[seed]
	b.mu.Unlock()
	path, err := file()
	if err != nil {
		return err
	}
	body, err := net.Without("fc")
	if err != nil {
		return err
	}
	return checkpoint.Import(path, body, checkpoint.ImportOptions{Surplus: true, Zeros: net.Zeros()})
}

// train trains the net of a seed, and writes its weights to a file.
func (b *base) train(ctx context.Context, seed uint64) (string, error) {
	set, err := b.set()
	if err != nil {
		return "", err
	}
	net, err := resNet8(b.batch, set.Shape(), len(set.Classes), seed)
	if err != nil {
		return "", err
	}
	steps := set.Train.Len() / b.batch * b.epochs
	solver := euclidean.solver(solvers.AmbientMomentum(), solvers.Anneal(solvers.Cosine(steps, 0)))(0.03)
	if _, err := train.Fit(ctx, net, solver, set.Train, train.Options{Epochs: b.epochs, Seed: seed}); err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, fmt.Sprintf("%d.safetensors", seed))
	return path, checkpoint.Export(path, net)
}

// letters returns drawn pictures, of 32x32 grey pixels, in random order. They are in a temporary folder meanwhile.
func letters(ctx context.Context, classes string, perClass int, seed uint64) (*images.Set, error) {
	dir, err := os.MkdirTemp("", "letters")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := images.Draw(ctx, dir, images.DrawOptions{Classes: classes, PerClass: perClass, Side: 48, Seed: seed}); err != nil {
		return nil, err
	}
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 32, Resize: 32, Grey: true}})
	if err != nil {
		return nil, err
	}
	set := &images.Set{Name: "letters", Classes: p.Classes, Channels: 1, Height: p.Size, Width: p.Size, Mean: p.Mean, Std: p.Std}
	set.Train.Name = "train"
	x := make([]float32, p.Size*p.Size)
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(p.Len()) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := p.Example(i, []any{x}, nil); err != nil {
			return nil, err
		}
		set.Train.Images, set.Train.Labels = append(set.Train.Images, x...), append(set.Train.Labels, p.Label(i))
	}
	return set, nil
}

// newLetters returns the pictures of the second training.
func newLetters(ctx context.Context, s *size) (*images.Set, error) {
	perClass := (s.Train + s.Validation + s.Test + len(newClasses) - 1) / len(newClasses)
	set, err := letters(ctx, newClasses, perClass, 2)
	if err != nil {
		return nil, err
	}
	set.Train, set.Test, err = set.Train.Holdout(s.Test, holdoutSeed)
	return set, err
}
