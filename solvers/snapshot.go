// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"encoding"
	"fmt"
	"hash/fnv"
	"math"
	"reflect"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Snapshot is the complete state of a solver between two steps, without its options. With the weights of the
// same time, a solver made with the same options continues from it bit for bit. Its fields can be written to
// disk as they are, which models/checkpoint does.
type Snapshot struct {
	Solver     string // the name of its rule
	Rule       []byte // the rule's own state, if it is an encoding.BinaryMarshaler
	Steps      int    // made so far: the place in the schedule
	Turn       int    // the parameter whose membership is measured next
	LearnRate  float64
	Parameters []ParameterSnapshot // in the order in which the solver saw them
	Averages   []AverageSnapshot   `json:",omitempty"` // of an Average and of those that it wraps, innermost first
}

// ParameterSnapshot is the state of a parameter.
type ParameterSnapshot struct {
	Name      string
	Shape     []int
	Precision string   // float32 or float64
	Manifold  string   // with its final scale, as reports print it
	Identity  []string // the whole value of the manifold of each part; older snapshots have none
	Grouping  string
	Norm      float64 // of the weights when they were first seen
	// Ensemble is the whole value of a manifold that deals the points of a layer to several parts, and Deal a
	// hash of how they were dealt. Both are empty for other manifolds.
	Ensemble, Deal string

	Steps         int
	Reprojections int
	Projected     bool
	Scales        []float64 `json:",omitempty"` // of the manifold of each part, set by Rescale; none if all are 1
	// Bounds holds four numbers for each part: the bounds of its gradients, points and momentum, and how often it was
	// re-projected.
	Bounds []float64
	State  []Block // the blocks of each part, one part after the other
}

// Block is a block of state, in the order of the rule, of shape (points, n, p). Either F32 or F64 is set.
type Block struct {
	Name  string
	Shape []int
	F32   []float32
	F64   []float64
}

// Snapshot copies the state of the solver. With StepShare only the parameters of this process have blocks of
// state. It fails if the options of the solver are invalid, if two parameters have the same name, and if the
// rule has state that cannot be saved.
func (s *Solver) Snapshot() (*Snapshot, error) {
	e := s.made()
	if e.err != nil {
		return nil, e.err
	}
	snap := &Snapshot{Solver: s.String(), Steps: e.steps, Turn: e.turn, LearnRate: e.learnRate}
	if m, ok := e.rule.(encoding.BinaryMarshaler); ok {
		var err error
		if snap.Rule, err = m.MarshalBinary(); err != nil {
			return nil, fmt.Errorf("solvers: snapshot: %w", err)
		}
	}
	names := map[string]bool{}
	for _, p := range e.list {
		if names[p.name] {
			return nil, p.fail(ErrParameter, "want parameters of unique names, to find them again, got two of this name: give them other names, or call Forget if one of them is no longer stepped", nil)
		}
		names[p.name] = true
		ps := p.snapshot()
		if !p.theirs {
			for _, q := range p.parts {
				q.allocate() // if Init has seen the parameter, but no step has been made
				for i, k := range q.bound.kinds {
					name := q.blockName(k.Name)
					if q.memory.late && i == 0 {
						name += beforeTransport
					}
					ps.State = append(ps.State, blockOf(name, q.memory.state[i]).clone())
				}
				if q.memory.square != nil {
					ps.State = append(ps.State, Block{Name: q.blockName(squares), Shape: []int{len(q.memory.square), 1, 1}, F64: slices.Clone(q.memory.square)})
				}
			}
		}
		snap.Parameters = append(snap.Parameters, ps)
	}
	return snap, nil
}

// squares is the name of the block with the means of squared norms for the geometric factor.
const squares = "mean square of the direction"

// beforeTransport ends the name of a block of tangent vectors that are still at the point before
// the last step.
const beforeTransport = ", before its transport"

// blockName distinguishes the blocks of several parts.
func (p *Part) blockName(name string) string {
	if p.bound.name == "" {
		return name
	}
	return p.bound.name + ": " + name
}

// snapshot returns the snapshot of the parameter without its state.
func (p *parameter) snapshot() ParameterSnapshot {
	s := ParameterSnapshot{
		Name: p.name, Shape: slices.Clone([]int(p.shape)), Precision: p.precision,
		Grouping: p.constraint.Grouping.String(), Norm: p.norm, Steps: p.steps, Projected: p.projected,
	}
	var scales []float64
	other := false
	for i, q := range p.parts {
		if i > 0 {
			s.Manifold += " + "
		}
		s.Manifold += manifolds.Name(q.Manifold)
		s.Identity = append(s.Identity, identityOf(q.Manifold))
		scales, other = append(scales, q.memory.scale), other || q.memory.scale != 1
		m := &q.memory
		s.Reprojections += m.reprojections
		s.Bounds = append(s.Bounds, m.longest, m.size, m.momentum, float64(m.reprojections))
	}
	if other {
		s.Scales = scales
	}
	if m, ok := p.constraint.Manifold.(manifolds.Composite); ok {
		s.Ensemble, s.Deal = describe(reflect.ValueOf(m)), p.deal()
	}
	return s
}

