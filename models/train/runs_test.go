// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/rerun"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// kept is a run with logs, of 3 epochs of 11 steps, that is saved often.
func kept(t *testing.T, dir string, c train.Checkpoint, hooks ...train.Hook) (outcome, error) {
	m, s := stateful(t), solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	c.Dir = dir
	set := easy(t)
	done, err := train.Fit(context.Background(), m, s, set.Train, train.Options{
		Epochs: 3, Seed: 3, Augment: images.Augmentation{Pad: 2}, Test: set.Test, Checkpoint: c,
		Hooks: append(hooks, train.CSVFile(filepath.Join(dir, "log.csv")), train.JSONFile(filepath.Join(dir, "log.json"))),
	})
	return after(t, m, s, done), err
}

// folder is the files of a directory.
func folder(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			files[path] = ""
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

// logged is the epochs in both logs of a run, without the times.
func logged(t *testing.T, dir string) (epochs []train.Epoch) {
	d := json.NewDecoder(strings.NewReader(folder(t, dir)[filepath.Join(dir, "log.json")]))
	for d.More() {
		var e train.Epoch
		require.NoError(t, d.Decode(&e))
		epochs = append(epochs, comparable(t, e))
	}
	table := strings.Split(folder(t, dir)[filepath.Join(dir, "log.csv")], "\n")
	require.Len(t, table, 2+len(epochs))
	for i, e := range epochs {
		assert.True(t, strings.HasPrefix(table[i+1], fmt.Sprint(e.Number, ",")), table[i+1])
	}
	return epochs
}

const killedRun = "KERNELFOLD_TRAIN_KILLED"

// TestKilled kills processes that train, at several moments: each run goes on, with its logs, and ends as the one that
// was not killed.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedRun); dir != "" {
		say := func(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }
		there, err := train.Saved(dir)
		require.NoError(t, err)
		_, err = kept(t, dir, train.Checkpoint{Resume: there, EverySteps: 4, Keep: 3}, train.Hook{
			Begin:      func(train.Run) error { say("begin"); return nil },
			AfterStep:  func(s train.Step) error { say("step %d", s.Number); return nil },
			AfterEpoch: func(e train.Epoch) error { say("epoch %d", e.Number); return nil },
		})
		require.NoError(t, err)
		say("over")
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("the file system may hold on to files of a process that was killed")
	}
	want, err := kept(t, t.TempDir(), train.Checkpoint{})
	require.NoError(t, err)
	for _, moments := range [][]string{{"begin"}, {"step 1"}, {"step 9", "step 9"}, {"step 11", "epoch 1", "step 23"}, {"begin", "epoch 2", "over"}} {
		t.Run(strings.Join(moments, ", "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			for i, moment := range moments {
				c := rerun.Command("-test.run=^TestKilled$")
				c.Env = append(os.Environ(), killedRun+"="+dir)
				out, err := c.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, c.Start())
				lines := bufio.NewScanner(out)
				for lines.Scan() && lines.Text() != moment {
				}
				require.Equal(t, moment, lines.Text())
				time.Sleep(time.Duration(i) * time.Millisecond) // into what comes next
				require.NoError(t, c.Process.Kill())
				for lines.Scan() {
				}
				_ = c.Wait()
			}
			there, err := train.Saved(dir)
			require.NoError(t, err)
			got, err := kept(t, dir, train.Checkpoint{Resume: there, Keep: 3})
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, want.epochs, logged(t, dir))
			names, err := filepath.Glob(filepath.Join(dir, ".*"))
			require.NoError(t, err)
			assert.Empty(t, names, "what was being written when the process was killed")
		})
	}
}

// stop ends a run after so many steps.
func stop(after int) train.Hook {
	return train.Hook{AfterStep: func(s train.Step) error {
		if s.Number >= after {
			return train.ErrStop
		}
		return nil
	}}
}

