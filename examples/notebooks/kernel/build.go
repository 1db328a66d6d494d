// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/tools/go/packages"

	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
)

const module = "github.com/kernelfold/kernelfold"

// build makes the kernel: package serve with a patched gomacro, and bindings of the packages of bound.go,
// written to the file out. The module in the folder root determines the versions. The work is done in a
// temporary folder:
//
//  1. the source of gomacro is copied and patched, in the user's cache;
//  2. a go.mod replaces gomacro by the copy, and is root's otherwise;
//  3. the bindings of each package, and the documentation of all, are made;
//  4. the go command builds it, with the bindings laid over package bindings.
//
// Names that are left out of the bindings are written to log, a line for each package, and the current activity to progress.
func build(root, out string, progress, log io.Writer) (err error) {
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "kernelfold-kernel-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	fmt.Fprintln(progress, "Fetching the modules and patching the interpreter ...")
	mod, err := prepare(root, work)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "Compiling the packages that notebooks can import, and reading their documentation ...")
	paths, err := bound(filepath.Join(root, "bound.go"))
	if err != nil {
		return err
	}
	files, err := writeBindings(root, mod, paths, work, log)
	if err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, f := range files {
		overlay.Replace[filepath.Join(root, "bindings", filepath.Base(f))] = f
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	file := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(progress, "Compiling the interpreter and linking the kernel ...")
	args := append([]string{"build", "-overlay=" + file, "-ldflags=-s -w", "-o", out}, flags(mod)...)
	_, err = run(root, "go", append(args, "./serve")...)
	return err
}

// flags returns the flags with which the go command compiles packages that need the patched interpreter.
func flags(mod string) []string { return []string{"-modfile=" + mod, "-tags=kernel"} }

// prepare writes a go.mod to the folder work that replaces the interpreter by a patched copy. It returns its path. The copy is in the
// user's cache: the go command compiles it again only if its path or its patches change.
func prepare(root, work string) (mod string, err error) {
	text, err := run(root, "go", "list", "-m", "-f", "{{.Version}}", gomacro)
	if err != nil {
		return "", err
	}
	version := string(bytes.TrimSpace(text))
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = work
	}
	dir := filepath.Join(cache, "kernelfold", "gomacro-"+digest(version))
	if err := patched(root, version, dir); err != nil {
		return "", err
	}
	return writeModule(root, work, version, dir)
}

