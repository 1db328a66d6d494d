// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

var errNoLog = errors.New("want points closer to each other: the logarithm did not converge")

// Log sets v, n x q, to the velocity at the frame x of a geodesic that arrives at the frame y at time 1, in the metric that
// Geodesic takes as c: 1 for the canonical, 2 for the Euclidean. It fails where the iteration does not converge.
//
// Both are computed in the span of x and y: with an orthonormal Q, orthogonal to x, y = x M + Q N, and v = x A + Q B. The canonical
// logarithm completes [M; N] to a rotation V, of q + k rows, and turns the new columns until
//
//	log V = [A, -B^T; B, C]
//
// has C = 0 (Zimmermann 2017; the turns are those of Zimmermann, Hueper 2022, section 4). The Euclidean one begins with that and
// shoots: the difference between y and the end of the geodesic is carried back to x by projections, and added to v (Bryner 2017).
func Log(v, x, y []float64, c float64, n, q int) error {
	k := min(q, n-q)
	m := q + k
	whole := scratch.Get[float64](n*m + m*m + 3*m*q)
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	basis, r, end, velocity := take(n*m), take(m*m), take(m*q), take(m*q)
	for i := range n {
		copy(basis[i*m:i*m+q], x[i*q:(i+1)*q])
		copy(basis[i*m+q:(i+1)*m], y[i*q:i*q+k])
	}
	thinQR(basis, r, n, m)
	for i := range n { // the first columns are x up to signs
		copy(basis[i*m:i*m+q], x[i*q:(i+1)*q])
	}
	gemm.Mul(gemm.Of(end, m, q), 1, gemm.Of(basis, n, m).T(), gemm.Of(y, n, q), 0)
	if err := canonicalLog(velocity, end, m, q); err != nil {
		return err
	}
	if c == 2 {
		start := take(m * q)
		copy(start, velocity)
		if shoot(velocity, end, m, q, 8) != nil {
			copy(velocity, start)
			if err := shoot(velocity, end, m, q, 0); err != nil {
				return err
			}
		}
	}
	gemm.Mul(gemm.Of(v, n, q), 1, gemm.Of(basis, n, m), gemm.Of(velocity, m, q), 0)
	return nil
}

// canonicalLog sets v to the logarithm at [I; 0] of y, both m x q with m <= 2q.
func canonicalLog(v, y []float64, m, q int) error {
	k := m - q
	whole := scratch.Get[float64](2*m*m + 3*k*k + k*q + m*k)
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	rotation, log, c, turn, e, b, last := take(m*m), take(m*m), take(k*k), take(k*k), take(k*k), take(k*q), take(m*k)
	if err := complete(rotation, y, m, q); err != nil {
		return err
	}
	best := math.Inf(1)
	for range 300 {
		if err := RotationLog(log, rotation, m, 0x1p-52); err != nil {
			return err
		}
		for i := range k {
			copy(b[i*q:(i+1)*q], log[(q+i)*m:(q+i)*m+q])
			copy(c[i*k:(i+1)*k], log[(q+i)*m+q:(q+i+1)*m])
		}
		size := vec.Norm(c)
		if size <= 1e-14*math.Sqrt(float64(m)) || size <= 1e-11 && size >= best { // no further digits to gain
			for i := range m {
				copy(v[i*q:(i+1)*q], log[i*m:i*m+q])
			}
			return nil
		}
		best = min(best, size)
		if err := gamma(turn, b, c, k, q); err != nil {
			return err
		}
		RotationExp(e, turn, k)
		for i := range m {
			copy(last[i*k:(i+1)*k], rotation[i*m+q:(i+1)*m])
		}
		columns := gemm.Mat[float64]{Data: rotation[q:], R: m, C: k, RS: m, CS: 1}
		gemm.Mul(columns, 1, gemm.Of(last, m, k), gemm.Of(e, k, k), 0)
	}
	return errNoLog
}

// complete sets v, m x m, to a rotation whose first columns are y, m x q, and whose last are as close to those of I as they can be.
func complete(v, y []float64, m, q int) error {
	k := m - q
	whole := scratch.Get[float64](2*m + 2*k*k + m*k + m*m)
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	tau, work, turn, spare, last, all := take(m), take(m), take(k*k), take(k*k), take(m*k), take(m*m)
	for i := range m {
		copy(v[i*m:i*m+q], y[i*q:(i+1)*q])
	}
	lapack64.Dgeqr2(m, q, v, m, tau[:q], work)
	lapack64.Dorg2r(m, m, q, v, m, tau[:q], work)
	for i := range m {
		copy(v[i*m:i*m+q], y[i*q:(i+1)*q])
	}
	if k == 0 {
		return nil
	}
	lower := gemm.Mat[float64]{Data: v[q*m+q:], R: k, C: k, RS: m, CS: 1}
	d, err := decompose(lower)
	if err != nil {
		return err
	}
	defer d.Free()
	gemm.Mul(gemm.Of(turn, k, k), 1, gemm.Of(d.Wt, k, k).T(), gemm.Of(d.U, k, k).T(), 0)
	copy(all, v)
	copy(spare, turn)
	if Reflects(all, m) != Reflects(spare, k) { // reverse the direction of the least singular value
		for i := range k {
			for j := range k {
				turn[i*k+j] -= 2 * d.Wt[(k-1)*k+i] * d.U[j*k+k-1]
			}
		}
	}
	for i := range m {
		copy(last[i*k:(i+1)*k], v[i*m+q:(i+1)*m])
	}
	columns := gemm.Mat[float64]{Data: v[q:], R: m, C: k, RS: m, CS: 1}
	gemm.Mul(columns, 1, gemm.Of(last, m, k), gemm.Of(turn, k, k), 0)
	return nil
}

