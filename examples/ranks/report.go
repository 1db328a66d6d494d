// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

// table writes rows of cells in columns, below a title.
func table(w io.Writer, title string, rows [][]string) {
	cli.Paragraph(w, title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
	fmt.Fprintln(w)
}

// sentence writes a paragraph.
func sentence(w io.Writer, format string, args ...any) {
	cli.Paragraph(w, fmt.Sprintf(format, args...))
}

func ms(seconds float64) string { return fmt.Sprintf("%.3g", seconds*1e3) }

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// size writes a power of two of bytes.
func size(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.3g MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.3g KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprint(bytes, " B")
}

// measuredNets are the nets of TestMeasure.
var measuredNets = []string{"ResNet-20", "ResNet-18"}

// stepTable prints the steps that TestMeasure measured.
func (r records) stepTable(w io.Writer) {
	rows := [][]string{{"net, manifold", "ranks", "alone", "whole", "comm.", "shared", "comm.", "whole / shared"}}
	for _, n := range measuredNets {
		for _, manifold := range []string{"Sphere", "Stiefel"} {
			for _, m := range r {
				s, err := m.find(n, manifold)
				if err != nil {
					continue
				}
				rows = append(rows, []string{n + ", " + manifold, fmt.Sprint(m.Ranks), ms(s.Alone), ms(s.Whole), percent(s.WholeSum / s.Whole),
					ms(s.Shared), percent((s.SharedSum + s.SharedTell) / s.Shared), fmt.Sprintf("%.2f", s.Whole/s.Shared)})
			}
		}
	}
	table(w, "Measured: a step of the solver in ms, without forward and backward passes, and the share of it that is communication (comm.)", rows)
}

// fits are the lines of the operations at one number of ranks, and what adding takes.
type fits struct {
	measured
	lines            map[string]line
	low, gamma, high float64 // seconds a byte: quartiles
}

// separable reports whether the time of adding can be separated from that of sending.
func (f fits) separable() bool { return f.low > 0 }

// fit fits lines to the transfers of all files of several ranks.
func (r records) fit() ([]fits, error) {
	var all []fits
	for _, m := range r.several() {
		f := fits{measured: m, lines: map[string]line{}}
		var err error
		for _, op := range m.operations() {
			if f.lines[op], err = fit(m.transfers(op)); err != nil {
				return nil, fmt.Errorf("%s at %d ranks: %w", op, m.Ranks, err)
			}
		}
		if f.low, f.gamma, f.high, err = separate(m.Ranks, m.transfers("sum"), m.transfers("gather")); err != nil {
			return nil, fmt.Errorf("adding at %d ranks: %w", m.Ranks, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// gammaOf returns the time of adding a byte, from the file of the fewest ranks, or 0 if it cannot be separated.
func gammaOf(all []fits) float64 {
	if len(all) > 0 && all[0].separable() {
		return all[0].gamma
	}
	return 0
}

// perKiB writes seconds a byte.
func perKiB(seconds float64) string { return fmt.Sprintf("%.3g", seconds*1024e9) }

// fitTable writes the fits, and what the measured times are beside the model.
func fitTable(w io.Writer, all []fits) {
	if len(all) == 0 {
		return
	}
	rows := [][]string{{"operation", "ranks", "alpha, us", "beta, ns/KiB", "from", "to", "rms", "time / fit"}}
	for _, op := range all[0].operations() {
		for _, f := range all {
			l, ok := f.lines[op]
			if !ok {
				continue
			}
			low, high := math.Inf(1), 0.0
			for _, t := range f.transfers(op) {
				low, high = min(low, t.Seconds/l.at(t.Bytes)), max(high, t.Seconds/l.at(t.Bytes))
			}
			from, to := size(l.from), size(l.to)
			if !l.straight {
				from, to = "-", "-"
			}
			rows = append(rows, []string{op, fmt.Sprint(f.Ranks), fmt.Sprintf("%.3g ± %.2g", l.alpha*1e6, l.alphaError*1e6), perKiB(l.beta) + " ± " + perKiB(l.betaError),
				from, to, percent(l.rms), fmt.Sprintf("%.2f-%.2f", low, high)})
		}
	}
	table(w, "Fitted: alpha + beta n to transfers of n bytes, on the longest range of sizes that a line fits to 25 % (- if there is none); the rms of its relative residuals, and times over the fit at all sizes", rows)
	for _, f := range all {
		verdict := "is not separable from sending"
		if f.separable() {
			verdict = "is separable from sending"
		}
		sentence(w, "Adding %s at %d ranks: %s ns/KiB (quartiles %s to %s).", verdict, f.Ranks, perKiB(f.gamma), perKiB(f.low), perKiB(f.high))
	}
	p := float64(all[0].Ranks)
	for _, f := range all[1:] {
		q := float64(f.Ranks)
		sentence(w, "From %d to %d ranks a long sum takes %.1f times as long, a gather %.1f times; by the model, with a machine for each, %.1f times.", all[0].Ranks, f.Ranks,
			growth(f.transfers("sum"), all[0].transfers("sum")), growth(f.transfers("gather"), all[0].transfers("gather")), (q-1)/q*p/(p-1))
	}
	for _, n := range measuredNets {
		for _, f := range all {
			if s, err := f.find(n, "Sphere"); err == nil {
				sentence(w, "The sum of %s in a step of %d ranks takes %s ms, by the fit %s ms.", n, f.Ranks, ms(s.WholeSum), ms(f.lines["sum"].inParts(4*s.Weights)))
			}
		}
	}
	fmt.Fprintln(w)
}

// inParts is the time of a sum of n bytes in parts.
func (l line) inParts(bytes int) float64 {
	return float64(bytes/summed)*l.at(summed) + l.at(bytes%summed)
}

// device is what computes on a rank.
type device struct {
	name   string
	faster float64 // than one core
}

var devices = []device{{"1 core", 1}, {"20 cores", 20}}

// scene is what is predicted for.
type scene struct {
	records  records
	networks []network
	ranks    []int
	batch    int
}

// jobs are the nets, each on every device.
func (s scene) jobs() ([][]job, error) {
	var all [][]job
	for _, n := range nets() {
		var of []job
		for _, d := range devices {
			j, err := jobOf(n, s.records, d.faster)
			if err != nil {
				return nil, err
			}
			of = append(of, j)
		}
		all = append(all, of)
	}
	return all, nil
}

// rows makes a row for every net, device and network, with a cell for each number of ranks.
func (s scene) rows(jobs [][]job, cell func(j job, w network, p int) string) [][]string {
	head := []string{"net", "device", "network"}
	for i, p := range s.ranks {
		name := fmt.Sprint(p)
		if i == 0 {
			name += " ranks"
		}
		head = append(head, name)
	}
	rows := [][]string{head}
	for _, of := range jobs {
		for i, j := range of {
			for _, w := range s.networks {
				row := []string{j.name, devices[i].name, w.name}
				for _, p := range s.ranks {
					row = append(row, cell(j, w, p))
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// predictions writes the tables of the model.
func (s scene) predictions(w io.Writer) error {
	jobs, err := s.jobs()
	if err != nil {
		return err
	}
	for _, t := range []struct {
		title string
		cell  func(j job, w network, p int) string
	}{
		{fmt.Sprintf("Predicted: compute as a share of a step, spheres, %d images a rank", s.batch), func(j job, w network, p int) string {
			return percent(j.predict(w, p, s.batch, sphere).efficiency())
		}},
		{"Predicted: images a rank below which communication is more than 10 % (50 %) of a step, spheres", func(j job, w network, p int) string {
			return fmt.Sprintf("%d (%d)", j.least(w, p, sphere, 0.1), j.least(w, p, sphere, 0.5))
		}},
		{fmt.Sprintf("Predicted: how many times as fast a step on Stiefel is with shared layers, %d images a rank (solver and exchange alone)", s.batch), func(j job, w network, p int) string {
			a, b := j.predict(w, p, s.batch, whole), j.predict(w, p, s.batch, shared)
			return fmt.Sprintf("%.2f (%.2f)", a.step()/b.step(), (a.solver+a.exchange)/(b.solver+b.exchange))
		}},
	} {
		table(w, t.title, s.rows(jobs, t.cell))
	}
	for _, n := range nets() {
		busiest, _ := n.deal(len(n.layers))
		sentence(w, "%s: %d weights, %.3g GMAC and %s ms an image on one core; shared on any number of ranks its solver on Stiefel is at most %.2f times as fast.",
			n.name, n.weights(), n.macs()/1e9, ms(n.seconds), 1/busiest)
	}
	return nil
}

// own writes the steps of a net of which only weights and computing time are known.
func (s scene) own(w io.Writer, weights int, compute float64) {
	j := job{net: net{rest: weights}, image: compute}
	rows := [][]string{{"network", "ranks", "compute", "sum", "agreement", "step", "efficiency"}}
	for _, n := range s.networks {
		for _, p := range s.ranks {
			t := j.predict(n, p, 1, sphere)
			rows = append(rows, []string{n.name, fmt.Sprint(p), ms(t.compute), ms(t.sum), ms(t.exchange), ms(t.step()), percent(t.efficiency())})
		}
	}
	table(w, fmt.Sprintf("Predicted, in ms: %d weights, passes of %s ms, without the solver", weights, ms(compute)), rows)
}
