// SPDX-License-Identifier: Apache-2.0

package images

import (
	"image"
	"math"
	"sync"
)

// taps are the weights with which the samples of one axis make up each new sample: linear interpolation, whose filter is
// widened by the scale where the axis shrinks, so that every sample counts (antialiasing). With scale s = from/to, new
// sample x is the mean of the samples i with the weights
//
//	max(0, 1 - |i + 1/2 - (x + 1/2) s| / max(1, s)),
//
// which is what Pillow and torchvision call bilinear. Weights are integers of sum 2^fraction, about.
type taps struct {
	first   []int // for each new sample, the first that counts
	weights [][]int32
}

const fraction = 22 // 8 bits of a sample and these fit an int32 with its sign

// newTaps returns the weights of the new samples first..last when an axis of from samples becomes one of to.
func newTaps(from, to, first, last int) taps {
	scale := float64(from) / float64(to)
	reach := max(1, scale)
	t := taps{make([]int, last-first), make([][]int32, last-first)}
	var w []float64
	for k := range t.first {
		centre := (float64(first+k) + 0.5) * scale
		// Truncation, not floor, and the addition of a half, are Pillow's.
		low := max(0, int(centre-reach+0.5))
		high := min(from, int(centre+reach+0.5))
		w = w[:0]
		sum := 0.0
		for i := low; i < high; i++ {
			v := max(0, 1-math.Abs((float64(i)-centre+0.5)/reach))
			w = append(w, v)
			sum += v
		}
		t.first[k] = low
		t.weights[k] = make([]int32, len(w))
		for i, v := range w {
			t.weights[k][i] = int32(math.Round(v / sum * (1 << fraction)))
		}
	}
	return t
}

// planes is a small picture, channel by channel, as bytes.
type planes struct {
	width, height int
	pix           [][]byte
}

func newPlanes(channels, width, height int) *planes {
	p := &planes{width, height, make([][]byte, channels)}
	all := make([]byte, channels*width*height)
	for c := range p.pix {
		p.pix[c] = all[c*width*height : (c+1)*width*height]
	}
	return p
}

// scratch is memory for the rows of resample.
type scratch struct {
	row  []byte
	tall []byte
	sums []int32
}

var scratches = sync.Pool{New: func() any { return &scratch{} }}

// sized returns s with n elements.
func sized[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// resample scales the part crop of a picture to width x height and returns the part window of the result: first along rows and
// then along columns, rounded to bytes after each, as Pillow does. Only rows and columns that the window needs are computed.
func resample(m image.Image, crop image.Rectangle, width, height int, window image.Rectangle, channels int) *planes {
	h := newTaps(crop.Dx(), width, window.Min.X, window.Max.X)
	v := newTaps(crop.Dy(), height, window.Min.Y, window.Max.Y)
	out := newPlanes(channels, window.Dx(), window.Dy())
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)

	// Columns and rows of the picture that count.
	left, right := h.first[0], h.first[len(h.first)-1]+len(h.weights[len(h.weights)-1])
	top, bottom := v.first[0], v.first[len(v.first)-1]+len(v.weights[len(v.weights)-1])
	n, w := right-left, out.width
	row := sized(&s.row, channels*n)
	tall := sized(&s.tall, channels*(bottom-top)*w)
	read := rowsOf(m, channels)
	for y := top; y < bottom; y++ {
		read(row, crop.Min.X+left, crop.Min.Y+y)
		for c := range channels {
			scaleRow(tall[(c*(bottom-top)+y-top)*w:][:w], row[c*n:(c+1)*n], h, left)
		}
	}
	sums := sized(&s.sums, w)
	for c := range channels {
		plane := tall[c*(bottom-top)*w:]
		for y := range out.height {
			for x := range sums {
				sums[x] = 1 << (fraction - 1)
			}
			for i, weight := range v.weights[y] {
				from := plane[(v.first[y]-top+i)*w:][:w]
				for x, p := range from {
					sums[x] += weight * int32(p)
				}
			}
			to := out.pix[c][y*w:][:w]
			for x, sum := range sums {
				to[x] = toByte(sum)
			}
		}
	}
	return out
}

// scaleRow writes the new samples of a row, whose first sample is number left.
func scaleRow(to, row []byte, t taps, left int) {
	for x := range to {
		weights := t.weights[x]
		from := row[t.first[x]-left:][:len(weights)]
		sum := int32(1 << (fraction - 1))
		for i, w := range weights {
			sum += w * int32(from[i])
		}
		to[x] = toByte(sum)
	}
}

func toByte(sum int32) byte { return byte(min(255, max(0, sum>>fraction))) }
