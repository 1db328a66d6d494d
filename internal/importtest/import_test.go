// SPDX-License-Identifier: Apache-2.0

package importtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	guard = "go4.org/unsafe/assume-no-moving-gc"
	// stock is the version of guard that gorgonia.org/tensor v0.9.24 asks for.
	stock = "v0.0.0-20220617031537-928513b29760"
)

// A module of its own that requires Kernelfold and Gorgonia and nothing else
// starts and computes.
func TestImportCuresStartUpPanic(t *testing.T) {
	dir := userModule(t)
	resolve(t, dir)
	out, err := goCommand(dir, "run", ".")
	if err != nil {
		t.Fatalf("go run: %v\n%s", err, out)
	}
	if got := strings.TrimSpace(out); got != "9" {
		t.Errorf("want the program to print 9, got %q", got)
	}
}

// The same program with the guard that Gorgonia asks for panics. When this
// fails, the requirement in our go.mod is no longer needed.
func TestStockGuardPanics(t *testing.T) {
	dir := userModule(t)
	sum, err := os.ReadFile(filepath.Join("testdata", "stock.sum"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "go.sum"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(sum); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := goCommand(dir, "mod", "edit", "-replace", guard+"="+guard+"@"+stock); err != nil {
		t.Fatalf("go mod edit: %v\n%s", err, out)
	}
	resolve(t, dir)
	out, err := goCommand(dir, "run", ".")
	if err == nil {
		t.Fatalf("want a panic at start, got %q", out)
	}
	if !strings.Contains(out, "panic: Something in this program imports "+guard) {
		t.Errorf("want the panic of %s, got\n%s", guard, out)
	}
}

// The command go install PACKAGE@VERSION refuses a module whose go.mod has directives that apply to the main module only.
func TestInstallable(t *testing.T) {
	out, err := goCommand(filepath.Join("..", ".."), "mod", "edit", "-json")
	if err != nil {
		t.Fatalf("go mod edit: %v\n%s", err, out)
	}
	var mod struct{ Replace, Exclude []any }
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		t.Errorf("want a go.mod without replace and exclude, got %v and %v", mod.Replace, mod.Exclude)
	}
}

// userModule copies testdata/user to a folder outside this repository, so that
// the go command may write its go.mod, with our go.sum.
func userModule(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, from := range map[string]string{
		"main.go": filepath.Join("testdata", "user", "main.go"),
		"go.mod":  filepath.Join("testdata", "user", "go.mod"),
		"go.sum":  filepath.Join(root, "go.sum"),
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := goCommand(dir, "mod", "edit", "-replace", "github.com/kernelfold/kernelfold="+root); err != nil {
		t.Fatalf("go mod edit: %v\n%s", err, out)
	}
	return dir
}

// resolve downloads what the module needs beyond the module cache, and skips
// the test where that is not to be had, unless KERNELFOLD_REQUIRE_DATA is set.
func resolve(t *testing.T, dir string) {
	t.Helper()
	out, err := goCommand(dir, "list", "-deps", "-f", "{{with .Error}}{{.}}{{end}}", ".")
	if err == nil {
		return
	}
	if os.Getenv("KERNELFOLD_REQUIRE_DATA") != "" {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	t.Skipf("the modules of the program cannot be loaded: %v\n%s", err, out)
}

// goCommand runs the go command in the module at dir and returns what it
// printed to both outputs.
func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "PWD="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
