// SPDX-License-Identifier: Apache-2.0

package descent_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/internal/descent"
)

// On the unit sphere the factor is the paper's, max(1, R^2 max((2 + R)^2, 1 + (1 + R)))^(1/2).
func TestFactorIsThePapersOnTheUnitSphere(t *testing.T) {
	for _, r := range []float64{0, 1e-8, 0.1, 0.414, 0.42, 1, 3, 1e3, 1e8} {
		rho := 1.0
		want := math.Sqrt(max(1, r*r*max((2*rho+r)*(2*rho+r), 1+(rho+r))))
		assert.InEpsilon(t, want, descent.Factor(r, 1), 1e-14, "R = %g", r)
	}
	for _, c := range []float64{0, math.Copysign(0, -1), -1e-300, -1, math.Inf(-1)} {
		assert.Equal(t, 1.0, descent.Factor(1e9, c), "c = %g", c)
	}
}

// On a manifold s times as large, gradients are 1/s times as long and the curvature is 1/s^2 times as
// large, so the factor is the same.
func TestFactorHasNoScale(t *testing.T) {
	for _, s := range []float64{1e-30, 0.125, 8, 1e30} {
		assert.InEpsilon(t, descent.Factor(2, 1), descent.Factor(2/s, 1/(s*s)), 1e-14, "scale %g", s)
	}
}
