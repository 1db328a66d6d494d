// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kernelfold/kernelfold/docs/experiments"
	"github.com/kernelfold/kernelfold/internal/files"
)

// measured is the output of TestMeasure of solvers/distributed: medians of the times of the slowest rank.
type measured struct {
	Ranks     int        `json:"ranks"`
	Transfers []transfer `json:"transfers"`
	Steps     []step     `json:"steps"`
}

// transfer is one collective call.
type transfer struct {
	Operation string  `json:"operation"`
	Bytes     int     `json:"bytes"` // of each rank; of all for gather
	Seconds   float64 `json:"seconds"`
}

// step is a step of the solver on the convolutions of a net, without forward and backward passes.
type step struct {
	Net        string  `json:"net"`
	Solver     string  `json:"solver"`
	Weights    int     `json:"weights"`
	Alone      float64 `json:"alone_seconds"`       // of the solver, without the others
	Whole      float64 `json:"whole_seconds"`       // every rank does everything
	Shared     float64 `json:"shared_seconds"`      // ranks share the work
	WholeSum   float64 `json:"whole_sum_seconds"`   // of Whole, in sums of gradients
	SharedSum  float64 `json:"shared_sum_seconds"`  // of Shared, likewise
	SharedTell float64 `json:"shared_tell_seconds"` // of Shared, in the exchange and the agreement, with waiting
}

// records are files of different numbers of ranks, the smallest first.
type records []measured

// kept returns the records in docs/experiments.
func kept() (records, error) {
	return readBy(experiments.Ranks.ReadFile, []string{"ranks-1.json", "ranks-2.json", "ranks-4.json"})
}

// read reads files.
func read(names []string) (records, error) {
	return readBy(func(file string) ([]byte, error) { return files.Read(file, 1<<30) }, names)
}

func readBy(open func(file string) ([]byte, error), names []string) (records, error) {
	var all records
	for _, file := range names {
		text, err := open(file)
		if err != nil {
			return nil, err
		}
		var m measured
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if m.Ranks < 1 || len(m.Transfers) == 0 || len(m.Steps) == 0 {
			return nil, fmt.Errorf("%s: want ranks, transfers and steps, as TestMeasure writes them, got %d, %d and %d", file, m.Ranks, len(m.Transfers), len(m.Steps))
		}
		if slices.ContainsFunc(all, func(o measured) bool { return o.Ranks == m.Ranks }) {
			return nil, fmt.Errorf("%s: want one file for each number of ranks, got a second one of %d", file, m.Ranks)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b measured) int { return a.Ranks - b.Ranks })
	return all, nil
}

// several returns the files of more than one rank.
func (r records) several() records {
	return slices.DeleteFunc(slices.Clone(r), func(m measured) bool { return m.Ranks == 1 })
}

// operations returns the names of the measured operations.
func (m measured) operations() []string {
	var names []string
	for _, t := range m.Transfers {
		if !slices.Contains(names, t.Operation) {
			names = append(names, t.Operation)
		}
	}
	return names
}

// transfers returns the transfers of one operation, by size.
func (m measured) transfers(operation string) []transfer {
	var of []transfer
	for _, t := range m.Transfers {
		if t.Operation == operation {
			of = append(of, t)
		}
	}
	slices.SortFunc(of, func(a, b transfer) int { return a.Bytes - b.Bytes })
	return of
}

// find returns the step of a solver on a manifold.
func (m measured) find(net, manifold string) (step, error) {
	for _, s := range m.Steps {
		if s.Net == net && s.Solver == "SGD momentum, "+manifold {
			return s, nil
		}
	}
	return step{}, fmt.Errorf("want a measured step of %s on %s at %d ranks, got none", manifold, net, m.Ranks)
}
