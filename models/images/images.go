// SPDX-License-Identifier: Apache-2.0

// Package images provides labelled images as the flat float32 blocks that a
// training loop copies into Gorgonia tensors.
//
// Load reads MNIST and Fashion-MNIST (idx files), CIFAR-10 and CIFAR-100 (binary) as they
// are distributed, plain, gzipped or in their archives. Digits draws a set of its own, so that a
// program needs neither a network nor a disk:
//
//	set, err := images.Digits(1, 4000, 1000, images.DigitOptions{})
//	set, err := images.Load("data/fashion-mnist", 10000)
//
// Folder makes a set of your own pictures, a sub-folder for each class, which it reads when they are needed:
//
//	pictures, err := images.Folder("data/birds", images.FolderOptions{Transform: images.StandardTransform(), Skip: true})
//
// and Draw makes such a folder of letters and digits. Holdout separates a validation part from the training part, Augmentation varies the images
// while a net trains, and LoadImage reads a picture to be classified.
//
// Load and Digits normalise pixels to zero mean and unit variance per channel; mean and
// variance are those of the training part, for both parts. Folder normalises by those of ImageNet unless it is given others,
// such as those of Pictures.Statistics. Bad input is an error of one line
// that names the file, what was wanted and what was there.
package images

import (
	"fmt"
	"math"
)

// Set is a training and a test part of images of one shape.
type Set struct {
	Name    string
	Classes []string // names; a label is an index into it

	Channels, Height, Width int

	// Mean and Std undo the normalisation, one number a channel:
	// pixel/255 = x*Std + Mean.
	Mean, Std []float32

	Train, Test Split
}

// Shape returns channels, height and width.
func (s *Set) Shape() [3]int { return [3]int{s.Channels, s.Height, s.Width} }

// Split is a part of a Set: N images and their labels.
type Split struct {
	Name string

	// Images holds N x C x H x W numbers in row-major order.
	Images []float32
	// Labels holds N class indices.
	Labels []int
}

// Len returns the number of images.
func (s Split) Len() int { return len(s.Labels) }

// First returns the first n images, or all if there are fewer. It shares
// memory with s.
func (s Split) First(n int) Split {
	if n < 0 || n >= s.Len() {
		return s
	}
	size := len(s.Images) / s.Len()
	return Split{s.Name, s.Images[: n*size : n*size], s.Labels[:n:n]}
}

// raw is a part before normalisation.
type raw struct {
	pixels []byte // N x C x H x W
	labels []byte
}

// normalise turns the bytes of both parts into floats with zero mean and unit
// variance per channel over the training part, in place of the fields Mean, Std, Train and
// Test. A channel without any variance is only centred.
func (s *Set) normalise(train, test raw) {
	s.Mean, s.Std = make([]float32, s.Channels), make([]float32, s.Channels)
	table := make([][256]float32, s.Channels)
	plane := s.Height * s.Width
	for c := range table {
		// Sums over a histogram are exact, so they do not depend on the order.
		var histogram [256]int64
		for at := c * plane; at < len(train.pixels); at += s.Channels * plane {
			for _, p := range train.pixels[at : at+plane] {
				histogram[p]++
			}
		}
		var n, sum, square int64
		for v, k := range histogram {
			n += k
			sum += k * int64(v)
			square += k * int64(v) * int64(v)
		}
		mean := float64(sum) / float64(n)
		std := math.Sqrt(max(0, float64(square)/float64(n)-mean*mean))
		if std == 0 {
			std = 1
		}
		s.Mean[c], s.Std[c] = float32(mean/255), float32(std/255)
		for v := range table[c] {
			table[c][v] = float32((float64(v) - mean) / std)
		}
	}
	part := func(name string, r raw) Split {
		p := Split{name, make([]float32, len(r.pixels)), make([]int, len(r.labels))}
		for i, l := range r.labels {
			p.Labels[i] = int(l)
		}
		for at := 0; at < len(r.pixels); at += plane {
			t := &table[at/plane%s.Channels]
			for i, v := range r.pixels[at : at+plane] {
				p.Images[at+i] = t[v]
			}
		}
		return p
	}
	s.Train, s.Test = part("train", train), part("test", test)
}

// checkLabels returns an error if a label is not below classes.
func checkLabels(file string, labels []byte, first, classes int) error {
	for i, l := range labels {
		if int(l) >= classes {
			return fmt.Errorf("images: %s: label %d: want 0..%d, got %d", file, first+i, classes-1, l)
		}
	}
	return nil
}
