// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// attempt calls f, and turns a panic into an error.
func attempt(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// What is missing (a nil manifold or option, also in an interface, the zero value of a type) is an error that says what is wanted.
func TestMissing(t *testing.T) {
	var noSphere *manifolds.Sphere
	var noGrouping *manifolds.Grouping
	points := func() manifolds.Points {
		x, err := manifolds.Points64([]float64{1, 0, 0, 0, 1, 0}, 2, 3, 1)
		require.NoError(t, err)
		return x
	}
	x, zero, out := points(), manifolds.Points{}, make([]float64, 2)
	type call = func(m manifolds.Manifold, x manifolds.Points) error
	functions := map[string]call{
		"Inner":        func(m manifolds.Manifold, x manifolds.Points) error { return manifolds.Inner(m, out, x, x, x) },
		"AmbientInner": func(m manifolds.Manifold, x manifolds.Points) error { return manifolds.AmbientInner(m, out, x, x) },
		"Gradient":     func(m manifolds.Manifold, x manifolds.Points) error { return manifolds.Gradient(m, points(), x, x) },
		"Move":         func(m manifolds.Manifold, x manifolds.Points) error { return manifolds.Move(m, points(), x, x) },
		"TransportAlong": func(m manifolds.Manifold, x manifolds.Points) error {
			return manifolds.TransportAlong(m, points(), x, x, x, x)
		},
		"Mean": func(m manifolds.Manifold, x manifolds.Points) error { return manifolds.Mean(m, points(), nil, x) },
		"KarcherMean": func(m manifolds.Manifold, x manifolds.Points) error {
			return manifolds.KarcherMean(m, points(), nil, x)
		},
		"Direction": func(m manifolds.Manifold, x manifolds.Points) error {
			return manifolds.Direction(m, points(), zero, x, zero, x, manifolds.Descent{Slope: 1})
		},
		"Descend": func(m manifolds.Manifold, x manifolds.Points) error {
			_, err := manifolds.Descend(m, points(), zero, points(), manifolds.Descent{Slope: 1, Rate: 1})
			return err
		},
	}
	for name, f := range functions {
		for of, m := range map[string]manifolds.Manifold{"nil": nil, "nil pointer": noSphere} {
			t.Run(name+" of "+of, func(t *testing.T) { assert.ErrorContains(t, attempt(func() error { return f(m, x) }), "want ") })
		}
	}
	for name, m := range map[string]manifolds.Manifold{
		"Euclidean": manifolds.Euclidean{}, "Sphere": manifolds.Sphere{}, "CentredSphere": manifolds.CentredSphere{}, "Oblique": manifolds.Oblique{},
		"Stiefel": manifolds.Stiefel{}, "Grassmann": manifolds.Grassmann{}, "Orthogonal": manifolds.Orthogonal{}, "SpecialOrthogonal": manifolds.SpecialOrthogonal{},
		"GeneralizedStiefel": manifolds.GeneralizedStiefel{}, "SpectralBall": manifolds.SpectralBall{}, "Ensemble": manifolds.Ensemble{},
	} {
		t.Run("zero Points on "+name, func(t *testing.T) {
			for _, f := range []func() error{
				func() error { return m.Project(zero, zero) }, func() error { return m.Project(x, zero) }, func() error { return m.Tangent(x, zero, x) },
				func() error { return m.Retract(points(), x, zero) }, func() error { return m.Transport(points(), zero, x, x) }, func() error { return m.Check(0, 0) },
				func() error {
					r, ok := m.(manifolds.Sampler)
					if !ok {
						return fmt.Errorf("want nothing")
					}
					return r.Random(points(), nil)
				},
			} {
				if err := attempt(f); err != nil || name != "Euclidean" { // which has points of no numbers
					assert.ErrorContains(t, err, "want ")
				}
			}
			assert.NotPanics(t, func() { _ = m.Membership(zero) })
			assert.NotPanics(t, func() { _ = manifolds.Name(m) + fmt.Sprint(m, manifolds.On(m), manifolds.PropertiesOf(m, 0, 0)) })
		})
	}

	bind := func(c manifolds.Constraint) func() error {
		return func() error { _, err := c.Bind([]int{4, 2, 3, 3}, 1); return err }
	}
	for name, f := range map[string]func() error{
		"zero Constraint":                bind(manifolds.Constraint{}),
		"On nil":                         bind(manifolds.On(nil)),
		"On a nil pointer":               func() error { return bind(manifolds.On(noSphere))() },
		"On with a nil option":           func() error { return bind(manifolds.On(manifolds.Sphere{}, nil))() },
		"On with a nil grouping":         func() error { return bind(manifolds.On(manifolds.Sphere{}, noGrouping))() },
		"On an Ensemble, nil option":     func() error { return bind(manifolds.On(manifolds.Ensemble{}, nil))() },
		"On a zero GeneralizedStiefel":   bind(manifolds.On(manifolds.GeneralizedStiefel{})),
		"On a zero Ensemble":             bind(manifolds.On(manifolds.Ensemble{})),
		"Ensemble of a nil manifold":     bind(manifolds.On(manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, nil)})),
		"Ensemble of a nil pointer":      func() error { return bind(manifolds.On(manifolds.Ensemble{Parts: manifolds.Equal(noSphere)}))() },
		"Single of nothing":              func() error { _, err := manifolds.Single(nil, nil); return err },
		"NewGeneralizedStiefel of nil":   func() error { _, err := manifolds.NewGeneralizedStiefel(0, nil); return err },
		"Points64 of nil":                func() error { _, err := manifolds.Points64(nil, 0, 0, 0); return err },
		"Points32 of nil":                func() error { _, err := manifolds.Points32(nil, 1, 1, 1); return err },
		"zero Layout, Gather":            func() error { return manifolds.Layout{}.Gather(x, x) },
		"zero Layout, Scatter":           func() error { return manifolds.Layout{}.Scatter(x, x) },
		"zero Layout, Pick":              func() error { _, err := manifolds.Layout{}.Pick(0); return err },
		"Grouping without a shape":       func() error { _, err := manifolds.PerFilter.Layout(nil); return err },
		"zero Points, Combine":           func() error { return x.Combine(1, zero, 1, x) },
		"zero Points, CopyFrom":          func() error { return zero.CopyFrom(x) },
		"zero Points, Scale":             func() error { return zero.Scale(out, x) },
		"Mean without points":            func() error { return manifolds.Mean(manifolds.Sphere{}, points(), nil) },
		"KarcherMean without points":     func() error { return manifolds.KarcherMean(manifolds.Sphere{}, points(), nil) },
		"Agree with zero Points":         func() error { return manifolds.Agree("nothing", x, zero) },
		"Random of a nil source, Sphere": func() error { return manifolds.Sphere{}.Random(points(), (*rand.Rand)(nil)) },
	} {
		t.Run(name, func(t *testing.T) { assert.ErrorContains(t, attempt(f), "want ") })
	}
	assert.NotPanics(t, func() {
		_ = fmt.Sprint(manifolds.Constraint{}, manifolds.On(nil), manifolds.On(noSphere), zero, manifolds.Scale{}, &manifolds.PointError{}, manifolds.Layout{}) +
			manifolds.Constraint{}.String() + manifolds.On(noSphere).String() + (&manifolds.PointError{}).Error() + manifolds.Name(nil) + manifolds.Name(noSphere) + zero.String()
		_, _, _, _ = zero.Norm(), zero.Like(), zero.Len(), manifolds.PropertiesOf(nil, 1, 1)
		_ = manifolds.PropertiesOf(noSphere, 1, 1)
	})
}
