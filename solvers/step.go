// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// engine does what all solvers share. A step has three phases. Admit checks
// every parameter and gradient and binds what is new. Ready chooses for every part how its
// step is made, and computes where the parts go that do not move in place, into
// buffers. Commit moves the others in place, and writes weights and state
// and zeroes gradients. An error in the first two leaves everything as before.
type engine struct {
	config
	book
	sharing
	err    error        // of the options; every step returns it
	steps  int          // made so far
	calls  int          // admissions; marks the parameters that one has seen
	turn   int          // the parameter whose drift is measured next
	active []*parameter // of the step under way
	order  []*parameter // the same, those with most to do first
	parts  []*Part      // the same, for a rule that plans
	known  int          // parameters there were before it
	undo   []func()     // of the adoptions in it
	decay  float64      // factor of the schedule
	shrink float64      // of its gradients
	trouble
}

// ready does all of a step that can fail.
func (e *engine) ready(active []*parameter) error {
	e.decay = e.schedule.At(e.steps)
	if lr := e.learnRate * e.decay; !(lr >= 0) || math.IsInf(lr, 0) {
		return optionError("schedule %v: want a factor >= 0 at step %d, got a learning rate of %g", e.schedule, e.steps, lr)
	}
	e.shrink = e.shrinkage(active)
	planner, plans := e.rule.(Planner)
	e.parts = e.parts[:0]
	work := 0
	for _, p := range active {
		for _, q := range p.parts {
			if err := e.choose(q, plans); err != nil {
				return err
			}
			if q.step.way == inBuffers || q.step.way == inFloat64 {
				work += q.bound.layout.K * q.bound.layout.N * q.bound.layout.P * min(q.bound.layout.N, q.bound.layout.P, 8)
			}
			if plans && (q.step.way != still || p.theirs) {
				e.parts = append(e.parts, q)
			}
		}
	}
	if plans {
		for _, q := range e.parts {
			if err := q.open(q.step.way == inFloat64); err != nil {
				return err
			}
		}
		if err := planner.Plan(e.parts); err != nil {
			return err
		}
	}
	return e.each(active, work, (*engine).prepare)
}

// choose decides how the step of a part is made.
func (e *engine) choose(p *Part, plans bool) error {
	of := p.bound.of
	s := &of.settings
	p.step.way, p.Step = still, of.steps+1
	if s.frozen || of.theirs && !plans {
		return nil
	}
	p.allocate()
	if err := p.carry(); err != nil {
		return err
	}
	p.Rate = e.rate(s)
	p.Decay = 0
	if p.bound.euclidean && s.decayOf != decayAmbient {
		p.Decay = s.decay
	}
	p.step.scale = e.scale()
	p.step.slope = e.scale() * e.shrink * of.shrinkage(e.scale())
	gradient := of.gradient * p.step.slope
	p.step.longest = max(p.memory.longest, gradient)
	p.Old = p.step.from
	if e.list[e.turn%len(e.list)] == of {
		if err := p.watch(); err != nil {
			return err
		}
	}
	if of.theirs {
		return nil
	}
	if !plans && e.direct(p) {
		p.step.way = inPlace
		return nil
	}
	if err := p.arrived(); err != nil {
		return err
	}
	p.step.way = inBuffers
	if p.single() && p.extreme(gradient) {
		p.step.way = inFloat64
	}
	return nil
}

// direct reports whether the step of a part can be made at once: the state is that which the last step left,
// nothing is done to single elements of the gradient, nobody else needs it, and no number
// comes near overflow.
func (e *engine) direct(p *Part) bool {
	of := p.bound.of
	s := &of.settings
	if p.step.carried || of.shared || s.clipValue > 0 || s.decay > 0 && s.decayOf == decayAmbient || len(of.parts) > 1 ||
		s.factor == ofPast && !p.bound.euclidean {
		return false
	}
	switch r := s.rule.(type) {
	case Linear:
		if p.bound.descender == nil {
			return false
		}
		p.step.descent = p.descent(r)
		d, b := p.step.descent, manifolds.Bounds{Gradient: of.gradient, Momentum: p.memory.momentum}
		return p.bound.descender.Descends(p.Manifold, p.X, d, b) && p.grows(d, b)
	case InPlace:
		return (p.bound.euclidean || s.factor == noFactor) && r.Fits(p, p.step.slope)
	}
	return false
}