// A run is saved before its first step, every few steps, or after some time, and keeps as many whole checkpoints as it
// is told to; damaged ones are not counted.
func TestKeep(t *testing.T) {
	checkpoints := func(dir string) (whole, damaged []string) {
		paths, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		require.NoError(t, err)
		for _, p := range paths {
			switch {
			case filepath.Base(p) == train.BestFile:
			case checkpoint.Check(p) == nil:
				whole = append(whole, filepath.Base(p))
			default:
				damaged = append(damaged, filepath.Base(p))
			}
		}
		return whole, damaged
	}
	for _, c := range []train.Checkpoint{{Keep: 4, EverySteps: 2}, {Keep: 4, EveryTime: time.Nanosecond}} {
		dir := t.TempDir()
		_, err := kept(t, dir, c, train.Hook{AfterStep: func(s train.Step) error {
			whole, _ := checkpoints(dir)
			assert.NotEmpty(t, whole, "saved before the first step")
			return nil
		}}, stop(9))
		require.NoError(t, err)
		whole, damaged := checkpoints(dir)
		assert.Len(t, whole, 4)
		assert.Contains(t, whole, train.LastFile)
		assert.Empty(t, damaged)

		// The two newest are damaged: the run continues from the third, says so, and keeps four whole ones again.
		var notes train.Run
		spoil(t, filepath.Join(dir, train.LastFile))
		spoil(t, filepath.Join(dir, whole[2]))
		_, err = kept(t, dir, train.Checkpoint{Resume: true, Keep: 4, EverySteps: 2}, train.Hook{Begin: func(r train.Run) error {
			notes = r
			return nil
		}}, stop(16))
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, whole[1]), notes.Resumed)
		assert.Less(t, notes.DoneSteps, 9)
		require.Len(t, notes.Damaged, 2)
		for i, name := range []string{train.LastFile, whole[2]} {
			assert.ErrorIs(t, notes.Damaged[i], checkpoint.ErrDamaged)
			assert.ErrorContains(t, notes.Damaged[i], name)
		}
		whole, damaged = checkpoints(dir)
		assert.Len(t, whole, 4)
		assert.Empty(t, damaged, "older than those that are kept")
	}
}

// spoil flips a bit in the middle of a file.
func spoil(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o666))
}

// A run that is refused leaves the directory as it was, to the byte, whatever the reason.
func TestRefusedChangesNothing(t *testing.T) {
	set := easy(t)
	none := func(*testing.T, string) {}
	for name, test := range map[string]struct {
		spoil  func(t *testing.T, dir string)
		change func(o *train.Options)
		want   string
	}{
		"fewer epochs":    {none, func(o *train.Options) { o.Epochs = 1 }, "want at least the 2 epochs that are complete, got 1"},
		"too many epochs": {none, func(o *train.Options) { o.Epochs = math.MaxInt }, "epochs, got"},
		"another seed":    {none, func(o *train.Options) { o.Seed = 4 }, "want the batches of the run that was saved"},
		"a new run":       {none, func(o *train.Options) { o.Checkpoint.Resume = false }, "want a directory without a run"},
		"all are damaged": {func(t *testing.T, dir string) {
			paths, err := checkpoint.Series{Dir: dir, Last: train.LastFile}.Paths()
			require.NoError(t, err)
			require.Len(t, paths, 2)
			for _, p := range paths {
				spoil(t, p)
			}
		}, func(*train.Options) {}, "want a whole checkpoint in"},
		"all are gone": {func(t *testing.T, dir string) {
			paths, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
			require.NoError(t, err)
			for _, p := range paths {
				require.NoError(t, os.Remove(p))
			}
		}, func(*train.Options) {}, "want a run to resume in"},
		"no folder": {func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) }, func(*train.Options) {}, "want a run to resume in"},
		"a hook": {none, func(o *train.Options) {
			o.Hooks = []train.Hook{{Begin: func(train.Run) error { return errors.New("no") }}}
		}, "no"},
		"cut":          {func(t *testing.T, dir string) { cutAll(t, dir) }, func(*train.Options) {}, "want a whole checkpoint in"},
		"a file":       {none, func(o *train.Options) { o.Checkpoint.Dir = filepath.Join(o.Checkpoint.Dir, train.LastFile) }, "train: "},
		"other scales": {none, func(o *train.Options) { o.Rescale = 2 }, "want Rescale by 0 batches as in the run that was saved, got 2"},
		"no batches":   {none, func(o *train.Options) { o.Augment.Pad = 100 }, "padding"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "run")
			_, err := kept(t, dir, train.Checkpoint{}, stop(25))
			require.NoError(t, err)
			test.spoil(t, dir)
			before := folder(t, filepath.Dir(dir))
			m, s := stateful(t), solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
			o := train.Options{
				Epochs: 3, Seed: 3, Augment: images.Augmentation{Pad: 2}, Test: set.Test, Checkpoint: train.Checkpoint{Dir: dir, Resume: true},
			}
			test.change(&o)
			o.Hooks = append(o.Hooks, train.CSVFile(filepath.Join(dir, "log.csv")), train.JSONFile(filepath.Join(dir, "log.json")))
			_, err = train.Fit(context.Background(), m, s, set.Train, o)
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, before, folder(t, filepath.Dir(dir)))
		})
	}
}

