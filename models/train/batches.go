// SPDX-License-Identifier: Apache-2.0

package train

import (
	"iter"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// feed gathers batches ahead of those who use them.
type feed struct {
	ready chan *batch // closed behind the last one
	empty chan *batch // returned by the steps
	stop  chan struct{}
	done  chan struct{}
}

// ahead is the largest number of batches that wait for the steps.
const ahead = 2

// draw begins the random numbers of an example. It is nil in evaluation.
type draw func(pcg *rand.PCG, example int)

// plan holds everything that determines the batches.
type plan struct {
	Seed    uint64
	Images  int    // examples of the data
	Batch   int    // examples a step
	Shape   [3]int // of the images, if the net takes some
	Augment images.Augmentation
}

// steps returns the number of steps in an epoch.
func (p plan) steps() int { return p.Images / p.Batch }

// part is the range of examples of each batch that one rank processes.
type part struct{ first, examples int }

// part returns the part of a rank.
func (p plan) part(of ranks) part {
	n := p.Batch / of.Size()
	return part{of.Rank() * n, n}
}

// place gives the noise of a net the examples of the part.
func (p part) place(m *models.Net) {
	for _, b := range m.Buffers {
		if b.Noise != nil {
			b.Noise.First = p.first
		}
	}
}

// startFeed gathers the given batches, count in all. size is the number of examples of the first batch; later ones have at most as many.
func startFeed(n *models.Net, size, count int, data Data, batches iter.Seq2[[]int, draw]) (*feed, error) {
	f := &feed{make(chan *batch, ahead+1), make(chan *batch, ahead+1), make(chan struct{}), make(chan struct{})}
	for range min(ahead+1, count) {
		b, err := newBatch(n, size)
		if err != nil {
			return nil, named(err)
		}
		f.empty <- b
	}
	go func() {
		defer close(f.done)
		defer close(f.ready)
		for examples, draw := range batches {
			var b *batch
			select {
			case <-f.stop:
				return
			case b = <-f.empty:
			}
			if len(b.rows) != len(examples) {
				other, err := newBatch(n, len(examples))
				if err != nil {
					b.err = err
					f.ready <- b
					return
				}
				b = other
			}
			b.fill(data, examples, draw)
			f.ready <- b // has room for all there are
		}
	}()
	return f, nil
}

// close waits for the goroutine.
func (f *feed) close() {
	close(f.stop)
	<-f.done
}

// gatherer makes batches. Its random numbers are a function of the seed, the epoch and the example, so they
// do not depend on how far ahead it works or where a run began.
type gatherer struct {
	plan
	part
	data  Data
	order []int
}

func newGatherer(p plan, of part, data Data) *gatherer {
	return &gatherer{p, of, data, make([]int, p.Images)}
}

// draw begins the random numbers of an example, or of the epoch itself, which is example -1.
func (g *gatherer) draw(pcg *rand.PCG, epoch, example int) {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio keeps the epochs of near seeds apart
	pcg.Seed(g.Seed+golden*uint64(epoch), uint64(example+1))
}

func (g *gatherer) shuffle(epoch int) {
	for i := range g.order {
		g.order[i] = i
	}
	var pcg rand.PCG
	g.draw(&pcg, epoch, -1)
	rand.New(&pcg).Shuffle(len(g.order), func(i, j int) { g.order[i], g.order[j] = g.order[j], g.order[i] })
}

// gather fills b with the part of the batch of a step, from 0, of the epoch that was shuffled last.
func (g *gatherer) gather(b *batch, epoch, step int) {
	b.fill(g.data, g.batch(step), g.draws(epoch))
}

// batch returns the examples of a step of the epoch that was shuffled last.
func (g *gatherer) batch(step int) []int { return g.order[step*g.Batch+g.first:][:g.examples] }

func (g *gatherer) draws(epoch int) draw {
	return func(pcg *rand.PCG, example int) { g.draw(pcg, epoch, example) }
}

// epochs are the batches of the epochs from first to last, beginning with the given step, from 0, of the first one.
func (g *gatherer) epochs(first, step, last int) iter.Seq2[[]int, draw] {
	return func(yield func([]int, draw) bool) {
		for epoch := first; epoch <= last; epoch++ {
			g.shuffle(epoch)
			for ; step < g.steps(); step++ {
				if !yield(g.batch(step), g.draws(epoch)) {
					return
				}
			}
			step = 0
		}
	}
}
