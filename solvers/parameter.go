// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"
	"slices"
	"unsafe"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// parameter is a parameter as a solver knows it.
type parameter struct {
	// Set at the first step and then constant, except who.
	who        identity
	name       string
	shape      tensor.Shape
	precision  string
	role       roles.Answer
	claimed    bool // an operation of its graph determines its manifold
	constraint manifolds.Constraint
	settings   settings
	filters    manifolds.Layout // of a kernel
	norm       float64          // of the weights when they were first seen
	parts      []*Part

	// Kept from step to step.
	storage     uintptr // of the weights
	source      uintptr // of the gradient
	shared      bool    // another parameter has the same gradient
	witness     uint64  // of the values that the last step left
	overwritten bool    // something else has written weights since the last step
	unsettled   bool    // weights that the last step did not leave were found without a step: the next one inspects all parts and carries their state
	steps       int
	gradient    float64 // norm of the last Euclidean gradient, as it came
	still       int     // steps in a row whose gradient was 0
	asleep      []int   // filters of a kernel whose gradient was 0 in every step so far
	projected   bool    // the weights were not on the manifold at first
	adopted     int     // how often it was rebuilt under its name
	seen        int     // the admission that saw it last
	before      int     // the one that saw it before that
	owner       int     // the process that moves it, or everyone
	assigned    bool    // to its owner
	ascent      ascent  // of SAM
	means       map[*Average]*mean

	// Of the step under way.
	weights   dense.View
	grad      dense.View
	elsewhere bool    // the weights are not those that the last step left
	theirs    bool    // another process moves it
	together  float64 // sum of |v|^2 of all its points, for the geometric factor of the layer
	err       error
}

// bound holds what is constant in a part, except for what depends on the scale of its manifold.
type bound struct {
	of         *parameter
	unit       manifolds.Manifold // at the scale 1
	name       string             // of the piece; empty if the parameter has one part
	layout     manifolds.Layout
	groups     []int // of points, for the geometric factor
	properties manifolds.Properties
	euclidean  bool
	kinds      []State             // those of the rule
	carries    bool                // the first block of state is momentum
	perPart    bool                // some state is one number for the part
	forward    bool                // the points of a layout with an Order follow each other in memory
	descender  manifolds.Descender // nil if steps are not made at once
}

// memory holds what a part keeps from step to step.
type memory struct {
	state, spare  []manifolds.Points // the blocks of state, and where the next ones are written
	square        []float64          // the mean of |v|^2 over past steps, for the geometric factor
	nextSquare    []float64
	longest       float64 // bound of the gradients so far, as the rule sees them
	momentum      float64 // bound of the first block of state
	late          bool    // that block is tangent at the point before the last step: its transport is due
	size          float64 // bound of the points
	own, next     manifolds.Points
	some          []manifolds.Points // state of the chunk under way
	factors       []float64          // of an adaptive rule, one number a point
	reprojections int
	scale         float64 // of the manifold, 1 as it was bound
	progress      manifolds.Progress
	weight        float64    // of the last step in an average by distances
	outward       float64    // how far ambient momentum is from its bound; 1 is at it
	cosine        float64    // of the angle between the Euclidean and the Riemannian gradient, when last measured
	outwardness   [2]float64 // the smallest and the largest <x, g>/|x|^2 of a point, when last measured
}

// underway holds what belongs to the step under way.
type underway struct {
	way      way
	dirty    bool // X is not what the weights hold: it was projected
	unread   bool // X is a copy that has not been made
	from     []manifolds.Points
	carried  bool // from is not the state that the last step left
	borrowed []manifolds.Points
	tangents []manifolds.Points // the blocks of state to transport
	descent  manifolds.Descent  // of a step in place under a linear rule
	itself   bool               // the rule makes the step in place itself
	pointed  bool               // the direction is known
	slope    float64            // of the gradient
	scale    float64            // the part of it that comes before ClipValue
	ambient  float64            // the AmbientDecay, which the gradient takes up
	momentum float64            // norm of the first block of state after the step
	size     float64            // norm of the points after it
	longest  float64            // of the gradients so far and this one
	progress manifolds.Progress
	next     int     // the point with which the next chunk begins, of points that lie scattered
	err      error   // of such chunks
	travel   travel  // of a rule whose rate is a distance over gradients
	restarts bool    // distances are measured from the points of this step on
	moved    float64 // the distance from the start
	shown    float64 // |grad|^2 that a wrapped solver was shown; 0 for other rules
}

// way is how the step of a part is made.
type way uint8

const (
	still     way = iota // not at all: frozen, or another process makes it
	inBuffers            // by the methods of the manifold, to another place
	inFloat64            // the same in float64 copies of float32 points, where numbers are extreme
	inPlace              // at once
)

