// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Statistics are the running mean and variance of each channel of a batch normalisation. Nodes in
// several graphs can share them, so that a graph for evaluation uses the statistics of the graph for
// training. To save and load them, use encoding/gob or encoding/json between runs.
//
// Nodes that share statistics must not run at the same time.
type Statistics struct {
	Mean     []float64 // starts at 0
	Variance []float64 // starts at 1
	// Momentum is the weight m of a batch, as in PyTorch and in gorgonia.BatchNorm:
	//
	//	running = (1-m) running + m batch.
	Momentum float64
	// Batches is the number of runs in training.
	Batches uint64
}

// NewStatistics returns statistics with mean 0 and variance 1. A number of channels below 1 is an error, and so is a momentum
// outside of [0, 1].
func NewStatistics(channels int, momentum float64) (*Statistics, error) {
	if channels < 1 {
		return nil, fmt.Errorf("nodes.NewStatistics: want a positive number of channels, got %d", channels)
	}
	s := &Statistics{Mean: make([]float64, channels), Variance: make([]float64, channels), Momentum: momentum}
	for i := range s.Variance {
		s.Variance[i] = 1
	}
	if err := s.check(channels); err != nil {
		return nil, fmt.Errorf("nodes.NewStatistics: %w", err)
	}
	return s, nil
}

func (s *Statistics) check(channels int) error {
	if len(s.Mean) != channels || len(s.Variance) != channels {
		return fmt.Errorf("want statistics of %d channels, got %d means and %d variances", channels, len(s.Mean), len(s.Variance))
	}
	if !(s.Momentum >= 0 && s.Momentum <= 1) {
		return fmt.Errorf("want a momentum from 0 to 1, got %v", s.Momentum)
	}
	for c, v := range s.Variance {
		if !finite(s.Mean[c]) || !finite(v) || v < 0 {
			return fmt.Errorf("channel %d: want a running mean and variance that are finite, got %v and %v", c, s.Mean[c], v)
		}
	}
	return nil
}

