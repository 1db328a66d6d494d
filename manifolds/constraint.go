// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// Constraint puts the weights of a layer on a manifold. Grouping says which weights form one
// point, Manifold in which set the points lie, and Scale how large that set is. Use On to make
// one.
type Constraint struct {
	Manifold Manifold
	Grouping Grouping
	Scale    Scale
	// Layer is the name of the layer. A solver sets it when it binds the weights. An Ensemble deals
	// layers of different names differently.
	Layer string

	missing bool // an option of On was nil
}

// Option is a Grouping or a Scale, an argument of On.
type Option interface {
	set(*Constraint)
}

// On returns the constraint that keeps weights on m. The options choose its grouping and scale:
//
//	manifolds.On(manifolds.Stiefel{}, manifolds.PerSlice, manifolds.Unit)
//
// Without a Grouping, m's preferred grouping is used. Without a Scale, a size that m states
// itself (Sphere{Radius: 2}) is kept, and otherwise the scale is UnitFilters.
//
// On cannot fail; Bind reports invalid arguments.
func On(m Manifold, opts ...Option) Constraint {
	c := Constraint{Manifold: m}
	for _, o := range opts {
		if isnil.Of(o) {
			c.missing = true
		} else {
			o.set(&c)
		}
	}
	if isnil.Of(m) {
		return c
	}
	if g, ok := m.(Grouper); ok {
		oriented, grouping := g.For(c.Grouping.kind())
		c.Grouping = c.Grouping.or(grouping)
		if same(oriented, m) { // otherwise Bind returns the error
			c.Manifold = oriented
		}
	} else {
		c.Grouping = c.Grouping.or(PerFilter)
	}
	if _, ok := m.(Composite); ok { // its factors have scales of their own
		return c
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

// String returns the manifold, grouping and scale as reports print them.
func (c Constraint) String() string {
	return fmt.Sprintf("%s, %v, %v", Name(c.Manifold), c.Grouping, c.Scale)
}

// Scale chooses the size of the manifold of a constraint. The size determines the variance of a layer's
// output, and therefore whether a net without batch normalisation can train. docs/choosing.md describes the
// experiment behind the default.
//
// A Scale is an Option of On. With the zero value On chooses the scale.
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
	// UnitFilters gives the filters of a layer a root mean square norm of 1, whatever the
	// grouping: with PerSlice and C input channels, the slices lie on spheres of radius
	// 1/sqrt(C). If the input of a layer is white noise, the output then has the same variance.
	UnitFilters = Scale{rule: unitFilters, value: 1}
	// Unit leaves the size of the manifold as it is.
	Unit = Scale{rule: unit}
	// Initial keeps the Frobenius norm that the layer has at the first step.
	Initial = Scale{rule: initial}
)

// FilterNorm gives the filters of a layer a root mean square norm of s.
func FilterNorm(s float64) Scale { return Scale{rule: unitFilters, value: s} }

// Times multiplies the size of the manifold by s.
func Times(s float64) Scale { return Scale{rule: fixed, value: s} }

// String returns the scale as reports print it.
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

// Bind applies the constraint to weights of the given shape and Frobenius norm and returns the
// manifold at its final scale with the layout of its points. Only the scale Initial uses the
// norm. A layer is one piece, unless the manifold is a Composite.
//
// Bind fails if the shape cannot be cut by the grouping or is not admitted by the manifold. It
// also fails if a type that embeds a manifold lacks methods of its own: if its For or Scaled
// returns a type other than its own, or if its Gradient, Inner or TransportAlong do not belong
// to its Tangent and Transport.
func (c Constraint) Bind(shape []int, norm float64) ([]Piece, error) {
	if err := given(c.Manifold); err != nil {
		return nil, err
	}
	if c.missing {
		return nil, errors.New("manifolds: want a Grouping or a Scale as an option, got nil")
	}
	if g, ok := c.Manifold.(Grouper); ok {
		if oriented, _ := g.For(c.Grouping.kind()); !same(oriented, c.Manifold) {
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
	layer := m.Norm(l.N, l.P) * math.Sqrt(float64(l.K)) // norm of the layer at unit scale
	switch c.Scale.rule {
	case initial:
		s = norm / layer
	case fixed:
		s = c.Scale.value
	case unitFilters:
		s = c.Scale.value * math.Sqrt(float64(c.Grouping.filters(shape))) / layer
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

// same reports whether got, returned by a method of want, has the type of want. For a pointer to
// a manifold of this package, whose methods return values, the type pointed to will do.
func same(got, want Manifold) bool {
	g, w := reflect.TypeOf(got), reflect.TypeOf(want)
	return g == w || ours(want) && w.Kind() == reflect.Pointer && g == w.Elem()
}

// promoted returns the error for a method of want that returned got, of another type.
func promoted(method string, got, want Manifold) error {
	return fmt.Errorf("manifolds: %s: want %s to return a %T, got a %T: a type that embeds a manifold has its methods promoted, and needs a %s of its own",
		Name(want), method, want, got, method)
}
