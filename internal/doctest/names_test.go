// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What a page or a comment names, as `solvers.Momentum`, is exported by the package.
func TestNames(t *testing.T) {
	exported := map[string]map[string]bool{}
	var all []string
	for _, dir := range packageFolders(t) {
		if strings.HasPrefix(dir, "examples") || strings.HasPrefix(dir, "internal") || strings.HasPrefix(dir, "docs") {
			continue
		}
		name := filepath.Base(dir)
		exported[name] = exportedNames(t, filepath.Join(root, dir))
		all = append(all, name)
	}
	// An identifier of a package, also within longer code: `solvers.NewSGD(solvers.LearnRate(0.1))`.
	ref := regexp.MustCompile(`(?:^|[^\w./"-])(` + strings.Join(all, "|") + `)\.([A-Z]\w*)`)
	code := regexp.MustCompile("`[^`\n]+`")
	for _, page := range pages(t) {
		for _, span := range code.FindAllString(outsideCode(read(t, page)), -1) {
			for _, m := range ref.FindAllStringSubmatch(span, -1) {
				if !exported[m[1]][m[2]] {
					t.Errorf("%s: %s: package %s has no %s", page, span, m[1], m[2])
				}
			}
		}
	}
	comment := regexp.MustCompile(`(?m)^\s*//.*$`)
	for _, path := range files(t, ".go") {
		for _, line := range comment.FindAllString(read(t, path), -1) {
			for _, m := range ref.FindAllStringSubmatch(line, -1) {
				if !exported[m[1]][m[2]] {
					t.Errorf("%s: %s: package %s has no %s", relative(path), strings.TrimSpace(line), m[1], m[2])
				}
			}
		}
	}
}

// Comments in Go name pages that exist.
func TestComments(t *testing.T) {
	page := regexp.MustCompile(`\bdocs/[\w-]+\.md\b`)
	for _, path := range files(t, ".go") {
		if strings.Contains(path, "doctest") {
			continue
		}
		for _, p := range page.FindAllString(read(t, path), -1) {
			if _, err := os.Stat(filepath.Join(root, p)); err != nil {
				t.Errorf("%s: no such page: %s", relative(path), p)
			}
		}
	}
}

// exportedNames are what a package declares at its top level.
func exportedNames(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = names[d.Name.Name] || d.Recv == nil
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
	}
	return names
}

// Pages that claim to have all of a package do.
func TestPagesAreComplete(t *testing.T) {
	for page, folder := range map[string]string{"docs/nodes.md": "nodes", "docs/solvers.md": "solvers"} {
		text := read(t, filepath.Join(root, page))
		fset := token.NewFileSet()
		found, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("want files in %s: %v", folder, err)
		}
		for _, path := range found {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && fn.Recv == nil && fn.Name.IsExported() && !regexp.MustCompile(`\b`+fn.Name.Name+`\b`).MatchString(text) {
					t.Errorf("%s: want %s in it", page, fn.Name.Name)
				}
			}
		}
	}
}
