// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/modfile"
	"golang.org/x/tools/go/packages"
)

// build makes the kernel: a gophernotes with the packages of bound.go linked in,
// written to the file out. The module in the folder root says which versions.
// The work is done in a temporary folder:
//
//  1. the sources of gophernotes and gomacro are copied and patched;
//  2. a go.mod beside them replaces both by the copies, and is root's otherwise;
//  3. bindings of each package go to the package imports of gophernotes;
//  4. the go command builds it.
//
// What is left out of the bindings goes to log, a line a package.
func build(root, out string, log io.Writer) (err error) {
	root, err = filepath.Abs(root)
	if err != nil {
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

	paths, err := bound(filepath.Join(root, "bound.go"))
	if err != nil {
		return err
	}
	copies := map[string]string{
		gophernotes: filepath.Join(work, "gophernotes"),
		gomacro:     filepath.Join(work, "gomacro"),
	}
	versions := map[string]string{}
	for module, dir := range copies {
		if versions[module], err = copyModule(root, module, dir); err != nil {
			return err
		}
	}
	for _, p := range patches {
		if err := p.apply(copies[p.module]); err != nil {
			return err
		}
	}
	for _, a := range additions {
		if err := os.WriteFile(filepath.Join(copies[a.module], a.file), []byte(a.text), 0o644); err != nil {
			return err
		}
	}
	mod, err := writeModule(root, work, copies, versions)
	if err != nil {
		return err
	}
	if err := writeBindings(root, mod, paths, filepath.Join(copies[gophernotes], "imports"), log); err != nil {
		return err
	}
	_, err = run(root, "go", "build", "-modfile="+mod, "-trimpath", "-ldflags=-s -w", "-o", out, gophernotes)
	return err
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

// copyModule copies the source of a module, at root's version, to dir. It returns
// the version.
func copyModule(root, module, dir string) (version string, err error) {
	text, err := run(root, "go", "list", "-m", "-f", "{{.Version}}", module)
	if err != nil {
		return "", err
	}
	version = string(bytes.TrimSpace(text))
	if text, err = run(root, "go", "mod", "download", "-json", module+"@"+version); err != nil {
		return "", err
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(text, &m); err != nil {
		return "", fmt.Errorf("kernel: go mod download of %s: %w", module, err)
	}
	if err := os.CopyFS(dir, os.DirFS(m.Dir)); err != nil {
		return "", fmt.Errorf("kernel: copy of %s: %w", module, err)
	}
	// The module cache is read-only.
	return version, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// writeModule writes a go.mod to the folder work, and its go.sum: root's, with the
// modules in copies replaced and relative replacements made absolute. It returns the
// path of the go.mod. Only the versions that were copied are replaced, so that the
// graph of modules is root's, for which go.sum has the sums.
func writeModule(root, work string, copies, versions map[string]string) (string, error) {
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
	for module, dir := range copies {
		if err := f.AddReplace(module, versions[module], dir, ""); err != nil {
			return "", err
		}
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

// writeBindings writes a file for each package to the folder dir.
func writeBindings(root, mod string, paths []string, dir string, log io.Writer) error {
	pkgs, err := packages.Load(&packages.Config{
		Mode:       packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps,
		Dir:        root,
		BuildFlags: []string{"-modfile=" + mod, "-trimpath"},
	}, paths...)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	for _, p := range pkgs {
		for _, e := range p.Errors {
			err = errors.Join(err, fmt.Errorf("kernel: %s: %w", p.PkgPath, e))
		}
	}
	if err != nil {
		return err
	}
	for _, p := range pkgs {
		b, err := bind(p.Types)
		if err != nil {
			return err
		}
		if len(b.Skipped) > 0 {
			fmt.Fprintf(log, "%s: generic, and so left out: %v\n", b.Path, b.Skipped)
		}
		src, err := b.source()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, b.ID()+".go"), src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command in a folder and returns what it prints. Its error holds what
// the command wrote to its standard error.
func run(dir, name string, args ...string) ([]byte, error) {
	var out, msg bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("kernel: %v: %w\n%s%s", cmd, err, msg.Bytes(), out.Bytes())
	}
	return out.Bytes(), nil
}
