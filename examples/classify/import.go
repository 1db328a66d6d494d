// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/onnx"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
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
	into := checkpoint.Stateful(m)
	if s.NewHead {
		body, err := m.Without(head(m))
		if err != nil {
			return err
		}
		into = body
	}
	o, path := checkpoint.ImportOptions{Surplus: s.NewHead}, s.Import
	if isFolder(path) {
		run := command{out: path}
		var err error
		if _, path, err = run.saved(); err != nil {
			return fmt.Errorf("-import: %w", err)
		}
	}
	if s.Shortcut != "" {
		o.Zeros = m.Zeros()
	}
	err := checkpoint.Import(path, into, o)
	if errors.Is(err, checkpoint.ErrAmbiguous) && strings.Contains(err.Error(), "ImportOptions.Zeros") {
		return cli.Usage("-import: want -shortcut zeros or zeros-around beside it, whichever the net had: the file does not say")
	}
	return err
}

// onManifold puts the kernels of imported weights on their manifold, and says by how much that changes the logits of some images.
func (c *command) onManifold(stdout io.Writer, j *job, data train.Data) error {
	solver, ok := wrap.Find[train.Initialiser](j.solver)
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

// testImport evaluates the weights of -import.
func (c *command) testImport(ctx context.Context, stdout, stderr io.Writer) (draw func() error, err error) {
	if err := c.apart("figures", c.figures); err != nil {
		return nil, err
	}
	set, err := c.load(c.folder)
	if err != nil {
		return nil, err
	}
	m, err := c.model(16, set.imageSet, nil)
	if err != nil {
		return nil, err
	}
	if err := c.importWeights(m); err != nil {
		return nil, err
	}
	p, err := m.Predictor()
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return c.evaluation(ctx, stdout, stderr, p, set)
}

// exportNet makes the net of a run for other programs, with plain kernels. The function that it returns writes it, as ONNX or as a file of weights.
func (c *command) exportNet(stdout io.Writer) (write func() error, err error) {
	to := checkpoint.Export
	kind := "weights, under the names of a net without batch normalisation"
	switch filepath.Ext(c.export) {
	case ".onnx":
		to = func(path string, m checkpoint.Stateful) error { return onnx.Export(path, m.(models.Trainable)) }
		kind = "ONNX"
	case ".safetensors":
	default:
		return nil, cli.Usage("-export: want the name of a file that ends in .onnx or .safetensors, got %q", c.export)
	}
	if isFolder(c.export) {
		return nil, cli.Usage("-export: want the name of a file, got the folder %s", c.export)
	}
	if err := c.keepsRuns(); err != nil {
		return nil, err
	}
	p, r, err := c.predictor(1)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	net, err := models.Release(p.Net())
	if errors.Is(err, nodes.ErrUnfoldable) { // it has batch normalisations before convolutions
		net, err = p.Net(), nil
		if kind = "ONNX, with the batch normalisations"; filepath.Ext(c.export) == ".safetensors" {
			kind = "weights and statistics, under the names of the net with its batch normalisations, which cannot be folded"
		}
	}
	if err != nil {
		return nil, fmt.Errorf("-export: %w", err)
	}
	return func() error {
		if err := to(c.export, net); err != nil {
			return fmt.Errorf("-export: %w", err)
		}
		fmt.Fprintf(stdout, "%s: %s; images are %dx%dx%d, (pixel/255 - mean)/std with mean %v and std %v\n", c.export, kind, r.Shape[0], r.Shape[1], r.Shape[2], r.Mean, r.Std)
		return nil
	}, nil
}

// keepsRuns returns an error if -export would replace a checkpoint of a run, whether it exists already or not.
func (c *command) keepsRuns() error {
	dir, name := filepath.Split(c.export)
	dir = filepath.Clean(dir)
	refuse := func() error {
		return cli.Usage("-export: want a file other than the checkpoints of a run, got %s", c.export)
	}
	if cli.SameFile(c.file, c.export) {
		return refuse()
	}
	if _, err := os.Stat(filepath.Join(dir, recordFile)); err != nil {
		return nil // is not the folder of a run
	}
	name = strings.ToLower(name) // as some file systems do
	if name == train.LastFile || name == train.BestFile || strings.HasPrefix(name, "checkpoint-") && strings.HasSuffix(name, ".safetensors") {
		return refuse()
	}
	return nil
}
