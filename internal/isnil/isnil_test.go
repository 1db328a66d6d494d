// SPDX-License-Identifier: Apache-2.0

package isnil

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOf(t *testing.T) {
	var pointer *int
	assert.True(t, Of(nil))
	assert.True(t, Of(pointer))
	for _, v := range []any{new(int), 0, "", []int(nil), struct{}{}} {
		assert.False(t, Of(v), "%T", v)
	}
}
