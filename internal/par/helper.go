// SPDX-License-Identifier: Apache-2.0

package par

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a goroutine looks for work, or for the end of it, before it sleeps: a few times
// as long as waking a core takes.
const patience = 100 * time.Microsecond

// helper is a goroutine that works for calls, one at a time.
type helper struct {
	share    int                  // with which it begins
	task     atomic.Pointer[call] // nil if it is free, taken while it works, otherwise the call that asks
	sleeping atomic.Bool
	wake     chan struct{}
	_        [32]byte // a cache line of its own
}

// taken stands for the task of a helper that is at work.
var taken = new(call)

var (
	all    atomic.Pointer[[]*helper]
	hiring sync.Mutex
)

// helpers returns n helpers, always the same.
func helpers(n int) []*helper {
	if h := all.Load(); h != nil && len(*h) >= n {
		return (*h)[:n]
	}
	hiring.Lock()
	defer hiring.Unlock()
	var hired []*helper
	if h := all.Load(); h != nil {
		hired = append(hired, *h...)
	}
	for len(hired) < n {
		h := &helper{share: len(hired) + 1, wake: make(chan struct{}, 1)}
		hired = append(hired, h)
		go h.run()
	}
	all.Store(&hired)
	return hired[:n]
}

// ask asks the helper to join a call, and reports whether it is free to.
func (h *helper) ask(c *call) bool {
	if h.task.Load() != nil || !h.task.CompareAndSwap(nil, c) {
		return false
	}
	if h.sleeping.Load() {
		select {
		case h.wake <- struct{}{}:
		default: // it has been woken already
		}
	}
	return true
}

// joined takes back the call if the helper has not begun, and reports whether it has.
func (h *helper) joined(c *call) bool { return !h.task.CompareAndSwap(c, nil) }

func (h *helper) run() {
	defer func() { go h.run() }() // only runtime.Goexit ends the loop
	for {
		h.serve(h.next())
	}
}

// serve does the part of the helper in a call that it has joined.
func (h *helper) serve(c *call) {
	returned := false
	defer func() {
		if !returned {
			c.failed.CompareAndSwap(nil, &failure{recover(), debug.Stack()})
			c.stop()
		}
		h.task.Store(nil)
		c.finish()
	}()
	c.run(h.share)
	returned = true
}

// failure is how work on a helper ended that did not return.
type failure struct {
	value any // of the panic, nil after runtime.Goexit
	stack []byte
}

// repeat ends the work of the caller in the same way.
func (f *failure) repeat() {
	if f.value == nil {
		runtime.Goexit()
	}
	panic(f)
}

// Error has more than one line, as a panic prints it.
func (f *failure) Error() string {
	return fmt.Sprintf("%v\n\nin work that another goroutine did for this one:\n%s", f.value, f.stack)
}

// Unwrap returns the value of the panic if it is an error.
func (f *failure) Unwrap() error {
	err, _ := f.value.(error)
	return err
}

// next waits for a call that asks, and joins it.
func (h *helper) next() (c *call) {
	join := func() bool {
		c = h.task.Load()
		return c != nil && h.task.CompareAndSwap(c, taken)
	}
	for !spin(join) {
		h.sleeping.Store(true)
		if h.task.Load() == nil {
			<-h.wake
		}
		h.sleeping.Store(false)
	}
	return c
}

// spin calls done until it is true, or reports false when patience is exhausted.
func spin(done func() bool) bool {
	const polls = 32 // between looks at the clock
	var from, yielded time.Time
	for i := 1; !done(); i++ {
		if i%polls > 0 {
			continue
		}
		now := time.Now()
		switch {
		case i == polls:
			from, yielded = now, now
		case now.Sub(from) > patience:
			return false
		case now.Sub(yielded) > patience/4:
			runtime.Gosched()
			yielded = now
		}
	}
	return true
}
