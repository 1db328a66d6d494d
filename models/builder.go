// SPDX-License-Identifier: Apache-2.0

package models

import (
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Builder adds named layers to a graph, so that the code of a net reads like the table in its
// paper. For the first graph of a net it makes the weights, and for further graphs of the same
// net it uses the same weights again:
//
//	x = b.Conv("conv1", x, 16, 3, 1, 1)
//	x = b.BatchNorm("bn1", x, nodes.Rectified())
//	return b.Linear("fc", b.GlobalAveragePool(x), 10)
//
// A net need not check for errors, because Build returns the first one. After it, the methods
// add nothing and return their input.
//
// Learnables are named after their layers as in PyTorch, for example "conv1.weight", and have the
// shapes that package nodes expects: (in, out) for a linear layer, and (1, channels, 1, 1) for
// one number per channel. Statistics and noise have the name of their layer.
type Builder struct {
	*building
	scope string
}

// building is the state that the builders of all parts of a net share.
type building struct {
	spec       Spec
	of         *Net // the net whose weights and buffers are used, or nil to make new ones
	graph      *gorgonia.ExprGraph
	learnables gorgonia.Nodes
	undrawn    []Init // of the learnables, unless of has their values
	weights    int    // numbers in the learnables
	buffers    []Buffer
	names      map[string]bool
	err        error
}

func newBuilder(s Spec, of *Net) *Builder {
	return &Builder{building: &building{spec: s, of: of, graph: gorgonia.NewGraph(), names: map[string]bool{}}}
}

// Spec returns the specification of the model that is being built.
func (b *Builder) Spec() Spec { return b.spec }

// In returns a builder for a part of the net. The names of its layers begin with the name of the
// part and a dot.
func (b *Builder) In(part string) *Builder { return &Builder{b.building, b.scope + part + "."} }

// Fail records an error of a layer for Build to return. It does nothing if err is nil or an error
// has already been recorded.
func (b *Builder) Fail(layer string, err error) {
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("models: %s%s: %w", b.scope, layer, err)
	}
}

var errNil = errors.New("want a node, got nil")

// Apply adds any operation with one input, such as nodes.Rectify or gorgonia.Tanh. The layer name
// is used in errors only.
func (b *Builder) Apply(layer string, x *gorgonia.Node, f func(*gorgonia.Node) (*gorgonia.Node, error)) *gorgonia.Node {
	if b.err == nil && x == nil {
		b.Fail(layer, errNil)
	}
	if b.err == nil && f == nil {
		b.Fail(layer, errors.New("want a function, got nil"))
	}
	if b.err != nil {
		return x
	}
	y, err := f(x)
	if err != nil {
		b.Fail(layer, err)
		return x
	}
	return y
}

// Conv adds a convolution without a bias. Its weights, "<layer>.weight", have shape
// (filters, channels/groups, size, size). Options are nodes.Groups and nodes.Circular.
func (b *Builder) Conv(layer string, x *gorgonia.Node, filters, size, stride, pad int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		channels, groups, err := groupsOf(x, filters, opts)
		if err != nil {
			return nil, err
		}
		w, err := b.Weight(layer+".weight", b.spec.Kernels, filters, channels/groups, size, size)
		if err != nil {
			return nil, err
		}
		return nodes.Conv2dWith(x, w, tensor.Shape{size, size}, []int{pad, pad}, []int{stride, stride}, nil, opts...)
	})
}

// ConvTranspose adds a transposed convolution without a bias: see nodes.ConvTranspose2d. Its weights,
// "<layer>.weight", have shape (channels, filters/groups, size, size), as in PyTorch. If Spec.Kernels is nil,
// they start as normal numbers of variance 2/fan-in, with the fan-in channels/groups (size/stride)^2 of a
// pixel of the result. Options are nodes.OutputPadding, nodes.Groups and nodes.Circular.
func (b *Builder) ConvTranspose(layer string, x *gorgonia.Node, filters, size, stride, pad int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		channels, groups, err := groupsOf(x, filters, opts)
		if err != nil {
			return nil, err
		}
		init := b.spec.Kernels
		if init == nil { // which takes filters/groups for the number of channels
			init = heNormal(float64(stride) * math.Sqrt(2*float64(filters)/float64(channels)))
		}
		w, err := b.Weight(layer+".weight", init, channels, filters/groups, size, size)
		if err != nil {
			return nil, err
		}
		return nodes.ConvTranspose2d(x, w, tensor.Shape{size, size}, []int{pad, pad}, []int{stride, stride}, nil, opts...)
	})
}

