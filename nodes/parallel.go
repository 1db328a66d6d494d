// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"runtime"
	"sync"
)

// parallel calls f for ranges that make up 0..n, in several goroutines if there are
// enough elements to make it pay. What f does for an index must depend on that
// index alone, so that the split does not show in the result.
func parallel(n, elements int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n, elements>>14)
	if workers < 2 {
		f(0, n)
		return
	}
	var group sync.WaitGroup
	for w := 1; w < workers; w++ {
		group.Go(func() { f(w*n/workers, (w+1)*n/workers) })
	}
	f(0, n/workers)
	group.Wait()
}
