// SPDX-License-Identifier: Apache-2.0

// Package wrap looks through solvers that wrap others. A wrapper has the method
//
//	Unwrap() gorgonia.Solver
//
// Distributed averaging, training and checkpoints all find what they need of a solver here.
package wrap

import (
	"fmt"
	"iter"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// depth is how many solvers are looked at: a wrapper that wraps itself ends there.
const depth = 100

// All yields s, what s wraps, what that wraps, and so on.
func All(s gorgonia.Solver) iter.Seq[gorgonia.Solver] {
	return func(yield func(gorgonia.Solver) bool) {
		for range depth {
			if isnil.Of(s) || !yield(s) {
				return
			}
			w, wraps := s.(interface{ Unwrap() gorgonia.Solver })
			if !wraps {
				return
			}
			s = w.Unwrap()
		}
	}
}

// Find returns the first of All that is a T.
func Find[T any](s gorgonia.Solver) (found T, ok bool) {
	for s := range All(s) {
		if found, ok = s.(T); ok {
			return found, true
		}
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
