// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// slot is a parameter as a solver knows it: its constraint, bound at the first
// step, and its state.
type slot struct {
	name   string
	shape  tensor.Shape
	kernel bool

	constraint manifolds.Constraint
	manifold   manifolds.Manifold // at its final scale
	layout     manifolds.Layout
	euclidean  bool
	curvature  float64

	weights dense.View // of this step
	grad    dense.View
	storage unsafe.Pointer

	x        manifolds.Points // the points before the step: the weights, or a copy
	own      manifolds.Points // the copy, where the weights will not do
	next     manifolds.Points // the points after the step
	kinds    []State
	old, new []manifolds.Points // state before and after the step; new only where steps do not happen in place
	from     []manifolds.Points // what the step under way takes for the state before it

	swift   bool           // the step under way happens in place
	shared  bool           // another parameter has the same gradient
	source  unsafe.Pointer // memory of the gradient
	longest float64        // bound of the gradients so far, as the rule sees them
	norm    float64        // of the weights when they were first seen
	size    float64        // bound of it since
	err     error          // of the step under way
	steps   int
	seen    int  // the admission that saw it last
	owner   int  // the process that moves it, or everyone
	theirs  bool // it is another than this

	seenByRule Parameter
	shadow     *shadow // what a wrapped solver sees

	projected bool
	dirty     bool // x is not what the weights hold: it was projected
	elsewhere bool // the weights are other memory than at the last step, or were projected
	stats     stats
}

// stats are the figures of the last step and the counts of all.
type stats struct {
	gradient, riemannian, length, geometric float64
	reprojections                           int
}

// book finds the slot of a parameter, by identity and never by position.
type book struct {
	slots     []*slot
	byKey     map[gorgonia.ValueGrad]*slot
	byStorage map[unsafe.Pointer]*slot
}

// find returns the slot of a parameter that is known: the same ValueGrad, or
// another one over the same memory.
func (b *book) find(v gorgonia.ValueGrad, w dense.View) *slot {
	if hashable(v) {
		if s := b.byKey[v]; s != nil {
			return s
		}
	}
	return b.byStorage[w.Storage()]
}

// hashable reports whether v can be a key.
func hashable(v gorgonia.ValueGrad) bool {
	return reflect.TypeOf(v).Kind() == reflect.Pointer || reflect.ValueOf(v).Comparable()
}

func (b *book) add(v gorgonia.ValueGrad, s *slot) {
	if b.byKey == nil {
		b.byKey, b.byStorage = map[gorgonia.ValueGrad]*slot{}, map[unsafe.Pointer]*slot{}
	}
	if hashable(v) {
		b.byKey[v] = s
	}
	b.byStorage[s.storage] = s
	b.slots = append(b.slots, s)
}

// moved notes that a parameter has other memory than at its last step, as after
// gorgonia.Let. Its former memory may be another parameter's by now.
func (b *book) moved(s *slot) {
	if b.byStorage[s.storage] == s {
		delete(b.byStorage, s.storage)
	}
	s.storage = s.weights.Storage()
	b.byStorage[s.storage] = s
}

func nameOf(v gorgonia.ValueGrad, position int) string {
	if n, ok := v.(gorgonia.Namer); ok && n.Name() != "" {
		return n.Name()
	}
	return fmt.Sprintf("number %d", position)
}

// bind makes the slot of a parameter seen for the first time.
func (c *config) bind(name string, w dense.View) (*slot, error) {
	flat, err := points(w, w.Len(), 1, 1)
	if err != nil {
		return nil, &ParameterError{Name: name, Shape: w.Shape, Kind: ErrParameter, Cause: "want at least one weight", Err: err}
	}
	return c.bindAt(name, w, flat.Norm())
}

// bindAt is bind for weights that had the given norm when they were first seen.
func (c *config) bindAt(name string, w dense.View, norm float64) (*slot, error) {
	s := &slot{name: name, shape: w.Shape.Clone(), kernel: IsKernel(w.Shape), weights: w, storage: w.Storage()}
	s.constraint = manifolds.On(manifolds.Euclidean{})
	for _, r := range c.rules {
		if r.matches(name, w.Shape) {
			s.constraint = r.constraint
		}
	}
	_, s.euclidean = s.constraint.Manifold.(manifolds.Euclidean)
	shape := []int(w.Shape)
	if s.euclidean && len(shape) == 0 {
		shape = []int{1} // a scalar
	}
	if !(norm <= math.MaxFloat64) {
		return nil, s.fail(ErrNotFinite, "want finite weights, got "+w.FirstBad(), nil)
	}
	s.norm, s.size = norm, norm
	piece, err := manifolds.Single(s.constraint.Bind(shape, norm))
	if err != nil {
		return nil, s.fail(ErrConstraint, err.Error(), err)
	}
	s.manifold, s.layout = piece.Manifold, piece.Layout
	if s.euclidean {
		return s, nil
	}
	known := manifolds.PropertiesOf(s.manifold, s.layout.N, s.layout.P)
	if known.Dim == 0 {
		return nil, s.fail(ErrConstraint, fmt.Sprintf("want a manifold to move on, got %s of dimension 0 for points of %dx%d (%v): choose another grouping, or free it by Param(%q, manifolds.Euclidean{})",
			manifolds.Name(s.manifold), s.layout.N, s.layout.P, s.constraint.Grouping, name), nil)
	}
	if c.decay > 0 && c.decayOf == decayEverything {
		return nil, s.fail(ErrConstraint, fmt.Sprintf("want no weight decay on %s, whose points have a fixed scale, got WeightDecay(%g): say EuclideanDecay for the other parameters, or AmbientDecay for the paper's",
			manifolds.Name(s.manifold), c.decay), nil)
	}
	s.curvature = known.Curvature
	return s, nil
}

