// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
)

func TestDocument(t *testing.T) {
	const source = `// Package p has it all.
package p

// F adds.
func F(a, b int) int { return a + b }

func hidden() {}

// T is a type.
type T struct {
	// N counts.
	N, M int
	On bool // whether it is on
	hidden int
}

// Do does.
func (t *T) Do(n int) error { return nil }

// Of is generic.
type Of[X any] struct{ V X }

// Get gets.
func (o Of[X]) Get() X { return o.V }

// I is an interface.
type I interface {
	// Close closes.
	Close(now bool) error
}

// The constants.
const (
	A = 1 // first
	B = 2
)

// V varies.
var V map[string]int
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", source, parser.ParseComments)
	require.NoError(t, err)
	d := docs.Docs{}
	document(d, "x/p", fset, []*ast.File{f})
	assert.Equal(t, docs.Docs{
		"x/p":         {Declaration: "package p", Comment: "Package p has it all.\n"},
		"x/p.F":       {Declaration: "func F(a, b int) int", Comment: "F adds.\n"},
		"x/p.T":       {Declaration: "type T struct {\n\t// N counts.\n\tN, M\tint\n\tOn\tbool\t// whether it is on\n\thidden\tint\n}", Comment: "T is a type.\n"},
		"x/p.T.N":     {Declaration: "N int", Comment: "N counts.\n"},
		"x/p.T.M":     {Declaration: "M int", Comment: "N counts.\n"},
		"x/p.T.On":    {Declaration: "On bool", Comment: "whether it is on\n"},
		"x/p.T.Do":    {Declaration: "func (t *T) Do(n int) error", Comment: "Do does.\n"},
		"x/p.Of.V":    {Declaration: "V X"},
		"x/p.Of":      {Declaration: "type Of[X any] struct{ V X }", Comment: "Of is generic.\n"},
		"x/p.Of.Get":  {Declaration: "func (o Of[X]) Get() X", Comment: "Get gets.\n"},
		"x/p.I":       {Declaration: "type I interface {\n\t// Close closes.\n\tClose(now bool) error\n}", Comment: "I is an interface.\n"},
		"x/p.I.Close": {Declaration: "Close(now bool) error", Comment: "Close closes.\n"},
		"x/p.A":       {Declaration: "const A = 1", Comment: "first\n"},
		"x/p.B":       {Declaration: "const B = 2", Comment: "The constants.\n"},
		"x/p.V":       {Declaration: "var V map[string]int", Comment: "V varies.\n"},
	}, d)
}
