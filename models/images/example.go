// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math/rand/v2"
)

// Example copies image i to row[0] and, if there is a row[1], its label to that: 1 at the label and 0
// elsewhere, or the label itself to a row of one number. With it a Split is train.Data for a net with
// images as its input. Rows are []float32 or []float64, and []int for labels.
func (s Split) Example(i int, row []any, _ *rand.Rand) error {
	if len(row) < 1 || len(row) > 2 {
		return fmt.Errorf("images: %s: want a net of images and, at most, labels, got one of %d inputs and targets", s.Name, len(row))
	}
	var err error
	switch x := row[0].(type) {
	case []float32:
		err = pixels(x, s, i)
	case []float64:
		err = pixels(x, s, i)
	default:
		err = fmt.Errorf("images: %s: want images of float32 or float64, got %T", s.Name, row[0])
	}
	if err != nil || len(row) == 1 {
		return err
	}
	return setLabel(row[1], s.Name, i, s.Labels[i], 1)
}

func pixels[T float32 | float64](to []T, s Split, i int) error {
	if want := len(to) * s.Len(); len(s.Images) != want {
		return fmt.Errorf("images: %s: want %d numbers for %d images of %d, got %d", s.Name, want, s.Len(), len(to), len(s.Images))
	}
	for k, v := range s.Images[i*len(to) : (i+1)*len(to)] {
		to[k] = T(v)
	}
	return nil
}

// setLabel writes the label of example i to a row, times a weight unless the row is one number.
func setLabel(row any, name string, i, label int, weight float32) error {
	switch y := row.(type) {
	case []float32:
		return oneHot(y, name, i, label, weight)
	case []float64:
		return oneHot(y, name, i, label, float64(weight))
	case []int:
		return oneHot(y, name, i, label, 1)
	}
	return fmt.Errorf("images: %s: want labels of float32, float64 or int, got %T", name, row)
}

func oneHot[T float32 | float64 | int](to []T, name string, i, label int, weight T) error {
	if len(to) == 1 {
		to[0] = T(label)
		return nil
	}
	if label < 0 || label >= len(to) {
		return fmt.Errorf("images: %s: label %d: want 0..%d, got %d", name, i, len(to)-1, label)
	}
	clear(to)
	to[label] = weight
	return nil
}
