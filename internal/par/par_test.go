// SPDX-License-Identifier: Apache-2.0

package par

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cores runs a test with each of several GOMAXPROCS.
func cores(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{1, 2, 3, 8} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			f(t)
		})
	}
}

func TestEveryIndexOnce(t *testing.T) {
	cores(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 3, 64, 1000} {
			seen := make([]atomic.Int32, n)
			Do(n, func(i int) { seen[i].Add(1) })
			for i := range seen {
				assert.EqualValues(t, 1, seen[i].Load(), "index %d of %d", i, n)
			}
			ordered := make([]atomic.Int32, n)
			InOrder(n, func(i int) { ordered[i].Add(1) })
			for i := range ordered {
				assert.EqualValues(t, 1, ordered[i].Load(), "index %d of %d", i, n)
			}
			for _, ranges := range []func(int, int, func(int, int)){Ranges, Backwards} {
				covered := make([]atomic.Int32, n)
				ranges(n, 7, func(from, to int) {
					assert.True(t, to-from >= 7 || to-from == n, "%d to %d of %d", from, to, n)
					for i := from; i < to; i++ {
						covered[i].Add(1)
					}
				})
				for i := range covered {
					assert.EqualValues(t, 1, covered[i].Load(), "index %d of %d", i, n)
				}
			}
		}
	})
}

// What a call has written can be read after it without further synchronisation, whether its helpers
// were awake, asleep or late. The race detector watches.
func TestManyCalls(t *testing.T) {
	cores(t, func(t *testing.T) {
		data := make([]int, 100)
		for k := range 3000 {
			if k%500 == 0 {
				time.Sleep(3 * patience) // the helpers fall asleep
			}
			Do(len(data), func(i int) {
				data[i]++
				if i == len(data)-1 && k%700 == 0 {
					time.Sleep(3 * patience) // one core is late, and the caller may fall asleep
				}
			})
			for i := range data {
				if data[i] != k+1 {
					t.Fatalf("call %d: want index %d to be done, got %d", k, i, data[i])
				}
			}
		}
	})
}

// Nested calls share the cores: at most GOMAXPROCS goroutines are at work.
func TestNestedCallsDoNotOversubscribe(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var working, most atomic.Int64
	for range 100 {
		var done atomic.Int64
		Do(8, func(int) {
			Do(8, func(int) {
				now := working.Add(1)
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				for range 10 {
					runtime.Gosched()
				}
				done.Add(1)
				working.Add(-1)
			})
		})
		assert.EqualValues(t, 64, done.Load())
	}
	assert.LessOrEqual(t, most.Load(), int64(4))
}

// Goroutines that call at the same time share the helpers, and none waits for another.
func TestCallsOfSeveralGoroutines(t *testing.T) {
	cores(t, func(t *testing.T) {
		var group sync.WaitGroup
		for g := range 5 {
			group.Go(func() {
				sum := make([]int64, 10)
				for range 500 {
					Do(len(sum), func(i int) { sum[i] += int64(g) })
				}
				for i := range sum {
					assert.EqualValues(t, 500*g, sum[i])
				}
			})
		}
		group.Wait()
	})
}

// A helper that does not come, because it is busy, does not keep the caller.
func TestBusyHelper(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	release, occupied := make(chan struct{}), make(chan struct{})
	go Do(2, func(int) {
		occupied <- struct{}{}
		<-release
	})
	<-occupied
	<-occupied // both the caller and the helper of that call are held
	count := 0
	Do(100, func(int) { count++ }) // here alone
	assert.Equal(t, 100, count)
	close(release)
}

// Parts cover everything and are of equal length, also where an index times the length needs more than 32 bits.
func TestCut(t *testing.T) {
	const n, parts = 1<<30 + 5, 64
	w := work{n: n, parts: parts}
	end := 0
	w.span = func(from, to int) {
		require.Equal(t, end, from)
		require.InDelta(t, n/parts, to-from, 1)
		end = to
	}
	for i := range parts {
		w.do(i)
	}
	require.Equal(t, n, end)
}

// idle waits until the first helper, which may have joined a call of an earlier test, is free.
func idle() {
	for helpers(1)[0].task.Load() != nil {
		runtime.Gosched()
	}
}

