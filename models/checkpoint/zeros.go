// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"

	"github.com/kernelfold/kernelfold/models"
)

// What a net computes depends on where its shortcuts put channels of zeros, which neither the names nor the
// shapes of its weights show. So a file states it, under zerosKey, if the net has such shortcuts.

// addZeros writes where the shortcuts of a model put channels of zeros.
func (c *content) addZeros(m models.State) {
	if z := m.Zeros(); z != "" {
		c.metadata[zerosKey] = string(z)
	}
}

// sameZeros returns an error unless the shortcuts of a model put channels of zeros where those of the file
// do. For a file that does not state it, unsaid is assumed.
func (f *reading) sameZeros(m models.State, unsaid models.Zeros) error {
	said, _ := f.MetadataValue(zerosKey)
	want, got := m.Zeros(), cmp.Or(models.Zeros(said), unsaid)
	if want == "" || want == got {
		return nil
	}
	return fmt.Errorf("shortcuts: want channels of zeros %s those of the input, as in the model, got them %q: see models.Options.Zeros (%w)",
		want, got, ErrMismatch)
}

// unsaidZeros is where the shortcuts in a checkpoint put channels of zeros that does not state it: all that there was before checkpoints did.
const unsaidZeros = models.ZerosAfter

// agreedZeros is sameZeros for a file that another program may have written: told is what the user states about it, or "".
func (f *reading) agreedZeros(m models.State, told models.Zeros) error {
	text, _ := f.MetadataValue(zerosKey)
	said := models.Zeros(text)
	if said == "" && f.isCheckpoint() {
		said = unsaidZeros
	}
	switch {
	case m.Zeros() == "":
		return nil
	case said == "" && told == "":
		return fmt.Errorf("shortcuts: want to know where the net in the file puts channels of zeros, which the file does not say: "+
			"set ImportOptions.Zeros to models.ZerosAfter or models.ZerosAround (%w)", ErrAmbiguous)
	case said != "" && told != "" && said != told:
		return fmt.Errorf("shortcuts: want channels of zeros %q those of the input, as ImportOptions.Zeros says, got them %q in the file (%w)", told, said, ErrMismatch)
	}
	return f.sameZeros(m, cmp.Or(said, told))
}
