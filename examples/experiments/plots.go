// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
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
	testAxis     = figure.Axis{Label: "test accuracy (%): means, their 95 % intervals, and Euclidean SGD dashed"}
)

// title of a plot of this campaign, of its search or of the runs with the chosen rates.
func (c *campaign) title(what, kase string, search bool) string {
	if kase != "" {
		what += ", " + kase
	}
	data, epochs := c.material(search)
	return fmt.Sprintf("%s, %s, %d images, %d epochs", what, c.Data, data.Len(), epochs)
}

// newCurve is that of a method, in the hue of its manifold. Those with the geometric step or another scale are dashed.
func newCurve(name string) figure.Curve {
	_, variant, _ := strings.Cut(name, ", ")
	dashed := strings.HasSuffix(variant, "g_t") || strings.HasSuffix(variant, "√2") || variant == manifolds.Initial.String()
	c := figure.Curve{Name: name, Hue: figure.Manifold(name), Dashed: dashed}
	switch name {
	case stockMomentum.name:
		c.Hue = figure.Yellow
	case stockAdam.name:
		c.Hue = figure.Purple
	}
	return c
}

// plotSearch draws the validation accuracies by which the rates were chosen.
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
	return c.drawRates(suffix, c.title("Validation accuracy", kase, true), curves)
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
	return c.drawRates("-"+strings.NewReplacer(" ", "-", ",", "").Replace(kase)+".png", c.title("Test accuracy", kase, false), curves)
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
		f.Rows = append(f.Rows, figure.Interval{Name: t.name, Mean: 100 * mean, Half: 100 * half, Hue: newCurve(t.name).Hue})
		if t.name == euclidean.name {
			f.Reference = 100 * mean
		}
	}
	return c.save(suffix, f)
}

// useful is the range of an axis below the best accuracy, in percentage points. An axis that begins at chance, 10 %, would compress the range of
// interest.
const useful = 30

// Marks of figure.Curve.
const (
	discs   = 1
	squares = 2 // and triangles
	rings   = 4
)

// drawRates draws accuracies over the learning rates: a panel for each constraint beside Euclidean SGD, and one for what has none.
func (c *campaign) drawRates(suffix, title string, curves []figure.Curve) error {
	best := 0.0
	for _, l := range curves {
		for _, y := range l.Y {
			best = max(best, y)
		}
	}
	m := figure.Multiples{Title: title, X: rateAxis, Y: accuracyAxis}
	m.Y.Floor = max(5, 5*math.Floor((best-useful)/5))
	var free []figure.Curve
	variants := map[string]bool{}
	for _, l := range curves {
		kind, variant, _ := strings.Cut(l.Name, ", ")
		variant = strings.TrimPrefix(variant, manifolds.UnitFilters.String()+", ")
		switch {
		case l.Name == euclidean.name || l.Name == freeGrid:
			m.Faint = append(m.Faint, l)
			continue
		case l.Name == stockAdam.name || l.Name == stockMomentum.name:
			l.Mark = squares + len(free)
			free = append(free, l)
			m.Key = append(m.Key, l)
			continue
		}
		l.Mark = discs
		if l.Dashed {
			l.Mark = rings
			variants[variant] = true
		}
		if n := len(m.Panels); n == 0 || m.Panels[n-1].Title != kind {
			at := slices.IndexFunc(m.Panels, func(p figure.Panel) bool { return p.Title == kind })
			if at >= 0 {
				m.Panels[at].Curves = append(m.Panels[at].Curves, l)
				continue
			}
			m.Panels = append(m.Panels, figure.Panel{Title: kind})
		}
		last := &m.Panels[len(m.Panels)-1]
		last.Curves = append(last.Curves, l)
	}
	if len(m.Panels) < 3 { // one plot has room for them
		return c.draw(suffix, title, rateAxis, accuracyAxis, curves)
	}
	if len(free) > 0 {
		m.Panels = slices.Insert(m.Panels, 0, figure.Panel{Title: "no constraint", Curves: free})
	}
	plain := "filter norm 1"
	if variants["g_t"] {
		plain = "plain step"
	}
	m.Key = append(m.Key, figure.Curve{Name: plain, Hue: figure.Blue, Mark: discs})
	for _, v := range slices.Sorted(maps.Keys(variants)) {
		m.Key = append(m.Key, figure.Curve{Name: strings.Replace(v, "g_t", "geometric step g_t", 1), Hue: figure.Blue, Dashed: true, Mark: rings})
	}
	return c.save(suffix, m)
}

// draw draws curves.
func (c *campaign) draw(suffix, title string, x, y figure.Axis, curves []figure.Curve) error {
	return c.save(suffix, figure.Lines{Title: title, X: x, Y: y, Curves: curves, Size: figure.Size{Width: 10, Height: 4.8, DPI: 144}})
}

// save writes the picture beside the results.
func (c *campaign) save(suffix string, f interface{ PNG() ([]byte, error) }) error {
	b, err := f.PNG()
	if err != nil {
		return err
	}
	return c.write(suffix, b)
}
