// SPDX-License-Identifier: Apache-2.0

package solvers

import "github.com/kernelfold/kernelfold/manifolds"

// Rule is what tells one solver from another: the state that it keeps for each
// parameter, and the direction of a step. Everything else (validation, cutting
// into points, clipping, decay, the retraction, the transport of the state, the
// report) is the engine's. New makes a solver of a Rule.
type Rule interface {
	// State lists the blocks of state of a parameter.
	State() []State
	// Direction writes to p.Direction the tangent vector against which the
	// parameter moves, and to p.New the state after the step.
	Direction(p *Parameter) error
}

// State describes a block of state.
type State struct {
	Name string
	Kind StateKind
}

// StateKind says what a block of state is, and so what happens to it in a step.
type StateKind uint8

const (
	// Ambient state is an n x p matrix for each point, and stays as it is.
	Ambient StateKind = iota
	// Tangent state is a tangent vector at each point, and is transported.
	Tangent
	// PerPoint state is one number for each point. Unconstrained parameters have a
	// point for each weight.
	PerPoint
)

// Parameter is what a Rule sees of a parameter: one batch of points.
type Parameter struct {
	Manifold  manifolds.Manifold
	X         manifolds.Points   // the points; not to be written
	Gradient  manifolds.Points   // Euclidean gradient, scaled and clipped; may be written
	Direction manifolds.Points   // to be written
	Old, New  []manifolds.Points // state before and after, in the order of State; write New
	Step      int                // 1 for the first step of this parameter
}

// Riemannian writes the Riemannian gradient of the Euclidean gradient g to dst,
// which may be g.
func (p *Parameter) Riemannian(dst, g manifolds.Points) error {
	return manifolds.Gradient(p.Manifold, dst, p.X, g)
}

// New makes a solver of any Rule. It has the options that all solvers have.
func New(r Rule, opts ...Option) *Solver {
	return newSolver("New", r, config{learnRate: 0.01}, nil, opts)
}
