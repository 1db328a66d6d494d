// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
)

var (
	omegaAxis      = figure.Axis{Label: "ω = rate / r0²", Log: true}
	angleAxis      = figure.Axis{Label: "angle (degrees)", Log: true}
	differenceAxis = figure.Axis{Label: "difference of test accuracy (points)"}
)

// variant is what is after the comma in the name of an arm, with its mark.
type variant struct {
	name   string
	mark   int
	dashed bool
}

var variants = []variant{
	{"", 1, false}, {"norm √2", 2, false}, {"decay", 3, false}, {"norm √2, decay", 5, true},
	{"sampled g_t", 4, true}, {"predictable g_t", 6, true}, {"Muon", 7, true},
}

// plotOmega draws the accuracy of all arms over omega, a panel for each kind with the control in all of them, and the angle of a
// step by epoch, each at the omega of the grid nearest to its maximum.
func (c *campaign) plotOmega(all []measuredArm, rates, best []float64) error {
	accuracy := figure.Multiples{Title: c.title("Test accuracy", "ResNet-8", false), X: omegaAxis, Y: accuracyAxis}
	angles := figure.Multiples{Title: c.title("Angle of a step at the best ω", "ResNet-8", false), X: epochAxis, Y: angleAxis}
	highest := 0.0
	for i, a := range all {
		kind, name, _ := strings.Cut(a.name, ", ")
		v := variants[slices.IndexFunc(variants, func(v variant) bool { return v.name == name })]
		l := figure.Curve{Name: a.name, Hue: figure.Manifold(kind), Mark: v.mark, Dashed: v.dashed}
		turned := l
		for _, o := range rates {
			if y := a.mean(o); !math.IsNaN(y) {
				l.Add(o, 100*y)
				highest = max(highest, 100*y)
			}
		}
		near := a.nearest(math.Exp2(best[i]))
		for e := range c.Epochs - 1 { // the last step has the rate 0, nearly
			turned.Add(float64(e+1), a.angle(near, e, c.Epochs))
		}
		if a.name == freeArm {
			accuracy.Faint, angles.Faint = append(accuracy.Faint, l), append(angles.Faint, turned)
			continue
		}
		panel := func(m *figure.Multiples, l figure.Curve) {
			at := slices.IndexFunc(m.Panels, func(p figure.Panel) bool { return p.Title == kind })
			if at < 0 {
				at, m.Panels = len(m.Panels), append(m.Panels, figure.Panel{Title: kind})
			}
			m.Panels[at].Curves = append(m.Panels[at].Curves, l)
			in := cmp.Or(name, "norm 1")
			if !slices.ContainsFunc(m.Key, func(k figure.Curve) bool { return k.Name == in }) {
				m.Key = append(m.Key, figure.Curve{Name: in, Hue: figure.Blue, Mark: v.mark, Dashed: v.dashed})
			}
		}
		panel(&accuracy, l)
		panel(&angles, turned)
	}
	accuracy.Y.Floor = math.Floor(highest - 100*tooFar - 3)
	if len(accuracy.Panels) == 0 {
		return nil
	}
	if err := c.save("-accuracy.png", accuracy); err != nil {
		return err
	}
	return c.save("-angles.png", angles)
}

// plotVerdicts draws the comparisons with their 90 % intervals.
func (c *campaign) plotVerdicts(list []verdict) error {
	f := figure.Intervals{Title: "Each at its best ω: differences with 90 % intervals, seeds and images", X: differenceAxis}
	for _, v := range list {
		f.Rows = append(f.Rows, v.row())
	}
	return c.save("-differences.png", f)
}

// row is the 90 % interval.
func (v verdict) row() figure.Interval {
	return figure.Interval{Name: v.name, Mean: 50 * (v.low + v.high), Half: 50 * (v.high - v.low), Hue: figure.Manifold(v.of[0])}
}

// mean returns the mean accuracy at an omega, NaN if there is no run.
func (a measuredArm) mean(omega float64) float64 {
	return stat.Mean(accuracies(a.at(omega)), nil)
}

// nearest returns the omega of the grid that is nearest.
func (a measuredArm) nearest(omega float64) float64 {
	near := a.runs[0].omega
	for _, r := range a.runs {
		if math.Abs(math.Log(r.omega/omega)) < math.Abs(math.Log(near/omega)) {
			near = r.omega
		}
	}
	return near
}

// angle returns the mean angle of the last step of an epoch at an omega, in degrees, NaN if there is none.
func (a measuredArm) angle(omega float64, epoch, epochs int) float64 {
	var degrees []float64
	for _, o := range a.at(omega) {
		// An epoch before a resumption has no angle.
		if len(o.Epochs) == epochs && o.Epochs[epoch].Angle != 0 {
			degrees = append(degrees, o.Epochs[epoch].Angle*180/math.Pi)
		}
	}
	return stat.Mean(degrees, nil)
}
