// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
)

// picture is a plot of one number over the epochs.
type picture struct {
	file, title string
	y           figure.Axis
	value       func(epochJSON) float64
}

// floor is the smallest membership error in the plot, below the precision of float32.
const floor = 1e-8

var plots = []picture{
	{"loss.png", "Training loss", figure.Axis{Label: "mean cross-entropy (nats)", Zero: true}, func(e epochJSON) float64 { return e.Loss }},
	{"accuracy.png", "Test accuracy", figure.Axis{Label: "accuracy (%)"}, func(e epochJSON) float64 { return 100 * e.Accuracy }},
	{"membership.png", "Membership error", figure.Axis{Label: "largest membership error", Log: true}, func(e epochJSON) float64 { return math.Max(floor, e.Membership) }},
}

// png draws the picture.
func (p picture) png(r *results) ([]byte, error) {
	l := figure.Lines{
		Title: fmt.Sprintf("%s, %s, %d images", p.title, r.Settings.Data, r.Settings.TrainImages),
		X:     figure.Axis{Label: "epoch", Whole: true},
		Y:     p.y,
	}
	for i, s := range r.Solvers {
		c := figure.Curve{Name: s.Name, Mark: i + 1}
		if len(r.Solvers) <= hues {
			c.Hue, c.Dashed = figure.Manifold(s.Manifold), strings.Contains(s.Name, "adam") || strings.Contains(s.Name, "amsgrad")
		}
		for k, e := range s.Epochs {
			c.Add(float64(k+1), p.value(e))
		}
		if c.Dashed {
			l.Note = "dashed: Adam"
		}
		l.Curves = append(l.Curves, c)
	}
	return l.PNG()
}

// hues is the largest number of curves for which those of one manifold share a colour; more could not be distinguished.
const hues = 8
