// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
	"text/tabwriter"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Report tells what a solver does to each parameter. Its String is a table.
type Report struct {
	Solver     string
	Steps      int
	LearnRate  float64           // of the next step, with the schedule
	Parameters []ParameterReport // a row for each part of a parameter, in the order in which the solver saw them
	Refused    int               // steps that failed
	Err        error             // of the last step, or of the options; nil if it was made
	Warnings   []string          // what is likely to be a mistake
}

// ParameterReport is the row of one part of a parameter. Most parameters have one part. The norms
// are those of the last step.
type ParameterReport struct {
	Name     string
	Part     string // which part; empty if the parameter has one
	Shape    tensor.Shape
	Kernel   bool   // a convolution kernel
	Role     string // why it is one or not, such as "filter of Conv2d"
	Manifold string // with its final scale
	Grouping string // empty if unconstrained
	Rule     string // the rule that moves it: that of the solver, or of the solver for the rest
	Points   int
	N, P     int // size of a point

	LearnRate  float64 // of the next step, with the schedule
	Frozen     bool
	Gradient   float64 // norm of the Euclidean gradient of the parameter, as it came
	Direction  float64 // norm of the direction, a tangent vector: the paper's R_t
	StepLength float64 // norm of the step before the retraction
	// GeometricFactor is the largest g_t of a point; 1 without GeometricStep.
	GeometricFactor float64
	// Outward is the learning rate times the largest <x, g>/r^2 of a point x of radius r, when that
	// was measured last, over the bound (1 - theta)^2/theta up to which AmbientMomentum converges;
	// 0 without ambient momentum. On Stiefel it is a lower bound.
	Outward float64

	Membership    float64 // largest membership error, measured now; NaN if the graph of the parameter is gone
	Projected     bool    // the weights were not on the manifold at first
	Reprojections int     // how often drift passed the tolerance
	Rebuilt       int     // how often the parameter was rebuilt under its name, and kept its state
	Still         int     // steps in a row, up to the last, whose gradient was 0
	Absent        bool    // the last step did not have the parameter
}

// trouble is what a solver remembers of what went wrong.
type trouble struct {
	last       error
	refused    int
	still      int // steps in a row in which all gradients were 0
	modes      []roles.Mode
	evaluating []string
}

// refuse notes the error of a step that was not made.
func (e *engine) refuse(err error) error {
	e.last = err
	e.refused++
	return err
}

// look notes what a step shows of mistakes that do not make it fail.
func (e *engine) look(active []*parameter) {
	moved := false
	for _, p := range active {
		moved = moved || p.settings.frozen || p.gradient != 0
	}
	if e.still++; moved || len(active) == 0 {
		e.still = 0
	}
	if bits.OnesCount(uint(e.steps)) != 1 && e.steps%100 != 0 { // now and then
		return
	}
	e.evaluating = e.evaluating[:0]
	for _, m := range e.modes {
		if !m.Training() {
			e.evaluating = append(e.evaluating, m.Name)
		}
	}
}

// lookUp finds the operations with a mode in the graphs of the parameters.
func (e *engine) lookUp(model []gorgonia.ValueGrad) {
	e.modes = nil
	in := map[*gorgonia.ExprGraph][]*gorgonia.Node{}
	for _, v := range model {
		if n, ok := v.(*gorgonia.Node); ok && n.Graph() != nil {
			in[n.Graph()] = append(in[n.Graph()], n)
		}
	}
	for g, of := range in {
		e.modes = append(e.modes, roles.Read(g).Modes(of...)...)
	}
}

// Report describes every parameter the solver has seen.
func (s *Solver) Report() Report {
	e := &s.engine
	r := Report{Solver: s.String(), Steps: e.steps, LearnRate: e.learnRate * e.schedule.At(e.steps), Refused: e.refused, Err: e.last}
	if r.Err == nil {
		r.Err = e.err
	}
	for _, p := range e.list {
		for _, q := range p.parts {
			r.Parameters = append(r.Parameters, e.row(p, q))
		}
	}
	r.Warnings = e.warnings(r)
	return r
}

