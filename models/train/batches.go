// SPDX-License-Identifier: Apache-2.0

package train

import (
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// feed gathers batches ahead of the steps.
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
	Images  int    // examples of the data
	Batch   int    // examples a step
	Shape   [3]int // of the images, if the net takes some
	Augment images.Augmentation
}

// steps is how many there are in an epoch.
func (p plan) steps() int { return p.Images / p.Batch }

// part is the examples of each batch, from the first on, that one rank takes.
type part struct{ first, examples int }

// part returns that of a rank.
func (p plan) part(of ranks) part {
	n := p.Batch / of.Size()
	return part{of.Rank() * n, n}
}

// startFeed gathers a part of the batches of the epochs from first to last, beginning with the given
// step, from 0, of the first one.
func startFeed(n *models.Net, p plan, of part, data Data, first, step, last int) (*feed, error) {
	f := &feed{make(chan *batch, ahead+1), make(chan *batch, ahead+1), make(chan struct{}), make(chan struct{})}
	for range ahead + 1 {
		b, err := newBatch(n, of.examples)
		if err != nil {
			return nil, named(err)
		}
		f.empty <- b
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
	return f, nil
}

// close waits for the goroutine.
func (f *feed) close() {
	close(f.stop)
	<-f.done
}

// gatherer makes batches. What it draws is a function of the seed, the epoch and the example, so that
// it does not show how far ahead it works nor where a run began.
type gatherer struct {
	plan
	part
	data  Data
	order []int
	pcg   rand.PCG
	rng   *rand.Rand
}

func newGatherer(p plan, of part, data Data) *gatherer {
	g := &gatherer{plan: p, part: of, data: data, order: make([]int, p.Images)}
	g.rng = rand.New(&g.pcg)
	return g
}

// draw begins the random numbers of an example, or of the epoch itself, which is example -1.
func (g *gatherer) draw(epoch, example int) {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio keeps the epochs of near seeds apart
	g.pcg.Seed(g.Seed+golden*uint64(epoch), uint64(example+1))
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
	b.err = nil
	for i, k := range g.order[step*g.Batch+g.first:][:g.examples] {
		g.draw(epoch, k)
		if err := b.take(i, g.data, k, g.rng); err != nil && b.err == nil {
			b.err = err
		}
	}
}
