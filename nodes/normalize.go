// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Normalize returns w = P(v), the projection of the free kernel v onto the constraint
// manifolds.On(m, opts...): the nearest kernel that fulfils it. A convolution with w in place of v
// fulfils the constraint, no matter how the solver changes v.
//
//	w, err := nodes.Normalize(v, manifolds.Stiefel{})
//	y, err := gorgonia.Conv2d(x, w, ...)
//
// v has shape (out, in, height, width), or (in, out) for a fully connected layer, and w has the shape
// of v. The arguments after v have the same meaning as those of solvers.Kernels, so training can
// start with the node and continue with the constraint in the solver; but a node does not know what convolution
// its value belongs to, so in groups, or in a transposed one, the Grouping must say it, as in
// manifolds.FilterBank.Transposed(). The gradient with respect to v
// is P'(v)* applied to the gradient with respect to w. The manifold must be
// manifolds.Differentiable, as all manifolds of package manifolds are but SpectralBall and Ensemble.
//
//	manifolds.Sphere{}, manifolds.Unit         v/|v|, filter by filter
//	manifolds.CentredSphere{}, manifolds.Unit  (v - mean v)/|v - mean v|
//	manifolds.Oblique{}, manifolds.PerTap      every row of every tap
//	manifolds.Stiefel{}                        the polar factor of the filter bank
//
// The scale manifolds.Initial is the norm that v has when the graph is built, so v must have a value
// then. Normalize returns an error if the shape or the scale does not suit the manifold, or if v
// already has a value without a projection. A run fails with an error that wraps
// manifolds.ErrDegenerate if v has no projection then: a filter of norm 0 on a sphere, or a filter
// bank without full rank on Stiefel.
//
// For Stiefel, the value is a polar factor and the gradient takes a singular value decomposition,
// both in float64. For large filter banks see Orthogonalize.
//
// The norm of v is not constrained. It grows under gradient descent, because the gradient is
// orthogonal to v where P does not depend on the norm (Salimans, Kingma 2016, section 2.1).
func Normalize(v *gorgonia.Node, m manifolds.Manifold, opts ...manifolds.Option) (*gorgonia.Node, error) {
	const name = "nodes.Normalize"
	shapes, _, err := admitKernel(name, nil, []int{0}, v)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("%s: want a manifold, got nil", name)
	}
	for i, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("%s: option %d: want a grouping or a scale, got nil", name, i)
		}
	}
	c := manifolds.On(m, opts...)
	norm := 0.0
	if c.Scale == manifolds.Initial {
		value, ok := leafValue(v)
		if !ok {
			return nil, fmt.Errorf("%s: input 0, %s: want a value when the graph is built, for the scale %v, got none", name, v.Name(), c.Scale)
		}
		norm = value.Norm()
	}
	piece, err := manifolds.Single(c.Bind(shapes[0], norm))
	if err != nil {
		return nil, fmt.Errorf("%s: input 0, %s: %w", name, v.Name(), err)
	}
	bound, layout := piece.Manifold, piece.Layout
	d, ok := bound.(differentiable)
	if !ok {
		return nil, fmt.Errorf("%s: want a manifold that implements manifolds.Differentiable, got %s", name, manifolds.Name(bound))
	}
	// Not the name of the manifold, in which the radius is rounded.
	identity := fmt.Sprintf("%T %#v", bound, bound)
	s := signature{name: name, in: shapes, out: shapes[0]}
	f32 := normalize[float32]{identity, layout, d}
	f64 := normalize[float64]{identity, layout, d}
	if err := computeEarly(s, f32, f64, v); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, v)
}

// UnitNorm returns v/|v| filter by filter, which is
// Normalize(v, manifolds.Sphere{}, manifolds.Unit). WeightNorm is the same with a
// learnt norm.
func UnitNorm(v *gorgonia.Node) (*gorgonia.Node, error) {
	return Normalize(v, manifolds.Sphere{}, manifolds.Unit)
}

type differentiable interface {
	manifolds.Manifold
	manifolds.Differentiable
}

// normalize is Normalize at one precision.
type normalize[T vec.Float] struct {
	identity string // identifies the manifold in the hash
	layout   manifolds.Layout
	manifold differentiable
}

func (n normalize[T]) Forward(out []T, in [][]T) error {
	l := n.layout
	if l.Contiguous() {
		return n.manifold.Project(n.points(out), n.points(in[0]))
	}
	buffer := scratch.Get[T](len(out))
	defer scratch.Put(buffer)
	x := n.points(buffer)
	if err := l.Gather(x, n.points(in[0])); err != nil {
		return err
	}
	if err := n.manifold.Project(x, x); err != nil {
		return err
	}
	return l.Scatter(n.points(out), x)
}

func (n normalize[T]) Backward(dst []T, _ int, in [][]T, out, grad []T) error {
	l := n.layout
	if l.Contiguous() {
		return n.manifold.ProjectAdjoint(n.points(dst), n.points(in[0]), n.points(out), n.points(grad))
	}
	var batch [3]manifolds.Points
	for i, source := range [][]T{in[0], out, grad} {
		buffer := scratch.Get[T](len(dst))
		defer scratch.Put(buffer)
		batch[i] = n.points(buffer)
		if err := l.Gather(batch[i], n.points(source)); err != nil {
			return err
		}
	}
	if err := n.manifold.ProjectAdjoint(batch[2], batch[0], batch[1], batch[2]); err != nil {
		return err
	}
	return l.Scatter(n.points(dst), batch[2])
}

// points views the values of a layer as a batch. The node has checked that their number is that of
// the layout.
func (n normalize[T]) points(data []T) manifolds.Points {
	var x manifolds.Points
	switch d := any(data).(type) {
	case []float32:
		x, _ = manifolds.Points32(d, n.layout.K, n.layout.N, n.layout.P)
	case []float64:
		x, _ = manifolds.Points64(d, n.layout.K, n.layout.N, n.layout.P)
	}
	return x
}
