// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInstructions counts the instructions of the loops that docs/benchmarks.md gives: what can be said
// of a machine that is not at hand.
func TestInstructions(t *testing.T) {
	for file, loops := range map[string]map[string][2]int{
		"../gemm/kernel_arm64.s": {
			"mul32NEON widePacked12": {35, 24}, "mul32NEON quarterPacked12": {39, 24}, "mul32NEON wideStrided12": {46, 24},
			"mul64NEON widePacked12": {38, 24}, "mul64NEON quarterPacked12": {42, 24}, "mul64NEON wideStrided12": {46, 24},
		},
		"../gemm/kernel_amd64.s": {
			"mul32AVX2 wideFour6": {99, 48}, "mul32AVX512 wideFour14": {207, 112},
			"mul64AVX2 wideFour6": {99, 48}, "mul64AVX512 wideFour14": {207, 112},
		},
		"../lanes/kernel_arm64.s":  {"product32NEON inner3": {35, 12}, "frames32NEON block": {614, 172}},
		"../lanes/kernel_amd64.s":  {"frames32AVX2 together": {735, 170}, "frames32AVX512 together": {621, 167}},
		"../fused/kernels_arm64.s": {"stepOfNine32NEON uncentred": {566, 86}, "stepOfNine32NEON centred": {626, 90}},
		"../winograd/kernels_arm64.s": {
			"image32NEON vector": {438, 144}, "filter32NEON vector": {240, 18}, "result32NEON vector": {288, 40},
		},
		"../winograd/kernels_amd64.s": {
			"image32AVX2 vector": {376, 144}, "filter32AVX2 vector": {202, 18}, "result32AVX2 vector": {244, 40},
		},
	} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		counts := countLoops(string(source))
		for loop, want := range loops {
			assert.Equal(t, want, counts[loop], "%s of %s: instructions, and multiply-adds among them", loop, file)
		}
	}
}

var (
	instruction = regexp.MustCompile(`^\t[A-Z]`)
	multiplyAdd = regexp.MustCompile(`FMLA|FMLS|VFN?MADD`)
	branch      = regexp.MustCompile(`^\t(?:CBNZ|JNZ|JGE)\s.*?(\w+)$`)
)

// countLoops returns the number of instructions, and of multiply-adds among them, from each label to
// the last branch back to it, of which loops within are a part, counted once.
func countLoops(source string) map[string][2]int {
	counts, labels, function, n := map[string][2]int{}, map[string][2]int{}, "", [2]int{}
	for line := range strings.Lines(source) {
		line = strings.TrimRight(line, "\n")
		switch name, isLabel := strings.CutSuffix(line, ":"); {
		case strings.HasPrefix(line, "TEXT"):
			function = line[strings.Index(line, "\u00b7")+len("\u00b7") : strings.Index(line, "(")]
			clear(labels)
		case isLabel:
			labels[name] = n
		case instruction.MatchString(line):
			n[0]++
			if multiplyAdd.MatchString(line) {
				n[1]++
			}
			if to := branch.FindStringSubmatch(line); to != nil {
				if from, back := labels[to[1]]; back {
					counts[function+" "+to[1]] = [2]int{n[0] - from[0], n[1] - from[1]}
				}
			}
		}
	}
	return counts
}
