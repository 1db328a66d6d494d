// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/train"
)

// drive shows two epochs of 10 steps of 32 images that take 100 ms each, from a step on.
func drive(t *testing.T, m *meter, from int) {
	clock := time.Unix(0, 0)
	m.now = func() time.Time { return clock }
	h := m.hook()
	require.NoError(t, h.Begin(train.Run{Epochs: 2, Steps: 10, Batch: 32, DoneSteps: from}))
	for n := from + 1; n <= 20; n++ {
		clock = clock.Add(100 * time.Millisecond)
		require.NoError(t, h.AfterStep(train.Step{Number: n, Of: 20, Epoch: (n-1)/10 + 1, Loss: 1.5, Accuracy: 0.25}))
		if n%10 == 0 {
			require.NoError(t, h.AfterEpoch(train.Epoch{
				Number: n / 10, Of: 2, Images: 320, TrainLoss: 1.5, TrainAccuracy: 0.25, TestLoss: 1.75, TestAccuracy: 0.5,
				ValidationLoss: math.NaN(), Elapsed: time.Second,
			}))
		}
	}
	require.NoError(t, h.End())
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	m := newMeter(&b, false)
	drive(t, m, 0)
	assert.Equal(t, "epoch 1/2: loss 1.500, accuracy 25.0 %, test loss 1.750, test accuracy 50.0 %, 320 img/s, 1s left\n"+
		"epoch 2/2: loss 1.500, accuracy 25.0 %, test loss 1.750, test accuracy 50.0 %, 320 img/s\n", b.String())
	assert.NotContains(t, b.String(), "\r")

	b.Reset()
	drive(t, newMeter(&b, false), 5)
	assert.Contains(t, b.String(), "320 img/s, 1s left\n", "the time left goes by the steps since a resumption")
}

func TestBar(t *testing.T) {
	var b bytes.Buffer
	drive(t, newMeter(&b, true), 0)
	shown := b.String()
	for _, want := range []string{"epoch 1/2 loss 1.500 accuracy 25.0 % 2s left 320 img/s", "[", "test accuracy 50.0 %"} {
		assert.Contains(t, shown, want)
	}
	lines := 0
	for _, l := range strings.Split(shown, "\n") {
		parts := strings.Split(l, "\r")
		if strings.HasPrefix(parts[len(parts)-1], "epoch ") && strings.Contains(l, "test loss") {
			lines++
		}
	}
	assert.Equal(t, 2, lines, "each epoch stands on a line of its own: %q", shown)
}

func TestNoTerminal(t *testing.T) {
	var b bytes.Buffer
	h := New(&b)
	require.NoError(t, h.Begin(train.Run{Epochs: 1, Steps: 1, Batch: 1}))
	require.NoError(t, h.AfterStep(train.Step{Number: 1, Of: 1, Epoch: 1}))
	require.NoError(t, h.End())
	assert.Empty(t, b.String())
}

// full is a terminal, or a disk, that takes nothing any more.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

// A run goes on if it cannot be shown.
func TestFull(t *testing.T) {
	for _, draw := range []bool{false, true} {
		drive(t, newMeter(full{}, draw), 0)
	}
}

func TestNoWriter(t *testing.T) {
	for _, w := range []io.Writer{nil, (*bytes.Buffer)(nil)} {
		assert.EqualError(t, New(w).Begin(train.Run{}), "progress: want a writer, got nil")
	}
}

// What was not measured is not shown: without a time there is no rate, without images to evaluate on no accuracy of theirs.
func TestNotMeasured(t *testing.T) {
	var b strings.Builder
	m := newMeter(&b, false)
	require.NoError(t, m.begin(train.Run{Epochs: 1, Steps: 1, Batch: 5}))
	nan := math.NaN()
	e := train.Epoch{Number: 1, Images: 5, TrainLoss: 0.5, TrainAccuracy: nan, TestLoss: nan, TestAccuracy: nan, ValidationLoss: nan, ValidationAccuracy: nan}
	require.NoError(t, m.epoch(e))
	assert.Equal(t, "epoch 1/1: loss 0.500\n", b.String())
}
