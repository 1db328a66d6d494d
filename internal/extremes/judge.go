// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

// values are numbers of one precision in a tensor.
type values struct {
	tensor *tensor.Dense
	f32    []float32
	f64    []float64
}

func newValues(p precision, shape ...int) values {
	if p.name == "float32" {
		t := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		return values{t, t.Float32s(), nil}
	}
	t := tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(shape...))
	return values{t, nil, t.Float64s()}
}

func (v values) put(x []float64) {
	copy(v.f64, x)
	for i := range v.f32 {
		v.f32[i] = float32(x[i])
	}
}

func (v values) get() []float64 { return widen(v.f32, v.f64) }

func widen(f32 []float32, f64 []float64) []float64 {
	if f64 != nil {
		return slices.Clone(f64)
	}
	x := make([]float64, len(f32))
	for i, w := range f32 {
		x[i] = float64(w)
	}
	return x
}

// identical reports whether all bits are equal, where NaN equals NaN.
func identical(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool {
		return math.Float64bits(x) == math.Float64bits(y) || (x != x && y != y)
	})
}

// Fault is a way in which a step can be wrong.
type Fault string

// The faults.
const (
	Panic        Fault = "panic"
	NaN          Fault = "not finite, and nil"
	WrongWeights Fault = "weights off the oracle"
	OffManifold  Fault = "off the manifold"
	LeftBehind   Fault = "point left behind"
	GradientKept Fault = "gradient not zeroed"
	WrongState   Fault = "state off the oracle"
	WrongBlocks  Fault = "state has other blocks"
	Unjustified  Fault = "error without a reason"
	NoError      Fault = "nil where an error is due"
	Untyped      Fault = "error without type or name"
	WrongKind    Fault = "error of another kind"
	NotAtomic    Fault = "error, but values changed"
)

// Failure is one fault of a step.
type Failure struct {
	Fault  Fault
	Step   int
	Detail string
}

func (f Failure) String() string { return fmt.Sprintf("step %d: %s: %s", f.Step, f.Fault, f.Detail) }

// Verdict is the result of judging a case.
type Verdict struct {
	Case     Case
	Failures []Failure
	Errors   []string // the justified errors, by reason and kind
	Steps    int      // steps that returned nil and are correct
	Weights  float64  // largest error of the weights, in eps r times the conditioning; at most rounding()
	Member   float64  // largest membership error, in eps
	Kappa    float64  // the conditioning of the step with the largest error

	Determined, Undetermined int // parts compared with the oracle, and parts checked only for membership and movement
}

func (v *Verdict) add(f Fault, step int, format string, args ...any) {
	v.Failures = append(v.Failures, Failure{f, step, fmt.Sprintf(format, args...)})
}

// subject is a parameter of the model and the oracle for it.
type subject struct {
	*parameter
	oracle *problem
	before []float64
	grad   []float64
}

