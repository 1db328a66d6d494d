// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Share is what StepShare is told by one of several processes that make a step together, each of them some of the
// parameters, with the same weights and gradients. Package distributed has the processes.
type Share struct {
	Rank, Size int // this process, from 0, and how many there are

	// Heavy is the least cost, manifolds.Properties.Cost, of the parameters that are shared, such as the number of filters of an
	// orthonormal bank; 0 is all parameters. Each process moves the others itself, which is less work than to hear
	// where they went.
	Heavy int

	// Agree is called once in every step, when all that can fail is done and no weight has moved, with what failed here
	// or nil. The step is made if it returns nil: it should return an error on all processes if one of them failed.
	// Plans are equal on processes that have the same parameters, constraints, shares and learning rate.
	Agree func(err error, plan uint64) error

	// Exchange is called once after that, unless nothing is shared. Own is what this process has to tell, and has room for
	// the longest part; sizes are the lengths of the parts of all processes. It returns the parts of the others, which
	// are looked at before the next call. If it fails, the weights of this process are not those of the others any
	// more.
	Exchange func(own []byte, sizes []int) (parts [][]byte, err error)
}

// alone is the Share of a step that one process makes.
var alone = Share{Size: 1, Agree: func(err error, _ uint64) error { return err }}

// sharing is what an engine knows of the processes that share its work.
type sharing struct {
	rank, ranks int    // 0 ranks before the first step
	plan        uint64 // who has which parameter, with which constraint
	sizes       []int  // of the parts of an exchange
	told        []byte // the own part
	heard       [][]byte
}

// StepShare is Step for one of several processes. It checks all gradients, moves the parameters that are the share
// of this process, and takes over where the others have moved theirs. No state is kept of the share of others.
//
// From the first step that it takes part in, a parameter belongs to one process for good, or to each. Those that are
// new are dealt out by the work that there is in a step: the largest first, each to the process that has the least to
// do.
func (s *Solver) StepShare(model []gorgonia.ValueGrad, share Share) error {
	e := &s.engine
	active, err := e.agreeOn(model, share, share, e.ready)
	if err != nil {
		return err
	}
	if err := e.advanceAll(active); err != nil {
		return err
	}
	if err := e.commit(active); err != nil || share.Size == 1 {
		return err
	}
	return e.exchange(active, share)
}

// StepShare is Step that asks share.Agree before a weight moves. Nothing is shared: every process makes the whole step
// of the wrapped solver.
func (c *Constrained) StepShare(model []gorgonia.ValueGrad, share Share) error {
	active, err := c.engine.agreeOn(model, alone, share, c.prepare)
	if err != nil {
		return err
	}
	return c.engine.commit(active)
}

// agreeOn does all of a step that can fail, with what ready does as the last of it, and asks whether it is made. An error leaves
// everything as before. The parameters are dealt out as work says.
func (e *engine) agreeOn(model []gorgonia.ValueGrad, work, share Share, ready func([]*slot) error) ([]*slot, error) {
	before := e.sharing
	active, err := e.admit(model, true)
	if err == nil {
		err = e.assign(work)
	}
	if err == nil {
		err = ready(active)
	}
	if err = share.Agree(err, e.fingerprint()); err != nil {
		e.takeBack(before)
		return nil, err
	}
	return active, nil
}

