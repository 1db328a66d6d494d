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

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// engine is the part that all solvers share. A step has three phases. Admit checks every parameter and
// gradient, and binds new parameters. Ready chooses for every part how its step is made, and computes the
// steps that are not made in place in buffers. Commit makes the steps in place, writes weights and state, and
// zeroes gradients. After an error in the first two phases everything is as before.
type engine struct {
	config
	book
	sharing
	err    error        // of the options; every step returns it
	steps  int          // made so far
	calls  int          // admissions; marks the parameters that one has seen
	turn   int          // the parameter whose drift is measured next
	active []*parameter // of the step under way
	turns  []int        // their indices, most work first
	parts  []*Part      // the same, for a rule that plans
	known  int          // parameters there were before it
	undo   []func()     // of what parameters inherit in it
	placed *Average     // whose averages are in place of the weights, or nil

	// What graphs keep that others have replaced: a copy of each of their parameters.
	replaced book

	decay  float64 // factor of the schedule
	shrink float64 // of its gradients
	trouble
}

// ready does everything in a step that can fail.
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
			if q.step.way.buffered() {
				work += q.bound.layout.K * q.bound.layout.N * q.bound.layout.P * min(q.bound.layout.N, q.bound.layout.P, 8)
			}
			if plans && (q.step.way != still || p.theirs && p.joint()) {
				e.parts = append(e.parts, q)
			}
		}
	}
	if plans {
		for _, q := range e.parts {
			if err := q.open(); err != nil {
				return err
			}
		}
		if err := planner.Plan(e.parts); err != nil {
			return err
		}
	}
	return e.each(active, work, (*engine).prepare)
}

// weights counts those of the parameters.
func weights(active []*parameter) (n int) {
	for _, p := range active {
		n += p.weights.Len()
	}
	return n
}

// worth is the number of multiplications, or of weights read and written, from which using another core pays off.
const worth = 1 << 16

// costs estimates the work of a step of all parameters.
func costs(active []*parameter) (sum int64) {
	for _, p := range active {
		sum += p.cost()
	}
	return sum
}

// each calls f for every parameter, on several cores if there is enough work, those with the most work first,
// and returns the first error in the order of the parameters.
func (e *engine) each(active []*parameter, work int, f func(e *engine, p *parameter) error) error {
	if work < worth || runtime.GOMAXPROCS(0) == 1 {
		for _, p := range active {
			if err := f(e, p); err != nil {
				return err
			}
		}
		return nil
	}
	e.spread(active, func(p *parameter) error { return f(e, p) })
	return firstError(active)
}

// spread calls f for every parameter, on all cores, those with the most work first, and stores the error in the parameter.
func (e *engine) spread(active []*parameter, f func(p *parameter) error) {
	if len(e.turns) != len(active) {
		e.turns = e.turns[:0]
		for i := range active {
			e.turns = append(e.turns, i)
		}
	}
	slices.SortStableFunc(e.turns, func(i, j int) int { return cmp.Compare(active[j].cost(), active[i].cost()) })
	par.InOrder(len(active), func(i int) {
		p := active[e.turns[i]]
		p.err = f(p)
	})
}

// firstError returns the error of the first parameter that has one.
func firstError(active []*parameter) error {
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
				q.corrected()
			}
		}
		p.witness, p.unsettled = witnessOf(p.weights), p.elsewhere
	}
	return nil
}

// open prepares the buffers of a step: points, gradient, direction, and the state before and after.
func (p *Part) open() error {
	if p.Gradient.K > 0 {
		return nil
	}
	wide := p.wide()
	p.Gradient, p.Direction = p.borrow(wide), p.borrow(wide)
	if err := p.takeGradient(); err != nil {
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
			p.Old[i], p.New[i] = widen(p.borrowWide(x.K, x.N, x.P), x), p.borrowWide(x.K, x.N, x.P)
		}
	}
	if p.step.ambient > 0 {
		return p.Gradient.Combine(1, p.Gradient, p.step.ambient, p.X)
	}
	return nil
}

// prepare computes the steps of those parts of a parameter that do not move in place.
func (e *engine) prepare(p *parameter) error {
	if err := p.putTogether(); err != nil {
		return err
	}
	_, plans := e.rule.(Planner)
	for _, q := range p.parts {
		if !q.step.way.buffered() {
			continue
		}
		x, planned, lent := q.X, q.Gradient, len(q.step.borrowed)
		err := e.aim(q)
		if err == errLong { // once more in float64
			q.step.way = inFloat64
			for _, b := range q.step.borrowed[lent:] {
				giveBack(b)
			}
			q.step.borrowed = q.step.borrowed[:lent]
			q.X, q.Gradient, q.Placed, q.step.pointed = x, manifolds.Points{}, false, false
			if err := q.open(); err != nil {
				return q.fail(ErrParameter, err.Error(), err)
			}
			if plans { // and may have written to it; what Direction has written is made again
				widen(q.Gradient, planned)
			}
			err = e.aim(q)
		}
		if err != nil {
			return q.blame(err)
		}
	}
	return nil
}

// blame returns the error of a step that cannot be made or, if the weights are its cause, their error.
func (p *Part) blame(err error) error {
	w := p.bound.of.weights
	if w.Norm() <= math.MaxFloat64 {
		return err
	}
	return p.fail(ErrNotFinite, "want finite weights, got "+w.FirstBad(), err)
}