func cutAll(t *testing.T, dir string) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	require.NoError(t, err)
	for _, p := range paths {
		require.NoError(t, os.Truncate(p, 100))
	}
}

// Two runs cannot use one directory at a time; the second says so and changes nothing.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	tried := 0
	_, err := kept(t, dir, train.Checkpoint{}, train.Hook{AfterStep: func(s train.Step) error {
		if s.Number != 12 {
			return nil
		}
		before := folder(t, dir)
		for _, c := range []train.Checkpoint{{}, {Resume: true}, {Replace: true}} {
			_, err := kept(t, dir, c)
			assert.EqualError(t, err, "train: checkpoint: want a directory that no run is using, got "+dir+", where one is under way and holds lock")
			tried++
		}
		assert.Equal(t, before, folder(t, dir))
		return nil
	}})
	require.NoError(t, err)
	assert.Equal(t, 3, tried)
	assert.NoFileExists(t, filepath.Join(dir, train.LockFile))
	_, err = kept(t, dir, train.Checkpoint{Resume: true})
	require.NoError(t, err)
}

// panics is a solver whose Init panics.
type panics struct{ *solvers.Solver }

func (panics) Init([]gorgonia.ValueGrad) error { panic("init") }

// A panic before the first step leaves the directory to the next run.
func TestLockAfterPanic(t *testing.T) {
	dir := t.TempDir()
	m, set, o := stateful(t), easy(t), train.Options{Epochs: 1, Checkpoint: train.Checkpoint{Dir: dir}}
	assert.PanicsWithValue(t, "init", func() { _, _ = train.Fit(context.Background(), m, panics{solvers.NewSGD()}, set.Train, o) })
	assert.NoFileExists(t, filepath.Join(dir, train.LockFile))
	_, err := train.Fit(context.Background(), m, solvers.NewSGD(), set.Train, o)
	assert.NoError(t, err)
}

// A new run that replaces another leaves nothing of it, and until it is saved itself the other one is there.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	_, err := kept(t, dir, train.Checkpoint{Keep: 5})
	require.NoError(t, err)
	old := folder(t, dir)
	_, err = kept(t, dir, train.Checkpoint{Replace: true, Keep: 5}, train.Hook{Begin: func(train.Run) error {
		now := folder(t, dir)
		delete(now, filepath.Join(dir, train.LockFile))
		assert.Equal(t, old, now)
		return nil
	}}, stop(1))
	require.NoError(t, err)
	var names []string
	for path := range folder(t, dir) {
		names = append(names, strings.TrimPrefix(path, dir))
	}
	slices.Sort(names)
	assert.Len(t, names, 5, "the folder, two checkpoints and two logs: %q", names)
	assert.Empty(t, logged(t, dir))
	_, err = kept(t, dir, train.Checkpoint{Resume: true})
	require.NoError(t, err)
	assert.Len(t, logged(t, dir), 3)
}