// deal returns a hash of the points of all parts.
func (p *parameter) deal() string {
	h := fnv.New64a()
	for _, q := range p.parts {
		l := q.bound.layout
		fmt.Fprintln(h, q.bound.name, l.K, l.Order, q.bound.groups)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// identityOf returns the exact value of a manifold; numbers in its name are rounded.
func identityOf(m manifolds.Manifold) string { return describe(reflect.ValueOf(m)) }

// describe writes a value with its types, and pointers as what they point to.
func describe(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "nil"
		}
		return describe(v.Elem())
	case reflect.Struct:
		s := v.Type().String() + "{"
		for i := range v.NumField() {
			if i > 0 {
				s += ", "
			}
			s += v.Type().Field(i).Name + ": " + describe(v.Field(i))
		}
		return s + "}"
	case reflect.Slice, reflect.Array:
		s := v.Type().String() + "{"
		for i := range v.Len() {
			if i > 0 {
				s += ", "
			}
			s += describe(v.Index(i))
		}
		return s + "}"
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return v.Type().String() // a value that another program cannot have
	}
	return fmt.Sprint(v) // numbers in the fewest digits that tell them apart
}

// blockOf returns the block with the numbers of x, not copied.
func blockOf(name string, x manifolds.Points) Block {
	return Block{name, []int{x.K, x.N, x.P}, x.Data32(), x.Data64()}
}

func (b Block) clone() Block {
	b.F32, b.F64 = slices.Clone(b.F32), slices.Clone(b.F64)
	return b
}

// Restore restores the state of a solver that has made no step from a snapshot. The snapshot must come from a
// solver of the same rule, for parameters of the same names, shapes, precision, manifolds and groupings. The
// model is given as for Step, with the weights of the time of the snapshot. The learning rate becomes that of
// the snapshot; all other options stay those of the solver. If anything does not match, Restore returns an
// error that says what, and the solver is as before.
//
// Snapshots from before tangent momentum became the default do not say which kind of momentum they hold. They
// are restored if it is tangent, or if AmbientMomentum is set.
func (s *Solver) Restore(model []gorgonia.ValueGrad, snap *Snapshot) error {
	e := s.made()
	switch {
	case e.err != nil:
		return e.err
	case snap == nil:
		return fmt.Errorf("solvers: restore: want a snapshot, got nil (%w)", ErrParameter)
	case len(e.list) > 0:
		return fmt.Errorf("solvers: restore: want a solver that has seen no parameters, got one that knows %d (%w)", len(e.list), ErrParameter)
	case snap.Solver != s.String():
		return fmt.Errorf("solvers: restore: want the snapshot of %s, got that of %s (%w)", s, snap.Solver, ErrParameter)
	case len(model) != len(snap.Parameters):
		return fmt.Errorf("solvers: restore: want the %d parameters of the snapshot, got %d (%w)", len(snap.Parameters), len(model), ErrParameter)
	case !isCount(snap.Steps) || !isCount(snap.Turn):
		return fmt.Errorf("solvers: restore: want counts from 0 to %d, got %d steps and turn %d (%w)", maxCount, snap.Steps, snap.Turn, ErrParameter)
	}
	for i := range snap.Parameters {
		if err := snap.Parameters[i].check(); err != nil {
			return err
		}
	}
	lr := settings{}
	if err := LearnRate(snap.LearnRate).part(&lr); err != nil {
		return err
	}
	byName := map[string]gorgonia.ValueGrad{}
	for i, v := range model {
		if !isnil.Of(v) {
			byName[nameOf(v, i)] = v
		}
	}
	restored, graphs := book{}, &roles.Reader{}
	for _, ps := range snap.Parameters {
		v := byName[ps.Name]
		if v == nil {
			return &ParameterError{Name: ps.Name, Shape: ps.Shape, Kind: ErrParameter, Cause: "want this parameter of the snapshot among those given, got none of its name"}
		}
		w, err := dense.Of(v.Value())
		if err != nil {
			return &ParameterError{Name: ps.Name, Shape: ps.Shape, Kind: ErrParameter, Cause: "weights: " + err.Error(), Err: err}
		}
		if known := restored.find(v, w); known != nil {
			return known.twice(ps.Name)
		}
		p, err := e.bindTo(v, ps, w, graphs)
		if err != nil {
			return err
		}
		if err := p.restore(ps, w); err != nil {
			return err
		}
		p.seen = e.calls
		restored.add(p)
	}
	if len(restored.list) > 0 {
		if err := e.unmatched(restored.list); err != nil {
			return err
		}
	}
	if u, ok := e.rule.(encoding.BinaryUnmarshaler); ok && snap.Rule != nil {
		if err := u.UnmarshalBinary(snap.Rule); err != nil {
			return fmt.Errorf("solvers: restore: %s: %w (%w)", s, err, ErrParameter)
		}
	}
	e.book, e.replaced, e.steps, e.turn, e.learnRate = restored, book{}, snap.Steps, snap.Turn, snap.LearnRate
	e.lookUp(model)
	return nil
}

