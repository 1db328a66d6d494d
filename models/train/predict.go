// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/models"
)

// Prediction is what a classifier says of an example.
type Prediction struct {
	Example int       // its number in the data
	Label   int       // its class
	Logits  []float64 // of each class
}

// Class returns the predicted class: the first with the largest logit.
func (p Prediction) Class() int {
	best := 0
	for k, z := range p.Logits {
		if z > p.Logits[best] {
			best = k
		}
	}
	return best
}

// Loss returns the cross-entropy of the example, -log softmax(Logits)[Label].
func (p Prediction) Loss() float64 {
	largest, sum := p.Logits[p.Class()], 0.0
	for _, z := range p.Logits {
		sum += math.Exp(z - largest)
	}
	return math.Log(sum) + (largest - p.Logits[p.Label]) // the difference first: the logarithm may be lost beside a large logit
}

// Predict predicts the classes of any number of examples, in their order, and calls do with each prediction. Logits are the first output of the net;
// the label is the index of the largest number of the first target or, if that has one number an example, the number. Slices of a prediction are its own.
//
// It returns the first error, also of do. A logit that is not finite is an error that wraps nodes.ErrNotFinite.
func Predict(ctx context.Context, p *models.Predictor, data Data, do func(Prediction) error) error {
	if err := given(p); err != nil {
		return err
	}
	n := p.Net()
	switch {
	case do == nil:
		return errors.New("train: want a function for the predictions, got nil")
	case isEmpty(data):
		return fmt.Errorf("train: want examples to predict, got none")
	case len(n.Outputs) == 0 || len(n.Targets) == 0 || n.Outputs[0].Dims() != 2:
		return fmt.Errorf("train: want a net with logits, of shape (batch, classes), as its first output, and labels as its first target")
	}
	classes := n.Outputs[0].Shape()[1]
	from := 0
	return eachBatch(ctx, n, "", data, 0, data.Len(), func(b *batch) error {
		outputs, err := p.Predict(b.values[:len(n.Inputs)]...)
		if err != nil {
			return err
		}
		logits, err := floats(outputs[0])
		if err != nil {
			return named(fmt.Errorf("logits: %w", err))
		}
		labels, err := floats(b.values[len(n.Inputs)])
		if err != nil {
			return named(fmt.Errorf("labels: %w", err))
		}
		k := len(labels) / len(b.rows)
		for i := range b.rows {
			e := Prediction{Example: from + i, Logits: logits[i*classes : (i+1)*classes : (i+1)*classes]}
			e.Label = labelOf(labels[i*k : (i+1)*k])
			if e.Label < 0 || e.Label >= classes {
				return fmt.Errorf("train: example %d: want a label of 0..%d, got %d", e.Example, classes-1, e.Label)
			}
			if err := do(e); err != nil {
				return err
			}
		}
		from += len(b.rows)
		return nil
	})
}

// labelOf returns the class of a row of targets.
func labelOf(row []float64) int {
	if len(row) == 1 {
		return int(row[0])
	}
	return Prediction{Logits: row}.Class()
}

// floats returns a copy of the numbers of a tensor.
func floats(t *tensor.Dense) ([]float64, error) {
	if _, err := dense.RowsOf(t); err != nil {
		return nil, err
	}
	var out []float64
	switch v := t.Data().(type) {
	case []float64:
		return append(out, v...), nil
	case []float32:
		for _, x := range v {
			out = append(out, float64(x))
		}
	case []int:
		for _, x := range v {
			out = append(out, float64(x))
		}
	default:
		return nil, fmt.Errorf("want float32, float64 or int, got %v", t.Dtype())
	}
	return out, nil
}
