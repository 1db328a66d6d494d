// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
)

// predictor makes the net that was saved.
func (c *command) predictor(batch int) (*models.Predictor, *record, error) {
	r, path, err := c.saved()
	if err != nil {
		return nil, nil, err
	}
	m, err := r.Settings.model(batch, r.set(), nil)
	if err != nil {
		return nil, nil, err
	}
	if err := checkpoint.Load(path, m, nil, nil); err != nil {
		return nil, nil, err
	}
	p, err := m.Predictor()
	return p, r, err
}

// classify prints the classes of a picture that are most probable.
func (c *command) classify(stdout io.Writer) error {
	p, r, err := c.predictor(1)
	if err != nil {
		return err
	}
	defer p.Close()
	picture, err := r.set().LoadImage(c.predict)
	if err != nil {
		return err
	}
	probability, err := p.Probabilities(picture)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, i := range models.Top(probability, c.top) {
		fmt.Fprintf(t, "%s\t%5.1f %%\n", r.Classes[i], 100*probability[i])
	}
	return t.Flush()
}
