// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// A line of progress fits 80 columns, or those of the terminal, and keeps the rate, the seed and the result, and of a long name both ends.
func TestProgressFits(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.expect(2)
	tenth := 0.003
	tenth /= 10 // 0.00030000000000000003
	p.done(outcome{spec: spec{Case: "layers 1 and 2 times 100 and 0.01", Method: "SGD, Stiefel bank, trivialisation, ambient momentum", Rate: 0.03, Seed: 7}, Accuracy: 0.5})
	p.done(outcome{spec: spec{Method: "Adam", Rate: tenth, Seed: 1}, Diverged: "yes"})
	assert.Equal(t, "1/2 runs, 0s left  layers 1 and…ent momentum, rate 0.03, seed 7: accuracy 50.0 %\n"+
		"2/2 runs, 0s left  Adam, rate 0.0003, seed 1: diverged\n", b.String())
	long := spec{Method: "Stiefel bank, transported momentum, à la carte", Rate: 0.1}
	for p.columns = range 120 {
		line := p.line(long, "loss 1.234")
		assert.True(t, utf8.ValidString(line))
		assert.LessOrEqual(t, utf8.RuneCountInString(line), p.columns)
		if p.columns > 53 {
			assert.Regexp(t, "^2/2 runs, 0s left  St.*e, rate 0.1, seed 0: loss 1.234$", line)
		}
	}
}
