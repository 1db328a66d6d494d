// SPDX-License-Identifier: Apache-2.0

//go:build kernel

// Package interp runs the cells of a notebook: it is the jupyter.Interpreter of the kernel, based on gomacro, a Go interpreter.
//
// Each cell is compiled as a whole before any of it runs, so that a misspelt name is reported at once and changes no variable.
// A panic, or an interrupt, ends the cell; its traceback names the cells and lines that led there.
package interp

import (
	"fmt"
	"go/ast"
	"io"
	"maps"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/cosmos72/gomacro/ast2"
	"github.com/cosmos72/gomacro/base"
	"github.com/cosmos72/gomacro/fast"
	"github.com/cosmos72/gomacro/xreflect"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
)

// Interp is an interpreter with what a notebook has declared.
type Interp struct {
	ir    *fast.Interp
	docs  docs.Docs
	cells map[string]cell // by name

	mu     sync.Mutex // of the rest
	worker *worker
	cell   *execution // under way, or nil
}

// cell is the source of a cell, kept to show its lines and to find its declarations.
type cell struct {
	code  string
	nodes []ast.Node
}

// execution is a cell that is run.
type execution struct {
	run        *fast.Run // nil until it is compiled
	interrupts int
	first      time.Time // of the interrupts
	abandoned  chan struct{}
}

// worker is the goroutine that runs cells. Gomacro keys its state by the identity of the goroutine, so it is
// always the same goroutine, until a cell has to be abandoned.
type worker struct{ jobs chan func() }

func newWorker() *worker {
	w := &worker{jobs: make(chan func())}
	go func() {
		for job := range w.jobs {
			job()
		}
		select {} // the identity is not to be used again
	}()
	return w
}

// do runs a function on the worker and waits for it, or until abandoned is closed. It reports whether the function returned.
func (w *worker) do(job func(), abandoned <-chan struct{}) bool {
	done := make(chan struct{})
	w.jobs <- func() { defer close(done); job() }
	select {
	case <-done:
		return true
	case <-abandoned:
		close(w.jobs)
		return false
	}
}

// New returns an interpreter that has declared nothing yet.
func New(d docs.Docs) *Interp {
	in := &Interp{docs: d, cells: map[string]cell{}, worker: newWorker()}
	in.worker.do(func() { in.ir = fast.New() }, nil)
	// Gomacro's own messages, for example about a name that is declared again, are of no interest in a
	// notebook.
	in.ir.Comp.Stdout, in.ir.Comp.Stderr = io.Discard, io.Discard
	in.ir.Comp.Options &^= base.OptShowPrompt | base.OptTrapPanic
	return in
}

// Execute runs cell number n.
func (in *Interp) Execute(n int, code string) (display.Data, error) {
	e := &execution{abandoned: make(chan struct{})}
	in.mu.Lock()
	in.cell = e
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		in.cell = nil
		in.mu.Unlock()
	}()
	var data display.Data
	var err error
	name := fmt.Sprintf("cell [%d]", n)
	if !in.worker.do(func() { data, err = in.execute(e, name, code) }, e.abandoned) {
		in.replaceWorker()
		return nil, abandoned(name)
	}
	return data, err
}

// replaceWorker makes cells run on another goroutine from now on, with its own state of gomacro.
func (in *Interp) replaceWorker() {
	w := newWorker()
	w.do(func() {
		env := in.ir.PrepareEnv()
		run, left := fast.New().PrepareEnv().Run, env.Run
		run.IrGlobals = left.IrGlobals
		left.Signals.Async = base.SigInterrupt // when the function returns
		for ; env != nil; env = env.Outer {
			env.Run = run
		}
	}, nil)
	in.mu.Lock()
	in.worker = w
	in.mu.Unlock()
}

