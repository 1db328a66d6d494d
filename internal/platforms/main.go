// SPDX-License-Identifier: Apache-2.0

// Command platforms checks that this module compiles for every platform that Gorgonia compiles for.
//
// It checks the types of all packages from their sources, with the files, the constants and the
// sizes of each platform, and looks for functions that have neither a body nor assembly. A build
// would have to compile the standard library for each platform. It reads neither tests nor assembly.
// Arguments are the platforms to check, such as linux/386, instead of all that Go has.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

const gorgonia = "gorgonia.org/gorgonia"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "platforms:", err)
		os.Exit(1)
	}
}

func run(platforms []string, w io.Writer) error {
	if len(platforms) == 0 {
		list, err := goCommand(nil, "tool", "dist", "list")
		if err != nil {
			return err
		}
		platforms = strings.Fields(string(list))
	}
	c := checker{fset: token.NewFileSet(), files: map[string]*ast.File{}, checked: map[string]bool{}}
	results := make([]result, len(platforms))
	var all sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, platform := range platforms {
		all.Go(func() {
			free <- struct{}{}
			results[i] = c.check(platform)
			<-free
		})
	}
	all.Wait()
	var good, left []string
	failed := 0
	for i, platform := range platforms {
		switch r := results[i]; {
		case r.err != nil:
			return r.err
		case r.theirs != nil:
			left = append(left, fmt.Sprintf("%s: %v", platform, r.theirs))
		case r.ours != nil:
			failed++
			fmt.Fprintf(w, "%s: %v\n", platform, r.ours)
		default:
			good = append(good, platform)
		}
	}
	fmt.Fprintf(w, "%d platforms: %s\n", len(good), strings.Join(good, " "))
	fmt.Fprintf(w, "%d for which Gorgonia does not compile:\n", len(left))
	for _, l := range left {
		fmt.Fprintln(w, " ", l)
	}
	if failed > 0 || len(good) == 0 {
		return fmt.Errorf("want no platform that only Gorgonia compiles for, got %d of %d", failed, failed+len(good))
	}
	return nil
}

func goCommand(env []string, args ...string) ([]byte, error) {
	c := exec.Command("go", args...)
	c.Env = append(os.Environ(), env...)
	c.Stderr = os.Stderr
	return c.Output()
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Dir string
	GoFiles, SFiles []string
	Imports         []string
	ImportMap       map[string]string
	Standard        bool
	Module          *struct{ Main bool }
	Error           *struct{ Err string }
}

// checker keeps the syntax trees of files for all platforms. Those of the standard library have no
// function bodies.
type checker struct {
	fset    *token.FileSet
	mutex   sync.Mutex // of the maps
	files   map[string]*ast.File
	checked map[string]bool // files of other modules whose function bodies were checked, and the size of their int
}

// result is the first error in what Gorgonia is made of, the first in what we are, and what kept us
// from looking.
type result struct{ theirs, ours, err error }

func (c *checker) check(platform string) (r result) {
	system, arch, _ := strings.Cut(platform, "/")
	env := []string{"GOOS=" + system, "GOARCH=" + arch, "CGO_ENABLED=0"}
	out, err := goCommand(env, "list", "-e", "-deps", "-json=ImportPath,Dir,GoFiles,SFiles,Imports,ImportMap,Standard,Module,Error", gorgonia, "./...")
	if err != nil {
		return result{err: err}
	}
	all := map[string]*types.Package{"unsafe": types.Unsafe}
	failed := map[string]error{}
	// The list has each package behind those that it imports.
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return result{err: err}
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		err := c.compile(p, arch, all, failed)
		if err == nil {
			continue
		}
		failed[p.ImportPath] = err
		if r.ours == nil && p.Module != nil && p.Module.Main {
			r.ours = err
		}
	}
	r.theirs = failed[gorgonia]
	return r
}

// compile checks a package and adds it to all.
func (c *checker) compile(p pkg, arch string, all map[string]*types.Package, failed map[string]error) error {
	if p.Error != nil {
		return errors.New(p.Error.Err)
	}
	for _, path := range p.Imports {
		if err := failed[path]; err != nil {
			return err
		}
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := c.parse(filepath.Join(p.Dir, name), p.Standard)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if !p.Standard && len(p.SFiles) == 0 {
		for _, f := range files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body == nil && !linked(f, fn.Name.Name) {
					return fmt.Errorf("%v: %s has no body", c.fset.Position(fn.Pos()), fn.Name.Name)
				}
			}
		}
	}
	// The bodies of other modules' functions are checked once for each choice of files and each size of
	// int. We are checked for every platform.
	sizes := types.SizesFor("gc", arch)
	version := ""
	if p.Module == nil || !p.Module.Main {
		version = fmt.Sprint(p.Dir, p.GoFiles, sizes.Sizeof(types.Typ[types.Int]))
	}
	conf := types.Config{
		Importer: imports(func(path string) (*types.Package, error) {
			if to := p.ImportMap[path]; to != "" {
				path = to
			}
			if found := all[path]; found != nil {
				return found, nil
			}
			return nil, fmt.Errorf("no package %s", path)
		}),
		Sizes:            sizes,
		IgnoreFuncBodies: p.Standard || c.known(version),
	}
	checked, err := conf.Check(p.ImportPath, c.fset, files, nil)
	if err != nil {
		return err
	}
	if version != "" {
		c.mutex.Lock()
		c.checked[version] = true
		c.mutex.Unlock()
	}
	all[p.ImportPath] = checked
	return nil
}

func (c *checker) known(version string) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.checked[version]
}

// linked reports whether the file takes the body of a function from another package.
func linked(f *ast.File, name string) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname "+name+" ") {
				return true
			}
		}
	}
	return false
}

func (c *checker) parse(path string, standard bool) (*ast.File, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if f := c.files[path]; f != nil {
		return f, nil
	}
	mode := parser.SkipObjectResolution
	if !standard {
		mode |= parser.ParseComments
	}
	f, err := parser.ParseFile(c.fset, path, nil, mode)
	if err != nil {
		return nil, err
	}
	if standard {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				fn.Body = &ast.BlockStmt{} // not nil, which a generic function may not have
			}
		}
	}
	c.files[path] = f
	return f, nil
}

type imports func(path string) (*types.Package, error)

func (i imports) Import(path string) (*types.Package, error) { return i(path) }
