// SPDX-License-Identifier: Apache-2.0

// Package wrap looks through solvers that wrap others. A wrapper has the method
//
//	Unwrap() gorgonia.Solver
//
// Distributed averaging, training and checkpoints all find what they need of a solver here.
package wrap

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// depth is how many solvers are looked at: a wrapper that wraps itself ends there.
const depth = 100

// Find returns the outermost solver that is a T: s, what s wraps, what that wraps, and so on.
func Find[T any](s gorgonia.Solver) (found T, ok bool) {
	for range depth {
		if isnil.Of(s) {
			break
		}
		if found, ok = s.(T); ok {
			return found, true
		}
		w, wraps := s.(interface{ Unwrap() gorgonia.Solver })
		if !wraps {
			break
		}
		s = w.Unwrap()
	}
	return found, false
}

// Describe names the types of s and of all that it wraps: "*a.Wrapper around *b.Solver".
func Describe(s gorgonia.Solver) string {
	text := fmt.Sprintf("%T", s)
	for range depth {
		w, wraps := s.(interface{ Unwrap() gorgonia.Solver })
		if !wraps || isnil.Of(s) {
			return text
		}
		s = w.Unwrap()
		text += fmt.Sprintf(" around %T", s)
	}
	return fmt.Sprintf("%T around itself", s)
}
