// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// maxPoints is the number of points that a work holds.
const maxPoints = 64

// work is the state of a step on spheres, which takes two passes. The first pass computes sums of x
// and d for each point. From the sums follow the coefficients with which the second pass computes
// the next x and m.
type work[T vec.Float] struct {
	terms  [terms][8]float64 // constants eight times each, then results to be combined
	sums   [5][maxPoints]float64
	blend  [6][maxPoints]T
	failed int // index of the first point that could not move, or -1
}

// The rows of terms: constants of a step, then its results.
const (
	inverseN      = iota // 1/n if the points are centred, else 0
	rate                 //
	radius               //
	root                 // the radius if the step is geometric, else 0
	inverseSquare        // 1/radius^2
	one                  //
	minSquare            // lower bound of |x|^2
	infinity             //
	direction            // sum of |v|^2
	length               // sum of |t v|^2
	factor               // largest g_t
	long                 // largest |t d|^2
	terms
)

// The sums over the elements of a point.
const (
	sumXX = iota
	sumXD
	sumDD // then |t d|^2
	sumX
	sumD
)

// The coefficients: x becomes y = a x + f d + b, and tangent momentum d + h y + c x + e.
const (
	blendA = iota
	blendF
	blendB
	blendH
	blendC
	blendE
)

// begin prepares w for a step of points of n elements.
func (w *work[T]) begin(o Sphere, s descent.Step, n int) {
	w.failed = -1
	for i, v := range o.terms(s, n) {
		for j := range w.terms[i] {
			w.terms[i][j] = v
		}
	}
}

// terms returns the constants of a step for points of n elements.
func (o Sphere) terms(s descent.Step, n int) (t [terms]float64) {
	t[rate], t[radius], t[one], t[factor] = s.Rate, o.Radius, 1, 1
	t[inverseSquare], t[minSquare], t[infinity] = 1/(o.Radius*o.Radius), 1e-6*o.Radius*o.Radius, math.Inf(1)
	if o.Centred {
		t[inverseN] = 1 / float64(n)
	}
	if s.Geometric {
		t[root] = o.Radius
	}
	return t
}

// results returns the results of the step.
func (w *work[T]) results() (p descent.Progress, failed int) {
	for j := range 8 {
		p = p.Plus(descent.Progress{Direction: w.terms[direction][j], Length: w.terms[length][j], Factor: w.terms[factor][j]})
	}
	return p, w.failed
}

// isLong reports whether the step of point i is so long that the point must be normalised again: a
// relative error e of c becomes a relative error e |t d|/r of |x|. It records a point that could
// not move, where at is its index in the whole batch.
func (w *work[T]) isLong(i, at int) bool {
	l, r := w.sums[sumDD][i], w.terms[radius][0]
	if math.IsInf(l, 1) {
		if w.failed < 0 || at < w.failed { // columns are visited in another order
			w.failed = at
		}
		return false
	}
	return l > r*r
}

// moments computes the sums over the elements of k points of n elements, with
// d = Ahead m + Slope g.
func (w *work[T]) moments(x, m, g []T, n, k int, o Sphere, s descent.Step) {
	if momentsKernel(x, m, g, n, k, T(s.Ahead), T(s.Slope), o.Centred, w.sums[0][:]) {
		return
	}
	p, q := T(s.Ahead), T(s.Slope)
	for i := range k {
		var xx, xd, dd, sx, sd float64
		for j := i * n; j < (i+1)*n; j++ {
			d := q * g[j]
			if m != nil {
				d += p * m[j]
			}
			a, b := float64(x[j]), float64(d)
			xx += a * a
			xd += a * b
			dd += b * b
			sx += a
			sd += b
		}
		w.sums[sumXX][i], w.sums[sumXD][i], w.sums[sumDD][i] = xx, xd, dd
		w.sums[sumX][i], w.sums[sumD][i] = sx, sd
	}
}

// blends computes the coefficients of k points from their sums and reports whether one of their
// steps is long. With c = <x, d>/|x|^2,
//
//	v = d - c x,  y = r (x - t v)/|x - t v|,  |x - t v|^2 = |x|^2 + t^2 |v|^2,
//	<y, v> = -t |v|^2 r/|x - t v|.
//
// If the points are centred, the means of x and d are subtracted first. factors multiply v; nil
// stands for 1.
func (w *work[T]) blends(k int, factors []float64) bool {
	w.terms[long] = [8]float64{}
	if factors != nil {
		for i, f := range factors {
			w.blendOne(i, f)
		}
		return w.terms[long][0] > w.terms[radius][0]*w.terms[radius][0]
	}
	if together := cpu.Use.Bytes() / 8; together > 0 {
		// The kernel processes whole vectors: fill the last with a point that does not move.
		for i := k; i%together != 0; i++ {
			w.sums[sumXX][i] = 1 / w.terms[inverseSquare][0]
			for j := sumXD; j <= sumD; j++ {
				w.sums[j][i] = 0
			}
		}
	}
	if !blendsKernel(w.terms[0][:], w.sums[0][:], k, w.blend[0][:]) {
		for i := range k {
			w.blendOne(i, 1)
		}
	}
	r := w.terms[radius][0]
	for _, l := range w.terms[long] {
		if l > r*r {
			return true
		}
	}
	return false
}

