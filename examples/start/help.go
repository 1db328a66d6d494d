// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const help = `start trains a small convnet whose kernels are orthonormal on digits that it
draws, reports, saves the net in out/start and classifies with what it saved.
It takes no flags, and some seconds.

Examples:
    go run ./examples/start
`

// Before main, which is to the letter the program of docs/start.md.
func init() {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(refuse(os.Args[1], os.Stdout, os.Stderr))
	}
}

// refuse prints help, or refuses an argument, and returns the exit status.
func refuse(argument string, stdout, stderr io.Writer) int {
	switch argument {
	case "-h", "-help", "--help":
		if _, err := io.WriteString(stdout, help); err != nil {
			return 1
		}
		return 0
	}
	fmt.Fprintf(stderr, "start: want no arguments, got %q (-h says what it does)\n", argument)
	return 2
}
