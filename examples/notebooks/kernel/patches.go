// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patch replaces a text that occurs exactly once in a file of gomacro's copy.
type patch struct{ file, old, new string }

const gomacro = "github.com/cosmos72/gomacro"

// patches make gomacro work with the current Go, and in a notebook.
var patches = []patch{
	// Type aliases are types of their own since Go 1.22.
	{"go/types/converter.go", "	case *types.Array:\n", "	case *types.Alias:\n		t = c.typ(types.Unalias(g))\n	case *types.Array:\n"},

	// What the interpreter cannot import is left out; the notebook that uses it
	// gets an error, and the others are not to be warned.
	{"go/types/converter.go", `fmt.Printf("// warning: skipping import of %v:\t%v\n", g, e)`, "return"},

	// While it reads a type that refers to itself, such as gorgonia.Node, the interpreter marks what is made of it as approximate,
	// and takes it for an empty interface ever after: a []*gorgonia.Node could not be passed to gorgonia.Grad.
	{"xreflect/composite.go", "	if xt.option != OptDefault || rtype == rTypeOfForward {", "	if rtype == rTypeOfForward || xt.option != OptDefault && !exact(rtype) {"},
	{"xreflect/type.go", "	if t.option != OptDefault {\n		t.option = OptRecursive\n", "	if t.option != OptDefault && !exact(t.rtype) {\n		t.option = OptRecursive\n"},

	// The proxies of the bindings have a method String beside those of the interface.
	{"imports/a_package.go", "	if typMethodN != proxyMethodN {", "	if typMethodN > proxyMethodN {"},
	{"imports/a_package.go", "	if proxy.Elem().NumField() != proxyMethodN+1 {", "	if proxy.Elem().NumField() != typMethodN+1 {"},
	{"imports/a_package.go", "	proxyMethod := proxy.Method(i)\n", "	proxyMethod, _ := proxy.MethodByName(typMethod.Name)\n"},

	// A package that is not linked in would be compiled to a plugin, in GOPATH, which the kernel then cannot load.
	{"base/genimport/importer.go", "	if len(pathMap) != 0 {\n		imported", "	if len(pathMap) != 0 {\n" +
		"		return nil, imp.output.MakeRuntimeError(\"this kernel does not have the packages %v: add them to kernel/bound.go beside the notebooks, \"+\n" +
		"			\"run install.sh again, and restart the kernel\", pathKeys(pathMap))\n		imported"},

	// From one interface to another, as from io.ReadWriter to io.Reader: a type of the notebook stays behind its proxy, since without
	// it has no methods.
	{"fast/convert.go", "			obj, _ = g.extractFromProxy(obj)\n",
		"			if inner, _ := g.extractFromProxy(obj); !inner.IsValid() || inner.Type().ConvertibleTo(rtout) {\n" +
			"				obj = inner\n" +
			"			}\n"},

	// A recursion without end is a panic of its cell. As Go does it, it would end the kernel.
	{"fast/compile.go", "		env.CallDepth = caller.CallDepth + 1\n", "		if env.CallDepth = caller.CallDepth + 1; env.CallDepth > 50_000 {\n			panic(\"stack overflow\")\n		}\n"},

	// The only argument of a call may be a call that returns several values. An element of a map, a type assertion or what a channel
	// receives is one value there, although it can be two in an assignment.
	{"fast/call.go", "		arg := c.Expr(node.Args[0], nil)\n", "		var arg *Expr\n" +
		"		if _, ok := ast.Unparen(node.Args[0]).(*ast.CallExpr); ok {\n" +
		"			arg = c.Expr(node.Args[0], nil)\n" +
		"		} else {\n" +
		"			arg = c.Expr1(node.Args[0], nil)\n" +
		"		}\n"},

	// An interrupt is no panic that a cell may recover from.
	{"fast/builtin.go", "	rec := run.Panic\n	if rec == nil {", "	rec := run.Panic\n	if rec == base.SigInterrupt {\n		return nilInterface\n	}\n	if rec == nil {"},

	// A panic of a goroutine of the notebook would end the kernel too, and with it all variables.
	{"fast/statement.go", "			defer tg2.glsDel()\n", "			defer tg2.glsDel()\n			defer reportPanic()\n"},
}

// addition is a file that gomacro's copy has beside its own.
type addition struct{ file, text string }

var additions = []addition{
	{"fast/reportpanic.go", `package fast

import (
	"fmt"
	"os"
)

// reportPanic says what a goroutine panicked with.
func reportPanic() {
	if r := recover(); r != nil {
		fmt.Fprintf(os.Stderr, "panic of a goroutine: %v\n", r)
	}
}
`},
	{"xreflect/exact.go", `package xreflect

import r "reflect"

// exact tells whether a type is made of compiled types alone, and so is what it
// says, also if it was met while another type was incomplete.
func exact(t r.Type) bool {
	if t == rTypeOfForward {
		return false
	}
	if t.Name() != "" {
		return true
	}
	switch t.Kind() {
	case r.Array, r.Chan, r.Ptr, r.Slice:
		return exact(t.Elem())
	case r.Map:
		return exact(t.Key()) && exact(t.Elem())
	case r.Func:
		for i := 0; i < t.NumIn(); i++ {
			if !exact(t.In(i)) {
				return false
			}
		}
		for i := 0; i < t.NumOut(); i++ {
			if !exact(t.Out(i)) {
				return false
			}
		}
		return true
	}
	return false
}
`},
}

// apply changes the copy of gomacro in the folder root.
func (p patch) apply(root string) error {
	path := filepath.Join(root, filepath.FromSlash(p.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("kernel: patch of %s: %w", gomacro, err)
	}
	if n := strings.Count(string(text), p.old); n != 1 {
		return fmt.Errorf("kernel: patch of %s, %s: want the text %q once, got it %d times", gomacro, p.file, p.old, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), p.old, p.new, 1)), 0o644)
}
