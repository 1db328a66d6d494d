// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/models"
)

// imageNets are nets for ImageNet at the size of their papers.
func imageNets() []residual {
	const batch, side = 8, 224
	return []residual{
		{"ResNet-18 at 224x224", "resnet18", batch, func(batch int, o models.Options) (*models.Model, error) {
			return models.ImageNetResNet(batch, 18, o)
		}, side},
		{"MobileNetV2 at 224x224", "mobilenetv2", batch, models.MobileNetV2, side},
	}
}

// imageNetContest is the training step and the prediction of a batch, beside PyTorch.
func imageNetContest(r residual) contest {
	against := func(what, entrant string) row {
		return row{what: what + ", " + r.name, peer: "PyTorch", ours: of(entrant), its: of("torch, " + entrant), bar: bar{1, 0.75}, as: ofItsTime}
	}
	return contest{
		name: r.name,
		entrants: []entrant{
			r.trains("training", decaySGD()), r.peer("torch, training", r.kind),
			r.predicts("prediction", r.batch), r.peer("torch, prediction", r.kind+" prediction"),
		},
		rows: []row{against("training step", "training"), against(fmt.Sprintf("prediction of %d images", r.batch), "prediction")},
	}
}
