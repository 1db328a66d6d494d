// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/serve"
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

// formats are the output formats of predictions.
var formats = []cli.Named[func(io.Writer, int) output]{
	{Name: "text", Value: func(w io.Writer, pictures int) output { return &textOutput{w, pictures == 1} }},
	{Name: "csv", Value: func(w io.Writer, _ int) output { return &csvOutput{w: csv.NewWriter(w)} }},
	{Name: "json", Value: func(w io.Writer, _ int) output { return &jsonOutput{w: w} }},
}

// output writes the predictions of pictures, one after the other, and then the end.
type output interface {
	write(picture string, of []serve.Prediction) error
	end() error
}

// classifyPictures writes the most probable classes of pictures. Those that cannot be read are named on stderr, and the others are classified.
// If the context ends, the output is that of the pictures before, and complete.
func (c *command) classifyPictures(ctx context.Context, stdout, stderr io.Writer) error {
	make, err := cli.Find("format", c.format, formats)
	if err != nil {
		return err
	}
	const batch = 16
	var paths []string
	var r *record
	p, err := cli.Await(ctx, func() (p *models.Predictor, err error) {
		if paths, err = images.Find(c.pictures...); err == nil {
			p, r, err = c.predictor(min(batch, len(paths)))
		}
		return p, err
	})
	if err != nil {
		return err
	}
	defer p.Close()
	out := make(stdout, len(paths))
	broken := 0
	var single error // of the only picture
	classify := func(part []string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var read []string
		var pixels []float32
		for i, l := range loadAll(part, r.load) {
			if l.err != nil {
				broken++
				if single = l.err; len(paths) > 1 {
					cli.Status("classify", l.err, stderr)
				}
				continue
			}
			read, pixels = append(read, part[i]), append(pixels, l.pixels...)
		}
		if len(read) == 0 {
			return nil
		}
		probabilities, err := p.Probabilities(pixels)
		if err != nil {
			return err
		}
		n := len(r.Classes)
		for i, name := range read {
			if err := out.write(name, serve.Predictions(probabilities[i*n:(i+1)*n], r.Classes, c.top)); err != nil {
				return err
			}
		}
		return nil
	}
	for part := range slices.Chunk(paths, batch) {
		if err = classify(part); err != nil {
			break
		}
	}
	if e := out.end(); err == nil { // the output is completed even if the rest fails
		err = e
	}
	switch {
	case err != nil:
		return err
	case broken == 0:
		return nil
	case len(paths) == 1:
		return single
	}
	return fmt.Errorf("%d of %d pictures could not be read", broken, len(paths))
}

// loaded is a picture, or the error of reading it.
type loaded struct {
	pixels []float32
	err    error
}

// loadAll reads pictures in parallel.
func loadAll(paths []string, load func(string) ([]float32, error)) []loaded {
	all := make([]loaded, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() {
			all[i].pixels, all[i].err = load(path)
		})
	}
	wg.Wait()
	return all
}

// textOutput is a line for each picture or, if there is one picture, for each of its classes.
type textOutput struct {
	w      io.Writer
	single bool
}

func (t *textOutput) write(picture string, of []serve.Prediction) error {
	width := 0
	for _, g := range of {
		width = max(width, len([]rune(g.Class)))
	}
	var parts []string
	for _, g := range of {
		if t.single {
			parts = append(parts, fmt.Sprintf("%s%s  %5.1f %%", g.Class, strings.Repeat(" ", width-len([]rune(g.Class))), 100*g.Probability))
		} else {
			parts = append(parts, fmt.Sprintf("%s %.1f %%", g.Class, 100*g.Probability))
		}
	}
	if t.single {
		_, err := fmt.Fprintln(t.w, strings.Join(parts, "\n"))
		return err
	}
	_, err := fmt.Fprintf(t.w, "%s: %s\n", picture, strings.Join(parts, ", "))
	return err
}

func (t *textOutput) end() error { return nil }

// csvOutput is a line for each picture, with a class and its probability in each pair of columns, after a line that names the columns.
type csvOutput struct {
	w     *csv.Writer
	begun bool
}

func (o *csvOutput) write(picture string, of []serve.Prediction) error {
	if !o.begun {
		header := []string{"picture"}
		for k := range of {
			header = append(header, "class "+strconv.Itoa(k+1), "probability "+strconv.Itoa(k+1))
		}
		o.begun = true
		if err := o.w.Write(header); err != nil {
			return err
		}
	}
	row := []string{picture}
	for _, g := range of {
		row = append(row, g.Class, strconv.FormatFloat(g.Probability, 'g', 6, 64))
	}
	return o.w.Write(row)
}

func (o *csvOutput) end() error {
	o.w.Flush()
	return o.w.Error()
}

// jsonOutput is an array with an object for each picture.
type jsonOutput struct {
	w     io.Writer
	begun bool
}

func (o *jsonOutput) write(picture string, of []serve.Prediction) error {
	b, err := json.Marshal(struct {
		Picture     string             `json:"picture"`
		Predictions []serve.Prediction `json:"predictions"`
	}{picture, of})
	if err != nil {
		return err
	}
	before := ",\n"
	if !o.begun {
		before, o.begun = "[\n", true
	}
	_, err = fmt.Fprintf(o.w, "%s%s", before, b)
	return err
}

func (o *jsonOutput) end() error {
	if !o.begun {
		_, err := fmt.Fprintln(o.w, "[]")
		return err
	}
	_, err := fmt.Fprintln(o.w, "\n]")
	return err
}

// picturesOf returns what -predict classifies: its value and the arguments after the flags.
func picturesOf(first string, others []string) ([]string, error) {
	for _, a := range others {
		if strings.HasPrefix(a, "-") {
			return nil, cli.Usage("-predict: want flags before the pictures, got %q after them", a)
		}
		if a == "" {
			return nil, cli.Usage(`-predict: want the path of a picture or of a folder, got an empty one, ""`)
		}
	}
	return append([]string{first}, others...), nil
}
