// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/train"
)

// progress shows the progress of a campaign and the estimated time left: a line for each run and, on a terminal, one that is redrawn.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	columns  int // of a line
	start    time.Time
	drawn    time.Time
	under    map[spec]float64 // share of the runs under way that is done
	made     int              // runs
	expected int
	parts    float64 // of runs, done
}

func newProgress(w io.Writer) *progress {
	columns, terminal := cli.Terminal(w)
	if !terminal {
		columns = 80
	} else {
		columns-- // a line that fills the last column could not be taken away
	}
	return &progress{w: w, terminal: terminal, columns: columns, start: time.Now(), under: map[spec]float64{}}
}

// expect adds runs to those that will be made.
func (p *progress) expect(runs int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected += runs
}

// step is called after each step of a run.
func (p *progress) step(s spec, at train.Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	share := float64(at.Number) / float64(at.Of)
	p.parts += share - p.under[s]
	p.under[s] = share
	if p.terminal && time.Since(p.drawn) > 200*time.Millisecond {
		p.drawn = time.Now()
		fmt.Fprint(p.w, "\r\x1b[K", p.line(s, fmt.Sprintf("loss %.3f", at.Loss)))
	}
}

// done is called after each run.
func (p *progress) done(o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts += 1 - p.under[o.spec]
	delete(p.under, o.spec)
	p.made++
	p.clear()
	result := fmt.Sprintf("accuracy %.1f %%", 100*o.Accuracy)
	if o.Diverged != "" {
		result = "diverged"
	}
	fmt.Fprintln(p.w, p.line(o.spec, result))
}

// line describes the outcome of a run. If it does not fit, the middle of the names of the case and the method is left out.
func (p *progress) line(s spec, result string) string {
	name := s.Method
	if s.Case != "" {
		name = s.Case + ": " + name
	}
	head, middle := []rune(p.state()+"  "), []rune(name)
	tail := []rune(fmt.Sprintf(", rate %.3g, seed %d: %s", s.Rate, s.Seed, result))
	if room := p.columns - len(head) - len(tail); len(middle) > room {
		kept := max(room-1, 0)
		middle = slices.Concat(middle[:kept-kept/2], []rune("…"), middle[len(middle)-kept/2:])
	}
	all := slices.Concat(head, middle, tail)
	return string(all[:min(len(all), p.columns)])
}

// state is how many runs are done and how long the others may take.
func (p *progress) state() string {
	left := "?"
	if p.parts > 0 {
		elapsed := time.Since(p.start)
		left = time.Duration(float64(elapsed) * (float64(p.expected) - p.parts) / p.parts).Round(time.Second).String()
	}
	return fmt.Sprintf("%d/%d runs, %s left", p.made, p.expected, left)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// finish removes the line.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}
