// SPDX-License-Identifier: Apache-2.0

package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Messages that a page quotes, with three dots for what it leaves out, are those of the code: each part without values
// is a part of a string of the code.
func TestMessages(t *testing.T) {
	var code []string
	for _, path := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") {
					code = append(code, s)
				}
			}
			return true
		})
	}
	quoted := regexp.MustCompile("`([^`\n]*)`")
	message := regexp.MustCompile(`\.\.\. |[a-z] \.\.\.|^want |\bgot\b| to step `)
	found := 0
	for _, page := range pages(t) {
		for _, m := range quoted.FindAllStringSubmatch(outsideCode(read(t, page)), -1) {
			if !message.MatchString(m[1]) || strings.Contains(m[1], "{") || strings.Contains(m[1], ")...") {
				continue
			}
			found++
			for _, part := range values.Split(m[1], -1) {
				part = strings.Trim(part, " ,")
				assert.True(t, !strings.Contains(part, " ") || printed(part, code), "%s: `%s`: no string of the code is like %q", relative(page), m[1], part)
			}
		}
	}
	assert.Greater(t, found, 20, "messages found")
	assert.False(t, printed("want a gradient, got none", code))
	assert.False(t, printed("want at most two of", code))
}

// values are what a message has in place of verbs, and dots, colons and the word between what was wanted and what came.
var values = regexp.MustCompile(`\.\.\.|: |"[^"]*"|\([^()]*\)|\[[^\]]*\]|\bgot\b|\b[0-9][0-9a-f.+-]*\b|\bfloat32\b|\bfloat64\b`)

var verb = regexp.MustCompile(`%[-+#0-9.*\[\]]*[a-zA-Z]`)

// printed reports whether a text is a part of one of the strings with words in place of its verbs. At least half of the text is
// the string's own.
func printed(text string, code []string) bool {
	for _, s := range code {
		const value = '\x00'
		format := verb.ReplaceAllString(s, string(rune(value)))
		// own[i] is the largest number of bytes that are the string's if the next byte is that at i; -1: impossible.
		own := make([]int, len(format)+1)
		for i := range text {
			next := make([]int, len(format)+1)
			for j := range next {
				next[j] = -1
			}
			for j, n := range own {
				for ; n >= 0 && j < len(format); j++ { // a value may be empty
					if format[j] == text[i] {
						next[j+1] = max(next[j+1], n+1)
					}
					if format[j] != value {
						break
					}
					if text[i] != ' ' { // a value is one word
						next[j] = max(next[j], n)
					}
				}
			}
			own = next
		}
		for _, n := range own {
			if 2*n >= len(text) {
				return true
			}
		}
	}
	return false
}
