// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
)

// ErrCollision is wrapped by the error of CheckGraph.
var ErrCollision = errors.New("two nodes have one hash")

// CheckGraph returns an error if gorgonia.NewTapeMachine would take two nodes of the graph for one.
//
// The compiler of the tape machine merges nodes of equal 32-bit hash without comparing them. A collision makes a run fail
// with a value of a wrong shape, or silently compute something else. Its probability is about n^2 / 2^33 for a
// graph of n nodes: one in 10,000 for 1,000 nodes. The hash of gorgonia.Read, and of nodes with state, contains an
// address, so the same program may have a collision in one run and none in the next. If there is one, build the
// graph again.
func CheckGraph(g *gorgonia.ExprGraph) error {
	seen := make(map[uint32]*gorgonia.Node, len(g.AllNodes()))
	for _, n := range g.AllNodes() {
		h := n.Hashcode()
		if other, ok := seen[h]; ok && other != n {
			return fmt.Errorf("nodes.CheckGraph: want a hash of its own for each node, got %#x for %v and %v (%w); build the graph again", h, other, n, ErrCollision)
		}
		seen[h] = n
	}
	return nil
}
