// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
)

var shortcutNames = []string{"zeros", "zeros-around", "projection"}

// setShortcut sets the options of the net by -shortcut.
func (s *settings) setShortcut(o *models.Options) error {
	switch s.Shortcut {
	case "": // the default of the net
	case "zeros":
		o.Zeros = models.ZerosAfter
	case "zeros-around":
		o.Zeros = models.ZerosAround
	case "projection":
		o.Projections = true
	default:
		return cli.Usage("-shortcut: want one of %s, got %q", strings.Join(shortcutNames, ", "), s.Shortcut)
	}
	return nil
}

// importWeights reads the weights of -import into the net.
func (s *settings) importWeights(m *models.Model) error {
	if m.Zeros() != "" && s.Shortcut == "" {
		return cli.Usage("-import: want -shortcut zeros or zeros-around beside it, whichever the net had: the file does not say")
	}
	return checkpoint.Import(s.Import, m, checkpoint.ImportOptions{Zeros: m.Zeros()})
}

// testImport evaluates the weights of -import.
func (c *command) testImport(ctx context.Context, stdout io.Writer) error {
	set, err := c.load()
	if err != nil {
		return err
	}
	m, err := c.model(64, set, nil)
	if err != nil {
		return err
	}
	if err := c.importWeights(m); err != nil {
		return err
	}
	p, err := m.Predictor()
	if err != nil {
		return err
	}
	defer p.Close()
	return c.evaluation(ctx, stdout, p, set)
}
