// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"

	"gonum.org/v1/plot/vg"
)

// order draws what a solver does in Step, in two parts: the operations that may fail, on copies, and those that cannot.
func order() (*page, error) {
	p := newPage(664, 288)
	p.text(bold, 14, margin, p.h-30, ink, "The order of a step")

	const boxW, boxH, gapX = 140, 44, 20
	box := func(column int, y vg.Length, fill color.Color, head, text string) {
		x := margin + vg.Length(column)*(boxW+gapX)
		p.rect(x, y, boxW, boxH, fill)
		p.frame(x, y, boxW, boxH, 1, border)
		p.centred(bold, 10, x+boxW/2, y+26, ink, head)
		p.centred(regular, 8.5, x+boxW/2, y+11, soft, text)
		if column < 3 {
			p.arrowTo(x+boxW+2, y+boxH/2, gapX-4)
		}
	}
	mayFail := color.NRGBA{0xf2, 0xf6, 0xfb, 0xff}
	cannot := color.NRGBA{0xee, 0xf7, 0xf2, 0xff}

	y := p.h - 106
	p.text(regular, 9, margin, y+54, soft, "For every parameter; an error names it, and nothing has changed")
	box(0, y, mayFail, "check", "finite, shapes, precision")
	box(1, y, mayFail, "÷ batch size", "BatchSize")
	box(2, y, mayFail, "clamp, clip", "ClipValue, then ClipNorm")
	box(3, y, mayFail, "+ λx", "AmbientDecay")
	y -= 78
	p.text(regular, 9, margin, y+54, soft, "For every point")
	box(0, y, mayFail, "feasible?", "first step: project; then drift")
	box(1, y, mayFail, "direction", "the rule: SGD, Adam, yours")
	box(2, y, mayFail, "÷ g_t", "GeometricStep")
	box(3, y, mayFail, "retract, transport", "onto the manifold; the state")
	y -= 84
	p.line(margin, y+66, p.w-margin, y+66, 0.8, border)
	p.text(regular, 9, margin, y+54, soft, "Only when all of this has succeeded, for all parameters")
	box(0, y, cannot, "write weights", "with WeightDecay of free ones")
	box(1, y, cannot, "write state", "momentum, moments")
	box(2, y, cannot, "zero gradients", "they add up over runs")
	box(3, y, cannot, "count the step", "the place in the schedule")
	return p, nil
}

// arrowTo draws a short arrow to the right.
func (p *page) arrowTo(x, y, length vg.Length) {
	p.vector([2]float64{float64(x), float64(y)}, [2]float64{float64(x + length), float64(y)}, 1.2, false, soft)
}
