// SPDX-License-Identifier: Apache-2.0

package vec

// Moments are the sums that a step on a sphere needs of a point x and of a direction
// d = p m + q g.
type Moments struct{ XX, XD, DD, X, D float64 }

// MomentsOf returns the sums of x x, x d, d d, x and d, where d = p m + q g, without
// storing d. m may be nil, and then counts for nothing.
//
// Vectors of up to 64 elements are summed in any order; longer ones in float32
// may be summed in float32, in lanes of at most len(x)/64 elements each.
func MomentsOf[T Float](x, m, g []T, p, q float64) Moments {
	var s Moments
	f, h := T(p), T(q)
	g = g[:len(x)]
	for i, v := range x {
		d := h * g[i]
		if m != nil {
			d += f * m[i]
		}
		a, b := float64(v), float64(d)
		s.XX += a * a
		s.XD += a * b
		s.DD += b * b
		s.X += a
		s.D += b
	}
	return s
}

// Blend says where a fused step takes a point x and its momentum m:
//
//	x <- XX x + XM m + XG g + X1
//	m <- MX x + MM m + MG g + M1
//	g <- 0
type Blend struct{ XX, XM, XG, X1, MX, MM, MG, M1 float64 }

// Apply makes the step. m may be nil, and then counts for nothing and stays away.
func Apply[T Float](b Blend, x, m, g []T) {
	xx, xm, xg, x1 := T(b.XX), T(b.XM), T(b.XG), T(b.X1)
	mx, mm, mg, m1 := T(b.MX), T(b.MM), T(b.MG), T(b.M1)
	g = g[:len(x)]
	if m == nil {
		for i, v := range x {
			x[i] = xx*v + xg*g[i] + x1
			g[i] = 0
		}
		return
	}
	m = m[:len(x)]
	for i, v := range x {
		u, h := m[i], g[i]
		x[i] = xx*v + xm*u + xg*h + x1
		m[i] = mx*v + mm*u + mg*h + m1
		g[i] = 0
	}
}