// aboutMeans returns the sums of point i over the differences from the means x and d, which are 0 if the points
// are not centred.
func (w *work[T]) aboutMeans(i int) (xx, xd, dd, x, d float64) {
	if k := w.terms[inverseN][0]; k > 0 {
		x, d = w.sums[sumX][i]*k, w.sums[sumD][i]*k
	}
	xx = w.sums[sumXX][i] - w.sums[sumX][i]*x
	xd = w.sums[sumXD][i] - w.sums[sumD][i]*x
	dd = w.sums[sumDD][i] - w.sums[sumD][i]*d
	return
}

func (w *work[T]) blendOne(i int, of float64) {
	term := func(j int) float64 { return w.terms[j][0] }
	set := func(a, f, b, h, c, e float64) {
		for j, v := range [...]float64{a, f, b, h, c, e} {
			w.blend[j][i] = T(v)
		}
	}
	xx, xd, dd, x, d := w.aboutMeans(i)
	if !(xx > term(minSquare)) {
		w.sums[sumDD][i], w.terms[long][0] = term(infinity), term(infinity)
		set(1, 0, 0, 0, 0, 0)
		return
	}
	c := xd / xx
	vv := max(0, dd-c*xd)
	g := 1.0
	if k := term(root); k > 0 {
		g = descent.Factor(math.Abs(of)*math.Sqrt(vv), 1/(k*k))
	}
	t, r := of*term(rate)/g, term(radius)
	f := r / math.Sqrt(xx+t*t*vv)
	a := f * (1 + t*c)
	set(a, -f*t, f*t*d-a*x, f*t*vv*term(inverseSquare), -c, c*x-d)
	l := t * t * w.sums[sumDD][i] // of d before centring, because that sets the rounding errors
	w.sums[sumDD][i] = l
	w.terms[direction][0] += of * of * vv
	w.terms[length][0] += t * t * vv
	w.terms[factor][0] = max(w.terms[factor][0], g)
	w.terms[long][0] = max(w.terms[long][0], l)
}

// gradientSquare returns |v|^2 of point i from its sums, where v is the tangent projection of d = g.
// Where v is a small part of g, it is computed element by element. The elements of the point are
// stride apart.
func (w *work[T]) gradientSquare(i int, x, g []T, stride int) float64 {
	xx, xd, dd, _, _ := w.aboutMeans(i)
	vv := dd - xd*xd/xx
	if vv >= enough*w.sums[sumDD][i] {
		return vv
	}
	xx, xd = 0, 0
	mx, md, elements := 0.0, 0.0, 0.0
	for e := 0; e < len(x); e += stride {
		mx += float64(x[e])
		md += float64(g[e])
		elements++
	}
	if mx, md = mx/elements, md/elements; w.terms[inverseN][0] == 0 {
		mx, md = 0, 0
	}
	for e := 0; e < len(x); e += stride {
		a, b := float64(x[e])-mx, float64(g[e])-md
		xx += a * a
		xd += a * b
	}
	vv = 0
	for e := 0; e < len(x); e += stride {
		v := float64(g[e]) - md - xd/xx*(float64(x[e])-mx)
		vv += v * v
	}
	return vv
}

// enough is the smallest ratio |v|^2/|g|^2 at which |v|^2, computed as a difference of sums, has enough digits.
const enough = 1e-2

// apply computes the next x and m of k points and clears g. Meanwhile the elements of x that lie next elements further on are
// prefetched.
func (w *work[T]) apply(x, m, g []T, n, k, next int, s descent.Step) {
	if applyKernel(x, m, g, n, k, next, T(s.Ahead), T(s.Slope), T(s.Keep), T(s.Take), s.Tangent, w.blend[0][:]) {
		return
	}
	for i := range k {
		for j := i * n; j < (i+1)*n; j++ {
			w.applyOne(x, m, g, j, i, s)
		}
	}
}

// applyOne applies the coefficients of point i to element e.
func (w *work[T]) applyOne(x, m, g []T, e, i int, s descent.Step) {
	b := &w.blend
	v, d := x[e], T(s.Slope)*g[e]
	if m != nil {
		d += T(s.Ahead) * m[e]
	}
	y := b[blendA][i]*v + b[blendF][i]*d + b[blendB][i]
	switch {
	case m == nil:
	case s.Tangent:
		m[e] = d + b[blendH][i]*y + b[blendC][i]*v + b[blendE][i]
	default:
		m[e] = T(s.Keep)*m[e] + T(s.Take)*g[e]
	}
	x[e], g[e] = y, 0
}