func (s *slot) fail(kind error, cause string, err error) error {
	return &ParameterError{Name: s.name, Shape: s.shape, Kind: kind, Cause: cause, Err: err}
}

// points views a value as a batch.
func points(v dense.View, k, n, p int) (manifolds.Points, error) {
	if v.F64 != nil {
		return manifolds.Points64(v.F64, k, n, p)
	}
	return manifolds.Points32(v.F32, k, n, p)
}

// batch views or gathers a value as the slot's batch; where the layout needs a
// copy it is made in buf.
func (s *slot) batch(v dense.View, buf *manifolds.Points) (manifolds.Points, error) {
	l := s.layout
	if l.Contiguous() {
		return points(v, l.K, l.N, l.P)
	}
	flat, err := points(v, v.Len(), 1, 1)
	if err != nil {
		return flat, err
	}
	s.ensure(buf)
	return *buf, l.Gather(*buf, flat)
}

// ensure gives buf the slot's shape and precision.
func (s *slot) ensure(buf *manifolds.Points) {
	if buf.K == 0 {
		*buf = s.blank(s.layout.N, s.layout.P)
	}
}

func (s *slot) blank(n, p int) manifolds.Points {
	var v dense.View
	if size := s.layout.K * n * p; s.weights.F64 != nil {
		v.F64 = make([]float64, size)
	} else {
		v.F32 = make([]float32, size)
	}
	x, _ := points(v, s.layout.K, n, p)
	return x
}

// borrow lends a batch of the slot's shape and precision, arbitrary inside.
func (s *slot) borrow() manifolds.Points {
	l := s.layout
	var v dense.View
	if size := l.K * l.N * l.P; s.weights.F64 != nil {
		v.F64 = scratch.Get[float64](size)
	} else {
		v.F32 = scratch.Get[float32](size)
	}
	x, _ := points(v, l.K, l.N, l.P)
	return x
}

func giveBack(x manifolds.Points) {
	if d := x.Data64(); d != nil {
		scratch.Put(d)
	} else {
		scratch.Put(x.Data32())
	}
}

// toleranceOf is the membership error that is left alone. That of a frame of q
// vectors is the norm of a q x q matrix, whose rounding grows like sqrt(q).
func (c *config) toleranceOf(s *slot) float64 {
	if c.tolerance > 0 {
		return c.tolerance
	}
	t := 1e-5
	if s.weights.F64 != nil {
		t = 1e-11
	}
	return t * math.Sqrt(max(1, float64(min(s.layout.N, s.layout.P))/64))
}

// load makes s.x the points of the weights, on the manifold: the weights
// themselves where they serve, a copy where the layout or a projection asks for
// one. The weights are left as they are.
func (s *slot) load(tolerance float64, check, first bool) error {
	s.dirty = false
	x, err := s.batch(s.weights, &s.own)
	if err != nil {
		return s.fail(ErrParameter, err.Error(), err)
	}
	s.x = x
	if s.euclidean || !check {
		return nil
	}
	e := s.manifold.Membership(x)
	if e <= tolerance {
		return nil
	}
	if e != e {
		return s.fail(ErrNotFinite, "want finite weights, got "+s.weights.FirstBad(), nil)
	}
	s.ensure(&s.own)
	if err := s.manifold.Project(s.own, x); err != nil {
		return s.fail(ErrConstraint, err.Error(), err)
	}
	s.x, s.dirty = s.own, true
	if first {
		s.projected = true
	}
	return nil
}

// store writes x to the weights.
func (s *slot) store(x manifolds.Points) error { return s.put(s.weights, x) }

// put writes the batch x to a value of the parameter's shape.
func (s *slot) put(v dense.View, x manifolds.Points) error {
	l := s.layout
	if l.Contiguous() {
		w, err := points(v, l.K, l.N, l.P)
		if err != nil {
			return err
		}
		return w.CopyFrom(x)
	}
	w, err := points(v, v.Len(), 1, 1)
	if err != nil {
		return err
	}
	return l.Scatter(w, x)
}

// membership measures the weights as they are now.
func (s *slot) membership() float64 {
	if s.euclidean {
		return 0
	}
	buf := s.borrow()
	defer giveBack(buf)
	x, err := s.batch(s.weights, &buf)
	if err != nil {
		return math.NaN()
	}
	return s.manifold.Membership(x)
}

// unmatched returns an error for the rules that apply to none of the slots.
func (c *config) unmatched(slots []*slot) error {
	var idle []string
	for _, r := range c.rules {
		if !slices.ContainsFunc(slots, func(s *slot) bool { return r.matches(s.name, s.shape) }) {
			idle = append(idle, r.name)
		}
	}
	if idle == nil {
		return nil
	}
	list := ""
	for i, s := range slots {
		if i == 8 {
			list += fmt.Sprintf(" and %d more", len(slots)-i)
			break
		}
		list += fmt.Sprintf(" %s%v", s.name, s.shape)
	}
	return fmt.Errorf("solvers: %s applies to no parameter: got%s (%w)", strings.Join(idle, ", "), list, ErrConstraint)
}
