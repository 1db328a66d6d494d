// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"hash/crc32"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/nodes"
)

// compare returns an error unless all ranks were given the same data and options.
func (r *run) compare() error {
	if !r.several() {
		return nil
	}
	c := r.Checkpoint
	model := crc32.NewIEEE()
	fmt.Fprintln(model, r.synchronised)
	for _, n := range r.model.Learnables {
		fmt.Fprintln(model, n.Name(), n.Shape(), n.Dtype())
	}
	for _, b := range r.model.Buffers {
		fmt.Fprintln(model, b.Name, b.Running() != nil, b.Noise != nil)
	}
	own := fmt.Sprintf("solver %s, model %08x, batches %+v of %v, %d epochs, best %d, patience %d, rescaled by %d, average %v by %d, checkpoint %v every %d, resumed %v, weights only %v",
		wrap.Describe(r.solver), model.Sum32(), r.Plan, r.Data, r.Epochs, r.Best, r.Patience, r.Rescale, r.Average, r.Recalibrate,
		c.Dir != "", c.Every, c.Resume, c.WeightsOnly)
	first, err := r.Broadcast([]byte(own))
	if err != nil {
		return err
	}
	if string(first) != own {
		err = fmt.Errorf("train: want the data and the options of rank 0, %s, got %s", first, own)
	}
	return r.agree(err)
}

// common is what all ranks receive from rank 0.
type common struct {
	State      *state   // at the beginning
	Weights    [][]byte // at the beginning
	Noise      []nodes.Noise
	Iterations []*nodes.PowerIteration
	Statistics []*nodes.Statistics
}

// share gives all ranks the running statistics of rank 0, and at the beginning the weights, the
// noise and the state of the loop too.
func (r *run) share(beginning bool) error {
	if !r.several() {
		return nil
	}
	var c common
	var weights []dense.View
	if beginning {
		for _, n := range r.model.Learnables {
			w, err := dense.Of(n.Value())
			if err := r.agree(err); err != nil {
				return err
			}
			weights = append(weights, w)
			c.Weights = append(c.Weights, w.Bytes())
		}
		c.State = &r.state
	}
	for _, b := range r.model.Buffers {
		if s := b.Running(); s != nil {
			c.Statistics = append(c.Statistics, s)
		}
		if b.Iteration != nil && beginning {
			c.Iterations = append(c.Iterations, b.Iteration)
		}
		if b.Noise != nil && beginning {
			c.Noise = append(c.Noise, *b.Noise)
		}
	}
	if !beginning && c.Statistics == nil {
		return nil
	}
	first, err := r.broadcast(&c)
	if err != nil || r.root() {
		return err
	}
	for i, w := range weights {
		copy(w.Bytes(), first.Weights[i])
	}
	if beginning {
		r.state = *first.State
	}
	for _, b := range r.model.Buffers {
		if b.Running() != nil {
			if err := b.SetRunning(first.Statistics[0]); err != nil {
				return err
			}
			first.Statistics = first.Statistics[1:]
		}
		if b.Iteration != nil && beginning {
			b.Iteration.Exchange(first.Iterations[0])
			first.Iterations = first.Iterations[1:]
		}
		if b.Noise != nil && beginning {
			b.Noise.Seed, b.Noise.Run = first.Noise[0].Seed, first.Noise[0].Run
			first.Noise = first.Noise[1:]
		}
	}
	return nil
}

// broadcast returns the argument of rank 0.
func (r *run) broadcast(c *common) (first common, err error) {
	var packed bytes.Buffer
	if r.root() {
		err = gob.NewEncoder(&packed).Encode(c)
	}
	if err := r.agree(err); err != nil {
		return first, err
	}
	b, err := r.Broadcast(packed.Bytes())
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(b)).Decode(&first)
	}
	return first, r.agree(err)
}
