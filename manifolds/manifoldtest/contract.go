// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/kernelfold/kernelfold/manifolds"
)

// op is an operation that writes a batch, with valid arguments.
type op struct {
	name string
	args []manifolds.Points
	call func(dst manifolds.Points, args []manifolds.Points) error
}

// measure is an operation that writes one number per point.
type measure struct {
	name string
	args []manifolds.Points
	call func(out []float64, args []manifolds.Points) error
	size []float64 // to which rounding errors are relative
}

// batches is short for the arguments of an op.
type batches = []manifolds.Points

// ops returns every operation of the manifold that writes a batch.
func (t *trial) ops() []op {
	a, x := t.near(), t.point()
	v, g := t.vector(x, 0.3), t.gauss()
	y := t.retract(x, v)
	u := t.vector(x, 1)
	m := t.m
	ops := []op{
		{"Project", batches{a}, func(dst manifolds.Points, a batches) error { return m.Project(dst, a[0]) }},
		{"Tangent", batches{x, g}, func(dst manifolds.Points, a batches) error { return m.Tangent(dst, a[0], a[1]) }},
		{"Retract", batches{x, v}, func(dst manifolds.Points, a batches) error { return m.Retract(dst, a[0], a[1]) }},
		{"Transport", batches{x, y, u}, func(dst manifolds.Points, a batches) error { return m.Transport(dst, a[0], a[1], a[2]) }},
	}
	if m, ok := m.(manifolds.Metric); ok {
		ops = append(ops, op{"Gradient", batches{x, g}, func(dst manifolds.Points, a batches) error { return m.Gradient(dst, a[0], a[1]) }})
	}
	if m, ok := m.(manifolds.Exponential); ok {
		ops = append(ops, op{"Exp", batches{x, v}, func(dst manifolds.Points, a batches) error { return m.Exp(dst, a[0], a[1]) }})
	}
	if m, ok := m.(manifolds.Logarithm); ok {
		ops = append(ops, op{"Log", batches{x, y}, func(dst manifolds.Points, a batches) error { return m.Log(dst, a[0], a[1]) }})
	}
	if m, ok := m.(manifolds.Inverse); ok {
		ops = append(ops, op{"InverseRetract", batches{x, y}, func(dst manifolds.Points, a batches) error {
			return m.InverseRetract(dst, a[0], a[1])
		}})
	}
	if m, ok := m.(manifolds.ParallelTransporter); ok {
		ops = append(ops, op{"ParallelTransport", batches{x, y, u}, func(dst manifolds.Points, a batches) error {
			return m.ParallelTransport(dst, a[0], a[1], a[2])
		}})
	}
	if m, ok := m.(manifolds.PathTransporter); ok {
		ops = append(ops, op{"TransportAlong", batches{x, v, y, u}, func(dst manifolds.Points, a batches) error {
			return m.TransportAlong(dst, a[0], a[1], a[2], a[3])
		}})
	}
	if m, ok := m.(manifolds.Differentiable); ok {
		ops = append(ops, op{"ProjectAdjoint", batches{a, t.project(a), g}, func(dst manifolds.Points, a batches) error {
			return m.ProjectAdjoint(dst, a[0], a[1], a[2])
		}})
	}
	return ops
}

// measures returns every operation that writes one number per point.
func (t *trial) measures() []measure {
	x := t.point()
	u, v := t.vector(x, 1), t.vector(x, 0.7)
	var measures []measure
	if m, ok := t.m.(manifolds.Metric); ok {
		measures = append(measures, measure{"Inner", batches{x, u, v}, func(out []float64, a batches) error { return m.Inner(out, a[0], a[1], a[2]) },
			mul(t.sizes(x, u), t.sizes(x, v))})
	}
	if m, ok := t.m.(manifolds.Ambient); ok {
		measures = append(measures, measure{"AmbientInner", batches{u, v}, func(out []float64, a batches) error {
			return m.AmbientInner(out, a[0], a[1])
		}, mul(t.sizes(x, u), t.sizes(x, v))})
	}
	if m, ok := t.m.(manifolds.Logarithm); ok {
		y := t.retract(x, scaled(0.3, u))
		measures = append(measures, measure{"Dist", batches{x, y}, func(out []float64, a batches) error { return m.Dist(out, a[0], a[1]) }, t.spans(x, u)})
	}
	return measures
}

// do calls an operation and returns its result in a new batch.
func (t *trial) do(o op, args batches) manifolds.Points {
	dst := filledLike(args[0], math.NaN())
	t.done(o.name, o.call(dst, args))
	return dst
}

// read calls an operation and returns its numbers.
func (t *trial) read(g measure, args batches) []float64 {
	out := filledNumbers(args[0].K, math.NaN())
	t.done(g.name, g.call(out, args))
	return out
}

func filledNumbers(n int, v float64) []float64 {
	x := make([]float64, n)
	for k := range x {
		x[k] = v
	}
	return x
}

func clones(args batches) batches {
	c := make(batches, len(args))
	for i := range args {
		c[i] = clone(args[i])
	}
	return c
}

