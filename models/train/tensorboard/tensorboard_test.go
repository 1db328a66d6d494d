// SPDX-License-Identifier: Apache-2.0

package tensorboard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// The bytes are those of Python's protocol buffers: testdata/events.py.
func TestBytes(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "events.bin"))
	require.NoError(t, err)
	l := &log{now: func() time.Time { return time.Unix(1_500_000_000, 0) }}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var got []byte
	for _, e := range [][]byte{
		l.version(),
		l.sessionStart(300),
		l.summary(301, append(scalar("loss/batch", 0.1), scalar("accuracy/batch", 0)...)),
		l.summary(1<<40, append(image("kernels/é", 3, 400, all), histogram("singular values/é", []float64{4, 1, 2})...)),
	} {
		got = append(got, record(e)...)
	}
	assert.Equal(t, want, got)
}

// crc32c is a CRC of its own, bit by bit.
func crc32c(data []byte) uint32 {
	crc := ^uint32(0)
	for _, b := range data {
		crc ^= uint32(b)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	return ^crc
}

// fields are those of a message, by number. Numbers are in their bits.
func fields(t require.TestingT, m []byte) map[protowire.Number][]any {
	all := map[protowire.Number][]any{}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		require.Positive(t, n)
		m = m[n:]
		var v any
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(m)
		case protowire.Fixed32Type:
			v, n = protowire.ConsumeFixed32(m)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(m)
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(m)
		}
		require.Positive(t, n, "field %d of type %d", number, kind)
		all[number] = append(all[number], v)
		m = m[n:]
	}
	return all
}

// event is what a test reads of one.
type read struct {
	step    int
	start   bool // of a session
	version string
	values  map[string]map[protowire.Number][]any
	order   []string
}

// records reads events as TensorBoard does: what has a wrong CRC of its length or of its data is an error, and so is what is cut.
func records(t require.TestingT, file []byte) (events []read, err error) {
	for len(file) > 0 {
		if len(file) < 16 {
			return events, io.ErrUnexpectedEOF
		}
		unmask := func(b []byte) uint32 {
			rotated := binary.LittleEndian.Uint32(b) - 0xa282ead8
			return rotated>>17 | rotated<<15
		}
		if crc32c(file[:8]) != unmask(file[8:12]) {
			return events, errors.New("wrong CRC of the length")
		}
		n := binary.LittleEndian.Uint64(file)
		if n > uint64(len(file)-16) {
			return events, io.ErrUnexpectedEOF
		}
		data := file[12 : 12+n]
		if crc32c(data) != unmask(file[12+n:16+n]) {
			return events, errors.New("wrong CRC of the data")
		}
		file = file[16+n:]
		f := fields(t, data)
		e := read{values: map[string]map[protowire.Number][]any{}, start: f[7] != nil}
		require.Len(t, f[1], 1, "wall time")
		assert.InDelta(t, time.Now().Unix(), math.Float64frombits(f[1][0].(uint64)), 600)
		if f[2] != nil {
			e.step = int(f[2][0].(uint64))
		}
		if f[3] != nil {
			e.version = string(f[3][0].([]byte))
		}
		if f[5] != nil {
			for _, v := range fields(t, f[5][0].([]byte))[1] {
				value := fields(t, v.([]byte))
				tag := string(value[1][0].([]byte))
				e.values[tag] = value
				e.order = append(e.order, tag)
			}
		}
		events = append(events, e)
	}
	return events, nil
}

func number(v any) float64 {
	if bits, ok := v.(uint32); ok {
		return float64(math.Float32frombits(bits))
	}
	return math.Float64frombits(v.(uint64))
}

// numbers are packed.
func numbers(t require.TestingT, v any) (x []float64) {
	for b := v.([]byte); len(b) > 0; {
		bits, n := protowire.ConsumeFixed64(b)
		require.Positive(t, n)
		x, b = append(x, math.Float64frombits(bits)), b[n:]
	}
	return x
}

// paths are the event files in dir.
func paths(t *testing.T, dir string) (all []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "events.out.tfevents.") {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// files are the events of each file in dir, in the order of their names.
func files(t *testing.T, dir string) (all [][]read) {
	for _, p := range paths(t, dir) {
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		events, err := records(t, b)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(events), 2)
		assert.Equal(t, "brain.Event:2", events[0].version)
		assert.True(t, events[1].start)
		all = append(all, events)
	}
	return all
}

