// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
)

// speedUpContest compares our training steps on several threads with the same on one, by wall time, and so the
// product of matrices, whose speed-up is that of the machine. The bounds are for two threads, on a machine that offers the arithmetic of two cores.
func speedUpContest(threads int) contest {
	c := contest{name: fmt.Sprintf("speed-up from 1 to %d threads", threads)}
	add := func(what string, make func(name string) entrant) row {
		one, many := what+", 1", fmt.Sprintf("%s, %d", what, threads)
		c.entrants = append(c.entrants, onThreads(1, make(one)), onThreads(threads, make(many)))
		return row{what: c.name + ", " + what, peer: "1 thread", ours: of(many), its: of(one), as: timesAsFast}
	}
	product := add("product of matrices", multiplies)
	c.rows = append(c.rows, product)
	for _, n := range []struct {
		what string
		make func(name string) entrant
	}{
		{"training step", func(name string) entrant { return plainNet.trains(name, ourOps, ourAdam) }},
		{"training step, ResNet-20", func(name string) entrant { return resNet(resNetBatch).trains(name, decaySGD()) }},
		{"training step, WRN-16-4", func(name string) entrant { return wideResNet(wideResNetBatch).trains(name, decaySGD()) }},
	} {
		r := add(n.what, n.make)
		if threads == 2 {
			r.bar = bar{1 / 1.75, 1 / 1.85}
			r.given = &premise{ours: product.ours, its: product.its, most: 1 / 1.85, otherwise: func(ratio float64) string {
				return "the product alone is " + timesAsFast(ratio)
			}}
		}
		c.rows = append(c.rows, r)
	}
	return c
}

// timesAsFast prints a ratio of times as that of speeds.
func timesAsFast(ratio float64) string { return fmt.Sprintf("%.2fx as fast", 1/ratio) }

// multiplies is the entrant of a product of matrices.
func multiplies(name string) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		m := newMatrices()
		return local{clock: s.clock, prepare: func() {}, step: func() error { m.multiply(); return nil }}, nil
	}}
}

// onThreads makes and runs an entrant on the given number of threads.
func onThreads(threads int, e entrant) entrant {
	return entrant{e.name, func(ctx context.Context, s *stage) (contestant, error) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
		c, err := e.make(ctx, s)
		return threaded{c, threads}, err
	}}
}

// threaded is a contestant that has its own number of threads.
type threaded struct {
	contestant
	threads int
}

func (t threaded) run(steps int) (float64, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(t.threads))
	return t.contestant.run(steps)
}
