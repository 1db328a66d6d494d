// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Average makes the steps of another solver and averages the weights after each of them. NewEMA and NewSWA
// make one. Swap puts the average in place of the weights.
type Average struct {
	inner        gorgonia.Solver
	kind         string
	decay        float64 // of EMA
	first, every int
	intrinsic    bool
	byDistance   bool
	err          error // of the options

	own     *Solver // knows the parameters of a solver of another package
	steps   int
	swapped []exchanged
}

var _ gorgonia.Solver = (*Average)(nil)

// mean is the average of a parameter, in the order of the weights.
type mean struct {
	count int     // averaged so far
	total float64 // of the weights, by distance
	at    []float64
}

// exchanged is a parameter that holds its average.
type exchanged struct{ weights, kept dense.View }

// NewEMA returns a solver that makes the steps of s and keeps the exponential moving average of the weights, with a decay b in [0, 1),
// such as 0.999. After step t the average of x_1, ..., x_t is
//
//	a_t = a_(t-1) + c_t (x_t - a_(t-1)),    c_t = (1 - b) / (1 - b^t),
//
// so that x_i has the weight b^(t-i), divided by the sum of these weights. This corrects the bias towards the first steps. Swap projects the
// average of a constrained parameter onto its manifold, which gives the extrinsic mean
//
//	argmin over x on the manifold of  sum_i b^(t-i) |x - x_i|^2
//
// exactly, since Project is the nearest point. On a manifolds.Quotient, whose matrices represent classes, and with AverageIntrinsic on every
// manifold, the average is itself a point of the manifold and moves along the geodesic towards each x_t:
//
//	a_t = Exp_a(c_t Log_a(x_t)),    a = a_(t-1)
//
// or along the retraction if the manifold has no logarithm. It agrees with the extrinsic mean to third order in the distances if the metric
// is that of the ambient space, and to second order otherwise.
//
// The solver s may be any gorgonia.Solver, with its options. If it is a solver of this package, or wraps one by the method Unwrap, averages
// are taken on the manifolds of that solver. On several processes, pass the Average to distributed.Average. An average takes 8 bytes for
// each weight, and one pass over them in each step.
func NewEMA(s gorgonia.Solver, decay float64, opts ...AverageOption) *Average {
	a := newAverage("EMA", s, opts)
	a.decay = decay
	if err := unit(decay); err != nil && a.err == nil {
		a.err = optionError("NewEMA: decay: %v", err)
	}
	return a
}

// NewSWA is NewEMA with equal weights, c_t = 1/t: stochastic weight averaging (Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, UAI
// 2018). It is meant for the last part of a run, at a constant or cyclical learning rate:
//
//	solvers.NewSWA(solver, solvers.AverageFrom(30*steps), solvers.AverageEvery(steps))
//
// averages the weights at the end of each epoch, of the given number of steps, after 30 epochs.
func NewSWA(s gorgonia.Solver, opts ...AverageOption) *Average { return newAverage("SWA", s, opts) }

// AverageOption is an option of NewEMA and NewSWA. An invalid value is an error at the first step.
type AverageOption func(*Average) error

// AverageFrom begins with the weights after the given step instead of the first. Steps are counted from 1.
func AverageFrom(step int) AverageOption {
	return func(a *Average) error {
		if step < 1 {
			return optionError("AverageFrom: want a step from 1, got %d", step)
		}
		a.first = step
		return nil
	}
}

// AverageEvery averages the weights after every n-th step, beginning with the first.
func AverageEvery(n int) AverageOption {
	return func(a *Average) error {
		if n < 1 {
			return optionError("AverageEvery: want a positive number of steps, got %d", n)
		}
		a.every = n
		return nil
	}
}

// AverageIntrinsic averages along geodesics instead of in the ambient space: see NewEMA. The average does not depend on how the
// manifold lies in the space of matrices, but a step costs a logarithm and an exponential map. On Stiefel these take hundreds of times as
// long as a step of SGD: use AverageEvery.
func AverageIntrinsic() AverageOption {
	return func(a *Average) error {
		a.intrinsic = true
		return nil
	}
}

