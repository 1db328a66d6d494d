// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"slices"
)

// method makes the directions of Minimize.
type method interface {
	// direct writes to d, which is s.d, the direction at s.y after the step s. It may write to s.before.
	direct(o *objective, d vector, s step) error
	// forget makes the method forget all previous steps.
	forget()
	// search returns the conditions on a step length.
	search() search
	// first returns the first step length to try after the step s, along a direction with this slope
	// of the cost and this squared length.
	first(s step, slope, length2 float64) float64
}

// step is a step that was made: from x along d, by t, to y. The gradients are before at x and after at y.
type step struct {
	x, y, d, v    vector // v = t d
	before, after vector // gradients at x and y
	t             float64
	slope, end    float64 // of the cost along the step, where it begins and where it ends
	length2       float64 // |d|^2
}

// next returns the step length to the minimum of a quadratic with the given slope along a direction and the
// curvature that the cost had along this step. Along -grad it is the first step length of Barzilai and
// Borwein. If the curvature was negative, it is the step length with the same product with the
// slope.
func (s step) next(slope, length2 float64) float64 {
	longest := 100 * s.t * math.Sqrt(s.length2/length2)
	t := s.t * s.slope / slope
	if bend := (s.end - s.slope) / (s.t * s.length2); bend > 0 {
		t = -slope / (bend * length2)
	}
	return min(t, longest)
}

// GradientDescent makes Minimize use the direction d = -grad of steepest descent. The step lengths to try first are in turn the two of
// Barzilai and Borwein (IMA J. Numer. Anal. 1988; on Stiefel Wen and Yin, Math. Programming 2013; on manifolds Iannazzo and
// Porcelli, IMA J. Numer. Anal. 2018). With the last step s, from the gradient g to h, the transport T along it and y = h - T(g),
//
//	|s|^2/<s, y>  and  <s, y>/|y|^2
//
// Such steps raise the cost now and then and are fast nevertheless. So the cost after a step need not be lower than before: it has to be
// below an average of the costs so far, in which the cost k steps ago has the weight 0.85^k (Zhang and Hager, SIAM J. Optim. 2004).
func GradientDescent() Option {
	return ofMinimize("GradientDescent", nil, func(f *minimizing) { f.method = &steepest{} })
}

type steepest struct{ second bool }

func (*steepest) forget() {}

func (*steepest) search() search { return search{decrease: 1e-4, curvature: math.Inf(1), memory: 0.85} }

func (m *steepest) first(s step, slope, length2 float64) float64 {
	t := s.next(slope, length2)
	if sy, yy := s.end-s.slope, length2+2*s.end+s.length2; m.second && sy > 0 { // both over t, with |T(g)| = |g|
		t = min(t, s.t*sy/yy)
	}
	m.second = !m.second
	return t
}

func (*steepest) direct(o *objective, d vector, s step) error {
	return o.combine(d, -1, s.after, 0, s.after)
}

// ConjugateGradient makes Minimize use the conjugate directions of Hager and Zhang (SIAM J. Optim. 2005;
// on manifolds Sakai and Iiduka, J. Optim. Theory Appl. 2021). With the gradient g before a step and h after it, the transport T
// along the step, and y = h - T(g),
//
//	d <- -h + max(beta, 0.4 <d, g>/|d|^2) T(d)
//	beta = <h, y>/<T(d), y> - 2 |y|^2 <h, T(d)>/<T(d), y>^2
//
// The first term of beta is that of Hestenes and Stiefel. A step begins anew with d = -h where
// |<h, T(g)>| > 0.2 |h|^2 (Powell, Math. Programming 1977) or <T(d), y> <= 0.
func ConjugateGradient() Option {
	return ofMinimize("ConjugateGradient", nil, func(f *minimizing) { f.method = conjugate{} })
}

type conjugate struct{}

func (conjugate) forget() {}

func (conjugate) search() search { return search{decrease: 1e-4, curvature: 0.4} }

func (conjugate) first(s step, slope, length2 float64) float64 { return s.next(slope, length2) }