// both calls Do with one index for the caller, 0, and one for a helper, 1. Neither returns before both have begun.
func both(f func(i int)) {
	idle()
	var begun sync.WaitGroup
	begun.Add(2)
	Do(2, func(i int) {
		begun.Done()
		begun.Wait()
		f(i)
	})
}

// A panic on the goroutine of the caller reaches it as it is, but not before the helpers have finished.
func TestPanicOfTheCaller(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var finished atomic.Bool
	assert.PanicsWithValue(t, "wrong", func() {
		both(func(i int) {
			if i == 0 {
				panic("wrong")
			}
			time.Sleep(20 * time.Millisecond) // after the panic
			finished.Store(true)
		})
	})
	assert.True(t, finished.Load())
	both(func(int) {})
}

// A panic on a helper reaches the caller with the stack of the helper, and no other work is begun.
func TestPanicOfAHelper(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	cause := errors.New("wrong")
	var count atomic.Int64
	begun := make(chan struct{})
	defer func() {
		err, ok := recover().(error)
		require.True(t, ok)
		assert.ErrorIs(t, err, cause)
		assert.ErrorContains(t, err, "wrong")
		assert.ErrorContains(t, err, "TestPanicOfAHelper")
		assert.EqualValues(t, 2, count.Load())
		both(func(int) {})
	}()
	idle()
	Do(100, func(i int) {
		count.Add(1)
		if i > 0 {
			close(begun)
			panic(cause)
		}
		<-begun
		idle()
	})
	t.Error("want a panic")
}

// runtime.Goexit on a helper ends the goroutine that called, and the helper is replaced.
func TestGoexitOfAHelper(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	returned, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		both(func(i int) {
			if i == 1 {
				runtime.Goexit()
			}
		})
		returned = true
	}()
	<-ended
	assert.False(t, returned)
	both(func(int) {})
}

// The core that an index falls to is the same in each call, as long as no core is late.
func TestSharesAreTheSame(t *testing.T) {
	c := &call{}
	var order []int
	w := work{n: 10, f: func(i int) { order = append(order, i) }}
	c.divide(w, 3)
	c.run(1)
	assert.Equal(t, []int{3, 4, 5, 6, 7, 8, 9, 0, 1, 2}, order, "the own share first, then those of others")

	order = nil
	w.backwards = true
	c.divide(w, 3)
	c.run(1)
	assert.Equal(t, []int{5, 4, 3, 9, 8, 7, 6, 2, 1, 0}, order, "each share from its end")
}

// Where pieces differ in length, no core begins a later one before an earlier one has begun.
func TestInOrder(t *testing.T) {
	cores(t, func(t *testing.T) {
		var begun atomic.Int64
		var late atomic.Int64
		InOrder(200, func(i int) {
			if before := begun.Add(1) - 1; before < int64(i)-int64(runtime.GOMAXPROCS(0)) {
				late.Add(1)
			}
		})
		assert.Zero(t, late.Load())
	})
}

// Nothing runs while nothing is called.
func TestHelpersSleep(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	Do(8, func(int) {})
	assert.Eventually(t, func() bool {
		for _, h := range helpers(7) {
			if !h.sleeping.Load() {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
}

func TestCallsDoNotAllocate(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	data := make([]int, 64)
	f := func(i int) { data[i]++ }
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { Do(len(data), f) }), 0.1)
}

// BenchmarkCall measures a call of next to no work.
func BenchmarkCall(b *testing.B) {
	for _, pause := range []time.Duration{0, 20 * time.Microsecond, time.Millisecond} {
		b.Run(fmt.Sprintf("after %v", pause), func(b *testing.B) {
			var in time.Duration
			for range b.N {
				for from := time.Now(); time.Since(from) < pause; {
				}
				from := time.Now()
				Do(2, func(int) {
					for from := time.Now(); time.Since(from) < 5*time.Microsecond; {
					}
				})
				in += time.Since(from)
			}
			b.ReportMetric(float64(in.Nanoseconds())/float64(b.N), "ns/call")
		})
	}
}