// aliasing: dst may be one of the arguments. The operation changes neither other arguments nor
// memory next to dst.
func aliasing(t *trial) {
	for _, o := range t.ops() {
		want := t.do(o, o.args)

		// dst is the middle of a larger batch, whose ends are guards.
		const guard = 7.5
		wide := filled(t.prec, Shape{t.shape.K + 2, t.shape.N, t.shape.P}, guard)
		args := clones(o.args)
		dst := wide.Slice(1, t.shape.K+1)
		t.done(o.name, o.call(dst, args))
		t.sameBits(o.name+" a second time", dst, want)
		for i := range args {
			t.sameBits(fmt.Sprintf("argument %d of %s after the call", i+1, o.name), args[i], o.args[i])
		}
		for _, end := range []manifolds.Points{wide.Slice(0, 1), wide.Slice(t.shape.K+1, t.shape.K+2)} {
			t.sameBits("the values beside dst of "+o.name, end, filledLike(end, guard))
		}

		for i := range o.args {
			args := clones(o.args)
			t.done(o.name, o.call(args[i], args))
			t.sameBits(fmt.Sprintf("%s with dst = argument %d", o.name, i+1), args[i], want)
			for j := range args {
				if j != i {
					t.sameBits(fmt.Sprintf("argument %d of %s with dst = argument %d", j+1, o.name, i+1), args[j], o.args[j])
				}
			}
		}
	}
	for _, g := range t.measures() {
		args := clones(g.args)
		t.read(g, args)
		for i := range args {
			t.sameBits(fmt.Sprintf("argument %d of %s after the call", i+1, g.name), args[i], g.args[i])
		}
	}
}

// misfits returns batches that do not agree with those of the trial, and the differences.
func (t *trial) misfits() []misfit {
	s, other := t.shape, double
	if t.prec.double {
		other = single
	}
	wrong := []misfit{
		{"one point more", filled(t.prec, Shape{s.K + 1, s.N, s.P}, 1)},
		{"one row more", filled(t.prec, Shape{s.K, s.N + 1, s.P}, 1)},
		{"one column more", filled(t.prec, Shape{s.K, s.N, s.P + 1}, 1)},
		{"the other precision", filled(other, s, 1)},
	}
	if s.N != s.P {
		wrong = append(wrong, misfit{"rows and columns exchanged", filled(t.prec, Shape{s.K, s.P, s.N}, 1)})
	}
	if s.K != s.N {
		wrong = append(wrong, misfit{"points and rows exchanged", filled(t.prec, Shape{s.N, s.K, s.P}, 1)})
	}
	return wrong
}

// misfit is a batch, and how it differs from those of the trial.
type misfit struct {
	what string
	manifolds.Points
}

// mismatch: an argument of another shape or precision, or a shape that Check does not admit, is an
// error and leaves dst unchanged.
func mismatch(t *trial) {
	const before = 7.5
	refused := func(call string, err error, dst manifolds.Points) {
		if err == nil {
			t.fail(call, "an error", "none")
		}
		t.sameBits("dst after "+call, dst, filledLike(dst, before))
	}
	wrong := t.misfits()
	for _, o := range t.ops() {
		for _, w := range wrong {
			dst := filledLike(w.Points, before)
			refused(o.name+" into a batch with "+w.what, o.call(dst, o.args), dst)
			if len(o.args) == 1 {
				continue // the case that dst does not fit the argument has been tried
			}
			for i := range o.args {
				args := slices.Clone(o.args)
				args[i] = w.Points
				dst := filled(t.prec, t.shape, before)
				refused(fmt.Sprintf("%s with %s in argument %d", o.name, w.what, i+1), o.call(dst, args), dst)
			}
		}
	}

	refusedNumbers := func(call string, err error, out []float64) {
		if err == nil {
			t.fail(call, "an error", "none")
		}
		if i := slices.IndexFunc(out, func(v float64) bool { return v != before }); i >= 0 {
			t.fail("the output after "+call, fmt.Sprint(before), fmt.Sprint(out[i]))
		}
	}
	for _, g := range t.measures() {
		for _, n := range []int{t.shape.K - 1, t.shape.K + 1} {
			out := filledNumbers(n, before)
			refusedNumbers(fmt.Sprintf("%s into %+d numbers too many", g.name, n-t.shape.K), g.call(out, g.args), out)
		}
		for _, w := range wrong {
			for i := range g.args {
				args := slices.Clone(g.args)
				args[i] = w.Points
				out := filledNumbers(t.shape.K, before)
				refusedNumbers(fmt.Sprintf("%s with %s in argument %d", g.name, w.what, i+1), g.call(out, args), out)
			}
		}
	}

	if m, ok := t.m.(manifolds.Descender); ok {
		d, x := manifolds.Descent{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1}, t.point()
		fit := batches{x, t.vector(x, 0.3), t.gauss()}
		refusedStep := func(call string, d manifolds.Descent, args batches) {
			before := clones(args)
			if _, err := m.Descend(args[0], args[1], args[2], d); err == nil {
				t.fail(call, "an error", "none")
			}
			for i := range args {
				t.sameBits(fmt.Sprintf("argument %d after %s", i+1, call), args[i], before[i])
			}
		}
		for _, w := range wrong {
			for i := range fit {
				args := clones(fit)
				args[i] = clone(w.Points)
				refusedStep(fmt.Sprintf("Descend with %s in argument %d", w.what, i+1), d, args)
			}
		}
		if _, ok := m.(manifolds.Adaptable); ok {
			d.Factors = make([]float64, x.K+1)
			refusedStep("Descend with one factor more", d, clones(fit))
		}
	}

	for _, s := range []Shape{{2, 1, 1}, {2, 1, 2}, {2, 2, 1}, {1, 2, 3}, {1, 3, 2}} {
		if t.m.Check(s.N, s.P) != nil {
			dst := filled(t.prec, s, before)
			refused(fmt.Sprintf("Project of %v, which Check does not admit,", s), t.m.Project(dst, filled(t.prec, s, 1)), dst)
		}
	}
}