// errLong is the error for a step so long that the rounding errors of float32 would change its direction.
var errLong = errors.New("solvers: the step is too long for float32")

// aim computes direction v, the step x <- R_x(-lr/g_t v), and the transport of the state.
func (e *engine) aim(p *Part) error {
	if err := p.point(); err != nil {
		return err
	}
	if p.Placed {
		return p.arrive()
	}
	if err := p.measure(); err != nil {
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
	return p.arrive()
}

// point computes the direction.
func (p *Part) point() error {
	if p.step.pointed {
		return nil
	}
	if err := p.open(); err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	if err := p.bound.of.settings.rule.Direction(p); err != nil {
		return p.fail(ErrDiverged, err.Error(), err)
	}
	p.step.pointed = true
	return nil
}

// putTogether computes the sum of |v|^2 over all points, if all parts share one geometric factor.
func (p *parameter) putTogether() error {
	s := &p.settings
	p.together = 0
	if s.scope != EachLayer {
		return nil
	}
	for _, q := range p.parts {
		switch {
		case q.bound.euclidean || !q.step.way.buffered():
		case s.factor == ofPast:
			for _, sq := range q.memory.square {
				p.together += sq / q.grown()
			}
		default:
			if err := q.point(); err != nil {
				return q.blame(err)
			}
			square, err := q.inner(q.X, q.Direction, q.Direction)
			if err != nil {
				return err
			}
			p.together += square
		}
	}
	return nil
}

// factors writes the geometric factors of the points to out; sampled holds |v|^2 of this step.
func (p *Part) factors(out, sampled []float64) {
	of := p.bound.of
	past := of.settings.factor == ofPast
	square := func(i int) float64 {
		switch {
		case !past:
			return sampled[i]
		case p.memory.square == nil:
			return 0
		}
		return p.memory.square[i] / p.grown()
	}
	c := p.bound.properties.Curvature
	switch of.settings.scope {
	case EachPoint:
		for i := range out {
			out[i] = manifolds.GeometricFactor(math.Sqrt(square(i)), c)
		}
	case EachGroup:
		from := 0
		for g := 0; from < len(out); g++ {
			to := len(out)
			if g < len(p.bound.groups) {
				to = from + p.bound.groups[g]
			}
			sum := 0.0
			for i := from; i < to; i++ {
				sum += square(i)
			}
			factor := manifolds.GeometricFactor(math.Sqrt(sum), c)
			for ; from < to; from++ {
				out[from] = factor
			}
		}
	case EachLayer:
		for _, q := range of.parts {
			c = max(c, q.bound.properties.Curvature)
		}
		factor := manifolds.GeometricFactor(math.Sqrt(of.together), c)
		for i := range out {
			out[i] = factor
		}
	}
}

// measure notes the length of the direction, and turns it into the step -lr/g_t v, point by point.
func (p *Part) measure() error {
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
	if s.factor == ofPast && p.memory.nextSquare == nil {
		p.memory.nextSquare = make([]float64, v.K)
	}
	for _, sq := range f {
		if !(sq <= math.MaxFloat64) {
			return p.bounded(sq)
		}
	}
	var factors []float64
	if s.factor != noFactor {
		factors = scratch.Get[float64](v.K)
		defer scratch.Put(factors)
		p.factors(factors, f)
	}
	longest := 0.0
	for i, sq := range f {
		factor := 1.0
		if factors != nil {
			factor = factors[i]
		}
		if s.factor == ofPast {
			p.memory.nextSquare[i] = p.remember(i, sq)
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
	if size := p.memory.size; !p.wide() && p.single() && longest*float64(v.K) > 1e4*size*size {
		return errLong
	}
	return v.Scale(f, v)
}

// memoryOfPast is the decay factor of the mean of squared norms of directions.
const memoryOfPast = 0.9

// remember returns the mean with the square of this step for point i. A parameter whose earlier squares are unknown, because a snapshot lacks them,
// is taken to have had this one in all steps.
func (p *Part) remember(i int, square float64) float64 {
	switch {
	case p.memory.square != nil:
		return memoryOfPast*p.memory.square[i] + (1-memoryOfPast)*square
	case p.Step > 1:
		return (1 - math.Pow(memoryOfPast, float64(p.Step))) * square
	}
	return (1 - memoryOfPast) * square
}

// grown returns the sum of the weights in that mean, or 1 before the first step.
func (p *Part) grown() float64 {
	if p.Step == 1 {
		return 1
	}
	return 1 - math.Pow(memoryOfPast, float64(p.Step-1))
}

// bounded returns an error unless the direction and the step have finite lengths.
func (p *Part) bounded(direction float64) error {
	if direction <= math.MaxFloat64 && p.Rate*direction <= math.MaxFloat64 {
		return nil
	}
	return p.fail(ErrDiverged, fmt.Sprintf("want a step of finite length, got a direction of norm %g and the learning rate %g", direction, p.Rate), nil)
}

// arrive checks that the points and the state after the step are finite. The results of a step in float64 are first rounded to float32.
func (p *Part) arrive() error {
	if p.wide() {
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
