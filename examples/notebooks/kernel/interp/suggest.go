// SPDX-License-Identifier: Apache-2.0

//go:build kernel

package interp

import (
	"regexp"
	"strings"

	"github.com/cosmos72/gomacro/fast"
	"github.com/cosmos72/gomacro/imports"
)

// Gomacro's messages about names that do not exist.
var (
	noName   = regexp.MustCompile(`^undefined identifier: (\w+)$`)
	noSymbol = regexp.MustCompile(`^package \w+ "([^"]+)" has no symbol (\w+)$`)
	noMember = regexp.MustCompile(`(?s)^type (.+) has no field or method "(\w+)": (.+)$`)
	noField  = regexp.MustCompile(`(?s)^type (.+) has no field "(\w+)": (.+)$`)

	// The same of what is called, which might be a type.
	noCallee  = regexp.MustCompile(`^undefined "(\w+)" in `)
	noMethod  = regexp.MustCompile(`^not a package: "\w+" in (\w+)\.(\w+) <`)
	noConvert = regexp.MustCompile(`^not a type: (\w+)\.(\w+) <`)
)

// suggest rewrites a message about a name that does not exist in plain words, with a similar name if there is one. The cell may declare names that it
// uses.
func (in *Interp) suggest(message, cell string) string {
	c := in.ir.Comp
	m := noName.FindStringSubmatch(message)
	if m == nil {
		m = noCallee.FindStringSubmatch(message)
	}
	if m != nil {
		if path := packageNamed(m[1]); path != "" {
			return m[1] + " is not defined; to use the package: import \"" + path + "\""
		}
		return m[1] + " is not defined" + meant(m[1], names(c))
	}
	if m := noSymbol.FindStringSubmatch(message); m != nil {
		return in.noSuch(m[2], c.KnownImports[m[1]], m[1])
	}
	for _, re := range []*regexp.Regexp{noMethod, noConvert} {
		if m := re.FindStringSubmatch(message); m != nil {
			if what, ok := in.resolve(m[1], cell); ok && what.pkg != nil {
				return in.noSuch(m[2], what.pkg, what.pkg.Path)
			}
			return noMemberOf(m[2], m[1], in.membersOf(m[1], cell))
		}
	}
	for _, re := range []*regexp.Regexp{noMember, noField} {
		if m := re.FindStringSubmatch(message); m != nil {
			of, have := m[1], []string(nil)
			if dot := strings.LastIndexByte(m[3], '.'); dot > 0 {
				of, have = m[3][:dot], in.membersOf(m[3][:dot], cell)
			}
			return noMemberOf(m[2], of, have)
		}
	}
	return message
}

// noSuch says that a package has no such name.
func (in *Interp) noSuch(name string, pkg *fast.Import, path string) string {
	var have []string
	if pkg != nil {
		have = in.members(thing{pkg: pkg})
	}
	return name + " does not exist in package " + path + meant(name, have)
}

// noMemberOf says that a value or type has no such field or method.
func noMemberOf(name, of string, have []string) string {
	return name + " does not exist: " + of + " has no such field or method" + meant(name, have)
}

// packageNamed returns the path of a package that a notebook can import, by the last part of it.
func packageNamed(name string) string {
	found := ""
	for path := range imports.Packages {
		if path[strings.LastIndexByte(path, '/')+1:] == name && (found == "" || preferred(path, found)) {
			found = path
		}
	}
	return found
}

// preferred reports whether a path is preferred to another with the same last part: paths of this library come first, then short ones.
func preferred(a, b string) bool {
	const ours = "github.com/kernelfold/"
	if x, y := strings.HasPrefix(a, ours), strings.HasPrefix(b, ours); x != y {
		return x
	}
	return len(a) < len(b) || len(a) == len(b) && a < b
}

// names returns the names that a cell can use.
func names(c *fast.Comp) (list []string) {
	for ; c != nil; c = c.Outer {
		for name := range c.Binds {
			list = append(list, name)
		}
		for name := range c.Types {
			list = append(list, name)
		}
	}
	return list
}

// meant returns the question for the most similar of some names, if one is similar enough.
func meant(name string, have []string) string {
	best, least := "", 1+len(name)/3 // letters
	for _, h := range have {
		if d := distance(strings.ToLower(name), strings.ToLower(h)); h != name && (d < least || d == least && best != "" && h < best) {
			best, least = h, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance returns the number of letters to replace, delete, insert or swap with the next one to turn a into b.
func distance(a, b string) int {
	row := func() []int { return make([]int, len(b)+1) }
	before, last, next := row(), row(), row()
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