// AverageByDistance is an option of NewSWA for a solver made by NewRDoG or NewRDoWG. The weights after step t have the weight
//
//	w_t = r / zeta(r)^(1/2) of NewRDoG,  r^2 / zeta(r) of NewRDoWG,    c_t = w_t / (w_1 + ... + w_t),
//
// with r and zeta of that step, so that the first, short steps hardly count. With DistanceFor(EachPoint) w_t is the largest
// of a layer. The bounds of the papers are for this average, along geodesics as with AverageIntrinsic. With noisy gradients,
// it is much closer to a minimum than the last point.
func AverageByDistance() AverageOption {
	return func(a *Average) error {
		a.byDistance = true
		return nil
	}
}

func newAverage(kind string, s gorgonia.Solver, opts []AverageOption) *Average {
	a := &Average{inner: s, kind: kind, first: 1, every: 1}
	if isnil.Of(s) {
		a.err = optionError("New%s: want a solver, got nil", kind)
		return a
	}
	for _, o := range opts {
		if o == nil {
			o = func(*Average) error { return optionError("New%s: want an option, got nil", kind) }
		}
		if err := o(a); err != nil && a.err == nil {
			a.err = err
		}
	}
	if a.base() == nil {
		a.own = NewSGD()
	}
	if a.byDistance && a.err == nil {
		if _, ok := a.base().engine.rule.(dog); !ok || kind != "SWA" {
			a.err = optionError("AverageByDistance: want NewSWA around NewRDoG or NewRDoWG, got %s", a)
		}
		a.kind = "SWA by distance" // snapshots of the other have no sums of weights
	}
	return a
}

// base returns the solver that knows the parameters. A type that embeds a Solver has it as well.
func (s *Solver) base() *Solver { return s }

func (a *Average) base() *Solver {
	if b, ok := wrap.Find[interface{ base() *Solver }](a.inner); ok && b.base() != nil {
		return b.base()
	}
	return a.own
}

// String names the solver.
func (a *Average) String() string {
	if n, ok := a.inner.(fmt.Stringer); ok {
		return fmt.Sprintf("%s(%v)", a.kind, n)
	}
	return fmt.Sprintf("%s(%T)", a.kind, a.inner)
}

// Unwrap returns the solver that makes the steps.
func (a *Average) Unwrap() gorgonia.Solver { return a.inner }

// Report returns the report of the solver, or one with only the name if the solver has none.
func (a *Average) Report() Report {
	r := Report{}
	if s, ok := wrap.Find[interface{ Report() Report }](a.inner); ok {
		r = s.Report()
	}
	r.Solver = a.String()
	if r.Err == nil {
		r.Err = a.err
	}
	if r.Err == nil && a.inner == nil {
		r.Err = a.unmade("Report")
	}
	return r
}

// Count returns how many times the weights have been averaged.
func (a *Average) Count() int { return a.due(a.steps) }

// due returns how many times the weights are averaged in the given number of steps.
func (a *Average) due(steps int) int {
	if steps < a.first || a.every == 0 { // the zero Average
		return 0
	}
	return 1 + (steps-a.first)/a.every
}

// Step makes the step of the solver and averages the weights after it. Between Swap and SwapBack it changes
// nothing and returns ErrAverage. If the step fails, the average is unchanged. If the step is made and the weights of a parameter
// cannot be averaged, the averages of all parameters are unchanged, and the error is ErrAverage.
func (a *Average) Step(model []gorgonia.ValueGrad) error { return a.StepShare(model, alone) }

