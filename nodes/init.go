// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
)

// The initialisers below are for gorgonia.WithInit. The numbers depend only on the seed and the
// shape; float32 weights are the float64 ones rounded. Give each layer a seed of its own, because
// layers of the same shape and seed start with the same weights. The stock initialisers are seeded
// by the clock, and HeN and HeU among them panic on float32.
//
// Weights have shape (out, in, height, width), with fan-in in*height*width and fan-out
// out*height*width; or shape (in, out); or, for a vector, (in), with fan-out 1. Kernels of transposed convolutions need the
// option TransposedKernel.
//
// An InitWFn cannot return an error. If weights are neither float32 nor float64, or have a shape that
// an initialiser does not support, it panics when the graph is built, as stock initialisers do. The message names the
// initialiser, and says what was wanted and what was found.

// HeNormal draws independent normal numbers of mean 0 and variance gain^2/fan-in (He, Zhang, Ren and
// Sun 2015, eq. 10). Before a ReLU the gain should be sqrt(2). It replaces gorgonia.HeN.
func HeNormal(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return independent("nodes.HeNormal", seed, func(in, _ float64) float64 { return gain / math.Sqrt(in) }, (*rand.Rand).NormFloat64, opts)
}

// HeUniform draws independent uniform numbers from the interval ±gain sqrt(3/fan-in), which have the
// variance of HeNormal. It replaces gorgonia.HeU.
func HeUniform(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return independent("nodes.HeUniform", seed, func(in, _ float64) float64 { return gain * math.Sqrt(3/in) }, plusMinus, opts)
}

// GlorotNormal draws independent normal numbers of mean 0 and variance
// 2 gain^2/(fan-in + fan-out) (Glorot and Bengio 2010, eq. 12). It replaces
// gorgonia.GlorotN.
func GlorotNormal(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return independent("nodes.GlorotNormal", seed, func(in, out float64) float64 { return gain * math.Sqrt(2/(in+out)) }, (*rand.Rand).NormFloat64, opts)
}

// GlorotUniform draws independent uniform numbers from the interval
// ±gain sqrt(6/(fan-in + fan-out)) (Glorot and Bengio 2010, eq. 16). It replaces gorgonia.GlorotU.
func GlorotUniform(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return independent("nodes.GlorotUniform", seed, func(in, out float64) float64 { return gain * math.Sqrt(6/(in+out)) }, plusMinus, opts)
}

// Orthonormal draws a filter bank, the matrix of the flattened filters, from the uniform (Haar)
// distribution on matrices with orthonormal rows, or orthonormal columns if there are fewer columns
// than rows, and multiplies it by gain (Saxe, McClelland and Ganguli 2014). It takes kernels of
// rank 4 and matrices.
func Orthonormal(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return onManifold("nodes.Orthonormal", on(manifolds.Stiefel{}), gain, seed, opts)
}

// UnitFilterInit draws each filter independently from the uniform distribution on the sphere of
// radius gain. It takes kernels of rank 4 and matrices.
func UnitFilterInit(gain float64, seed uint64, opts ...KernelOption) gorgonia.InitWFn {
	return onManifold("nodes.UnitFilterInit", on(manifolds.Sphere{}), gain, seed, opts)
}

// ManifoldInit draws weights from the uniform distribution on the manifold of a constraint, with its
// grouping and at its scale. A solver with the same constraint then need not project the weights at
// its first step. The scale manifolds.Initial gives the norm sqrt(2 out), which is that of HeNormal
// with a gain of sqrt(2). The manifold must be a manifolds.Sampler and admit the shape.
func ManifoldInit(c manifolds.Constraint, seed uint64) gorgonia.InitWFn {
	return onManifold("nodes.ManifoldInit", func(kernelOptions) manifolds.Constraint { return c }, 1, seed, nil)
}

// plusMinus returns a uniform number from (-1, 1).
func plusMinus(rng *rand.Rand) float64 { return 2*rng.Float64() - 1 }

