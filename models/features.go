// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/nodes"
)

// Features measures the features that the kernels of a net are convolved with, over batches.
type Features struct {
	net, another *Net
	kernels      map[string]*seen
	batches      int
	vm           gorgonia.VM
}

// seen is what one kernel is convolved with.
type seen struct {
	shape      tensor.Shape
	groups     int
	transposed bool
	images     []*nodes.Statistics
}

// Features makes a graph of the net, in training mode, that measures the variance of the channels that each kernel among the learnables is
// convolved with. A net without kernels has no features to measure. It fails if a kernel is shared by convolutions of several kinds, or if
// its weights are rearranged before the convolution, because a weight then does not belong to a single feature. With over, which may be
// nil, a batch is that of several processes together, as for nodes.Synchronised. Close it after use.
func (n *Net) Features(over nodes.Sums) (*Features, error) {
	a, err := n.another(n.batch)
	if err != nil {
		return nil, err
	}
	f := &Features{net: n, another: a, kernels: map[string]*seen{}}
	graph := roles.Read(a.Graph)
	for _, l := range a.Learnables {
		images := graph.Images(l)
		if len(images) == 0 {
			continue
		}
		answer := graph.Of(l)
		if answer.Unclear != "" {
			return nil, fmt.Errorf("models: kernel %s: want one kind of convolution to know the feature that a weight multiplies, got %s", l.Name(), answer.Unclear)
		}
		k := &seen{l.Shape().Clone(), max(1, answer.Groups), answer.Transposed, nil}
		for i, x := range images {
			if c := k.channels(); c != x.Shape()[1] {
				return nil, fmt.Errorf("models: kernel %s of shape %v: want features of %d channels, got %s of shape %v", l.Name(), l.Shape(), c, x.Name(), x.Shape())
			}
			s, err := moments(x, fmt.Sprintf("features %d of %s", i+1, l.Name()), over)
			if err != nil {
				return nil, fmt.Errorf("models: kernel %s: %w", l.Name(), err)
			}
			k.images = append(k.images, s)
		}
		f.kernels[l.Name()] = k
	}
	if err := nodes.CheckGraph(a.Graph); err != nil {
		return nil, err
	}
	nodes.Plan(a.Graph, a.Outputs...)
	return f, making("machine", func() error {
		f.vm = gorgonia.NewTapeMachine(a.Graph)
		return nil
	})
}

// moments adds a batch normalisation of x to the graph, of which only the statistics are used.
func moments(x *gorgonia.Node, name string, over nodes.Sums) (*nodes.Statistics, error) {
	leaf := func(kind string, init gorgonia.InitWFn) *gorgonia.Node {
		return gorgonia.NewTensor(x.Graph(), x.Dtype(), 4, gorgonia.WithShape(1, x.Shape()[1], 1, 1), gorgonia.WithName(name+", "+kind), gorgonia.WithInit(init))
	}
	s, err := nodes.NewStatistics(x.Shape()[1], 1)
	if err != nil {
		return nil, err
	}
	_, err = nodes.BatchNormWith(x, leaf("scale", gorgonia.Ones()), leaf("bias", gorgonia.Zeroes()), s, 1, nodes.Synchronised(over))
	return s, err
}

// channels returns the number of input channels of a convolution with the kernel.
func (k *seen) channels() int {
	if k.transposed {
		return k.shape[0]
	}
	return k.shape[1] * k.groups
}

// Run measures a batch: one tensor for each of Inputs and then of Targets, as Feed takes them. The weights are those that the net has now.
// Running statistics, noise and power iterations of the net move on as in any run in training.
func (f *Features) Run(values ...*tensor.Dense) error {
	if err := f.net.lend(f.another); err != nil {
		return fmt.Errorf("models: %w", err)
	}
	if err := f.another.Feed(values...); err != nil {
		return err
	}
	f.batches++
	for _, k := range f.kernels {
		for _, s := range k.images {
			s.Momentum = 1 / float64(f.batches)
		}
	}
	defer f.vm.Reset()
	if err := nodes.Cause(f.vm.RunAll()); err != nil {
		f.batches--
		return fmt.Errorf("models: features: %w", err)
	}
	return nil
}

// Kernel reports whether name is that of a kernel among the learnables.
func (f *Features) Kernel(name string) bool { return f.kernels[name] != nil }

// Variances returns, for each weight of a kernel, the variance of the channel that the weight multiplies, over the images and pixels of a
// batch, and the mean of that over the batches since the last Clear and over the convolutions with the kernel. It is nil if there is no
// such kernel among the learnables, and before the first Run.
func (f *Features) Variances(kernel string) []float64 {
	k := f.kernels[kernel]
	if k == nil || f.batches == 0 {
		return nil
	}
	mean := make([]float64, k.channels())
	for _, s := range k.images {
		for c, v := range s.Variance {
			mean[c] += v / float64(len(k.images))
		}
	}
	variances := make([]float64, k.shape.TotalSize())
	slice := k.shape[2] * k.shape[3]
	for i := range variances {
		first, second := i/slice/k.shape[1], i/slice%k.shape[1]
		c := first
		if !k.transposed {
			c = first/(k.shape[0]/k.groups)*k.shape[1] + second
		}
		variances[i] = mean[c]
	}
	return variances
}

// Clear forgets what was measured.
func (f *Features) Clear() { f.batches = 0 }

// Close releases the machine.
func (f *Features) Close() error {
	if f.vm == nil {
		return nil
	}
	return f.vm.Close()
}
