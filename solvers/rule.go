// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Rule is what distinguishes solvers: the state that it keeps for each part of a
// parameter, and the direction of a step. Everything else (validation, cutting into points, clipping, decay,
// the retraction, the transport of the state, the report) is done by the engine. New makes a solver from a
// Rule.
//
// A Rule is an immutable value that contains its options: an Option made by Tune returns another Rule. The interfaces below are optional.
type Rule interface {
	// Name identifies the rule in reports, errors and snapshots.
	Name() string
	// State lists the blocks of state of a part.
	State() []State
	// Direction writes to p.Direction the tangent vector against which the part moves, and
	// to p.New the state after the step, before its transport. It may be called for several parts concurrently.
	Direction(p *Part) error
}

// Linear is implemented by a Rule whose step is a manifolds.Descent. A manifold that is a manifolds.Descender then makes the whole step in place.
type Linear interface {
	Rule
	// Descent returns the coefficients of the gradient and of the momentum, which is the first block of state unless that is of the kind
	// PerPoint. The engine sets Rate, Decay and Geometric. Direction should be p.Follow(Descent(p)).
	Descent(p *Part) manifolds.Descent
}

// Adaptive is implemented by a Linear rule that multiplies the direction of its Descent by a factor for each
// point, computed from squared norms of gradients. A manifold that is manifolds.Adaptable then makes the
// whole step in place. Direction should be p.Adapt(r).
type Adaptive interface {
	Linear
	// Factors receives the squared norms of the Riemannian gradients of the points in f, and replaces them by
	// the factors. It reads state of the kind PerPoint from old and writes it to next, which may be the same.
	Factors(p *Part, f []float64, old, next []manifolds.Points)
	// LongestDirection returns an upper bound of the norm of the direction, factors included.
	LongestDirection(p *Part) float64
}

// InPlace is implemented by a Rule that can make the whole step of some parts in place, which is faster.
type InPlace interface {
	Rule
	// Fits reports whether Advance makes the step of p with the gradient times slope. If it returns true, the
	// step must not fail; p.Bound and p.Longest bound the weights and gradients.
	Fits(p *Part, slope float64) bool
	// Advance moves p.X and p.Old with the gradient g times slope at the rate p.Rate, and
	// clears g.
	Advance(p *Part, g manifolds.Points, slope float64) (manifolds.Progress, error)
}

// Planner is implemented by a Rule that needs all parts of a step together, for example for a conjugate
// direction or for a rate that depends on the distance from the start.
type Planner interface {
	Rule
	// Plan is called once in every step, before Direction, with all parts that move, in the
	// order of the parameters. It may write p.Gradient and p.Rate. If it, or anything after it, fails,
	// nothing moves and the step may be repeated; the rule should therefore update its own state only for
	// values of p.Step that it has not seen before.
	Plan(parts []*Part) error
}

// Separate is implemented by a Planner that plans some parameters independently of the others. Several
// processes can then divide these parameters, although they have state, and Plan receives only those that the
// process moves.
type Separate interface {
	Planner
	// Separates reports whether the plan of a parameter with this rule depends on no other parameter.
	Separates() bool
}

// Cutting is implemented by a Rule for which a point of an unconstrained parameter is more than one weight, for example the whole filter bank as a
// matrix.
type Cutting interface {
	Rule
	// Cut returns the grouping for unconstrained weights of the given shape.
	Cut(shape tensor.Shape) manifolds.Grouping
}

// Costly is implemented by a Rule that does more than a few passes over memory. The cost is used to balance work among cores and processes.
type Costly interface {
	Rule
	// Cost returns the number of multiplications per weight, for points of the given layout on m.
	Cost(m manifolds.Manifold, l manifolds.Layout) int
}

// Partial is implemented by a Rule that does not apply to every parameter, like Muon, which needs matrices.
// The other parameters are moved with the rule, the learning rate and the decay of another solver. Everything
// else is the same for all parameters.
type Partial interface {
	Rule
	// Moves reports whether the rule moves parameters of the given shape. For a grouped convolution it is the
	// shape of the kernel of one group, and for a transposed convolution (out, in, height, width).
	Moves(shape tensor.Shape) bool
	// Rest returns the solver for the other parameters. Only its settings are used.
	Rest() *Solver
}

// Restricted is implemented by a Rule that does not work on every manifold, such as one that needs more of a tangent projection
// than that it is one.
type Restricted interface {
	Rule
	// Admits returns an error that says what the rule wants if it cannot move points on m. It is asked when a parameter is bound.
	Admits(m manifolds.Manifold) error
}

