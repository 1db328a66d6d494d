// SPDX-License-Identifier: Apache-2.0

package wrap

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
)

type around struct{ of gorgonia.Solver }

func (a *around) Step(m []gorgonia.ValueGrad) error { return a.of.Step(m) }
func (a *around) Unwrap() gorgonia.Solver           { return a.of }

type named struct {
	around
	name string
}

func (n *named) String() string { return n.name }

func TestFind(t *testing.T) {
	type stringer interface{ String() string }
	stock := gorgonia.NewVanillaSolver()
	inner := &named{around{stock}, "inner"}
	outer := &named{around{inner}, "outer"}
	var s gorgonia.Solver = inner
	for n := range depth - 2 {
		found, ok := Find[stringer](s)
		assert.True(t, ok, "%d wrappers", n)
		assert.Same(t, inner, found)
		v, ok := Find[*gorgonia.VanillaSolver](s)
		assert.True(t, ok)
		assert.Same(t, stock, v)
		_, ok = Find[*gorgonia.AdamSolver](s)
		assert.False(t, ok)
		s = &around{s}
	}
	found, _ := Find[stringer](&around{outer})
	assert.Same(t, outer, found, "the outermost")

	for _, s := range []gorgonia.Solver{nil, &around{}} {
		_, ok := Find[stringer](s)
		assert.False(t, ok)
	}
	itself := &around{}
	itself.of = itself
	_, ok := Find[stringer](itself)
	assert.False(t, ok)
	assert.Equal(t, "*wrap.around around itself", Describe(itself))
	assert.Equal(t, "*wrap.around around *wrap.named around *gorgonia.VanillaSolver", Describe(&around{inner}))
	assert.Equal(t, "*wrap.around around <nil>", Describe(&around{}))
}