// groupsOf returns the number of channels of x, and that of the groups of a convolution.
func groupsOf(x *gorgonia.Node, filters int, opts []nodes.ConvOption) (channels, groups int, err error) {
	if x.Dims() != 4 {
		return 0, 0, fmt.Errorf("want images of rank 4, got shape %v", x.Shape())
	}
	channels, groups = x.Shape()[1], nodes.GroupsOf(opts...)
	if groups < 1 || channels%groups != 0 || filters%groups != 0 {
		return 0, 0, fmt.Errorf("want groups that divide %d channels and %d filters, got %d", channels, filters, groups)
	}
	return channels, groups, nil
}

// Orthogonal adds an orthogonal convolution without a bias: see nodes.OrthogonalConv. Its factors are "<layer>.weight", which Release
// replaces by the kernel, and "<layer>.projectors", if there are any. They start as points drawn uniformly from their manifolds; train them by a solver
// with the option solvers.Natural. Options are nodes.Circular and nodes.Groups.
func (b *Builder) Orthogonal(layer string, x *gorgonia.Node, filters, size, stride int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.orthogonal(layer, x, filters, size, stride, false, opts)
}

// OrthogonalTranspose adds the adjoint of an orthogonal convolution, which makes images of the given number of channels that are stride times as
// large: see nodes.OrthogonalConvTranspose. Factors and options are those of Orthogonal.
func (b *Builder) OrthogonalTranspose(layer string, x *gorgonia.Node, channels, size, stride int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.orthogonal(layer, x, channels, size, stride, true, opts)
}

// orthogonal adds an orthogonal convolution, or its adjoint, whose result has the given number of channels.
func (b *Builder) orthogonal(layer string, x *gorgonia.Node, made, size, stride int, adjoint bool, opts []nodes.ConvOption) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		channels, _, err := groupsOf(x, made, opts)
		if err != nil {
			return nil, err
		}
		kernel, strides, filters := tensor.Shape{size, size}, []int{stride, stride}, made
		if adjoint {
			filters, channels = channels, made
		}
		m, u, err := b.factors(layer, filters, channels, kernel, strides, opts)
		switch {
		case err != nil:
			return nil, err
		case adjoint:
			return nodes.OrthogonalConvTranspose(x, m, u, channels, kernel, strides, nil, opts...)
		}
		return nodes.OrthogonalConv(x, m, u, kernel, strides, nil, opts...)
	})
}

// factors adds the factors of an orthogonal convolution.
func (b *Builder) factors(layer string, filters, channels int, kernel tensor.Shape, stride []int, opts []nodes.ConvOption) (m, u *gorgonia.Node, err error) {
	matrix, projectors, err := nodes.OrthogonalConvFactors(filters, channels, kernel, stride, opts...)
	if err != nil {
		return nil, nil, err
	}
	weight := func(name string, f nodes.Factor) (*gorgonia.Node, error) {
		return b.Weight(layer+name, func(seed uint64) gorgonia.InitWFn { return nodes.ManifoldInit(f.Constraint, seed) }, f.Shape...)
	}
	if m, err = weight(".weight", matrix); err == nil && projectors.Shape != nil {
		u, err = weight(".projectors", projectors)
	}
	return m, u, err
}

// Bias adds one learnable number to each channel: "<layer>.bias", which starts at 0. Call it
// after Conv with the same layer name to give a convolution a bias.
func (b *Builder) Bias(layer string, x *gorgonia.Node) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		β, err := b.perChannel(layer+".bias", zeros, x)
		if err != nil {
			return nil, err
		}
		return nodes.Bias(x, β)
	})
}

// BatchNorm adds a batch normalisation with epsilon 1e-5. "<layer>.weight" starts at 1 and
// "<layer>.bias" at 0. Its running statistics, with momentum 0.1, are the buffer "<layer>". With
// Spec.BatchNormOver, it normalises over the batches of several processes.
//
// Options add what follows it, faster than layers of their own: nodes.Rectified a rectified linear unit, nodes.RectifiedTo(6) a ReLU6, and
// nodes.Plus(shortcut) a sum, before the rectifier.
func (b *Builder) BatchNorm(layer string, x *gorgonia.Node, opts ...nodes.BatchNormOption) *gorgonia.Node {
	return b.batchNorm(layer, x, func() []nodes.BatchNormOption { return opts })
}

// BatchNormShortcut adds the end of a residual block: BatchNorm with the sum of x and a shortcut, whose layers the function adds. Their weights come
// after those of the normalisation. The function may also return the input of the block.
func (b *Builder) BatchNormShortcut(layer string, x *gorgonia.Node, shortcut func() *gorgonia.Node, opts ...nodes.BatchNormOption) *gorgonia.Node {
	return b.batchNorm(layer, x, func() []nodes.BatchNormOption {
		if shortcut == nil {
			b.Fail(layer, errors.New("want a function, got nil"))
			return nil
		}
		return append([]nodes.BatchNormOption{nodes.Plus(shortcut())}, opts...)
	})
}

