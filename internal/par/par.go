// SPDX-License-Identifier: Apache-2.0

// Package par spreads work over the cores.
//
// However calls are nested, no more goroutines work at once than GOMAXPROCS: a
// call takes helpers from what is left of that number, and does everything itself
// where nothing is.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// helpers is the number of goroutines at work beside those that called.
var helpers atomic.Int64

// Do calls f(i) once for every i from 0 to n-1, in any order, and returns when all
// have returned. What f does for an index must not depend on which others run
// beside it, so that the number of cores does not show in the result.
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

// hire returns how many of the helpers wanted are free, and takes them.
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

// Ranges calls f for ranges that make up 0..n, each of at least grain indices but
// for one, as Do calls it for indices. The ranges depend on n, grain and GOMAXPROCS alone.
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
