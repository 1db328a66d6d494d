// SPDX-License-Identifier: Apache-2.0

package distributed

// exchange fills in the parts of the other ranks.
func (g *Group) exchange(parts [][]byte) error {
	for r, p := range parts {
		if err := g.comm.Broadcast(r, p); err != nil {
			return g.failed("exchange", err)
		}
	}
	return nil
}