// execute compiles and runs a cell, on the worker.
func (in *Interp) execute(e *execution, name, code string) (data display.Data, err error) {
	nodes, err := in.parse(name, code)
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	in.cells[name] = cell{code, nodes}
	steps, err := in.compile(name, nodes)
	if err != nil {
		return nil, err
	}
	values, types, err := in.run(e, steps)
	if err != nil {
		return nil, err
	}
	if last, ok := nodes[len(nodes)-1].(ast.Expr); !ok || prints(last) {
		return nil, nil
	}
	// The methods of the value may be those of the notebook.
	defer func() {
		if r := recover(); r != nil {
			data, err = nil, in.failure(r, nil, steps[len(steps)-1])
		}
	}()
	return in.render(values, types), nil
}

// parse returns the declarations and statements of a cell.
func (in *Interp) parse(name, code string) (nodes []ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = in.syntaxError(name, code, r)
		}
	}()
	g := in.ir.Comp
	g.Filepath, g.Line = name, 0
	return g.ParseBytes([]byte(code)), nil
}

// step is a part of a cell that is run by itself: a statement, or declarations that follow each other, whose order is free.
type step struct {
	nodes []ast.Node
	expr  *fast.Expr
}

// compile compiles a cell. If it fails, earlier declarations do not change.
func (in *Interp) compile(name string, nodes []ast.Node) (steps []step, err error) {
	for _, n := range nodes {
		_, declares := n.(ast.Decl)
		if last := len(steps) - 1; declares && last >= 0 {
			if _, ok := steps[last].nodes[0].(ast.Decl); ok {
				steps[last].nodes = append(steps[last].nodes, n)
				continue
			}
		}
		steps = append(steps, step{nodes: []ast.Node{n}})
	}
	c := in.ir.Comp
	restore := keep(c)
	at := 0
	defer func() {
		if r := recover(); r != nil {
			restore()
			steps, err = nil, in.compileError(name, r, steps[at])
		}
	}()
	for at = range steps {
		var form ast2.Ast = ast2.NodeSlice{X: steps[at].nodes}
		if len(steps[at].nodes) == 1 {
			form = ast2.ToAst(steps[at].nodes[0])
		}
		steps[at].expr = in.ir.CompileAst(form)
	}
	return steps, nil
}

// keep returns a function that undoes declarations made after it.
func keep(c *fast.Comp) (restore func()) {
	binds, types := maps.Clone(c.Binds), maps.Clone(c.Types)
	return func() {
		c.Binds, c.Types = binds, types
		c.Code.Clear()
	}
}

// run runs a compiled cell and returns the values of its last step.
func (in *Interp) run(e *execution, steps []step) (values []xreflect.Value, types []xreflect.Type, err error) {
	env := in.ir.PrepareEnv()
	run := env.Run
	in.mu.Lock()
	e.run = run
	in.mu.Unlock()
	at := 0
	defer func() {
		if r := recover(); r != nil {
			err = in.failure(r, run.CurrEnv, steps[at])
		}
		run.CurrEnv, run.ExecFlags, run.PanicFun, run.Panic, run.DeferOfFun = nil, 0, nil, nil, nil
	}()
	for at = range steps {
		values, types = nil, nil
		s := steps[at]
		if s.expr == nil {
			continue
		}
		run.CurrEnv, env.DebugPos, env.IP = env, nil, 0
		if in.interrupted(e) {
			panic(base.SigInterrupt)
		}
		if s.expr.Untyped() {
			s.expr.ConstTo(s.expr.DefaultType())
		}
		v, vs := s.expr.AsXV(fast.COptKeepUntyped)(env)
		if vs == nil && s.expr.NumOut() == 1 {
			vs = []xreflect.Value{v}
		}
		values, types = vs, s.expr.Types
		if types == nil && s.expr.Type != nil {
			types = []xreflect.Type{s.expr.Type}
		}
	}
	return values, types, nil
}

