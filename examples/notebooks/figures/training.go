// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"errors"
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/models/train"
)

// Training returns a hook that shows a run below the cell while it trains: the progress, the loss, the accuracies,
// the time left, and the curve of the loss. When the run ends, its plots remain. Interrupting the cell ends the run
// after a step, with display.ErrInterrupted. Outside of notebooks the hook shows nothing.
func Training(title string) train.Hook {
	r := &run{title: title, interrupted: display.Interrupted, now: time.Now}
	begin := func(plan train.Run) error {
		r.show = display.New().Show // below the cell that it is used in now
		return r.begin(plan)
	}
	return train.Hook{Begin: begin, AfterStep: r.step, AfterEpoch: r.epoch, End: r.end}
}

// run is what Training knows of a run.
type run struct {
	title       string
	show        func(any) error
	interrupted func() error
	now         func() time.Time

	plan          train.Run
	done          int // steps
	loss          []float64
	epochs        []train.Epoch
	began, latest time.Time
}

const (
	often  = 250 * time.Millisecond // between two pictures of a run
	points = 100                    // at most, of the curve of the loss
)

func (r *run) begin(plan train.Run) error {
	r.plan, r.epochs, r.loss, r.done = plan, append([]train.Epoch(nil), plan.Done...), nil, plan.DoneSteps
	r.began = r.now()
	r.latest = r.began
	r.show(r.progress())
	return nil
}

func (r *run) step(s train.Step) error {
	r.done, r.loss = s.Number, append(r.loss, s.Loss)
	if now := r.now(); now.Sub(r.latest) >= often {
		r.latest = now
		r.show(r.progress())
	}
	return r.interrupted()
}

func (r *run) epoch(e train.Epoch) error {
	r.epochs = append(r.epochs, e)
	return nil
}

func (r *run) end() error {
	err := r.show(finished{r.plots(), r.line()})
	if errors.Is(err, display.ErrNoNotebook) {
		return nil
	}
	return err
}

// finished is what stays of a run.
type finished struct {
	Panels
	line string
}

func (f finished) String() string { return f.line }

// line says how far a run is.
func (r *run) line() string {
	text := r.title
	if text != "" {
		text += ": "
	}
	each := max(r.plan.Steps, 1)
	text += fmt.Sprintf("epoch %d of %d, step %d of %d", (r.done+each-1)/each, r.plan.Epochs, r.done, r.plan.Epochs*r.plan.Steps)
	if curve := r.curve(); len(curve.Y) > 0 {
		text += fmt.Sprintf(", loss %.3g", curve.Y[len(curve.Y)-1])
	}
	if n := len(r.epochs); n > 0 {
		e := r.epochs[n-1]
		for _, m := range []struct {
			name  string
			value float64
		}{{"training accuracy", e.TrainAccuracy}, {"validation accuracy", e.ValidationAccuracy}, {"test accuracy", e.TestAccuracy}} {
			if !math.IsNaN(m.value) {
				text += fmt.Sprintf(", %s %.1f %%", m.name, 100*m.value)
			}
		}
	}
	return text
}

// curve is the loss over the epochs, each point the mean of as many steps.
func (r *run) curve() Curve {
	c := Curve{Name: "training"}
	each := max(1, (len(r.loss)+points-1)/points)
	first := r.done - len(r.loss)
	for from := 0; from < len(r.loss); from += each {
		part, sum := r.loss[from:min(from+each, len(r.loss))], 0.0
		for _, l := range part {
			sum += l
		}
		c.Add(float64(first+from+len(part))/float64(max(r.plan.Steps, 1)), sum/float64(len(part)))
	}
	return c
}

