// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/train"
)

// progress is a bar on a terminal, and nothing anywhere else.
type progress struct {
	w    io.Writer
	bar  *progressbar.ProgressBar
	name string
	mean float64 // of the loss, over the last steps
}

// newProgress draws on w if that is a terminal.
func newProgress(w io.Writer) *progress {
	if _, is := cli.Terminal(w); is {
		return &progress{w: w}
	}
	return &progress{}
}

func (p *progress) start(steps int) {
	if p.w == nil {
		return
	}
	p.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}),
	)
}

func (p *progress) solver(name string) { p.name = name }

func (p *progress) step(at train.Step) {
	if p.bar == nil {
		return
	}
	if at.Number == 1 {
		p.mean = at.Loss
	}
	p.mean += 0.05 * (at.Loss - p.mean)
	p.bar.Describe(fmt.Sprintf("%s epoch %d loss %.3f", p.name, at.Epoch, p.mean))
	_ = p.bar.Add(1)
}

// skip moves the bar to the given step, where a solver ended early.
func (p *progress) skip(step int) {
	if p.bar != nil {
		_ = p.bar.Set(step)
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
