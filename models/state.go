// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/nodes"
)

// State is what a net has learnt: all that is needed to continue training. Weights that lie in several
// graphs, or in graphs that no Net was made of, can be saved together as a State too.
type State struct {
	Learnables gorgonia.Nodes // with unique names
	Buffers    []Buffer       // with unique names
}

// State returns the learnables and the buffers of the net.
func (n *Net) State() State { return State{n.Learnables, n.Buffers} }

// State returns s.
func (s State) State() State { return s }

// Check returns an error if a name is missing or not unique, or if there is no value for one.
func (s State) Check() error {
	names := map[string]bool{}
	for i, l := range s.Learnables {
		if l == nil {
			return fmt.Errorf("models: learnable %d: want a node, got nil", i)
		}
		if l.Op() != nil {
			return fmt.Errorf("models: learnable %d: want a leaf, got %v", i, l)
		}
		if err := claim(names, "learnable", i, l.Name()); err != nil {
			return err
		}
		if _, err := dense.Of(l.Value()); err != nil {
			return fmt.Errorf("models: learnable %s: %w", l.Name(), err)
		}
	}
	clear(names)
	for i, b := range s.Buffers {
		if err := claim(names, "buffer", i, b.Name); err != nil {
			return err
		}
		if b.state() == nil {
			return fmt.Errorf("models: buffer %s: want one of Statistics, Noise, Iteration and BatchNorm, got none or several", b.Name)
		}
	}
	return nil
}

// claim adds a name to names. It returns an error if the name is empty or there.
func claim(names map[string]bool, what string, i int, name string) error {
	if name == "" || name == "%!s(<nil>)()" { // as gorgonia calls a leaf without a name
		return fmt.Errorf("models: %s %d: want a name, got none", what, i)
	}
	if names[name] {
		return fmt.Errorf("models: %s %d: want unique names, got %q twice", what, i, name)
	}
	names[name] = true
	return nil
}

// Buffer is the state of a layer that is not learnt. One field beside the name is set.
type Buffer struct {
	Name       string                // the name of the layer, which is unique
	Statistics *nodes.Statistics     // of a batch normalisation
	Noise      *nodes.Noise          // of a layer that draws random numbers
	Iteration  *nodes.PowerIteration // of a spectral normalisation
	// BatchNorm is what gorgonia.BatchNorm returns beside its node; each graph has its own. Making a
	// machine loses its running statistics: use Net.Machine, which keeps them.
	BatchNorm *gorgonia.BatchNormOp
}

// state returns what the buffer holds, or nil unless one field is set.
func (b Buffer) state() (state any) {
	n := 0
	if b.Statistics != nil {
		state, n = b.Statistics, n+1
	}
	if b.Noise != nil {
		state, n = b.Noise, n+1
	}
	if b.Iteration != nil {
		state, n = b.Iteration, n+1
	}
	if b.BatchNorm != nil {
		state, n = b.BatchNorm, n+1
	}
	if n != 1 {
		return nil
	}
	return state
}

// Running returns the running statistics of a batch normalisation: Statistics, or a copy of those of
// BatchNorm, which are a mean and a variance alone. It returns nil for any other buffer.
func (b Buffer) Running() *nodes.Statistics {
	if b.BatchNorm == nil {
		return b.Statistics
	}
	mean, variance := b.BatchNorm.Stats()
	return &nodes.Statistics{Mean: widened(mean.Data()), Variance: widened(variance.Data())}
}

// SetRunning copies the numbers of s to the running statistics of a batch normalisation.
func (b Buffer) SetRunning(s *nodes.Statistics) error {
	own := b.Running()
	if s == nil {
		return fmt.Errorf("models: buffer %s: want statistics, got nil", b.Name)
	}
	if own == nil || len(s.Mean) != len(own.Mean) || len(s.Variance) != len(own.Variance) {
		return fmt.Errorf("models: buffer %s: want statistics of its batch normalisation, got %d means and %d variances", b.Name, len(s.Mean), len(s.Variance))
	}
	if b.BatchNorm == nil {
		copy(own.Mean, s.Mean)
		copy(own.Variance, s.Variance)
		own.Batches = s.Batches
		return nil
	}
	mean, variance := b.BatchNorm.Stats()
	narrow(mean.Data(), s.Mean)
	narrow(variance.Data(), s.Variance)
	return nil
}

// widened returns a copy of numbers in float64.
func widened(of any) []float64 {
	switch x := of.(type) {
	case []float32:
		wide := make([]float64, len(x))
		for i, v := range x {
			wide[i] = float64(v)
		}
		return wide
	case []float64:
		return slices.Clone(x)
	}
	return nil
}

// narrow copies numbers to memory of either precision.
func narrow(to any, from []float64) {
	switch x := to.(type) {
	case []float32:
		for i, v := range from {
			x[i] = float32(v)
		}
	case []float64:
		copy(x, from)
	}
}

// begin resets running statistics that have never been set, whose variances are all 0, to those of an
// operation that has seen no batch.
func (b Buffer) begin() error {
	if b.BatchNorm == nil || slices.ContainsFunc(b.Running().Variance, func(v float64) bool { return v != 0 }) {
		return nil
	}
	if err := b.BatchNorm.Reset(); err != nil {
		return fmt.Errorf("models: buffer %s: %w", b.Name, err)
	}
	return nil
}

// stateOf returns the state of an operation that belongs into the buffers, or nil.
func stateOf(x *gorgonia.Node) any {
	if op, ok := x.Op().(*gorgonia.BatchNormOp); ok {
		return op
	}
	return nodes.StateOf(x)
}

// copyStats copies the running statistics of one operation to another.
func copyStats(to, from *gorgonia.BatchNormOp) error {
	mean, variance := from.Stats()
	return to.SetStats(mean, variance)
}