func (e *engine) row(p *parameter, q *Part) ParameterReport {
	l, m := q.bound.layout, &q.memory
	row := ParameterReport{
		Name: p.name, Part: q.bound.name, Shape: p.shape.Clone(), Kernel: p.role.Role == roles.Kernel, Role: p.role.Why,
		Manifold: manifolds.Name(q.Manifold), Rule: p.settings.rule.Name(), Points: l.K, N: l.N, P: l.P, LearnRate: e.rate(&p.settings), Frozen: p.settings.frozen,
		Gradient: p.gradient, Direction: math.Sqrt(m.progress.Direction), StepLength: math.Sqrt(m.progress.Length),
		GeometricFactor: m.progress.Factor, Outward: m.outward, Membership: q.membership(), Projected: p.projected,
		Reprojections: m.reprojections, Rebuilt: p.adopted, Still: p.still, Absent: p.seen != e.calls,
	}
	if q.bound.euclidean {
		row.Points, row.N, row.P = 1, l.K*l.N*l.P, 1
	} else {
		row.Grouping = p.constraint.Grouping.String()
	}
	return row
}

// membership measures the weights as they are now.
func (p *Part) membership() float64 {
	if p.bound.euclidean {
		return 0
	}
	of := p.bound.of.who.value()
	if of == nil {
		return math.NaN()
	}
	v, err := dense.Of(of.Value())
	if err != nil || v.Precision() != p.bound.of.precision || v.Len() != p.bound.of.shape.TotalSize() {
		return math.NaN()
	}
	buf := lend(p.bound.layout.K, p.bound.layout.N, p.bound.layout.P, !p.single())
	defer giveBack(buf)
	x, err := p.batch(v, &buf)
	if err != nil {
		return math.NaN()
	}
	return p.Manifold.Membership(x)
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

func label(p ParameterReport) string {
	if p.Part == "" {
		return p.Name
	}
	return p.Name + ", " + p.Part
}

func count(n int, what string) string {
	if n == 1 {
		return what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// String formats the report as a table.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %d steps", r.Solver, r.Steps)
	if r.LearnRate > 0 {
		fmt.Fprintf(&b, ", learning rate %.4g", r.LearnRate)
	}
	b.WriteByte('\n')
	if r.Err != nil {
		fmt.Fprintf(&b, "the last step failed (%d so far): %v\n", r.Refused, r.Err)
	} else if r.Refused > 0 {
		fmt.Fprintf(&b, "%d steps failed before the last\n", r.Refused)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "parameter\tshape\tmanifold\tpoints\tgradient\tdirection\tstep\tmembership\tnotes")
	for _, p := range r.Parameters {
		points, membership := "", ""
		if p.Grouping != "" {
			points = fmt.Sprintf("%d of %dx%d, %s", p.Points, p.N, p.P, p.Grouping)
			membership = fmt.Sprintf("%.1e", p.Membership)
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%s\t%.3g\t%.3g\t%.3g\t%s\t%s\n", label(p), p.Shape, p.Manifold, points,
			p.Gradient, p.Direction, p.StepLength, membership, strings.Join(p.notes(r), ", "))
	}
	t.Flush()
	return b.String()
}

func (p ParameterReport) notes(r Report) (notes []string) {
	note := func(is bool, format string, args ...any) {
		if is {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	note(p.Kernel, "kernel: %s", p.Role)
	note(!p.Kernel, "%s", p.Role)
	note(p.Frozen, "frozen")
	note(p.Rule != r.Solver, "moved by %s", p.Rule)
	note(p.Projected, "projected at first")
	note(p.Reprojections > 0, "re-projected %d times", p.Reprojections)
	note(p.GeometricFactor > 1, "g_t up to %.3g", p.GeometricFactor)
	note(p.LearnRate != r.LearnRate && !p.Frozen && r.LearnRate > 0, "learning rate %.4g", p.LearnRate)
	note(p.Rebuilt > 0, "rebuilt %d times", p.Rebuilt)
	note(p.Still > 0, "gradient 0 in the last %s", count(p.Still, "step"))
	note(p.Absent, "not in the last step")
	return notes
}
