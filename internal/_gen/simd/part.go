// SPDX-License-Identifier: Apache-2.0

package simd

import . "github.com/mmcloughlin/avo/operand"

// Part is a machine that touches memory for whole vectors, or, with a mask, for the lanes of the
// mask alone.
type Part struct {
	Machine
	Mask Mask
}

// Load loads a vector; the lanes beyond the mask become 0.
func (p Part) Load(from, v Op) {
	if p.Mask == nil {
		p.Machine.Load(from, v)
	} else {
		p.LoadMasked(p.Mask, from, v)
	}
}

// Store stores a vector.
func (p Part) Store(v, to Op) {
	if p.Mask == nil {
		p.Machine.Store(v, to)
	} else {
		p.StoreMasked(p.Mask, v, to)
	}
}

// Clear sets the lanes outside the mask to 0.
func (p Part) Clear(v Op) {
	if p.Mask != nil {
		p.Keep(p.Mask, v)
	}
}
