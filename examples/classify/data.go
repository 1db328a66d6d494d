// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

// dataset holds the images to train and to evaluate on: those of a set in memory, or pictures in files.
type dataset struct {
	*imageSet                     // the description of the set; for a set in memory, the images too
	train, test  *images.Pictures // nil for a set in memory; test may be nil
	preprocessed *images.Preprocessing
}

// holdout returns the images to train on, and n of them that are held out.
func (d *dataset) holdout(n int, s *settings) (rest, held train.Data, err error) {
	if d.train == nil {
		return both(d.Train.Holdout(n, s.Seed))
	}
	r, h, err := d.train.Holdout(n, s.Seed)
	if err == nil && s.ClassWeights {
		r.Weights = r.ClassWeights()
	}
	return both(r, h, err)
}

func both[T train.Data](rest, held T, err error) (train.Data, train.Data, error) {
	return rest, held, err
}

// training returns the number of images to train on, with those that are held out.
func (d *dataset) training() int {
	if d.train == nil {
		return d.Train.Len()
	}
	return d.train.Len()
}

// testing returns the images to evaluate on, which may be none.
func (d *dataset) testing() train.Data {
	switch {
	case d.train == nil:
		return d.Test
	case d.test == nil:
		return images.Split{}
	}
	return d.test
}

// nameOf returns what a test image is called.
func (d *dataset) nameOf(i int) string {
	if d.test == nil {
		return fmt.Sprintf("image %d", i)
	}
	return d.test.Name(i)
}

// load reads or draws the images. Pictures in files are loaded by the given function.
func (c *command) load(pictures func() (*dataset, error)) (*dataset, error) {
	if c.Data == "" {
		n := c.Limit
		if n == 0 {
			n = drawn
		}
		set, err := images.Digits(c.Seed, n, n/5+min(1, n%5), images.DigitOptions{})
		if err != nil {
			return nil, cli.Usage("-limit: %w", err)
		}
		return &dataset{imageSet: set}, c.noPictures()
	}
	var wrong error
	if c.Labels != "" || images.HasPictures(c.Data) {
		var d *dataset
		if d, wrong = pictures(); wrong == nil {
			return d, nil
		}
	}
	set, err := images.Load(c.Data, c.Limit)
	switch {
	case err == nil:
		return &dataset{imageSet: set}, c.noPictures()
	case wrong != nil:
		return nil, wrong
	}
	d, wrong := pictures()
	if wrong == nil { // the pictures lie behind links, which HasPictures does not follow
		return d, nil
	}
	if isFolder(c.Data) {
		err = fmt.Errorf("%w; nor pictures: %w", err, wrong)
	}
	return nil, err
}

// noPictures refuses flags of pictures for a set in memory, where they would have no effect.
func (c *command) noPictures() error {
	for _, f := range []struct {
		flag string
		on   bool
	}{
		{"size", c.Size != 0}, {"grey", c.Grey}, {"class-weights", c.ClassWeights}, {"skip", c.Skip}, {"labels", c.Labels != ""}, {"test", c.given["test"]},
		{"augment imagenet", c.Augment == "imagenet"},
	} {
		if f.on {
			return cli.Usage("-%s: want -data with a folder of pictures beside it", f.flag)
		}
	}
	return nil
}