// judge makes three steps of the case with the solver and returns the verdict. The first two steps
// have the gradient of the case. The third has a gradient of size 1, so that the state of the first
// two, and its transport, have an effect.
func judge(c Case, s stepper) *Verdict {
	v := &Verdict{Case: c}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(1 + c.procs)

	rng := rand.New(rand.NewPCG(c.seed, 0x6578))
	p := precisions[c.precision]
	shape := shapes[c.shape].value
	per := shape[1] * shape[2] * shape[3]
	kernel := &subject{parameter: &parameter{"kernel", newValues(p, shape...), newValues(p, shape...)}}
	kernel.w.put(c.weights(rng))
	kernel.oracle = c.problem(norm(kernel.w.get()))
	bias := &subject{parameter: &parameter{"bias", newValues(p, shape[0]), newValues(p, shape[0])}, oracle: c.bias(shape[0])}
	b := make([]float64, shape[0])
	random(1).fill(rng, nil, 0, b)
	bias.w.put(b)
	model := []*subject{kernel, bias}
	order := []gorgonia.ValueGrad{kernel.parameter, bias.parameter}

	for step := 1; step <= 3; step++ {
		kind := gradientKinds[c.gradient]
		if step == 3 {
			kind = random(1)
		}
		g := make([]float64, len(kernel.w.get()))
		kind.fill(rng, kernel.w.get(), per, g)
		kernel.g.put(g)
		random(1).fill(rng, nil, 0, b)
		bias.g.put(b)
		for _, q := range model {
			q.before, q.grad = q.w.get(), q.g.get()
		}
		before := snapshot(s)
		predicted, steps, err := v.step(s, step, order, model, before)
		if predicted == nil {
			return v
		}
		after := snapshot(s)
		if err != nil {
			v.error(step, err, model, predicted, before, after)
			for i, q := range model {
				q.oracle.steps = steps[i]
			}
			if rl := solverKinds[c.solver].rule; rl.kind == wrapped {
				return v // the wrapped solver has changed its own state
			}
			if predicted[0].reasons&(Degenerate|Ill) != 0 {
				return v
			}
		} else {
			right := true
			for i, q := range model {
				right = v.compare(step, q, predicted[i], after) && right
				q.oracle.sizes, q.oracle.memory = predicted[i].sizes, predicted[i].memory
			}
			if !right {
				return v // further failures would only be consequences
			}
			v.Steps++
		}
		if len(v.Failures) > 0 {
			return v
		}
	}
	return v
}

// step predicts a step of all parameters and makes it.
func (v *Verdict) step(s stepper, step int, order []gorgonia.ValueGrad, model []*subject, before map[string]blocks) (predicted []*prediction, steps []int, err error) {
	rl := solverKinds[v.Case.solver].rule
	for _, q := range model {
		state := before[q.name].data
		if state == nil {
			state = q.oracle.blank(rl)
		}
		if rl.kind != wrapped && !q.oracle.fits(rl, state) {
			v.add(WrongBlocks, step, "%s: got blocks of sizes %v", q.name, sizes(state))
			return nil, nil, nil
		}
		steps = append(steps, q.oracle.steps)
		predicted = append(predicted, q.oracle.step(rl, q.oracle.gather(q.before), q.oracle.gatherGradient(q.grad), q.oracle.read(rl, state), rates[v.Case.rate]))
	}
	defer func() {
		if r := recover(); r != nil {
			v.add(Panic, step, "%v", r)
			predicted = nil
		}
	}()
	return predicted, steps, s.Step(order)
}

// blank is the state before the first step.
func (o *problem) blank(rl rule) [][]float64 {
	whole := o.k * o.n * o.p
	switch {
	case rl.kind == adaptive && rl.largest:
		return [][]float64{make([]float64, whole), make([]float64, o.k), make([]float64, o.k)}
	case rl.kind == adaptive || rl.kind == summing && rl.momentum > 0:
		return [][]float64{make([]float64, whole), make([]float64, o.k)}
	case rl.kind == summing:
		return [][]float64{make([]float64, o.k)}
	case rl.kind == descent && rl.momentum > 0:
		return [][]float64{make([]float64, whole)}
	}
	return nil
}

func sizes(state [][]float64) (n []int) {
	for _, b := range state {
		n = append(n, len(b))
	}
	return n
}

func (o *problem) fits(rl rule, state [][]float64) bool {
	return slices.Equal(sizes(state), sizes(o.blank(rl)))
}

// blocks holds the state of a parameter in a snapshot.
type blocks struct {
	steps int
	data  [][]float64
}

// equal reports whether all bits are equal. A parameter that is not in a snapshot has made no step,
// and its state is zero.
func (b blocks) equal(c blocks) bool {
	if len(b.data) != len(c.data) {
		return b.steps == 0 && c.steps == 0 && b.zero() && c.zero()
	}
	return b.steps == c.steps && slices.EqualFunc(b.data, c.data, identical)
}

