// SPDX-License-Identifier: Apache-2.0

// Package rerun starts the program of a test again, for tests of what a whole process does.
package rerun

import (
	"os"
	"os/exec"
	"strings"
)

// variable names the environment variable with the command that starts programs of this
// architecture, an emulator for instance. It is needed beside -exec of go test, which
// does not tell the tests.
const variable = "KERNELFOLD_EXEC"

// Command returns the command that runs this program with other arguments.
func Command(args ...string) *exec.Cmd {
	words := append(strings.Fields(os.Getenv(variable)), os.Args[0])
	words = append(words, args...)
	return exec.Command(words[0], words[1:]...)
}
