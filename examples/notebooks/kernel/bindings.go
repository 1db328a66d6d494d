// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/constant"
	"go/format"
	"go/types"
	"slices"
	"strings"
	"text/template"
)

// bindings is the Go source that makes one package known to the interpreter: a
// file of package bindings, which registers
//
//	Binds     functions, variables and constants by name
//	Types     types by name
//	Proxies   for each interface a struct of functions, which the interpreter
//	          fills in so that a type of a notebook implements the interface
//	Untypeds  untyped constants without loss of precision
//	Wrappers  methods promoted from embedded fields, which reflection cannot
//	          tell from others
//
// Generic functions and types, and constraints, which an interpreter without type parameters cannot use, are left out and listed in Skipped.
type bindings struct {
	Path, Name string
	Binds      []binding
	Types      []string
	Proxies    []proxy
	Untypeds   []binding
	Wrappers   []binding
	Skipped    []string

	imports map[string]string // path to the name it has in the file
}

// binding is a name and a Go expression.
type binding struct{ Name, Expr string }

// proxy is an interface and its methods. Where it has no method String, one is
// added that names the notebook's type.
type proxy struct {
	Name     string
	Methods  []method
	Stringer bool
}

// method holds the parts of a method's declaration as Go source.
type method struct{ Name, Params, Field, Results, Return, Args string }

// bind collects the exported names of a package. It fails if there are none that a notebook can use.
func bind(pkg *types.Package) (*bindings, error) {
	b := &bindings{Path: pkg.Path(), Name: pkg.Name(), imports: map[string]string{pkg.Path(): "pkg"}}
	scope := pkg.Scope()
	for _, name := range scope.Names() {
		obj := scope.Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Const:
			b.constant(obj)
		case *types.Var:
			b.Binds = append(b.Binds, binding{name, "r.ValueOf(&pkg." + name + ").Elem()"})
		case *types.Func:
			if obj.Signature().TypeParams().Len() > 0 {
				b.Skipped = append(b.Skipped, name)
				continue
			}
			b.Binds = append(b.Binds, binding{name, "r.ValueOf(pkg." + name + ")"})
		case *types.TypeName:
			b.typename(obj)
		}
	}
	if len(b.Binds)+len(b.Types) == 0 {
		return nil, fmt.Errorf("kernel: %s: want a package with names that a notebook can use, got none", b.Path)
	}
	return b, nil
}

// constant binds a constant. An untyped one has two forms: a value of a type that
// holds it, and its exact text in the notation of gomacro's package untyped.
func (b *bindings) constant(c *types.Const) {
	expr := "pkg." + c.Name()
	if basic, ok := c.Type().(*types.Basic); ok && basic.Info()&types.IsUntyped != 0 {
		if c.Val().Kind() == constant.Int {
			if _, exact := constant.Int64Val(c.Val()); exact {
				expr = "int64(" + expr + ")"
			} else if _, exact := constant.Uint64Val(c.Val()); exact {
				expr = "uint64(" + expr + ")"
			} else {
				expr = "float64(" + expr + ")"
			}
		}
		if text := untyped(basic.Kind(), c.Val()); text != "" {
			b.Untypeds = append(b.Untypeds, binding{c.Name(), fmt.Sprintf("%q", text)})
		}
	}
	b.Binds = append(b.Binds, binding{c.Name(), "r.ValueOf(" + expr + ")"})
}

// untyped is gomacro's notation of an untyped constant.
func untyped(kind types.BasicKind, v constant.Value) string {
	switch kind {
	case types.UntypedBool:
		return "bool:" + v.ExactString()
	case types.UntypedInt:
		return "int:" + v.ExactString()
	case types.UntypedRune:
		return "rune:" + v.ExactString()
	case types.UntypedFloat:
		return "float:" + v.ExactString()
	case types.UntypedComplex:
		return "complex:" + constant.Real(v).ExactString() + ":" + constant.Imag(v).ExactString()
	case types.UntypedString:
		return "string:" + constant.StringVal(v)
	}
	return ""
}

// typename binds a type, or an alias under its own name.
func (b *bindings) typename(t *types.TypeName) {
	if generic(t.Type()) {
		b.Skipped = append(b.Skipped, t.Name())
		return
	}
	b.Types = append(b.Types, t.Name())
	switch u := t.Type().Underlying().(type) {
	case *types.Interface:
		if u.NumMethods() > 0 && implementable(u) {
			b.Proxies = append(b.Proxies, b.proxy(t.Name(), u))
		}
	case *types.Struct:
		if names := promoted(t.Type()); len(names) > 0 {
			b.Wrappers = append(b.Wrappers, binding{t.Name(), fmt.Sprintf("{%s}", strings.Join(names, ", "))})
		}
	}
}

// generic tells whether a type can be named only with type arguments, or only as
// a constraint.
func generic(t types.Type) bool {
	if a, ok := t.(*types.Alias); ok && a.TypeParams().Len() > 0 {
		return true
	}
	if n, ok := types.Unalias(t).(*types.Named); ok && n.TypeParams().Len() > n.TypeArgs().Len() {
		return true
	}
	i, ok := t.Underlying().(*types.Interface)
	return ok && !i.IsMethodSet()
}

// implementable tells whether another package can write the methods of an interface.
func implementable(i *types.Interface) bool {
	for m := range i.Methods() {
		if !m.Exported() || !nameable(m.Signature().Params()) || !nameable(m.Signature().Results()) {
			return false
		}
	}
	return true
}

