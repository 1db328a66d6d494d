// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// avx2Only lists the environment variables that hide AVX-512 from Go, oneDNN and PyTorch, which read them when they start.
var avx2Only = [][2]string{
	{"GODEBUG", "cpu.avx512f=off"},
	{"ONEDNN_MAX_CPU_ISA", "AVX2"},
	{"ATEN_CPU_CAPABILITY", "avx2"},
}

// withAVX2 returns an environment with those variables. Other settings in GODEBUG stay.
func withAVX2(environment []string) []string {
	all := slices.Clone(environment)
	for _, v := range avx2Only {
		value := v[1]
		for _, e := range environment {
			if old, ok := strings.CutPrefix(e, v[0]+"="); ok && v[0] == "GODEBUG" && old != "" {
				value = old + "," + v[1]
			}
		}
		all = append(all, v[0]+"="+value) // the last one of a name counts
	}
	return all
}

// hasAVX2Only reports whether this process was started with those variables.
func hasAVX2Only() bool {
	return !slices.ContainsFunc(avx2Only, func(v [2]string) bool {
		return !slices.Contains(strings.Split(os.Getenv(v[0]), ","), v[1])
	})
}

// lower makes sure that this process and its children use AVX2 at most. If that requires another process,
// lower runs it with the same arguments, and returns done and the error with which the program ends.
func lower(ctx context.Context, args []string, stdout, stderr io.Writer) (done bool, err error) {
	if hasAVX2Only() {
		if cpu.Use > cpu.AVX2 {
			return true, fmt.Errorf("-avx2: want AVX2 at most, got %v", cpu.Use)
		}
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return true, err
	}
	c := child(ctx, self, args...)
	c.Env = withAVX2(c.Env)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, stdout, stderr
	return true, exitOf(ctx, c.Run())
}
