// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/solvers"
)

// Snapshot returns the whole state of the wrapped solver on every rank. All ranks must call it, even if only
// one writes it to disk. The wrapped solver, or one that it wraps, must have the methods Snapshot and
// Restore.
func (s *Solver) Snapshot() (*solvers.Snapshot, error) {
	inner, err := s.keeper()
	if err != nil {
		return nil, err
	}
	snap, err := inner.Snapshot()
	if err := s.group.Agree(err); err != nil || s.group.Size() == 1 {
		return snap, err
	}
	own, err := pack(snap)
	if err := s.group.Agree(err); err != nil {
		return nil, err
	}
	all, err := s.group.Gather(own)
	if err != nil {
		return nil, err
	}
	for _, b := range all { // the state of a parameter is on the rank that moves it, or on all of them
		other, err := unpack(b)
		if err != nil {
			return nil, err
		}
		for i := range snap.Parameters {
			if p := &snap.Parameters[i]; p.State == nil && i < len(other.Parameters) {
				p.State = other.Parameters[i].State
			}
		}
	}
	return snap, nil
}

// Restore gives the wrapped solver the state of the snapshot of rank 0, which may come from another
// number of ranks. All ranks must call it; the snapshots of the others are ignored. The next Init
// or Step gives all ranks the weights of rank 0.
func (s *Solver) Restore(model []gorgonia.ValueGrad, snap *solvers.Snapshot) error {
	inner, err := s.keeper()
	if err != nil {
		return err
	}
	var b []byte
	if s.group.Root() && snap != nil {
		b, err = pack(snap)
	}
	if err := s.group.Agree(err); err != nil {
		return err
	}
	if b, err = s.group.Broadcast(b); err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("distributed: restore: want a snapshot on rank 0, got nil (%w)", solvers.ErrParameter)
	}
	if snap, err = unpack(b); err == nil {
		err = inner.Restore(model, snap)
	}
	return s.group.Agree(err)
}

// keeper returns the solver, the wrapped one or one that it wraps, whose state can be saved.
func (s *Solver) keeper() (keeper, error) {
	if s.err != nil || s.group == nil {
		return nil, s.alone()
	}
	inner, ok := wrap.Find[keeper](s.inner)
	if !ok {
		return nil, fmt.Errorf("distributed: want a solver with the methods Snapshot and Restore, such as those of package solvers, got %s (%w)",
			wrap.Describe(s.inner), solvers.ErrOption)
	}
	return inner, nil
}

// beginAlike gives the solver the state of the solver of rank 0, unless it already has it. State that cannot
// be saved, such as that of a stock solver in Constrain, is assumed to be the same.
func (s *Solver) beginAlike(model []gorgonia.ValueGrad) error {
	inner, ok := wrap.Find[keeper](s.inner)
	if !ok || s.group.Size() == 1 {
		return nil
	}
	snap, err := inner.Snapshot()
	var own []byte
	switch {
	case errors.Is(err, solvers.ErrStock):
		err = nil
	case err == nil:
		own, err = pack(snap)
	}
	if err := s.group.Agree(err); err != nil {
		return err
	}
	first, err := s.group.Broadcast(own)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(own, first):
	case len(own) == 0 || len(first) == 0:
		err = fmt.Errorf("distributed: want solvers whose state can be kept on every rank or on none, got %d bytes of state on rank 0 and %d here (%w)", len(first), len(own), ErrDifferent)
	default:
		err = become(inner, model, snap, first)
	}
	return s.group.Agree(err)
}

// become gives a solver, whose state is own, the state of another rank.
func become(s keeper, model []gorgonia.ValueGrad, own *solvers.Snapshot, packed []byte) error {
	first, err := unpack(packed)
	if err != nil {
		return err
	}
	if len(first.Parameters) == 0 && len(own.Parameters) == 0 {
		return nil // they differ in the learning rate at most, which the step compares
	}
	if len(own.Parameters) > 0 {
		return fmt.Errorf("distributed: want a solver that has seen no parameters, or the state of that of rank 0, which has made %d steps, got %d steps and another state (%w)",
			first.Steps, own.Steps, ErrDifferent)
	}
	known := map[string]bool{}
	for _, p := range first.Parameters {
		known[p.Name] = true
	}
	var parameters []gorgonia.ValueGrad
	for i, v := range model {
		if known[called(v, i)] {
			parameters = append(parameters, v)
		}
	}
	return s.Restore(parameters, first)
}

// pack and unpack encode and decode a snapshot without loss.
func pack(s *solvers.Snapshot) ([]byte, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		return nil, fmt.Errorf("distributed: snapshot: %w", err)
	}
	return b.Bytes(), nil
}

func unpack(b []byte) (*solvers.Snapshot, error) {
	s := &solvers.Snapshot{}
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(s); err != nil {
		return nil, fmt.Errorf("distributed: snapshot: %w", err)
	}
	return s, nil
}
