// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/solvers"
)

// Gradients is the plot of a check of gradients: the errors of the linear model of the cost over the length of
// the step, a curve for each parameter, on logarithmic axes. The curves of correct gradients are parallel to
// the dashed line of slope 2, down to the errors of rounding; those of wrong ones are parallel to the line of slope 1.
func Gradients(c solvers.GradientCheck) Lines {
	l := Lines{
		Title: "Errors of the linear model of the cost",
		X:     Axis{Label: "length of the step over the norm of the weights", Log: true},
		Y:     Axis{Label: "error", Log: true},
	}
	largest := 0.0 // error, from which the dashed lines start
	for _, p := range c.Parameters {
		l.Curves = append(l.Curves, Curve{Name: fmt.Sprintf("%s: %v", p.Name, p.Verdict), X: p.T, Y: p.Error})
		for _, e := range p.Error {
			if e > largest { // not NaN
				largest = e
			}
		}
	}
	if len(c.Parameters) == 0 || largest == 0 {
		return l
	}
	for k, name := range []string{"slope 1", "slope 2"} {
		line := Curve{Name: name, Dashed: true}
		for i, t := range c.Parameters[0].T {
			if y := largest * math.Pow(t, float64(k+1)); y > c.Parameters[0].Rounding[i] {
				line.Add(t, y)
			}
		}
		l.Curves = append(l.Curves, line)
	}
	return l
}
