// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
)

// ErrCollision is wrapped by the error of CheckGraph.
var ErrCollision = errors.New("two nodes have one hash")

// CheckGraph returns an error if gorgonia.NewTapeMachine would mistake two nodes of the graph for the
// same node.
//
// The compiler of the tape machine merges nodes with the same 32-bit hash without comparing them. A
// collision makes a run fail with a value of a wrong shape, or silently gives a wrong result. In a
// graph of n nodes its probability is about n^2 / 2^33, that is, one in 10,000 for 1,000 nodes. The
// hashes of gorgonia.Read and of nodes with state contain an address, so the same program may have a
// collision in one run and none in the next. After a collision, build the graph again.
func CheckGraph(g *gorgonia.ExprGraph) error {
	if g == nil {
		return errors.New("nodes.CheckGraph: want a graph, got nil")
	}
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
