// SPDX-License-Identifier: Apache-2.0

package notebooks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notebook is what the tests look at of a file of nbformat 4.
type notebook struct {
	Cells    []cell `json:"cells"`
	Metadata struct {
		Kernelspec struct {
			Name     string `json:"name"`
			Display  string `json:"display_name"`
			Language string `json:"language"`
		} `json:"kernelspec"`
	} `json:"metadata"`
	Format int `json:"nbformat"`
}

type cell struct {
	Type   string         `json:"cell_type"`
	Source text           `json:"source"`
	Count  *int           `json:"execution_count"`
	Meta   map[string]any `json:"metadata"`
	Output []output       `json:"outputs"`
}

type output struct {
	Type string          `json:"output_type"`
	Name string          `json:"name"`
	Text text            `json:"text"`
	Data map[string]text `json:"data"`
}

// text is a string, or lines.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var lines []string
	if err := json.Unmarshal(b, &lines); err == nil {
		*t = text(strings.Join(lines, ""))
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

var update = flag.Bool("update", false, "write the pictures of docs/notebooks.md")

// pictures are those of docs/notebooks.md: the notebook, and the number of the picture in it.
var pictures = map[string]struct {
	notebook string
	number   int
}{
	"notebook-quickstart.png":   {"1-quickstart.ipynb", 2},
	"notebook-solvers.png":      {"2-solvers.ipynb", 1},
	"notebook-geometry.png":     {"3-geometry.ipynb", 2},
	"notebook-kernels.png":      {"4-kernels.ipynb", 1},
	"notebook-manifold.png":     {"5-your-manifold.ipynb", 3},
	"notebook-certificates.png": {"6-certificates.ipynb", 7},
}

// The pictures of docs/notebooks.md are those of the notebooks.
func TestPictures(t *testing.T) {
	for file, from := range pictures {
		raw, err := os.ReadFile(from.notebook)
		require.NoError(t, err)
		var n notebook
		require.NoError(t, json.Unmarshal(raw, &n))
		var found [][]byte
		for _, c := range n.Cells {
			for _, o := range c.Output {
				if p := o.Data["image/png"]; p != "" {
					b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(p), "\n", ""))
					require.NoError(t, err)
					found = append(found, b)
				}
			}
		}
		require.GreaterOrEqual(t, len(found), from.number)
		path := filepath.Join("..", "..", "docs", "img", file)
		if *update {
			require.NoError(t, os.WriteFile(path, found[from.number-1], 0o644))
		}
		have, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(found[from.number-1], have), "%s: want picture %d of %s; run make execute", file, from.number, from.notebook)
	}
}

var committed = []string{"1-quickstart.ipynb", "2-solvers.ipynb", "3-geometry.ipynb", "4-kernels.ipynb", "5-your-manifold.ipynb", "6-certificates.ipynb"}

func TestNotebooksAreComplete(t *testing.T) {
	files, err := filepath.Glob("*.ipynb")
	require.NoError(t, err)
	require.Equal(t, committed, files)
	known := bound(t)
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, f := range faults(raw, known) {
				t.Error(f)
			}
		})
	}
}

// bound lists the packages that a notebook may import beside the standard library.
func bound(t *testing.T) map[string]bool {
	t.Helper()
	src, err := os.ReadFile("kernel/bound.go")
	require.NoError(t, err)
	known := map[string]bool{}
	for _, path := range imports(string(src)) {
		known[path] = true
	}
	require.True(t, known["github.com/kernelfold/kernelfold/solvers"])
	return known
}

var (
	importBlock = regexp.MustCompile(`(?ms)^import \((.*?)^\)`)
	importPath  = regexp.MustCompile(`(?m)^(?:import )?\s*(?:[\w.]+ )?"([^"\s]+)"`)

	// paths of a machine, and addresses on it
	local = regexp.MustCompile(`(^|[\s"'(=])(/(home|root|tmp|work|usr|var|etc|opt|mnt|Users)/\S*|[A-Z]:\\\S*)|localhost|127\.0\.0\.1`)
)

// imports lists the paths that a source text imports.
func imports(src string) (paths []string) {
	for _, block := range importBlock.FindAllStringSubmatch(src, -1) {
		for _, m := range importPath.FindAllStringSubmatch(block[1], -1) {
			paths = append(paths, m[1])
		}
	}
	for line := range strings.Lines(src) {
		if strings.HasPrefix(line, "import \"") {
			paths = append(paths, importPath.FindStringSubmatch(line)[1])
		}
	}
	return paths
}

