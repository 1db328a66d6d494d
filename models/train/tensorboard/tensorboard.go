// SPDX-License-Identifier: Apache-2.0

// Package tensorboard writes a run of package train as event files of TensorBoard (https://www.tensorflow.org/tensorboard). It takes one hook:
//
//	hooks := []train.Hook{tensorboard.New("run/events", model, solver)}
//
// and `tensorboard --logdir run` shows the run while it is under way.
//
//	loss/batch, accuracy/batch                  of each step: TrainLoss and the score of its batch
//	loss/ascended                               of each step with solvers.SAM: Ascended
//	loss/train, loss/test, loss/validation      of each epoch, and the same of accuracy
//	rate/learning rate, rate/images per second  of each epoch
//	membership/*, condition/*, angle/*          of each kernel after each epoch, from the solver's report
//	kernels/*                                   pictures: a row for each filter, a column for each channel, blue below 0 and orange above
//	singular values/*                           histograms for each kernel: see solvers.SingularValues
//
// The step of every event is that of the solver, also for values that are written once an epoch. This is a separate package so that package
// train does not need a module for protocol buffers.
package tensorboard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// New returns a hook that writes the run of a net to a file in dir, whose name contains "tfevents". It makes
// dir if it does not exist. Solver may be nil; if it, or a solver that it wraps, has the method Report()
// solvers.Report, the method is called after each epoch.
//
// Each run writes its own file. The file of a resumed run tells TensorBoard to discard the steps after the
// checkpoint in earlier files; that of a new run in a directory with earlier files tells it to discard all of
// them. If a resumed run finds no files, its file begins with the epochs before the resumption. If the files lack the last of these,
// because the run was killed between its checkpoint and its events, its file begins with that one.
//
// If an event cannot be written, for example because the disk is full, no further events are written, and Fit
// returns the error after the epoch and its checkpoint, or at the end of a run that ends earlier. The run can
// be resumed. If dir cannot be written to at the beginning, the run does not start.
func New(dir string, net models.Trainable, solver gorgonia.Solver) train.Hook {
	l := &log{dir: dir, net: net, create: create, now: time.Now}
	l.reporter, _ = wrap.Find[reporter](solver)
	return train.Hook{Begin: l.begin, AfterStep: l.step, AfterEpoch: l.epoch, End: l.end}
}

type reporter interface{ Report() solvers.Report }

// log is a run under way.
type log struct {
	dir      string
	net      models.Trainable
	reporter reporter
	create   func(path string) (file, error)
	now      func() time.Time

	kernels []*gorgonia.Node
	steps   int // in an epoch
	to      file
	err     error // the error of the first event that could not be written
	told    bool  // err was returned
}

// file has the methods needed of an *os.File.
type file interface {
	Write([]byte) (int, error)
	Close() error
}

func create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err // a nil *os.File would be a file
	}
	return f, nil
}

func (l *log) begin(r train.Run) error {
	l.steps, l.err, l.told, l.kernels = r.Steps, nil, false, nil
	if isnil.Of(l.net) || l.net.Base() == nil {
		return errors.New("tensorboard: want a net, got nil")
	}
	judge := roles.Reader{}
	for _, n := range l.net.Base().Learnables {
		if judge.Of(n, n.Shape()).Role == roles.Kernel {
			l.kernels = append(l.kernels, n)
		}
	}
	if err := os.MkdirAll(l.dir, 0o777); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	before := slices.ContainsFunc(entries, isEvents)
	if l.to, err = l.open(entries); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	l.write(l.version())
	l.write(l.sessionStart(r.DoneSteps))
	done := r.Done
	if n := len(done); before && n > 0 {
		if done = done[n-1:]; l.has(entries, done[0].Number*l.steps) {
			done = nil
		}
	}
	for _, e := range done {
		l.scalars(e)
	}
	return l.untold()
}

func isEvents(e fs.DirEntry) bool { return strings.Contains(e.Name(), "tfevents") }

