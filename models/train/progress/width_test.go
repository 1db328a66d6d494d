// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/models/train"
)

// A line with its bar is no wider than the terminal, and says first what matters.
func TestWidth(t *testing.T) {
	for columns, want := range map[int]string{
		200: "epoch 3/30 loss 0.912 accuracy 67.8 % 0s left 0 img/s",
		70:  "epoch 3/30 loss 0.912 accuracy 67.8 % 0s left",
		57:  "epoch 3/30 loss 0.912 accuracy 67.8 %",
		40:  "epoch 3/30 loss 0.912",
		10:  "epoch 3/30",
	} {
		m := newMeter(&bytes.Buffer{}, true)
		m.columns = func() int { return columns }
		m.run, m.loss, m.accuracy = train.Run{Epochs: 30, Steps: 10}, 0.912, 0.678
		assert.Equal(t, want, m.describe(train.Step{Number: 21, Epoch: 3}))
	}
	var b bytes.Buffer
	drive(t, newMeter(&b, true), 0)
	for _, line := range strings.FieldsFunc(b.String(), func(c rune) bool { return c == '\r' || c == '\n' }) {
		assert.LessOrEqual(t, len(line), usual, line)
		if strings.Contains(line, "[") {
			assert.Greater(t, len(line), usual-10, "as wide as the terminal: %q", line)
		}
	}
}