// digits are images, a net of two kernels and a solver.
func digits(t testing.TB) (*images.Set, *models.Model, *solvers.Solver) {
	set, err := images.Digits(1, 200, 40, images.DigitOptions{Side: 12})
	require.NoError(t, err)
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{4, 8}, Seed: 1})
	require.NoError(t, err)
	return set, m, solvers.NewSGD(solvers.LearnRate(0.05), solvers.Kernels(manifolds.Stiefel{}, manifolds.Unit))
}

// A run of 2 epochs of 10 steps, read back.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b", "events")
	set, m, s := digits(t)
	done, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: 2, Seed: 1, Test: set.Test, Hooks: []train.Hook{New(dir, m, s)}})
	require.NoError(t, err)
	all := files(t, dir)
	require.Len(t, all, 1)
	batches, epochs, kernels := 0, 0, 0
	for _, e := range all[0][2:] {
		if v, ok := e.values["loss/batch"]; ok {
			batches++
			assert.Equal(t, batches, e.step)
			assert.Positive(t, number(v[2][0]))
			assert.Equal(t, []string{"loss/batch", "accuracy/batch"}, e.order)
		}
		if v, ok := e.values["loss/train"]; ok {
			want := done[epochs]
			epochs++
			assert.Equal(t, 10*epochs, e.step)
			assert.InDelta(t, want.TrainLoss, number(v[2][0]), 1e-6)
			assert.InDelta(t, want.TestAccuracy, number(e.values["accuracy/test"][2][0]), 1e-6)
			assert.InDelta(t, 0.05, number(e.values["rate/learning rate"][2][0]), 1e-6)
			assert.NotContains(t, e.values, "loss/validation")
		}
		for tag, v := range e.values {
			name, is := strings.CutPrefix(tag, "kernels/")
			if !is {
				continue
			}
			kernels++
			picture := fields(t, v[4][0].([]byte))
			im, err := png.Decode(bytes.NewReader(picture[4][0].([]byte)))
			require.NoError(t, err)
			assert.Equal(t, []uint64{uint64(im.Bounds().Dy()), uint64(im.Bounds().Dx()), 3}, []uint64{picture[1][0].(uint64), picture[2][0].(uint64), picture[3][0].(uint64)})
			histo := fields(t, e.values["singular values/"+name][5][0].([]byte))
			limits, counts := numbers(t, histo[6][0]), numbers(t, histo[7][0])
			assert.Len(t, limits, len(counts))
			sum := 0.0
			for i, c := range counts {
				sum += c
				assert.True(t, i == 0 || limits[i] > limits[i-1])
			}
			assert.Equal(t, number(histo[3][0]), sum)
			assert.InDelta(t, 1, number(histo[1][0]), 1e-6, "on Stiefel all are 1")
			assert.InDelta(t, 1, number(histo[2][0]), 1e-6)
			assert.InDelta(t, sum, number(histo[4][0]), 1e-5)
		}
	}
	assert.Equal(t, []int{20, 2, 4}, []int{batches, epochs, kernels})
	tags := map[string]bool{}
	for _, e := range all[0] {
		for _, tag := range e.order {
			tags[strings.Split(tag, "/")[0]] = true
		}
	}
	for _, want := range []string{"membership", "condition", "angle", "rate"} {
		assert.True(t, tags[want], want)
	}

	// Every bit counts.
	file, err := os.ReadFile(paths(t, dir)[0])
	require.NoError(t, err)
	for at := range 200 {
		spoilt := bytes.Clone(file[:400])
		spoilt[at] ^= 1 << (at % 8)
		_, err := records(t, spoilt)
		assert.Error(t, err, "byte %d", at)
	}
}

