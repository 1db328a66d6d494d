// SPDX-License-Identifier: Apache-2.0

package rerun

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCommand(t *testing.T) {
	const again = "KERNELFOLD_RERUN_TEST"
	if os.Getenv(again) != "" {
		os.Exit(7)
	}
	c := Command("-test.run=^TestCommand$")
	c.Env = append(os.Environ(), again+"=1")
	require.Error(t, c.Run())
	assert.Equal(t, 7, c.ProcessState.ExitCode())

	t.Setenv(variable, " emulator -L  /there ")
	assert.Equal(t, []string{"emulator", "-L", "/there", os.Args[0], "a", "b"}, Command("a", "b").Args)
}
