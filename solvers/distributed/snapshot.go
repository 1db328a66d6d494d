// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/solvers"
)

// Snapshot returns the state of a *solvers.Solver, whole on every rank: all of them call it, though only one may write
// it to disk.
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
	for _, b := range all { // a parameter's state is with the one rank that moves it, or with all of them
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

// Restore makes the state of a *solvers.Solver that of the snapshot that rank 0 gives, which may be of another number
// of ranks. All ranks call it; what the others give is not looked at. The weights are those of rank 0 from the next
// Init or Step on.
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

// keeper is the wrapped solver as one whose state can be kept.
func (s *Solver) keeper() (*solvers.Solver, error) {
	if s.err != nil {
		return nil, s.err
	}
	inner, ok := s.inner.(*solvers.Solver)
	if !ok {
		return nil, fmt.Errorf("distributed: want a *solvers.Solver, whose state is known, got %T (%w)", s.inner, solvers.ErrOption)
	}
	return inner, nil
}

// beginAlike gives the solver the state of that of rank 0, unless it has it.
func (s *Solver) beginAlike(model []gorgonia.ValueGrad) error {
	inner, ok := s.inner.(*solvers.Solver)
	if !ok || s.group.Size() == 1 {
		return nil
	}
	snap, err := inner.Snapshot()
	var own []byte
	if err == nil {
		own, err = pack(snap)
	}
	if err := s.group.Agree(err); err != nil {
		return err
	}
	first, err := s.group.Broadcast(own)
	if err != nil {
		return err
	}
	if !bytes.Equal(own, first) {
		err = become(inner, model, snap, first)
	}
	return s.group.Agree(err)
}

// become gives a solver, whose state is own, the state of another rank.
func become(s *solvers.Solver, model []gorgonia.ValueGrad, own *solvers.Snapshot, packed []byte) error {
	first, err := unpack(packed)
	if err != nil {
		return err
	}
	if len(first.Parameters) == 0 && len(own.Parameters) == 0 {
		return nil // of different learning rates at most, which the step compares
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

// pack and unpack carry a snapshot, to the bit.
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
