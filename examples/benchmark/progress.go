// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
)

// progress is a bar on a terminal, and a line for each part anywhere else.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar
	done  int // parts
	parts int
}

func newProgress(w io.Writer) *progress { return &progress{w: w} }

func (p *progress) start(parts int) {
	p.parts = parts
	if _, is := cli.Terminal(p.w); !is {
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

// next announces the next measurement.
func (p *progress) next(what string) {
	p.done++
	if p.bar == nil {
		fmt.Fprintf(p.w, "%d/%d %s\n", p.done, p.parts, what)
		return
	}
	p.bar.Describe(what)
	_ = p.bar.Set(p.done - 1)
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
