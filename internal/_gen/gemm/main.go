// SPDX-License-Identifier: Apache-2.0

// Command gemm writes the assembly of internal/gemm: for each precision and level
// the kernel that multiplies a panel of A with a panel of B, the two ways to pack a
// panel, and the factorisation of a small square.
package main

//go:generate go run . -out ../../gemm/kernel_amd64.s -stubs ../../gemm/stubs_amd64.go -pkg gemm

import (
	"flag"
	"log"
	"os"

	. "github.com/mmcloughlin/avo/build"
)

const header = "// SPDX-License-Identifier: Apache-2.0\n\n"

func main() {
	ConstraintExpr("amd64,!noasm")
	declareTables()
	for _, f := range []float{{32}, {64}} {
		for _, m := range []machine{avx2{f}, avx512{f}} {
			product(m)
			copyRows(m)
			eliminate(m)
		}
		transpose(avx2{f})
	}
	Generate()
	for _, name := range []string{"out", "stubs"} {
		if err := prepend(header, flag.Lookup(name).Value.String()); err != nil {
			log.Fatal(err)
		}
	}
}

func prepend(text, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(text), b...), 0o644)
}
