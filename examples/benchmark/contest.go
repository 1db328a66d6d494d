// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// contest is what is measured side by side: in every round each entrant does a
// block of steps, so that whatever slows the machine down slows all of them.
type contest struct {
	name     string
	entrants []entrant
	rows     []row
	least    int // steps in a block at least, so that garbage is collected within
}

// entrant makes a contestant. An error of type missing says that it cannot be had.
type entrant struct {
	name string
	make func(context.Context, *stage) (contestant, error)
}

// contestant does steps, all alike.
type contestant interface {
	// run returns the mean milliseconds of that many steps. With more than one, a
	// step before them, which warms the caches, is not timed.
	run(steps int) (float64, error)
	close()
}

// stage is what contestants are made with.
type stage struct {
	plan
	threads int
	clock   clock
	peers   *peers
}

// plan says how long to measure.
type plan struct {
	rounds int
	block  time.Duration // of the steps of an entrant in a round, about
	enough time.Duration // for a contest, after which three rounds will do
}

var (
	full  = plan{15, 100 * time.Millisecond, 30 * time.Second}
	quick = plan{5, 20 * time.Millisecond, time.Second}
)

// times are the milliseconds of a step of each entrant, by name, in each round.
type times []map[string]float64

// measure runs the contest. Entrants that are missing have no times, and reasons.
func (c contest) measure(ctx context.Context, s *stage, p *progress) (times, map[string]missing, error) {
	var names []string
	var contestants []contestant
	defer func() {
		for _, c := range contestants {
			c.close()
		}
		runtime.GC() // a contest leaves nothing to the next
	}()
	absent := map[string]missing{}
	p.next(c.name)
	for _, e := range c.entrants {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		made, err := e.make(ctx, s)
		var m missing
		if errors.As(err, &m) {
			absent[e.name] = m
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %s: %w", c.name, e.name, err)
		}
		names, contestants = append(names, e.name), append(contestants, made)
	}

	blocks, err := c.warmUp(ctx, s, names, contestants)
	if err != nil {
		return nil, nil, err
	}
	var all times
	for from := time.Now(); len(all) < s.rounds && (len(all) < 3 || time.Since(from) < s.enough); {
		sample := map[string]float64{}
		for i, contestant := range contestants {
			if sample[names[i]], err = c.run(ctx, names[i], contestant, blocks[i]); err != nil {
				return nil, nil, err
			}
		}
		all = append(all, sample)
	}
	return all, absent, nil
}

// slow is when a step, in milliseconds, is so long that it fits no cache and leaves
// time for few: a block may be one step, and is not warmed up.
const slow = 100

// warmUp has solvers make their state and project the weights, and returns how
// many steps make a block.
func (c contest) warmUp(ctx context.Context, s *stage, names []string, contestants []contestant) (blocks []int, err error) {
	for i, contestant := range contestants {
		var ms float64
		for range 2 {
			if ms, err = c.run(ctx, names[i], contestant, 1); err != nil {
				return nil, err
			}
		}
		least := max(c.least, 1)
		if ms < slow {
			least = max(c.least, 3)
		}
		blocks = append(blocks, min(max(int(s.block.Seconds()*1e3/ms), least), 1000))
	}
	return blocks, nil
}

// run does a block of steps of an entrant.
func (c contest) run(ctx context.Context, name string, contestant contestant, steps int) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ms, err := contestant.run(steps)
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", c.name, name, err)
	}
	return ms, err
}

// cost is a sum of times of entrants, each with a sign.
type cost []part

type part struct {
	entrant string
	sign    float64
}

func of(entrant string) cost { return cost{{entrant, 1}} }

func (c cost) plus(entrant string) cost  { return append(slices.Clone(c), part{entrant, 1}) }
func (c cost) minus(entrant string) cost { return append(slices.Clone(c), part{entrant, -1}) }

// spread is the median and the quartiles of milliseconds.
type spread struct{ low, median, high float64 }

// over sums up the cost in all rounds.
func (c cost) over(t times) spread {
	var all []float64
	for _, round := range t {
		sum := 0.0
		for _, p := range c {
			sum += p.sign * round[p.entrant]
		}
		all = append(all, sum)
	}
	slices.Sort(all)
	return spread{quantile(all, 0.25), quantile(all, 0.5), quantile(all, 0.75)}
}

// quantile interpolates between the elements of a sorted slice.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(math.Floor(at))
	j := min(i+1, len(sorted)-1)
	return sorted[i] + (at-float64(i))*(sorted[j]-sorted[i])
}

// local is a contestant in this process.
type local struct {
	clock   clock
	prepare func() // not timed
	step    func() error
	done    func()
}

func (l local) run(steps int) (float64, error) {
	runtime.GC()
	if steps > 1 {
		if err := l.once(); err != nil {
			return 0, err
		}
	}
	sum := 0.0
	for range steps {
		l.prepare()
		ms, err := l.clock.milliseconds(l.step)
		if err != nil {
			return 0, err
		}
		sum += ms
	}
	return sum / float64(steps), nil
}

func (l local) once() error {
	l.prepare()
	return l.step()
}

func (l local) close() {
	if l.done != nil {
		l.done()
	}
}