// arrived makes up for the transport that a step in place has left to the next.
func (p *Part) arrived() error {
	if !p.memory.late {
		return nil
	}
	u := p.borrow(false)
	if err := p.Manifold.Tangent(u, p.X, p.step.from[0]); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	p.step.from = slices.Clone(p.step.from)
	p.step.from[0] = u
	return nil
}

// watch measures how far ambient momentum is from its bound.
func (p *Part) watch() error {
	r, ok := p.bound.of.settings.rule.(Linear)
	if !ok || p.bound.euclidean {
		return nil
	}
	d := p.descent(r)
	if d.Tangent || d.Keep == 0 {
		return nil
	}
	var buf manifolds.Points
	if l := p.bound.layout; !l.Contiguous() || len(p.bound.of.parts) > 1 {
		buf = p.borrow(false)
	}
	g, err := p.batch(p.bound.of.grad, &buf)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	f := scratch.Get[float64](2 * g.K)
	defer scratch.Put(f)
	along, squares := f[:g.K], f[g.K:]
	if err := manifolds.Inner(manifolds.Euclidean{}, along, p.X, p.X, g); err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	if err := manifolds.Inner(manifolds.Euclidean{}, squares, p.X, p.X, p.X); err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	p.memory.outward = 0
	decay := 0.0 // AmbientDecay adds so much to s of every point
	if s := &p.bound.of.settings; s.decayOf == decayAmbient && p.step.slope > 0 {
		decay = s.decay / p.step.slope
	}
	for i, s := range along {
		p.memory.outward = max(p.memory.outward, d.Rate*d.Take*(s/squares[i]+decay)/((1-d.Keep)*(1-d.Keep)/d.Keep))
	}
	return nil
}

// grows reports whether unconstrained weights stay far from overflow.
func (p *Part) grows(d manifolds.Descent, b manifolds.Bounds) bool {
	limit := 1e15
	if !p.single() {
		limit = 1e150
	}
	return !p.bound.euclidean || (1+d.Rate*d.Decay)*p.memory.size+d.Rate*b.Direction(d) < limit
}

// descent is the step of a linear rule, with what options add to it.
func (p *Part) descent(r Linear) manifolds.Descent {
	d := r.Descent(p)
	d.Take *= p.step.slope
	d.Slope *= p.step.slope
	d.Rate, d.Decay = p.Rate, p.Decay
	d.Geometric = p.bound.of.settings.factor == ofThisSample && p.bound.properties.Curvature > 0
	d.Late = d.Tangent && p.bound.properties.Cost > 0 // a projection costs products
	return d
}

// extreme reports whether squares or products of what comes into the step overflow or vanish in float32.
func (p *Part) extreme(gradient float64) bool {
	plain := func(v float64) bool { return v == 0 || v > 1e-12 && v < 1e12 }
	return !plain(p.memory.size) || !plain(gradient) || !plain(p.memory.momentum) || !(p.Rate < 1e12)
}

// rate is the learning rate of the parameters with the settings, in the step that comes next.
func (e *engine) rate(s *settings) float64 {
	lr := s.learnRate
	if lr == e.base {
		lr = e.learnRate
	} else if e.base > 0 {
		lr *= e.learnRate / e.base
	}
	return lr * e.schedule.At(e.steps)
}

// weights counts those of the parameters.
func weights(active []*parameter) (n int) {
	for _, p := range active {
		n += p.weights.Len()
	}
	return n
}