// StepShare is Step for one of several processes, all of which hold the same average. The work of the step is divided if the solver has the method
// StepShare. Agree is also called before the average changes.
func (a *Average) StepShare(model []gorgonia.ValueGrad, share Share) error {
	if err := share.check(true); err != nil {
		return err
	}
	if err := a.between("Step"); err != nil {
		return share.Agree(err, 0)
	}
	var err error
	if s, ok := a.inner.(interface {
		StepShare([]gorgonia.ValueGrad, Share) error
	}); ok {
		err = s.StepShare(model, share)
	} else {
		err = share.Agree(a.through(model, func() error { return a.inner.Step(model) }), 0)
	}
	if err != nil {
		return err
	}
	a.steps++
	if a.due(a.steps) == a.due(a.steps-1) {
		return nil
	}
	return a.add(model, share)
}

// through calls f, which is a step or the restoration of the solver. If that is of another package, own looks at the parameters before
// f, because it recognises those that were rebuilt by the weights that the last step left.
func (a *Average) through(model []gorgonia.ValueGrad, f func() error) error {
	if a.own == nil {
		return f()
	}
	e := &a.own.engine
	defer e.finish()
	err := e.meet(model)
	if err == nil {
		err = f()
	}
	if err != nil {
		e.takeBack()
		return err
	}
	for _, p := range e.active {
		p.witness = witnessOf(p.weights)
	}
	return nil
}

// between returns an error if the averages are in place of the weights.
func (a *Average) between(call string) error {
	switch {
	case a.err != nil:
		return a.err
	case a.inner == nil:
		return a.unmade(call)
	}
	return a.base().engine.unswapped(call)
}

// unswapped returns an error if averages are in place of the weights.
func (e *engine) unswapped(call string) error {
	if e.placed == nil {
		return nil
	}
	return fmt.Errorf("solvers: %s: want SwapBack of %s before it, got the averages in place of the weights (%w)", call, e.placed, ErrAverage)
}

func (a *Average) unmade(call string) error {
	return optionError("%s: want an Average made by NewEMA or NewSWA, got the zero Average", call)
}

// known calls f for each parameter of the model, with its weights.
func (a *Average) known(model []gorgonia.ValueGrad, f func(p *parameter, w dense.View) error) error {
	e := &a.base().engine
	if a.own != nil {
		defer e.finish()
		if _, err := e.admit(model, false); err != nil {
			e.takeBack()
			return err
		}
	}
	seen := map[*parameter]bool{}
	for i, v := range model {
		w, err := weightsOf(v, i)
		if err != nil {
			return err
		}
		p := e.find(v, w)
		switch {
		case p == nil || !p.shape.Eq(w.Shape) || p.precision != w.Precision():
			return &ParameterError{Name: nameOf(v, i), Shape: w.Shape, Kind: ErrParameter, Cause: "want a parameter that was stepped, got another"}
		case seen[p]:
			return p.twice(nameOf(v, i))
		}
		seen[p] = true
		if err := f(p, w); err != nil {
			return err
		}
	}
	return nil
}

// add adds the weights to the averages, to all of them or, after an error on one of the processes, to none.
func (a *Average) add(model []gorgonia.ValueGrad, share Share) error {
	var moves []func()
	err := a.known(model, func(p *parameter, w dense.View) error {
		m := &mean{}
		if now := p.means[a]; now != nil {
			*m = *now
		} else {
			m.at = make([]float64, w.Len())
		}
		m.count++
		c := 1 / float64(m.count)
		switch {
		case a.kind == "EMA":
			c = (1 - a.decay) / (1 - math.Pow(a.decay, float64(m.count)))
		case a.byDistance && !p.settings.frozen:
			weight := p.distanceWeight()
			m.total += weight
			c = weight / m.total
		}
		curved := slices.ContainsFunc(p.parts, a.curved)
		if curved {
			var err error
			if m.at, err = a.along(p, m.at, c, w); err != nil {
				return err
			}
		}
		moves = append(moves, func() {
			if !curved {
				blend(m.at, c, w)
			}
			p.keepMean(a, m)
		})
		return nil
	})
	if err := share.Agree(err, 0); err != nil {
		return err
	}
	for _, move := range moves {
		move()
	}
	return nil
}