// batchNorm adds a batch normalisation. The options may add layers, whose weights come after its own.
func (b *Builder) batchNorm(layer string, x *gorgonia.Node, options func() []nodes.BatchNormOption) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		γ, err := b.perChannel(layer+".weight", ones, x)
		if err != nil {
			return nil, err
		}
		β, err := b.perChannel(layer+".bias", zeros, x)
		if err != nil {
			return nil, err
		}
		s, err := b.buffer(layer, func(name string) (Buffer, error) {
			s, err := nodes.NewStatistics(x.Shape()[1], 0.1)
			return Buffer{Name: name, Statistics: s}, err
		})
		if err != nil {
			return nil, err
		}
		opts := append([]nodes.BatchNormOption{nodes.Synchronised(b.spec.BatchNormOver)}, options()...)
		if b.err != nil {
			return nil, b.err
		}
		return nodes.BatchNormWith(x, γ, β, s.Statistics, 1e-5, opts...)
	})
}

// Linear adds a fully connected layer. An x of rank 4 is flattened, one vector per image.
// "<layer>.weight" has shape (in, outputs) and starts as normal numbers of variance 1/in;
// "<layer>.bias" has shape (1, outputs) and starts at 0.
func (b *Builder) Linear(layer string, x *gorgonia.Node, outputs int) *gorgonia.Node {
	return b.linear(layer, x, outputs, func(w *gorgonia.Node) (*gorgonia.Node, error) { return w, nil })
}

// linear adds a fully connected layer, whose effective weights kernel computes from the learnable ones.
func (b *Builder) linear(layer string, x *gorgonia.Node, outputs int, kernel func(w *gorgonia.Node) (*gorgonia.Node, error)) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		if x.Dims() < 2 {
			return nil, fmt.Errorf("want rank 2 at least, got shape %v", x.Shape())
		}
		in := x.Shape().TotalSize() / x.Shape()[0]
		v, err := b.Weight(layer+".weight", heNormal(1), in, outputs)
		if err != nil {
			return nil, err
		}
		w, err := kernel(v)
		if err != nil {
			return nil, err
		}
		β, err := b.Weight(layer+".bias", zeros, 1, outputs)
		if err != nil {
			return nil, err
		}
		return nodes.Linear(x, w, β)
	})
}

// Rectify adds a rectified linear unit.
func (b *Builder) Rectify(x *gorgonia.Node) *gorgonia.Node {
	return b.Apply("rectify", x, nodes.Rectify)
}

// MaxMin adds MaxMin, an activation that keeps the norm of gradients: see nodes.MaxMin.
func (b *Builder) MaxMin(x *gorgonia.Node) *gorgonia.Node {
	return b.Apply("maxmin", x, nodes.MaxMin)
}

// MaxPool adds max pooling over windows of size x size that do not overlap.
func (b *Builder) MaxPool(x *gorgonia.Node, size int) *gorgonia.Node {
	return b.Apply("pool", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.MaxPool2D(x, tensor.Shape{size, size}, []int{0, 0}, []int{size, size})
	})
}

// AdaptiveAveragePool adds average pooling to a result of rows x columns pixels: see nodes.AdaptiveAveragePool2D.
func (b *Builder) AdaptiveAveragePool(x *gorgonia.Node, rows, columns int) *gorgonia.Node {
	return b.Apply("pool", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.AdaptiveAveragePool2D(x, rows, columns)
	})
}

// Concat joins the channels of x and of more nodes, one after the other.
func (b *Builder) Concat(x *gorgonia.Node, more ...*gorgonia.Node) *gorgonia.Node {
	return b.Apply("concat", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.Concat(append([]*gorgonia.Node{x}, more...)...)
	})
}

// Flatten makes one vector of each image.
func (b *Builder) Flatten(x *gorgonia.Node) *gorgonia.Node {
	return b.Apply("flatten", x, nodes.Flatten)
}

// GlobalAveragePool adds global average pooling: the mean of each channel.
func (b *Builder) GlobalAveragePool(x *gorgonia.Node) *gorgonia.Node {
	return b.Apply("pool", x, nodes.GlobalAveragePool2D)
}

// Dropout adds dropout with probability p. Its noise is the buffer "<layer>".
func (b *Builder) Dropout(layer string, x *gorgonia.Node, p float64) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		n, err := b.noise(layer)
		if err != nil {
			return nil, err
		}
		return nodes.Dropout(x, p, n)
	})
}

// dropout adds dropout unless p is 0.
func (b *Builder) dropout(layer string, x *gorgonia.Node, p float64) *gorgonia.Node {
	if p == 0 {
		return x
	}
	return b.Dropout(layer, x, p)
}

// Shortcut adds the shortcut of residual nets that has no weights: it takes every stride-th row
// and column, and adds channels of zeros, where Spec.Zeros says.
func (b *Builder) Shortcut(x *gorgonia.Node, channels, stride int) *gorgonia.Node {
	return b.Apply("shortcut", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.Shortcut(x, channels, stride, b.spec.Zeros.options()...)
	})
}