// A resumed run has a file of its own, without what was before; one without files of before has them all. A new run says so too.
func TestResume(t *testing.T) {
	root := t.TempDir()
	dir, other := filepath.Join(root, "events"), filepath.Join(root, "other")
	run := func(c train.Checkpoint, stop int, to string) {
		t.Helper()
		set, m, s := digits(t)
		c.Dir = filepath.Join(root, "run")
		_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: 2, Seed: 1, Checkpoint: c,
			Hooks: []train.Hook{New(to, m, s), {AfterStep: func(at train.Step) error {
				if at.Number == stop {
					return train.ErrStop
				}
				return nil
			}}}})
		require.NoError(t, err)
	}
	run(train.Checkpoint{}, 13, dir)
	run(train.Checkpoint{Resume: true}, 17, dir)
	run(train.Checkpoint{Resume: true}, 0, other)
	steps := func(events []read) (n []int) {
		for _, e := range events {
			if _, ok := e.values["loss/batch"]; ok {
				n = append(n, e.step)
			}
		}
		return n
	}
	all := files(t, dir)
	require.Len(t, all, 2)
	assert.Zero(t, all[0][1].step)
	assert.Len(t, steps(all[0]), 13)
	assert.Equal(t, 14, all[1][1].step, "the session begins")
	assert.Equal(t, []int{14, 15, 16, 17}, steps(all[1]))
	apart := files(t, other)
	require.Len(t, apart, 1)
	assert.Contains(t, apart[0][2].values, "loss/train", "the epoch before")
	assert.Equal(t, 10, apart[0][2].step)
	assert.Equal(t, []int{18, 19, 20}, steps(apart[0]))
	run(train.Checkpoint{Replace: true}, 1, dir)
	assert.Zero(t, files(t, dir)[2][1].step)
}

// A run that was killed between the checkpoint and the events of an epoch writes them when it is resumed, once.
func TestResumeAfterKill(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "events")
	run := func(epochs int, resume, killed bool) {
		t.Helper()
		set, m, s := digits(t)
		h := New(dir, m, s)
		if killed {
			h.AfterEpoch = nil
		}
		_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: epochs, Seed: 1, Hooks: []train.Hook{h},
			Checkpoint: train.Checkpoint{Dir: filepath.Join(root, "run"), Resume: resume}})
		require.NoError(t, err)
	}
	run(1, false, true)
	require.NoError(t, os.Truncate(paths(t, dir)[0], 700), "in the middle of an event")
	run(2, true, false)
	run(3, true, false)
	epochs := map[int]int{}
	for i, path := range paths(t, dir) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		events, err := records(t, b)
		assert.Equal(t, i == 0, err != nil, "the first file is cut")
		for _, e := range events {
			if _, ok := e.values["loss/train"]; ok {
				epochs[e.step]++
			}
		}
	}
	assert.Equal(t, map[int]int{10: 1, 20: 1, 30: 1}, epochs)
}

// full is a disk that takes so many bytes.
type full struct {
	*os.File
	left int
}

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		n, _ := f.File.Write(b[:max(0, len(b)+f.left)])
		return n, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// On a full disk the run ends after the epoch and its checkpoint, from which it goes on. What was written is whole but for its last record.
func TestFullDisk(t *testing.T) {
	for _, left := range []int{30, 300} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			dir := t.TempDir()
			set, m, s := digits(t)
			l := &log{dir: dir, net: m, reporter: s, now: time.Now, create: func(path string) (file, error) {
				f, err := os.Create(path)
				return &full{f, left}, err
			}}
			options := train.Options{Epochs: 2, Seed: 1, Checkpoint: train.Checkpoint{Dir: filepath.Join(dir, "run")},
				Hooks: []train.Hook{{Begin: l.begin, AfterStep: l.step, AfterEpoch: l.epoch, End: l.end}}}
			done, err := train.Fit(context.Background(), m, s, set.Train, options)
			assert.ErrorIs(t, err, syscall.ENOSPC)
			assert.ErrorContains(t, err, "tensorboard: ")
			if left < 100 {
				assert.Empty(t, done, "nothing began")
				return
			}
			assert.Len(t, done, 1)
			b, err := os.ReadFile(paths(t, dir)[0])
			require.NoError(t, err)
			events, err := records(t, b)
			assert.Equal(t, io.ErrUnexpectedEOF, err)
			assert.Greater(t, len(events), 2)

			set, m, s = digits(t)
			options.Hooks = []train.Hook{New(dir, m, s)}
			options.Checkpoint.Resume = true
			resumed, err := train.Fit(context.Background(), m, s, set.Train, options)
			require.NoError(t, err)
			assert.Len(t, resumed, 2)
			assert.Equal(t, done[0].TrainLoss, resumed[0].TrainLoss)
		})
	}
}