// independent draws each weight from the same distribution and multiplies it by a scale.
func independent(name string, seed uint64, scale func(in, out float64) float64, draw func(*rand.Rand) float64, opts []KernelOption) gorgonia.InitWFn {
	return func(of tensor.Dtype, shape ...int) any {
		o, err := initOptions(shape, opts)
		var in, out float64
		if err == nil {
			in, out, err = o.fans(shape)
		}
		if err != nil {
			panic(fmt.Errorf("%s: %w", name, err))
		}
		s := scale(in, out)
		w := make([]float64, tensor.Shape(shape).TotalSize())
		rng := rand.New(rand.NewPCG(seed, 0))
		for i := range w {
			w[i] = s * draw(rng)
		}
		return weights(name, of, w)
	}
}

// initOptions returns the options for weights of the given shape.
func initOptions(shape []int, opts []KernelOption) (o kernelOptions, err error) {
	if err := setOptions("options", &o, opts); err != nil {
		return o, err
	}
	return o, o.check(shape)
}

// fans returns the fan-in and the fan-out of a kernel with the options. A kernel of ConvTranspose2d has those
// of the ordinary convolution with the same numbers of channels and filters, to which it is equivalent for
// strides of 1.
func (o kernelOptions) fans(shape []int) (in, out float64, err error) {
	if !o.transposed {
		return fans(shape)
	}
	return fans([]int{shape[1] * o.groups, shape[0] / o.groups, shape[2], shape[3]})
}

// on returns a constraint to a manifold at its own scale, for a kernel with the given options.
func on(m manifolds.Manifold) func(kernelOptions) manifolds.Constraint {
	return func(o kernelOptions) manifolds.Constraint {
		c := manifolds.On(m, manifolds.Unit)
		c.Grouping = o.cut(c.Grouping)
		return c
	}
}

// fans returns the fan-in and the fan-out of weights.
func fans(shape []int) (in, out float64, err error) {
	area := 1
	for _, s := range shape {
		if s < 1 {
			return 0, 0, fmt.Errorf("want positive sizes, got shape %v", shape)
		}
	}
	switch len(shape) {
	case 1:
		return float64(shape[0]), 1, nil
	case 2:
		return float64(shape[0]), float64(shape[1]), nil
	case 4:
		area = shape[2] * shape[3]
		return float64(shape[1] * area), float64(shape[0] * area), nil
	}
	return 0, 0, fmt.Errorf("want weights of rank 1, 2 or 4, got shape %v", shape)
}

func onManifold(name string, c func(kernelOptions) manifolds.Constraint, gain float64, seed uint64, opts []KernelOption) gorgonia.InitWFn {
	return func(of tensor.Dtype, shape ...int) any {
		w := make([]float64, tensor.Shape(shape).TotalSize())
		o, err := initOptions(shape, opts)
		if err == nil {
			err = sample(w, shape, c(o), rand.New(rand.NewPCG(seed, 0)))
		}
		if err != nil {
			panic(fmt.Errorf("%s: %w", name, err))
		}
		for i := range w {
			w[i] *= gain
		}
		return weights(name, of, w)
	}
}

// sample fills w with random points of the constraint.
func sample(w []float64, shape []int, c manifolds.Constraint, rng *rand.Rand) error {
	in, _, err := fans(shape)
	if err != nil {
		return err
	}
	piece, err := manifolds.Single(c.Bind(shape, math.Sqrt(2*float64(len(w))/in)))
	if err != nil {
		return err
	}
	m, layout := piece.Manifold, piece.Layout
	s, ok := m.(manifolds.Sampler)
	if !ok {
		return fmt.Errorf("want a manifold that is a manifolds.Sampler, got %s", manifolds.Name(m))
	}
	points, err := manifolds.Points64(make([]float64, len(w)), layout.K, layout.N, layout.P)
	if err != nil {
		return err
	}
	if err := s.Random(points, rng); err != nil {
		return err
	}
	all, err := manifolds.Points64(w, 1, len(w), 1)
	if err != nil {
		return err
	}
	return layout.Scatter(all, points)
}

// weights converts w to the given precision.
func weights(name string, of tensor.Dtype, w []float64) any {
	switch of {
	case tensor.Float64:
		return w
	case tensor.Float32:
		rounded := make([]float32, len(w))
		for i, v := range w {
			rounded[i] = float32(v)
		}
		return rounded
	}
	panic(fmt.Errorf("%s: want float32 or float64, got %v", name, of))
}
