// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

// progress is a bar on a terminal, and nothing anywhere else.
type progress struct {
	w    io.Writer
	bar  *progressbar.ProgressBar
	done int // parts
}

// newProgress draws on w if that is a terminal.
func newProgress(w io.Writer) *progress {
	if _, is := cli.Terminal(w); is {
		return &progress{w: w}
	}
	return &progress{}
}

func (p *progress) start(parts int) {
	if p.w == nil {
		return
	}
	p.bar = progressbar.NewOptions(parts,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionFullWidth(),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}),
	)
}

// next says what is measured, after all that was before.
func (p *progress) next(what string) {
	if p.bar != nil {
		p.bar.Describe(what)
		_ = p.bar.Set(p.done)
	}
	p.done++
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