// A run that ends in mid-epoch returns what could not be written, beside what ended it, and is saved.
func TestFullDiskInMidEpoch(t *testing.T) {
	for _, why := range []error{nil, context.Canceled} {
		dir := t.TempDir()
		set, m, s := digits(t)
		l := &log{dir: dir, net: m, reporter: s, now: time.Now, create: func(path string) (file, error) {
			f, err := os.Create(path)
			return &full{f, 300}, err
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop := func(train.Step) error {
			switch {
			case l.err == nil:
				return nil
			case why == nil:
				return train.ErrStop
			}
			cancel()
			return nil
		}
		options := train.Options{Epochs: 2, Seed: 1, Checkpoint: train.Checkpoint{Dir: filepath.Join(dir, "run")},
			Hooks: []train.Hook{{Begin: l.begin, AfterStep: l.step, AfterEpoch: l.epoch, End: l.end}}, AfterStep: stop}
		done, err := train.Fit(ctx, m, s, set.Train, options)
		assert.Empty(t, done, "in the first epoch")
		assert.ErrorIs(t, err, syscall.ENOSPC)
		if why != nil {
			assert.ErrorIs(t, err, why)
		}
		assert.Equal(t, 1, strings.Count(err.Error(), "tensorboard: "))

		_, m, s = digits(t)
		options.Hooks, options.AfterStep, options.Checkpoint.Resume = nil, nil, true
		done, err = train.Fit(t.Context(), m, s, set.Train, options)
		require.NoError(t, err)
		assert.Len(t, done, 2)
	}
}

func TestRefuses(t *testing.T) {
	for _, none := range []models.Trainable{nil, (*models.Net)(nil), (*models.Model)(nil), &models.Model{}} {
		assert.EqualError(t, New(t.TempDir(), none, nil).Begin(train.Run{}), "tensorboard: want a net, got nil")
	}
	_, m, _ := digits(t)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o666))
	err := New(path, m, nil).Begin(train.Run{})
	assert.ErrorContains(t, err, "tensorboard: ")
}

// Stock solvers have no report.
func TestStockSolver(t *testing.T) {
	dir := t.TempDir()
	set, m, _ := digits(t)
	s := gorgonia.NewVanillaSolver()
	_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Hooks: []train.Hook{New(dir, m, s)}})
	require.NoError(t, err)
	for _, e := range files(t, dir)[0] {
		for _, tag := range e.order {
			assert.NotContains(t, tag, "membership")
		}
	}
}

// Histograms of what could upset them have every number in a bucket.
func TestHistogram(t *testing.T) {
	assert.Nil(t, histogram("none", nil))
	for _, x := range [][]float64{{0}, {0, 0}, {1}, {1, 1 + 1e-9}, {1e-300, 2e-300}, {0, 1e300}, {3, 1, 2}} {
		histo := fields(t, fields(t, fields(t, histogram("x", x))[1][0].([]byte))[5][0].([]byte))
		limits, counts := numbers(t, histo[6][0]), numbers(t, histo[7][0])
		sum := 0.0
		for i, c := range counts {
			sum += c
			assert.True(t, i == 0 || limits[i] > limits[i-1], "%v: %v", x, limits)
		}
		assert.Equal(t, float64(len(x)), sum)
		assert.GreaterOrEqual(t, limits[len(limits)-1], number(histo[2][0])*(1-1e-15))
	}
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		assert.Nil(t, scalar("x", x))
	}
}

// The file of a later run sorts after that of an earlier one, whose clock may have been ahead.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "events.out.tfevents.1800000000.kernelfold"), nil, 0o666))
	l := &log{dir: dir, create: create, now: func() time.Time { return time.Unix(1_500_000_000, 0) }}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	f, err := l.open(entries)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.FileExists(t, filepath.Join(dir, "events.out.tfevents.1800000001.kernelfold"))
}
