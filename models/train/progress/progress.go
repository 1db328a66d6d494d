// SPDX-License-Identifier: Apache-2.0

// Package progress shows a run of package train: a bar with the loss, the accuracy, the time left and the images a second on
// a terminal, as wide as that is,
//
//	epoch 3/30 loss 0.912 accuracy 67.8 % 12m04s left 412 img/s  31% [===>      ]
//
// and a line for each epoch anywhere else:
//
//	epoch 3/30: loss 0.912, accuracy 67.8 %, test loss 0.951, test accuracy 66.4 %, 412 img/s, 12m04s left
//
// It is a package of its own so that package train needs no modules for terminals.
package progress

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/models/train"
)

// New returns a hook that draws a bar on w if that is a terminal, and writes lines to it
// otherwise. On a terminal a line for each epoch appears above the bar as well. If w cannot be written to, the run continues without being shown.
func New(w io.Writer) train.Hook {
	if isnil.Of(w) {
		return train.Hook{Begin: func(train.Run) error { return errors.New("progress: want a writer, got nil") }}
	}
	f, ok := w.(*os.File)
	m := newMeter(w, ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())))
	if m.draw {
		m.columns = func() int {
			columns, _, err := term.GetSize(int(f.Fd()))
			if err != nil || columns <= 0 {
				return usual
			}
			return columns
		}
	}
	return m.hook()
}

// meter shows a run.
type meter struct {
	w    io.Writer
	draw bool
	now  func() time.Time
	bar  *progressbar.ProgressBar
	// columns is the width of the terminal, which may change.
	columns func() int

	run            train.Run
	start          time.Time // of the epochs of this run, not of those before a resumption
	steps          int       // since then
	began          time.Time // of the steps that the rate is measured over
	last           int       // steps since that
	loss, accuracy float64   // means over the last steps
}

// usual is the assumed width of a terminal whose width is unknown.
const usual = 80

func newMeter(w io.Writer, draw bool) *meter {
	return &meter{w: w, draw: draw, now: time.Now, columns: func() int { return usual }}
}

func (m *meter) hook() train.Hook {
	return train.Hook{Begin: m.begin, AfterStep: m.step, AfterEpoch: m.epoch, End: m.end}
}

func (m *meter) begin(r train.Run) error {
	m.run, m.start, m.steps = r, m.now(), 0
	m.began, m.last = m.start, 0
	if m.draw {
		m.bar = progressbar.NewOptions(r.Epochs*r.Steps,
			progressbar.OptionSetWriter(m.w),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}),
		)
		_ = m.bar.Set(r.DoneSteps)
	}
	return nil
}

// weight is the weight of a step in the means, over about the last 20 steps.
const weight = 0.05

func (m *meter) step(s train.Step) error {
	if m.steps == 0 {
		m.loss, m.accuracy = s.Loss, s.Accuracy
	}
	m.steps++
	m.last++
	m.loss += weight * (s.Loss - m.loss)
	m.accuracy += weight * (s.Accuracy - m.accuracy)
	if m.bar == nil {
		return nil
	}
	m.bar.Describe(m.describe(s))
	_ = m.bar.Set(s.Number)
	return nil
}

// describe describes the state of the run, leaving room for a bar: a line wider than the terminal could not be redrawn.
func (m *meter) describe(s train.Step) string {
	text, columns := fmt.Sprintf("epoch %d/%d", s.Epoch, m.run.Epochs), m.columns()
	for _, more := range []string{
		fmt.Sprintf(" loss %.3f", m.loss), accuracy(" accuracy", m.accuracy), fmt.Sprintf(" %s left", m.left(s.Number)), fmt.Sprintf(" %.0f img/s", m.rate()),
	} {
		if len(text)+len(more)+bar > columns {
			break
		}
		text += more
	}
	return text
}

// bar is the width of a short bar and its percentage.
const bar = 18

// rate returns the images a second of the epoch under way.
func (m *meter) rate() float64 {
	seconds := m.now().Sub(m.began).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(m.last*m.run.Batch) / seconds
}

// left estimates the time until the last step, including evaluations.
func (m *meter) left(step int) time.Duration {
	if m.steps == 0 {
		return 0
	}
	each := m.now().Sub(m.start) / time.Duration(m.steps)
	return (each * time.Duration(m.run.Epochs*m.run.Steps-step)).Round(time.Second)
}

func (m *meter) epoch(e train.Epoch) error {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	parts := []string{fmt.Sprintf("epoch %d/%d: loss %.3f", e.Number, m.run.Epochs, e.TrainLoss), accuracy("accuracy", e.TrainAccuracy)}
	for _, part := range []struct {
		name           string
		loss, accuracy float64
	}{{"validation", e.ValidationLoss, e.ValidationAccuracy}, {"test", e.TestLoss, e.TestAccuracy}} {
		if !math.IsNaN(part.loss) {
			parts = append(parts, fmt.Sprintf("%s loss %.3f", part.name, part.loss), accuracy(part.name+" accuracy", part.accuracy))
		}
	}
	if rate := e.Rate(); !math.IsNaN(rate) {
		parts = append(parts, fmt.Sprintf("%.0f img/s", rate))
	}
	if left := m.left(e.Number * m.run.Steps); left > 0 {
		parts = append(parts, fmt.Sprintf("%s left", left))
	}
	m.began, m.last = m.now(), 0
	_, _ = fmt.Fprintln(m.w, m.join(parts))
	return nil
}

// join joins the parts that are not empty by commas, and on a terminal breaks the line at its width.
func (m *meter) join(parts []string) string {
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	columns := math.MaxInt
	if m.draw {
		columns = m.columns()
	}
	text, column := parts[0], len(parts[0])
	for _, p := range parts[1:] {
		if column+len(", ,")+len(p) > columns {
			text += ",\n    " + p
			column = 4 + len(p)
			continue
		}
		text += ", " + p
		column += 2 + len(p)
	}
	return text
}

// accuracy returns a share with its name, or nothing for a net without a score.
func accuracy(name string, share float64) string {
	if math.IsNaN(share) {
		return ""
	}
	return fmt.Sprintf("%s %.1f %%", name, 100*share)
}

func (m *meter) end() error {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	return nil
}