// progress is a picture of a run under way, which takes less than a millisecond.
func (r *run) progress() display.Data {
	steps := max(r.plan.Epochs*r.plan.Steps, 1)
	line := r.line()
	if fresh := r.done - r.plan.DoneSteps; fresh > 0 {
		left := r.now().Sub(r.began) / time.Duration(fresh) * time.Duration(steps-r.done)
		line += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<div style="max-width:45em"><div>%s</div><progress style="width:100%%;height:1em" max="%d" value="%d"></progress>`,
		html.EscapeString(line), steps, r.done)
	r.sketch(&b)
	b.WriteString("</div>")
	d := display.HTML(b.String())
	d["text/plain"] = line
	return d
}

// sketch draws the curve of the loss. Its colours are those of the page, which may be dark.
func (r *run) sketch(b *strings.Builder) {
	const width, height, left, right, bottom = 640.0, 180.0, 44.0, 20.0, 18.0
	c := r.curve()
	low, high := math.Inf(1), math.Inf(-1)
	for _, y := range c.Y {
		if !math.IsNaN(y) && !math.IsInf(y, 0) {
			low, high = min(low, y), max(high, y)
		}
	}
	if low > high {
		return
	}
	if low = min(low, 0); low == high {
		high++
	}
	x := func(v float64) float64 { return left + (width-left-right)*v/float64(max(r.plan.Epochs, 1)) }
	y := func(v float64) float64 { return 6 + (height-bottom-6)*(high-v)/(high-low) }
	fmt.Fprintf(b, `<svg viewBox="0 0 %g %g" style="width:100%%" font-family="sans-serif" font-size="11" fill="currentColor">`, width, height)
	for i := range 3 {
		v := low + (high-low)*float64(i)/2
		fmt.Fprintf(b, `<line x1="%g" x2="%g" y1="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity="0.15"/>`, left, width-right, y(v), y(v))
		fmt.Fprintf(b, `<text x="%g" y="%.1f" text-anchor="end">%.2g</text>`, left-5, y(v)+4, v)
	}
	for e := 0; e <= r.plan.Epochs; e += max(1, (r.plan.Epochs+9)/10) {
		fmt.Fprintf(b, `<text x="%.1f" y="%g" text-anchor="middle">%d</text>`, x(float64(e)), height-4, e)
	}
	b.WriteString(`<polyline fill="none" stroke="#1f77b4" stroke-width="2" points="`)
	for i := range c.X {
		if v := c.Y[i]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			fmt.Fprintf(b, "%.1f,%.1f ", x(c.X[i]), y(v))
		}
	}
	b.WriteString(`"/></svg>`)
}

// plots shows the loss of the steps, and what was measured after the epochs.
func (r *run) plots() Panels {
	title := r.title
	if title != "" {
		title += ": "
	}
	epochs := Axis{Label: "epoch", Zero: true, Whole: true}
	loss := Lines{Title: title + "loss", X: epochs, Y: Axis{Label: "mean cost", Zero: true}, Curves: []Curve{r.curve()}}
	accuracy := Lines{Title: title + "accuracy", X: epochs, Y: Axis{Label: "accuracy (%)"}}
	measured := func(name string, of func(train.Epoch) float64) Curve {
		c := Curve{Name: name}
		for _, e := range r.epochs {
			if v := of(e); !math.IsNaN(v) {
				c.Add(float64(e.Number), v)
			}
		}
		return c
	}
	for _, m := range []struct {
		to    *Lines
		curve Curve
	}{
		{&loss, measured("validation", func(e train.Epoch) float64 { return e.ValidationLoss })},
		{&loss, measured("test", func(e train.Epoch) float64 { return e.TestLoss })},
		{&accuracy, measured("training", func(e train.Epoch) float64 { return 100 * e.TrainAccuracy })},
		{&accuracy, measured("validation", func(e train.Epoch) float64 { return 100 * e.ValidationAccuracy })},
		{&accuracy, measured("test", func(e train.Epoch) float64 { return 100 * e.TestAccuracy })},
	} {
		if len(m.curve.X) > 0 {
			m.to.Curves = append(m.to.Curves, m.curve)
		}
	}
	row := []Lines{loss}
	if len(accuracy.Curves) > 0 {
		row = append(row, accuracy)
	}
	return Panels{Rows: [][]Lines{row}}
}
