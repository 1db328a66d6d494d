// SPDX-License-Identifier: Apache-2.0

//go:build kernel

package interp

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/cosmos72/gomacro/fast"
	"github.com/cosmos72/gomacro/imports"
	"github.com/cosmos72/gomacro/xreflect"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/docs"
	"github.com/kernelfold/kernelfold/examples/notebooks/kernel/jupyter"
)

// lexeme is a token of a cell and where it stands.
type lexeme struct {
	tok        token.Token
	start, end int
}

// lex returns the tokens of code, and whether it ends within a string or a comment.
func lex(code string) (list []lexeme, open bool) {
	var s scanner.Scanner
	set := token.NewFileSet()
	f := set.AddFile("", -1, len(code))
	s.Init(f, []byte(code), func(_ token.Position, message string) {
		open = open || strings.Contains(message, "not terminated")
	}, 0)
	for {
		pos, tok, lit := s.Scan()
		at := f.Offset(pos)
		switch {
		case tok == token.EOF:
			return list, open
		case tok == token.SEMICOLON && lit == "\n":
			continue
		case lit == "":
			lit = tok.String()
		}
		list = append(list, lexeme{tok, at, at + len(lit)})
	}
}

// operand returns the first token of the operand that ends with token i, such as f(x).y[1], or -1 if there is none.
func operand(t []lexeme, i int) int {
	for i >= 0 {
		switch t[i].tok {
		case token.IDENT, token.STRING:
		case token.RPAREN, token.RBRACK, token.RBRACE:
			i = opening(t, i)
			if i > 0 && (t[i-1].tok == token.IDENT || t[i-1].tok == token.RPAREN || t[i-1].tok == token.RBRACK) {
				i-- // what is called, indexed or composed
				continue
			}
			return i
		default:
			return -1
		}
		if i < 2 || t[i-1].tok != token.PERIOD {
			return i
		}
		i -= 2
	}
	return i
}

