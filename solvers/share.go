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
)

// Share describes to StepShare the several processes that make a step together. All of them hold the same
// weights and gradients, and each moves some of the parameters. Package distributed provides the processes.
type Share struct {
	Rank, Size int // this process, from 0, and how many there are

	// Heavy is the smallest cost, manifolds.Properties.Cost, of parameters that are divided among processes.
	// For an orthonormal bank the cost is its number of filters. 0 divides all parameters. Each process moves
	// the cheaper parameters itself, which takes less time than receiving the new weights from another
	// process.
	Heavy int

	// Agree is called in every step after everything that can fail and before a weight moves, with the error
	// of this process or nil. The step is made if it returns nil. Agree is then called again when the weights
	// have moved, with ErrOverwritten, the error of Exchange or nil; what it returns is the error of the step. It should
	// return an error on all processes if one of them failed, or if their plans differ. The plans are equal if
	// the processes have the same parameters, constraints, shares and learning rate.
	Agree func(err error, plan uint64) error

	// Exchange is called once between these calls, unless nothing is divided. Own holds the new weights of this
	// process and has the capacity of the longest part; sizes holds the lengths of the parts of all
	// processes. Exchange returns the parts by rank, of which those of the other processes are read, before the next call. If
	// it fails, the weights of this process may differ from those of the others.
	Exchange func(own []byte, sizes []int) (parts [][]byte, err error)
}

// alone is the Share of a single process.
var alone = Share{Size: 1, Agree: func(err error, _ uint64) error { return err }}

// check returns an error if a function is missing.
func (s Share) check(exchanges bool) error {
	switch {
	case s.Agree == nil:
		return optionError("Share: want the function Agree, got nil")
	case s.Exchange == nil && s.Size > 1 && exchanges:
		return optionError("Share: want the function Exchange for %d processes, got nil", s.Size)
	}
	return nil
}

// sharing is what an engine knows about the processes that share its work.
type sharing struct {
	rank, ranks int    // 0 ranks before the first step
	plan        uint64 // hash of the assignment of parameters, with their constraints
	sizes       []int  // of the parts of an exchange
	sent        []byte // the own part
	received    [][]byte
}

// StepShare is Step for one of several processes. It checks all gradients, moves the parameters assigned to
// this process, and receives the new weights of the others. It keeps no state for parameters of other
// processes.
//
// A parameter is assigned at its first step, permanently, to one process or to all. New parameters are
// assigned in descending order of work, each to the process that has the least work so far. A Planner with
// state needs the state of all parts, so its work is not divided unless it is Separate.
func (s *Solver) StepShare(model []gorgonia.ValueGrad, share Share) error {
	e := s.made()
	if err := share.check(true); err != nil {
		return e.refuse(err)
	}
	defer e.finish()
	active, err := e.agreeOn(model, share, func(active []*parameter) error {
		if err := e.assign(share); err != nil {
			return err
		}
		return e.ready(active)
	})
	if err != nil {
		return e.refuse(err)
	}
	e.commit(active)
	if share.Size > 1 {
		err = e.exchange(active, share)
	}
	if first := firstError(active); first != nil {
		err = first
	}
	err = share.Agree(err, e.fingerprint())
	e.last = err
	e.look(active)
	return err
}

// agreeOn does everything in a step that can fail, which ends with ready, and then asks Agree whether the
// step is made. After an error everything is as before, except for what ready did.
func (e *engine) agreeOn(model []gorgonia.ValueGrad, share Share, ready func([]*parameter) error) ([]*parameter, error) {
	before := e.sharing
	active, err := e.admit(model, true)
	if err == nil {
		err = ready(active)
	}
	if err = share.Agree(err, e.fingerprint()); err != nil {
		if e.ranks != before.ranks {
			e.unassign()
		}
		e.sharing = before
		e.takeBack()
		return nil, err
	}
	return active, nil
}

// assign assigns the parameters that have not been assigned yet.
func (e *engine) assign(share Share) error {
	if share.Rank < 0 || share.Rank >= share.Size {
		return fmt.Errorf("solvers: want a process from 0 to below their number, got %d of %d (%w)", share.Rank, share.Size, ErrParameter)
	}
	if e.ranks > 1 && (e.rank != share.Rank || e.ranks != share.Size) {
		return fmt.Errorf("solvers: want the share of process %d of %d, as at the first step, got that of %d of %d (%w)",
			e.rank, e.ranks, share.Rank, share.Size, ErrParameter)
	}
	if e.ranks != share.Size {
		e.unassign()
	}
	e.rank, e.ranks = share.Rank, share.Size
	if !slices.ContainsFunc(e.list, func(p *parameter) bool { return !p.assigned }) && len(e.list) == e.known {
		return nil
	}
	loads := make([]int64, e.ranks)
	for _, p := range e.list {
		if p.assigned && p.owner != everyone {
			loads[p.owner] += p.cost()
		}
	}
	for _, p := range slices.SortedStableFunc(slices.Values(e.list), func(a, b *parameter) int { return cmp.Compare(b.cost(), a.cost()) }) {
		if p.assigned { // its process has the state that it inherits
			continue
		}
		p.assigned = true
		e.undo = append(e.undo, func() { p.owner, p.theirs, p.assigned = everyone, false, false })
		if p.owner, p.theirs = everyone, false; p.heaviest() >= share.Heavy && e.ranks > 1 && p.divisible() {
			p.owner = slices.Index(loads, slices.Min(loads))
			loads[p.owner] += p.cost()
			p.theirs = p.owner != e.rank
		}
	}
	e.identify()
	return nil
}