// gamma sets g to the solution of S g + g S = c with S = B B^T / 12 - I / 2, which removes C to third order, or to -c where B is
// so long that S is nearly singular.
func gamma(g, b, c []float64, k, q int) error {
	vec.Scale(g, -1, c)
	whole := scratch.Get[float64](2 * k * k)
	defer scratch.Put(whole)
	s, t := whole[:k*k], whole[k*k:]
	gemm.Mul(gemm.Of(s, k, k), 1./12, gemm.Of(b, k, q), gemm.Of(b, k, q).T(), 0)
	d, err := decompose(gemm.Of(s, k, k))
	if err != nil {
		return err
	}
	defer d.Free()
	if d.Scale*d.Values[0] > 0.35 {
		return nil
	}
	u := gemm.Of(d.U, k, k)
	gemm.Mul(gemm.Of(t, k, k), 1, gemm.Of(c, k, k), u, 0)
	gemm.Mul(gemm.Of(s, k, k), 1, u.T(), gemm.Of(t, k, k), 0)
	for i := range k {
		for j := range k {
			s[i*k+j] /= d.Scale*(d.Values[i]+d.Values[j]) - 1
		}
	}
	gemm.Mul(gemm.Of(t, k, k), 1, u, gemm.Of(s, k, k), 0)
	gemm.Mul(gemm.Of(g, k, k), 1, gemm.Of(t, k, k), u.T(), 0)
	Skew(g, k)
	return nil
}

// shoot improves v, at [I; 0], until the geodesic of the Euclidean metric arrives at y. The steps are accelerated by up to depth
// steps before them, as Anderson (1965) does. Close to the injectivity radius the acceleration may fail; without it, shoot takes longer.
func shoot(v, y []float64, m, q, depth int) error {
	l := m * q
	whole := scratch.Get[float64]((5+2*depth)*l + q*q + depth*(depth+1))
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	x, at, w, last, found, s := take(l), take(l), take(l), take(l), take(l), take(q*q)
	moves, changes := take(depth*l), take(depth*l) // of v, and of w, in the steps before
	gram, weights := take(depth*depth), take(depth)
	clear(x)
	AddDiagonal(x, q, 1)
	best, stalled, history := math.Inf(1), 0, 0
	row := func(a []float64, j int) []float64 { return a[j*l : (j+1)*l] }
	for range 100 + 50*(8-depth) {
		off := math.Inf(1)
		if vec.Norm(v) < 16*math.Sqrt(float64(q)) { // otherwise it is far beyond any point
			Geodesic(at, x, v, 2, m, q)
			vec.Combine(w, 1, y, -1, at)
			off = vec.Norm(w)
		}
		if off < best {
			stalled, best = 0, off
			copy(found, v)
		} else if stalled++; best <= 1e-12 || !(off <= math.MaxFloat64) { // back to the best, without acceleration
			if copy(v, found); history == 0 && depth > 0 || stalled > 3 {
				break
			}
			Geodesic(at, x, v, 2, m, q)
			vec.Combine(w, 1, y, -1, at)
			history = 0
		}
		if best <= 2e-15 {
			break
		}
		carryBack(w, at, x, v, s, m, q)
		if depth > 0 && history > 0 {
			vec.Combine(row(changes, (history-1)%depth), 1, w, -1, last)
		}
		copy(last, w)
		k := min(history, depth)
		for a := range k { // the combination of changes that is closest to w
			for b := range k {
				gram[a*k+b] = vec.Dot(row(changes, a), row(changes, b))
			}
			gram[a*k+a] *= 1 + 1e-12
			weights[a] = vec.Dot(row(changes, a), w)
		}
		if k > 0 && solve(gram[:k*k], weights[:k], k, 1) != nil {
			clear(weights)
		}
		for a, c := range weights[:k] {
			vec.Combine(w, 1, w, -c, row(moves, a))
			vec.Combine(w, 1, w, -c, row(changes, a))
		}
		if depth > 0 {
			copy(row(moves, history%depth), w)
			history++
		}
		vec.Combine(v, 1, v, 1, w)
	}
	if !(best <= 1e-12*math.Sqrt(float64(m))) {
		return errNoLog
	}
	copy(v, found)
	return nil
}

// carryBack carries w from the end of the geodesic from x with velocity v to x, by tangent projections at points of the
// geodesic that keep its norm. at and s are workspaces, and at begins as the end.
func carryBack(w, at, x, v, s []float64, m, q int) {
	stations := max(1, int(math.Ceil(2*vec.Norm(v))))
	for i := stations; ; i-- {
		before := vec.Norm(w)
		meet(s, at, w, m, q)
		Symmetrize(s, q)
		gemm.Mul(gemm.Of(w, m, q), -1, gemm.Of(at, m, q), gemm.Of(s, q, q), 1)
		if after := vec.Norm(w); after > 0 {
			vec.Scale(w, before/after, w)
		}
		if i == 0 {
			return
		}
		vec.Scale(at, float64(i-1)/float64(stations), v)
		Geodesic(at, x, at, 2, m, q)
	}
}
