// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"gorgonia.org/gorgonia"
)

// scaling is how time and memory grow, as it is written with -json.
type scaling struct {
	Steps   []point      `json:"training_steps"`
	Solvers []allocation `json:"solver_steps"` // on the kernels of ResNet-20
}

// point is a training step of ours and of stock Gorgonia.
type point struct {
	Series string `json:"series"` // what varies: batch, channels, layers or cores
	X      int    `json:"x"`
	Ours   demand `json:"ours"`
	Stock  demand `json:"stock"`

	net   netSpec
	cores int
}

// demand is the time and memory of a training step, on all cores.
type demand struct {
	MS        float64 `json:"ms"`           // wall time in the series cores, CPU time in the others
	Allocated float64 `json:"bytes_a_step"` // in steps after the first two
	Peak      float64 `json:"peak_bytes"`   // of the heap, beyond what it held without the net
}

// allocation is what a solver allocates in a step after the first two.
type allocation struct {
	Solver  string  `json:"solver"`
	Bytes   float64 `json:"bytes_a_step"`
	Objects float64 `json:"objects_a_step"`
}

// series returns the points to measure.
func series() (all []point) {
	with := func(name string, x int, n netSpec, cores int) {
		all = append(all, point{Series: name, X: x, net: n, cores: cores})
	}
	for batch := 8; batch <= 128; batch *= 2 {
		with("batch", batch, netSpec{batch, plainNet.widths}, 1)
	}
	for _, first := range []int{16, 32, 64} {
		with("channels", first, netSpec{plainNet.batch, []int{first, 2 * first, 4 * first}}, 1)
	}
	widths := []int{32, 64, 128, 128, 128}
	for layers := range widths {
		with("layers", layers+1, netSpec{plainNet.batch, widths[:layers+1]}, 1)
	}
	for cores := 1; ; cores *= 2 {
		with("cores", min(cores, runtime.NumCPU()), plainNet, min(cores, runtime.NumCPU()))
		if cores >= runtime.NumCPU() {
			return all
		}
	}
}

// axes says what x is in each series.
var axes = map[string]string{
	"batch":    "images in a batch",
	"channels": "channels of the first layer",
	"layers":   "convolution layers",
	"cores":    "cores",
}

// scale measures all points and writes tables, JSON and a picture.
func (s *settings) scale(ctx context.Context, stdout io.Writer, p *progress) error {
	out, err := create(s.json)
	if err != nil {
		return err
	}
	defer out.close()
	var picture file
	if s.out != "" {
		if err := os.MkdirAll(s.out, 0o777); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		if picture, err = create(filepath.Join(s.out, "scaling.png")); err != nil {
			return fmt.Errorf("-out: %w", err)
		}
		defer picture.close()
	}

	all, err := s.take(ctx, p)
	if err != nil {
		return err
	}
	all.table(stdout)
	if s.out != "" {
		image, err := all.png()
		if err != nil {
			return err
		}
		if err := picture.write(image); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "\nwrote %s\n", picture.name)
	}
	return out.write(all)
}

// take measures all points, or reads what was measured before.
func (s *settings) take(ctx context.Context, p *progress) (scaling, error) {
	var all scaling
	if s.draw != "" {
		b, err := os.ReadFile(s.draw)
		if err == nil {
			err = json.Unmarshal(b, &all)
		}
		if err != nil {
			return all, fmt.Errorf("-draw: %w", err)
		}
		return all, nil
	}
	all.Steps = series()
	p.start(len(all.Steps) + 1)
	defer p.finish()
	for i := range all.Steps {
		if err := all.Steps[i].measure(ctx, s.plan, p); err != nil {
			return all, err
		}
	}
	p.next("solvers")
	var err error
	all.Solvers, err = allocations(ctx)
	return all, err
}

// measure times both steps, interleaved, and then measures their memory.
func (q *point) measure(ctx context.Context, plan plan, p *progress) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(q.cores))
	s := &stage{plan: plan, threads: q.cores, clock: single}
	if q.Series == "cores" {
		s.clock = wall
	}
	c := contest{
		name: fmt.Sprintf("%s %d", q.Series, q.X), least: 2,
		entrants: []entrant{q.net.trains("ours", ourOps, ourAdam), q.net.trains("stock", stockOps, stockAdam)},
		rows:     []row{{ours: of("ours"), its: of("stock")}},
	}
	t, _, err := c.measure(ctx, s, p)
	if err != nil {
		return err
	}
	q.Ours.MS, q.Stock.MS = of("ours").over(t).median, of("stock").over(t).median
	for _, side := range []struct {
		*demand
		ops
		solver gorgonia.Solver
	}{{&q.Ours, ourOps, ourAdam()}, {&q.Stock, stockOps, stockAdam()}} {
		if err := side.memory(ctx, func() (contestant, error) {
			m, err := q.net.build(side.ops, q.net.values())
			if err != nil {
				return nil, err
			}
			return m.training(single, side.solver), nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// memory measures the memory of the steps of a contestant.
func (u *demand) memory(ctx context.Context, make func() (contestant, error)) error {
	const steps = 5
	heap := watchHeap()
	c, err := make()
	if err == nil {
		defer c.close()
		var a allocation
		a, err = allocated(ctx, c, 2, steps)
		u.Allocated = a.Bytes
	}
	u.Peak = heap.stop()
	return err
}

// allocated counts the allocations of steps after the first ones.
func allocated(ctx context.Context, c contestant, first, steps int) (a allocation, err error) {
	var before, after runtime.MemStats
	for i := range first + steps {
		if i == first {
			runtime.ReadMemStats(&before)
		}
		if err := ctx.Err(); err != nil {
			return a, err
		}
		if err := c.(local).once(); err != nil {
			return a, err
		}
	}
	runtime.ReadMemStats(&after)
	a.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(steps)
	a.Objects = float64(after.Mallocs-before.Mallocs) / float64(steps)
	return a, nil
}

// allocations goes through the solvers.
func allocations(ctx context.Context) (all []allocation, err error) {
	for _, e := range solverEntrants(resNet20()) {
		c, err := e.make(ctx, &stage{clock: single})
		if err != nil {
			return nil, err
		}
		a, err := allocated(ctx, c, 2, 20)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		a.Solver = e.name
		all = append(all, a)
	}
	return all, nil
}

// table prints the numbers for a terminal.
func (s scaling) table(w io.Writer) {
	const mega = 1e6
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	series := ""
	for _, p := range s.Steps {
		if p.Series != series {
			if series != "" {
				fmt.Fprintln(t, strings.Repeat("\t", 8))
			}
			series = p.Series
			fmt.Fprintf(t, "%s\tours, ms\tstock, ms\tours is\tours, MB a step\tstock, MB a step\tours, peak MB\tstock, peak MB\t\n", axes[p.Series])
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%.3f\t%.1f\t%.1f\t%.1f\t\n", p.X, digits(p.Ours.MS), digits(p.Stock.MS), faster(p.Ours.MS/p.Stock.MS),
			p.Ours.Allocated/mega, p.Stock.Allocated/mega, p.Ours.Peak/mega, p.Stock.Peak/mega)
	}
	t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "a step on the kernels of ResNet-20\tbytes allocated\tobjects")
	for _, a := range s.Solvers {
		fmt.Fprintf(t, "%s\t%.0f\t%.1f\n", a.Solver, a.Bytes, a.Objects)
	}
	t.Flush()
}