// keepMean makes m the average of the parameter in a.
func (p *parameter) keepMean(a *Average, m *mean) {
	if p.means == nil {
		p.means = map[*Average]*mean{}
	}
	p.means[a] = m
}

// distanceWeight returns the weight of the last step in an average by distance.
func (p *parameter) distanceWeight() (weight float64) {
	for _, q := range p.parts {
		weight = max(weight, q.memory.weight)
	}
	return weight
}

// along returns the average that lies at the fraction c of the way from the one given to the weights, some of whose parts move on their manifolds.
func (a *Average) along(p *parameter, from []float64, c float64, w dense.View) ([]float64, error) {
	at := slices.Clone(from)
	blend(at, c, w)
	for _, q := range p.parts {
		if !a.curved(q) {
			continue
		}
		err := q.geodesic(at, from, c, w)
		q.release()
		if err != nil {
			return nil, q.fail(ErrAverage, fmt.Sprintf("the average of the weights: %v", err), err)
		}
	}
	return at, nil
}

// curved reports whether the average of a part is a point of its manifold.
func (a *Average) curved(p *Part) bool {
	_, quotient := p.Manifold.(manifolds.Quotient)
	return !p.bound.euclidean && (a.intrinsic || quotient)
}

// blend sets at to at + c (w - at).
func blend(at []float64, c float64, w dense.View) {
	par.Ranges(len(at), 1<<15, func(from, to int) {
		if w.F64 != nil {
			for i, x := range w.F64[from:to] {
				at[from+i] += c * (x - at[from+i])
			}
			return
		}
		for i, x := range w.F32[from:to] {
			at[from+i] += c * (float64(x) - at[from+i])
		}
	})
}

// geodesic writes the points at the fraction c of the way from those in before to the weights to their places in at.
func (p *Part) geodesic(at, before []float64, c float64, w dense.View) error {
	y, err := p.gather(w, 1, true)
	if err != nil {
		return err
	}
	if err := p.Manifold.Project(y, y); err != nil { // float32 leaves it within rounding
		return err
	}
	if c == 1 {
		return p.put(dense.View{F64: at}, y)
	}
	x, err := p.gather(dense.View{F64: before}, 1, true)
	if err != nil {
		return err
	}
	v := p.borrow(true)
	if l, ok := p.Manifold.(manifolds.Logarithm); ok {
		if e, ok := p.Manifold.(manifolds.Exponential); ok && l.Log(v, x, y) == nil {
			if err := v.Combine(c, v, 0, v); err != nil {
				return err
			}
			if err := e.Exp(x, x, v); err != nil {
				return err
			}
			return p.put(dense.View{F64: at}, x)
		}
	}
	if r, ok := p.Manifold.(manifolds.Inverse); !ok || r.InverseRetract(v, x, y) != nil { // to first order
		if err := v.Combine(1, y, -1, x); err != nil {
			return err
		}
		if err := p.Manifold.Tangent(v, x, v); err != nil {
			return err
		}
	}
	if err := p.settle(x, x, v, c); err != nil {
		return err
	}
	return p.put(dense.View{F64: at}, x)
}

// Swap puts the averages in place of the weights, each on its manifold, until SwapBack. Running statistics of batch
// normalisations belong to the weights: compute them again with train.Recalibrate. Swap is atomic. It returns
// ErrAverage if the weights are swapped already, be it by another average of the same solver, or if one of them has no average yet.
func (a *Average) Swap(model []gorgonia.ValueGrad) error {
	if err := a.between("Swap"); err != nil {
		return err
	}
	var all []exchanged
	err := a.known(model, func(p *parameter, w dense.View) error {
		m := p.means[a]
		if m == nil {
			return p.fail(ErrAverage, "Swap: want an average, got none: no step has been averaged", nil)
		}
		value, err := dense.Of(blankValue(p))
		if err == nil {
			err = a.place(p, m.at, value)
		}
		if err != nil {
			return p.fail(ErrAverage, fmt.Sprintf("Swap: the average of the weights: %v", err), err)
		}
		all = append(all, exchanged{w, value})
		return nil
	})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("solvers: Swap: want at least one parameter, got none (%w)", ErrAverage)
	}
	a.swapped, a.base().engine.placed = all, a
	a.exchange()
	return nil
}