// Interrupt ends the running cell before its next statement. If the cell is in a compiled function, which
// cannot be stopped, a second Interrupt abandons that function, which continues until it returns.
func (in *Interp) Interrupt() {
	in.mu.Lock()
	defer in.mu.Unlock()
	e := in.cell
	if e == nil {
		return
	}
	e.interrupts++
	if e.interrupts == 1 {
		e.first = time.Now()
		go in.keepInterrupting(e)
	} else if time.Since(e.first) > 300*time.Millisecond && e.run != nil {
		select {
		case <-e.abandoned:
		default:
			close(e.abandoned)
		}
	}
	if e.run != nil {
		e.run.Signals.Async = base.SigInterrupt
	}
}

// Interrupted reports whether the running cell should end.
func (in *Interp) Interrupted() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.cell != nil && in.cell.interrupts > 0
}

func (in *Interp) interrupted(e *execution) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return e.interrupts > 0
}

// keepInterrupting interrupts a cell that recovers, and says when it is in a compiled function for long.
func (in *Interp) keepInterrupting(e *execution) {
	for told := false; ; {
		time.Sleep(500 * time.Millisecond)
		in.mu.Lock()
		goesOn := in.cell == e
		if goesOn && e.run != nil {
			e.run.Signals.Async = base.SigInterrupt
		}
		in.mu.Unlock()
		if !goesOn {
			return
		}
		if !told && time.Since(e.first) > 2*time.Second {
			told = true
			fmt.Fprintln(os.Stderr, "Interrupted: the cell ends when the function that it has called returns. "+
				"Interrupt again to leave that function running in the background.")
		}
	}
}

// render returns the formats of the values of a cell's last line, nil where there is nothing to show.
func (in *Interp) render(values []xreflect.Value, types []xreflect.Type) display.Data {
	if n := len(types); n > 1 && isError(types[n-1]) && isNil(values[n-1]) {
		values, types = values[:n-1], types[:n-1]
	}
	switch len(values) {
	case 0:
		return nil
	case 1:
		if isNil(values[0]) {
			return nil
		}
		return in.of(values[0], types[0])
	}
	text := ""
	for i, v := range values {
		if i > 0 {
			text += " "
		}
		if isNil(v) {
			text += "<nil>"
			continue
		}
		text += fmt.Sprint(in.of(v, types[i])["text/plain"])
	}
	return display.Data{"text/plain": text}
}

// prints reports whether an expression is a call of a function such as fmt.Println, whose results, the number of bytes and an error, are not shown.
func prints(node ast.Expr) bool {
	call, ok := node.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (strings.HasPrefix(f.Sel.Name, "Print") || strings.HasPrefix(f.Sel.Name, "Fprint") || strings.HasPrefix(f.Sel.Name, "Write"))
}

func isError(t xreflect.Type) bool {
	return t.ReflectType() == reflect.TypeFor[error]()
}

// isNil tells whether there is no value, or a nil one.
func isNil(v xreflect.Value) bool {
	if !v.IsValid() || v == fast.None {
		return true
	}
	switch v.Kind() {
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice:
		return v.ReflectValue().IsNil()
	}
	return false
}

// shown are the interfaces of package display, and fmt.Stringer, by package.
var shown = map[string][]string{
	"fmt":       {"Stringer"},
	displayPath: {"HTMLer", "Markdowner", "Latexer", "SVGer", "PNGer", "JPEGer"},
}

const displayPath = "github.com/kernelfold/kernelfold/examples/notebooks/display"

// of returns the formats of a value. Methods that its type has in the notebook are found by converting it to interfaces.
func (in *Interp) of(v xreflect.Value, t xreflect.Type) display.Data {
	data := display.Of(v.Interface())
	if p := t.PkgPath(); p != "main" && (t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "main") {
		return data
	}
	for path, names := range shown {
		imported, err := in.ir.ImportPackagesOrError(map[string]fast.PackageName{path: "_"})
		if err != nil {
			continue
		}
		for _, name := range names {
			to := imported[path].Types[name]
			if to == nil || !t.Implements(to) {
				continue
			}
			if convert := in.ir.Comp.Converter(t, to); convert != nil {
				for mime, value := range display.Of(convert(v).Interface()) {
					if mime != "text/plain" || name == "Stringer" {
						data[mime] = value
					}
				}
			}
		}
	}
	return data
}