// has reports whether the earlier files have the numbers of the epoch that ended with the given step. A file is read up to where it is
// cut; what a later session has discarded does not count.
func (l *log) has(entries []fs.DirEntry, step int) (found bool) {
	for _, e := range entries {
		if !isEvents(e) {
			continue
		}
		f, err := os.Open(filepath.Join(l.dir, e.Name()))
		if err != nil {
			continue // then the epoch is written twice, which is harmless
		}
		eachEvent(bufio.NewReader(f), func(at int, start bool, text []byte) {
			switch {
			case start && at <= step:
				found = false
			case at == step && bytes.Contains(text, []byte("loss/train")):
				found = true
			}
		})
		_ = f.Close()
	}
	return found
}

const fileName = "events.out.tfevents.%010d.kernelfold"

// open makes a file whose name sorts after those of earlier files, also if the clock was set back since.
func (l *log) open(entries []fs.DirEntry) (file, error) {
	second := l.now().Unix()
	for _, e := range entries {
		var at int64
		if _, err := fmt.Sscanf(e.Name(), fileName, &at); err == nil {
			second = max(second, at+1)
		}
	}
	for ; ; second++ {
		f, err := l.create(filepath.Join(l.dir, fmt.Sprintf(fileName, second)))
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// write writes an event as a record, unless an earlier one could not be written.
func (l *log) write(event []byte) {
	if l.err != nil {
		return
	}
	if _, err := l.to.Write(record(event)); err != nil {
		l.err = fmt.Errorf("tensorboard: %w", err)
	}
}

// values writes an event with those values that are not nil.
func (l *log) values(step int, values ...[]byte) {
	if all := bytes.Join(values, nil); len(all) > 0 {
		l.write(l.summary(step, all))
	}
}

func (l *log) step(s train.Step) error {
	l.values(s.Number, scalar("loss/batch", s.Loss), scalar("accuracy/batch", s.Accuracy), scalar("loss/ascended", s.Ascended))
	return nil
}

// scalars writes the numbers of an epoch, except those that were not measured.
func (l *log) scalars(e train.Epoch) {
	l.values(e.Number*l.steps,
		scalar("loss/train", e.TrainLoss), scalar("loss/test", e.TestLoss), scalar("loss/validation", e.ValidationLoss),
		scalar("accuracy/train", e.TrainAccuracy), scalar("accuracy/test", e.TestAccuracy), scalar("accuracy/validation", e.ValidationAccuracy),
		scalar("rate/learning rate", e.LearnRate), scalar("rate/images per second", e.Rate()))
}

func (l *log) epoch(e train.Epoch) error {
	l.scalars(e)
	at := e.Number * l.steps
	if l.reporter != nil {
		for _, p := range l.reporter.Report().Parameters {
			if !p.Kernel {
				continue
			}
			name := p.Name
			if p.Part != "" {
				name += ", " + p.Part
			}
			if p.Grouping != "" {
				l.values(at, scalar("membership/"+name, p.Membership))
			}
			l.values(at, scalar("condition/"+name, p.Condition), scalar("angle/"+name, p.Angle))
		}
	}
	for _, n := range l.kernels {
		if l.err != nil {
			break
		}
		v, err := dense.Of(n.Value())
		if err != nil {
			return fmt.Errorf("tensorboard: %s: %w", n.Name(), err)
		}
		picture, err := picture("kernels/"+n.Name(), v, n.Shape())
		if err != nil {
			return fmt.Errorf("tensorboard: %s: %w", n.Name(), err)
		}
		groups, err := solvers.SingularValues(n)
		if err != nil {
			return fmt.Errorf("tensorboard: %w", err)
		}
		var all []float64
		for _, values := range groups {
			all = append(all, values...)
		}
		l.values(at, picture, histogram("singular values/"+n.Name(), all))
	}
	return l.untold()
}

// end returns the error of events since the last epoch.
func (l *log) end() error {
	if l.to != nil {
		if err := l.to.Close(); err != nil && l.err == nil {
			l.err = fmt.Errorf("tensorboard: %w", err)
		}
		l.to = nil
	}
	return l.untold()
}

// untold returns the error of the first event that could not be written, once.
func (l *log) untold() error {
	if l.told {
		return nil
	}
	l.told = l.err != nil
	return l.err
}

// measured reports whether a number was measured.
func measured(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
