// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math"
	"strings"
)

// cifar is the binary version of CIFAR-10 or CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny
// Images", 2009): records without a header. A record has one or more label bytes, the last of which is used, and the
// red, green and blue planes of 32x32 pixels.
type cifar struct {
	train   []string // files, any of which will do
	test    string
	labels  int // bytes before the pixels, of which the last is the label used
	classes []string
}

const (
	cifarSide   = 32
	cifarPixels = 3 * cifarSide * cifarSide
)

var cifar10 = cifar{
	train:   []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
	test:    "test_batch.bin",
	labels:  1,
	classes: []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
}

// cifar100 has a coarse label before the fine one.
var cifar100 = cifar{
	train:  []string{"train.bin"},
	test:   "test.bin",
	labels: 2,
	classes: strings.Fields(`apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
		camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
		elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
		maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
		plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
		spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
		wardrobe whale willow_tree wolf woman worm`),
}

// here returns the training files that are in dir.
func (f cifar) here(dir *fileset) []string {
	var files []string
	for _, file := range f.train {
		if _, ok := dir.find(file); ok {
			files = append(files, file)
		}
	}
	return files
}

func (f cifar) load(dir *fileset, name string, keep [2]int) (*Set, error) {
	set := &Set{Name: name, Classes: f.classes, Channels: 3, Height: cifarSide, Width: cifarSide}
	var train, test raw
	for _, file := range f.here(dir) {
		if len(train.labels) >= keep[0] {
			break
		}
		if err := f.read(&train, dir, file, keep[0]-len(train.labels)); err != nil {
			return nil, err
		}
	}
	if err := f.read(&test, dir, f.test, keep[1]); err != nil {
		return nil, err
	}
	set.normalise(train, test)
	return set, nil
}

// read appends the first keep records of a file, all of which it checks.
func (f cifar) read(r *raw, dir *fileset, file string, keep int) error {
	s, err := dir.open(file)
	if err != nil {
		return err
	}
	defer s.close()
	record := f.labels + cifarPixels
	keeping := int64(math.MaxInt64)
	if int64(keep) < math.MaxInt64/int64(record) {
		keeping = int64(keep) * int64(record)
	}
	data, got, err := s.read(s.bound+1, keeping)
	if err != nil {
		return err
	}
	if got > s.bound {
		return s.tooLong()
	}
	if got == 0 || got%int64(record) != 0 {
		return fmt.Errorf("images: %s: want records of %d bytes (%d of labels and 3x32x32 pixels), got %d bytes%s", s.path, record, f.labels, got, s.foreign())
	}
	for at := 0; at < len(data); at += record {
		pixels := at + f.labels
		label := data[pixels-1 : pixels]
		if err := checkLabels(s.path, label, at/record, len(f.classes)); err != nil {
			return err
		}
		r.labels = append(r.labels, label[0])
		r.pixels = append(r.pixels, data[pixels:at+record]...)
	}
	return nil
}
