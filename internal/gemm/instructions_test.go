// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestInstructions counts the instructions of the inner loops of products that docs/benchmarks.md
// gives: what can be said of a machine that is not at hand.
func TestInstructions(t *testing.T) {
	for file, loops := range map[string]map[string][2]int{
		"kernel_arm64.s": {
			"mul32NEON widePacked12": {35, 24}, "mul32NEON quarterPacked12": {39, 24}, "mul32NEON wideStrided12": {46, 24},
			"mul64NEON widePacked12": {38, 24}, "mul64NEON quarterPacked12": {42, 24}, "mul64NEON wideStrided12": {46, 24},
		},
		"kernel_amd64.s": {
			"mul32AVX2 wideFour6": {99, 48}, "mul32AVX512 wideFour14": {207, 112},
			"mul64AVX2 wideFour6": {99, 48}, "mul64AVX512 wideFour14": {207, 112},
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
	multiplyAdd = regexp.MustCompile(`FMLA|VFMADD`)
	branch      = regexp.MustCompile(`^\t(?:CBNZ|JNZ|JGE)\s.*?(\w+)$`)
)

// countLoops returns the number of instructions, and of multiply-adds among them, from each label to
// the branch back to it.
func countLoops(source string) map[string][2]int {
	counts, function, label, n := map[string][2]int{}, "", "", [2]int{}
	for line := range strings.Lines(source) {
		line = strings.TrimRight(line, "\n")
		switch name, isLabel := strings.CutSuffix(line, ":"); {
		case strings.HasPrefix(line, "TEXT"):
			function = line[strings.Index(line, "\u00b7")+len("\u00b7") : strings.Index(line, "(")]
		case isLabel:
			label, n = name, [2]int{}
		case instruction.MatchString(line):
			n[0]++
			if multiplyAdd.MatchString(line) {
				n[1]++
			}
			if to := branch.FindStringSubmatch(line); to != nil && to[1] == label {
				counts[function+" "+label] = n
			}
		}
	}
	return counts
}