func (b blocks) zero() bool {
	for _, x := range b.data {
		if slices.ContainsFunc(x, func(v float64) bool { return v != 0 }) {
			return false
		}
	}
	return true
}

// snapshot returns the state of all parameters, if the solver has the method Snapshot.
func snapshot(s stepper) map[string]blocks {
	out := map[string]blocks{}
	t, ok := s.(interface {
		Snapshot() (*solvers.Snapshot, error)
	})
	if !ok {
		return out
	}
	snap, err := t.Snapshot()
	if err != nil {
		return out
	}
	for _, p := range snap.Parameters {
		b := blocks{steps: p.Steps}
		for _, q := range p.State {
			b.data = append(b.data, widen(q.F32, q.F64))
		}
		out[p.Name] = b
	}
	return out
}

// kinds are the typed errors.
var kinds = []error{solvers.ErrNoGradient, solvers.ErrNotFinite, solvers.ErrDiverged, solvers.ErrParameter,
	solvers.ErrConstraint, solvers.ErrOption, solvers.ErrStock, solvers.ErrAscent, solvers.ErrAverage}

// allowed lists the kinds of errors for each reason.
var allowed = []struct {
	reason Reason
	name   string
	kinds  []error
}{
	{NotFinite, "gradient not finite", []error{solvers.ErrNotFinite}},
	{Degenerate, "degenerate weights", []error{solvers.ErrConstraint}},
	{Ill, "ill-conditioned weights", []error{solvers.ErrConstraint}},
	{Overflow, "overflow", []error{solvers.ErrDiverged, solvers.ErrNotFinite}},
	{Winding, "step beyond 128 |x|", []error{solvers.ErrDiverged}},
	{TooLong, "step too long", []error{solvers.ErrDiverged}},
}

// error judges a step that ended in an error.
func (v *Verdict) error(step int, err error, model []*subject, predicted []*prediction, before, after map[string]blocks) {
	for _, q := range model {
		if !identical(q.before, q.w.get()) || !identical(q.grad, q.g.get()) {
			v.add(NotAtomic, step, "%s: weights or gradients are not as before %q", q.name, err)
			return
		}
		if !before[q.name].equal(after[q.name]) {
			v.add(NotAtomic, step, "%s: the state is not as before %q", q.name, err)
			return
		}
	}
	var at *solvers.ParameterError
	typed := slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) })
	if !errors.As(err, &at) || !typed {
		v.add(Untyped, step, "want a *solvers.ParameterError of one of the kinds, got %T: %v", err, err)
		return
	}
	for i, q := range model {
		if q.name != at.Name {
			continue
		}
		reasons := predicted[i].reasons
		if reasons == 0 {
			v.add(Unjustified, step, "%v", err)
			return
		}
		for _, a := range allowed {
			for _, k := range a.kinds {
				if reasons&a.reason != 0 && errors.Is(err, k) {
					v.Errors = append(v.Errors, fmt.Sprintf("%s: %v", a.name, k))
					return
				}
			}
		}
		v.add(WrongKind, step, "want an error for reasons %06b, got %v", reasons, err)
		return
	}
	v.add(Untyped, step, "names the parameter %q: %v", at.Name, err)
}

