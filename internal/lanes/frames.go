// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Frames makes the step for square n x n frames, x^T x = r^2 I, that lie one after the other in x.
// The gradient is the tangent projection P_x(d) = d - x sym(x^T d) / r^2, and the retraction is r
// times the Q of x - Rate/g_t v = Q R. Frames returns the number of frames that it has moved,
// counted from the first. It stops before a group that holds a value that is not finite or a step
// too long for Cholesky-QR in one pass, and moves none if there is no kernel for n and T. m is nil
// without momentum. A step with tangent momentum must not look ahead.
func Frames[T vec.Float](x, m, g []T, n int, r float64, s descent.Step) (int, descent.Progress) {
	if len(g) != len(x) || m != nil && len(m) != len(x) {
		panic("lanes: shapes do not match")
	}
	return frames(x, m, g, n, r, s)
}
