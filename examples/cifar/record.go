// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// imageSet is a set of images, or what is known of one without its images.
type imageSet = images.Set

// record is run.json: all that it takes to make the net again.
type record struct {
	Settings settings  `json:"settings"`
	Name     string    `json:"data_set"`
	Classes  []string  `json:"classes"`
	Shape    [3]int    `json:"shape"` // channels, height, width
	Mean     []float32 `json:"mean"`
	Std      []float32 `json:"std"`
}

const recordFile = "run.json"

func newRecord(s settings, set *imageSet) *record {
	return &record{s, set.Name, set.Classes, set.Shape(), set.Mean, set.Std}
}

// set is the set without its images.
func (r *record) set() *imageSet {
	return &imageSet{Name: r.Name, Classes: r.Classes, Channels: r.Shape[0], Height: r.Shape[1], Width: r.Shape[2], Mean: r.Mean, Std: r.Std}
}

func (r *record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(dir, recordFile, append(b, '\n'))
}

func readRecord(dir string) (*record, error) {
	path := filepath.Join(dir, recordFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var r record
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: want what this program writes, got %w", path, err)
	}
	if err := r.Settings.check(); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return &r, nil
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

// writeFile puts a file in its place at once.
func writeFile(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, ".cifar-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
