// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"go/ast"
	"go/printer"
	"go/token"
	"strings"

	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
)

// document adds the exported declarations of a package and their comments to d. Those of package builtin have names that are not
// exported.
func document(d docs.Docs, path string, fset *token.FileSet, files []*ast.File) {
	show := func(node any) string {
		var b bytes.Buffer
		if err := printer.Fprint(&b, fset, node); err != nil {
			return ""
		}
		return b.String()
	}
	add := func(name, declaration string, comments ...*ast.CommentGroup) {
		if last := name[strings.LastIndexByte(name, '.')+1:]; !ast.IsExported(last) && path != "builtin" {
			return
		}
		doc := docs.Doc{Declaration: declaration}
		for _, c := range comments {
			if doc.Comment == "" {
				doc.Comment = c.Text()
			}
		}
		d[path+"."+name] = doc
	}
	for _, f := range files {
		if f.Doc != nil {
			d[path] = docs.Doc{Declaration: "package " + f.Name.Name, Comment: f.Doc.Text()}
		}
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				name := decl.Name.Name
				if decl.Recv != nil {
					name = receiver(decl.Recv) + "." + name
				}
				add(name, show(&ast.FuncDecl{Recv: decl.Recv, Name: decl.Name, Type: decl.Type}), decl.Doc)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						bare := *spec
						bare.Doc, bare.Comment = nil, nil
						add(spec.Name.Name, "type "+show(&bare), spec.Doc, decl.Doc)
						for name, field := range fields(spec.Type) {
							text := name + " " + show(field.Type)
							if _, ok := field.Type.(*ast.FuncType); ok && isInterface(spec.Type) {
								text = strings.Replace(text, " func", "", 1)
							}
							add(spec.Name.Name+"."+name, text, field.Doc, field.Comment)
						}
					case *ast.ValueSpec:
						for i, name := range spec.Names {
							text := decl.Tok.String() + " " + name.Name
							if spec.Type != nil {
								text += " " + show(spec.Type)
							}
							if len(spec.Values) == len(spec.Names) {
								if value := show(spec.Values[i]); len(value) < 80 && !strings.Contains(value, "\n") {
									text += " = " + value
								}
							}
							add(name.Name, text, spec.Doc, spec.Comment, decl.Doc)
						}
					}
				}
			}
		}
	}
}

// receiver is the name of the type that a method belongs to.
func receiver(list *ast.FieldList) string {
	t := list.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func isInterface(t ast.Expr) bool {
	_, ok := t.(*ast.InterfaceType)
	return ok
}

// fields are those of a struct, or the methods of an interface, by name.
func fields(t ast.Expr) map[string]*ast.Field {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return nil
	}
	byName := map[string]*ast.Field{}
	for _, f := range list.List {
		for _, n := range f.Names {
			byName[n.Name] = f
		}
	}
	return byName
}
