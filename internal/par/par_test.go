// SPDX-License-Identifier: Apache-2.0

package par

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEveryIndexOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 64, 1000} {
		seen := make([]atomic.Int32, n)
		Do(n, func(i int) { seen[i].Add(1) })
		for i := range seen {
			assert.EqualValues(t, 1, seen[i].Load(), "index %d of %d", i, n)
		}
		covered := make([]atomic.Int32, n)
		Ranges(n, 7, func(from, to int) {
			for i := from; i < to; i++ {
				covered[i].Add(1)
			}
		})
		for i := range covered {
			assert.EqualValues(t, 1, covered[i].Load(), "index %d of %d", i, n)
		}
	}
}

// Nested calls share the cores: at most GOMAXPROCS goroutines are at work.
func TestNestedCallsDoNotOversubscribe(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var working, most atomic.Int64
	Do(8, func(int) {
		Do(8, func(int) {
			now := working.Add(1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			for range 100 {
				runtime.Gosched()
			}
			working.Add(-1)
		})
	})
	assert.LessOrEqual(t, most.Load(), int64(4))
	assert.Zero(t, helpers.Load())
}
