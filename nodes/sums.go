// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"hash/fnv"
)

// Sums adds up numbers over processes that train one net together, each on a part of every batch. A *distributed.Group of
// package solvers/distributed is one.
type Sums interface {
	// Sum returns the sum over all processes of each value, the same on all of them. They call it with as many values, and
	// each call waits for the others.
	Sum(values ...float64) ([]float64, error)
}

// ErrSums is wrapped by the error of a run that could not sum over all processes, as when another one has failed. Of what
// a machine returns, ask Cause.
var ErrSums = errors.New("no sum over all processes")

// meeting is a place in a graph where processes add up numbers.
type meeting struct {
	over Sums
	// key tells the place from others. Machines run the nodes of a graph in an order that depends on the order in which they
	// were made alone, so that processes that build the same net come to the same places; the key proves it.
	key float64
}

// meet returns a place in a graph, or nil if there is only one process.
func meet(over Sums, place ...any) *meeting {
	if over == nil {
		return nil
	}
	h := fnv.New32a()
	fmt.Fprint(h, place...)
	return &meeting{over, float64(h.Sum32() & 0xffff)} // 16 bits: sums of squares are exact
}

// sum returns the sums of values over all processes. If they are not all at one place, it is an error on all of them.
func (m *meeting) sum(values []float64) ([]float64, error) {
	s, err := m.over.Sum(append([]float64{1, m.key, m.key * m.key}, values...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSums, err)
	}
	if len(s) != 3+len(values) {
		return nil, fmt.Errorf("%w: want %d sums, got %d", ErrSums, 3+len(values), len(s))
	}
	// n sum k² = (sum k)² for equal keys k alone.
	if n, k, kk := s[0], s[1], s[2]; n*kk != k*k {
		return nil, fmt.Errorf("%w: want %v processes in the same node of the same net, got some in another", ErrSums, n)
	}
	return s[3:], nil
}
