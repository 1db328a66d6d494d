// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// WeightNorm returns the kernel whose filter i is
//
//	w_i = g_i v_i / |v_i|,
//
// so that its norm g_i is learnt separately from its direction (Salimans, Kingma, Weight
// normalization, NIPS 2016, eq. 2). v has shape (out, in, height, width) and g has (out, 1, 1, 1);
// for a fully connected layer the shapes are (in, out) and (1, out). w has the shape of v. For a transposed convolution, pass
// TransposedKernel.
//
//	dL/dg_i = <dL/dw_i, v_i> / |v_i|
//	dL/dv_i = (g_i/|v_i|) (dL/dw_i - <dL/dw_i, v_i> v_i / |v_i|^2)
//
// To start from an existing kernel, set g to the norms of its filters. A filter v_i of norm 0 is an
// error: of WeightNorm if v already has a value, and otherwise of the run.
func WeightNorm(v, g *gorgonia.Node, opts ...KernelOption) (*gorgonia.Node, error) {
	return normWithGain("nodes.WeightNorm", v, g, false, opts)
}

// CentredWeightNorm returns the kernel whose filter i is
//
//	w_i = g_i (v_i - mean v_i) / |v_i - mean v_i|
//
// (Huang et al., Centered weight normalization in accelerating training of deep neural networks,
// ICCV 2017, eq. 4). Shapes are those of WeightNorm. The gradients are those of WeightNorm for v_i
// - mean v_i, and the gradient with respect to v_i is centred as well. A filter whose elements are
// all equal, or that has only one element, is an error. With g_i = 1 it is Normalize(v,
// manifolds.CentredSphere{}, manifolds.Unit).
func CentredWeightNorm(v, g *gorgonia.Node, opts ...KernelOption) (*gorgonia.Node, error) {
	return normWithGain("nodes.CentredWeightNorm", v, g, true, opts)
}

// normWithGain adds the node of WeightNorm or CentredWeightNorm.
func normWithGain(name string, v, g *gorgonia.Node, centred bool, opts []KernelOption) (*gorgonia.Node, error) {
	shapes, b, err := admitKernel(name, opts, []int{0, 0}, v, g)
	if err != nil {
		return nil, err
	}
	want := tensor.Shape{b.d, 1, 1, 1}
	if shapes[0].Dims() == 2 {
		want = tensor.Shape{1, b.d}
	}
	if !shapes[1].Eq(want) || shapes[1].Dims() != want.Dims() {
		return nil, fmt.Errorf("%s: input 1, %s: want shape %v, one number a filter of %v, got %v", name, g.Name(), want, shapes[0], shapes[1])
	}
	s := signature{name: name, in: shapes, out: shapes[0]}
	f32 := filterNorm[float32]{bank: b, centred: centred}
	f64 := filterNorm[float64]{bank: b, centred: centred}
	if err := f32.admit(); err != nil {
		return nil, fmt.Errorf("%s: input 0, %s: %w", name, v.Name(), err)
	}
	of32, of64 := turn(b, true, f32, f64)
	if err := computeEarly(s, of32, of64, v, g); err != nil {
		return nil, err
	}
	return apply(s, of32, of64, v, g)
}