// maxCount is the largest count that a snapshot may have: it leaves room for further steps.
const maxCount = math.MaxInt / 2

func isCount(n int) bool { return 0 <= n && n <= maxCount }

// check rejects invalid numbers, because a snapshot may come from a file. Shapes and names are compared when the parameter is bound.
func (ps *ParameterSnapshot) check() error {
	fail := func(cause string, args ...any) error {
		return &ParameterError{Name: ps.Name, Shape: ps.Shape, Kind: ErrParameter, Cause: fmt.Sprintf(cause, args...)}
	}
	if !isCount(ps.Steps) || !isCount(ps.Reprojections) {
		return fail("want counts from 0 to %d, got %d steps and %d re-projections", maxCount, ps.Steps, ps.Reprojections)
	}
	if !(ps.Norm >= 0 && ps.Norm <= math.MaxFloat64) {
		return fail("want the norm of finite weights, got %g", ps.Norm)
	}
	for i, b := range ps.Bounds {
		if !(b >= 0) || i%4 == 3 && !(b <= maxCount/2) { // a count, see Bounds
			return fail("want bounds that are not negative, got %v", ps.Bounds)
		}
	}
	return nil
}

// checkState rejects invalid numbers in a block of state.
func checkState(k StateKind, x manifolds.Points) error {
	for i := range x.K {
		for j := range x.N {
			for l := range x.P {
				v := x.At(i, j, l)
				switch {
				case (k == PerPoint || k == PerPart) && !(v >= 0):
					return fmt.Errorf("want numbers that are not negative, got %g at %d", v, i)
				case v-v != 0 && k != PerPoint && k != PerPart:
					return fmt.Errorf("want finite numbers, got %g at (%d, %d, %d)", v, i, j, l)
				}
			}
		}
	}
	return nil
}

// bindTo binds a parameter as the snapshot describes it.
func (e *engine) bindTo(v gorgonia.ValueGrad, ps ParameterSnapshot, w dense.View, graphs *roles.Reader) (*parameter, error) {
	p, err := e.bindAt(v, ps.Name, w, ps.Norm, graphs)
	if err != nil {
		return nil, err
	}
	if ps.Scales != nil && len(ps.Scales) != len(p.parts) {
		return nil, p.fail(ErrParameter, fmt.Sprintf("want a scale for each of %d parts, got %d", len(p.parts), len(ps.Scales)), nil)
	}
	for i, s := range ps.Scales {
		q := p.parts[i]
		m, err := q.scaled(s)
		if err != nil {
			return nil, err
		}
		q.on(m, s)
	}
	is := p.snapshot()
	type pair struct{ what, want, got string }
	pairs := []pair{
		{"a parameter of shape", fmt.Sprint(tensor.Shape(ps.Shape)), fmt.Sprint(tensor.Shape(is.Shape))},
		{"precision", ps.Precision, is.Precision},
		{"the manifold", ps.Manifold, is.Manifold},
		{"the grouping", strings.Replace(ps.Grouping, "per kernel", "per slice", 1), is.Grouping}, // its former name
	}
	if ps.Identity != nil {
		pairs = append(pairs, pair{"the manifold", fmt.Sprint(ps.Identity), fmt.Sprint(is.Identity)})
	}
	if ps.Ensemble != "" || is.Ensemble != "" && ps.Identity != nil {
		pairs = append(pairs, pair{"the ensemble", ps.Ensemble, is.Ensemble}, pair{"the deal", ps.Deal, is.Deal})
	}
	for _, c := range pairs {
		if c.want != c.got {
			return nil, p.fail(ErrConstraint, fmt.Sprintf("want %s %s of the snapshot, got %s", c.what, c.want, c.got), nil)
		}
	}
	return p, nil
}

