// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patch replaces a text that occurs exactly once in a file of a module's copy.
type patch struct {
	module, file string
	old, new     string
}

const (
	gophernotes = "github.com/gopherdata/gophernotes"
	gomacro     = "github.com/cosmos72/gomacro"
)

// patches make gophernotes v0.7.5 and gomacro work with the current Go.
var patches = []patch{
	// The proxy has to have the method that the interface has.
	{gophernotes, "x_package.go", "	JSON_  func(interface{}) string", "	JSON_  func(interface{}) map[string]interface{}"},
	{gophernotes, "x_package.go", "func (P *proxy_JSONer) JSON() string {", "func (P *proxy_JSONer) JSON() map[string]interface{} {"},

	// Type aliases are types of their own since Go 1.22.
	{gomacro, "go/types/converter.go", "	case *types.Array:\n", "	case *types.Alias:\n		t = c.typ(types.Unalias(g))\n	case *types.Array:\n"},

	// What the interpreter cannot import is left out; the notebook that uses it
	// gets an error, and the others are not to be warned.
	{gomacro, "go/types/converter.go", `fmt.Printf("// warning: skipping import of %v:\t%v\n", g, e)`, "return"},

	// While it reads a type that refers to itself, such as gorgonia.Node, the interpreter marks what is made of it as approximate,
	// and takes it for an empty interface ever after: a []*gorgonia.Node could not be passed to gorgonia.Grad.
	{gomacro, "xreflect/composite.go", "	if xt.option != OptDefault || rtype == rTypeOfForward {", "	if rtype == rTypeOfForward || xt.option != OptDefault && !exact(rtype) {"},
	{gomacro, "xreflect/type.go", "	if t.option != OptDefault {\n		t.option = OptRecursive\n", "	if t.option != OptDefault && !exact(t.rtype) {\n		t.option = OptRecursive\n"},

	// The proxies of the bindings have a method String beside those of the interface.
	{gomacro, "imports/a_package.go", "	if typMethodN != proxyMethodN {", "	if typMethodN > proxyMethodN {"},
	{gomacro, "imports/a_package.go", "	if proxy.Elem().NumField() != proxyMethodN+1 {", "	if proxy.Elem().NumField() != typMethodN+1 {"},
	{gomacro, "imports/a_package.go", "	proxyMethod := proxy.Method(i)\n", "	proxyMethod, _ := proxy.MethodByName(typMethod.Name)\n"},

	// A package that is not linked in would be compiled to a plugin, in GOPATH, which the kernel then cannot load.
	{gomacro, "base/genimport/importer.go", "	if len(pathMap) != 0 {\n		imported", "	if len(pathMap) != 0 {\n" +
		"		return nil, imp.output.MakeRuntimeError(\"this kernel does not have the packages %v: add them to kernel/bound.go beside the notebooks, \"+\n" +
		"			\"run install.sh again, and restart the kernel\", pathKeys(pathMap))\n		imported"},

	// From one interface to another, as from io.ReadWriter to io.Reader: a type of the notebook stays behind its proxy, since without
	// it has no methods.
	{gomacro, "fast/convert.go", "			obj, _ = g.extractFromProxy(obj)\n",
		"			if inner, _ := g.extractFromProxy(obj); !inner.IsValid() || inner.Type().ConvertibleTo(rtout) {\n" +
			"				obj = inner\n" +
			"			}\n"},

	// A picture comes with the text of its String method, for readers without pictures.
	{gophernotes, "display.go", `	if data.Data[MIMETypeText] == "" {`, `	if text, _ := data.Data[MIMETypeText].(string); text == "" {`},

	// fmt.Print and its like return the number of bytes and a nil error. Nobody
	// wants to see that below what was printed.
	{gophernotes, "kernel.go", "	if srcEndsWithExpr {\n", "	if srcEndsWithExpr && !printed(results, types) {\n"},
}

// addition is a file that a module's copy has beside its own.
type addition struct{ module, file, text string }

var additions = []addition{
	{gomacro, "xreflect/exact.go", `package xreflect

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
	{gophernotes, "printed.go", `package main

import (
	"reflect"

	"github.com/cosmos72/gomacro/xreflect"
)

// printed tells whether results are an int and a nil error, as of fmt.Println.
func printed(results []xreflect.Value, types []xreflect.Type) bool {
	return len(types) == 2 && types[0].Kind() == reflect.Int &&
		types[1].ReflectType() == reflect.TypeOf((*error)(nil)).Elem() && results[1].IsNil()
}
`},
	{gophernotes, "imports/describe.go", `package imports

import (
	"fmt"
	r "reflect"

	"github.com/cosmos72/gomacro/xreflect"
)

// describe is the String method of proxies: that of the notebook's type, or else
// the name of the type.
func describe(object interface{}) string {
	h, ok := object.(xreflect.InterfaceHeader)
	if !ok {
		return fmt.Sprint(object)
	}
	t := h.Type()
	if t.Kind() == r.Ptr {
		t = t.Elem()
	}
	if m, n := t.MethodByName("String", ""); n == 1 && m.Funs != nil && len(m.FieldIndex) == 0 {
		f, receiver := (*m.Funs)[m.Index], h.Value().ReflectValue()
		if ft := f.Type(); ft.NumIn() == 1 && ft.In(0) == receiver.Type() && ft.NumOut() == 1 && ft.Out(0).Kind() == r.String {
			return f.Call([]r.Value{receiver})[0].String()
		}
	}
	return t.Name()
}
`},
}

// apply changes the copy of a module in the folder root.
func (p patch) apply(root string) error {
	path := filepath.Join(root, filepath.FromSlash(p.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("kernel: patch of %s: %w", p.module, err)
	}
	if n := strings.Count(string(text), p.old); n != 1 {
		return fmt.Errorf("kernel: patch of %s, %s: want the text %q once, got it %d times", p.module, p.file, p.old, n)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), p.old, p.new, 1)), 0o644)
}
