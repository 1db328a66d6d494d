// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// packages are what a block may use without importing it.
var packages = []string{
	"context", "errors", "fmt", "log", "math", "math/rand/v2", "net", "os", "os/signal", "slices", "testing",
	"gorgonia.org/gorgonia",
	"gorgonia.org/tensor",
	"github.com/kernelfold/kernelfold/examples/notebooks/figures",
	"github.com/kernelfold/kernelfold/manifolds",
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest",
	"github.com/kernelfold/kernelfold/models",
	"github.com/kernelfold/kernelfold/models/checkpoint",
	"github.com/kernelfold/kernelfold/models/onnx",
	"github.com/kernelfold/kernelfold/models/images",
	"github.com/kernelfold/kernelfold/models/safetensors",
	"github.com/kernelfold/kernelfold/models/serve",
	"github.com/kernelfold/kernelfold/models/train",
	"github.com/kernelfold/kernelfold/models/train/progress",
	"github.com/kernelfold/kernelfold/nodes",
	"github.com/kernelfold/kernelfold/solvers",
	"github.com/kernelfold/kernelfold/solvers/distributed",
}

// preamble declares what a block may take as given.
const preamble = `
var (
	g      *gorgonia.ExprGraph
	model  gorgonia.Nodes
	v      *gorgonia.Node
	solver *solvers.Solver
)

type Mine struct{ manifolds.Sphere }
`

// Every block of Go is a file, a list of declarations, or the body of a
// function, and is well typed. Unused variables are no error in a page.
func TestBlocksCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the packages that the blocks import")
	}
	fset := token.NewFileSet()
	imp := exported(t, fset)
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.from != "" || b.grows {
				continue // its file is compiled with its package; by TestStart
			}
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(page), b.line), func(t *testing.T) {
				f, err := parse(fset, page, b)
				if err != nil {
					t.Fatal(err)
				}
				var hard []error
				conf := types.Config{Importer: imp, Error: func(err error) {
					var e types.Error
					if !errors.As(err, &e) || !e.Soft {
						hard = append(hard, err)
					}
				}}
				_, _ = conf.Check("page", fset, []*ast.File{f}, nil)
				for _, err := range hard {
					t.Error(err)
				}
			})
		}
	}
}

// Blocks that say which file they are from are a part of it, to the letter but for
// tabs in front, so that what a page shows is what a test runs:
//
//	<!-- from solvers/adagrad_test.go -->
func TestBlocksAreTheirFiles(t *testing.T) {
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.from == "" {
				continue
			}
			file := read(t, filepath.Join(root, b.from))
			inside := regexp.MustCompile("(?m)^(.)").ReplaceAllString(b.text, "\t$1") // a part of a function
			deeper := regexp.MustCompile("(?m)^(.)").ReplaceAllString(inside, "\t$1")
			if !strings.Contains(file, b.text) && !strings.Contains(file, inside) && !strings.Contains(file, deeper) {
				t.Errorf("%s:%d: want a part of %s", page, b.line, b.from)
			}
		}
	}
}

// block is the text between two fences, which starts after line.
type block struct {
	line  int
	from  string // the file that it is a part of, or nothing
	grows bool   // a part of the program that TestStart puts together
	text  string
}

func blocks(t *testing.T, page string) []block {
	var all []block
	var b *block
	from, grows := "", false
	for i, l := range strings.SplitAfter(read(t, page), "\n") {
		switch fence := strings.TrimSpace(l); {
		case b == nil && fence == "```go":
			b = &block{line: i + 1, from: from, grows: grows}
			from, grows = "", false
		case b == nil && strings.HasPrefix(fence, "<!-- from "):
			from = strings.Fields(fence)[2]
		case b == nil && strings.HasPrefix(fence, "<!-- main.go"):
			grows = true
		case b != nil && fence == "```":
			all = append(all, *b)
			b = nil
		case b != nil:
			b.text += l
		}
	}
	if b != nil {
		t.Errorf("%s:%d: the block does not end", page, b.line)
	}
	return all
}

// parse makes a file of a block and gives it the lines of the page.
func parse(fset *token.FileSet, page string, b block) (*ast.File, error) {
	at := fmt.Sprintf("\n//line %s:%d\n", page, b.line+1)
	head := "package page\n\nimport (\n"
	for _, p := range packages {
		head += fmt.Sprintf("\t%q\n", p)
	}
	head += ")\n" + preamble
	if strings.HasPrefix(strings.TrimSpace(b.text), "package ") {
		return parser.ParseFile(fset, page, at+b.text, parser.SkipObjectResolution)
	}
	if f, err := parser.ParseFile(fset, page, head+at+b.text, parser.SkipObjectResolution); err == nil {
		return f, nil
	}
	return parser.ParseFile(fset, page, head+"\nfunc block() error {"+at+b.text+"\nreturn nil\n}\n", parser.SkipObjectResolution)
}

// exported returns an importer of what the go command builds.
func exported(t *testing.T, fset *token.FileSet) types.Importer {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}, packages...)...)
	cmd.Dir = root
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	files := map[string]string{}
	for _, l := range strings.Split(string(out), "\n") {
		path, file, _ := strings.Cut(l, "\t")
		files[path] = file
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, fmt.Errorf("doctest: %s is not among the packages that a page may import", path)
		}
		return os.Open(files[path])
	})
}
