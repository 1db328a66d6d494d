// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/onnx"
	"github.com/kernelfold/kernelfold/models/train"
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

// importWeights reads the weights of -import into the net: those of a run of this program, if it is a folder, or of a file.
func (s *settings) importWeights(m *models.Model) error {
	path, o := s.Import, checkpoint.ImportOptions{Zeros: m.Zeros()}
	if isFolder(path) {
		dir, err := os.MkdirTemp("", "classify")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "weights.safetensors")
		if err := exportRun(s.Import, path); err != nil {
			return fmt.Errorf("-import: %w", err)
		}
	} else if m.Zeros() != "" && s.Shortcut == "" {
		return cli.Usage("-import: want -shortcut zeros or zeros-around beside it, whichever the net had: the file does not say")
	}
	if !s.NewHead {
		return checkpoint.Import(path, m, o)
	}
	body, err := m.Without(head(m))
	if err != nil {
		return err
	}
	o.Surplus = true
	return checkpoint.Import(path, body, o)
}

// exportRun writes the weights of the net in a run.
func exportRun(run, path string) error {
	c := command{out: run}
	p, _, err := c.predictor(1)
	if err != nil {
		return err
	}
	defer p.Close()
	return checkpoint.Export(path, p.Net())
}

// onManifold puts the kernels of imported weights on their manifold, and says by how much that changes the logits of some images.
func (c *command) onManifold(stdout io.Writer, j *job, data train.Data) error {
	solver, ok := unwrapped(j.solver).(train.Initialiser)
	if !ok || c.Manifold == "none" {
		return nil
	}
	const most = 16
	shape := j.set.Shape()
	size := shape[0] * shape[1] * shape[2]
	var pixels []float32
	for i := range min(most, data.Len()) {
		x := make([]float32, size)
		if err := data.Example(i, []any{x}, nil); err != nil {
			return err
		}
		pixels = append(pixels, x...)
	}
	change, err := j.model.Change(pixels, func() error { return solver.Init(gorgonia.NodesToValueGrads(j.model.Learnables)) })
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "kernels are put on %s at the size that they have: %v\n", c.Manifold, change)
	return nil
}

// unwrapped returns the first solver that can prepare weights, among s and those that it wraps.
func unwrapped(s gorgonia.Solver) gorgonia.Solver {
	for {
		if _, ok := s.(train.Initialiser); ok {
			return s
		}
		w, ok := s.(interface{ Unwrap() gorgonia.Solver })
		if !ok {
			return s
		}
		s = w.Unwrap()
	}
}

// testImport evaluates the weights of -import.
func (c *command) testImport(ctx context.Context, stdout, stderr io.Writer) error {
	set, err := c.load(c.folder)
	if err != nil {
		return err
	}
	m, err := c.model(16, set.imageSet, nil)
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
	return c.evaluation(ctx, stdout, stderr, p, set)
}

// exportNet writes the net of a run for other programs: with plain kernels, as ONNX or as a file of weights.
func (c *command) exportNet(stdout io.Writer) error {
	write := checkpoint.Export
	kind := "weights, under the names of a net without batch normalisation"
	switch filepath.Ext(c.export) {
	case ".onnx":
		write = func(path string, m checkpoint.Stateful) error { return onnx.Export(path, m.(models.Trainable)) }
		kind = "ONNX"
	case ".safetensors":
	default:
		return cli.Usage("-export: want the name of a file that ends in .onnx or .safetensors, got %q", c.export)
	}
	p, r, err := c.predictor(1)
	if err != nil {
		return err
	}
	defer p.Close()
	released, err := models.Release(p.Net())
	if err != nil {
		return fmt.Errorf("-export: %w", err)
	}
	if err := write(c.export, released); err != nil {
		return fmt.Errorf("-export: %w", err)
	}
	fmt.Fprintf(stdout, "%s: %s; images are %dx%dx%d, (pixel/255 - mean)/std with mean %v and std %v\n", c.export, kind, r.Shape[0], r.Shape[1], r.Shape[2], r.Mean, r.Std)
	return nil
}