// exchange exchanges the weights with the kept values.
func (a *Average) exchange() {
	for _, x := range a.swapped {
		w, k := x.weights.Bytes(), x.kept.Bytes()
		for i := range w {
			w[i], k[i] = k[i], w[i]
		}
	}
}

// place writes an average, on the manifold, to a value of the parameter's shape.
func (a *Average) place(p *parameter, at []float64, to dense.View) error {
	on := at
	for _, q := range p.parts {
		if q.bound.euclidean || a.curved(q) {
			continue
		}
		if &on[0] == &at[0] {
			on = slices.Clone(at)
		}
		x, err := q.gather(dense.View{F64: at}, 1, true)
		if err == nil {
			err = q.Manifold.Project(x, x)
		}
		if err == nil {
			err = q.put(dense.View{F64: on}, x)
		}
		q.release()
		if err != nil {
			return err
		}
	}
	for i, v := range on {
		if to.F64 != nil {
			to.F64[i] = v
		} else {
			to.F32[i] = float32(v)
			v = float64(to.F32[i])
		}
		if v-v != 0 {
			return fmt.Errorf("want finite numbers, got %g at element %d", v, i)
		}
	}
	return nil
}

// SwapBack restores the weights that Swap has replaced, bit for bit. It does nothing unless they are swapped.
func (a *Average) SwapBack() {
	if a.swapped == nil {
		return
	}
	a.exchange()
	a.swapped, a.base().engine.placed = nil, nil
}

// Swapped reports whether the averages are in place of the weights.
func (a *Average) Swapped() bool { return a.swapped != nil }

// AverageSnapshot is the state of an Average without that of its solver.
type AverageSnapshot struct {
	Steps      int
	Parameters []AveragedParameter
}

// AveragedParameter is the average of a parameter.
type AveragedParameter struct {
	Name  string
	Count int     // how many times it was averaged
	Total float64 // the sum of the weights by AverageByDistance; 0 without it
	Mean  Block   // in float64, of the shape (weights, 1, 1)
}

// Snapshot returns the snapshot of the solver, which must have this method, together with the averages. Between Swap and SwapBack it returns
// ErrAverage.
func (a *Average) Snapshot() (*Snapshot, error) {
	if err := a.between("Snapshot"); err != nil {
		return nil, err
	}
	s, err := a.keeper()
	if err != nil {
		return nil, err
	}
	inner, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	snap := *inner
	snap.Solver = a.name(snap.Solver)
	own := AverageSnapshot{Steps: a.steps}
	for _, p := range a.base().engine.list {
		if m := p.means[a]; m != nil {
			own.Parameters = append(own.Parameters, AveragedParameter{p.name, m.count, m.total, Block{"average", []int{len(m.at), 1, 1}, nil, slices.Clone(m.at)}})
		}
	}
	snap.Averages = append(slices.Clone(snap.Averages), own)
	return &snap, nil
}

// name returns the name that a snapshot gives to an Average around the solver of the given name.
func (a *Average) name(of string) string { return fmt.Sprintf("%s(%s)", a.kind, of) }

type keeper interface {
	Snapshot() (*Snapshot, error)
	Restore([]gorgonia.ValueGrad, *Snapshot) error
}

func (a *Average) keeper() (keeper, error) {
	s, ok := wrap.Find[keeper](a.inner)
	if !ok {
		return nil, fmt.Errorf("solvers: %s: want a solver with the methods Snapshot and Restore, got %s (%w)", a, wrap.Describe(a.inner), ErrStock)
	}
	return s, nil
}

