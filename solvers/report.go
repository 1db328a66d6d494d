// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Report describes what a solver does to each parameter. String prints a summary, in which parameters that are alike
// are one entry, Full an entry for each, and HTML a table for notebooks.
type Report struct {
	Solver     string
	Steps      int
	LearnRate  float64           // of the next step, with the schedule
	Parameters []ParameterReport // a row for each part of a parameter, in the order in which the solver saw them
	Refused    int               // steps that failed
	Err        error             // of the last step, or of the options; nil if it was made
	Warnings   []string          // what is likely to be a mistake
	rate       rateKind
}

// rateKind says what LearnRate means.
type rateKind int

const (
	givenRate    rateKind = iota
	unknownRate           // that of a wrapped solver, which is not known
	measuredRate          // a factor of rates that follow from distances
)

// ParameterReport is the row of one part of a parameter. Most parameters have one part. The norms
// are those of the last step.
type ParameterReport struct {
	Name     string
	Part     string // which part; empty if the parameter has one
	Shape    tensor.Shape
	Kernel   bool    // a convolution kernel
	Role     string  // why it is a kernel or not, such as "filter of Conv2d"
	Manifold string  // with its final scale
	Scale    float64 // its size relative to that at the first step: 1 without Rescale
	Grouping string  // empty if unconstrained
	Rule     string  // the rule that moves it: that of the solver, or of the solver for the rest
	Points   int
	N, P     int // size of a point

	LearnRate  float64 // of the next step, with the schedule
	Frozen     bool
	Gradient   float64 // norm of the Euclidean gradient of the parameter, as it came
	Direction  float64 // norm of the direction, a tangent vector: the paper's R_t
	StepLength float64 // norm of the step before the retraction
	// Angle is StepLength divided by the norm of the weights, on a manifolds.Ambient in its inner product: on a manifold whose points have norm r, the
	// root mean square over the points of |step|/r, in radians. To compare solvers, use rates that give equal
	// angles.
	Angle float64
	// Equilibrium is the Angle at which the norm of an unconstrained kernel that is followed by a batch norm
	// neither grows nor shrinks. Its gradients are orthogonal to the weights and lengthen them, and at this
	// angle a weight decay of lambda shortens them as much. For a momentum of theta,
	//
	//	angle = (2 lr lambda (1 - theta) / (1 + theta))^(1/2)
	//
	// (Kosson, Messmer, Jaggi, ICML 2024, with decoupled decay; with Adam theta is beta1). It is 0 for
	// parameters on a manifold, whose norm is fixed, without weight decay, and for rules that are not Linear.
	Equilibrium float64
	// Cosine is the cosine of the angle between the Euclidean and the Riemannian gradient, over all points of
	// the part. If it is near 0, most of the gradient is normal to the manifold and has no effect. It is 1
	// for unconstrained parameters. It is 0 before the first measurement, for gradients of 0, on a
	// manifolds.Metric other than manifolds.Stiefel in its Euclidean metric, and on a manifold that is not a
	// manifolds.Adaptable. It is measured in the same steps as Outwardness.
	Cosine float64
	// GeometricFactor is the largest g_t of a point; 1 without GeometricStep.
	GeometricFactor float64
	// Outwardness is the smallest and the largest <x, g>/|x|^2 over the points x, where g is the Euclidean
	// gradient after BatchSize and ClipNorm. On a manifolds.Ambient the norm is that of its inner product, in
	// which <x, g> is the product with the gradient. In an unconstrained kernel a point is a filter. It is 0 if a
	// batch norm follows. If it is positive, g points outward: a step against g would shorten the point. It
	// is measured at steps 1, 2, 4, 8 ..., and every hundredth.
	Outwardness [2]float64
	// Outward is the learning rate times the largest <x, g>/r^2 of a point x of radius r, as last measured,
	// divided by (1 - theta)^2/theta, the bound up to which AmbientMomentum converges. It is 0 without
	// ambient momentum, and on Stiefel a lower bound.
	Outward float64

	// Condition is the current condition number of a kernel: the largest divided by the smallest singular
	// value of the matrix whose rows are its filters. It is infinite from 1e7 on, NaN if the graph of the
	// parameter is gone, and 0 for parameters that are not kernels.
	Condition float64
	// Dead is the number of filters of a kernel whose gradient was 0 in every step since the solver first saw
	// them or was restored, plus the unconstrained filters whose weights are all 0. A filter followed by a
	// rectifier that is never active does not move. If a parameter has several parts, the number is that of
	// the first.
	Dead int

	Membership    float64 // largest membership error, measured now; NaN if the graph of the parameter is gone
	Projected     bool    // the weights were not on the manifold at first
	Reprojections int     // how often drift exceeded the tolerance
	Rebuilt       int     // how often the parameter was rebuilt under its name, and kept its state
	Still         int     // steps in a row, up to the last, whose gradient was 0
	Absent        bool    // the last step did not have the parameter
	gone          bool    // the graph of the parameter is gone
}

