// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// GroupNorm is group normalisation (Wu and He 2018, eq. 1 to 7): the channels of each image are
// divided into groups of C/numGroups consecutive channels, and
//
//	y[b,c,u,v] = γ[c] (x[b,c,u,v] - μ) / sqrt(σ² + ε) + β[c],
//
// where μ and σ² are the mean and the (biased) variance of the elements of image b in the group of c.
// One group is layer normalisation over the whole image, and C groups are instance normalisation.
// Training and evaluation are the same.
//
// x has shape (B, C, H, W), γ and β have (1, C, 1, 1); or x has (B, C), and γ and β have (1, C).
// GroupNorm returns an error for other ranks and shapes, a numChannels that is not C, a number of
// groups that does not divide C and an epsilon that is not positive. If a group contains NaN or Inf,
// its results are NaN.
//
// gorgonia.GroupNorm is wrong for groups of more than about 256 elements.
func GroupNorm(x, scale, bias *gorgonia.Node, numGroups, numChannels int, epsilon float64) (*gorgonia.Node, error) {
	const name = "nodes.GroupNorm"
	shapes, err := admitAffine(name, x, scale, bias, epsilon)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	switch {
	case numChannels != in[1]:
		return nil, fmt.Errorf("%s: want %d channels for an input of shape %v, got %d", name, in[1], in, numChannels)
	case numGroups < 1 || numChannels%numGroups != 0:
		return nil, fmt.Errorf("%s: want a number of groups that divides %d channels, got %d", name, numChannels, numGroups)
	}
	l := groupNormLayer{
		images: in[0], groups: numGroups, channels: numChannels / numGroups,
		area: in.TotalSize() / (in[0] * numChannels), epsilon: epsilon,
	}
	return apply(signature{name: name, in: shapes, out: in}, groupNorm[float32]{l}, groupNorm[float64]{l}, x, scale, bias)
}

type groupNormLayer struct {
	images, groups int
	channels, area int // channels of a group, pixels of a channel
	epsilon        float64
}

type groupNorm[T vec.Float] struct{ groupNormLayer }

// moments returns the mean of group k and 1/sqrt(variance + epsilon), NaN if the variance overflows. Groups are numbered over all
// images.
func (n groupNorm[T]) moments(x []T, k int) (mean, scale float64) {
	size := n.channels * n.area
	x = x[k*size : (k+1)*size]
	mean = vec.Sum(x) / float64(size)
	variance := vec.SquareShift(x, mean) / float64(size)
	if math.IsInf(variance, 1) { // the scale would be 0
		return mean, math.NaN()
	}
	return mean, 1 / math.Sqrt(variance+n.epsilon)
}

// planes calls f with the index and the range of elements of each channel of group k.
func (n groupNorm[T]) planes(k int, f func(c, from, to int)) {
	for i := range n.channels {
		from := (k*n.channels + i) * n.area
		f(k%n.groups*n.channels+i, from, from+n.area)
	}
}

func (n groupNorm[T]) Forward(out []T, in [][]T) error {
	x, γ, β := in[0], in[1], in[2]
	parallel(n.images*n.groups, len(x), func(first, last int) {
		for k := first; k < last; k++ {
			mean, scale := n.moments(x, k)
			n.planes(k, func(c, i, j int) {
				a := scale * float64(γ[c])
				vec.Affine(out[i:j], x[i:j], a, float64(β[c])-a*mean)
			})
		}
	})
	return nil
}

func (n groupNorm[T]) Backward(dst []T, input int, in [][]T, _, grad []T) error {
	x, γ := in[0], in[1]
	switch input {
	case 1:
		sums := make([]float64, len(dst))
		for k := range n.images * n.groups {
			mean, scale := n.moments(x, k)
			n.planes(k, func(c, i, j int) {
				_, sum := vec.DotShift(x[i:j], grad[i:j], mean)
				sums[c] += scale * sum
			})
		}
		for c, s := range sums {
			dst[c] = T(s)
		}
		return nil
	case 2:
		sums := make([]float64, len(dst))
		for k := range n.images * n.groups {
			n.planes(k, func(c, i, j int) { sums[c] += vec.Sum(grad[i:j]) })
		}
		for c, s := range sums {
			dst[c] = T(s)
		}
		return nil
	}
	size := float64(n.channels * n.area)
	parallel(n.images*n.groups, len(x), func(first, last int) {
		for k := first; k < last; k++ {
			mean, scale := n.moments(x, k)
			var sum, sumx float64 // sums of h = γ g and of h x^, where x^ is the normalised x
			n.planes(k, func(c, i, j int) {
				s, sx := vec.DotShift(x[i:j], grad[i:j], mean)
				sum += float64(γ[c]) * s
				sumx += float64(γ[c]) * scale * sx
			})
			// dx = 1/sqrt(σ²+ε) (h - mean h - x^ mean(h x^))
			d := -scale * scale * sumx / size
			b := -scale*sum/size - d*mean
			n.planes(k, func(c, i, j int) {
				vec.Affine2(dst[i:j], scale*float64(γ[c]), grad[i:j], d, x[i:j], b)
			})
		}
	})
	return nil
}
