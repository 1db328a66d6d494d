// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// heap watches how large the heap grows.
type heap struct {
	base, peak float64
	sample     []metrics.Sample
	end, ended chan struct{}
	procs      int
}

// watchHeap starts to look at the heap ten times a millisecond. It takes a core
// for that, in addition to those in use.
func watchHeap() *heap {
	h := &heap{
		sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}},
		end:    make(chan struct{}), ended: make(chan struct{}),
	}
	runtime.GC()
	runtime.GC() // the second sweeps what the finalizers let go in the first
	h.base = h.read()
	h.procs = runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	go func() {
		defer close(h.ended)
		for {
			h.peak = max(h.peak, h.read())
			select {
			case <-h.end:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	return h
}

func (h *heap) read() float64 {
	metrics.Read(h.sample)
	return float64(h.sample[0].Value.Uint64())
}

// stop returns the most bytes that there were beyond those at the start.
func (h *heap) stop() float64 {
	close(h.end)
	<-h.ended
	runtime.GOMAXPROCS(h.procs)
	return h.peak - h.base
}