// buffered reports whether the step goes through buffers before the weights are written.
func (w way) buffered() bool { return w == inBuffers || w == inFloat64 }

// wide reports whether the step of the part is made in float64 copies.
func (p *Part) wide() bool { return p.step.way == inFloat64 }

// copy returns a parameter that goes on as p would, with memory of its own.
func (p *parameter) copy() *parameter {
	c := *p
	c.ascent, c.asleep, c.parts, c.means = ascent{}, slices.Clone(p.asleep), nil, nil
	for a, m := range p.means {
		c.keepMean(a, &mean{m.count, m.total, slices.Clone(m.at)})
	}
	for _, q := range p.parts {
		d := &Part{Manifold: q.Manifold, bound: q.bound, memory: q.memory}
		d.bound.of = &c
		m := &d.memory
		m.state = slices.Clone(m.state)
		for i, x := range m.state {
			m.state[i] = x.Like()
			copy(m.state[i].Data32(), x.Data32())
			copy(m.state[i].Data64(), x.Data64())
		}
		m.square, m.nextSquare = slices.Clone(m.square), slices.Clone(m.nextSquare)
		m.spare, m.own, m.next, m.some, m.factors = nil, manifolds.Points{}, manifolds.Points{}, nil, nil // work space
		c.parts = append(c.parts, d)
	}
	return &c
}

func (p *parameter) fail(kind error, cause string, err error) error {
	return &ParameterError{Name: p.name, Shape: p.shape, Kind: kind, Cause: cause, Err: err}
}

// fail returns the error of the parameter, with the name of the piece.
func (p *Part) fail(kind error, cause string, err error) error {
	if p.bound.name != "" {
		cause = p.bound.name + ": " + cause
	}
	return p.bound.of.fail(kind, cause, err)
}

// cost estimates the work of a step of the parameter. For large ones it exceeds 32 bits.
func (p *parameter) cost() int64 {
	sum := int64(0)
	for _, q := range p.parts {
		sum += int64(q.bound.layout.K*q.bound.layout.N*q.bound.layout.P) * int64(1+q.bound.properties.Cost)
	}
	return sum
}

// heaviest returns the cost per weight of the most expensive part.
func (p *parameter) heaviest() int {
	most := 0
	for _, q := range p.parts {
		most = max(most, q.bound.properties.Cost)
	}
	return most
}

// witnesses is the number of values in the hash of witnessOf.
const witnesses = 4

// witnessOf returns a hash of a few values. It detects, without reading all of them, that other code has written the weights.
func witnessOf(v dense.View) uint64 {
	const prime = 0x100000001b3 // FNV-1a over words
	h, n := uint64(0xcbf29ce484222325), v.Len()
	for i := range min(n, witnesses) {
		at := i * (n - 1) / max(1, min(n, witnesses)-1)
		if v.F64 != nil {
			h = (h ^ math.Float64bits(v.F64[at])) * prime
		} else {
			h = (h ^ uint64(math.Float32bits(v.F32[at]))) * prime
		}
	}
	return h
}

func address(v dense.View) uintptr { return uintptr(unsafe.Pointer(v.Storage())) }

// state makes one set of the blocks of state, all zeros.
func (p *Part) state() []manifolds.Points {
	all := make([]manifolds.Points, len(p.bound.kinds))
	for i, k := range p.bound.kinds {
		l := p.bound.layout
		switch k.Kind {
		case PerPoint:
			all[i] = p.blank(l.K, 1, 1)
		case PerPart:
			all[i] = p.blank(1, 1, 1)
		default:
			all[i] = p.blank(l.K, l.N, l.P)
		}
	}
	return all
}

// allocate makes the state at the first step.
func (p *Part) allocate() {
	if p.memory.state == nil {
		p.memory.state = p.state()
	}
}

// release returns the memory that was borrowed for a step, and clears what belongs to the step.
func (p *Part) release() {
	for i, x := range p.step.borrowed {
		giveBack(x)
		p.step.borrowed[i] = manifolds.Points{}
	}
	clear(p.step.tangents)
	p.step = underway{borrowed: p.step.borrowed[:0], tangents: p.step.tangents[:0]}
	p.X, p.Gradient, p.Direction, p.Next = manifolds.Points{}, manifolds.Points{}, manifolds.Points{}, manifolds.Points{}
	p.Old, p.New, p.Placed = nil, nil, false
}

// finish clears all that belongs to the step, so that no graph is kept alive.
func (p *parameter) finish() {
	for _, q := range p.parts {
		q.release()
	}
	p.weights, p.grad = dense.View{}, dense.View{}
	p.elsewhere = false
}
