// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// clock measures the time of steps, as differences of now.
type clock struct {
	name string // as in the table
	peer string // as the peers call it
	now  func() time.Duration
}

// wall runs on while the process waits.
var wall = clock{"wall time", "wall", func() time.Duration { return time.Since(start) }}

var start = time.Now()

// clockFor returns the clock for a number of threads: on one thread the CPU time of the process, if the system provides it, and otherwise wall time.
func clockFor(threads int) clock {
	if threads > 1 {
		return wall
	}
	return single
}

// milliseconds runs f.
func (c clock) milliseconds(f func() error) (float64, error) {
	from := c.now()
	err := f()
	return (c.now() - from).Seconds() * 1e3, err
}
