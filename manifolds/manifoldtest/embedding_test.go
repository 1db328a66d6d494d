// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// A type that embeds a manifold and defines the six methods for another geometry also has the
// optional methods of the embedded manifold. They are wrong for it, and manifoldtest finds each of
// them.

// cylindrical is the Cylinder, written on top of a sphere with geodesics.
type cylindrical struct{ manifolds.Sphere }

func (cylindrical) Check(n, p int) error           { return Cylinder{}.Check(n, p) }
func (cylindrical) Project(dst, x points) error    { return Cylinder{}.Project(dst, x) }
func (cylindrical) Tangent(dst, x, g points) error { return Cylinder{}.Tangent(dst, x, g) }
func (cylindrical) Retract(dst, x, v points) error { return Cylinder{}.Retract(dst, x, v) }
func (cylindrical) Transport(dst, x, y, u points) error {
	return Cylinder{}.Transport(dst, x, y, u)
}
func (cylindrical) Membership(x points) float64 { return Cylinder{}.Membership(x) }

// subspaces is the Grassmann manifold on top of Stiefel, as somebody would write it who takes the
// projection and the retraction as they are and makes the tangent vectors horizontal.
type subspaces struct{ manifolds.Stiefel }

func (m subspaces) Tangent(dst, x, g points) error { return manifolds.Grassmann{}.Tangent(dst, x, g) }
func (m subspaces) Transport(dst, x, y, u points) error {
	return manifolds.Grassmann{}.Transport(dst, x, y, u)
}

// borrowed is a sphere that takes the geodesics of another, of which TransportAlong is the only
// optional method that is left.
type borrowed struct {
	manifolds.Manifold
	manifolds.PathTransporter
}

// oriented is an oblique manifold of rows, whatever the grouping, without a For that knows it.
type oriented struct{ manifolds.Oblique }

func TestEmbedding(t *testing.T) {
	for _, c := range []struct {
		m       manifolds.Manifold
		oracles []string
	}{
		{cylindrical{manifolds.Sphere{Geodesic: true}},
			[]string{"exponential", "logarithm", "parallel", "path", "adjoint", "scale", "random"}},
		{cylindrical{}, []string{"exponential", "logarithm", "parallel", "path", "adjoint", "scale", "random"}},
		{subspaces{}, []string{"metric", "adjoint", "dimension", "scale", "grouping"}},
		{subspaces{manifolds.Stiefel{Metric: manifolds.CanonicalMetric}}, []string{"metric", "adjoint", "dimension", "scale", "grouping"}},
		{borrowed{Cylinder{}, manifolds.Sphere{Geodesic: true}}, []string{"path"}},
		{borrowed{manifolds.CentredSphere{Geodesic: true}, manifolds.Sphere{Geodesic: true}}, nil}, // whose geodesics are the same
		{borrowed{manifolds.CentredSphere{}, manifolds.Sphere{Geodesic: true}}, []string{"path"}},  // at another place than the retraction
		{borrowed{manifolds.Sphere{Radius: 2}, manifolds.Sphere{Geodesic: true}}, []string{"path"}},
		{borrowed{manifolds.Oblique{}, manifolds.Sphere{Radius: 1.5, Geodesic: true}}, []string{"path"}},
		{oriented{}, []string{"grouping", "scale"}},
	} {
		t.Run(fmt.Sprintf("%T", c.m), func(t *testing.T) {
			found := map[string]bool{}
			for _, f := range manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 5, P: 2})) {
				found[f.Oracle] = true
			}
			for _, oracle := range c.oracles {
				assert.True(t, found[oracle], "%s of %T", oracle, c.m)
			}
			if c.oracles == nil {
				assert.Empty(t, found)
			}
		})
	}
}
