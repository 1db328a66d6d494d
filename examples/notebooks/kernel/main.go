// SPDX-License-Identifier: Apache-2.0

// Kernel builds the Jupyter kernel of the notebooks: gomacro, a Go interpreter, with Kernelfold, Gorgonia, tensor and
// gonum/plot linked in. The interpreter knows a package by its bindings, a table of its exported names, which are made here from
// the packages as they are now.
//
//	go run . -o FILE
//
// builds it and writes the program to FILE. bound.go lists the packages, go.mod and go.sum the versions. Everything else happens in
// a temporary folder and the user's cache. The kernel itself is in the packages beside this one: jupyter talks to the frontend, interp runs cells, serve
// is the program of both. interp and serve need the interpreter as it is patched here, and have the build tag kernel.
//
//	go run . -prepare DIR
//
// writes a go.mod to a folder, and prints the value of GOFLAGS with which the go command compiles all packages.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	out := flag.String("o", "", "the `file` to write the kernel to")
	verbose := flag.Bool("v", false, "say what notebooks cannot use")
	dir := flag.String("prepare", "", "the `folder` to write a go.mod with the patched interpreter to, instead")
	flag.Parse()
	if (*out == "") == (*dir == "") || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "kernel: want -o FILE or -prepare DIR, and nothing else")
		os.Exit(2)
	}
	if *dir != "" {
		mod, err := prepareIn(".", *dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(strings.Join(flags(mod), " "))
		return
	}
	log := io.Discard
	if *verbose {
		log = os.Stderr
	}
	if err := build(".", *out, os.Stderr, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
