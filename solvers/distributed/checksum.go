// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// checksums holds a checksum of the weights of each parameter.
type checksums struct{ own, all []byte }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// check compares the weights of all ranks by checksums, and returns an error, the same on every
// rank, that names the first parameter that differs.
func (s *Solver) check() error {
	c := &s.sums
	c.own = c.own[:0]
	for _, w := range s.weights {
		c.own = binary.LittleEndian.AppendUint32(c.own, crc32.Checksum(w.Bytes(), castagnoli))
	}
	n := len(c.own)
	c.all = room(c.all, n*s.group.Size())
	if err := s.group.comm.Gather(c.all, c.own); err != nil {
		return s.group.failed("gather", err)
	}
	for i := range s.list {
		first := binary.LittleEndian.Uint32(c.all[4*i:])
		for r := range s.group.Size() {
			if sum := binary.LittleEndian.Uint32(c.all[r*n+4*i:]); sum != first {
				return fmt.Errorf("distributed: parameter %v before step %d: want the same weights on every rank, got checksum %08x on rank 0 and %08x on rank %d (%w)",
					&s.list[i], s.steps, first, sum, r, ErrOutOfSync)
			}
		}
	}
	return nil
}
