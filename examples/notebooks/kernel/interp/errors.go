// SPDX-License-Identifier: Apache-2.0

//go:build kernel

package interp

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/cosmos72/gomacro/base"
	"github.com/cosmos72/gomacro/fast"
	"github.com/cosmos72/gomacro/go/scanner"

	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/jupyter"
)

// The names of errors.
const (
	syntaxError  = "syntax error"
	compileError = "compile error"
	panicked     = "panic"
	interrupted  = "interrupted"
)

// place is a line of a cell, in a function of it or in none.
type place struct {
	cell     string
	line     int
	function string
}

// report makes the error that front ends show: what happened, and where, beginning with the innermost place.
func (in *Interp) report(name, value string, places []place, compiled []string) *jupyter.Error {
	const red, bold, grey, plain = "\x1b[31m", "\x1b[1m", "\x1b[90m", "\x1b[0m"
	lines := []string{red + bold + name + plain + ": " + value}
	for i, c := range compiled {
		if i == 0 {
			lines = append(lines, grey+"in compiled code"+plain)
		}
		lines = append(lines, grey+"    "+c+plain)
	}
	const most = 20 // places, of a recursion
	for i, p := range places {
		if i == most/2 && len(places) > most {
			lines = append(lines, fmt.Sprintf("    ... %d more ...", len(places)-most))
		}
		if i >= most/2 && i < len(places)-most/2 {
			continue
		}
		where := fmt.Sprintf("%s, line %d", p.cell, p.line)
		if p.function != "" {
			where += ", in " + p.function
		}
		lines = append(lines, red+where+plain)
		source := strings.Split(in.cells[p.cell].code, "\n")
		for n := max(p.line-1, 1); n <= min(p.line+1, len(source)); n++ {
			if n == p.line {
				lines = append(lines, fmt.Sprintf("%s--> %3d  %s%s", red, n, plain, source[n-1]))
			} else {
				lines = append(lines, fmt.Sprintf("%s    %3d  %s%s", grey, n, source[n-1], plain))
			}
		}
	}
	return &jupyter.Error{Name: name, Value: value, Traceback: lines}
}

// located is a message of gomacro that begins with its position.
var located = regexp.MustCompile(`(?s)^(cell \[\d+\]):(\d+):\d+: (.*)$`)

// text is what was recovered, as text. Errors whose method Error panics, such as nil pointers, have one too.
func text(r any) string { return fmt.Sprint(r) }

// syntaxError is the failure of a cell that is not valid Go.
func (in *Interp) syntaxError(name, code string, r any) error {
	in.cells[name] = cell{code: code}
	message, places := text(r), []place(nil)
	if list, ok := r.(scanner.ErrorList); ok && len(list) > 0 {
		message, places = list[0].Msg, []place{{cell: name, line: list[0].Pos.Line}}
	} else if m := located.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[2])
		message, places = m[3], []place{{cell: m[1], line: line}}
	}
	return in.report(syntaxError, message, places, nil)
}

// compileError is the failure of a cell before it was run.
func (in *Interp) compileError(name string, r any, s step) error {
	message := text(r)
	at := place{cell: name, line: in.position(s.nodes[0].Pos()).Line}
	if m := located.FindStringSubmatch(message); m != nil {
		message, at.cell = m[3], m[1]
		at.line, _ = strconv.Atoi(m[2])
	}
	if _, ok := r.(runtime.Error); ok {
		message = "the interpreter cannot compile this: " + message
	}
	return in.report(compileError, in.suggest(in.shorten(message), in.cells[name].code), []place{at}, nil)
}

// inner is an error within an error of gomacro, which repeats the position.
var inner = regexp.MustCompile(`cell \[\d+\]:\d+:\d+: `)

func (in *Interp) shorten(message string) string { return inner.ReplaceAllString(message, "") }

// failure returns the failure of a cell that panicked or was interrupted. env is the environment of the statement that was running, or nil if it is
// not known.
func (in *Interp) failure(r any, env *fast.Env, s step) error {
	places := in.places(env, s)
	if r == base.SigInterrupt {
		return in.report(interrupted, "the cell was stopped; its variables are kept", places, nil)
	}
	return in.report(panicked, text(r), places, compiled())
}

// abandoned is the failure of a cell that was left running.
func abandoned(name string) error {
	value := "a compiled function goes on in the background until it returns; variables are kept"
	return &jupyter.Error{Name: interrupted, Value: value, Traceback: []string{"\x1b[31m\x1b[1m" + interrupted + "\x1b[0m: " + value, "\x1b[31m" + name + "\x1b[0m"}}
}

func (in *Interp) position(p token.Pos) token.Position {
	return in.ir.Comp.Fileset.Position(p)
}

// places follows the calls from env to the step of the cell.
func (in *Interp) places(env *fast.Env, s step) (list []place) {
	const most = 100_000
	for n := 0; env != nil && n < most; n++ {
		if env.IP < len(env.DebugPos) && env.DebugPos[env.IP].IsValid() && env != env.FileEnv {
			p := in.position(env.DebugPos[env.IP])
			list = append(list, place{p.Filename, p.Line, in.function(p.Filename, env.DebugPos[env.IP])})
		}
		// A block is within others, up to that of a function, which knows its caller.
		for env.Caller == nil && env.Outer != nil && env != env.FileEnv {
			env = env.Outer
		}
		env = env.Caller
	}
	if len(list) > 0 && list[len(list)-1].function == "" {
		return list // a loop of the cell: the step only says where it begins
	}
	p := in.position(s.nodes[0].Pos())
	return append(list, place{cell: p.Filename, line: p.Line})
}

// function names the function of a cell that a position is in, empty if it is in none.
func (in *Interp) function(name string, pos token.Pos) string {
	for _, n := range in.cells[name].nodes {
		f, ok := n.(*ast.FuncDecl)
		if !ok || pos < f.Pos() || pos >= f.End() {
			continue
		}
		if f.Recv != nil && len(f.Recv.List) == 1 {
			t := f.Recv.List[0].Type
			if star, ok := t.(*ast.StarExpr); ok {
				t = star.X
			}
			if id, ok := t.(*ast.Ident); ok {
				return id.Name + "." + f.Name.Name
			}
		}
		return f.Name.Name
	}
	return ""
}

// compiled lists the compiled functions that a panic has gone through, up to the interpreter.
func compiled() (list []string) {
	pc := make([]uintptr, 64)
	frames := runtime.CallersFrames(pc[:runtime.Callers(1, pc)])
	raised := false
	for {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "runtime."):
			raised = raised || strings.Contains(f.Function, "panic")
		case !raised:
		case strings.HasPrefix(f.Function, "github.com/cosmos72/gomacro/"):
			return list
		case strings.HasPrefix(f.Function, "reflect."):
		default:
			list = append(list, fmt.Sprintf("%s, %s:%d", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line))
		}
		if !more || len(list) == 8 {
			return list
		}
	}
}
