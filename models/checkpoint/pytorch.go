// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/disk"
)

// Export writes the weights and statistics of a model, and nothing else, as PyTorch has
// them: load_state_dict takes the file's tensors. It replaces the file as Save does.
func Export(path string, m Stateful) error {
	s, err := stateOf(m)
	if err == nil {
		c := &content{metadata: map[string]string{formatKey: "pt"}}
		c.addZeros(s)
		if c.tensors, err = tensorsOf(s, ""); err == nil {
			err = disk.Replace(disk.OS{}, path, c.writePlain)
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint: export %s: %w", path, err)
	}
	return nil
}

// ImportOptions say what Import lets pass.
type ImportOptions struct {
	// Surplus allows tensors that the model does not have.
	Surplus bool
}

// Import reads weights and statistics from a safetensors file that was written from the
// state_dict of a PyTorch module, or by Export, into a model of the same layers. F16, BF16
// and F32 are read into float32 and float64, F64 only into float64.
//
// A tensor that is missing, that the model does not have, or that is of another shape is an
// error which names it, and the model is as before.
func Import(path string, m Stateful, o ImportOptions) error {
	if err := importFrom(path, m, o); err != nil {
		return fmt.Errorf("checkpoint: import %s: %w", path, err)
	}
	return nil
}

func importFrom(path string, m Stateful, o ImportOptions) error {
	s, err := stateOf(m)
	if err != nil {
		return err
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	known := map[string]bool{}
	all, err := f.weights(s, "", true, known)
	if err != nil {
		return err
	}
	for _, i := range f.Tensors() {
		if !known[i.Name] && !o.Surplus {
			return fmt.Errorf("want no tensor %q, got one of shape %v: see ImportOptions.Surplus (%w)", i.Name, i.Shape, ErrMismatch)
		}
	}
	all.exchange()
	return nil
}
