// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// Quotients with one defect each.

// The tangent projection of Stiefel: not horizontal, and of more dimensions than the quotient has.
type vertical struct{ manifolds.Grassmann }

func (m vertical) Tangent(dst, x, g points) error { return manifolds.Stiefel{}.Tangent(dst, x, g) }
func (m vertical) Transport(dst, x, y, u points) error {
	return manifolds.Stiefel{}.Transport(dst, x, y, u)
}

// Same compares matrices instead of classes.
type represented struct{ manifolds.Grassmann }

func (m represented) Same(x, y points) (float64, error) {
	d := x.Like()
	if err := d.Combine(1, x, -1, y); err != nil {
		return 0, err
	}
	return d.Norm() / x.Norm(), nil
}

// Same returns 0 for all points.
type alike struct{ manifolds.Grassmann }

func (m alike) Same(x, y points) (float64, error) {
	_, err := m.Grassmann.Same(x, y)
	return 0, err
}

// A distance that is not proportional to the step.
type squaredSame struct{ manifolds.Grassmann }

func (m squaredSame) Same(x, y points) (float64, error) {
	d, err := m.Grassmann.Same(x, y)
	return d * d, err
}

// A logarithm that depends on the representative of a point.
type unaligned struct{ manifolds.Grassmann }

func (m unaligned) Log(dst, x, y points) error {
	if err := dst.Combine(1, y, -1, x); err != nil {
		return err
	}
	return m.Tangent(dst, x, dst)
}

// Transport that ends in the tangent space of another representative.
type unturned struct{ manifolds.Grassmann }

func (m unturned) ParallelTransport(dst, x, y, u points) error {
	v := x.Like()
	if err := m.Log(v, x, y); err != nil {
		return err
	}
	return m.Grassmann.ParallelTransport(dst, x, x, u)
}

// A step to another subspace.
type aside struct{ manifolds.Grassmann }

func (m aside) Retract(dst, x, v points) error {
	w := v.Like()
	if err := manifolds.Agree("retract", dst, x, v); err != nil {
		return err
	}
	if err := w.Combine(1.01, v, 0, v); err != nil {
		return err
	}
	return m.Grassmann.Retract(dst, x, w)
}

func TestBrokenQuotients(t *testing.T) {
	for _, c := range []struct {
		m      manifolds.Manifold
		oracle string
	}{
		{vertical{}, "dimension"},
		{represented{}, "tangent"},
		{alike{}, "quotient"},
		{squaredSame{}, "quotient"},
		{unaligned{}, "logarithm"},
		{unturned{}, "parallel"},
		{aside{}, "retract"},
		{aside{}, "tangent"},
	} {
		t.Run(fmt.Sprintf("%T/%s", c.m, c.oracle), func(t *testing.T) {
			var by []string
			for _, f := range manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 5, P: 2})) {
				by = append(by, f.Oracle)
			}
			assert.Contains(t, by, c.oracle)
		})
	}
}
