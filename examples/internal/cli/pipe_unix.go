// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// keepPipes makes a write to a pipe that nobody reads an error, instead of the end of the process. Programs that this one starts
// are not affected.
func keepPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
