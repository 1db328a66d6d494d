// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Points and steps have lengths in the space around their manifold, whose inner product is not the Frobenius product on a
// manifolds.Ambient. Euclidean gradients g do not belong to that space: <g, u> is the Frobenius product with a vector u. So <x, g>
// needs no conversion, |x| does, and g becomes a vector by Riemannian only.

// norm returns the norm of x, all points together, in the space around the manifold of the part.
func (p *Part) norm(x manifolds.Points) (float64, error) {
	if _, other := p.Manifold.(manifolds.Ambient); !other {
		return x.Norm(), nil
	}
	squares := scratch.Get[float64](x.K)
	defer scratch.Put(squares)
	if err := manifolds.AmbientInner(p.Manifold, squares, x, x); err != nil {
		return 0, p.fail(ErrConstraint, err.Error(), err)
	}
	sum := 0.0
	for _, sq := range squares {
		sum += sq
	}
	return math.Sqrt(sum), nil
}

// inner returns <u, v>_x, the sum over the points of the part.
func (p *Part) inner(x, u, v manifolds.Points) (sum float64, err error) {
	if p.bound.euclidean { // not one number for each weight
		x, u, v = asOne(x), asOne(u), asOne(v)
	}
	f := scratch.Get[float64](x.K)
	defer scratch.Put(f)
	if err := manifolds.Inner(p.Manifold, f, x, u, v); err != nil {
		return 0, p.fail(ErrConstraint, err.Error(), err)
	}
	for _, s := range f {
		sum += s
	}
	return sum, nil
}

// asOne views a batch as one point.
func asOne(x manifolds.Points) manifolds.Points {
	y, _ := points(dense.View{F32: x.Data32(), F64: x.Data64()}, 1, x.Len(), 1)
	return y
}

// inFrobenius returns an error, which names the one who needs the Frobenius product, if m has another inner product. In another
// one the tangent projection is not self-adjoint in the Frobenius product, and points are not normal to their tangent spaces in it.
func inFrobenius(m manifolds.Manifold, who string) error {
	if _, other := m.(manifolds.Ambient); other {
		return fmt.Errorf("want a manifold with the Frobenius inner product for %s, got %s, which has its own", who, manifolds.Name(m))
	}
	return nil
}
