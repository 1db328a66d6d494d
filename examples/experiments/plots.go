// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
	"github.com/kernelfold/kernelfold/manifolds"
)

// The axes.
var (
	rateAxis     = figure.Axis{Label: "learning rate", Log: true}
	epochAxis    = figure.Axis{Label: "epoch", Whole: true}
	lossAxis     = figure.Axis{Label: "mean cross-entropy (nats)"}
	accuracyAxis = figure.Axis{Label: "accuracy (%)"}
	testAxis     = figure.Axis{Label: "test accuracy (%)"}
)

// title of a plot of this campaign, of its search or of the runs with the chosen rates.
func (c *campaign) title(what, kase string, search bool) string {
	if kase != "" {
		what += ", " + kase
	}
	data, epochs := c.material(search)
	return fmt.Sprintf("%s, %s, %d images, %d epochs", what, c.Data, data.Len(), epochs)
}

// newCurve is that of a method. A method and its variants look alike; those with the geometric step or another
// scale are dashed.
func newCurve(name string) figure.Curve {
	kind, variant, _ := strings.Cut(name, ", ")
	dashed := strings.HasSuffix(variant, "g_t") || strings.HasSuffix(variant, "√2") || variant == manifolds.Initial.String()
	return figure.Curve{Name: name, Kind: kind, Dashed: dashed}
}

// plotSearch draws what the choice of the rates saw.
func (c *campaign) plotSearch(kase, suffix string, all []tuned) error {
	var curves []figure.Curve
	for _, t := range all {
		if t.minor {
			continue
		}
		l := newCurve(t.name)
		for i := range t.search {
			l.Add(t.search[i][0].Rate, 100*t.validation(i))
		}
		curves = append(curves, l)
	}
	return c.draw(suffix, c.title("Validation accuracy", kase, true), rateAxis, accuracyAxis, curves)
}

// plotGrid draws the means of a grid.
func (c *campaign) plotGrid(kase string, rows []row, rates []float64) error {
	var curves []figure.Curve
	for _, r := range rows {
		if r.minor {
			continue
		}
		l := newCurve(r.name)
		for i, cell := range r.cells {
			mean, _ := interval(accuracies(cell))
			l.Add(r.rate(rates[i]), 100*mean)
		}
		curves = append(curves, l)
	}
	return c.draw("-"+strings.NewReplacer(" ", "-", ",", "").Replace(kase)+".png",
		c.title("Test accuracy", kase, false), rateAxis, accuracyAxis, curves)
}

// plotLosses draws the means over the seeds of the training losses.
func (c *campaign) plotLosses(all []tuned) error {
	var curves []figure.Curve
	for _, t := range all {
		l := newCurve(t.name)
		for e := range c.Epochs {
			sum, n := 0.0, 0
			for _, o := range t.final {
				if e < len(o.Epochs) && o.Epochs[e].Loss != nil {
					sum, n = sum+*o.Epochs[e].Loss, n+1
				}
			}
			if n > 0 {
				l.Add(float64(e+1), sum/float64(n))
			}
		}
		curves = append(curves, l)
	}
	return c.draw("-loss.png", c.title("Training loss", "", false), epochAxis, lossAxis, curves)
}

// plotIntervals draws the mean test accuracies with their intervals, a line for each method.
func (c *campaign) plotIntervals(kase, suffix string, all []tuned) error {
	f := figure.Intervals{Title: c.title("Test accuracy", kase, false), X: testAxis}
	for _, t := range all {
		mean, half := interval(accuracies(t.final))
		f.Rows = append(f.Rows, figure.Interval{Name: t.name, Mean: 100 * mean, Half: 100 * half})
	}
	return c.save(suffix, f)
}

// draw draws curves.
func (c *campaign) draw(suffix, title string, x, y figure.Axis, curves []figure.Curve) error {
	return c.save(suffix, figure.Lines{Title: title, X: x, Y: y, Curves: curves, Size: figure.Size{Width: 10, Height: 4.8, DPI: 96}})
}

// save writes the picture beside the results.
func (c *campaign) save(suffix string, f interface{ PNG() ([]byte, error) }) error {
	b, err := f.PNG()
	if err != nil {
		return err
	}
	return c.write(suffix, b)
}