// Checked is implemented by a Rule some of whose options exclude each other. Check is called when all options
// are set, and returns an error if they do not fit.
type Checked interface {
	Rule
	Check() error
}

// State describes a block of state.
type State struct {
	Name string
	Kind StateKind
}

// StateKind is the kind of a block of state, which determines what happens to it in a step.
type StateKind uint8

const (
	// Ambient state is an n x p matrix for each point, and is not transported.
	Ambient StateKind = iota
	// Tangent state is a tangent vector at each point, and is transported.
	Tangent
	// PerPoint state is one number for each point. Unconstrained parameters have a
	// point for each weight.
	PerPoint
	// PerPart state is one number for the part. The steps of a rule with such state are made in
	// buffers.
	PerPart
)

// Part is the input of a Rule: a batch of points on one manifold. Most parameters have
// one part. It is the same *Part in every step.
type Part struct {
	Manifold manifolds.Manifold

	// The step under way.
	X         manifolds.Points   // the points; not to be written
	Gradient  manifolds.Points   // Euclidean gradient, scaled and clipped; may be written
	Direction manifolds.Points   // to be written
	Old, New  []manifolds.Points // state before and after, in the order of State; write New
	Rate      float64            // learning rate; may be written
	Decay     float64            // decoupled weight decay, 0 on a manifold; what Direction writes is without it
	Step      int                // 1 for the first step of this part

	// Next holds the new weights of an unconstrained part if the rule computes these itself: it writes Next and sets
	// Placed.
	Next   manifolds.Points
	Placed bool

	bound  bound
	memory memory
	step   underway
}

// Riemannian writes the Riemannian gradient of the Euclidean gradient g to dst, which may be g. It is the tangent projection of g
// only in the metric of the ambient space, and if that is the Frobenius product.
func (p *Part) Riemannian(dst, g manifolds.Points) error {
	return manifolds.Gradient(p.Manifold, dst, p.X, g)
}

// Follow writes the direction of d, and the momentum after the step, which is the first block of state. It is the Direction of a Linear rule.
func (p *Part) Follow(d manifolds.Descent) error {
	var old, next manifolds.Points
	if p.bound.carries {
		old, next = p.Old[0], p.New[0]
	}
	return manifolds.Direction(p.Manifold, p.Direction, next, p.X, old, p.Gradient, d)
}

// Adapt writes the direction of the rule r, and its state after the step. It is the Direction of an
// Adaptive rule.
func (p *Part) Adapt(r Adaptive) error {
	f := scratch.Get[float64](p.X.K)
	defer scratch.Put(f)
	if err := p.squares(f); err != nil {
		return err
	}
	r.Factors(p, f, p.Old, p.New)
	d, grad := r.Descent(p), p.Gradient
	if !p.bound.carries {
		if err := p.Direction.Combine(d.Slope, grad, 0, grad); err != nil {
			return err
		}
		return p.Direction.Scale(f, p.Direction)
	}
	if err := p.New[0].Combine(d.Keep, p.Old[0], d.Take, grad); err != nil {
		return err
	}
	if err := p.Direction.Combine(d.Ahead, p.Old[0], d.Slope, grad); err != nil {
		return err
	}
	return p.Direction.Scale(f, p.Direction)
}

// squares converts the gradient to the Riemannian one, and writes its squared norm at each point to out.
func (p *Part) squares(out []float64) error {
	if err := p.Riemannian(p.Gradient, p.Gradient); err != nil {
		return err
	}
	return manifolds.Inner(p.Manifold, out, p.X, p.Gradient, p.Gradient)
}

// Parameter returns the name and the shape of the parameter to which the part belongs.
func (p *Part) Parameter() (name string, shape tensor.Shape) {
	return p.bound.of.name, p.bound.of.shape
}

// Unconstrained reports whether the part lies in Euclidean space.
func (p *Part) Unconstrained() bool { return p.bound.euclidean }

// Bound returns an upper bound of the norm of the points.
func (p *Part) Bound() float64 { return p.memory.size }

// Longest returns an upper bound of the norms of the gradients so far, including that of this step, scaled and clipped like Gradient, and with its AmbientDecay.
func (p *Part) Longest() float64 { return p.step.longest }

// New makes a solver from any Rule. It accepts the options of all solvers and those of the rule.
func New(r Rule, opts ...Option) *Solver {
	return newSolver(r, settings{learnRate: 0.01}, opts)
}