// Report describes every parameter the solver has seen. It computes the eigenvalues of an n x n matrix for
// each kernel of n filters, which for hundreds of filters takes as long as a step.
func (s *Solver) Report() Report {
	e := s.made()
	r := Report{Solver: s.String(), Steps: e.steps, LearnRate: s.LearnRate(), Refused: e.refused, Err: e.last}
	if r.Err == nil {
		r.Err = e.err
	}
	for _, p := range e.list {
		v, known := p.now()
		condition, dead := math.NaN(), len(p.asleep)
		if known {
			condition, dead = p.condition(v), p.dead(v)
		} else if p.role.Role != roles.Kernel {
			condition = 0
		}
		for i, q := range p.parts {
			row := e.row(p, q, v, known)
			if row.Condition = condition; i == 0 {
				row.Dead = dead
			}
			r.Parameters = append(r.Parameters, row)
		}
	}
	switch e.rule.(type) {
	case *wrapped:
		r.rate = unknownRate
	case dog:
		r.rate = measuredRate
	}
	r.Warnings = e.warnings(r)
	return r
}

// row describes a part, whose weights are v if they are known.
func (e *engine) row(p *parameter, q *Part, v dense.View, known bool) ParameterReport {
	off, norm := math.NaN(), math.NaN()
	if known {
		off, norm = q.membership(v)
	} else if q.bound.euclidean {
		off = 0
	}
	l, m := q.bound.layout, &q.memory
	row := ParameterReport{
		Name: p.name, Part: q.bound.name, Shape: p.shape.Clone(), Kernel: p.role.Role == roles.Kernel, Role: p.role.Why,
		Manifold: manifolds.Name(q.Manifold), Scale: m.scale, Rule: p.settings.rule.Name(), Points: l.K, N: l.N, P: l.P, LearnRate: e.rate(&p.settings), Frozen: p.settings.frozen,
		Gradient: p.gradient, Direction: math.Sqrt(m.progress.Direction), StepLength: math.Sqrt(m.progress.Length),
		GeometricFactor: m.progress.Factor, Outwardness: m.outwardness, Cosine: m.cosine, Outward: m.outward, Membership: off, Projected: p.projected,
		Reprojections: m.reprojections, Rebuilt: p.adopted, Still: p.still, Absent: p.seen != e.calls, gone: !known,
	}
	if row.StepLength > 0 {
		row.Angle = row.StepLength / norm
	}
	row.Equilibrium = q.equilibrium(row.LearnRate)
	if q.bound.euclidean {
		row.Points, row.N, row.P = 1, l.K*l.N*l.P, 1
	} else {
		row.Grouping = p.constraint.Grouping.String()
	}
	return row
}

func (e *engine) warnings(r Report) (list []string) {
	if e.still > 0 {
		list = append(list, fmt.Sprintf("all gradients were 0 in the last %s: is vm.Reset called after each run, is the cost differentiated, and does its gradient depend on the targets?", count(e.still, "step")))
	}
	if len(e.evaluating) > 0 {
		list = append(list, fmt.Sprintf("in evaluation mode at the last look: %s; a machine for evaluation that shares operations with that for training switches them", strings.Join(e.evaluating, ", ")))
	}
	names := map[string]int{}
	for _, p := range r.Parameters {
		if p.Outward > 1 {
			list = append(list, fmt.Sprintf("%s: ambient momentum does not converge: its gradient points outward, %.3g times the bound (1 - theta)^2/theta; use TangentMomentum or a smaller rate", label(p), p.Outward))
		}
		if names[label(p)]++; names[label(p)] == 2 {
			list = append(list, fmt.Sprintf("%s: two parameters have this name", label(p)))
		}
	}
	return list
}

// label returns the name of a part, quoted if it contains characters that a terminal does not print.
func label(p ParameterReport) string {
	name := p.Name
	if p.Part != "" {
		name += ", " + p.Part
	}
	if strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return strconv.Quote(name)
	}
	return name
}

func count(n int, what string) string {
	if n == 1 {
		return what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
