// SPDX-License-Identifier: Apache-2.0

// Package par distributes work over the cores.
//
// No matter how calls are nested, at most GOMAXPROCS goroutines work at once: a call starts helpers
// only while fewer than that are at work, and otherwise does all the work itself.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// helpers is the number of goroutines at work, not counting the callers.
var helpers atomic.Int64

// Do calls f(i) once for every i from 0 to n-1, in any order and concurrently, and returns when all
// calls have returned. The calls must be independent of each other, so that the result does not
// depend on the number of cores.
func Do(n int, f func(i int)) {
	want := min(n, runtime.GOMAXPROCS(0)) - 1
	if want <= 0 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var group sync.WaitGroup
	for range hire(want) {
		group.Go(func() {
			work()
			helpers.Add(-1)
		})
	}
	work()
	group.Wait()
}

// hire reserves up to want helpers and returns their number.
func hire(want int) int {
	for {
		busy := helpers.Load()
		got := min(want, runtime.GOMAXPROCS(0)-1-int(busy))
		if got <= 0 {
			return 0
		}
		if helpers.CompareAndSwap(busy, busy+int64(got)) {
			return got
		}
	}
}

// Ranges divides 0..n into ranges of at least grain indices, or one range if n is smaller, and calls
// f for each of them, as Do does. The ranges depend only on n, grain and GOMAXPROCS.
func Ranges(n, grain int, f func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), n/max(grain, 1))
	if parts < 2 {
		if n > 0 {
			f(0, n)
		}
		return
	}
	Do(parts, func(i int) { f(i*n/parts, (i+1)*n/parts) })
}
