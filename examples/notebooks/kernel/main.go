// SPDX-License-Identifier: Apache-2.0

// Kernel builds the Jupyter kernel of the notebooks: gophernotes, a Go interpreter, with Kernelfold, Gorgonia, tensor and
// gonum/plot linked in. The interpreter knows a package by its bindings, a table of its exported names, which are made here from
// the packages as they are now.
//
//	go run . -o FILE
//
// builds it and writes the program to FILE. bound.go lists the packages, go.mod and go.sum the versions. Everything else happens in
// a temporary folder.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	out := flag.String("o", "", "the `file` to write the kernel to")
	verbose := flag.Bool("v", false, "say what notebooks cannot use")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "kernel: want -o FILE and nothing else")
		os.Exit(2)
	}
	log := io.Discard
	if *verbose {
		log = os.Stderr
	}
	if err := build(".", *out, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
