// SPDX-License-Identifier: Apache-2.0

package lanes

import "github.com/kernelfold/kernelfold/internal/vec"

// Step is a step of gradient descent with momentum on square frames x, x^T x = r^2 I, with
// d = Ahead m + Slope g:
//
//	v = P_x(d),  P_x(d) = d - x sym(x^T d) / r^2
//	x <- y, r times the Q of x - Rate/g_t v = Q R
//	m <- Keep m + Take g, or P_y(v) if Tangent
//	g <- 0
//
// where g_t is 1, or that of fused.GeometricFactor if Curvature is above 0.
type Step struct {
	Keep, Take   float64
	Ahead, Slope float64
	Rate, Radius float64
	Curvature    float64
	Tangent      bool
}

// Moved is what a step did: the sums of |v|^2 and of |Rate/g_t v|^2 over the frames, and the
// largest g_t.
type Moved struct{ Direction, Length, Factor float64 }

// Frames makes the step for the n x n frames that x holds one after the other, as far as
// it can, and returns how many it moved, from the first on. It stops before a group of
// frames in which one asks for care, because of values that are not finite or a step too
// long for Cholesky-QR in one pass, and takes none where there is no kernel for them.
// Without momentum m is nil.
func Frames[T vec.Float](x, m, g []T, n int, s Step) (int, Moved) {
	if len(g) != len(x) || m != nil && len(m) != len(x) {
		panic("lanes: shapes do not match")
	}
	return frames(x, m, g, n, s)
}
