// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/mpi"
)

// Group is a group of ranks that train together. All of them make the same calls in the same order; each
// call, except Rank, Size and Root, waits for the others. A Group is not safe for concurrent use.
type Group struct {
	comm  mpi.Comm
	word  []byte // allocated separately, because C must not see memory with Go pointers
	words []byte
	parts parts
}

// Join returns the group of the processes that a launcher such as mpirun or srun started, or a group of this process alone.
//
// In a program built without the tag mpi, more than one process is an error.
func Join() (*Group, error) {
	c, err := mpi.Join()
	if err != nil {
		return nil, fmt.Errorf("distributed: join: %w", err)
	}
	return &Group{comm: c}, nil
}

// Rank is the number of this process, from 0.
func (g *Group) Rank() int { return g.comm.Rank() }

// Size is the number of ranks.
func (g *Group) Size() int { return g.comm.Size() }

// Root reports whether this is rank 0, which prints and writes files.
func (g *Group) Root() bool { return g.Rank() == 0 }

// Close waits for the other ranks and leaves the group. Call it at the end, as in
//
//	defer group.Close()
//
// During a panic, which ends the process and with it the group, it does nothing.
func (g *Group) Close() error {
	if r := recover(); r != nil {
		panic(r)
	}
	return g.failed("close", g.comm.Close())
}

// failed returns the error of an MPI operation.
func (g *Group) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("distributed: %s: %w", what, err)
}

// Sum returns the sum over the ranks of each value, added in the order of the ranks. Another number of values on another rank is an error, and
// so is a failure of MPI.
func (g *Group) Sum(values ...float64) ([]float64, error) {
	own := make([]byte, 0, 8*len(values))
	for _, v := range values {
		own = binary.LittleEndian.AppendUint64(own, math.Float64bits(v))
	}
	all, err := g.Gather(own)
	if err != nil {
		return nil, err
	}
	sums := make([]float64, len(values))
	for r, b := range all {
		if len(b) != len(own) {
			return nil, fmt.Errorf("distributed: sum: want as many values on every rank, got %d on rank %d and %d on rank %d",
				len(own)/8, g.Rank(), len(b)/8, r)
		}
		for i := range sums {
			sums[i] += math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	return sums, nil
}

// Mean returns the mean over the ranks of each value, with the errors of Sum.
func (g *Group) Mean(values ...float64) ([]float64, error) {
	means, err := g.Sum(values...)
	for i := range means {
		means[i] /= float64(g.Size())
	}
	return means, err
}

// Broadcast returns the argument of rank 0, and ignores those of the other ranks. It fails only if MPI does.
func (g *Group) Broadcast(b []byte) ([]byte, error) {
	size := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	if err := g.comm.Broadcast(0, size); err != nil {
		return nil, g.failed("broadcast", err)
	}
	if !g.Root() {
		b = make([]byte, binary.LittleEndian.Uint64(size))
	}
	return b, g.failed("broadcast", g.comm.Broadcast(0, b))
}

// Gather returns the arguments of all ranks, in their order. The lengths may differ. It fails only if MPI does.
func (g *Group) Gather(b []byte) ([][]byte, error) {
	sizes, err := g.gatherWord(uint64(len(b)))
	if err != nil {
		return nil, err
	}
	longest := uint64(0)
	for r := range g.Size() {
		longest = max(longest, binary.LittleEndian.Uint64(sizes[8*r:]))
	}
	parts := make([][]byte, g.Size())
	all := make([]byte, uint64(g.Size())*longest)
	for r := range parts {
		parts[r] = all[uint64(r)*longest:][:binary.LittleEndian.Uint64(sizes[8*r:])]
	}
	own := make([]byte, longest)
	copy(own, b)
	return parts, g.failed("gather", g.comm.Gather(all, own))
}

// gatherWord gathers a number of each rank, 8 bytes each, without allocation.
func (g *Group) gatherWord(w uint64) ([]byte, error) {
	if g.word == nil {
		g.word, g.words = make([]byte, 8), make([]byte, 8*g.Size())
	}
	binary.LittleEndian.PutUint64(g.word, w)
	return g.words, g.failed("gather", g.comm.Gather(g.words, g.word))
}
