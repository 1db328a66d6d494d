// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	goCommand = regexp.MustCompile("\\bgo (run|test|build|vet|doc) ([^`\n]*)")
	makeOf    = regexp.MustCompile("(?m)(?:^    |`)make ([a-z-]+)")
	comment   = regexp.MustCompile(`\s#.*`)
	testName  = regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z]\\w*)`")
	pathName  = regexp.MustCompile("`((?:docs|examples|internal|manifolds|models|nodes|solvers)/[\\w./-]+)`")
)

// Commands in pages and in the comments of programs name packages, flags, tests
// and targets that exist. So do the paths and the tests that a text names.
func TestCommands(t *testing.T) {
	tests := testNames(t)
	makefile := read(t, filepath.Join(root, "Makefile"))
	for _, page := range append(pages(t), files(t, "main.go")...) {
		text := read(t, page)
		for _, m := range goCommand.FindAllStringSubmatch(text, -1) {
			checkGo(t, page, m[1], comment.ReplaceAllString(m[2], ""), tests)
		}
		if filepath.Ext(page) != ".md" {
			continue
		}
		for _, m := range makeOf.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: make %s: no such target", page, m[1])
			}
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if tests[m[1]] == "" {
				t.Errorf("%s: no test is called %s", page, m[1])
			}
		}
		for _, m := range pathName.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: no such path: %s", page, m[1])
			}
		}
	}
}

// checkGo checks a go command by its arguments.
func checkGo(t *testing.T, page, verb, args string, tests map[string]string) {
	var known map[string]bool // flags of the program that is run
	var wanted []string       // tests and benchmarks
	folder := ""
	words := strings.Fields(args)
	for i, w := range words {
		w = strings.TrimRight(strings.Trim(w, `'",;)`), ".")
		switch {
		case known != nil: // arguments of the program
			if name, ok := strings.CutPrefix(w, "-"); ok {
				name, _, _ = strings.Cut(name, "=")
				if name = strings.TrimPrefix(name, "-"); name != "" && !known[name] && name != "h" {
					t.Errorf("%s: go run %s: no flag -%s", page, args, name)
				}
			}
		case strings.HasPrefix(w, "./"):
			folder = strings.TrimSuffix(strings.TrimSuffix(w, "..."), "/")
			if _, err := os.Stat(filepath.Join(root, folder)); err != nil {
				t.Errorf("%s: go %s %s: no folder %s", page, verb, args, folder)
			} else if verb == "run" {
				known = flagsOf(t, filepath.Join(root, folder))
			}
		case i > 0 && (words[i-1] == "-run" || words[i-1] == "-bench"):
			wanted = append(wanted, w)
		}
	}
	for _, name := range wanted {
		if name == "^$" || name == "." {
			continue
		}
		found := false
		for test, in := range tests {
			hit, err := regexp.MatchString(name, test)
			found = found || err == nil && hit && strings.HasPrefix(in, relative(filepath.Join(root, folder)))
		}
		if !found {
			t.Errorf("%s: go %s %s: %s matches no test", page, verb, args, name)
		}
	}
}

// flagsOf returns the names that the package in a folder defines flags by.
func flagsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(found) == 0 {
		t.Fatalf("want a program in %s: %v", folder, err)
	}
	method := regexp.MustCompile(`^(Bool|Int|Uint|Int64|Uint64|String|Float64|Duration|Func|BoolFunc|Text)?(Var)?$`)
	for _, path := range found {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !method.MatchString(sel.Sel.Name) {
				return true
			}
			for _, arg := range call.Args[:min(2, len(call.Args))] {
				if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if name, err := strconv.Unquote(lit.Value); err == nil {
						known[name] = true
					}
					break
				}
			}
			return true
		})
	}
	return known
}

// testNames are the tests, benchmarks and fuzz targets, with the file they are in.
func testNames(t *testing.T) map[string]string {
	all := map[string]string{}
	decl := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`)
	for _, path := range files(t, "_test.go") {
		for _, m := range decl.FindAllStringSubmatch(read(t, path), -1) {
			all[m[1]] = relative(path)
		}
	}
	return all
}
