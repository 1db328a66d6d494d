// SPDX-License-Identifier: Apache-2.0

// Package cpu says which kernels this machine can run.
//
// Assembly is chosen at run time: AVX-512 where there is some, else AVX2 with
// FMA, else the portable Go that specifies both. The build tag noasm, and every
// architecture but amd64, leave the portable Go alone. GODEBUG=cpu.avx512f=off or
// cpu.avx2=off turns instructions off from outside.
package cpu

// Level is a set of instructions; a higher one includes the lower ones.
type Level int

// The levels.
const (
	Portable Level = iota
	AVX2           // with FMA
	AVX512         // F, BW, DQ and VL
)

// String names the level.
func (l Level) String() string { return [...]string{"portable", "AVX2", "AVX-512"}[l] }

// Best is the highest level that the machine has.
var Best = detect()

// Use is the level that kernels are chosen by, Best unless a test lowers it.
var Use = Best

// Levels lists those that the machine has, for tests to go through.
func Levels() []Level {
	var all []Level
	for l := Portable; l <= Best; l++ {
		all = append(all, l)
	}
	return all
}
