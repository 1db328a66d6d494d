// SPDX-License-Identifier: Apache-2.0

// Package mpitest runs the body of a test on several ranks: goroutines of this process, or,
// in a test program that mpirun started, the processes that it started.
package mpitest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/kernelfold/kernelfold/internal/mpi"
)

// world is the ranks that a launcher started, if it started more than one.
var world mpi.Comm

// Main runs the tests of a package, for its TestMain.
func Main(m *testing.M) {
	c, err := mpi.Join()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if c.Size() > 1 {
		world = c
	}
	status := m.Run()
	if status == 0 { // otherwise the launcher ends the other ranks
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// Launched reports whether the ranks are processes.
func Launched() bool { return world != nil }

// World returns the Comm of the processes that a launcher started, or of this one.
func World() mpi.Comm {
	if world != nil {
		return world
	}
	return Ranks(1)[0]
}

// Run runs body on n ranks. In a program that a launcher started it is skipped unless n is the number of ranks
// started.
//
// A rank whose body stops early breaks the collective calls of the others, so that a failing test ends.
func Run(t *testing.T, n int, body func(t *testing.T, c mpi.Comm)) {
	t.Helper()
	if world != nil {
		if world.Size() != n {
			t.Skipf("for %d ranks, and there are %d", n, world.Size())
		}
		body(t, world)
		if t.Failed() {
			os.Exit(1) // the other ranks may wait for this one
		}
		return
	}
	var group sync.WaitGroup
	for _, c := range Ranks(n) {
		group.Go(func() {
			whole := false
			defer func() {
				if !whole {
					c.(*rank).leave()
				}
			}()
			body(t, c)
			whole = true
		})
	}
	group.Wait()
}

// Ranks returns the Comms of n ranks within this process, each for a goroutine of its own.
func Ranks(n int) []mpi.Comm {
	s := &shared{n: n, sources: make([]any, n)}
	s.moved.L = &s.lock
	all := make([]mpi.Comm, n)
	for i := range all {
		all[i] = &rank{s, i}
	}
	return all
}

// errLeft is what a collective call returns when a rank does not come to it any more.
var errLeft = errors.New("mpitest: a rank has left")

// shared is what the ranks of a process share: a place for the argument of each, and a barrier.
type shared struct {
	lock    sync.Mutex
	moved   sync.Cond
	n       int
	sources []any
	here    int
	turn    int
	left    bool
}

type rank struct {
	*shared
	rank int
}

func (r *rank) Rank() int { return r.rank }
func (r *rank) Size() int { return r.n }

func (r *rank) leave() {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.left = true
	r.moved.Broadcast()
}

// wait is a barrier.
func (r *rank) wait() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	turn := r.turn
	if r.here++; r.here == r.n {
		r.here = 0
		r.turn++
		r.moved.Broadcast()
	}
	for r.turn == turn && !r.left {
		r.moved.Wait()
	}
	if r.turn == turn {
		return errLeft
	}
	return nil
}

// together shows the sources of all ranks to f, and returns when all ranks are done with theirs.
func (r *rank) together(source any, f func(sources []any) error) error {
	r.sources[r.rank] = source
	if err := r.wait(); err != nil {
		return err
	}
	err := f(r.sources)
	if e := r.wait(); e != nil {
		return e
	}
	return err
}

func sum[T float32 | float64](dst []T, sources []any) error {
	for i, s := range sources {
		src := s.([]T)
		switch {
		case len(src) != len(dst):
			return fmt.Errorf("mpitest: sum: want %d numbers, got %d from rank %d", len(dst), len(src), i)
		case i == 0:
			copy(dst, src)
		default:
			for k, v := range src {
				dst[k] += v
			}
		}
	}
	return nil
}

func (r *rank) Sum32(dst, src []float32) error {
	return r.together(src, func(s []any) error { return sum(dst, s) })
}

func (r *rank) Sum64(dst, src []float64) error {
	return r.together(src, func(s []any) error { return sum(dst, s) })
}

func (r *rank) Gather(dst, src []byte) error {
	return r.together(src, func(sources []any) error {
		for i, s := range sources {
			if len(s.([]byte)) != len(src) || len(dst) != r.n*len(src) {
				return fmt.Errorf("mpitest: gather: want %d bytes, %d in all, got %d from rank %d", len(src), len(dst), len(s.([]byte)), i)
			}
			copy(dst[i*len(src):], s.([]byte))
		}
		return nil
	})
}

func (r *rank) Broadcast(root int, b []byte) error {
	return r.together(b, func(sources []any) error {
		from := sources[root].([]byte)
		if len(from) != len(b) {
			return fmt.Errorf("mpitest: broadcast: want %d bytes, got %d from rank %d", len(b), len(from), root)
		}
		if r.rank != root {
			copy(b, from)
		}
		return nil
	})
}

func (r *rank) Close() error { return r.wait() }
