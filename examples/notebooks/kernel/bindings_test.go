// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// subject is a package with one of everything that bindings have to tell apart.
const subject = `package subject

import (
	"fmt"
	"io"
)

const (
	Answer      = 42
	Huge        = 1 << 63
	Third       = 1.0 / 3
	Greeting    = "a\tb"
	Yes         = true
	Letter      = 'x'
	Typed   int8 = 3
)

var Level = 5

type hidden struct{}

type Plain struct{ N int }

func (p Plain) Get() int { return p.N }

type Outer struct{ Plain }

type Of[T any] struct{ V T }

type Pair[T any] = Of[T]

type Ints = Of[int]

type Number interface{ ~int | ~float64 }

type Shape interface {
	Area(scale float64) (float64, error)
	Add(name string, more ...fmt.Stringer)
	io.Closer
}

type Sealed interface{ seal() }

type Holder interface{ Hold(map[string][]*hidden) }

func Double(s Shape) float64 { a, _ := s.Area(2); s.Add("x", nil, nil); return 2 * a }

func Map[T any](t T) T { return t }
`

// load type-checks subject.
func load(t *testing.T) *types.Package {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "subject.go", subject, 0)
	require.NoError(t, err)
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("example.com/m/subject", fset, []*ast.File{f}, nil)
	require.NoError(t, err)
	return pkg
}

func TestBind(t *testing.T) {
	b, err := bind(load(t))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"Of", "Pair", "Number", "Map"}, b.Skipped)
	assert.ElementsMatch(t, []string{"Plain", "Outer", "Ints", "Shape", "Sealed", "Holder"}, b.Types)
	assert.Equal(t, []binding{{"Outer", `{"Get"}`}}, b.Wrappers)
	var proxies []string
	for _, p := range b.Proxies {
		proxies = append(proxies, p.Name)
	}
	assert.Equal(t, []string{"Shape"}, proxies, "the methods of Sealed and Holder cannot be written elsewhere")
	assert.ElementsMatch(t, []binding{
		{"Answer", `"int:42"`}, {"Huge", `"int:9223372036854775808"`}, {"Third", `"float:1/3"`}, {"Greeting", `"string:a\tb"`},
		{"Yes", `"bool:true"`}, {"Letter", `"rune:120"`},
	}, b.Untypeds)
}

func TestBindNothing(t *testing.T) {
	_, err := bind(types.NewPackage("example.com/empty", "empty"))
	assert.ErrorContains(t, err, "example.com/empty: want a package with names")
}

// user stands for the interpreter: it finds everything by the tables, and calls
// what the notebook made of an interface.
const user = `package main

import (
	"fmt"
	"reflect"

	"example.com/m/bindings"
)

func main() {
	p := bindings.Packages["example.com/m/subject"]
	fmt.Println(p.Name, p.Binds["Answer"].Int(), p.Binds["Huge"].Uint(), p.Binds["Typed"].Type())
	p.Binds["Level"].SetInt(7)
	fmt.Println(p.Binds["Level"], p.Types["Ints"])
	v := reflect.New(p.Proxies["Shape"])
	v.Elem().FieldByName("Object").Set(reflect.ValueOf(10.0))
	v.Elem().FieldByName("Area_").Set(reflect.ValueOf(func(o interface{}, s float64) (float64, error) { return o.(float64) * s, nil }))
	v.Elem().FieldByName("Add_").Set(reflect.ValueOf(func(o interface{}, name string, more ...fmt.Stringer) { fmt.Println(name, len(more)) }))
	fmt.Println(v.Interface())
	fmt.Println(p.Binds["Double"].Call([]reflect.Value{v})[0])
}
`

func TestBindingsCompileAndWork(t *testing.T) {
	b, err := bind(load(t))
	require.NoError(t, err)
	src, err := b.source()
	require.NoError(t, err)

	dir := t.TempDir()
	for path, text := range map[string]string{
		"go.mod":             "module example.com/m\n\ngo 1.26\n",
		"subject/subject.go": "//go:build go1.26\n\n" + subject,
		"main.go":            user,
		"bindings/bound.go":  string(src),
		"bindings/package.go": `package bindings

import r "reflect"

type Package struct {
	Name     string
	Binds    map[string]r.Value
	Types    map[string]r.Type
	Proxies  map[string]r.Type
	Untypeds map[string]string
	Wrappers map[string][]string
}

var Packages = map[string]Package{}

func describe(object interface{}) string { return "describe" }
`,
	} {
		path = filepath.Join(dir, filepath.FromSlash(path))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	out, err := run(dir, "go", "run", "-tags=kernel", ".")
	require.NoError(t, err)
	assert.Equal(t, "subject 42 9223372036854775808 int8\n7 subject.Of[int]\ndescribe\nx 2\n40\n", string(out))
}
