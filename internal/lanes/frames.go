// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Frames makes the step for the square n x n frames, x^T x = r^2 I, that x holds one after
// the other, with the tangent projection P_x(d) = d - x sym(x^T d) / r^2 for a gradient and
// r times the Q of x - Rate/g_t v = Q R for a retraction, as far as
// it can, and returns how many it moved, from the first on. It stops before a group of
// frames in which one asks for care, because of values that are not finite or a step too
// long for Cholesky-QR in one pass, and takes none where there is no kernel for them.
// Without momentum m is nil. The step does not look ahead if it is tangent.
func Frames[T vec.Float](x, m, g []T, n int, r float64, s descent.Step) (int, descent.Progress) {
	if len(g) != len(x) || m != nil && len(m) != len(x) {
		panic("lanes: shapes do not match")
	}
	return frames(x, m, g, n, r, s)
}
