// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/train"
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
	logits, err := p.Logits(picture)
	if err != nil {
		return err
	}
	probability := softmax(logits)
	order := make([]int, len(probability))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(probability[j], probability[i]) })
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, i := range order[:min(c.top, len(order))] {
		fmt.Fprintf(t, "%s\t%5.1f %%\n", r.Classes[i], 100*probability[i])
	}
	return t.Flush()
}

// softmax returns the probabilities of the classes.
func softmax(logits []float64) []float64 {
	largest, sum := slices.Max(logits), 0.0
	p := make([]float64, len(logits))
	for i, v := range logits {
		p[i] = math.Exp(v - largest)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// test evaluates the net that was saved.
func (c *command) test(ctx context.Context, stdout io.Writer) error {
	if c.Import != "" {
		return c.testImport(ctx, stdout)
	}
	p, r, err := c.predictor(64)
	if err != nil {
		return err
	}
	defer p.Close()
	s := r.Settings
	if c.Data != "" {
		s.Data = c.Data
	}
	if c.Limit != 0 {
		s.Limit = c.Limit
	}
	set, err := s.load()
	if err != nil {
		return err
	}
	if set.Shape() != r.Shape || len(set.Classes) != len(r.Classes) {
		return cli.Usage("-data: want images of %v and %d classes, as the net was trained on, got %v and %d", r.Shape, len(r.Classes), set.Shape(), len(set.Classes))
	}
	renormalise(set.Test.Images, set, r)
	return printTest(ctx, stdout, p, set)
}

// printTest evaluates a net on the test images.
func printTest(ctx context.Context, stdout io.Writer, p *models.Predictor, set *imageSet) error {
	loss, accuracy, err := train.Evaluate(ctx, p, set.Test)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d test images, loss %.4f, accuracy %.2f %%\n", set.Name, set.Test.Len(), loss, 100*accuracy)
	return nil
}

// renormalise makes the images of another set, or of another number of images, as the net is
// used to see them.
func renormalise(pixels []float32, set *imageSet, r *record) {
	if slices.Equal(set.Mean, r.Mean) && slices.Equal(set.Std, r.Std) {
		return
	}
	plane := set.Height * set.Width
	for i, v := range pixels {
		c := i / plane % set.Channels
		pixels[i] = (v*set.Std[c] + set.Mean[c] - r.Mean[c]) / r.Std[c]
	}
}
