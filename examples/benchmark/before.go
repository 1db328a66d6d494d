// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// change holds the medians over the rounds that both builds measured in a row.
type change struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Before float64 `json:"before"`
	Now    float64 `json:"now"`
	Ratio  float64 `json:"ratio"` // now/before

	before, now spread
}

// compareBefore runs the other build and this one in turn, with the same flags, and prints what has changed. A
// build that does not know a flag has its own default if the flag is not given.
func (s *settings) compareBefore(ctx context.Context, stdout io.Writer, p *progress) error {
	const rounds = 3
	out, err := create(s.json)
	if err != nil {
		return err
	}
	defer out.close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "benchmark-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	p.start(2 * rounds)
	defer p.finish()
	var before, now []measured
	for range rounds {
		for _, build := range []struct {
			name, program string
			rounds        *[]measured
		}{{"before", s.before, &before}, {"now", self, &now}} {
			p.next(build.name)
			m, err := measureBuild(ctx, build.program, dir, s.same)
			if err != nil {
				return err
			}
			*build.rounds = append(*build.rounds, m)
		}
	}
	p.finish()
	changes := changesOf(before, now)
	if len(changes) == 0 {
		return errors.New("-before: want a row that both builds measure, got none")
	}
	s.header(stdout, nil)
	fmt.Fprintf(stdout, "medians of %d runs of each build\n\n", rounds)
	printChanges(stdout, changes)
	return out.write(changes)
}

// measured is the JSON of a run. Older builds without units have milliseconds only.
type measured []struct {
	Name   string
	Unit   string
	OursMS *float64 `json:"ours_ms"`
	Ours   *float64
}

// measureBuild runs a build of this program.
func measureBuild(ctx context.Context, program, dir string, flags []string) (m measured, err error) {
	name := filepath.Join(dir, "rows.json")
	c := child(ctx, program, append(slices.Clone(flags), "-json", name)...)
	c.Env = append(c.Env, "TMPDIR="+dir) // removed also if the build cannot
	if _, err := output(ctx, c); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return m, os.Remove(name)
}

// changesOf returns the rows that were measured in all rounds of both builds, in the order of this one.
func changesOf(before, now []measured) (all []change) {
	old := valuesOf(before)
	current := valuesOf(now)
	for _, row := range now[0] {
		b, n := old[row.Name], current[row.Name]
		if len(b) < len(before) || len(n) < len(now) {
			continue // not measured each time
		}
		c := change{Name: row.Name, Unit: cmp.Or(row.Unit, "ms"), before: spreadOf(b), now: spreadOf(n)}
		c.Before, c.Now = c.before.median, c.now.median
		c.Ratio = c.Now / c.Before
		all = append(all, c)
	}
	return all
}

// valuesOf returns our measurements in each round, by row.
func valuesOf(rounds []measured) map[string][]float64 {
	all := map[string][]float64{}
	for _, m := range rounds {
		for _, row := range m {
			if ours := cmp.Or(row.Ours, row.OursMS); ours != nil {
				all[row.Name] = append(all[row.Name], *ours)
			}
		}
	}
	return all
}

func printChanges(w io.Writer, all []change) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "what\tbefore\tnow\tnow is")
	for _, c := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f of before\n", c.Name, c.before.in(c.Unit), c.now.in(c.Unit), c.Ratio)
	}
}