// nameable tells whether another package can write a type: none of the named
// types within it is unexported or internal.
func nameable(t types.Type) bool {
	switch t := t.(type) {
	case *types.Tuple:
		for v := range t.Variables() {
			if !nameable(v.Type()) {
				return false
			}
		}
	case *types.Signature:
		return nameable(t.Params()) && nameable(t.Results())
	case *types.Struct:
		for f := range t.Fields() {
			if !f.Exported() || !nameable(f.Type()) {
				return false
			}
		}
	case *types.Map:
		return nameable(t.Key()) && nameable(t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		return nameable(t.Elem())
	case interface { // named types and aliases
		Obj() *types.TypeName
		TypeArgs() *types.TypeList
	}:
		if pkg := t.Obj().Pkg(); pkg != nil && (!t.Obj().Exported() || slices.Contains(strings.Split(pkg.Path(), "/"), "internal")) {
			return false
		}
		for arg := range t.TypeArgs().Types() {
			if !nameable(arg) {
				return false
			}
		}
	}
	return true
}

// promoted lists the quoted names of the methods that a struct has from its
// embedded fields.
func promoted(t types.Type) []string {
	var names []string
	for s := range types.NewMethodSet(types.NewPointer(t)).Methods() {
		if len(s.Index()) > 1 && s.Obj().Exported() {
			names = append(names, fmt.Sprintf("%q", s.Obj().Name()))
		}
	}
	return names
}

// proxy writes down the methods of an interface. Each passes the notebook's
// object on to a function of the interpreter.
func (b *bindings) proxy(name string, i *types.Interface) proxy {
	p := proxy{Name: name}
	for m := range i.Methods() {
		p.Stringer = p.Stringer || m.Name() == "String"
		sig := m.Signature()
		var params, args, results []string
		field := []string{"any"}
		for k := range sig.Params().Len() {
			t := types.TypeString(sig.Params().At(k).Type(), b.qualify)
			arg := fmt.Sprintf("a%d", k)
			if sig.Variadic() && k == sig.Params().Len()-1 {
				t = "..." + strings.TrimPrefix(t, "[]")
				args = append(args, arg+"...")
			} else {
				args = append(args, arg)
			}
			params = append(params, arg+" "+t)
			field = append(field, t)
		}
		for r := range sig.Results().Variables() {
			results = append(results, types.TypeString(r.Type(), b.qualify))
		}
		w := method{
			Name:    m.Name(),
			Params:  strings.Join(params, ", "),
			Field:   strings.Join(field, ", "),
			Results: strings.Join(results, ", "),
			Args:    strings.Join(append([]string{"p.Object"}, args...), ", "),
		}
		if len(results) > 0 {
			w.Return = "return "
		}
		p.Methods = append(p.Methods, w)
	}
	return p
}

// qualify names a package in the file, and has it imported.
func (b *bindings) qualify(p *types.Package) string {
	if _, ok := b.imports[p.Path()]; !ok {
		b.imports[p.Path()] = fmt.Sprintf("p%d", len(b.imports))
	}
	return b.imports[p.Path()]
}

// identifier turns an import path into a Go identifier.
func identifier(path string) string {
	return "x_" + strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, path)
}

// ID begins the names that the file declares.
func (b *bindings) ID() string { return identifier(b.Path) }

// Imports are the packages that the file imports.
func (b *bindings) Imports() map[string]string { return b.imports }

// source is the file, formatted.
func (b *bindings) source() ([]byte, error) {
	var src bytes.Buffer
	if err := file.Execute(&src, b); err != nil {
		return nil, fmt.Errorf("kernel: bindings of %s: %w", b.Path, err)
	}
	formatted, err := format.Source(src.Bytes())
	if err != nil {
		return nil, fmt.Errorf("kernel: bindings of %s: %w", b.Path, err)
	}
	return formatted, nil
}

var file = template.Must(template.New("bindings").Parse(`// Code generated from {{.Path}}; DO NOT EDIT.

//go:build kernel

package bindings

import (
	r "reflect"

{{range $path, $name := .Imports}}	{{$name}} {{printf "%q" $path}}
{{end}})

func init() {
	Packages[{{printf "%q" .Path}}] = Package{
		Name: {{printf "%q" .Name}},
		Binds: map[string]r.Value{
{{range .Binds}}			{{printf "%q" .Name}}: {{.Expr}},
{{end}}		},
		Types: map[string]r.Type{
{{range .Types}}			{{printf "%q" .}}: r.TypeFor[pkg.{{.}}](),
{{end}}		},
		Proxies: map[string]r.Type{
{{$id := .ID}}{{range .Proxies}}			{{printf "%q" .Name}}: r.TypeFor[{{$id}}_{{.Name}}](),
{{end}}		},
		Untypeds: map[string]string{
{{range .Untypeds}}			{{printf "%q" .Name}}: {{.Expr}},
{{end}}		},
		Wrappers: map[string][]string{
{{range .Wrappers}}			{{printf "%q" .Name}}: {{.Expr}},
{{end}}		},
	}
}
{{range $p := .Proxies}}
type {{$id}}_{{.Name}} struct {
	Object any
{{range .Methods}}	{{.Name}}_ func({{.Field}}) ({{.Results}})
{{end}}}
{{range .Methods}}
func (p *{{$id}}_{{$p.Name}}) {{.Name}}({{.Params}}) ({{.Results}}) { {{.Return}}p.{{.Name}}_({{.Args}}) }
{{end}}{{if not .Stringer}}
func (p *{{$id}}_{{.Name}}) String() string { return describe(p.Object) }
{{end}}{{end}}`))
