// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/isnil"
)

// CSV returns a hook that writes a table to w: a line of names, those of Epoch in JSON, and a line for each
// epoch. A value that was not measured is empty. A resumed run first writes the epochs before the resumption,
// so an initially empty w receives the whole run. CSVFile writes the table to a file.
func CSV(w io.Writer) Hook {
	if isnil.Of(w) {
		return nowhere("CSV")
	}
	c := csv.NewWriter(w)
	return lines(func() error {
		return c.Write([]string{"epoch", "images", "loss", "train_accuracy", "test_loss", "test_accuracy",
			"validation_loss", "validation_accuracy", "learning_rate", "images_per_second", "seconds", "best"})
	}, func(e Epoch) error {
		row := []string{strconv.Itoa(e.Number), strconv.Itoa(e.Images)}
		for _, v := range []float64{e.TrainLoss, e.TrainAccuracy, e.TestLoss, e.TestAccuracy, e.ValidationLoss, e.ValidationAccuracy,
			e.LearnRate, math.Round(10*e.Rate()) / 10, e.Elapsed.Seconds()} {
			cell := ""
			if v-v == 0 {
				cell = strconv.FormatFloat(v, 'g', -1, 64)
			}
			row = append(row, cell)
		}
		return c.Write(append(row, strconv.FormatBool(e.Best)))
	}, func() error {
		c.Flush()
		return c.Error()
	})
}

// JSON returns a hook that writes to w each Epoch in JSON, on a line of its own. It treats a
// resumed run as CSV does.
func JSON(w io.Writer) Hook {
	if isnil.Of(w) {
		return nowhere("JSON")
	}
	e := json.NewEncoder(w)
	return lines(func() error { return nil }, func(at Epoch) error { return e.Encode(at) }, func() error { return nil })
}

// nowhere is the hook of a log without a writer, whose run does not begin.
func nowhere(log string) Hook {
	return Hook{Begin: func(Run) error { return fmt.Errorf("train: %s: want a writer, got nil", log) }}
}

// CSVFile returns a hook that writes the table of CSV to a file. The file is first written when the run
// begins, with the epochs before a resumption, and replaced as a whole after each epoch. A run that cannot
// begin does not change it, and after a run that is killed and resumed it has each epoch once.
func CSVFile(path string) Hook { return inFile(path, CSV) }

// JSONFile returns a hook that writes the lines of JSON to a file, as CSVFile does.
func JSONFile(path string) Hook { return inFile(path, JSON) }

// inFile returns a hook that writes a log to a file.
func inFile(path string, log func(io.Writer) Hook) Hook {
	var all bytes.Buffer
	h := log(&all)
	replace := func(err error) error {
		if err != nil {
			return err
		}
		if err := disk.WriteFile(path, all.Bytes()); err != nil {
			return fmt.Errorf("train: log: %w", err)
		}
		return nil
	}
	return Hook{
		Begin: func(r Run) error {
			all.Reset()
			return replace(h.Begin(r))
		},
		AfterEpoch: func(e Epoch) error { return replace(h.AfterEpoch(e)) },
	}
}

// lines returns a hook that writes a head, then epochs, and flushes each time.
func lines(head func() error, write func(Epoch) error, flush func() error) Hook {
	all := func(epochs ...Epoch) error {
		for _, e := range epochs {
			if err := write(e); err != nil {
				return fmt.Errorf("train: log: %w", err)
			}
		}
		if err := flush(); err != nil {
			return fmt.Errorf("train: log: %w", err)
		}
		return nil
	}
	return Hook{
		Begin: func(r Run) error {
			if err := head(); err != nil {
				return fmt.Errorf("train: log: %w", err)
			}
			return all(r.Done...)
		},
		AfterEpoch: func(e Epoch) error { return all(e) },
	}
}
