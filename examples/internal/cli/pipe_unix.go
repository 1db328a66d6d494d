// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// keepPipes makes a write to a closed pipe an error that does not end the process. Programs that this one starts
// are not affected.
func keepPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