// restore copies the state of the parameter, whose weights are w, from a snapshot.
func (p *parameter) restore(ps ParameterSnapshot, w dense.View) error {
	want := 0
	for _, q := range p.parts {
		q.allocate()
		want += len(q.bound.kinds)
	}
	blocks := ps.State
	next := func(name string) (Block, bool) {
		if len(blocks) == 0 || blocks[0].Name != name {
			return Block{}, false
		}
		b := blocks[0]
		blocks = blocks[1:]
		return b, true
	}
	for _, q := range p.parts {
		for i, k := range q.bound.kinds {
			got, ok := next(q.blockName(k.Name))
			if !ok && i == 0 && k.Kind == Tangent {
				got, ok = next(q.blockName(k.Name) + beforeTransport)
				q.memory.late = ok
			}
			if !ok && ps.Identity == nil && k.Name == ambientMomentum {
				got, ok = next(tangentMomentum) // one name for both, before
			}
			if !ok {
				return p.fail(ErrParameter, fmt.Sprintf("want %d blocks of state with %q among them, got %s", want, q.blockName(k.Name), names(ps.State)), nil)
			}
			wanted := blockOf(q.blockName(k.Name), q.memory.state[i])
			if !slices.Equal(got.Shape, wanted.Shape) || len(got.F32) != len(wanted.F32) || len(got.F64) != len(wanted.F64) {
				return p.fail(ErrParameter, fmt.Sprintf("want the state %q of shape %v, %d float32 and %d float64 numbers, got shape %v, %d and %d",
					wanted.Name, wanted.Shape, len(wanted.F32), len(wanted.F64), got.Shape, len(got.F32), len(got.F64)), nil)
			}
			copy(wanted.F32, got.F32)
			copy(wanted.F64, got.F64)
			if err := checkState(k.Kind, q.memory.state[i]); err != nil {
				return p.fail(ErrParameter, fmt.Sprintf("state %q: %v", wanted.Name, err), nil)
			}
			if ps.Identity == nil && k.Kind == Tangent && k.Name == tangentMomentum {
				if err := q.tangent(q.memory.state[i], w); err != nil {
					return err
				}
			}
			if i == 0 {
				q.memory.momentum = q.memory.state[i].Norm()
			}
		}
		if got, ok := next(q.blockName(squares)); ok {
			if len(got.F64) != q.bound.layout.K {
				return p.fail(ErrParameter, fmt.Sprintf("want the state %q of %d numbers, got %d", squares, q.bound.layout.K, len(got.F64)), nil)
			}
			for i, v := range got.F64 {
				if !(v >= 0) {
					return p.fail(ErrParameter, fmt.Sprintf("state %q: want numbers that are not negative, got %g at %d", squares, v, i), nil)
				}
			}
			if p.settings.factor == ofPast {
				q.memory.square = slices.Clone(got.F64)
			}
		}
	}
	if len(blocks) > 0 {
		return p.fail(ErrParameter, fmt.Sprintf("want %d blocks of state, got %s", want, names(ps.State)), nil)
	}
	p.steps, p.projected = ps.Steps, ps.Projected
	switch {
	case len(ps.Bounds) == 4*len(p.parts):
		for i, q := range p.parts {
			b := ps.Bounds[4*i:]
			q.memory.longest, q.memory.size, q.memory.momentum, q.memory.reprojections = b[0], b[1], b[2], int(b[3])
		}
	case len(ps.Bounds) == 2 && len(p.parts) == 1:
		m := &p.parts[0].memory
		m.longest, m.size, m.reprojections = ps.Bounds[0], ps.Bounds[1], ps.Reprojections
	default:
		return p.fail(ErrParameter, fmt.Sprintf("want 4 bounds for each of %d parts, got %d", len(p.parts), len(ps.Bounds)), nil)
	}
	return nil
}

// tangent rejects momentum that is not tangent at the weights: it comes from a snapshot made when ambient momentum was the default.
func (p *Part) tangent(mu manifolds.Points, w dense.View) error {
	if p.bound.euclidean {
		return nil
	}
	var buf manifolds.Points
	x, err := p.batch(w, &buf)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	u := mu.Like()
	if err := p.Manifold.Tangent(u, x, mu); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	if err := u.Combine(1, mu, -1, u); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	if u.Norm() > 1e-3*mu.Norm() {
		return p.fail(ErrParameter, "want tangent momentum, got a snapshot with ambient momentum, the default of that time: restore it into a solver with AmbientMomentum()", nil)
	}
	return nil
}

func names(blocks []Block) string {
	if len(blocks) == 0 {
		return "none"
	}
	s := ""
	for i, b := range blocks {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%q", b.Name)
	}
	return s
}
