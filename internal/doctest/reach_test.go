// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Who starts at the README finds every page by links, and every package and
// example by name.
func TestReachable(t *testing.T) {
	start := filepath.Join(root, "README.md")
	seen := map[string]bool{start: true}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, target := range links(read(t, queue[0])) {
			file, _, _ := strings.Cut(target, "#")
			path := filepath.Join(filepath.Dir(queue[0]), file)
			if _, err := os.Stat(path); err != nil {
				continue // TestLinks tells
			}
			if strings.HasSuffix(file, ".md") && !seen[path] {
				seen[path] = true
				queue = append(queue, path)
			}
		}
	}
	text := ""
	for _, page := range pages(t) {
		if !seen[page] {
			t.Errorf("%s: no way of links leads there from README.md", relative(page))
			continue
		}
		text += read(t, page)
	}
	readme := read(t, start)
	for _, dir := range packageFolders(t) {
		switch {
		case strings.Contains(dir, "internal"):
		case strings.HasPrefix(dir, "examples/"):
			if strings.Count(dir, "/") == 1 && !strings.Contains(text, dir) {
				t.Errorf("%s: no page names it", dir)
			}
		case dir != "docs/draw" && !strings.Contains(readme, "`"+dir+"`"):
			t.Errorf("%s: want it in README.md, between backticks", dir)
		}
	}
}

// packageFolders are the folders with a package in them.
func packageFolders(t *testing.T) []string {
	seen := map[string]bool{}
	for _, f := range files(t, ".go") {
		if !strings.HasSuffix(f, "_test.go") {
			seen[relative(filepath.Dir(f))] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Every public package has a tour: an Example of the package itself, with output.
func TestTours(t *testing.T) {
	for _, dir := range packageFolders(t) {
		if strings.Contains(dir, "internal") || strings.HasPrefix(dir, "examples/") || strings.HasPrefix(dir, "docs/") {
			continue
		}
		found, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		tour := false
		for _, path := range found {
			_, body, ok := strings.Cut(read(t, path), "\nfunc Example() {\n")
			body, _, _ = strings.Cut(body, "\n}\n")
			tour = tour || ok && strings.Contains(body, "// Output:")
		}
		if !tour {
			t.Errorf("%s: want an Example of the package, with output", dir)
		}
	}
}