// opening returns the bracket that token i closes, -1 without one.
func opening(t []lexeme, i int) int {
	for depth := 0; i >= 0; i-- {
		switch t[i].tok {
		case token.RPAREN, token.RBRACK, token.RBRACE:
			depth++
		case token.LPAREN, token.LBRACK, token.LBRACE:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// thing is what an expression stands for: a package, a type or a value.
type thing struct {
	pkg   *fast.Import
	typ   xreflect.Type // also of a value
	value bool
}

// resolve returns what an expression stands for, without running anything. It also knows names that the cell
// declares before the cursor, if their types follow from one line.
func (in *Interp) resolve(expr, before string) (t thing, ok bool) {
	defer func() {
		if recover() != nil {
			t, ok = thing{}, false
		}
	}()
	node, err := parser.ParseExpr(expr)
	if err != nil {
		return thing{}, false
	}
	c := in.ir.Comp
	restore := keep(c)
	defer restore()
	if name := root(node); name != "" && before != "" {
		if typ := in.local(name, before); typ != nil {
			c.NewBind(name, fast.VarBind, typ)
		}
	}
	if id, ok := node.(*ast.Ident); ok {
		if sym := c.TryResolve(id.Name); sym != nil && sym.Const() {
			if imp, ok := sym.Value.(*fast.Import); ok {
				return thing{pkg: imp}, true
			}
		}
	}
	if typ := in.typeOf(node); typ != nil {
		return thing{typ: typ, value: true}, true
	}
	return thing{typ: c.Type(node)}, true
}

// typeOf returns the type of a value, or nil if the expression is none.
func (in *Interp) typeOf(node ast.Expr) (t xreflect.Type) {
	defer func() {
		if recover() != nil {
			t = nil
		}
	}()
	e := in.ir.Comp.Expr(node, nil)
	if e.Untyped() {
		return e.DefaultType()
	}
	if e.NumOut() == 0 {
		return nil
	}
	return e.Out(0)
}

// root is the name that an operand begins with.
func root(node ast.Expr) string {
	for {
		switch n := node.(type) {
		case *ast.Ident:
			return n.Name
		case *ast.SelectorExpr:
			node = n.X
		case *ast.CallExpr:
			node = n.Fun
		case *ast.IndexExpr:
			node = n.X
		case *ast.SliceExpr:
			node = n.X
		case *ast.StarExpr:
			node = n.X
		case *ast.ParenExpr:
			node = n.X
		default:
			return ""
		}
	}
}

// local returns the type of the last declaration of a name in code that was not run, or nil.
func (in *Interp) local(name, code string) (t xreflect.Type) {
	defer func() {
		if recover() != nil {
			t = nil
		}
	}()
	q := regexp.QuoteMeta(name)
	assigned := regexp.MustCompile(`(?m)^.*?\b((?:\w+\s*,\s*)*` + q + `(?:\s*,\s*\w+)*)\s*:=\s*(.+)$`)
	declared := regexp.MustCompile(`(?m)(?:\bvar\s+|[(,]\s*)` + q + `\s+(\*?[\w.\[\]*]+)`)
	a, d := assigned.FindAllStringSubmatchIndex(code, -1), declared.FindAllStringSubmatchIndex(code, -1)
	if len(d) > 0 && (len(a) == 0 || d[len(d)-1][0] > a[len(a)-1][0]) {
		m := d[len(d)-1]
		node, err := parser.ParseExpr(code[m[2]:m[3]])
		if err != nil {
			return nil
		}
		return in.ir.Comp.Type(node)
	}
	if len(a) == 0 {
		return nil
	}
	m := a[len(a)-1]
	at := slices.IndexFunc(strings.Split(code[m[2]:m[3]], ","), func(s string) bool { return strings.TrimSpace(s) == name })
	node, err := parser.ParseExpr(strings.TrimRight(strings.TrimSpace(code[m[4]:m[5]]), "{"))
	if err != nil {
		return nil
	}
	e := in.ir.Comp.Expr(node, nil)
	if e.Untyped() {
		return e.DefaultType()
	}
	return e.Out(at)
}

// importLine is a line of an import declaration up to the cursor.
var importLine = regexp.MustCompile(`^\s*(?:import\s*\(?\s*)?(?:[\w.]+\s+)?"([^"\s]*)$`)

// Complete implements jupyter.Interpreter.
func (in *Interp) Complete(code string, cursor int) (start, end int, matches []jupyter.Match) {
	before := code[:cursor]
	if m := importLine.FindStringSubmatch(before[strings.LastIndexByte(before, '\n')+1:]); m != nil && strings.Contains(before, "import") {
		for path := range imports.Packages {
			if strings.HasPrefix(path, m[1]) {
				matches = append(matches, jupyter.Match{Text: path, Kind: "module"})
			}
		}
		sortMatches(matches)
		return cursor - len(m[1]), cursor, matches
	}
	t, open := lex(before)
	if open {
		return cursor, cursor, nil
	}
	prefix, last := "", len(t)-1
	if last >= 0 && t[last].end == cursor && (t[last].tok == token.IDENT || t[last].tok.IsKeyword()) {
		prefix = before[t[last].start:cursor]
		last--
	}
	add := func(name, kind string) {
		if strings.HasPrefix(name, prefix) && !strings.ContainsAny(name, "·. ") {
			matches = append(matches, jupyter.Match{Text: name, Kind: kind})
		}
	}
	if last >= 0 && t[last].tok == token.PERIOD {
		if first := operand(t, last-1); first >= 0 {
			if what, ok := in.resolve(before[t[first].start:t[last].start], before[:t[first].start]); ok {
				in.eachMember(what, add)
			}
		}
	} else if prefix != "" {
		for c := in.ir.Comp; c != nil; c = c.Outer {
			for name, b := range c.Binds {
				add(name, kind(b))
			}
			for name := range c.Types {
				add(name, "class")
			}
		}
		for tok := token.BREAK; tok <= token.VAR; tok++ {
			add(tok.String(), "keyword")
		}
		for _, l := range t[:last+1] { // names of this cell
			if l.tok == token.IDENT {
				add(before[l.start:l.end], "instance")
			}
		}
	}
	sortMatches(matches)
	return cursor - len(prefix), cursor, matches
}

func sortMatches(m []jupyter.Match) {
	slices.SortStableFunc(m, func(a, b jupyter.Match) int { return cmp.Compare(a.Text, b.Text) })
}

// kind is what a frontend calls a name.
func kind(b *fast.Bind) string {
	switch b.Desc.Class() {
	case fast.FuncBind:
		return "function"
	case fast.ConstBind:
		if _, ok := b.Value.(*fast.Import); ok {
			return "module"
		}
	}
	return "instance"
}

// eachMember calls f with each name that can follow the dot, once, and its kind.
func (in *Interp) eachMember(t thing, f func(name, kind string)) {
	if t.pkg != nil {
		for name, b := range t.pkg.Binds {
			f(name, kind(b))
		}
		for name := range t.pkg.Types {
			f(name, "class")
		}
		return
	}
	seen := map[string]bool{}
	once := func(name, kind string) {
		if exported := ast.IsExported(name); !seen[name] && (exported || t.typ.PkgPath() == "main" || t.typ.Kind() == reflect.Pointer && t.typ.Elem().PkgPath() == "main") {
			seen[name] = true
			f(name, kind)
		}
	}
	in.visit(t.typ, 0, once)
}

// visit goes through the fields and methods of a type and of what it embeds.
func (in *Interp) visit(t xreflect.Type, depth int, f func(name, kind string)) {
	if depth > 8 { // a type may embed a pointer to itself
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if t.Kind() == reflect.Interface {
			return
		}
	}
	r := t.ReflectType()
	for _, r := range []reflect.Type{r, reflect.PointerTo(r)} {
		for i := range r.NumMethod() {
			f(r.Method(i).Name, "function")
		}
	}
	for i := range t.NumMethod() {
		f(t.Method(i).Name, "function")
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		f(field.Name, "instance")
		if field.Anonymous {
			in.visit(field.Type, depth+1, f)
		}
	}
}

// membersOf lists the names that can follow an expression and a dot.
func (in *Interp) membersOf(expr, before string) (list []string) {
	if t, ok := in.resolve(expr, before); ok {
		list = in.members(t)
	}
	return list
}

// members lists the names that can follow the dot.
func (in *Interp) members(t thing) (list []string) {
	in.eachMember(t, func(name, _ string) { list = append(list, name) })
	return list
}

// Inspect implements jupyter.Interpreter.
func (in *Interp) Inspect(code string, cursor int) display.Data {
	t, _ := lex(code)
	at := slices.IndexFunc(t, func(l lexeme) bool {
		return l.start <= cursor && cursor <= l.end && (l.tok == token.IDENT || l.tok.IsKeyword())
	})
	if at < 0 { // among the arguments of a call
		depth := 0
		for i := len(t) - 1; i > 0 && at < 0; i-- {
			switch {
			case t[i].start >= cursor:
			case t[i].tok == token.RPAREN:
				depth++
			case t[i].tok == token.LPAREN && depth > 0:
				depth--
			case t[i].tok == token.LPAREN && t[i-1].tok == token.IDENT:
				at = i - 1
			}
		}
	}
	if at < 0 {
		return nil
	}
	first := max(operand(t, at), 0)
	if t[at].tok.IsKeyword() {
		first = at
	}
	text := in.describe(code[t[first].start:t[at].end], code[:t[first].start])
	if text == "" {
		return nil
	}
	return display.Data{"text/plain": text}
}

// describe returns the declaration and the comment of what an expression names, or "" if they are unknown.
func (in *Interp) describe(expr, before string) string {
	if dot := strings.LastIndexByte(expr, '.'); dot > 0 {
		name := expr[dot+1:]
		of, ok := in.resolve(expr[:dot], before)
		if !ok {
			return ""
		}
		if of.pkg != nil {
			return in.symbol(of.pkg, name)
		}
		if d, ok := in.member(of.typ, name, 0); ok {
			return d.String()
		}
		if what, ok := in.resolve(expr, before); ok {
			return docs.Doc{Declaration: strings.TrimSpace(name + " " + what.typ.String())}.String()
		}
		return ""
	}
	if d, ok := in.declared(expr); ok && in.local(expr, before) == nil {
		return d.String()
	}
	if c := in.ir.Comp; c.Binds[expr] == nil && c.Types[expr] == nil && in.local(expr, before) == nil {
		if d, ok := in.docs["builtin."+expr]; ok {
			return d.String()
		}
	}
	what, ok := in.resolve(expr, before)
	switch {
	case !ok:
		return ""
	case what.pkg != nil:
		d := in.docs[what.pkg.Path]
		return docs.Doc{Declaration: fmt.Sprintf("package %s // import %q", what.pkg.Name, what.pkg.Path), Comment: d.Comment}.String()
	case !what.value:
		return in.typeDoc(what.typ)
	}
	d := docs.Doc{Declaration: "var " + expr + " " + what.typ.String()}
	if v := in.preview(expr); v != "" {
		d.Declaration += " = " + v
	}
	text := d.String()
	if of := in.typeDoc(what.typ); of != "" {
		text += "\n\n" + of
	}
	return text
}

// symbol describes a name of a package.
func (in *Interp) symbol(pkg *fast.Import, name string) string {
	if d, ok := in.docs[pkg.Path+"."+name]; ok {
		return d.String()
	}
	if b := pkg.Binds[name]; b != nil {
		return docs.Doc{Declaration: kind(b) + " " + name + " " + b.Type.String()}.String()
	}
	if t := pkg.Types[name]; t != nil {
		return in.typeDoc(t)
	}
	return ""
}

// typeDoc describes a type that has a name.
func (in *Interp) typeDoc(t xreflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" {
		return ""
	}
	if t.PkgPath() == "main" {
		if d, ok := in.declared(t.Name()); ok {
			return d.String()
		}
	}
	if d, ok := in.docs[typeKey(t.ReflectType())]; ok {
		return d.String()
	}
	return ""
}

// typeKey is the key of a type in docs: an instance of a generic type has that of the latter.
func typeKey(t reflect.Type) string {
	name, _, _ := strings.Cut(t.Name(), "[")
	return t.PkgPath() + "." + name
}

// member finds a field or method of a type or of what it embeds.
func (in *Interp) member(t xreflect.Type, name string, depth int) (docs.Doc, bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if d, ok := in.docs[typeKey(t.ReflectType())+"."+name]; ok {
		return d, true
	}
	if t.Kind() == reflect.Struct && depth < 8 {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous {
				if d, ok := in.member(f.Type, name, depth+1); ok {
					return d, true
				}
			}
		}
	}
	return docs.Doc{}, false
}

// declared finds the last declaration of a name in the cells: a function without its body, or a type, with the comment above it.
func (in *Interp) declared(name string) (d docs.Doc, ok bool) {
	newest := token.NoPos
	for _, c := range in.cells {
		for _, n := range c.nodes {
			from, to := n.Pos(), n.End()
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name != name || n.Recv != nil {
					continue
				}
				if n.Body != nil {
					to = n.Body.Pos()
				}
			case *ast.GenDecl:
				if n.Tok != token.TYPE || !slices.ContainsFunc(n.Specs, func(s ast.Spec) bool { return s.(*ast.TypeSpec).Name.Name == name }) {
					continue
				}
			default:
				continue
			}
			if from <= newest {
				continue
			}
			newest = from
			begin, end := in.position(from).Offset, in.position(to).Offset
			if begin < 0 || end > len(c.code) || begin > end {
				continue
			}
			d, ok = docs.Doc{Declaration: strings.TrimSpace(c.code[begin:end]), Comment: commentAbove(c.code[:begin])}, true
		}
	}
	return d, ok
}