// Restore restores the state of the solver and the averages from a snapshot, as Solver.Restore does. The
// decay, and the steps after which weights are averaged, are not part of a snapshot.
func (a *Average) Restore(model []gorgonia.ValueGrad, snap *Snapshot) error {
	if err := a.between("Restore"); err != nil {
		return err
	}
	s, err := a.keeper()
	switch {
	case err != nil:
		return err
	case snap == nil:
		return fmt.Errorf("solvers: restore: want a snapshot, got nil (%w)", ErrParameter)
	case len(snap.Averages) == 0:
		return fmt.Errorf("solvers: restore: want the snapshot of %s, got that of %s (%w)", a, snap.Solver, ErrParameter)
	}
	last := len(snap.Averages) - 1
	inner, own := *snap, snap.Averages[last]
	if inner.Averages = snap.Averages[:last:last]; last == 0 {
		inner.Averages = nil
	}
	name := len(snap.Solver) - 1
	if prefix := a.kind + "("; len(snap.Solver) < len(prefix)+1 || snap.Solver[:len(prefix)] != prefix {
		return fmt.Errorf("solvers: restore: want the snapshot of %s, got that of %s (%w)", a, snap.Solver, ErrParameter)
	} else {
		inner.Solver = snap.Solver[len(prefix):name]
	}
	means, err := own.check(&inner)
	if err != nil {
		return err
	}
	err = a.through(model, func() error {
		if a.own != nil {
			for _, p := range own.Parameters {
				if !slices.ContainsFunc(a.own.engine.active, func(q *parameter) bool { return q.name == p.Name }) {
					return &ParameterError{Name: p.Name, Kind: ErrParameter, Cause: "want a parameter of this name, whose average is in the snapshot, got none"}
				}
			}
		}
		return s.Restore(model, &inner)
	})
	if err != nil {
		return err
	}
	a.steps = own.Steps
	for _, p := range a.base().engine.list {
		delete(p.means, a)
		if m := means[p.name]; m != nil {
			p.keepMean(a, m)
		}
	}
	return nil
}

// check returns copies of the averages by the names of their parameters. It fails if one of them belongs to no parameter of the solver.
func (s AverageSnapshot) check(inner *Snapshot) (map[string]*mean, error) {
	if !isCount(s.Steps) {
		return nil, fmt.Errorf("solvers: restore: want counts from 0 to %d, got %d averaged steps (%w)", maxCount, s.Steps, ErrParameter)
	}
	sizes := map[string]int{}
	for _, p := range inner.Parameters {
		n := 1
		for _, d := range p.Shape {
			n *= d
		}
		sizes[p.Name] = n
	}
	means := map[string]*mean{}
	for _, p := range s.Parameters {
		fail := func(cause string, args ...any) error {
			return &ParameterError{Name: p.Name, Kind: ErrParameter, Cause: fmt.Sprintf(cause, args...)}
		}
		size, known := sizes[p.Name]
		switch {
		case !known || means[p.Name] != nil:
			return nil, fail("want an average of each parameter of the snapshot at most, got another")
		case len(p.Mean.F64) != size:
			return nil, fail("want an average of %d numbers in float64, got %d", size, len(p.Mean.F64))
		case !isCount(p.Count) || p.Count == 0:
			return nil, fail("want a count from 1 to %d, got %d", maxCount, p.Count)
		}
		for i, v := range p.Mean.F64 {
			if v-v != 0 {
				return nil, fail("average: want finite numbers, got %g at element %d", v, i)
			}
		}
		if !(p.Total >= 0 && p.Total <= math.MaxFloat64) {
			return nil, fail("average: want a sum of weights that is finite and not negative, got %g", p.Total)
		}
		means[p.Name] = &mean{p.Count, p.Total, slices.Clone(p.Mean.F64)}
	}
	return means, nil
}
