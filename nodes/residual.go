// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Shortcut is the shortcut of residual nets without weights, option A (He, Zhang, Ren and Sun 2016,
// section 3.3): it takes every stride-th row and column of x and adds channels of zeros:
//
//	y[b,c,i,j] = x[b,c-p, stride i, stride j] for p <= c < p+C, else 0.
//
// The zeros come after the channels of x, p = 0, or, with the option ZerosAround, before and after
// them, p = (channels-C)/2, rounded down. Weights that were trained with one placement are useless with
// the other.
//
// x has shape (B, C, H, W), the result (B, channels, 1+(H-1)/stride, 1+(W-1)/stride), rounded down.
// This is the shape of a 3x3 convolution with padding 1 and the same stride, to which it can be
// added with gorgonia.Add.
//
// Shortcut returns an error for another rank, for fewer channels than C and for a stride that is not
// positive.
func Shortcut(x *gorgonia.Node, channels, stride int, opts ...ShortcutOption) (*gorgonia.Node, error) {
	const name = "nodes.Shortcut"
	shapes, err := admit(name, []int{4}, x)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if channels < in[1] {
		return nil, fmt.Errorf("%s: want at least the %d channels of the input, got %d", name, in[1], channels)
	}
	if stride < 1 {
		return nil, fmt.Errorf("%s: want a positive stride, got %d", name, stride)
	}
	l := shortcutLayer{
		images: in[0], from: in[1], to: channels, stride: stride, height: in[2], width: in[3],
		rows: 1 + (in[2]-1)/stride, columns: 1 + (in[3]-1)/stride,
	}
	if err := setOptions(name, &l, opts); err != nil {
		return nil, err
	}
	s := signature{name: name, in: shapes, out: tensor.Shape{in[0], channels, l.rows, l.columns}}
	return apply(s, shortcut[float32]{l}, shortcut[float64]{l}, x)
}

// ShortcutOption is an option of Shortcut.
type ShortcutOption func(*shortcutLayer)

// ZerosAround makes Shortcut put half of the channels of zeros before those of its input, and half after.
func ZerosAround() ShortcutOption {
	return func(l *shortcutLayer) { l.before = (l.to - l.from) / 2 }
}

// ZeroChannels returns how many channels of zeros a node puts before and after those of its input. Both
// are 0 if the node is no Shortcut.
func ZeroChannels(n *gorgonia.Node) (before, after int) {
	if o := operation(n); o != nil {
		if l, ok := o.f64.(shortcut[float64]); ok {
			return l.before, l.to - l.from - l.before
		}
	}
	return 0, 0
}

type shortcutLayer struct {
	images, from, to int // from and to are numbers of channels
	before           int // channels of zeros before those of x
	stride           int
	height, width    int
	rows, columns    int // of the result
}

type shortcut[T vec.Float] struct{ shortcutLayer }

// each clears dst, which is x or y, and calls f for each channel that is copied, with its planes in x and in the result y. They end
// with the channel, because another core may be at work on what follows. The cores divide the images.
func (s shortcut[T]) each(dst, x, y []T, f func(x, y []T)) {
	size, large, small := len(dst)/s.images, s.height*s.width, s.rows*s.columns
	parallel(s.images, len(dst), func(from, to int) {
		clear(dst[from*size : to*size])
		for b := from; b < to; b++ {
			for c := range s.from {
				f(x[(b*s.from+c)*large:][:large], y[(b*s.to+s.before+c)*small:][:small])
			}
		}
	})
}

func (s shortcut[T]) Forward(out []T, in [][]T) error {
	s.each(out, in[0], out, func(x, y []T) {
		vec.Pick(y, s.columns, x, s.stride*s.width, s.stride, s.rows, s.columns)
	})
	return nil
}

func (s shortcut[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	s.each(dst, dst, grad, func(x, y []T) {
		vec.Place(x, s.stride*s.width, y, s.columns, s.stride, s.rows, s.columns)
	})
	return nil
}