// commentAbove returns the comment whose last line is the last one of code.
func commentAbove(code string) string {
	lines := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	var list []string
	for i := len(lines) - 1; i >= 0 && strings.HasPrefix(lines[i], "//"); i-- {
		list = append(list, strings.TrimPrefix(strings.TrimPrefix(lines[i], "//"), " "))
	}
	slices.Reverse(list)
	return strings.Join(list, "\n")
}

// preview is the value of a variable, empty if it is long.
func (in *Interp) preview(name string) string {
	v := in.ir.ValueOf(name)
	if !v.IsValid() {
		return ""
	}
	switch k := v.Kind(); {
	case k == reflect.String:
		return fmt.Sprintf("%.200q", v.String())
	case k <= reflect.Complex128:
		return fmt.Sprint(v.Interface())
	case k == reflect.Slice || k == reflect.Array:
		if e := v.Type().Elem().Kind(); v.Len() <= 20 && e <= reflect.Complex128 {
			return fmt.Sprint(v.Interface())
		}
		return fmt.Sprintf("(%d elements)", v.Len())
	}
	return ""
}

// IsComplete implements jupyter.Interpreter.
func (in *Interp) IsComplete(code string) jupyter.Completeness {
	t, open := lex(code)
	depth := 0
	for _, l := range t {
		switch l.tok {
		case token.LPAREN, token.LBRACK, token.LBRACE:
			depth++
		case token.RPAREN, token.RBRACK, token.RBRACE:
			depth--
		}
	}
	if depth > 0 || open {
		return jupyter.Incomplete
	}
	if _, err := in.parse("line", code); err != nil {
		if n := len(t); n > 0 && t[n-1].tok.IsOperator() && t[n-1].tok != token.RPAREN && t[n-1].tok != token.RBRACK && t[n-1].tok != token.RBRACE {
			return jupyter.Incomplete
		}
		return jupyter.Invalid
	}
	return jupyter.Complete
}
