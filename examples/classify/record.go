// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// imageSet is a set of images, or its description without the images.
type imageSet = images.Set

// record is run.json: everything that is needed to build the net again.
type record struct {
	Settings settings  `json:"settings"`
	Name     string    `json:"data_set"`
	Classes  []string  `json:"classes"`
	Shape    [3]int    `json:"shape"` // channels, height, width
	Mean     []float32 `json:"mean"`
	Std      []float32 `json:"std"`

	// Preprocessing is that of pictures in a folder.
	Preprocessing *images.Preprocessing `json:"preprocessing,omitempty"`
}

const recordFile = "run.json"

func newRecord(s settings, set *dataset) *record {
	return &record{s, set.Name, set.Classes, set.Shape(), set.Mean, set.Std, set.preprocessed}
}

// set is the set without its images.
func (r *record) set() *imageSet {
	return &imageSet{Name: r.Name, Classes: r.Classes, Channels: r.Shape[0], Height: r.Shape[1], Width: r.Shape[2], Mean: r.Mean, Std: r.Std}
}

// sameClasses returns an error unless the classes of the data are those of a run, in the order of its labels.
func sameClasses(want, got []string) error {
	if slices.Equal(want, got) {
		return nil
	}
	for i, class := range want {
		if i < len(got) && got[i] != class {
			return fmt.Errorf("want the classes of the run in their order, got %q as class %d instead of %q", got[i], i+1, class)
		}
	}
	return fmt.Errorf("want the %d classes of the run, got %d", len(want), len(got))
}

// load reads a picture as the net expects it.
func (r *record) load(path string) ([]float32, error) {
	if r.Preprocessing != nil {
		return r.Preprocessing.Load(path)
	}
	return r.set().LoadImage(path)
}

// read is load for a picture from a reader.
func (r *record) read(from io.Reader, name string) ([]float32, error) {
	if r.Preprocessing != nil {
		return r.Preprocessing.Read(from, name)
	}
	return r.set().ReadImage(from, name)
}

// write writes the file unless it has the same content already.
func (r *record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	path := filepath.Join(dir, recordFile)
	if there, err := files.Read(path, 1<<20); err == nil && bytes.Equal(there, b) {
		return nil
	}
	if err := disk.WriteFile(path, b); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return nil
}

func readRecord(dir string) (*record, error) {
	path := filepath.Join(dir, recordFile)
	b, err := files.Read(path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("want a run in %s: %w", dir, err)
	}
	var r record
	if err := files.JSON(b, &r); err != nil {
		return nil, fmt.Errorf("%s: want what this program writes: %w", path, err)
	}
	if r.Settings.Grouping == "kernel" {
		r.Settings.Grouping = "slice" // its name in older runs
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return &r, nil
}

// check returns an error unless a net for its images can be made and used.
func (r *record) check() error {
	if err := r.Settings.check(); err != nil {
		return err
	}
	switch {
	case len(r.Classes) < 2:
		return fmt.Errorf("want at least 2 classes, got %d", len(r.Classes))
	case slices.Min(r.Shape[:]) < 1:
		return fmt.Errorf("want images with positive sides, got %v", r.Shape)
	case len(r.Mean) != r.Shape[0] || len(r.Std) != r.Shape[0] || slices.Min(r.Std) <= 0:
		return fmt.Errorf("want a mean and a positive standard deviation for each of %d channels, got %v and %v", r.Shape[0], r.Mean, r.Std)
	case r.Preprocessing != nil && r.Preprocessing.Shape() != r.Shape:
		return fmt.Errorf("want pictures of the shape of the images, %v, got %v", r.Shape, r.Preprocessing.Shape())
	}
	return nil
}

// saved finds the record and the checkpoint to evaluate or predict with.
func (c *command) saved() (*record, string, error) {
	path := c.file
	if path == "" {
		path = filepath.Join(c.out, train.BestFile)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = filepath.Join(c.out, train.LastFile) // stopped in the first epoch
		}
	}
	r, err := readRecord(filepath.Dir(path))
	return r, path, err
}
