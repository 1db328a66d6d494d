// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// flatTop is the set of matrices whose first row is zero, written on top of Stiefel: a subspace, in
// which everything is linear.
type flatTop struct{ manifolds.Stiefel }

func (m flatTop) clear(dst, x manifolds.Points) error {
	if err := dst.CopyFrom(x); err != nil {
		return err
	}
	for k := range dst.K {
		for j := range dst.P {
			dst.Set(k, 0, j, 0)
		}
	}
	return nil
}
func (m flatTop) Project(dst, x manifolds.Points) error         { return m.clear(dst, x) }
func (m flatTop) Tangent(dst, x, g manifolds.Points) error      { return m.clear(dst, g) }
func (m flatTop) Transport(dst, x, y, u manifolds.Points) error { return m.clear(dst, u) }
func (m flatTop) Retract(dst, x, v manifolds.Points) error      { return dst.Combine(1, x, 1, v) }
func (m flatTop) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	_, g = m.Stiefel.For(g)
	return m, g
}

// right has a metric of its own as well.
type right struct{ flatTop }

func (m right) Gradient(dst, x, g manifolds.Points) error { return m.clear(dst, g) }
func (m right) Inner(out []float64, x, u, v manifolds.Points) error {
	return manifolds.Inner(manifolds.Euclidean{}, out, x, u, v)
}
func (m right) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	_, g = m.Stiefel.For(g)
	return m, g
}

// halved has the right gradient for another inner product.
type halved struct{ right }

func (m halved) Gradient(dst, x, g manifolds.Points) error {
	if err := m.clear(dst, g); err != nil {
		return err
	}
	return dst.Combine(0.5, dst, 0, dst)
}
func (m halved) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	_, g = m.Stiefel.For(g)
	return m, g
}

// onSphere is a sphere of twice the size, with the paths of the embedded one; centredPaths one
// whose transport goes elsewhere.
type (
	onSphere struct {
		manifolds.Sphere
		outer manifolds.Sphere
	}
	reversed struct{ manifolds.Sphere }
)

func (m onSphere) Project(dst, x manifolds.Points) error    { return m.outer.Project(dst, x) }
func (m onSphere) Tangent(dst, x, g manifolds.Points) error { return m.outer.Tangent(dst, x, g) }
func (m onSphere) Retract(dst, x, v manifolds.Points) error { return m.outer.Retract(dst, x, v) }
func (m onSphere) Transport(dst, x, y, u manifolds.Points) error {
	return m.outer.Transport(dst, x, y, u)
}

func (m reversed) TransportAlong(dst, x, v, y, u manifolds.Points) error {
	if err := m.Sphere.TransportAlong(dst, x, v, y, u); err != nil {
		return err
	}
	return dst.Combine(-1, dst, 0, dst)
}

func TestBindProbesOtherTypes(t *testing.T) {
	geodesic := manifolds.Sphere{Geodesic: true}
	for _, c := range []struct {
		m    manifolds.Manifold
		want string // empty if it is right
	}{
		{right{}, ""},
		{onSphere{geodesic, geodesic}, ""},
		{onSphere{manifolds.Sphere{Radius: 2}, manifolds.Sphere{Radius: 2}}, ""},
		{flatTop{}, "want Gradient to return vectors that Tangent leaves as they are, got a relative difference of "},
		{flatTop{manifolds.Stiefel{Metric: manifolds.CanonicalMetric}}, "want Gradient to return vectors that Tangent leaves as they are"},
		{halved{}, "want Inner and Gradient to fulfil <grad, u>_x = <g, u> for tangent u"},
		{onSphere{geodesic, manifolds.Sphere{Radius: 2, Geodesic: true}}, "want TransportAlong to end in the tangent space at y"},
		{reversed{geodesic}, "want TransportAlong to agree with Transport for short steps"},
	} {
		for _, shape := range [][]int{{4, 2, 3, 3}, {64, 32, 3, 3}, {2, 64, 3, 3}} {
			pieces, err := manifolds.On(c.m, manifolds.FilterBank, manifolds.Unit).Bind(shape, 1)
			if c.want == "" {
				require.NoError(t, err, "%T", c.m)
				assert.Equal(t, c.m, pieces[0].Manifold)
				continue
			}
			assert.ErrorContains(t, err, c.want, "%T", c.m)
			assert.ErrorContains(t, err, "has its methods promoted, and needs its own", "%T", c.m)
			assert.Nil(t, pieces)
		}
	}
}

// unmeasured hides the metric of a manifold in another inner product, so that Gradient would be its Tangent.
type unmeasured struct {
	manifolds.Manifold
	manifolds.Ambient
}

func TestBindProbesAmbientWithoutMetric(t *testing.T) {
	m, err := manifolds.NewGeneralizedStiefel(6, []float64{1, 2, 3, 4, 5, 6})
	require.NoError(t, err)
	_, err = manifolds.On(m, manifolds.PerTap, manifolds.Unit).Bind([]int{6, 2, 3, 3}, 1)
	require.NoError(t, err)
	_, err = manifolds.On(unmeasured{m, m}, manifolds.PerTap, manifolds.Unit).Bind([]int{6, 2, 3, 3}, 1)
	assert.ErrorContains(t, err, "want Inner and Gradient to fulfil <grad, u>_x = <g, u> for tangent u")
}
