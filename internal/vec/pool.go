// SPDX-License-Identifier: Apache-2.0

package vec

// MaxPairs computes one row of 2 x 2 max pooling with stride 2 over the rows r0 and r1, which hold
// 2 len(dst) elements each:
//
//	dst[j] = max(r0[2j], r0[2j+1], r1[2j], r1[2j+1]), NaN if one of them is NaN.
func MaxPairs[T Float](dst, r0, r1 []T) {
	r0, r1 = r0[:2*len(dst)], r1[:2*len(dst)]
	done := whole[T](len(dst))
	maxPairsKernel(dst, r0, r1, done)
	for j := done; j < len(dst); j++ {
		dst[j] = max(r0[2*j], r0[2*j+1], r1[2*j], r1[2*j+1])
	}
}

// MaxPairsBack is the gradient of [MaxPairs], where y is its result. The gradient g[j] goes to the
// first of r0[2j], r0[2j+1], r1[2j], r1[2j+1] that equals y[j], at its place in d0 or d1. The other
// three places are set to 0.
func MaxPairsBack[T Float](d0, d1, r0, r1, y, g []T) {
	n := 2 * len(y)
	d0, d1, r0, r1, g = d0[:n], d1[:n], r0[:n], r1[:n], g[:len(y)]
	done := whole[T](len(y))
	maxPairsBackKernel(d0, d1, r0, r1, y, g, done)
	for j := done; j < len(y); j++ {
		a, b := 2*j, 2*j+1
		var p, q, r, s T
		switch y[j] {
		case r0[a]:
			p = g[j]
		case r0[b]:
			q = g[j]
		case r1[a]:
			r = g[j]
		case r1[b]:
			s = g[j]
		}
		d0[a], d0[b], d1[a], d1[b] = p, q, r, s
	}
}