// compare judges the parameter after a step that returned nil.
func (v *Verdict) compare(step int, q *subject, want *prediction, after map[string]blocks) bool {
	faults := len(v.Failures)
	o := q.oracle
	got := o.gather(q.w.get())
	if want.reasons&(NotFinite|Degenerate) != 0 {
		v.add(NoError, step, "%s: reasons %06b", q.name, want.reasons)
		return false
	}
	state := after[q.name].data
	for _, x := range append([][]float64{got}, state...) {
		for e, w := range x {
			if math.IsNaN(w) || math.IsInf(w, 0) {
				v.add(NaN, step, "%s: number %d of weights or state is %v", q.name, e, w)
				return false
			}
		}
	}
	for _, g := range q.g.get() {
		if g != 0 {
			v.add(GradientKept, step, "%s: got %v", q.name, g)
			break
		}
	}
	rl := solverKinds[v.Case.solver].rule
	if rl.kind != wrapped && !o.fits(rl, state) {
		v.add(WrongBlocks, step, "%s: got blocks of sizes %v", q.name, sizes(state))
		return false
	}
	eps := o.precise.eps
	for i := range o.k {
		for j := range o.parts {
			at := i*len(o.parts) + j
			y, x := o.pick(got, i, j, 1), o.pick(want.start, i, j, 1)
			target := o.pick(want.weights, i, j, 1)
			distance := norm(combine(1, y, -1, target))
			moved := norm(combine(1, y, -1, x))
			still := moved <= 4*eps*norm(x)
			member := 0.0
			if o.m.family != flat {
				member = o.m.membership(combine(1/o.r, y, 0, y), o.pn, o.pp)
				v.Member = max(v.Member, member/eps)
			}
			should := norm(combine(1, target, -1, x)) > 2*want.tol[at]
			if !want.known[at] && o.m.family == ball {
				should = false // a step across the ball may end where it began
			} else if !want.known[at] { // must move if the direction is more than rounding
				t := want.length[at]
				should = t > 1e-3 && t > 4*want.noise[at]
			}
			switch {
			case should && still:
				v.add(LeftBehind, step, "%s: point %d part %d: want a step of %.3g radii, got %.3g", q.name, i, j, want.length[at], moved/o.r)
			case !(member <= o.member()):
				v.add(OffManifold, step, "%s: point %d part %d: want a membership error up to %.3g, got %.3g = %.3g eps (conditioning %.3g)",
					q.name, i, j, o.member(), member, member/eps, want.kappa[at])
			case want.known[at] && !(distance <= want.tol[at]):
				v.add(WrongWeights, step, "%s: point %d part %d: want an error up to %.3g, got %.3g = %.3g eps r times the conditioning %.3g (step of %.3g radii)",
					q.name, i, j, want.tol[at], distance, distance/eps/o.r/want.kappa[at], want.kappa[at], want.length[at])
			}
			if want.known[at] {
				v.Determined++
			} else {
				v.Undetermined++
			}
			if want.known[at] && want.kappa[at] > 0 {
				if e := o.rounding() * distance / want.tol[at]; e > v.Weights && distance > 8*o.precise.least*math.Sqrt(float64(len(y))) {
					v.Weights, v.Kappa = e, want.kappa[at]
				}
			}
			if rl.kind != wrapped && len(v.Failures) == faults {
				v.compareState(step, q, want, o.read(rl, state), i, j, y)
			}
			if len(v.Failures) > faults {
				return false
			}
		}
	}
	return true
}

// compareState judges the state of a part. A tangent vector is first projected onto the tangent
// space at the current point, because a solver may transport it at the end of a step or at the
// start of the next.
func (v *Verdict) compareState(step int, q *subject, want *prediction, state [][]float64, i, j int, y []float64) {
	o, rl, at := q.oracle, solverKinds[v.Case.solver].rule, i*len(q.oracle.parts)+j
	for b := range state {
		var distance float64
		if squares, ok := rl.squares(); ok && b >= squares {
			distance = math.Abs(state[b][i] - want.state[b][i])
		} else {
			s := o.pick(state[b], i, j, 1)
			if rl.kind == adaptive || rl.tangent {
				s = o.m.tangent(combine(1/o.r, y, 0, y), s, o.pn, o.pp)
			}
			distance = norm(combine(1, s, -1, o.pick(want.state[b], i, j, 1)))
		}
		if !(distance <= want.stateTol[b][at]) {
			v.add(WrongState, step, "%s: block %d, point %d part %d: want an error up to %.3g, got %.3g (step of %.4g radii)",
				q.name, b, i, j, want.stateTol[b][at], distance, want.length[at])
			return
		}
	}
}
