// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/notebooks/display"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

func TestTable(t *testing.T) {
	table := Table{Title: "Nets & more", Head: []string{"name", "loss"}}
	table.Add("a <b>", 0.5)
	table.Add("é", 12.25)
	assert.Equal(t, "Nets & more\nname    loss\na <b>    0.5\né      12.25\n", table.String())
	assert.Equal(t, `<table>
<caption>Nets &amp; more</caption>
<tr><th style="text-align:left">name</th><th style="text-align:right">loss</th></tr>
<tr><td style="text-align:left">a &lt;b&gt;</td><td style="text-align:right">0.5</td></tr>
<tr><td style="text-align:left">é</td><td style="text-align:right">12.25</td></tr>
</table>
`, table.HTML())
	assert.Empty(t, Table{}.String())
	assert.Equal(t, "a\nb  c\n", Table{Rows: [][]string{{"a"}, {"b", "c"}}}.String(), "a row may be short")
}

// wellFormed tells whether a text can be read as XML, which a browser does more kindly with HTML.
func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// A run is shown while it goes on, at most so often, and its plots at the end.
func TestTraining(t *testing.T) {
	var shown []any
	clock := time.Unix(0, 0)
	r := &run{
		title: "digits & more", show: func(v any) error { shown = append(shown, v); return nil },
		interrupted: func() error { return nil }, now: func() time.Time { return clock },
	}
	require.NoError(t, r.begin(train.Run{Epochs: 2, Steps: 500, Batch: 10}))
	for n := 1; n <= 1000; n++ {
		clock = clock.Add(10 * time.Millisecond)
		require.NoError(t, r.step(train.Step{Number: n, Of: 1000, Epoch: 1 + (n-1)/500, Loss: 2 / float64(n)}))
		if n%500 == 0 {
			e := train.Epoch{Number: n / 500, Of: 2, TrainAccuracy: 0.5, TestAccuracy: 0.25, TestLoss: 1, ValidationLoss: math.NaN(), ValidationAccuracy: math.NaN()}
			require.NoError(t, r.epoch(e))
		}
	}
	require.NoError(t, r.end())
	assert.Len(t, shown, 42, "at first, every 250 ms of 10 s, at last")
	assert.Equal(t, "digits & more: epoch 0 of 2, step 0 of 1000", shown[0].(display.Data)["text/plain"])
	half := shown[21].(display.Data)
	assert.Equal(t, "digits & more: epoch 2 of 2, step 525 of 1000, loss 0.00382, training accuracy 50.0 %, test accuracy 25.0 %, 5s left", half["text/plain"])
	html := half["text/html"].(string)
	assert.NoError(t, wellFormed(html), html)
	assert.Contains(t, html, `max="1000" value="525"`)
	assert.Contains(t, html, "digits &amp; more")
	assert.Equal(t, 88, strings.Count(html, ",")-strings.Count(half["text/plain"].(string), ","), "a point for each six steps")

	last := display.Of(shown[41])
	assert.NotContains(t, last["text/plain"], "left")
	assert.Contains(t, last["text/plain"], "epoch 2 of 2, step 1000 of 1000")
	_, err := png.Decode(bytes.NewReader(last["image/png"].([]byte)))
	assert.NoError(t, err)
	assert.NotContains(t, last, "text/html")
	plots := r.plots().Rows[0]
	require.Len(t, plots, 2)
	assert.Len(t, plots[0].Curves, 2, "loss: training and test")
	assert.Len(t, plots[1].Curves, 2)
	assert.Len(t, plots[0].Curves[0].X, 100)
	assert.Equal(t, 2.0, plots[0].Curves[0].X[99])
}

// A run without steps, a loss that is not finite, a run that goes on from a checkpoint.
func TestTrainingAtTheEdges(t *testing.T) {
	r := &run{show: func(any) error { return nil }, interrupted: func() error { return nil }, now: time.Now}
	require.NoError(t, r.begin(train.Run{}))
	require.NoError(t, r.end())
	assert.Equal(t, "epoch 0 of 0, step 0 of 0", r.line())
	require.NoError(t, r.begin(train.Run{Epochs: 1, Steps: 2}))
	require.NoError(t, r.step(train.Step{Number: 1, Loss: math.NaN()}))
	assert.NoError(t, wellFormed(r.progress()["text/html"].(string)))
	require.NoError(t, r.step(train.Step{Number: 2, Loss: math.Inf(1)}))
	assert.NoError(t, wellFormed(r.progress()["text/html"].(string)))
	require.NoError(t, r.end())
	require.NoError(t, r.begin(train.Run{Epochs: 2, Steps: 2, DoneSteps: 2, Done: []train.Epoch{{Number: 1}}}))
	require.NoError(t, r.step(train.Step{Number: 3, Loss: 1}))
	assert.Equal(t, []float64{1.5}, r.curve().X)
	assert.Contains(t, r.line(), "epoch 2 of 2, step 3 of 4, loss 1")
}

// The time left of a run of weeks.
func TestTimeLeft(t *testing.T) {
	clock := time.Unix(0, 0)
	r := &run{show: func(any) error { return nil }, interrupted: func() error { return nil }, now: func() time.Time { return clock }}
	require.NoError(t, r.begin(train.Run{Epochs: 1000, Steps: 1000}))
	clock = clock.Add(26 * time.Hour)
	require.NoError(t, r.step(train.Step{Number: 1000, Loss: 1}))
	assert.Contains(t, r.progress()["text/plain"], ", 25974h0m0s left")
}

// digits are a few images and a net for them.
func digits(t *testing.T) (*images.Set, *models.Model) {
	t.Helper()
	set, err := images.Digits(1, 40, 10, images.DigitOptions{Side: 12})
	require.NoError(t, err)
	m, err := models.CNN(10, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{2}, Seed: 1})
	require.NoError(t, err)
	return set, m
}

// Outside of notebooks a run ends well, and any other failure to show its plots is told.
func TestTrainingWithoutNotebook(t *testing.T) {
	set, m := digits(t)
	o := train.Options{Epochs: 1, Hooks: []train.Hook{Training("t")}}
	_, err := train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(), set.Train, o)
	assert.NoError(t, err)
	display.Connect(func(display.Message) error { return io.ErrClosedPipe }, nil)
	defer display.Connect(nil, nil)
	_, err = train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(), set.Train, o)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

// Interrupting the cell ends the run after the step.
func TestTrainingInterrupted(t *testing.T) {
	set, m := digits(t)
	steps, shown := 0, 0
	display.Connect(func(display.Message) error { shown++; return nil }, func() bool { return steps == 2 })
	defer display.Connect(nil, nil)
	count := train.Hook{AfterStep: func(train.Step) error { steps++; return nil }}
	o := train.Options{Epochs: 3, Hooks: []train.Hook{count, Training("t")}}
	_, err := train.Fit(context.Background(), m, gorgonia.NewVanillaSolver(), set.Train, o)
	assert.ErrorIs(t, err, display.ErrInterrupted)
	assert.Equal(t, 2, steps)
	assert.Equal(t, 2, shown, "at first and at last")
}
