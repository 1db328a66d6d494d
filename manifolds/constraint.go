// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"reflect"
)

// Constraint puts the weights of a layer on a manifold: what a point is
// (Grouping), which set it lies in (Manifold), and how large that set is
// (Scale). It is made by On.
type Constraint struct {
	Manifold Manifold
	Grouping Grouping
	Scale    Scale
}

// Option is a Grouping or a Scale, an argument of On.
type Option interface {
	set(*Constraint)
}

// On returns the constraint of m with m's own grouping and its own size if
// that was given (Sphere{Radius: 2}), else the scale UnitFilters, unless the
// options say otherwise:
//
//	manifolds.On(manifolds.Stiefel{}, manifolds.PerKernel, manifolds.Unit)
//
// It cannot fail: what is wrong with the arguments is an error of Bind.
func On(m Manifold, opts ...Option) Constraint {
	c := Constraint{Manifold: m}
	for _, o := range opts {
		o.set(&c)
	}
	if g, ok := m.(Grouper); ok {
		oriented, grouping := g.For(c.Grouping)
		if c.Grouping == Default {
			c.Grouping = grouping
		}
		if same(oriented, m) { // else Bind returns the error
			c.Manifold = oriented
		}
	} else if c.Grouping == Default {
		c.Grouping = PerFilter
	}
	if s, ok := m.(Scalable); c.Scale.rule == auto {
		c.Scale = UnitFilters
		if !ok || s.Sized() {
			c.Scale = Unit
		}
	}
	return c
}

func (g Grouping) set(c *Constraint) { c.Grouping = g }
func (s Scale) set(c *Constraint)    { c.Scale = s }

// String names manifold, grouping and scale, as reports print them.
func (c Constraint) String() string {
	return fmt.Sprintf("%s, %v, %v", Name(c.Manifold), c.Grouping, c.Scale)
}

// Scale says how large the manifold of a constraint is made. It decides the
// variance of what a layer puts out, and so whether a net without batch
// normalisation can train. See docs/choosing.md for the experiment behind the
// default.
//
// Its zero value leaves the choice to On. A Scale is an Option of On.
type Scale struct {
	rule  scaleRule
	value float64
}

type scaleRule uint8

const (
	auto scaleRule = iota
	unitFilters
	unit
	initial
	fixed
)

// The scales that do not need a number.
var (
	// UnitFilters makes the filters of a layer have norm 1 in the root mean
	// square, whatever the grouping: slices of a layer with C input channels lie
	// on spheres of radius 1/sqrt(C). The output of a layer then has the variance of its
	// input, as far as that is white.
	UnitFilters = Scale{rule: unitFilters, value: 1}
	// Unit takes the manifold as it is given.
	Unit = Scale{rule: unit}
	// Initial makes the layer keep the Frobenius norm it has at the first step.
	Initial = Scale{rule: initial}
)

// FilterNorm makes the filters of a layer have norm s in the root mean square.
func FilterNorm(s float64) Scale { return Scale{rule: unitFilters, value: s} }

// Times makes the manifold s times as large as it is given.
func Times(s float64) Scale { return Scale{rule: fixed, value: s} }

// String names the scale as reports print it.
func (s Scale) String() string {
	switch s.rule {
	case unit:
		return "unit scale"
	case initial:
		return "initial scale"
	case fixed:
		return fmt.Sprintf("scale %.4g", s.value)
	case unitFilters:
		if s == UnitFilters {
			return "unit filters"
		}
		return fmt.Sprintf("filter norm %.4g", s.value)
	}
	return "default scale"
}

// Bind resolves the constraint for weights of the given shape and Frobenius
// norm (which only the scale Initial looks at): the manifold at its final
// scale, and the layout of its points. A layer is one piece, unless the manifold is a Composite.
//
// It fails if the shape cannot be cut or the manifold does not admit it; if a promoted For or Scaled returns another type than it is
// called on; and if a type of another package has a Gradient, Inner or TransportAlong that does not belong to its Tangent and Transport.
func (c Constraint) Bind(shape []int, norm float64) ([]Piece, error) {
	if c.Manifold == nil {
		return nil, fmt.Errorf("manifolds: want a manifold, got nil")
	}
	if g, ok := c.Manifold.(Grouper); ok {
		if oriented, _ := g.For(c.Grouping); !same(oriented, c.Manifold) {
			return nil, promoted("For", oriented, c.Manifold)
		}
	}
	if m, ok := c.Manifold.(Composite); ok {
		pieces, err := m.Pieces(shape, c, norm)
		if err != nil {
			return nil, fmt.Errorf("manifolds: %s: %w", Name(c.Manifold), err)
		}
		if err := cover(pieces, shape); err != nil {
			return nil, fmt.Errorf("manifolds: %s: pieces of shape %v: %w", Name(c.Manifold), shape, err)
		}
		return pieces, nil
	}
	l, err := c.Grouping.Layout(shape)
	if err != nil {
		return nil, err
	}
	if err := c.Manifold.Check(l.N, l.P); err != nil {
		return nil, fmt.Errorf("%w (shape %v, %v)", err, shape, c.Grouping)
	}
	if c.Scale.rule == unit || c.Scale.rule == auto {
		if err := probe(c.Manifold, l.N, l.P); err != nil {
			return nil, err
		}
		return []Piece{{Manifold: c.Manifold, Layout: l}}, nil
	}
	m, ok := c.Manifold.(Scalable)
	if !ok {
		return nil, fmt.Errorf("manifolds: %s cannot be scaled: want the scale Unit, got %v", Name(c.Manifold), c.Scale)
	}
	var s float64
	layer := m.Norm(l.N, l.P) * math.Sqrt(float64(l.K)) // Frobenius norm of the layer at unit scale
	switch c.Scale.rule {
	case initial:
		s = norm / layer
	case fixed:
		s = c.Scale.value
	case unitFilters:
		s = c.Scale.value * math.Sqrt(float64(filters(shape))) / layer
	}
	if !(s > 0) || math.IsInf(s, 0) {
		return nil, fmt.Errorf("manifolds: %s: want a positive finite scale, got %v = %v", Name(c.Manifold), c.Scale, s)
	}
	scaled := m.Scaled(s)
	if !same(scaled, c.Manifold) {
		return nil, promoted("Scaled", scaled, c.Manifold)
	}
	if err := probe(scaled, l.N, l.P); err != nil {
		return nil, err
	}
	return []Piece{{Manifold: scaled, Layout: l}}, nil
}

// same reports whether a method of want returned a manifold of the type that it was called on. The manifolds of this package may be
// given by pointer, of which their methods know nothing.
func same(got, want Manifold) bool {
	g, w := reflect.TypeOf(got), reflect.TypeOf(want)
	return g == w || ours(want) && w.Kind() == reflect.Pointer && g == w.Elem()
}

// promoted is the error of a method that returns another type than it is called on.
func promoted(method string, got, want Manifold) error {
	return fmt.Errorf("manifolds: %s: want %s to return a %T, got a %T: a type that embeds a manifold has its methods promoted, and needs a %s of its own",
		Name(want), method, want, got, method)
}

func filters(shape []int) int {
	if len(shape) == 2 {
		return shape[1]
	}
	return shape[0]
}
