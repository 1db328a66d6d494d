// SPDX-License-Identifier: Apache-2.0

// Package cpu determines which assembly kernels this machine can run.
//
// Assembly is chosen at run time. On amd64 it is AVX-512 if available, otherwise AVX2 with FMA, and otherwise
// the portable Go that specifies both; GODEBUG=cpu.avx512f=off or cpu.avx2=off turns instructions off from
// outside. Every arm64 has NEON. With the build tag noasm, and on all other architectures, only portable Go
// is used.
package cpu

// Level is a set of instructions. Those of amd64 are in order: a higher one includes the lower ones.
type Level int

// The levels.
const (
	Portable Level = iota
	AVX2           // with FMA
	AVX512         // F, BW, DQ and VL, with BMI2
	NEON           // of arm64
)

// String names the level.
func (l Level) String() string { return [...]string{"portable", "AVX2", "AVX-512", "NEON"}[l] }

// Bytes is the size of a vector, 0 without vectors.
func (l Level) Bytes() int { return [...]int{0, 32, 64, 16}[l] }

// Best is the highest level that the machine has.
var Best = detect()

// Use is the level by which kernels are chosen: Best unless a test lowers it.
var Use = Best

// Levels lists the levels that the machine has, for tests.
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
