// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// holdoutSeed determines the validation images that choose the learning rates, the same for all runs.
const holdoutSeed = 1

// campaign is the runs of one experiment and what they share.
type campaign struct {
	settings
	seeds, again int
	only, cases  string // what flags leave
	from         string // the results of another campaign
	quick        bool

	classes                 int
	shape                   [3]int
	train, validation, test images.Split
	all                     images.Split // train and validation

	results  *results
	progress *progress
	stdout   io.Writer
	table    strings.Builder
}

func newCampaign(name string, s size, cores int, set *images.Set, file string) (*campaign, error) {
	c := &campaign{
		settings: settings{Experiment: name, Data: set.Name, Cores: cores, size: s}, seeds: s.seeds, again: s.again,
		classes: len(set.Classes), shape: set.Shape(), test: set.Test.First(s.Test), all: set.Train.First(s.Train + s.Validation),
	}
	c.size.seeds, c.size.again = 0, 0 // not among the settings that a file must have
	var err error
	if c.train, c.validation, err = c.all.Holdout(s.Validation, holdoutSeed); err != nil {
		return nil, err
	}
	c.results, err = openResults(file, c.settings)
	return c, err
}

// finish ends the campaign, also an interrupted one: it prints and writes the tables of the complete cases.
func (c *campaign) finish(err error) error {
	c.progress.finish()
	table := c.table.String()
	if err == nil && table == "" {
		return cli.Usage("want -only and -case that leave some of the %s, got %q and %q", c.Experiment, c.only, c.cases)
	}
	if err != nil && c.results.file != "" {
		err = fmt.Errorf("%w; %d runs are in %s, and the same command continues from there", err, len(c.results.Runs), c.results.file)
	}
	if table == "" {
		return err
	}
	_, _ = io.WriteString(c.stdout, table) // cli.Main says so if it is lost
	return errors.Join(err, c.write(".txt", []byte(table)))
}

// write writes a file beside that of the results, if there is one and if it shows all of them.
func (c *campaign) write(suffix string, text []byte) error {
	if c.results.file == "" || c.only+c.cases != "" {
		return nil
	}
	return disk.WriteFile(strings.TrimSuffix(c.results.file, ".json")+suffix, text)
}

// wanted reports whether the flags select a method and a case.
func (c *campaign) wanted(kase, method string) bool {
	return strings.Contains(kase, c.cases) && strings.Contains(method, c.only)
}

// job is a run and how its parts are made.
type job struct {
	spec
	net     func(seed uint64) (*models.Model, error)
	solver  func(rate float64) gorgonia.Solver
	options train.Options // but for epochs and seed
	// resumable runs are kept while they are under way: they are long, and of a solver that can be saved.
	resumable bool
	// detailed runs keep the angles of their steps, their accuracy on the validation images and their answers.
	detailed bool
}
