// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// results is the file of a campaign.
type results struct {
	Settings settings `json:"settings"`
	// Versions are those of the programs that made the runs, one after the other.
	Versions []map[string]string `json:"versions"`
	Runs     []outcome           `json:"runs"`

	file string // or "": they stay in memory
	mu   sync.Mutex
	at   map[spec]int // in Runs
}

// settings are what all runs of a campaign have in common.
type settings struct {
	Experiment string `json:"experiment"`
	Data       string `json:"data"`
	Cores      int    `json:"gomaxprocs"`
	size
}

// spec is what makes one run of a campaign differ from the others.
type spec struct {
	Case   string  `json:"case,omitempty"`
	Method string  `json:"method"`
	Rate   float64 `json:"learning_rate"`
	Seed   uint64  `json:"seed"`             // of the weights and of the order of the images
	Search bool    `json:"search,omitempty"` // measured on the validation images
}

// String names the run.
func (s spec) String() string {
	text := fmt.Sprintf("%s, learning rate %.3g, seed %d", s.Method, s.Rate, s.Seed)
	if s.Case != "" {
		return s.Case + ": " + text
	}
	return text
}

// outcome is the outcome of a run.
type outcome struct {
	spec
	Accuracy float64 `json:"accuracy"` // share of images classified correctly, 0 if it diverged
	Diverged string  `json:"diverged,omitempty"`
	// Of a detailed run: the accuracy on the validation images, and a bit for each test image, 1 if it is classified correctly.
	Validation float64 `json:"validation,omitempty"`
	Correct    bits    `json:"correct,omitempty"`
	Epochs     []epoch `json:"epochs"`
}

// epoch holds the results of an epoch that are kept.
type epoch struct {
	Loss          *float64 `json:"loss"`           // mean over the steps, null if not finite
	TrainAccuracy float64  `json:"train_accuracy"` // before each step
	Seconds       float64  `json:"seconds"`        // of the steps
	// Angle is that by which the last step of the epoch turned the kernels, in radians, of a detailed run.
	Angle float64 `json:"angle,omitempty"`
}

// bits are packed, the first is the lowest of the first byte. In JSON they are base64.
type bits []byte

func (b bits) at(i int) bool { return b[i/8]>>(i%8)&1 == 1 }

func newEpoch(e train.Epoch) epoch {
	return epoch{Loss: finite(e.TrainLoss), TrainAccuracy: e.TrainAccuracy, Seconds: e.Elapsed.Seconds()}
}

// measure evaluates the net.
func (o *outcome) measure(ctx context.Context, m *models.Model, on images.Split) error {
	p, err := m.Predictor()
	if err != nil {
		return err
	}
	_, o.Accuracy, err = train.Evaluate(ctx, p, on)
	return errors.Join(err, p.Close())
}

// detail measures the net on the validation images too, and keeps which test images it classifies correctly. The accuracy is their share.
func (o *outcome) detail(ctx context.Context, m *models.Model, validation, test images.Split) (err error) {
	p, err := m.Predictor()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if _, o.Validation, err = train.Evaluate(ctx, p, validation); err != nil {
		return err
	}
	const at = 1000 // images at once
	o.Correct = make(bits, (test.Len()+7)/8)
	pixels, right := len(test.Images)/test.Len(), 0
	for from := 0; from < test.Len(); from += at {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(from+at, test.Len())
		classes, err := p.Classify(test.Images[from*pixels : to*pixels])
		if err != nil {
			return err
		}
		for i, class := range classes {
			if class == test.Labels[from+i] {
				o.Correct[(from+i)/8] |= 1 << ((from + i) % 8)
				right++
			}
		}
	}
	o.Accuracy = float64(right) / float64(test.Len())
	return nil
}

// openResults reads the file if it is there, which must have these settings.
func openResults(file string, s settings) (*results, error) {
	fresh := &results{Settings: s, file: file, at: map[spec]int{}}
	if file == "" {
		return fresh, nil
	}
	r, err := readResults(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := cli.Folder(filepath.Dir(file))
		return fresh, err
	case err != nil:
		return nil, err
	case r.Settings != s:
		return nil, fmt.Errorf("%s: want results of the settings %+v, got %+v: choose another file or these settings", file, s, r.Settings)
	}
	return r, nil
}

// readResults reads the file of a campaign.
func readResults(file string) (*results, error) {
	text, err := files.Read(file, 1<<30)
	if err != nil {
		return nil, err
	}
	r := &results{file: file, at: map[spec]int{}}
	if err := files.JSON(text, r); err != nil {
		return nil, fmt.Errorf("%s: want the results of a campaign: %w", file, err)
	}
	for i, o := range r.Runs {
		r.at[o.spec] = i
	}
	return r, nil
}

func (r *results) has(s spec) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.at[s]
	return ok
}

// of returns the outcome of a run that was made.
func (r *results) of(s spec) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Runs[r.at[s]]
}

// add records a run and writes the file.
func (r *results) add(o outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := versions(); len(r.Versions) == 0 || !maps.Equal(r.Versions[len(r.Versions)-1], v) {
		r.Versions = append(r.Versions, v)
	}
	r.at[o.spec] = len(r.Runs)
	r.Runs = append(r.Runs, o)
	if r.file == "" {
		return nil
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	return disk.WriteFile(r.file, text)
}

// text is JSON with a line for each run.
func (r *results) text() ([]byte, error) {
	var b bytes.Buffer
	line := func(before string, v any, after string) error {
		text, err := json.Marshal(v)
		b.WriteString(before)
		b.Write(text)
		b.WriteString(after)
		return err
	}
	err := errors.Join(line("{\n\"settings\": ", r.Settings, ",\n"), line("\"versions\": ", r.Versions, ",\n\"runs\": ["))
	for i, o := range r.Runs {
		before := ",\n"
		if i == 0 {
			before = "\n"
		}
		err = errors.Join(err, line(before, o, ""))
	}
	b.WriteString("\n]\n}\n")
	return b.Bytes(), err
}

// versions returns what the numbers may depend on in addition to the settings.
func versions() map[string]string {
	v := cli.Versions("gorgonia.org/gorgonia", "gorgonia.org/tensor")
	v["instructions"] = cpu.Use.String()
	return v
}
