// SPDX-License-Identifier: Apache-2.0

package train

import (
	"encoding/json"
	"math"
	"time"
)

// Epoch is what AfterEpoch sees. Numbers that there are not, as those of a test part
// that is empty, are NaN. In JSON they are null, and the duration is in seconds.
type Epoch struct {
	Number, Of int
	Images     int     // trained on
	Loss       float64 // mean of the losses of its steps
	// TrainAccuracy is the share of the training images classified rightly, 0..1,
	// each before the step it took part in, and augmented.
	TrainAccuracy float64
	TestLoss      float64 // mean cross-entropy on Options.Test
	Accuracy      float64 // share of Options.Test classified rightly, 0..1
	// ValidationLoss and ValidationAccuracy are the same on Options.Validation.
	ValidationLoss, ValidationAccuracy float64
	LearnRate                          float64       // of its first step
	Elapsed                            time.Duration // of the steps, without evaluation and hooks
	Best                               bool          // none before it was better
}

// Rate returns how many images were trained on in a second.
func (e Epoch) Rate() float64 { return float64(e.Images) / e.Elapsed.Seconds() }

// Measure is a number by which epochs are compared.
type Measure int

const (
	ByAccuracy Measure = iota // the higher the better
	ByLoss                    // the lower the better
)

// better tells whether e is better than another epoch, on the part that decides.
func (m Measure) better(e, than Epoch) bool {
	loss, accuracy := e.decisive()
	otherLoss, otherAccuracy := than.decisive()
	if m == ByLoss {
		return loss < otherLoss
	}
	return accuracy > otherAccuracy
}

// decisive returns loss and accuracy of the part that tells which epoch is best.
func (e Epoch) decisive() (loss, accuracy float64) {
	switch {
	case !math.IsNaN(e.ValidationLoss):
		return e.ValidationLoss, e.ValidationAccuracy
	case !math.IsNaN(e.TestLoss):
		return e.TestLoss, e.Accuracy
	}
	return e.Loss, e.TrainAccuracy
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
		e.Number, e.Of, e.Images, number(e.Loss), number(e.TrainAccuracy), number(e.TestLoss), number(e.Accuracy),
		number(e.ValidationLoss), number(e.ValidationAccuracy), number(e.LearnRate), number(e.Rate()), e.Elapsed.Seconds(), e.Best,
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Epoch) UnmarshalJSON(b []byte) error {
	var j epochJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	number := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	*e = Epoch{
		Number: j.Number, Of: j.Of, Images: j.Images, Loss: number(j.Loss), TrainAccuracy: number(j.TrainAccuracy),
		TestLoss: number(j.TestLoss), Accuracy: number(j.Accuracy),
		ValidationLoss: number(j.ValidationLoss), ValidationAccuracy: number(j.ValidationAccuracy), LearnRate: number(j.LearnRate),
		Elapsed: time.Duration(math.Round(j.Seconds * float64(time.Second))), Best: j.Best,
	}
	return nil
}
