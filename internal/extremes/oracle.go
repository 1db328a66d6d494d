// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"fmt"
	"math"
	"slices"
)

// rule describes the equations of a solver.
type rule struct {
	kind      ruleKind
	momentum  float64 // theta
	dampening float64 // tau
	nesterov  bool
	tangent   bool // momentum in the tangent space
	largest   bool // AMSGrad
	// Of a rule that divides by the root of s <- keep s + take |grad|^2.
	keep, take float64
}

type ruleKind uint8

const (
	descent  ruleKind = iota // SGD
	adaptive                 // Adam
	summing                  // Adagrad and RMSProp
	wrapped                  // Constrain around stock Vanilla or Momentum
)

// The constants of Adam, which are the defaults of NewAdam. Adagrad and RMSProp have the same eps.
const (
	beta1, beta2, adamEps = 0.9, 0.999, 1e-8
)

// squares returns the block of state with one number for each point, and whether there is one.
func (rl rule) squares() (block int, ok bool) {
	switch {
	case rl.kind == adaptive || rl.kind == summing && rl.momentum > 0:
		return 1, true
	}
	return 0, rl.kind == summing
}

// problem is one parameter: the layout of its points, and their manifold.
type problem struct {
	name    string
	m       geometry
	k, n, p int
	where   []int   // element e of point i is weight where[i*n*p+e]
	parts   [][]int // elements of the parts of a point
	pn, pp  int     // shape of a part
	r       float64 // radius; 1 where nothing is constrained
	steps   int
	precise precision
	memory  []float64 // state of a wrapped solver, which is not in its Snapshot
	root    []float64 // of the weights of the elements of all points in the inner product; nil if they are 1
	sizes   []float64 // for each part, the sum of the norms of the terms of the first block of state
}

// precision is the precision of the weights.
type precision struct {
	name    string
	eps     float64 // from 1 to the next number
	largest float64
	least   float64
	drift   float64 // membership error up to which a solver does not project
}

var precisions = []precision{
	{"float32", 0x1p-23, math.MaxFloat32, math.SmallestNonzeroFloat32, 1e-5},
	{"float64", 0x1p-52, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-11},
}

// Reason says why a step may, or must, end in an error.
type Reason uint8

// The reasons. A step without a reason must not fail.
const (
	// NotFinite: a gradient is NaN or infinite. The error is required.
	NotFinite Reason = 1 << iota
	// Degenerate: the weights have no nearest point on the manifold: a zero
	// vector, a rank-deficient matrix, a constant filter on a centred sphere.
	// The error is required.
	Degenerate
	// Ill: the weights have a nearest point, but the conditioning of the projection is above 1e10.
	// Both an error and success are right.
	Ill
	// Overflow: a number of the step (state, squared gradient of Adam, displacement, weight)
	// exceeds 1/16 of the largest of the precision. Both an error and success are right; all stored
	// numbers must be finite.
	Overflow
	// Winding: the exponential map or the Cayley retraction of Stiefel for a step that may be longer than 128 |x|, its
	// documented limit. Both an error and success are right.
	Winding
	// TooLong: the learning rate times the norm of the direction, before the tangent projection,
	// exceeds r/(16 eps), so that less than four bits of the starting point would be left; or, on
	// Stiefel, it exceeds 2^40 radii, the documented limit of the retractions. Both an error and
	// success are right.
	TooLong
)

// prediction is the oracle's prediction of a step.
type prediction struct {
	start    []float64   // the points before the step, on the manifold
	weights  []float64   // the points after it
	state    [][]float64 // the state after it, in the order of the solver's blocks
	tol      []float64   // absolute tolerance for the norm of the error of each part
	stateTol [][]float64 // the same for the state, for each part or point
	kappa    []float64   // conditioning for each part: tol / (c eps r)
	length   []float64   // length of the tangent step of each part, in radii
	noise    []float64   // rounding error of the step of each part, in radii
	known    []bool      // the inputs determine the step in this precision
	sizes    []float64   // as in problem, after the step
	memory   []float64   // as in problem, after the step
	reasons  Reason
}

// rounding returns the error, in eps, that a step may add to a part for a conditioning of 1. It is
// 16 on spheres, where each element is rounded about ten times; 16 sqrt(q) for frames of q vectors,
// because of the matrix products; and twice that for their exponential, which squares matrices
// repeatedly, and for the singular values of a ball. In float64, sums of m elements in the solver and in the oracle have rounding errors
// as well, which adds 4 sqrt(m).
func (o *problem) rounding() float64 {
	c := 16.0
	if o.m.family == stiefel || o.m.family == ball {
		c *= math.Sqrt(float64(min(o.pn, o.pp)))
		if o.m.retraction == byGeodesic || o.m.family == ball {
			c *= 2
		}
	}
	if o.precise.eps < 0x1p-40 {
		c += 4 * math.Sqrt(float64(o.pn*o.pp))
	}
	return c
}

