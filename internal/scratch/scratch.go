// SPDX-License-Identifier: Apache-2.0

// Package scratch lends workspaces. A workspace that is returned is kept and lent again, so a loop
// that borrows the same sizes in each iteration allocates nothing after the first. The package keeps
// as many buffers as were ever lent at once.
package scratch

import (
	"sync"

	"github.com/kernelfold/kernelfold/internal/vec"
)

type shelf[T vec.Float] struct {
	mu   sync.Mutex
	free [][]T
}

var (
	shelf32 shelf[float32]
	shelf64 shelf[float64]
)

func shelfOf[T vec.Float]() *shelf[T] {
	var s any = &shelf32
	if vec.Double[T]() {
		s = &shelf64
	}
	return s.(*shelf[T])
}

// Get lends a slice of length n with arbitrary contents.
func Get[T vec.Float](n int) []T {
	s := shelfOf[T]()
	s.mu.Lock()
	defer s.mu.Unlock()
	best := -1
	for i, b := range s.free {
		if cap(b) >= n && (best < 0 || cap(b) < cap(s.free[best])) {
			best = i
		}
	}
	last := len(s.free) - 1
	if best < 0 {
		if last >= 0 { // drop one that is too small, so that the number of buffers does not grow
			s.free[last] = nil
			s.free = s.free[:last]
		}
		return make([]T, n)
	}
	b := s.free[best]
	s.free[best] = s.free[last]
	s.free[last] = nil
	s.free = s.free[:last]
	return b[:n]
}

// Put takes back a slice that Get lent.
func Put[T vec.Float](b []T) {
	s := shelfOf[T]()
	s.mu.Lock()
	s.free = append(s.free, b)
	s.mu.Unlock()
}

// Parts returns a function that cuts slices of n elements off a workspace, one after the other.
func Parts[T vec.Float](whole []T) func(n int) []T {
	return func(n int) []T {
		part := whole[:n:n]
		whole = whole[n:]
		return part
	}
}
