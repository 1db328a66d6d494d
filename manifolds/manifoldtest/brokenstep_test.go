// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// Manifolds as in broken_test.go, with a defect in a step, a norm or an inner product that has a method of its own.

// stepping is a sphere that makes its steps itself, also in a type that embeds it.
type stepping struct{ sphere }

func (m stepping) Descends(_ manifolds.Manifold, x points, d manifolds.Descent, b manifolds.Bounds) bool {
	return m.sphere.Descends(m.sphere, x, d, b)
}

// in makes a step by Descend, on a copy of the points of a layout. The points of mu are the copy of the momentum.
func (m stepping) in(l manifolds.Layout, w, mu, g points, d manifolds.Descent) (manifolds.Progress, error) {
	x, slope := w.Slice(0, l.K).Like(), g.Slice(0, l.K).Like()
	if err := l.Gather(x, w); err != nil {
		return manifolds.Progress{}, err
	}
	if err := l.Gather(slope, g); err != nil {
		return manifolds.Progress{}, err
	}
	p, err := m.sphere.Descend(x, mu, slope, d)
	if err != nil {
		return p, err
	}
	return p, l.Scatter(w, x)
}

func copied(x points) points {
	y := x.Like()
	each(x, func(k, i, j int) { y.Set(k, i, j, x.At(k, i, j)) })
	return y
}

// Half of the step.
type halfway struct{ stepping }

func (m halfway) Descend(x, mu, g points, d manifolds.Descent) (manifolds.Progress, error) {
	d.Rate /= 2
	return m.sphere.Descend(x, mu, g, d)
}

// The gradient is left for the next step.
type uncleared struct{ stepping }

func (m uncleared) Descend(x, mu, g points, d manifolds.Descent) (manifolds.Progress, error) {
	return m.sphere.Descend(x, mu, copied(g), d)
}

// The sum of the lengths of steps counts the rate once.
type unsquared struct{ stepping }

func (m unsquared) Descend(x, mu, g points, d manifolds.Descent) (manifolds.Progress, error) {
	p, err := m.sphere.Descend(x, mu, g, d)
	if d.Rate > 0 {
		p.Length /= d.Rate
	}
	return p, err
}

// Batches that do not fit are no error.
type lenient struct{ stepping }

func (m lenient) Descend(x, mu, g points, d manifolds.Descent) (manifolds.Progress, error) {
	p, err := m.sphere.Descend(x, mu, g, d)
	if !errors.Is(err, manifolds.ErrDegenerate) {
		err = nil
	}
	return p, err
}

// The step of scattered points is right, but their momentum stays as it was.
type stale struct{ stepping }

func (m stale) DescendIn(_ manifolds.Manifold, l manifolds.Layout, w, mu, g points, d manifolds.Descent) (manifolds.Progress, bool, error) {
	if mu.K > 0 {
		mu = copied(mu)
	}
	p, err := m.in(l, w, mu, g, d)
	return p, true, err
}

// The step of scattered points writes to a point between them.
type spilling struct{ stepping }

func (m spilling) DescendIn(_ manifolds.Manifold, l manifolds.Layout, w, mu, g points, d manifolds.Descent) (manifolds.Progress, bool, error) {
	p, err := m.in(l, w, mu, g, d)
	w.Set(0, 0, 0, 0)
	return p, true, err
}

// The points of a layout get each other's steps.
type swapped struct{ stepping }

func (m swapped) DescendIn(_ manifolds.Manifold, l manifolds.Layout, w, mu, g points, d manifolds.Descent) (manifolds.Progress, bool, error) {
	p, err := m.in(l, w, mu, g, d)
	first, second := int(l.Order[0]), int(l.Order[1])
	each(w.Slice(0, 1), func(_, i, j int) {
		a, b := w.At(first, i, j), w.At(second, i, j)
		w.Set(first, i, j, b)
		w.Set(second, i, j, a)
	})
	return p, true, err
}

// The squared norm of the Euclidean gradient, with its part normal to the manifold.
type whole struct{ sphere }

func (m whole) GradientSquares(out []float64, x, g points) error {
	return manifolds.Inner(manifolds.Euclidean{}, out, x, g, g)
}

// The squared norm less that of the normal part, which leaves rounding of any sign.
type remaining struct{ sphere }

func (m remaining) GradientSquares(out []float64, x, g points) error {
	err := m.sphere.GradientSquares(out, x, g)
	for k := range out {
		out[k] -= 0x1p-60
	}
	return err
}

// The ambient inner product of another metric.
type otherAmbient struct{ manifolds.GeneralizedStiefel }

func (m otherAmbient) AmbientInner(out []float64, u, v points) error {
	return manifolds.Inner(manifolds.Euclidean{}, out, u, u, v)
}

// An ambient inner product of the wrong sign.
type reversed struct{ manifolds.GeneralizedStiefel }

func (m reversed) AmbientInner(out []float64, u, v points) error {
	err := m.GeneralizedStiefel.AmbientInner(out, u, v)
	for k := range out {
		out[k] = -out[k]
	}
	return err
}

func TestBrokenSteps(t *testing.T) {
	for _, f := range manifoldtest.Failures(manifoldtest.Check(stepping{}, manifoldtest.Shape{K: 3, N: 4, P: 2})) {
		assert.NotEqual(t, "descent", f.Oracle, "stepping has no defect of its own: %v", f)
	}
	weighted, err := manifolds.NewGeneralizedStiefel(4, []float64{1, 2, 3, 4})
	require.NoError(t, err)
	for _, c := range []struct {
		m    manifolds.Manifold
		want string // of one of the failures
	}{
		{halfway{}, "descent: Descend makes the step"},
		{uncleared{}, "descent: Descend clears the gradient"},
		{unsquared{}, "descent: Descend reports |Rate/g_t v|^2"},
		{lenient{}, "mismatch: Descend with one point more in argument 1"},
		{stale{}, "descent: DescendIn leaves the momentum"},
		{spilling{}, "descent: DescendIn changes only the points of the layout"},
		{swapped{}, "descent: DescendIn makes the step"},
		{whole{}, "adaptable: GradientSquares"},
		{remaining{}, "adaptable: GradientSquares gives |grad|^2, with 0 of the tangent part"},
		{otherAmbient{weighted}, "tangent: <T g, h>"},
		{reversed{weighted}, "ambient: AmbientInner(u, v)"},
	} {
		t.Run(fmt.Sprintf("%T", c.m), func(t *testing.T) {
			for _, f := range manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 4, P: 2})) {
				if strings.HasPrefix(f.Oracle+": "+f.Property, c.want) {
					return
				}
			}
			t.Errorf("want the failure %q, got none", c.want)
		})
	}
}
