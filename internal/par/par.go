// SPDX-License-Identifier: Apache-2.0

// Package par distributes work over the cores.
//
// A call of Do or Ranges works on its own goroutine and asks helpers to join. The helpers, at most
// GOMAXPROCS-1 for the whole program, are goroutines that stay. Waking a core that sleeps takes as
// long as a short operation of a net, so a helper that has finished looks for the next call for a
// short while before it sleeps. While it looks, it lets other goroutines run; when nothing is called,
// no helper is awake.
//
// Every core has a share of the indices, the same share in each call, so it finds in its cache what it
// wrote there in the call before. A core that has finished its share takes indices from the others, so
// ranges are cut smaller than shares: a core that is late, or has slower neighbours, leaves some of its.
//
// No matter how calls are nested, and how many goroutines call, at most GOMAXPROCS-1 helpers work. A
// call never waits for a helper to join: where all are busy or slow to wake, it does the work itself.
//
// If the work panics, no more of it is begun, and the call panics when what has begun has ended. The
// value of a panic on a helper becomes an error with the stack of that goroutine, which wraps the value
// if it is an error. Work that calls runtime.Goexit likewise ends the goroutine that called.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Do calls f(i) once for every i from 0 to n-1, in any order and concurrently, and returns when all
// calls have returned. The calls must be independent of each other, so that the result does not
// depend on the number of cores.
func Do(n int, f func(i int)) {
	cores := min(n, runtime.GOMAXPROCS(0))
	do(work{n: n, f: f}, cores, cores)
}

// InOrder is Do for work of which each piece differs in length: the cores take the indices in order,
// each as it becomes free. If the longest come first, the cores finish at about the same time.
func InOrder(n int, f func(i int)) { do(work{n: n, f: f}, 1, min(n, runtime.GOMAXPROCS(0))) }

// Ranges divides 0..n into ranges of at least grain indices, or one range if n is smaller, and calls
// f for each of them, as Do does. The ranges depend only on n, grain and GOMAXPROCS.
func Ranges(n, grain int, f func(from, to int)) { ranges(work{n: n, span: f}, grain) }

// Backwards is Ranges in which every core begins with the last range of its share, which is the one
// that it has in its cache after a call of Ranges.
func Backwards(n, grain int, f func(from, to int)) {
	ranges(work{n: n, span: f, backwards: true}, grain)
}

// Cut returns where part i begins if 0..n is cut into parts whose lengths differ by at most one. Part i ends at Cut(i+1, n, parts).
func Cut(i, n, parts int) int { return int(int64(i) * int64(n) / int64(parts)) } // i*n may be too large for an int of 32 bits

// each is the largest number of ranges in the share of a core.
const each = 4

func ranges(w work, grain int) {
	cores := runtime.GOMAXPROCS(0)
	w.parts = min(each*cores, w.n/max(grain, 1))
	if cores < 2 || w.parts < 2 {
		if w.n > 0 {
			w.span(0, w.n)
		}
		return
	}
	cores = min(cores, w.parts)
	do(w, cores, cores)
}

func do(w work, shares, cores int) {
	if cores < 2 {
		for i := range w.count() {
			w.do(i)
		}
		return
	}
	c := calls.Get().(*call)
	c.divide(w, shares)
	for _, h := range helpers(cores - 1) {
		if h.ask(c) {
			c.asked = append(c.asked, h)
		}
	}
	c.join()
	if f := c.failed.Load(); f != nil {
		f.repeat()
	}
	c.work = work{}
	calls.Put(c)
}

// work is what a call is to do: f for the indices up to n, or span for the parts of 0..n.
type work struct {
	n         int
	f         func(i int)
	parts     int
	span      func(from, to int)
	backwards bool // each share from its last index to the first
}

func (w *work) count() int {
	if w.span != nil {
		return w.parts
	}
	return w.n
}

func (w *work) do(i int) {
	if w.span != nil {
		w.span(Cut(i, w.n, w.parts), Cut(i+1, w.n, w.parts))
		return
	}
	w.f(i)
}

// call is the work of one call of Do.
type call struct {
	work
	shares []share
	asked  []*helper
	// open counts the helpers that have joined and not finished. It starts at 0 and is counted down
	// as they finish, because how many have joined is known only at the end; a caller that goes to
	// sleep adds their number and asleep.
	open   atomic.Int64
	done   chan struct{}           // wakes the caller
	failed atomic.Pointer[failure] // of the first helper whose work failed
}

const asleep = 1 << 32

// share is the part of the indices that a core begins with.
type share struct {
	next       atomic.Int64 // the next index to be taken, by whichever core, backwards the mirrored one
	first, end int64
	_          [40]byte // a cache line of its own
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func (c *call) divide(w work, shares int) {
	c.work = w
	if cap(c.shares) < shares {
		c.shares = make([]share, shares)
	}
	c.shares = c.shares[:shares]
	for i := range c.shares {
		s, n := &c.shares[i], w.count()
		s.first, s.end = int64(Cut(i, n, shares)), int64(Cut(i+1, n, shares))
		s.next.Store(s.first)
	}
	c.open.Store(0)
}

// join does the part of the caller, and returns when the helpers that have joined have finished. They
// do not outlive the call even if the work of the caller panics.
func (c *call) join() {
	defer c.wait()
	defer c.stop()
	c.run(0)
}

// run takes indices until none are left, first those of the own share.
func (c *call) run(own int) {
	for i := range c.shares {
		s := &c.shares[(own+i)%len(c.shares)]
		for s.next.Load() < s.end {
			next := s.next.Add(1) - 1
			if next >= s.end {
				break
			}
			if c.backwards {
				next = s.first + s.end - 1 - next
			}
			c.do(int(next))
		}
	}
}

// stop takes the indices that are left, which are none if all of the work has succeeded.
func (c *call) stop() {
	for i := range c.shares {
		if s := &c.shares[i]; s.next.Load() < s.end {
			s.next.Store(s.end)
		}
	}
}

// finish says that a helper has finished. The helper must not use the call afterwards.
func (c *call) finish() {
	if c.open.Add(-1) == asleep {
		c.done <- struct{}{}
	}
}

// wait returns when the helpers that have joined have finished.
func (c *call) wait() {
	joined := int64(0)
	for _, h := range c.asked {
		if h.joined(c) {
			joined++
		}
	}
	c.asked = c.asked[:0]
	if joined == 0 || spin(func() bool { return c.open.Load() == -joined }) {
		return
	}
	if c.open.Add(joined+asleep) != asleep {
		<-c.done
	}
}