// assign deals out the parameters that nobody has yet.
func (e *engine) assign(share Share) error {
	fresh := e.slots
	if share.Rank < 0 || share.Rank >= share.Size {
		return fmt.Errorf("solvers: want a process from 0 to below their number, got %d of %d (%w)", share.Rank, share.Size, ErrParameter)
	}
	if e.ranks > 1 && (e.rank != share.Rank || e.ranks != share.Size) {
		return fmt.Errorf("solvers: want the share of process %d of %d, as at the first step, got that of %d of %d (%w)",
			e.rank, e.ranks, share.Rank, share.Size, ErrParameter)
	}
	if e.ranks == share.Size {
		fresh = e.slots[e.known:]
	}
	if e.rank, e.ranks = share.Rank, share.Size; len(fresh) == 0 {
		return nil
	}
	loads := make([]int, e.ranks)
	for _, s := range e.slots[:len(e.slots)-len(fresh)] {
		if s.owner != everyone {
			loads[s.owner] += s.cost()
		}
	}
	for _, s := range slices.SortedStableFunc(slices.Values(fresh), func(a, b *slot) int { return cmp.Compare(b.cost(), a.cost()) }) {
		if s.owner, s.theirs = everyone, false; s.labour() >= share.Heavy && e.ranks > 1 {
			s.owner = slices.Index(loads, slices.Min(loads))
			loads[s.owner] += s.cost()
			s.theirs = s.owner != e.rank
		}
	}
	h := fnv.New64a()
	for _, s := range e.slots {
		fmt.Fprintln(h, s.name, s.shape, s.weights.Precision(), manifolds.Name(s.manifold), s.constraint.Grouping, s.owner)
	}
	e.plan = h.Sum64()
	return nil
}

// everyone owns the parameters that each process moves itself.
const everyone = -1

// labour is how heavy a parameter is.
func (s *slot) labour() int {
	return manifolds.PropertiesOf(s.manifold, s.layout.N, s.layout.P).Cost
}

// takeBack undoes what a failed step dealt out and bound.
func (e *engine) takeBack(before sharing) {
	if e.ranks != before.ranks {
		for _, s := range e.slots {
			s.owner, s.theirs = everyone, false
		}
	}
	e.sharing = before
	e.forget()
}

// fingerprint tells plans and learning rates apart.
func (e *engine) fingerprint() uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio spreads bits over the word
	return e.plan ^ golden*math.Float64bits(e.lr)
}

// exchange tells the others where the own parameters went, and takes over theirs.
func (e *engine) exchange(active []*slot, share Share) error {
	if e.sizes == nil {
		e.sizes, e.heard = make([]int, e.ranks), make([][]byte, e.ranks)
	}
	clear(e.sizes)
	for _, s := range active {
		if s.owner != everyone {
			e.sizes[s.owner] += len(s.weights.Bytes()) + 8*figures
		}
	}
	longest := slices.Max(e.sizes)
	if longest == 0 {
		return nil
	}
	e.told = slices.Grow(e.told[:0], longest)[:e.sizes[e.rank]]
	rest := e.told
	for _, s := range active {
		if s.owner == e.rank {
			s.tell(&rest)
		}
	}
	parts, err := share.Exchange(e.told, e.sizes)
	if err != nil {
		return err
	}
	copy(e.heard, parts)
	for _, s := range active {
		if s.theirs {
			s.hear(&e.heard[s.owner])
		}
	}
	return nil
}

// figures are how many numbers are told of a parameter beside its weights.
const figures = 6

func (s *slot) figures() [figures]float64 {
	return [figures]float64{s.stats.riemannian, s.stats.length, s.stats.geometric, float64(s.stats.reprojections), s.longest, s.size}
}

// tell writes what the step has changed to the beginning of b, and moves b behind it.
func (s *slot) tell(b *[]byte) {
	at := (*b)[copy(*b, s.weights.Bytes()):]
	for _, v := range s.figures() {
		binary.LittleEndian.PutUint64(at, math.Float64bits(v))
		at = at[8:]
	}
	*b = at
}

// hear reads what another process told. State of a snapshot is that process's now.
func (s *slot) hear(b *[]byte) {
	at := (*b)[copy(s.weights.Bytes(), *b):]
	var f [figures]float64
	for i := range f {
		f[i] = math.Float64frombits(binary.LittleEndian.Uint64(at))
		at = at[8:]
	}
	*b = at
	s.stats.riemannian, s.stats.length, s.stats.geometric, s.stats.reprojections = f[0], f[1], f[2], int(f[3])
	s.longest, s.size = f[4], f[5]
	s.old, s.new = nil, nil
}