// unassign lets this process move all parameters, until they are assigned again.
func (e *engine) unassign() {
	for _, b := range [][]*parameter{e.list, e.replaced.list} {
		for _, p := range b {
			p.owner, p.theirs, p.assigned = everyone, false, false
		}
	}
}

// divisible reports whether one process may move the parameter for all.
func (p *parameter) divisible() bool {
	return !p.settings.frozen && !(p.joint() && len(p.settings.rule.State()) > 0)
}

// joint reports whether the parameter is planned together with other parameters.
func (p *parameter) joint() bool {
	if s, ok := p.settings.rule.(Separate); ok && s.Separates() {
		return false
	}
	_, plans := p.settings.rule.(Planner)
	return plans
}

// identify computes the plan: what all processes must agree on.
func (e *engine) identify() {
	h := fnv.New64a()
	for _, p := range e.list {
		fmt.Fprintln(h, p.name, p.shape, p.precision, p.constraint.Grouping, p.owner)
		for _, q := range p.parts {
			fmt.Fprintln(h, q.bound.name, identityOf(q.Manifold))
		}
	}
	e.plan = h.Sum64()
}

// everyone is the owner of parameters that each process moves itself.
const everyone = -1

// fingerprint returns a hash of the plan and the learning rate.
func (e *engine) fingerprint() uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio spreads bits over the word
	return e.plan ^ golden*math.Float64bits(e.learnRate*e.decay)
}

// exchange sends the new weights of this process to the others, and receives theirs.
func (e *engine) exchange(active []*parameter, share Share) error {
	if e.sizes == nil {
		e.sizes, e.received = make([]int, e.ranks), make([][]byte, e.ranks)
	}
	clear(e.sizes)
	for _, p := range active {
		if p.owner != everyone {
			e.sizes[p.owner] += len(p.weights.Bytes()) + 8*figures*len(p.parts)
		}
	}
	longest := slices.Max(e.sizes)
	if longest == 0 {
		return nil
	}
	e.sent = slices.Grow(e.sent[:0], longest)[:e.sizes[e.rank]]
	rest := e.sent
	for _, p := range active {
		if p.owner == e.rank {
			p.write(&rest)
		}
	}
	parts, err := share.Exchange(e.sent, e.sizes)
	if err != nil {
		return err
	}
	copy(e.received, parts)
	for _, p := range active {
		if p.theirs {
			p.read(&e.received[p.owner])
			p.witness = witnessOf(p.weights)
		}
	}
	return nil
}

// figures is the number of values that are sent for a part in addition to its weights.
const figures = 13

// figures returns where these values are, for write and read: in the memory of the part, and in counts the number of its re-projections, and as 1 or
// 0 whether the parameter was projected.
func (p *Part) figures(counts *[2]float64) [figures]*float64 {
	m := &p.memory
	return [figures]*float64{&m.progress.Direction, &m.progress.Length, &m.progress.Factor, &m.longest, &m.size, &m.momentum, &m.outward,
		&m.outwardness[0], &m.outwardness[1], &m.weight, &m.cosine, &counts[0], &counts[1]}
}

// write writes what the step has changed to the beginning of b, and moves b behind it.
func (p *parameter) write(b *[]byte) {
	at := (*b)[copy(*b, p.weights.Bytes()):]
	for _, q := range p.parts {
		counts := [2]float64{float64(q.memory.reprojections)}
		if p.projected {
			counts[1] = 1
		}
		for _, v := range q.figures(&counts) {
			binary.LittleEndian.PutUint64(at, math.Float64bits(*v))
			at = at[8:]
		}
	}
	*b = at
}

// read applies what another process has written, and drops state that a snapshot gave to the parameter, because the other process keeps it from now
// on.
func (p *parameter) read(b *[]byte) {
	at := (*b)[copy(p.weights.Bytes(), *b):]
	for _, q := range p.parts {
		var counts [2]float64
		for _, v := range q.figures(&counts) {
			*v = math.Float64frombits(binary.LittleEndian.Uint64(at))
			at = at[8:]
		}
		q.memory.state, q.memory.spare = nil, nil
		q.memory.reprojections, p.projected = int(counts[0]), counts[1] == 1
	}
	*b = at
}