func (conjugate) direct(o *objective, d vector, s step) error {
	if err := o.transport(s.x, s.v, s.y, d, s.before); err != nil { // d is s.d
		return err
	}
	y := s.before // of no use any more
	along, err := o.inner(s.y, s.after, y)
	if err != nil {
		return err
	}
	if err := o.combine(y, 1, s.after, -1, y); err != nil {
		return err
	}
	var dots [4]float64
	for i, p := range [][2]vector{{s.after, y}, {s.after, d}, {d, y}, {y, y}} {
		if dots[i], err = o.inner(s.y, p[0], p[1]); err != nil {
			return err
		}
	}
	hy, hd, dy, yy := dots[0], dots[1], dots[2], dots[3]
	beta := max((hy-2*hd*yy/dy)/dy, 0.4*s.slope/s.length2)
	if hh := hy + along; !(dy > 0) || math.Abs(along) > 0.2*hh || math.IsInf(beta, 0) {
		beta = 0
	}
	return o.combine(d, -1, s.after, beta, d)
}

// LBFGS makes Minimize use d = -H grad, where H approximates the inverse of the Hessian from the last steps s and differences y
// of gradients, as many as memory says (Nocedal, Math. Comp. 1980; on manifolds Huang, Gallivan and Absil, SIAM J. Optim.
// 2015). All pairs are transported along every step. H is positive definite, because pairs with <s, y> <= 1e-8 |s| |y| are left
// out. The default of Minimize is LBFGS(10).
func LBFGS(memory int) Option {
	var err error
	if memory < 1 {
		err = fmt.Errorf("want a memory of at least 1 pair, got %d", memory)
	}
	return ofMinimize("LBFGS", err, func(f *minimizing) { f.method = &lbfgs{memory: memory} })
}

type lbfgs struct {
	memory int
	pairs  []pair // the oldest first
	alpha  []float64
}

// pair is a step and the difference of the gradients at its ends, with <s, y> and |y|^2.
type pair struct {
	s, y   vector
	sy, yy float64
}

func (l *lbfgs) forget() { l.pairs = l.pairs[:0] }

func (*lbfgs) search() search { return search{decrease: 1e-4, curvature: 0.9} }

func (l *lbfgs) first(s step, slope, length2 float64) float64 {
	if len(l.pairs) > 0 {
		return 1
	}
	return s.next(slope, length2)
}

func (l *lbfgs) direct(o *objective, d vector, s step) error {
	if err := l.update(o, s); err != nil {
		return err
	}
	if err := o.combine(d, -1, s.after, 0, s.after); err != nil {
		return err
	}
	l.alpha = slices.Grow(l.alpha[:0], len(l.pairs))[:len(l.pairs)]
	for i, p := range slices.Backward(l.pairs) {
		sd, err := o.inner(s.y, p.s, d)
		if err != nil {
			return err
		}
		l.alpha[i] = sd / p.sy
		if err := o.combine(d, 1, d, -l.alpha[i], p.y); err != nil {
			return err
		}
	}
	if n := len(l.pairs); n > 0 {
		if err := o.combine(d, l.pairs[n-1].sy/l.pairs[n-1].yy, d, 0, d); err != nil {
			return err
		}
	}
	for i, p := range l.pairs {
		yd, err := o.inner(s.y, p.y, d)
		if err != nil {
			return err
		}
		if err := o.combine(d, 1, d, l.alpha[i]-yd/p.sy, p.s); err != nil {
			return err
		}
	}
	return nil
}

// update transports the pairs to s.y and adds the pair of the step.
func (l *lbfgs) update(o *objective, s step) error {
	var p pair
	if len(l.pairs) == l.memory { // the oldest makes room
		p = l.pairs[0]
		l.pairs = append(l.pairs[:0], l.pairs[1:]...)
	} else {
		p = pair{s: o.blank(), y: o.blank()}
	}
	if err := o.combine(p.s, 1, s.v, 0, s.v); err != nil {
		return err
	}
	if err := o.transport(s.x, s.v, s.y, p.s, s.before); err != nil {
		return err
	}
	if err := o.combine(p.y, 1, s.after, -1, s.before); err != nil {
		return err
	}
	for _, q := range l.pairs {
		if err := o.transport(s.x, s.v, s.y, q.s, q.y); err != nil {
			return err
		}
	}
	kept := l.pairs[:0]
	for _, q := range append(l.pairs, p) {
		var ss float64
		for _, c := range []struct {
			to   *float64
			a, b vector
		}{{&q.sy, q.s, q.y}, {&q.yy, q.y, q.y}, {&ss, q.s, q.s}} {
			var err error
			if *c.to, err = o.inner(s.y, c.a, c.b); err != nil {
				return err
			}
		}
		if q.sy > 1e-8*math.Sqrt(ss*q.yy) {
			kept = append(kept, q)
		}
	}
	l.pairs = kept
	return nil
}