// batch: the result for a point does not depend on the other points of the batch.
func batch(t *trial) {
	if t.shape.K == 1 {
		return
	}
	for _, o := range t.ops() {
		all := t.do(o, o.args)
		for k := range t.shape.K {
			alone := slices.Clone(o.args)
			for i := range alone {
				alone[i] = alone[i].Slice(k, k+1)
			}
			got := all.Slice(k, k+1)
			t.equal("each point of "+o.name+" is what it is alone", got, t.do(o, alone), add(norms(got), norms(alone[0])))
		}
	}
	for _, g := range t.measures() {
		all := t.read(g, g.args)
		for k := range all {
			alone := slices.Clone(g.args)
			for i := range alone {
				alone[i] = alone[i].Slice(k, k+1)
			}
			t.equalNumbers("each number of "+g.name+" is what it is alone", all[k:k+1], t.read(g, alone), g.size[k:k+1])
		}
	}
}

// precise: the results in float32 are those in float64, rounded.
func precise(t *trial) {
	if t.prec.double {
		return
	}
	for _, o := range t.ops() {
		args := slices.Clone(o.args)
		size := make([]float64, t.shape.K)
		for i := range args {
			size = add(size, norms(args[i]))
			args[i] = wide(args[i])
		}
		want := t.do(o, args)
		t.equal(o.name+" in float32 is that in float64", t.do(o, o.args), want, times(4, add(size, norms(want))))
	}
	for _, g := range t.measures() {
		args := slices.Clone(g.args)
		for i := range args {
			args[i] = wide(args[i])
		}
		want := t.read(g, args)
		t.equalNumbers(g.name+" in float32 is that in float64", t.read(g, g.args), want, g.size)
	}
}

// concurrency: concurrent calls on different batches have the same results as calls one after the
// other.
func concurrency(t *trial) {
	callers, rounds := 4, 3
	if t.shape.N*t.shape.P > 512 { // points that take long
		callers, rounds = 2, 1
	}
	for _, o := range t.ops() {
		want := t.do(o, o.args)
		got := make([]manifolds.Points, callers)
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for c := range callers {
			got[c] = filledLike(want, math.NaN())
			args := clones(o.args)
			wg.Go(func() {
				defer func() {
					if r := recover(); r != nil {
						errs[c] = fmt.Errorf("panic: %v", r)
					}
				}()
				for range rounds {
					if err := o.call(got[c], args); err != nil {
						errs[c] = err
					}
				}
			})
		}
		wg.Wait()
		for c := range callers {
			t.done(o.name+" beside others", errs[c])
			t.sameBits(o.name+" beside others", got[c], want)
		}
	}
}

// allocations: after a first call, each operation allocates at most once, for a copy of an argument
// or a workspace for all points. Batches that are large enough to be divided among processors may
// allocate more and are not tried. Nothing is checked under the race detector, which allocates
// itself.
func allocations(t *trial) {
	if raceEnabled || t.shape.K*t.shape.N*t.shape.P > 4096 {
		return
	}
	few := func(name string, call func()) {
		if n := mallocs(call); n > 1 {
			t.fail("the allocations of a call of "+name, "at most 1", fmt.Sprint(n))
		}
	}
	x := t.point()
	for _, o := range t.ops() {
		dst := t.dst()
		few(o.name, func() { o.call(dst, o.args) })
	}
	for _, g := range t.measures() {
		out := make([]float64, t.shape.K)
		few(g.name, func() { g.call(out, g.args) })
	}
	few("Membership", func() { t.m.Membership(x) })
	if m, ok := t.m.(manifolds.Sampler); ok {
		rng := rand.New(rand.NewPCG(1, 1))
		few("Random", func() { m.Random(x, rng) })
	}
}

// mallocs returns the allocations of a call after warm-up. It takes the least of several tries,
// because other goroutines may allocate at the same time and the garbage collector may empty pools.
func mallocs(call func()) uint64 {
	const tries, calls = 16, 4
	call()
	least := uint64(math.MaxUint64)
	var before, after runtime.MemStats
	for range tries {
		runtime.ReadMemStats(&before)
		for range calls {
			call()
		}
		runtime.ReadMemStats(&after)
		if least = min(least, (after.Mallocs-before.Mallocs)/calls); least <= 1 {
			break
		}
	}
	return least
}
