// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math"
)

// The binary version of CIFAR-10 (Krizhevsky, "Learning Multiple Layers of
// Features from Tiny Images", 2009): records of a label byte and the red,
// green and blue planes of 32x32, without any header.
const (
	cifarSide   = 32
	cifarPixels = 3 * cifarSide * cifarSide
	cifarRecord = 1 + cifarPixels
	cifarTest   = "test_batch.bin"
)

var cifarClasses = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// cifarBatches returns the training batches that are in dir.
func cifarBatches(dir string) []string {
	var files []string
	for i := 1; i <= 5; i++ {
		if f := fmt.Sprintf("data_batch_%d.bin", i); find(dir, f) != "" {
			files = append(files, f)
		}
	}
	return files
}

func loadCIFAR(dir, name string, keep [2]int) (*Set, error) {
	set := &Set{Name: name, Classes: cifarClasses, Channels: 3, Height: cifarSide, Width: cifarSide}
	var train, test raw
	for _, f := range cifarBatches(dir) {
		if len(train.labels) >= keep[0] {
			break
		}
		if err := train.readCIFAR(dir, f, keep[0]-len(train.labels)); err != nil {
			return nil, err
		}
	}
	if err := test.readCIFAR(dir, cifarTest, keep[1]); err != nil {
		return nil, err
	}
	set.normalise(train, test)
	return set, nil
}

// readCIFAR appends the first keep records of a file, all of which it checks.
func (r *raw) readCIFAR(dir, file string, keep int) error {
	s, err := open(dir, file)
	if err != nil {
		return err
	}
	defer s.close()
	keeping := int64(math.MaxInt64)
	if keep < math.MaxInt64/cifarRecord {
		keeping = int64(keep) * cifarRecord
	}
	data, got, err := s.read(s.bound+1, keeping)
	if err != nil {
		return err
	}
	if got == 0 || got%cifarRecord != 0 {
		return fmt.Errorf("images: %s: want records of %d bytes (a label and 3x32x32 pixels), got %d bytes", s.path, cifarRecord, got)
	}
	for at := 0; at < len(data); at += cifarRecord {
		if err := checkLabels(s.path, data[at:at+1], at/cifarRecord, len(cifarClasses)); err != nil {
			return err
		}
		r.labels = append(r.labels, data[at])
		r.pixels = append(r.pixels, data[at+1:at+cifarRecord]...)
	}
	return nil
}