// member returns the membership error that is allowed after a step: that of rounding, but no more
// than the error beyond which a solver projects.
func (o *problem) member() float64 {
	return min(o.rounding()*o.precise.eps, o.drift())
}

// drift returns the membership error beyond which a solver projects, as documented for the option
// Tolerance.
func (o *problem) drift() float64 {
	return o.precise.drift * math.Sqrt(max(1, float64(min(o.n, o.p))/64))
}

// pick gathers the elements of part j of point i of a batch.
func (o *problem) pick(batch []float64, i, j int, factor float64) []float64 {
	at := o.parts[j]
	x := make([]float64, len(at))
	for e, a := range at {
		x[e] = factor * batch[i*o.n*o.p+a]
	}
	return x
}

func (o *problem) set(batch []float64, i, j int, factor float64, x []float64) {
	for e, a := range o.parts[j] {
		batch[i*o.n*o.p+a] = factor * x[e]
	}
}

// gather returns the weights, given in row-major order of the layer, in the order of the points. In an inner product with weights
// they are the coordinates in which it is the Frobenius product.
func (o *problem) gather(w []float64) []float64 {
	x := make([]float64, len(w))
	for e, at := range o.where {
		x[e] = w[at]
	}
	return o.coordinates(x, false)
}

// gatherGradient is gather for a Euclidean gradient, whose product with a vector is the same in these coordinates.
func (o *problem) gatherGradient(g []float64) []float64 {
	x := make([]float64, len(g))
	for e, at := range o.where {
		x[e] = g[at]
	}
	return o.coordinates(x, true)
}

// coordinates returns points or vectors, or Euclidean gradients if dual, in the coordinates of gather.
func (o *problem) coordinates(x []float64, dual bool) []float64 {
	if o.root == nil {
		return x
	}
	y := make([]float64, len(x))
	for e, r := range o.root {
		if dual {
			r = 1 / r
		}
		y[e] = r * x[e]
	}
	return y
}

// read returns the state of a solver in the coordinates of gather.
func (o *problem) read(rl rule, state [][]float64) [][]float64 {
	if b, ok := rl.squares(); o.root == nil || len(state) == 0 || ok && b == 0 {
		return state
	}
	state = slices.Clone(state)
	state[0] = o.coordinates(state[0], rl.kind == descent && !rl.tangent)
	return state
}

// worst returns the largest membership error of the points x.
func (o *problem) worst(x []float64) float64 {
	worst := 0.0
	for i := range o.k {
		for j := range o.parts {
			e := o.m.membership(o.pick(x, i, j, 1/o.r), o.pn, o.pp)
			if !(e <= worst) {
				worst = e
			}
		}
	}
	return worst
}

