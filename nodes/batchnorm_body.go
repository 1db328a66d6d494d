// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// batchNormLayer holds the fields that both precisions share.
type batchNormLayer struct {
	channels, area int // area is the number of pixels of an image
	epsilon        float64
	statistics     *Statistics
	mode           *mode
	moments        *moments
	rectified      bool
	top            float64 // of the rectifier; 0 means none

	forMean, forVariance, forGradient *allReduce // nil if there is one process
}

// moments are the mean and scale with which the last run has normalised. The gradients of that run
// need them.
type moments struct {
	mean, scale []float64 // scale is 1/sqrt(variance + epsilon)
	count       float64   // number of elements of a channel
	training    bool
	runs        uint64
}

// batchNorm is the body of BatchNormWith. Its inputs are x, γ, β and, with Plus, the shortcut.
//
// A plane is a channel of an image. The cores divide the images, as those of convolutions do, so each
// finds in its cache what it wrote there in the operation before. Sums over a channel add up the sums
// of its planes in the order of the images, whatever the number of cores.
type batchNorm[T vec.Float] struct {
	*batchNormLayer
	work *batchNormWork[T]
}

// batchNormWork is what the cores share while Sweep runs. It belongs to the node, because functions that
// captured all of it would be allocated in each run.
type batchNormWork[T vec.Float] struct {
	dst, in     [][]T
	grad, kept  []T       // dy, and g where it is in memory or will be, or nil
	sums, total []float64 // Σ g and Σ g (x-μ) of each plane, Σ g and Σ g x^ of each channel
}

// images calls f for each plane of the batch, with its number, its elements and a workspace of a block.
// The cores divide the images; backwards each goes through its images from the last to the first,
// which are still in its cache after a pass in the other direction.
func (n batchNorm[T]) images(size int, backwards bool, f func(space []T, plane, channel, from, to int)) {
	images := size / (n.channels * n.area)
	spread := par.Ranges
	if backwards {
		spread = par.Backwards
	}
	spread(images, worth(images, size), func(first, last int) {
		space := scratch.Get[T](block)
		defer scratch.Put(space)
		for i := range last - first {
			b := first + i
			if backwards {
				b = last - 1 - i
			}
			for c := range n.channels {
				p := b*n.channels + c
				f(space, p, c, p*n.area, (p+1)*n.area)
			}
		}
	})
}

// affine returns the coefficients with which the last run mapped x to a x + b.
func (n batchNorm[T]) affine(c int, in [][]T) (a, b float64) {
	m, γ, β := n.moments, in[1], in[2]
	a = m.scale[c] * float64(γ[c])
	return a, float64(β[c]) - a*m.mean[c]
}

func (n batchNorm[T]) Forward(out []T, in [][]T) error {
	x := in[0]
	m := n.moments
	m.training = n.mode.training
	m.runs++
	if err := n.statistics.check(n.channels); err != nil {
		return err
	}
	if m.training {
		if err := n.train(x); err != nil {
			return err
		}
	} else {
		m.count = 1 // the sums that are divided by it are 0
		copy(m.mean, n.statistics.Mean)
		for c, v := range n.statistics.Variance {
			m.scale[c] = 1 / math.Sqrt(v+n.epsilon)
		}
	}
	n.images(len(x), true, func(_ []T, _, c, from, to int) {
		a, b := n.affine(c, in)
		blocks(from, to, func(i, j int) {
			n.normalise(out[i:j], in, i, j, a, b)
			if n.rectified {
				rectifyInto(out[i:j], out[i:j], n.top)
			}
		})
	})
	return nil
}

// normalise sets dst to the result for the elements i to j, before it is rectified.
func (n batchNorm[T]) normalise(dst []T, in [][]T, i, j int, a, b float64) {
	vec.Affine(dst, in[0][i:j], a, b)
	if len(in) > 3 {
		vec.Add(dst, in[3][i:j])
	}
}

// measure computes the mean and variance of each channel, and the number of its elements, over the
// batch or, if synchronised, over the batches of all processes.
//
// Each plane has its own sum and its own squares around its own mean, computed while it is in the
// cache. The squares around another mean μ of n numbers of mean m are those around m and n (m-μ)²
// (Chan, Golub and LeVeque 1983, equation 2.1): nothing cancels, however large the mean is.
func (n batchNorm[T]) measure(x []T, mean, variance []float64) (count float64, err error) {
	planes := len(x) / n.area
	each := float64(n.area)
	work := scratch.Get[float64](2 * planes)
	defer scratch.Put(work)
	sums, squares := work[:planes], work[planes:]
	n.images(len(x), false, func(_ []T, p, _, from, to int) {
		plane := x[from:to]
		sums[p] = vec.Sum(plane)
		squares[p] = vec.SquareShift(plane, sums[p]/each)
	})
	total := scratch.Get[float64](n.channels + 1)
	defer scratch.Put(total)
	clear(total)
	for p, s := range sums {
		total[p%n.channels] += s
	}
	total[n.channels] = float64(len(x) / n.channels)
	if n.forMean != nil {
		if total, err = n.forMean.sum(total); err != nil {
			return 0, err
		}
	}
	count = total[n.channels]
	for c := range mean {
		mean[c] = total[c] / count
	}
	total = total[:n.channels]
	clear(total)
	for p, s := range squares {
		d := sums[p]/each - mean[p%n.channels]
		total[p%n.channels] += s + each*d*d
	}
	if n.forVariance != nil {
		if total, err = n.forVariance.sum(total); err != nil {
			return 0, err
		}
	}
	for c := range variance {
		variance[c] = total[c] / count
	}
	return count, nil
}

