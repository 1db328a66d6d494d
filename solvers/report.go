// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Report tells what a solver does to each parameter. Its String is a table.
type Report struct {
	Solver     string
	Steps      int
	LearnRate  float64 // of the next step, with the schedule
	Parameters []ParameterReport
}

// ParameterReport is the row of one parameter. The norms are those of the last
// step.
type ParameterReport struct {
	Name     string
	Shape    tensor.Shape
	Kernel   bool   // taken for a convolution kernel
	Manifold string // with its final scale
	Grouping string // empty if unconstrained
	Points   int
	N, P     int // size of a point

	Gradient        float64 // norm of the Euclidean gradient, as it came
	Riemannian      float64 // norm of the tangent direction, the paper's R_t
	StepLength      float64 // norm of the step before the retraction
	GeometricFactor float64 // largest g_t of a point; 1 without GeometricStep

	Membership    float64 // largest membership error, measured now
	Projected     bool    // the weights were not on the manifold at first
	Reprojections int     // how often drift passed the tolerance
}

// Report describes every parameter the solver has seen, in the order in which it
// saw them.
func (s *Solver) Report() Report {
	r := s.engine.report()
	r.Solver = s.name
	r.LearnRate = s.engine.rate()
	return r
}

func (e *engine) report() Report {
	r := Report{Steps: e.steps}
	for _, s := range e.slots {
		p := ParameterReport{
			Name: s.name, Shape: s.shape.Clone(), Kernel: s.kernel,
			Manifold: manifolds.Name(s.manifold), Points: s.layout.K, N: s.layout.N, P: s.layout.P,
			Gradient: s.stats.gradient, Riemannian: s.stats.riemannian, StepLength: s.stats.length, GeometricFactor: s.stats.geometric,
			Membership: s.membership(), Projected: s.projected, Reprojections: s.stats.reprojections,
		}
		if s.euclidean {
			p.Points, p.N, p.P = 1, s.weights.Len(), 1
		} else {
			p.Grouping = s.constraint.Grouping.String()
		}
		r.Parameters = append(r.Parameters, p)
	}
	return r
}

// String formats the report as a table.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %d steps", r.Solver, r.Steps)
	if r.LearnRate > 0 {
		fmt.Fprintf(&b, ", learning rate %.4g", r.LearnRate)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "parameter\tshape\tmanifold\tpoints\tgradient\tdirection\tstep\tmembership\tnotes")
	for _, p := range r.Parameters {
		points, membership := "", ""
		if p.Grouping != "" {
			points = fmt.Sprintf("%d of %dx%d, %s", p.Points, p.N, p.P, p.Grouping)
			membership = fmt.Sprintf("%.1e", p.Membership)
		}
		var notes []string
		if p.Kernel {
			notes = append(notes, "kernel")
		}
		if p.Projected {
			notes = append(notes, "projected at first")
		}
		if p.Reprojections > 0 {
			notes = append(notes, fmt.Sprintf("re-projected %d times", p.Reprojections))
		}
		if p.GeometricFactor > 1 {
			notes = append(notes, fmt.Sprintf("g_t up to %.3g", p.GeometricFactor))
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%s\t%.3g\t%.3g\t%.3g\t%s\t%s\n", p.Name, p.Shape, p.Manifold, points,
			p.Gradient, p.Riemannian, p.StepLength, membership, strings.Join(notes, ", "))
	}
	t.Flush()
	return b.String()
}
