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
	said, _ := f.MetadataValue(zerosKey)
	want, got := m.Zeros(), cmp.Or(models.Zeros(said), unsaid)
	if want == "" || want == got {
		return nil
	}
	return fmt.Errorf("shortcuts: want channels of zeros %s those of the input, as in the model, got them %q: see models.Options.Zeros (%w)",
		want, got, ErrMismatch)
}

// agreedZeros is sameZeros for a file that need not be ours: told is what the user says of it, or "".
func (f *reading) agreedZeros(m models.State, told models.Zeros) error {
	text, _ := f.MetadataValue(zerosKey)
	said := models.Zeros(text)
	switch {
	case m.Zeros() == "":
		return nil
	case said == "" && told == "":
		return fmt.Errorf("shortcuts: want to know where the net in the file puts channels of zeros, which the file does not say: "+
			"set ImportOptions.Zeros to models.ZerosAfter or models.ZerosAround (%w)", ErrAmbiguous)
	case said != "" && told != "" && said != told:
		return fmt.Errorf("shortcuts: want channels of zeros %q those of the input, as ImportOptions.Zeros says, got them %q in the file (%w)", told, said, ErrMismatch)
	}
	return f.sameZeros(m, told)
}