// apart returns an error for a flag that names a place of output among the pictures that are read.
func (s *settings) apart(flag, path string) error {
	if s.Labels != "" || s.Data == "" { // names what is read
		return nil
	}
	folders := []string{s.Data}
	if test := testPart(s.Data); test != "" {
		folders = []string{filepath.Join(s.Data, "train"), test}
	}
	for _, folder := range folders {
		if err := cli.Outside(flag, path, "the pictures of -data", folder); err != nil {
			return err
		}
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// folder makes a set of the pictures in a folder: the parts train and test, or val, if there are folders of these
// names, else parts that the seed decides.
func (s *settings) folder() (*dataset, error) {
	o := images.FolderOptions{
		Preprocessing: images.Preprocessing{Size: s.size(), Grey: s.Grey}, Transform: s.transform(), Skip: s.Skip,
	}
	dir, test := s.Data, ""
	if s.Labels == "" {
		if test = testPart(s.Data); test != "" {
			dir = filepath.Join(s.Data, "train")
		}
	}
	o.Labels = s.Labels
	d := &dataset{}
	var err error
	if d.train, err = images.Folder(dir, o); err != nil {
		return nil, err
	}
	switch {
	case test != "":
		o.Classes = d.train.Classes
		if d.test, err = images.Folder(test, o); err != nil {
			return nil, err
		}
	case s.Test > 0:
		n := max(1, int(s.Test*float64(d.train.Len())+0.5))
		if d.train, d.test, err = d.train.Holdout(n, s.Seed+1); err != nil {
			return nil, cli.Usage("-test: %w", err)
		}
	}
	if s.Limit > 0 && s.Limit < d.train.Len() {
		if _, d.train, err = d.train.Holdout(s.Limit, s.Seed+2); err != nil {
			return nil, err
		}
		if d.test != nil {
			if d.test, err = limited(d.test, s.Limit, s.Seed); err != nil {
				return nil, err
			}
		}
	}
	return d, d.describe(s.Data)
}

// limited returns limit/5 of the test images, at least one, or all of them if limit is 0.
func limited(test *images.Pictures, limit int, seed uint64) (*images.Pictures, error) {
	n := max(1, limit/5)
	if limit == 0 || n >= test.Len() {
		return test, nil
	}
	_, held, err := test.Holdout(n, seed+2)
	return held, err
}

// testPart returns the folder of the test images if dir has the parts train and test, or train and val, and "" otherwise.
func testPart(dir string) string {
	if isFolder(filepath.Join(dir, "train")) {
		for _, name := range []string{"test", "val"} {
			if path := filepath.Join(dir, name); isFolder(path) {
				return path
			}
		}
	}
	return ""
}

// others makes a set of the pictures in another folder to evaluate a net on, prepared as the net expects them. All of them are evaluated, unless the
// folder has parts or there is a limit.
func (s *settings) others(r *record, limit int) (*dataset, error) {
	o := images.FolderOptions{Classes: r.Classes, Skip: s.Skip}
	if r.Preprocessing != nil {
		o.Preprocessing = *r.Preprocessing
	} else { // the net was trained on a set in memory
		o.Preprocessing = images.Preprocessing{Size: r.Shape[1], Resize: r.Shape[1], Grey: r.Shape[0] == 1, Mean: r.Mean, Std: r.Std}
	}
	p, err := images.Folder(cmp.Or(testPart(s.Data), s.Data), o)
	if err != nil {
		return nil, err
	}
	if p, err = limited(p, limit, s.Seed); err != nil {
		return nil, err
	}
	d := &dataset{train: p, test: p}
	return d, d.describe(s.Data)
}

// describe fills in what is known of a folder without reading its pictures.
func (d *dataset) describe(dir string) error {
	p := d.train.Preprocessing
	shape := p.Shape()
	if len(d.train.Classes) < 2 {
		return fmt.Errorf("-data: want pictures of at least 2 classes, got %s", strings.Join(d.train.Classes, ", "))
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	d.preprocessed = &p
	d.imageSet = &imageSet{
		Name: filepath.Base(abs), Classes: slices.Clone(d.train.Classes), Channels: shape[0], Height: shape[1], Width: shape[2], Mean: p.Mean, Std: p.Std,
	}
	return nil
}

// size is the side of pictures: that of the data that the net is for, unless it is given.
func (s *settings) size() int {
	switch {
	case s.Size != 0:
		return s.Size
	case s.forImageNet():
		return 224
	}
	return 32
}

// transform is how pictures are varied.
func (s *settings) transform() images.Transform {
	t := images.Transform{Scale: [2]float64{0.35, 1}}
	switch s.Augment {
	case "none":
		return images.Transform{}
	case "crop":
		return t
	case "imagenet":
		return images.StandardTransform()
	}
	t.Flip = true
	return t
}

// skipped names the pictures that were skipped, and says why.
func (d *dataset) skipped(stderr io.Writer) {
	if d.train == nil {
		return
	}
	errs := d.train.Skipped() // parts share the list
	if d.test != nil && d.test != d.train {
		for _, e := range d.test.Skipped() {
			if !slices.ContainsFunc(errs, func(o error) bool { return o.Error() == e.Error() }) {
				errs = append(errs, e)
			}
		}
	}
	for _, e := range errs {
		fmt.Fprintf(stderr, "classify: skipped: %s\n", strings.Join(strings.Fields(e.Error()), " "))
	}
}