// Add adds the sum of a branch and its shortcut.
func (b *Builder) Add(branch, shortcut *gorgonia.Node) *gorgonia.Node {
	return b.Apply("sum", branch, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		if shortcut == nil {
			return nil, errNil
		}
		return nodes.Add(x, shortcut)
	})
}

// StochasticDepth adds the sum of a branch and its shortcut. In training the branch is kept with
// the probability survival. Its noise is the buffer "<layer>".
func (b *Builder) StochasticDepth(layer string, branch, shortcut *gorgonia.Node, survival float64) *gorgonia.Node {
	return b.Apply(layer, branch, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		n, err := b.noise(layer)
		if err != nil {
			return nil, err
		}
		return nodes.StochasticDepth(x, shortcut, survival, n)
	})
}

// Weight adds a learnable. Its values are drawn by init once the net is complete, unless it has some by then; until then it has none. The seed depends
// on the seed of the net and on the name. If the net has become too large, the error is a *SizeError.
func (b *Builder) Weight(name string, init Init, shape ...int) (*gorgonia.Node, error) {
	for _, s := range shape {
		if s < 1 {
			return nil, fmt.Errorf("want %s of positive sizes, got %v", name, shape)
		}
	}
	name = b.scope + name
	if err := b.claim(name); err != nil {
		return nil, err
	}
	var err error
	if b.weights, err = tally(b.weights, "the weights of a net", b.spec.Dtype, name, shape); err != nil {
		return nil, err
	}
	n := gorgonia.NewTensor(b.graph, b.spec.Dtype, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...))
	if b.of == nil {
		b.undrawn = append(b.undrawn, init)
	} else if err := b.share(n); err != nil {
		return nil, err
	}
	b.learnables = append(b.learnables, n)
	return n, nil
}

// share gives the next learnable the value that it has in the net b.of.
func (b *Builder) share(n *gorgonia.Node) error {
	if i := len(b.learnables); i < len(b.of.Learnables) {
		if l := b.of.Learnables[i]; l.Name() == n.Name() && l.Shape().Eq(n.Shape()) {
			return gorgonia.Let(n, l.Value())
		}
	}
	return fmt.Errorf("want the learnables that the net had before, got %s of shape %v", n.Name(), n.Shape())
}

// draw draws the values of the learnables that have none.
func (b *building) draw() error {
	for i, init := range b.undrawn {
		n := b.learnables[i]
		if n.Value() != nil {
			continue
		}
		value, err := init.draw(b.spec.Dtype, seedOf(b.spec.Seed, n.Name()), n.Shape())
		if err == nil {
			err = gorgonia.Let(n, value)
		}
		if err != nil {
			return fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	return nil
}

// perChannel adds a learnable with one number per channel of x.
func (b *Builder) perChannel(name string, init Init, x *gorgonia.Node) (*gorgonia.Node, error) {
	if x.Dims() != 2 && x.Dims() != 4 {
		return nil, fmt.Errorf("want rank 2 or 4, got shape %v", x.Shape())
	}
	shape := tensor.Shape{1, x.Shape()[1], 1, 1}
	return b.Weight(name, init, shape[:x.Dims()]...)
}

// noise adds the noise of a layer.
func (b *Builder) noise(layer string) (*nodes.Noise, error) {
	n, err := b.buffer(layer, func(name string) (Buffer, error) {
		return Buffer{Name: name, Noise: &nodes.Noise{Seed: seedOf(b.spec.Seed, name)}}, nil
	})
	return n.Noise, err
}

// buffer adds the buffer of a layer: the one of the net b.of if there is one, and otherwise one
// made by make.
func (b *Builder) buffer(layer string, make func(name string) (Buffer, error)) (Buffer, error) {
	name := b.scope + layer
	if err := b.claim(name); err != nil {
		return Buffer{}, err
	}
	one, err := make(name)
	if err != nil {
		return Buffer{}, err
	}
	if b.of != nil {
		i := len(b.buffers)
		if i >= len(b.of.Buffers) || b.of.Buffers[i].Name != name {
			return Buffer{}, fmt.Errorf("want the buffers that the net had before, got %s", name)
		}
		one = b.of.Buffers[i]
	}
	b.buffers = append(b.buffers, one)
	return one, nil
}

// claim reserves a name for a learnable or a buffer. It returns an error if the name is taken.
func (b *Builder) claim(name string) error {
	if name == "input" || name == "target" {
		return fmt.Errorf("want a name other than those of the images and the labels, got %q", name)
	}
	if b.names[name] {
		return fmt.Errorf("want unique names, got %q twice", name)
	}
	b.names[name] = true
	return nil
}