// digest identifies a version of the interpreter and its patches.
func digest(version string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q", version, patches, additions)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// patched makes the patched copy of the interpreter in the folder dir, unless it exists.
func patched(root, version, dir string) (err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	// It is made under another name and renamed, so that an existing copy is complete.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "fresh-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	copied := filepath.Join(fresh, "copy")
	if err := copyModule(root, gomacro, version, copied); err != nil {
		return err
	}
	for _, p := range patches {
		if err := p.apply(copied); err != nil {
			return err
		}
	}
	for _, a := range additions {
		if err := os.WriteFile(filepath.Join(copied, a.file), []byte(a.text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Rename(copied, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // and no other process was quicker
			return err
		}
	}
	return nil
}

// bound lists the packages that the file imports.
func bound(path string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	var paths []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("kernel: %s: import %s: %w", path, i.Path.Value, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// copyModule copies the source of a module to dir.
func copyModule(root, module, version, dir string) error {
	text, err := run(root, "go", "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return err
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("kernel: go mod download of %s: %w", module, err)
	}
	if err := os.CopyFS(dir, os.DirFS(m.Dir)); err != nil {
		return fmt.Errorf("kernel: copy of %s: %w", module, err)
	}
	// The module cache is read-only.
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// writeModule writes a go.mod to the folder work, and its go.sum: root's, with gomacro replaced by the copy in the folder dir, and
// relative replacements made absolute. It returns the path of the go.mod. Only the version that was copied is replaced, so that the
// graph of modules is root's, for which go.sum has the sums.
func writeModule(root, work, version, dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	f, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return "", err
	}
	for _, r := range f.Replace {
		if modfile.IsDirectoryPath(r.New.Path) && !filepath.IsAbs(r.New.Path) {
			if err := f.AddReplace(r.Old.Path, r.Old.Version, filepath.Join(root, r.New.Path), ""); err != nil {
				return "", err
			}
		}
	}
	if err := f.AddReplace(gomacro, version, dir, ""); err != nil {
		return "", err
	}
	if text, err = f.Format(); err != nil {
		return "", err
	}
	path := filepath.Join(work, "go.mod")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(filepath.Join(work, "go.sum"), sums, 0o644)
}

// writeBindings writes a file for each package, and one of documentation, to the folder dir. It returns their paths.
func writeBindings(root, mod string, paths []string, dir string, log io.Writer) (files []string, err error) {
	load := func(mode packages.LoadMode, paths ...string) ([]*packages.Package, error) {
		pkgs, err := packages.Load(&packages.Config{Mode: mode, Dir: root, BuildFlags: flags(mod)}, paths...)
		if err != nil {
			return nil, fmt.Errorf("kernel: %w", err)
		}
		for _, p := range pkgs {
			for _, e := range p.Errors {
				err = errors.Join(err, fmt.Errorf("kernel: %s: %w", p.PkgPath, e))
			}
		}
		return pkgs, err
	}
	pkgs, err := load(packages.NeedName|packages.NeedTypes|packages.NeedImports|packages.NeedDeps, paths...)
	if err != nil {
		return nil, err
	}
	write := func(name string, text []byte) error {
		files = append(files, filepath.Join(dir, name))
		return os.WriteFile(files[len(files)-1], text, 0o644)
	}
	documented := map[string]bool{"builtin": true}
	for _, p := range pkgs {
		b, err := bind(p.Types)
		if err != nil {
			return nil, err
		}
		if len(b.Skipped) > 0 {
			fmt.Fprintf(log, "%s: generic, and so left out: %v\n", b.Path, b.Skipped)
		}
		src, err := b.source()
		if err != nil {
			return nil, err
		}
		if err := write(b.ID()+".go", src); err != nil {
			return nil, err
		}
		documented[b.Path] = true
	}
	// An alias has its fields and methods where the type is declared.
	packages.Visit(pkgs, nil, func(d *packages.Package) {
		if strings.HasPrefix(d.PkgPath, module+"/") {
			documented[d.PkgPath] = true
		}
	})
	source, err := run(root, "go", append(append([]string{"list"}, flags(mod)...), "-f", "{{.Dir}}", gomacro+"/imports")...)
	if err != nil {
		return nil, err
	}
	standard, err := importable(string(bytes.TrimSpace(source)))
	if err != nil {
		return nil, err
	}
	for _, path := range standard {
		documented[path] = true
	}
	if pkgs, err = load(packages.NeedName|packages.NeedFiles|packages.NeedCompiledGoFiles|packages.NeedSyntax, slices.Sorted(maps.Keys(documented))...); err != nil {
		return nil, err
	}
	d := docs.Docs{}
	for _, p := range pkgs {
		document(d, p.PkgPath, p.Fset, p.Syntax)
	}
	var text bytes.Buffer
	if err := d.Write(&text); err != nil {
		return nil, err
	}
	return files, write("docs.gob.gz", text.Bytes())
}

// imported is how a file of gomacro registers a package.
var imported = regexp.MustCompile(`(?m)^\s*Packages\["([^"]+)"\] = `)

// importable lists the packages of the standard library that the interpreter knows by the files in a folder.
func importable(dir string) (paths []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for _, m := range imported.FindAllSubmatch(text, -1) {
			if path := string(m[1]); !strings.Contains(path, ".") {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// run runs a command in a folder and returns its output. The error contains the standard error of the command.
func run(dir, name string, args ...string) ([]byte, error) {
	var out, msg bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("kernel: %v: %w\n%s%s", cmd, err, msg.Bytes(), out.Bytes())
	}
	return out.Bytes(), nil
}

// prepareIn is prepare for folders that need not be absolute or exist.
func prepareIn(root, work string) (mod string, err error) {
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	if work, err = filepath.Abs(work); err != nil {
		return "", err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	return prepare(root, work)
}