// step predicts the step from the weights x with Euclidean gradient g, both in the order of the
// points, the state before the step and the learning rate.
func (o *problem) step(rl rule, x, g []float64, state [][]float64, rate float64) *prediction {
	eps := o.precise.eps
	total := o.k * len(o.parts)
	out := &prediction{
		start: make([]float64, len(x)), weights: make([]float64, len(x)),
		tol: make([]float64, total), kappa: make([]float64, total), length: make([]float64, total),
		noise: make([]float64, total), known: make([]bool, total),
	}
	for range state {
		out.state = append(out.state, nil)
		out.stateTol = append(out.stateTol, make([]float64, total))
	}
	for b := range state {
		out.state[b] = make([]float64, len(state[b]))
	}
	if rl.kind == wrapped && o.memory == nil {
		o.memory = make([]float64, len(x))
	}
	if o.sizes == nil {
		o.sizes = make([]float64, total)
	}
	out.memory, out.sizes = make([]float64, len(x)), make([]float64, total)
	for _, v := range g {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out.reasons |= NotFinite
			return out
		}
	}

	off := o.worst(x)
	project := off > o.drift()
	o.steps++
	for i := range o.k {
		starts := make([][]float64, len(o.parts))
		grads := make([][]float64, len(o.parts))
		sq, sqErr := 0.0, 0.0
		bases := make([]float64, len(o.parts))
		for j := range o.parts {
			start := o.pick(x, i, j, 1/o.r)
			base := o.rounding() * eps
			if o.m.family != flat {
				if project {
					projected, cond := o.m.project(start, o.pn, o.pp)
					switch {
					case math.IsInf(cond, 1):
						out.reasons |= Degenerate
						return out
					case cond > 1e10:
						out.reasons |= Ill
					}
					start = projected
					base += 64 * 0x1p-52 * cond // the projection is computed in float64
				} else {
					base += min(off, o.drift())
				}
			}
			o.set(out.start, i, j, o.r, start)
			starts[j], bases[j] = start, base
			e := o.pick(g, i, j, 1)
			grads[j] = o.m.gradient(start, e, o.pn, o.pp)
			s := o.m.square(start, grads[j], o.pn, o.pp)
			d := base * norm(e)
			sq += s
			sqErr += 2*math.Sqrt(s)*d + d*d
		}
		// The denominator of Adam, one for each point, and its rounding error.
		denominator, denominatorErr := 1.0, 0.0
		if squares, ok := rl.squares(); ok {
			keep, take := rl.keep, rl.take
			if rl.kind == adaptive {
				keep, take = beta2, 1-beta2
			}
			s := keep*state[squares][i] + take*sq
			out.state[squares][i] = s
			c := o.rounding() * eps
			sErr := c*s + take*sqErr + 8*o.precise.least
			for j := range o.parts {
				out.stateTol[squares][i*len(o.parts)+j] = sErr
			}
			if rl.largest {
				s = max(s, state[2][i])
				out.state[2][i] = s
				for j := range o.parts {
					out.stateTol[2][i*len(o.parts)+j] = sErr
				}
			}
			correct := 1.0
			if rl.kind == adaptive {
				correct = 1 - math.Pow(beta2, float64(o.steps))
			}
			root := math.Sqrt(s / correct)
			denominator = root + adamEps
			low := math.Sqrt(max(0, s-sErr) / correct)
			denominatorErr = min(root-low, root) + c*denominator
			if max(sq, s) >= o.precise.largest/16 {
				out.reasons |= Overflow
			}
		}
		for j := range o.parts {
			at := i*len(o.parts) + j
			start, grad, base := starts[j], grads[j], bases[j]
			e := o.pick(g, i, j, 1)
			dir, spread, next, nextSize := o.direction(rl, i, j, start, e, grad, state, rate)
			if rl.kind == adaptive {
				c1 := 1 - math.Pow(beta1, float64(o.steps))
				low := max(denominator-denominatorErr, adamEps/2)
				spread = spread/c1/low + norm(dir)/c1*denominatorErr/low/denominator/eps/o.rounding()
				dir = combine(1/c1/denominator, dir, 0, dir)
			}
			if rl.kind == summing { // the momentum is that of gradients with their factors
				low := max(denominator-denominatorErr, adamEps/2)
				spread = spread/low + norm(dir)*denominatorErr/low/denominator/eps/o.rounding()
				dir = combine(1/denominator, dir, 0, dir)
				if rl.momentum > 0 {
					before := o.sizes[at]
					spread += rl.momentum * before
					dir = combine(rl.momentum, o.m.tangent(start, o.pick(state[0], i, j, 1), o.pn, o.pp), 1, dir)
					next, nextSize = dir, spread
				}
			}
			factor := -rate / o.r
			if rl.kind == wrapped { // the direction is the displacement of the wrapped solver
				factor = 1 / o.r
				dir = o.m.tangent(start, dir, o.pn, o.pp)
			}
			v := combine(factor, dir, 0, dir)
			t, a := norm(v), math.Abs(factor)*spread
			if max(a*o.r, t*o.r) >= o.precise.largest/16 {
				out.reasons |= Overflow
			}
			if o.m.curved() && max(a, t)*eps >= 1.0/16 || o.m.family == stiefel && max(a, t) >= 0x1p40 {
				out.reasons |= TooLong
			}
			if o.m.family == stiefel && o.m.retraction >= byGeodesic && max(a, t) >= 128*math.Sqrt(float64(min(o.pn, o.pp))) {
				out.reasons |= Winding
			}
			// The step is not computed if the inputs do not determine it.
			sensitive := o.m.geodesic || (o.m.family == stiefel && o.m.retraction >= byGeodesic)
			known := !(sensitive && a*eps > 1e-2)
			y, damping := start, 1.0
			if known {
				var ok bool
				if y, damping, ok = o.m.retract(start, v, o.pn, o.pp); !ok {
					known = false
					y = start
				}
			}
			damping = max(1, damping) // |x + v| >= |x| for v tangent at x; rounding says less where x is lost in v
			kappa := 1 + (1+a)/damping
			diameter := 2 * math.Sqrt(float64(min(o.pn, o.pp)))
			if o.m.family == flat {
				kappa, diameter = norm(start)+a, math.Inf(1)
			} else if o.m.family == ball {
				kappa = 1 + norm(start) + a
			} else if o.m.family == sphere {
				diameter = 2
			}
			tol := base * kappa
			if !known || tol > diameter {
				known, tol = false, diameter*(1+1e-3)
			}
			for _, w := range y {
				if math.Abs(w)*o.r >= o.precise.largest/16 {
					out.reasons |= Overflow
				}
			}
			o.set(out.weights, i, j, o.r, y)
			out.kappa[at], out.known[at] = kappa, known
			out.length[at], out.noise[at] = t, base*a
			out.tol[at] = tol*o.r + 8*o.precise.least*math.Sqrt(float64(len(y)))

			if next == nil {
				continue
			}
			for _, w := range next {
				if math.Abs(w) >= o.precise.largest/16 {
					out.reasons |= Overflow
				}
			}
			out.sizes[at] = nextSize
			if rl.kind == wrapped {
				o.set(out.memory, i, j, 1, next)
				continue
			}
			stateTol := base*nextSize + 8*o.precise.least*math.Sqrt(float64(len(next)))
			if o.m.curved() && (rl.kind == adaptive || rl.tangent) {
				next = o.m.transport(start, v, y, next, o.pn, o.pp)
				stateTol += min(tol, 2) * 2 * nextSize
			}
			o.set(out.state[0], i, j, 1, next)
			out.stateTol[0][at] = stateTol
		}
	}
	return out
}

