// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
)

// GeometricFactor returns
//
//	g(R, c) = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// by which the learning rate is divided for a direction of norm R on a manifold of sectional
// curvature at most c > 0. On the unit sphere it is the factor of Ozay and Okatani (arXiv 1610.07008,
// theorem 2); with c it does not depend on the scale of the manifold. Where c is 0 or negative there is
// no length c^(-1/2) that limits a step, and g is 1. docs/geometry.md derives it.
func GeometricFactor(r, c float64) float64 { return descent.Factor(r, c) }

// Distortion returns
//
//	zeta(k, d) = d sqrt(-k) / tanh(d sqrt(-k)),
//
// or 1 if k is 0, for a lower bound k <= 0 of the sectional curvature: a bound of the Hessian of half the squared distance from a
// point d away, and of the distortion of triangles with a side d (Zhang, Sra 2016, lemma 5).
func Distortion(k, d float64) float64 {
	a := d * math.Sqrt(-k)
	if a < 1e-8 {
		return 1
	}
	return a / math.Tanh(a)
}