// faults lists what is wrong with a notebook: another kernel, cells that were not executed in order, outputs that are errors or
// that belong to one machine, pictures that are none, packages that the kernel does not know.
func faults(raw []byte, known map[string]bool) (list []string) {
	fault := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	var n notebook
	if err := json.Unmarshal(raw, &n); err != nil {
		return []string{err.Error()}
	}
	if spec := n.Metadata.Kernelspec; n.Format != 4 || spec.Name != "kernelfold" || spec.Display != "Go (Kernelfold)" || spec.Language != "go" {
		fault("want nbformat 4 and the kernel kernelfold, got %d and %v", n.Format, spec)
	}
	executed, pictures, words := 0, 0, 0
	for i, c := range n.Cells {
		if len(c.Meta) > 0 {
			fault("cell %d: want no metadata, got %v", i+1, c.Meta)
		}
		if c.Type != "code" {
			words++
			continue
		}
		executed++
		if c.Count == nil || *c.Count != executed {
			fault("cell %d: want it executed as number %d, got %s", i+1, executed, count(c.Count))
		}
		for _, path := range imports(string(c.Source)) {
			if !known[path] && (strings.Contains(path, ".") || !standard(path)) {
				fault("cell %d: imports %s, which the kernel does not bind", i+1, path)
			}
		}
		for _, o := range c.Output {
			if o.Type == "error" || o.Name == "stderr" {
				fault("cell %d: want no errors, got %s %s", i+1, o.Type, o.Text)
			}
			for _, s := range []text{o.Text, o.Data["text/plain"], o.Data["text/html"]} {
				if m := local.FindString(string(s)); m != "" {
					fault("cell %d: %q belongs to one machine", i+1, m)
				}
			}
			if p := o.Data["image/png"]; p != "" {
				pictures++
				const modest = 200_000
				b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(p), "\n", ""))
				if err == nil {
					_, err = png.Decode(bytes.NewReader(b))
				}
				if err != nil || len(b) > modest {
					fault("cell %d: want a PNG picture of at most %d bytes, got %d bytes, error %v", i+1, modest, len(b), err)
				}
			}
		}
	}
	if executed == 0 || pictures == 0 || words == 0 {
		fault("want code, words and pictures, got %d, %d and %d", executed, words, pictures)
	}
	return list
}

func count(c *int) string {
	if c == nil {
		return "never"
	}
	return strconv.Itoa(*c)
}

// standard tells whether a path is that of a package of the standard library.
func standard(path string) bool {
	return exec.Command("go", "list", path).Run() == nil
}

// What the test is there to find is found.
func TestFaults(t *testing.T) {
	raw, err := os.ReadFile(committed[0])
	require.NoError(t, err)
	known := bound(t)
	require.Empty(t, faults(raw, known))
	for _, c := range []struct{ old, with, want string }{
		{`"name": "kernelfold"`, `"name": "gophernotes"`, "want nbformat 4 and the kernel"},
		{`"execution_count": 2,`, `"execution_count": 5,`, "executed as number 2, got 5"},
		{`"execution_count": 3,`, `"execution_count": null,`, "executed as number 3, got never"},
		{`"output_type": "stream"`, `"output_type": "error"`, "want no errors"},
		{`"name": "stdout"`, `"name": "stderr"`, "want no errors"},
		{"after 5 epochs", "after /home/me/x 5 epochs", `"belongs to one machine`},
		{`gorgonia.org/tensor\"`, `gorgonia.org/cu\"`, "imports gorgonia.org/cu, which"},
		{`\"math/rand/v2\"`, `\"math/rand/v9\"`, "imports math/rand/v9, which"},
		{`"image/png": "iVBOR`, `"image/png": "iVBOA`, "want a PNG picture"},
		{`"metadata": {}`, `"metadata": {"scrolled": true}`, "want no metadata"},
	} {
		require.True(t, bytes.Contains(raw, []byte(c.old)), c.old)
		broken := bytes.Replace(raw, []byte(c.old), []byte(c.with), 1)
		assert.Contains(t, strings.Join(faults(broken, known), "\n"), strings.Trim(c.want, `"`))
	}
}
