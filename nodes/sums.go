// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// Sums adds up numbers over processes that train one net together, each on a part of every batch. The
// *distributed.Group of package solvers/distributed implements it.
type Sums interface {
	// Sum returns the sum of each value over all processes, with the same result on all of them. All
	// processes must call Sum with the same number of values; each call waits for the others.
	Sum(values ...float64) ([]float64, error)
}

// ErrSums is wrapped by the error of a run that could not sum over all processes, for example because
// another process has failed. To test for it, apply Cause to the error of the machine.
var ErrSums = errors.New("no sum over all processes")

// allReduce is a sum over processes at one place in a graph.
type allReduce struct {
	over Sums
	// key identifies the place. Machines run the nodes of a graph in the order in which they were
	// created, so processes that build the same net sum at the same places in the same order. The key
	// verifies that.
	key float64
}

// newAllReduce returns the sum at a place in a graph, or nil if there is only one process.
func newAllReduce(over Sums, place ...any) *allReduce {
	if isnil.Of(over) {
		return nil
	}
	h := fnv.New32a()
	fmt.Fprint(h, place...)
	return &allReduce{over, float64(h.Sum32() & 0xffff)} // 16 bits: sums of squares are exact
}

// sum returns the sums of values over all processes. If the processes are not all at the same
// place, all of them get an error.
func (m *allReduce) sum(values []float64) ([]float64, error) {
	s, err := m.over.Sum(append([]float64{1, m.key, m.key * m.key}, values...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSums, err)
	}
	if len(s) != 3+len(values) {
		return nil, fmt.Errorf("%w: want %d sums, got %d", ErrSums, 3+len(values), len(s))
	}
	// n sum k² = (sum k)² only if all keys k are equal.
	if n, k, kk := s[0], s[1], s[2]; n*kk != k*k {
		return nil, fmt.Errorf("%w: want %v processes in the same node of the same net, got some in another", ErrSums, n)
	}
	return s[3:], nil
}
