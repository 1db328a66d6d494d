// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/solvers"
)

// Every kind of error of package solvers is known on other ranks.
func TestKindsAreComplete(t *testing.T) {
	theirs, err := os.ReadFile("../errors.go")
	require.NoError(t, err)
	ours, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^\t(Err\w+)\s+= errors.New`).FindAllSubmatch(theirs, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Contains(t, string(ours), "solvers."+string(name[1]), "in kinds")
	}
	for _, k := range kinds {
		assert.ErrorIs(t, decode(encode(fmt.Errorf("kernel: %w", k))), k)
	}
	assert.False(t, errors.Is(decode(encode(solvers.ErrOption)), solvers.ErrStock))
}