// each calls f for every parameter, on several cores where the work is worth it, those with
// most to do first, and returns the first error in the order of the parameters.
func (e *engine) each(active []*parameter, work int, f func(e *engine, p *parameter) error) error {
	if work < 1<<16 || runtime.GOMAXPROCS(0) == 1 {
		for _, p := range active {
			if err := f(e, p); err != nil {
				return err
			}
		}
		return nil
	}
	e.order = append(e.order[:0], active...)
	slices.SortStableFunc(e.order, func(a, b *parameter) int { return cmp.Compare(b.cost(), a.cost()) })
	for _, p := range active {
		p.err = nil
	}
	par.Do(len(e.order), func(i int) { e.order[i].err = f(e, e.order[i]) })
	for _, p := range active {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// init is Step without gradients: it only binds and projects.
func (e *engine) init(model []gorgonia.ValueGrad) error {
	defer e.finish()
	active, err := e.admit(model, false)
	if err != nil {
		e.takeBack()
		return e.refuse(err)
	}
	for _, p := range active {
		for _, q := range p.parts {
			if q.step.dirty {
				if err := q.put(p.weights, q.X); err != nil {
					return q.fail(ErrParameter, err.Error(), err)
				}
				p.projected = p.projected || p.steps == 0
			}
		}
		p.witness = witnessOf(p.weights)
	}
	return nil
}

// scale is what the gradients are multiplied by before they are clipped.
func (e *engine) scale() float64 {
	if e.batch > 1 {
		return 1 / float64(e.batch)
	}
	return 1
}

// shrinkage is the factor by which ClipNorm of the parameter alone scales its gradient.
func (p *parameter) shrinkage(scale float64) float64 {
	if limit := p.settings.clipOwn; limit > 0 && p.clipped(scale) > limit {
		return limit / p.clipped(scale)
	}
	return 1
}

// clipped is the norm of the gradient after ClipValue.
func (p *parameter) clipped(scale float64) float64 {
	if p.settings.clipValue == 0 {
		return p.gradient * scale
	}
	g := lend(p.weights.Len(), 1, 1, p.weights.F64 != nil)
	defer giveBack(g)
	clip(g, p.grad, scale, p.settings.clipValue)
	return g.Norm()
}

// shrinkage is the factor by which ClipNorm of the solver scales all gradients.
func (e *engine) shrinkage(active []*parameter) float64 {
	if e.clipNorm == 0 {
		return 1
	}
	norms := scratch.Get[float64](len(active))
	defer scratch.Put(norms)
	for i, p := range active {
		if norms[i] = 0; !p.settings.frozen {
			norms[i] = p.clipped(e.scale()) * p.shrinkage(e.scale())
		}
	}
	slices.Sort(norms) // so that the sum does not depend on the order of the parameters
	total := 0.0
	for _, n := range norms {
		total = math.Hypot(total, n)
	}
	if total > e.clipNorm {
		return e.clipNorm / total
	}
	return 1
}

// clip sets dst, in the order of the weights, to the gradient scaled and
// clamped.
func clip(dst manifolds.Points, g dense.View, scale, limit float64) {
	d64, d32 := dst.Data64(), dst.Data32()
	switch {
	case limit > 0:
	case g.F64 != nil:
		vec.Scale(d64, scale, g.F64)
		return
	case d32 != nil:
		vec.Scale(d32, scale, g.F32)
		return
	default:
		limit = math.Inf(1)
	}
	for i, v := range g.F64 {
		d64[i] = max(-limit, min(limit, scale*v))
	}
	for i, v := range g.F32 {
		d := max(-limit, min(limit, scale*float64(v)))
		if d32 != nil {
			d32[i] = float32(d)
		} else {
			d64[i] = d
		}
	}
}

// open makes what a step in buffers works on: points, gradient, direction, and the
// state before and after.
func (p *Part) open(wide bool) error {
	if p.Gradient.K > 0 {
		return nil
	}
	of := p.bound.of
	p.Gradient, p.Direction = p.borrow(wide), p.borrow(wide)
	if err := p.takeGradient(wide); err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	p.ensure(&p.memory.next)
	p.Next = p.memory.next
	if p.memory.spare == nil && p.memory.state != nil {
		p.memory.spare = p.state()
	}
	p.Old, p.New = p.step.from, p.memory.spare
	if wide {
		p.X, p.Next = widen(p.borrow(true), p.X), p.borrow(true)
		p.Old, p.New = slices.Clone(p.Old), slices.Clone(p.New)
		for i, x := range p.Old {
			p.Old[i], p.New[i] = widen(p.borrowOf(x.N, x.P, true), x), p.borrowOf(x.N, x.P, true)
		}
	}
	if s := of.settings; s.decayOf == decayAmbient && s.decay > 0 {
		return p.Gradient.Combine(1, p.Gradient, s.decay, p.X)
	}
	return nil
}

// takeGradient fills Gradient: scaled, clipped, and in the order of the points.
func (p *Part) takeGradient(wide bool) error {
	of, l := p.bound.of, p.bound.layout
	scale, limit := p.step.slope, of.settings.clipValue
	whole := l.Contiguous() && len(of.parts) == 1
	flat := p.Gradient
	if !whole {
		flat = lend(of.weights.Len(), 1, 1, wide || !p.single())
		defer giveBack(flat)
	}
	if limit > 0 { // the factors of ClipNorm come after it
		rest := scale / p.step.scale
		clip(flat, of.grad, p.step.scale, limit)
		if rest != 1 {
			if err := flat.Combine(rest, flat, 0, flat); err != nil {
				return err
			}
		}
	} else {
		clip(flat, of.grad, scale, 0)
	}
	if whole {
		return nil
	}
	return l.Gather(p.Gradient, flat)
}

// prepare computes where the parts of a parameter go that do not move in place.
func (e *engine) prepare(p *parameter) error {
	for _, q := range p.parts {
		if q.step.way != inBuffers && q.step.way != inFloat64 {
			continue
		}
		x, planned, lent := q.X, q.Gradient, len(q.step.borrowed)
		err := e.aim(q, q.step.way == inFloat64)
		if err == errLong { // once more in float64
			q.step.way = inFloat64
			for _, b := range q.step.borrowed[lent:] {
				giveBack(b)
			}
			q.step.borrowed = q.step.borrowed[:lent]
			q.X, q.Gradient, q.Placed = x, manifolds.Points{}, false
			if err := q.open(true); err != nil {
				return q.fail(ErrParameter, err.Error(), err)
			}
			if planned.K > 0 { // a rule that plans may have written to it
				widen(q.Gradient, planned)
			}
			err = e.aim(q, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errLong reports a step so long that the rounding errors of float32 would change its direction.
var errLong = errors.New("solvers: the step is too long for float32")

// aim computes direction v, the step x <- R_x(-lr/g_t v), and the transport of the state.
func (e *engine) aim(p *Part, wide bool) error {
	if err := p.open(wide); err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	rule := p.bound.of.settings.rule
	if err := rule.Direction(p); err != nil {
		return p.fail(ErrDiverged, err.Error(), err)
	}
	if p.Placed {
		return p.arrive(wide)
	}
	if err := p.measure(wide); err != nil {
		return err
	}
	p.step.tangents = p.step.tangents[:0]
	for i, k := range p.bound.kinds {
		if k.Kind == Tangent && !p.bound.euclidean {
			p.step.tangents = append(p.step.tangents, p.New[i])
		}
	}
	if err := manifolds.Move(p.Manifold, p.Next, p.X, p.Direction, p.step.tangents...); err != nil {
		return p.fail(ErrDiverged, err.Error(), err)
	}
	return p.arrive(wide)
}

// measure notes the length of the direction, and turns it into the step -lr/g_t v, point by point.
func (p *Part) measure(wide bool) error {
	v, lr, s := p.Direction, p.Rate, &p.bound.of.settings
	progress := manifolds.Progress{Factor: 1}
	if p.bound.euclidean {
		n := v.Norm()
		progress.Direction, progress.Length = n*n, lr*n*lr*n
		p.step.progress = progress
		if err := p.bounded(n); err != nil {
			return err
		}
		if p.Decay > 0 {
			if err := v.Combine(1, v, p.Decay, p.X); err != nil {
				return p.fail(ErrParameter, err.Error(), err)
			}
		}
		return v.Combine(-lr, v, 0, v)
	}
	f := scratch.Get[float64](v.K)
	defer scratch.Put(f)
	if err := manifolds.Inner(p.Manifold, f, p.X, v, v); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	if s.factor == ofPast && p.memory.square == nil {
		p.memory.square, p.memory.nextSquare = make([]float64, v.K), make([]float64, v.K)
	}
	c, longest := p.bound.properties.Curvature, 0.0
	for i, sq := range f {
		if !(sq <= math.MaxFloat64) {
			return p.bounded(sq)
		}
		factor := 1.0
		switch {
		case s.factor == ofThisSample:
			factor = manifolds.GeometricFactor(math.Sqrt(sq), c)
		case s.factor == ofPast:
			factor = manifolds.GeometricFactor(math.Sqrt(p.memory.square[i]/p.grown()), c)
			p.memory.nextSquare[i] = memoryOfPast*p.memory.square[i] + (1-memoryOfPast)*sq
		}
		f[i] = -lr / factor
		length := f[i] * f[i] * sq
		longest = max(longest, length)
		progress = progress.Plus(manifolds.Progress{Direction: sq, Length: length, Factor: factor})
	}
	p.step.progress = progress
	if err := p.bounded(math.Sqrt(progress.Direction)); err != nil {
		return err
	}
	if p.step.shown > 0 {
		p.step.progress.Direction = p.step.shown
	}
	if size := p.memory.size; !wide && p.single() && longest*float64(v.K) > 1e4*size*size {
		return errLong
	}
	return v.Scale(f, v)
}

// memoryOfPast is the weight of the past in the mean of squared norms of directions.
const memoryOfPast = 0.9

// grown is the sum of the weights in that mean, and 1 before the first.
func (p *Part) grown() float64 {
	if p.Step == 1 {
		return 1
	}
	return 1 - math.Pow(memoryOfPast, float64(p.Step-1))
}

// bounded returns an error unless the direction, and the step along it, have a length.
func (p *Part) bounded(direction float64) error {
	if direction <= math.MaxFloat64 && p.Rate*direction <= math.MaxFloat64 {
		return nil
	}
	return p.fail(ErrDiverged, fmt.Sprintf("want a step of finite length, got a direction of norm %g and the learning rate %g", direction, p.Rate), nil)
}

// arrive checks that the points and the state after the step are finite. Those of a step in float64
// are first rounded to float32.
func (p *Part) arrive(wide bool) error {
	if wide {
		if err := narrow(p.memory.next, p.Next); err != nil {
			return p.fail(ErrDiverged, "weights: "+err.Error(), err)
		}
		for i, k := range p.bound.kinds {
			if err := narrow(p.memory.spare[i], p.New[i]); err != nil {
				return p.fail(ErrDiverged, fmt.Sprintf("%s: %v", k.Name, err), err)
			}
		}
	}
	for i, k := range p.bound.kinds {
		norm, err := finite(p.memory.spare[i])
		if err != nil {
			return p.fail(ErrDiverged, fmt.Sprintf("%s: %v", k.Name, err), err)
		}
		if i == 0 {
			p.step.momentum = norm
		}
	}
	p.step.size = p.memory.size
	if p.Placed || p.bound.euclidean {
		norm, err := finite(p.memory.next)
		if err != nil {
			return p.fail(ErrDiverged, "weights: "+err.Error(), err)
		}
		p.step.size = norm
	}
	return nil
}

// carry makes from the state before the step. Where the weights are not those that
// the last step left, its tangent vectors are made tangent at these, unless they are, to
// rounding: the same values in other memory change nothing.
func (p *Part) carry() error {
	p.step.from, p.step.carried = p.memory.state, false
	if !p.bound.of.elsewhere || p.bound.euclidean || p.bound.of.steps == 0 {
		return nil
	}
	rounding := 1e-5
	if !p.single() {
		rounding = 1e-11
	}
	for i, k := range p.bound.kinds {
		if k.Kind != Tangent || i == 0 && p.memory.late { // projected in this step anyway
			continue
		}
		old := p.memory.state[i]
		u, normal := old.Like(), old.Like()
		if err := p.Manifold.Tangent(u, p.X, old); err != nil {
			return p.fail(ErrConstraint, err.Error(), err)
		}
		if err := normal.Combine(1, old, -1, u); err != nil {
			return p.fail(ErrConstraint, err.Error(), err)
		}
		if normal.Norm() > rounding*old.Norm() {
			if !p.step.carried {
				p.step.from, p.step.carried = slices.Clone(p.memory.state), true
			}
			p.step.from[i] = u
		}
	}
	return nil
}
