// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/disk"
)

// Export writes the weights and statistics of a model, and nothing else, in PyTorch's form: load_state_dict
// accepts the tensors of the file. It replaces the file as Save does.
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
