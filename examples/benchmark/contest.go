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

// contest is a set of entrants that are measured together: in every round each entrant makes a block of
// steps, so that a disturbance of the machine slows all of them.
type contest struct {
	name     string
	entrants []entrant
	rows     []row
	least    int  // steps in a block at least, so that garbage is collected within
	counted  bool // memory instead of time: once will do
}

// entrant makes a contestant. An error of type missing means that it is not available.
type entrant struct {
	name string
	make func(context.Context, *stage) (contestant, error)
}

// contestant makes steps that are all alike.
type contestant interface {
	// run returns the mean time of the given number of steps in milliseconds. If there are several, an
	// additional first step, which warms the caches, is not timed. In a contest that counts something else
	// than time, it returns that.
	run(steps int) (float64, error)
	close()
}

// stage holds what contestants need.
type stage struct {
	plan
	threads int
	clock   clock
	peers   *peers
}

// plan determines how long to measure.
type plan struct {
	rounds int
	block  time.Duration // of the steps of an entrant in a round, about
	enough time.Duration // for a contest, after which three rounds are enough
}

var (
	full  = plan{15, 100 * time.Millisecond, 30 * time.Second}
	quick = plan{5, 20 * time.Millisecond, time.Second}
)

// times holds, for each round, the milliseconds of a step of each entrant, by name, or what was counted.
type times []map[string]float64

// measure runs the contest. Missing entrants have a reason instead of times. Entrants that are needed only by rows with a missing entrant are not
// run.
func (c contest) measure(ctx context.Context, s *stage, p *progress) (times, map[string]missing, error) {
	var all []starter
	defer func() {
		for _, s := range all {
			s.close()
		}
		runtime.GC() // a contest leaves nothing to the next
	}()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
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
		all = append(all, starter{made, e.name, 1})
	}
	needed := c.needed(absent)
	all = slices.DeleteFunc(all, func(s starter) bool {
		if !needed[s.name] {
			s.close()
		}
		return !needed[s.name]
	})

	rounds := 1
	if !c.counted {
		if err := c.warmUp(ctx, s, all); err != nil {
			return nil, nil, err
		}
		rounds = s.rounds
	}
	var t times
	for from := time.Now(); len(t) < rounds && (len(t) < 3 || time.Since(from) < s.enough); {
		sample := map[string]float64{}
		for _, s := range all {
			var err error
			if sample[s.name], err = c.run(ctx, s, s.block); err != nil {
				return nil, nil, err
			}
		}
		t = append(t, sample)
	}
	return t, absent, nil
}

// starter is the contestant of an entrant, with the number of steps in a block.
type starter struct {
	contestant
	name  string
	block int
}

// needed returns the entrants of the rows that have all of theirs.
func (c contest) needed(absent map[string]missing) map[string]bool {
	all := map[string]bool{}
	for _, r := range c.rows {
		if r.missing(absent) == "" {
			for _, name := range r.entrants() {
				all[name] = true
			}
		}
	}
	return all
}

// slow is the time of a step, in milliseconds, from which a block may be a single step without warming up:
// its data fit no cache, and there is time for few steps only.
const slow = 100

// settled is how many steps warm up what is fast. Our solvers measure gradients for their report in steps 1, 2, 4, 8 and 16, and then so seldom
// that it does not show in the median of the rounds.
const settled = 16

// patience is how long an entrant warms up at most, after its second step.
const patience = time.Second

// warmUp lets solvers allocate their state and project the weights, and sets the number of steps in a block.
func (c contest) warmUp(ctx context.Context, s *stage, all []starter) (err error) {
	for i := range all {
		var ms float64
		from := time.Now()
		for step := range settled {
			if step > 1 && time.Since(from) > patience {
				break
			}
			if ms, err = c.run(ctx, all[i], 1); err != nil {
				return err
			}
			if ms > 5*slow { // whatever it makes first is a small part of it
				break
			}
		}
		least := max(c.least, 1)
		if ms < slow {
			least = max(c.least, 3)
		}
		all[i].block = min(max(int(s.block.Seconds()*1e3/ms), least), 1000)
	}
	return nil
}

// run does a block of steps of an entrant.
func (c contest) run(ctx context.Context, s starter, steps int) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ms, err := s.run(steps)
	if err != nil {
		err = fmt.Errorf("%s: %s: %w", c.name, s.name, err)
	}
	return ms, err
}

// cost is a sum of times of entrants, each with a factor, such as -1.
type cost []part

type part struct {
	entrant string
	factor  float64
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
			sum += p.factor * round[p.entrant]
		}
		all = append(all, sum)
	}
	return spreadOf(all)
}

// spreadOf returns the spread of values, which it sorts.
func spreadOf(all []float64) spread {
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
	prepare func()       // before each part of a step, not timed
	first   func() error // unless nil, the part before step, with a gradient of its own
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
		for _, part := range l.parts() {
			l.prepare()
			ms, err := l.clock.milliseconds(part)
			if err != nil {
				return 0, err
			}
			sum += ms
		}
	}
	return sum / float64(steps), nil
}

func (l local) once() error {
	for _, part := range l.parts() {
		l.prepare()
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// parts are those of a step.
func (l local) parts() []func() error {
	if l.first == nil {
		return []func() error{l.step}
	}
	return []func() error{l.first, l.step}
}

func (l local) close() {
	if l.done != nil {
		l.done()
	}
}

// count is a contestant that measures something other than time.
type count func() (float64, error)

func (c count) run(int) (float64, error) { return c() }
func (count) close()                     {}
