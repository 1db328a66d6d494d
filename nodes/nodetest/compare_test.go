// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A number that is not finite must be met as it is, and hides no error of another.
func TestCompareWhatIsNotFinite(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		got, want []float64
		same      bool
	}{
		{[]float64{inf}, []float64{1}, false}, {[]float64{1}, []float64{inf}, false}, {[]float64{inf}, []float64{-inf}, false},
		{[]float64{inf, 7}, []float64{inf, 1}, false}, {[]float64{nan}, []float64{1}, false}, {[]float64{nan, 7}, []float64{nan, 1}, false},
		{[]float64{inf, 1}, []float64{inf, 1}, true}, {[]float64{nan, -inf}, []float64{nan, -inf}, true}, {[]float64{0}, []float64{math.Copysign(0, -1)}, true},
	} {
		assert.Equal(t, c.same, compare("", c.got, c.want, 1e-9) == nil, "got %v, want %v", c.got, c.want)
	}
}
