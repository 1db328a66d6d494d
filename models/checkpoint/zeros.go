// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"

	"github.com/kernelfold/kernelfold/models"
)

// Where shortcuts put channels of zeros is part of what a net computes, and neither names nor shapes of
// its weights tell it. So a file says it, under zerosKey, if the net has such shortcuts.

// addZeros writes where the shortcuts of a model put channels of zeros.
func (c *content) addZeros(m models.State) {
	if z := m.Zeros(); z != "" {
		c.metadata[zerosKey] = string(z)
	}
}

// sameZeros returns an error unless the shortcuts of a model put channels of zeros where those of the file
// do. A file that does not say it is taken for one with unsaid.
func (f *reading) sameZeros(m models.State, unsaid models.Zeros) error {
	want, got := m.Zeros(), cmp.Or(models.Zeros(f.Metadata()[zerosKey]), unsaid)
	if want == "" || want == got {
		return nil
	}
	return fmt.Errorf("shortcuts: want channels of zeros %s those of the input, as in the model, got them %s: see models.Options.Zeros (%w)",
		want, got, ErrMismatch)
}