// finite reports whether x is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// BatchNorm is BatchNormWith with the signature of gorgonia.BatchNorm: it makes the statistics, with
// the given momentum, and returns the scale, the bias and the statistics together with the node.
//
// If scale or bias is nil, BatchNorm makes a learnable of shape (1, C, 1, 1), or (1, C), that starts
// at 1 or 0. Its name is the name of x followed by _γ or _β, which the graph must not have yet. BatchNorm returns the errors of NewStatistics and BatchNormWith.
func BatchNorm(x, scale, bias *gorgonia.Node, momentum, epsilon float64) (y, γ, β *gorgonia.Node, s *Statistics, err error) {
	const name = "nodes.BatchNorm"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	in := shapes[0]
	if len(in) != 2 && len(in) != 4 {
		return nil, nil, nil, nil, fmt.Errorf("%s: want rank 2 or 4, got shape %v", name, in)
	}
	if s, err = NewStatistics(in[1], momentum); err != nil {
		return nil, nil, nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, l := range []struct {
		node **gorgonia.Node
		what string
		name string
		init gorgonia.InitWFn
	}{{&scale, "scale", x.Name() + "_γ", gorgonia.Ones()}, {&bias, "bias", x.Name() + "_β", gorgonia.Zeroes()}} {
		switch {
		case *l.node != nil:
		case len(x.Graph().ByName(l.name)) > 0: // Gorgonia would return that node
			return nil, nil, nil, nil, fmt.Errorf("%s: want a %s, because the graph has a node %q already, got nil", name, l.what, l.name)
		default:
			*l.node = gorgonia.NewTensor(x.Graph(), x.Dtype(), len(in), gorgonia.WithShape(perChannel(in)...), gorgonia.WithName(l.name), gorgonia.WithInit(l.init))
		}
	}
	if y, err = BatchNormWith(x, scale, bias, s, epsilon); err != nil {
		return nil, nil, nil, nil, err
	}
	return y, scale, bias, s, nil
}

// BatchNormWith is batch normalisation (Ioffe and Szegedy 2015, algorithm 1):
//
//	y[b,c,u,v] = γ[c] (x[b,c,u,v] - μ[c]) / sqrt(σ²[c] + ε) + β[c].
//
// x has shape (B, C, H, W), γ and β have (1, C, 1, 1); or x has (B, C), and γ and β
// have (1, C). The gradients are exact in both modes:
//
//   - In training, μ and σ² are the mean and the variance (divided by n = B H W) of the channel in
//     this batch, and gradients flow through them. Every run updates s with them, where the variance
//     is divided by n-1, as in PyTorch. A run fails if a channel has only one element.
//   - In evaluation, on a machine with gorgonia.EvalMode, μ and σ² are the running values in s.
//
// Neither making a machine nor changing the mode changes s. (gorgonia.BatchNorm loses its statistics
// then, and its gradient in evaluation is wrong.) The mode of a graph is that of the machine made
// last for it, so make one graph for training and one for evaluation, with the same s.
//
// With the option Synchronised, μ and σ² are those of the batches of several processes.
//
// A run fails and leaves s unchanged if a channel contains NaN or Inf. BatchNormWith returns an error
// for wrong ranks or shapes, for statistics with a wrong number of channels or with values out of
// range, and for an epsilon that is not positive.
func BatchNormWith(x, scale, bias *gorgonia.Node, s *Statistics, epsilon float64, opts ...BatchNormOption) (*gorgonia.Node, error) {
	const name = "nodes.BatchNorm"
	shapes, err := admitAffine(name, x, scale, bias, epsilon)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if s == nil {
		return nil, fmt.Errorf("%s: want statistics, got nil", name)
	}
	if err := s.check(in[1]); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var o batchNormOptions
	if err := setOptions(name, &o, opts); err != nil {
		return nil, err
	}
	if o.bounded {
		if err := checkTop(o.top); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	inputs := []*gorgonia.Node{x, scale, bias}
	if o.sum {
		inputs = append(inputs, o.plus)
		if shapes, err = admit(name, []int{0, 0, 0, 0}, inputs...); err != nil {
			return nil, err
		}
		if got := shapes[3]; !slices.Equal(got, in) {
			return nil, fmt.Errorf("%s: want a shortcut of the shape %v of the input, got %v", name, in, got)
		}
	}
	m := &mode{training: true}
	l := &batchNormLayer{
		channels: in[1], area: in.TotalSize() / (in[0] * in[1]), epsilon: epsilon, statistics: s, mode: m,
		moments:   &moments{mean: make([]float64, in[1]), scale: make([]float64, in[1])},
		rectified: o.rectified, top: o.top,
		forMean: newAllReduce(o.over, scale.Name(), "mean"), forVariance: newAllReduce(o.over, scale.Name(), "variance"),
		forGradient: newAllReduce(o.over, scale.Name(), "gradient"),
	}
	return apply(signature{name: name, in: shapes, out: in, mode: m}, batchNorm[float32]{l, &batchNormWork[float32]{}}, batchNorm[float64]{l, &batchNormWork[float64]{}}, inputs...)
}

// BatchNormOption is an option of BatchNormWith.
type BatchNormOption func(*batchNormOptions)

type batchNormOptions struct {
	over      Sums
	rectified bool
	bounded   bool
	top       float64 // of the rectifier, if it is bounded
	sum       bool
	plus      *gorgonia.Node
}

// Rectified makes BatchNormWith rectify what it computes: the node is Rectify of the batch
// normalisation, to the bit, with fewer passes over memory.
func Rectified() BatchNormOption {
	return func(o *batchNormOptions) { o.rectified, o.bounded, o.top = true, false, 0 }
}

// RectifiedTo is Rectified with RectifyTo in place of Rectify: the results are at most top, 6 in MobileNets. BatchNormWith
// returns an error unless top is positive and finite.
func RectifiedTo(top float64) BatchNormOption {
	return func(o *batchNormOptions) { o.rectified, o.bounded, o.top = true, true, top }
}

// Plus makes BatchNormWith add a node of the shape of x, such as the shortcut of a residual block,
// before it rectifies:
//
//	y = γ (x - μ)/sqrt(σ² + ε) + β + shortcut,   with Rectified: y = max(γ (x - μ)/sqrt(σ² + ε) + β + shortcut, 0).
//
// The node is the sum of the batch normalisation and shortcut, to the bit, with fewer passes over
// memory. A nil shortcut is an error of BatchNormWith.
func Plus(shortcut *gorgonia.Node) BatchNormOption {
	return func(o *batchNormOptions) { o.sum, o.plus = true, shortcut }
}

// Synchronised computes n, μ and σ² of training from the batches of all processes of over. The
// processes must make the same runs of the same graph. A nil over means this process alone. The
// forward pass calls over.Sum twice, for μ and for σ², and the gradient with respect to x calls it
// once:
//
//	dx[b,c,u,v] = γ[c]/sqrt(σ²[c]+ε) (dy[b,c,u,v] - Σ dy/n - x^[b,c,u,v] Σ dy x^/n),   x^ = (x-μ)/sqrt(σ²+ε),
//
// where the sums run over channel c of all batches. This is the gradient of the sum of the costs of
// all processes. The gradients with respect to γ and β come from the batch of this process only, so
// the mean over processes of the gradients of all parameters is the gradient of the mean of the
// costs. All processes update s in the same way.
//
// Evaluation does not call over.Sum.
func Synchronised(over Sums) BatchNormOption {
	return func(o *batchNormOptions) { o.over = over }
}

// perChannel returns the shape of one number per channel of x.
func perChannel(x tensor.Shape) tensor.Shape {
	s := tensor.Shape{1, x[1]}
	for range x[2:] {
		s = append(s, 1)
	}
	return s
}

// admitAffine checks the inputs of a normalisation with one scale and one bias per channel.
func admitAffine(name string, x, scale, bias *gorgonia.Node, epsilon float64) ([]tensor.Shape, error) {
	shapes, err := admit(name, []int{0, 0, 0}, x, scale, bias)
	if err != nil {
		return nil, err
	}
	if len(shapes[0]) < 2 {
		return nil, fmt.Errorf("%s: want rank 2 at least, got shape %v", name, shapes[0])
	}
	if r := len(shapes[0]); r != 2 && r != 4 {
		return nil, fmt.Errorf("%s: want rank 2 or 4, got shape %v", name, shapes[0])
	}
	want := perChannel(shapes[0])
	for i, what := range []string{"a scale", "a bias"} {
		if got := shapes[i+1]; !slices.Equal(got, want) {
			return nil, fmt.Errorf("%s: want %s of shape %v for an input of shape %v, got %v", name, what, want, shapes[0], got)
		}
	}
	if !(epsilon > 0) || math.IsInf(epsilon, 0) {
		return nil, fmt.Errorf("%s: want a positive epsilon, got %v", name, epsilon)
	}
	return shapes, nil
}
