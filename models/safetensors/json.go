// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads the values of a JSON text (RFC 8259) one by one. It rejects what serde_json rejects, which
// reads the header in the reference implementation. (encoding/json would replace half a surrogate pair, and
// allocates every token.) Strings without escapes share memory with the text.
type scanner struct {
	text  string // valid UTF-8
	at    int
	depth int
}

// maxDepth is how deep arrays and objects may be nested.
const maxDepth = 127

// next skips white space and returns the byte that follows, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// fail returns the error for unexpected text.
func (s *scanner) fail(want string) error {
	const most = 20 // bytes of what came
	rest := s.text[s.at:]
	switch {
	case rest == "":
		return fmt.Errorf("want %s at byte %d, got the end", want, s.at)
	case len(rest) > most:
		rest = strings.ToValidUTF8(rest[:most], "")
	}
	return fmt.Errorf("want %s at byte %d, got %q", want, s.at, rest)
}

// end takes the end of the text.
func (s *scanner) end() error {
	if s.next(); s.at < len(s.text) {
		return s.fail("nothing after the object")
	}
	return nil
}

// null takes null if it comes.
func (s *scanner) null() bool {
	s.next()
	if !strings.HasPrefix(s.text[s.at:], "null") {
		return false
	}
	s.at += len("null")
	return true
}

// list takes what stands between two brackets, where item takes each item.
func (s *scanner) list(open, end byte, what string, item func() error) error {
	if s.next() != open {
		return s.fail(what)
	}
	if s.depth++; s.depth > maxDepth {
		return fmt.Errorf("want at most %d levels of arrays and objects, got more at byte %d", maxDepth, s.at)
	}
	s.at++
	for n := 0; s.next() != end; n++ {
		if n > 0 {
			if s.next() != ',' {
				return s.fail(fmt.Sprintf("%q or a comma", end))
			}
			s.at++
		}
		if err := item(); err != nil {
			return err
		}
	}
	s.at++
	s.depth--
	return nil
}

// object takes an object, of which value takes each value.
func (s *scanner) object(value func(name string) error) error {
	return s.list('{', '}', "a JSON object", func() error {
		name, err := s.string()
		if err != nil {
			return err
		}
		if s.next() != ':' {
			return s.fail("a colon")
		}
		s.at++
		return value(name)
	})
}

// array takes an array, of which item takes each item.
func (s *scanner) array(item func() error) error { return s.list('[', ']', "an array", item) }

// integer takes a number from 0 to 2^63-1 that is written as an integer.
func (s *scanner) integer() (int64, error) {
	number, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("want an integer from 0 to 2^63-1, got %s", number)
	}
	return int64(n), nil
}

// number takes a number and returns its text.
func (s *scanner) number() (string, error) {
	s.next()
	from := s.at
	digits := func() bool {
		first := s.at
		for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
			s.at++
		}
		return s.at > first
	}
	one := func(of string) bool {
		if s.at < len(s.text) && strings.IndexByte(of, s.text[s.at]) >= 0 {
			s.at++
			return true
		}
		return false
	}
	one("-")
	whole := one("0") || digits()
	if one(".") {
		whole = digits() && whole
	}
	if one("eE") {
		one("+-")
		whole = digits() && whole
	}
	if number := s.text[from:s.at]; whole {
		return number, nil
	}
	s.at = from
	return "", s.fail("a number")
}

// string takes a string.
func (s *scanner) string() (string, error) {
	if s.next() != '"' {
		return "", s.fail("a string")
	}
	s.at++
	var text strings.Builder // what comes before the last escape
	for from := s.at; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			part := s.text[from:s.at]
			s.at++
			if text.Len() == 0 {
				return part, nil
			}
			text.WriteString(part)
			return text.String(), nil
		case c == '\\':
			text.WriteString(s.text[from:s.at])
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			text.WriteRune(r)
			from = s.at + 1
		case c < ' ':
			return "", s.fail("a string without control characters")
		}
	}
	return "", s.fail("the end of a string")
}

// escape takes a backslash and what follows, but for the last byte.
func (s *scanner) escape() (rune, error) {
	if strings.HasPrefix(s.text[s.at:], `\u`) {
		return s.escapedRune()
	}
	if s.at++; s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case '"', '\\', '/':
			return rune(c), nil
		case 'b':
			return '\b', nil
		case 'f':
			return '\f', nil
		case 'n':
			return '\n', nil
		case 'r':
			return '\r', nil
		case 't':
			return '\t', nil
		}
	}
	return 0, s.fail("an escape")
}

// escapedRune takes \uXXXX, or two of them if they are a surrogate pair, but for the last byte.
func (s *scanner) escapedRune() (rune, error) {
	r, ok := s.hex()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		if low, ok = s.hex(); ok {
			r = utf16.DecodeRune(r, low)
			ok = r != utf8.RuneError
		}
	}
	if !ok {
		return 0, s.fail(`four hexadecimal digits after \u, or two such escapes that are a surrogate pair`)
	}
	s.at--
	return r, nil
}

// hex takes \uXXXX.
func (s *scanner) hex() (rune, bool) {
	const size = len(`\uXXXX`)
	if len(s.text)-s.at < size || s.text[s.at:s.at+2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(s.text[s.at+2:s.at+size], 16, 16)
	if err != nil {
		return 0, false
	}
	s.at += size
	return rune(n), true
}

// skip takes a value of any kind.
func (s *scanner) skip() error {
	switch c := s.next(); {
	case c == '{':
		return s.object(func(string) error { return s.skip() })
	case c == '[':
		return s.array(s.skip)
	case c == '"':
		_, err := s.string()
		return err
	case c == '-' || '0' <= c && c <= '9':
		number, err := s.number()
		if f, e := strconv.ParseFloat(number, 64); err == nil && (e != nil || math.IsInf(f, 0)) {
			return fmt.Errorf("want numbers that fit in 64 bits, got %s", number)
		}
		return err
	case s.null():
		return nil
	}
	for _, literal := range []string{"true", "false"} {
		if strings.HasPrefix(s.text[s.at:], literal) {
			s.at += len(literal)
			return nil
		}
	}
	return s.fail("a value")
}
