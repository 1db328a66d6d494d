// SPDX-License-Identifier: Apache-2.0

// Package cpu says which kernels this machine can run.
//
// Assembly is chosen at run time. On amd64 it is AVX-512 where there is some, else
// AVX2 with FMA, else the portable Go that specifies both; GODEBUG=cpu.avx512f=off or
// cpu.avx2=off turns instructions off from outside. Every arm64 has NEON. The build tag
// noasm, and all other architectures, leave the portable Go alone.
package cpu

// Level is a set of instructions. Those of amd64 are in order: a higher one includes the lower ones.
type Level int

// The levels.
const (
	Portable Level = iota
	AVX2           // with FMA
	AVX512         // F, BW, DQ and VL
	NEON           // of arm64
)

// String names the level.
func (l Level) String() string { return [...]string{"portable", "AVX2", "AVX-512", "NEON"}[l] }

// Bytes is the size of a vector, 0 without vectors.
func (l Level) Bytes() int { return [...]int{0, 32, 64, 16}[l] }

// Best is the highest level that the machine has.
var Best = detect()

// Use is the level that kernels are chosen by, Best unless a test lowers it.
var Use = Best

// Levels lists those that the machine has, for tests to go through.
func Levels() []Level {
	if Best == NEON {
		return []Level{Portable, NEON}
	}
	var all []Level
	for l := Portable; l <= Best; l++ {
		all = append(all, l)
	}
	return all
}
