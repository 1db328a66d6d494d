// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/kernelfold/kernelfold/examples/internal/figure"
	"github.com/kernelfold/kernelfold/models/train"
)

// picture is a plot of three numbers over the epochs.
type picture struct {
	file, title, label         string
	training, validation, test func(train.Epoch) float64
}

var plots = []picture{
	{
		"loss.png", "Loss", "mean cross-entropy (nats)",
		func(e train.Epoch) float64 { return e.TrainLoss },
		func(e train.Epoch) float64 { return e.ValidationLoss },
		func(e train.Epoch) float64 { return e.TestLoss },
	},
	{
		"accuracy.png", "Accuracy", "accuracy (%)",
		func(e train.Epoch) float64 { return 100 * e.TrainAccuracy },
		func(e train.Epoch) float64 { return 100 * e.ValidationAccuracy },
		func(e train.Epoch) float64 { return 100 * e.TestAccuracy },
	},
}

// png draws the picture. Without validation images there is no curve of them: their numbers are NaN.
func (p picture) png(of string, epochs []train.Epoch) ([]byte, error) {
	training, validation, test := figure.Curve{Name: "training batches", Dashed: true}, figure.Curve{Name: "validation"}, figure.Curve{Name: "test"}
	for _, e := range epochs {
		at := float64(e.Number)
		training.Add(at, p.training(e))
		validation.Add(at, p.validation(e))
		test.Add(at, p.test(e))
	}
	return figure.Lines{
		Title:  p.title + ", " + of,
		X:      figure.Axis{Label: "epoch", Whole: true},
		Y:      figure.Axis{Label: p.label},
		Curves: []figure.Curve{training, validation, test},
		Size:   figure.Size{Width: 6.5},
	}.PNG()
}