// direction returns the direction of a rule, the sum of the norms of its terms (the rounding error
// is eps times that), and the next first block of state with the same sum for it.
func (o *problem) direction(rl rule, i, j int, start, g, grad []float64, state [][]float64, rate float64) (dir []float64, spread float64, next []float64, nextSize float64) {
	size, at := norm(g), i*len(o.parts)+j
	// Transport removes the component along the weights. The absolute error of the rest is that of
	// the whole vector, which may be much larger than the rest.
	before := o.sizes[at]
	switch {
	case rl.kind == wrapped: // c <- theta c - rate grad
		c := combine(rl.momentum, o.pick(o.memory, i, j, 1), -rate, grad)
		// The wrapped solver moves weights, so its displacement has the rounding error of the
		// weights.
		n := rl.momentum*before + rate*size
		return c, n + o.r*norm(start), c, n
	case rl.kind == adaptive: // m <- beta1 T(m) + (1 - beta1) grad
		old := o.pick(state[0], i, j, 1)
		m := combine(beta1, o.m.tangent(start, old, o.pn, o.pp), 1-beta1, grad)
		n := beta1*before + (1-beta1)*size
		return m, n, m, n
	case rl.momentum == 0 || rl.kind == summing:
		return grad, size, nil, 0
	}
	take := 1 - rl.dampening
	if o.steps == 1 {
		take = 1
	}
	old := o.pick(state[0], i, j, 1)
	n := rl.momentum*before + take*size
	if rl.tangent {
		mu := combine(rl.momentum, o.m.tangent(start, old, o.pn, o.pp), take, grad)
		if !rl.nesterov {
			return mu, n, mu, n
		}
		return combine(1, grad, rl.momentum, mu), size + rl.momentum*n, mu, n
	}
	mu := combine(rl.momentum, old, take, g)
	if !rl.nesterov {
		return o.m.gradient(start, mu, o.pn, o.pp), n, mu, n
	}
	return o.m.gradient(start, combine(1, g, rl.momentum, mu), o.pn, o.pp), size + rl.momentum*n, mu, n
}

// cut returns the layout of the points of weights of shape (D, C, A, B), as in the table of
// groupings: element e of point i is weight where[i*n*p+e].
func cut(grouping string, shape []int) (where []int, k, n, p int) {
	if len(shape) != 4 || grouping == "PerWeight" {
		size := 1
		for _, s := range shape {
			size *= s
		}
		for e := range size {
			where = append(where, e)
		}
		return where, size, 1, 1
	}
	d, c, a, b := shape[0], shape[1], shape[2], shape[3]
	at := func(i, j, u, v int) { where = append(where, ((i*c+j)*a+u)*b+v) }
	switch grouping {
	case "PerInputChannel":
		for j := range c {
			for i := range d {
				for u := range a {
					for v := range b {
						at(i, j, u, v)
					}
				}
			}
		}
		return where, c, d, a * b
	case "PerTap":
		for u := range a {
			for v := range b {
				for i := range d {
					for j := range c {
						at(i, j, u, v)
					}
				}
			}
		}
		return where, a * b, d, c
	}
	for i := range d {
		for j := range c {
			for u := range a {
				for v := range b {
					at(i, j, u, v)
				}
			}
		}
	}
	switch grouping {
	case "PerSlice":
		return where, d * c, a, b
	case "PerFilter":
		return where, d, c, a * b
	case "FilterBank":
		return where, 1, d, c * a * b
	}
	panic(fmt.Sprintf("extremes: no grouping %q", grouping))
}
