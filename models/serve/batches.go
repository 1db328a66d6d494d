// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"fmt"
	"sync"

	"github.com/kernelfold/kernelfold/models"
)

// batches evaluates examples that come from many goroutines, in batches: those that arrive while one is computed make up the next.
type batches struct {
	p       *models.Predictor
	queue   chan *item
	ending  chan struct{} // closed when no more examples are taken
	ended   chan struct{} // closed when the last one has been computed
	once    sync.Once
	observe func(examples int) // unless nil, is called before each evaluation
}

// item is an example that waits for its probabilities.
type item struct {
	ctx    context.Context
	x      []float32
	result chan result // buffered for one element, so that sending does not wait
}

type result struct {
	probabilities []float64
	err           error
}

func newBatches(p *models.Predictor, observe func(int)) *batches {
	b := &batches{p: p, queue: make(chan *item), ending: make(chan struct{}), ended: make(chan struct{}), observe: observe}
	go b.run()
	return b
}

// predict returns the probabilities of the classes of an example.
func (b *batches) predict(ctx context.Context, x []float32) ([]float64, error) {
	it := &item{ctx, x, make(chan result, 1)}
	select {
	case b.queue <- it:
	case <-b.ending:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case r := <-it.result:
		return r.probabilities, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *batches) close() {
	b.once.Do(func() { close(b.ending) })
	<-b.ended
}

func (b *batches) closed() bool {
	select {
	case <-b.ending:
		return true
	default:
		return false
	}
}

// run computes batches, one after the other: the first example that comes, and those that wait with it.
func (b *batches) run() {
	defer close(b.ended)
	most := b.p.Net().Batch()
	for {
		var batch []*item
		select {
		case it := <-b.queue:
			batch = append(batch, it)
		case <-b.ending:
			return
		}
		for waiting := true; waiting && len(batch) < most; {
			select {
			case it := <-b.queue:
				batch = append(batch, it)
			default:
				waiting = false
			}
		}
		b.compute(batch)
	}
}

// compute answers a batch. If a batch fails, each example is computed alone, so that an example whose result is not
// finite does not affect the others.
func (b *batches) compute(batch []*item) {
	live := batch[:0]
	for _, it := range batch {
		if it.ctx.Err() == nil { // otherwise no one waits for it
			live = append(live, it)
		}
	}
	if len(live) == 0 {
		return
	}
	var x []float32
	for _, it := range live {
		x = append(x, it.x...)
	}
	p, err := b.probabilities(x)
	switch {
	case err == nil:
		classes := len(p) / len(live)
		for i, it := range live {
			it.result <- result{p[i*classes : (i+1)*classes], nil}
		}
	case len(live) == 1:
		live[0].result <- result{nil, err}
	default:
		for _, it := range live {
			b.compute([]*item{it})
		}
	}
}

func (b *batches) probabilities(x []float32) ([]float64, error) {
	return recovered("the net", func() ([]float64, error) {
		if b.observe != nil {
			shape := b.p.Net().Inputs[0].Shape()
			b.observe(len(x) / (shape.TotalSize() / shape[0]))
		}
		return b.p.Probabilities(x)
	})
}

// recovered turns a panic of a function into an error, so that the server can answer the next request.
func recovered[T any](what string, f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("serve: %s has panicked: %v", what, p)
		}
	}()
	return f()
}