// train computes the moments of a batch and updates the statistics.
func (n batchNorm[T]) train(x []T) error {
	m, s := n.moments, n.statistics
	variance := m.scale
	count, err := n.measure(x, m.mean, variance)
	switch {
	case err != nil:
		return err
	case count < 2:
		return fmt.Errorf("want more than one element of a channel in training, got a batch of one with one pixel")
	}
	m.count = count
	for c, v := range variance {
		if !finite(m.mean[c]) || !finite(v) {
			return notFinite("channel %d: want a finite mean and variance, got %v and %v", c, m.mean[c], v)
		}
	}
	s.Batches++
	for c, v := range variance {
		s.Mean[c] = (1-s.Momentum)*s.Mean[c] + s.Momentum*m.mean[c]
		s.Variance[c] = (1-s.Momentum)*s.Variance[c] + s.Momentum*v*count/(count-1)
		m.scale[c] = 1 / math.Sqrt(v+n.epsilon)
	}
	return nil
}

func (n batchNorm[T]) Runs() uint64 { return n.moments.runs }

// Sweep computes all gradients from one pass that sums up and one that computes dx.
//
// With g = dy, or where rectified dy for y >= 0 (and y < top) and else 0, and x^ = (x-μ)/sqrt(σ²+ε), they are
//
//	dβ = Σ g,   dγ = Σ g x^,   dx = γ/sqrt(σ²+ε) (g - mean g - x^ mean(g x^)),   dshortcut = g.
//
// In evaluation the means are left out.
func (n batchNorm[T]) Sweep(dst, in [][]T, grad []T) error {
	size, m := len(in[0]), n.moments
	planes := size / n.area
	sums, total := scratch.Get[float64](2*planes), scratch.Get[float64](2*n.channels)
	defer scratch.Put(sums)
	defer scratch.Put(total)
	w := n.work
	*w = batchNormWork[T]{dst: dst, in: in, grad: grad, sums: sums, total: total}
	defer func() { *w = batchNormWork[T]{} }()
	switch {
	case !n.rectified:
		w.kept = grad
	case len(in) > 3:
		w.kept = dst[3]
	}
	if len(in) > 3 && !n.rectified && dst[3] != nil {
		par.Ranges(len(grad), grain, func(from, to int) { copy(dst[3][from:to], grad[from:to]) })
	}

	n.images(size, false, n.sum)
	clear(total)
	for p := range planes {
		c := p % n.channels
		total[2*c] += sums[2*p]
		total[2*c+1] += sums[2*p+1]
	}
	for c, scale := range m.scale {
		total[2*c+1] *= scale
		if dst[1] != nil {
			dst[1][c] = T(total[2*c+1])
		}
		if dst[2] != nil {
			dst[2][c] = T(total[2*c])
		}
	}
	if dst[0] == nil {
		return nil
	}
	switch {
	case !m.training:
		clear(total)
	case n.forGradient != nil:
		all, err := n.forGradient.sum(total)
		if err != nil {
			return err
		}
		copy(total, all)
	}
	n.images(size, true, n.descend)
	return nil
}

// sum sets the sums of a plane, and g where it is kept.
func (n batchNorm[T]) sum(space []T, p, c, from, to int) {
	w := n.work
	a, b := n.affine(c, w.in)
	var s, sx float64
	blocks(from, to, func(i, j int) {
		g := w.grad[i:j]
		if n.rectified {
			g = space[:j-i]
			if w.kept != nil {
				g = w.kept[i:j]
			}
			n.through(g, w.in, w.grad, i, j, a, b)
		}
		u, ux := vec.DotShift(w.in[0][i:j], g, n.moments.mean[c])
		s, sx = s+u, sx+ux
	})
	w.sums[2*p], w.sums[2*p+1] = s, sx
}

// descend sets dx of a plane.
func (n batchNorm[T]) descend(_ []T, _, c, from, to int) {
	w, m := n.work, n.moments
	a, b := n.affine(c, w.in)
	d := -a * w.total[2*c+1] / m.count * m.scale[c]
	e := -a*w.total[2*c]/m.count - d*m.mean[c]
	blocks(from, to, func(i, j int) {
		g := w.dst[0][i:j]
		if w.kept != nil {
			g = w.kept[i:j]
		} else {
			n.through(g, w.in, w.grad, i, j, a, b)
		}
		vec.Affine2(w.dst[0][i:j], a, g, d, w.in[0][i:j], e)
	})
}

// through sets dst to the gradient for the elements i to j before they are rectified: that of the
// output where they are not negative (and below the top), else 0. It computes them again, which costs less than reading
// the output. dst must not overlap with the inputs.
func (n batchNorm[T]) through(dst []T, in [][]T, grad []T, i, j int, a, b float64) {
	n.normalise(dst, in, i, j, a, b)
	rectifyBack(dst, dst, grad[i:j], n.top)
}

// Backward is not called: Sweep computes the gradients.
func (n batchNorm[T]) Backward([]T, int, [][]T, []T, []T) error { return errSwept }
