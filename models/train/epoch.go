// SPDX-License-Identifier: Apache-2.0

package train

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Epoch is the argument of AfterEpoch. A value that was not measured, such as the test loss without a
// test part, is NaN, and null in JSON. There the duration is in seconds, and TrainLoss is called
// loss.
type Epoch struct {
	Number, Of int
	Images     int     // examples trained on
	TrainLoss  float64 // mean of the losses of its steps
	// TrainAccuracy is the mean score of the training examples, as augmented, each computed before the step
	// that used it: for a models.Model the share of images classified correctly, 0..1. It is NaN for a net
	// without a score.
	TrainAccuracy float64
	TestLoss      float64 // mean cost on Options.Test
	TestAccuracy  float64 // mean score on Options.Test
	// ValidationLoss and ValidationAccuracy are the same on Options.Validation.
	ValidationLoss, ValidationAccuracy float64
	LearnRate                          float64       // of its first step
	Elapsed                            time.Duration // of the steps, without evaluation and hooks
	Waited                             time.Duration // the part of it in which steps waited for examples to be loaded
	Best                               bool          // better than all before
}

// Rate returns the number of training examples per second, NaN if no time was measured.
func (e Epoch) Rate() float64 {
	if e.Elapsed <= 0 {
		return math.NaN()
	}
	return float64(e.Images) / e.Elapsed.Seconds()
}

// Measure is a number by which epochs are compared.
type Measure int

const (
	ByAccuracy Measure = iota // the higher the better; ByLoss for a net without a score
	ByLoss                    // the lower the better
)

// better reports whether e is better than another epoch, on the data by which epochs are compared.
func (m Measure) better(e, than Epoch) bool {
	loss, accuracy := e.decisive()
	otherLoss, otherAccuracy := than.decisive()
	if m == ByLoss || math.IsNaN(accuracy) {
		return loss < otherLoss
	}
	return accuracy > otherAccuracy
}

// decisive returns the loss and the accuracy by which epochs are compared.
func (e Epoch) decisive() (loss, accuracy float64) {
	switch {
	case !math.IsNaN(e.ValidationLoss):
		return e.ValidationLoss, e.ValidationAccuracy
	case !math.IsNaN(e.TestLoss):
		return e.TestLoss, e.TestAccuracy
	}
	return e.TrainLoss, e.TrainAccuracy
}

// epochJSON is an Epoch in JSON.
type epochJSON struct {
	Number             int      `json:"epoch"`
	Of                 int      `json:"of"`
	Images             int      `json:"images"`
	Loss               *float64 `json:"loss"`
	TrainAccuracy      *float64 `json:"train_accuracy"`
	TestLoss           *float64 `json:"test_loss"`
	Accuracy           *float64 `json:"test_accuracy"`
	ValidationLoss     *float64 `json:"validation_loss"`
	ValidationAccuracy *float64 `json:"validation_accuracy"`
	LearnRate          *float64 `json:"learning_rate"`
	Rate               *float64 `json:"images_per_second"`
	Seconds            float64  `json:"seconds"`
	Waited             float64  `json:"seconds_waited,omitempty"`
	Best               bool     `json:"best"`
}

// MarshalJSON implements json.Marshaler.
func (e Epoch) MarshalJSON() ([]byte, error) {
	number := func(v float64) *float64 {
		if v-v != 0 {
			return nil
		}
		return &v
	}
	return json.Marshal(epochJSON{
		e.Number, e.Of, e.Images, number(e.TrainLoss), number(e.TrainAccuracy), number(e.TestLoss), number(e.TestAccuracy),
		number(e.ValidationLoss), number(e.ValidationAccuracy), number(e.LearnRate), number(e.Rate()), e.Elapsed.Seconds(), e.Waited.Seconds(), e.Best,
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Epoch) UnmarshalJSON(b []byte) error {
	var j epochJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	limit := time.Duration(math.MaxInt64).Seconds()
	for _, s := range []float64{j.Seconds, j.Waited} {
		if !(s >= 0 && s < limit) {
			return fmt.Errorf("train: epoch %d: want 0 to %g seconds, got %g", j.Number, limit, s)
		}
	}
	number := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	*e = Epoch{
		Number: j.Number, Of: j.Of, Images: j.Images, TrainLoss: number(j.Loss), TrainAccuracy: number(j.TrainAccuracy),
		TestLoss: number(j.TestLoss), TestAccuracy: number(j.Accuracy),
		ValidationLoss: number(j.ValidationLoss), ValidationAccuracy: number(j.ValidationAccuracy), LearnRate: number(j.LearnRate),
		Elapsed: duration(j.Seconds), Waited: duration(j.Waited), Best: j.Best,
	}
	return nil
}

func duration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}