// A log that cannot be written is an error, and what was there before stays.
func TestLogFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	require.NoError(t, os.Mkdir(path, 0o777))
	err := train.CSVFile(path).Begin(train.Run{})
	assert.ErrorContains(t, err, "train: log: ")
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, names, 1)
	b := &bytes.Buffer{}
	require.NoError(t, train.JSON(b).Begin(train.Run{}))
	assert.Empty(t, b.String())
}

// Hooks after one that ends the run see the step and the epoch with which it ends, and an error of theirs is not lost behind ErrStop.
func TestHooksAfterTheEnd(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	for name, test := range map[string]struct{ errs, want []error }{
		"stop":               {[]error{train.ErrStop, nil}, nil},
		"an error":           {[]error{first, second}, []error{first}},
		"a stop, then error": {[]error{train.ErrStop, second}, []error{second}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, steps := t.TempDir(), 0
			_, err := kept(t, dir, train.Checkpoint{},
				train.Hook{AfterEpoch: func(train.Epoch) error { return test.errs[0] }},
				train.Hook{AfterEpoch: func(train.Epoch) error { return test.errs[1] }})
			assert.Len(t, logged(t, dir), 1)
			_, stepped := kept(t, filepath.Join(dir, "other"), train.Checkpoint{},
				train.Hook{AfterStep: func(train.Step) error { return test.errs[0] }},
				train.Hook{AfterStep: func(train.Step) error {
					steps++
					return test.errs[1]
				}})
			assert.Equal(t, 1, steps)
			for _, err := range []error{err, stepped} {
				if test.want == nil {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, test.want[0])
				}
			}
		})
	}
}

// A run that an example, its evaluation or a hook ends is saved with the steps that it has made, and ends, once resumed, as one that did not fail.
func TestSavedAfterErrors(t *testing.T) {
	var example, evaluation atomic.Bool // is broken
	fit := func(dir string, resume bool, hooks ...train.Hook) (outcome, error) {
		m, s := stateful(t), solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
		done, err := train.Fit(context.Background(), m, s, fragile{easy(t).Train, &example}, train.Options{
			Epochs: 2, Test: fragile{easy(t).Test, &evaluation}, Hooks: hooks, Checkpoint: train.Checkpoint{Dir: dir, Resume: resume, Every: 5},
		})
		return after(t, m, s, done), err
	}
	mine := errors.New("mine")
	want, err := fit(filepath.Join(t.TempDir(), "whole"), false)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		hook       train.Hook
		want       string
		steps, all int // made, and in completed epochs
	}{
		"example":    {train.Hook{}, "train: example 20: broken", 1, 0},
		"evaluation": {train.Hook{}, "train: Test: example 20: broken", 11, 0},
		"step": {train.Hook{AfterStep: func(s train.Step) error {
			if s.Number == 11 {
				return mine
			}
			return nil
		}}, "mine", 11, 0},
		"epoch": {train.Hook{AfterEpoch: func(train.Epoch) error { return mine }}, "mine", 11, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			example.Store(name == "example")
			evaluation.Store(name == "evaluation")
			_, err := fit(dir, false, c.hook)
			require.EqualError(t, err, c.want)
			example.Store(false)
			evaluation.Store(false)
			var begun train.Run
			got, err := fit(dir, true, train.Hook{Begin: func(r train.Run) error {
				begun = r
				return nil
			}})
			require.NoError(t, err)
			assert.Equal(t, c.steps, begun.DoneSteps)
			assert.Len(t, begun.Done, c.all)
			assert.Equal(t, want, got)
		})
	}
}

// fragile are images of which one may be broken.
type fragile struct {
	images.Split
	broken *atomic.Bool
}

func (f fragile) Example(i int, row []any, rng *rand.Rand) error {
	if i == 20 && f.broken.Load() {
		return errors.New("broken")
	}
	return f.Split.Example(i, row, rng)
}
