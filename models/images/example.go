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
	switch y := row[1].(type) {
	case []float32:
		return label(y, s, i)
	case []float64:
		return label(y, s, i)
	case []int:
		return label(y, s, i)
	}
	return fmt.Errorf("images: %s: want labels of float32, float64 or int, got %T", s.Name, row[1])
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

func label[T float32 | float64 | int](to []T, s Split, i int) error {
	l := s.Labels[i]
	if len(to) == 1 {
		to[0] = T(l)
		return nil
	}
	if l < 0 || l >= len(to) {
		return fmt.Errorf("images: %s: label %d: want 0..%d, got %d", s.Name, i, len(to)-1, l)
	}
	clear(to)
	to[l] = 1
	return nil
}
