// SPDX-License-Identifier: Apache-2.0

//go:build kernel

// Package bindings makes packages known to the interpreter. The builder of the kernel adds a file for each package of bound.go, and
// the documentation of all of them, while it compiles; this file has what they share.
package bindings

import (
	_ "embed"
	"fmt"
	r "reflect"

	"github.com/cosmos72/gomacro/imports"
	"github.com/cosmos72/gomacro/xreflect"
)

// Package is what the interpreter knows about a package.
type Package = imports.Package

// Packages are all packages that it knows, by path.
var Packages = imports.Packages

// Docs is the documentation of the packages, for docs.Read.
//
//go:embed docs.gob.gz
var Docs []byte

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
