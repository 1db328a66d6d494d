// SPDX-License-Identifier: Apache-2.0

package train

import (
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/models/images"
)

// batch is what one step is made of.
type batch struct {
	pixels []float32
	labels []int
}

// feed gathers and augments batches ahead of the steps.
type feed struct {
	ready chan *batch
	empty chan *batch // given back by the steps
	stop  chan struct{}
	done  chan struct{}
}

// ahead is how many batches wait for the steps at most.
const ahead = 2

// plan is all that decides which batches come.
type plan struct {
	Seed    uint64
	Images  int // of the data
	Batch   int // images a step
	Shape   [3]int
	Augment images.Augmentation
}

// steps is how many there are in an epoch.
func (p plan) steps() int { return p.Images / p.Batch }

// part is the images of each batch, from the first on, that one rank takes.
type part struct{ first, images int }

// part returns that of a rank.
func (p plan) part(of ranks) part {
	n := p.Batch / of.Size()
	return part{of.Rank() * n, n}
}

// startFeed gathers a part of the batches of the epochs from first to last, beginning with the given
// step, from 0, of the first one.
func startFeed(p plan, of part, data images.Split, first, step, last int) *feed {
	f := &feed{make(chan *batch, ahead+1), make(chan *batch, ahead+1), make(chan struct{}), make(chan struct{})}
	size := p.Shape[0] * p.Shape[1] * p.Shape[2]
	for range ahead + 1 {
		f.empty <- &batch{make([]float32, of.images*size), make([]int, of.images)}
	}
	go func() {
		defer close(f.done)
		g := newGatherer(p, of, data)
		for epoch := first; epoch <= last; epoch++ {
			g.shuffle(epoch)
			for ; step < p.steps(); step++ {
				var b *batch
				select {
				case <-f.stop:
					return
				case b = <-f.empty:
				}
				g.gather(b, epoch, step)
				f.ready <- b // has room for all there are
			}
			step = 0
		}
	}()
	return f
}

// close waits for the goroutine.
func (f *feed) close() {
	close(f.stop)
	<-f.done
}

// gatherer makes batches. What it draws is a function of the seed, the epoch and the image, so that
// it does not show how far ahead it works nor where a run began.
type gatherer struct {
	plan
	part
	data  images.Split
	order []int
	pcg   rand.PCG
	rng   *rand.Rand
}

func newGatherer(p plan, of part, data images.Split) *gatherer {
	g := &gatherer{plan: p, part: of, data: data, order: make([]int, p.Images)}
	g.rng = rand.New(&g.pcg)
	return g
}

// draw begins the random numbers of an image, or of the epoch itself, which is image -1.
func (g *gatherer) draw(epoch, image int) {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio keeps the epochs of near seeds apart
	g.pcg.Seed(g.Seed+golden*uint64(epoch), uint64(image+1))
}

func (g *gatherer) shuffle(epoch int) {
	for i := range g.order {
		g.order[i] = i
	}
	g.draw(epoch, -1)
	g.rng.Shuffle(len(g.order), func(i, j int) { g.order[i], g.order[j] = g.order[j], g.order[i] })
}

// gather fills b with the part of the batch of a step, from 0, of the epoch that was shuffled last.
func (g *gatherer) gather(b *batch, epoch, step int) {
	size := g.Shape[0] * g.Shape[1] * g.Shape[2]
	for i, k := range g.order[step*g.Batch+g.first:][:g.part.images] {
		g.draw(epoch, k)
		g.Augment.Apply(b.pixels[i*size:(i+1)*size], g.data.Images[k*size:(k+1)*size], g.Shape, g.rng)
		b.labels[i] = g.data.Labels[k]
	}
}
