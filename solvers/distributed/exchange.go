// SPDX-License-Identifier: Apache-2.0

package distributed

import "slices"

// parts are the buffers of an exchange.
type parts struct {
	all  []byte
	each [][]byte
}

// exchange returns the parts of all ranks, of the given sizes. Own is the part of this rank, with capacity for the longest.
//
// A gather pads all parts to the longest, so a rank receives n - 1 times that length; one broadcast
// from each rank moves the total length. The cheaper of the two is used.
func (g *Group) exchange(own []byte, sizes []int) ([][]byte, error) {
	n, longest, total := g.Size(), slices.Max(sizes), 0
	for _, size := range sizes {
		total += size
	}
	p := &g.parts
	p.each = room(p.each, n)
	if (n-1)*longest <= total {
		p.all = room(p.all, n*longest)
		for r, size := range sizes {
			p.each[r] = p.all[r*longest:][:size]
		}
		return p.each, g.failed("exchange", g.comm.Gather(p.all, own[:longest]))
	}
	p.all = room(p.all, total)
	rest := p.all
	for r, size := range sizes {
		if p.each[r], rest = rest[:size], rest[size:]; r == g.Rank() {
			p.each[r] = own
		}
		if err := g.comm.Broadcast(r, p.each[r]); err != nil {
			return nil, g.failed("exchange", err)
		}
	}
	return p.each, nil
}
