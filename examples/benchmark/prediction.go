// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// predictionBatch is the batch of the net that predicts.
const predictionBatch = 256

// predictionContest is prediction of one image and of a whole batch by a models.Predictor, beside PyTorch in
// eval mode under no_grad. The bars are for one thread.
func predictionContest(threads int) contest {
	c := contest{name: "prediction, ResNet-20"}
	for _, p := range []struct {
		images int
		what   string
		bar
	}{{1, "1 image", bar{1, 0.5}}, {predictionBatch, fmt.Sprintf("%d images", predictionBatch), bar{0.85, 0.65}}} {
		ours, its := "ours, "+p.what, "torch, "+p.what
		r := row{
			what: "prediction, ResNet-20, " + p.what, peer: "PyTorch, eval mode and no_grad",
			ours: of(ours), its: of(its), as: ofItsTime,
		}
		if threads == 1 {
			r.bar = p.bar
		}
		c.entrants = append(c.entrants, resNet(predictionBatch).predicts(ours, p.images), resNet(p.images).peer(its, "resnet20 prediction"))
		c.rows = append(c.rows, r)
	}
	return c
}

// predicts is the entrant of the logits of the given number of images.
func (r residual) predicts(name string, images int) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		m, err := r.model(r.batch)
		if err != nil {
			return nil, err
		}
		p, err := m.Predictor()
		if err != nil {
			return nil, err
		}
		x, _ := r.images(images)
		return local{
			clock: s.clock, prepare: func() {},
			step: func() error { _, err := p.Logits(x); return err },
			done: func() { _ = p.Close() },
		}, nil
	}}
}