// WeightStandardization returns the kernel whose filter i is
//
//	w_i = (v_i - mean v_i) / (var v_i + eps)^(1/2),
//
// with mean 0 and, for small eps, variance 1 (Qiao et al., Micro-batch training with batch-channel
// normalization and weight standardization, 2019, eq. 2 and 3). var divides by n = in*height*width,
// and eps is inside the root. (The authors' program divides by n-1 and adds 1e-5 outside the root.)
// v has shape (out, in, height, width), or (in, out) for a fully connected layer, and w has the
// shape of v.
//
//	dL/dv_i = centre(dL/dw_i - <dL/dw_i, w_i> w_i / n) / (var v_i + eps)^(1/2)
//
// eps must not be negative. For a filter whose elements are all equal, w_i is 0 if eps > 0; if eps
// = 0 the filter is an error.
func WeightStandardization(v *gorgonia.Node, eps float64, opts ...KernelOption) (*gorgonia.Node, error) {
	const name = "nodes.WeightStandardization"
	shapes, b, err := admitKernel(name, opts, []int{0}, v)
	if err != nil {
		return nil, err
	}
	if !(eps >= 0) || math.IsInf(eps, 0) {
		return nil, fmt.Errorf("%s: want a finite eps of at least 0, got %v", name, eps)
	}
	n := float64(b.f)
	s := signature{name: name, in: shapes, out: shapes[0]}
	f32 := filterNorm[float32]{bank: b, centred: true, extra: n * eps, size: math.Sqrt(n)}
	f64 := filterNorm[float64]{bank: b, centred: true, extra: n * eps, size: math.Sqrt(n)}
	if err := f32.admit(); err != nil {
		return nil, fmt.Errorf("%s: input 0, %s: %w", name, v.Name(), err)
	}
	of32, of64 := turn(b, true, f32, f64)
	if err := computeEarly(s, of32, of64, v); err != nil {
		return nil, err
	}
	return apply(s, of32, of64, v)
}

// filterNorm computes w_i = s c_i / (|c_i|^2 + extra)^(1/2) in float64, where c_i is v_i or, if
// centred, v_i - mean v_i, and s is size or, if size is 0, the gain g_i.
type filterNorm[T vec.Float] struct {
	bank    bank
	centred bool
	extra   float64
	size    float64
}

// admit returns an error if filters have too few weights to be centred.
func (n filterNorm[T]) admit() error {
	if n.centred && n.extra == 0 && n.bank.f < 2 {
		return fmt.Errorf("want filters of at least 2 weights, to be centred, got %d", n.bank.f)
	}
	return nil
}

// unit sets c to c_i / (|c_i|^2 + extra)^(1/2) and returns the root.
func (n filterNorm[T]) unit(c []float64, v []T, i int) (float64, error) {
	read(c, n.bank, v, i)
	floor := 0.0
	if n.centred {
		floor = 4 * vec.Eps[T]() * math.Sqrt(float64(len(c))) * vec.Norm(c)
		centre(c)
		centre(c) // again, because a large mean leaves a rounding error
	}
	norm := vec.Norm(c)
	size := math.Hypot(norm, math.Sqrt(n.extra))
	if n.extra > 0 {
		floor = 0
	}
	if !(size > floor) || math.IsInf(size, 0) || math.IsInf(1/size, 0) {
		what := "norm"
		if n.centred {
			what = "distance from its mean"
		}
		return 0, fmt.Errorf("filter %d: want a direction, got %s %g", i, what, norm)
	}
	for j := range c {
		c[j] /= size
	}
	return size, nil
}

func centre(c []float64) {
	mean := vec.Sum(c) / float64(len(c))
	for j := range c {
		c[j] -= mean
	}
}

// scale returns the s of filter i.
func (n filterNorm[T]) scale(in [][]T, i int) float64 {
	if n.size == 0 {
		return float64(in[1][i])
	}
	return n.size
}

func (n filterNorm[T]) Forward(out []T, in [][]T) error {
	c := scratch.Get[float64](n.bank.f)
	defer scratch.Put(c)
	for i := range n.bank.d {
		if _, err := n.unit(c, in[0], i); err != nil {
			return err
		}
		vec.Scale(c, n.scale(in, i), c)
		write(out, n.bank, i, c)
	}
	return nil
}

func (n filterNorm[T]) Backward(dst []T, input int, in [][]T, _, grad []T) error {
	c, g := scratch.Get[float64](n.bank.f), scratch.Get[float64](n.bank.f)
	defer scratch.Put(c)
	defer scratch.Put(g)
	for i := range n.bank.d {
		root, err := n.unit(c, in[0], i)
		if err != nil {
			return err
		}
		read(g, n.bank, grad, i)
		along := vec.Dot(c, g)
		if input == 1 {
			dst[i] = T(along)
			continue
		}
		if n.centred {
			centre(g) // c is centred already
		}
		s := n.scale(in, i) / root
		vec.Combine(g, s, g, -s*along, c)
		write(dst, n.bank, i, g)
	}
	return nil
}
