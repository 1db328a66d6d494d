// SPDX-License-Identifier: Apache-2.0

package models

import (
	"errors"
	"fmt"
	"math"
)

// Change is by how much logits have changed: see Model.Change.
type Change struct {
	Images  int     // that were evaluated
	Largest float64 // change of a logit
	RMS     float64 // root mean square of the changes
	Before  float64 // root mean square of the logits before
	Others  int     // images that are of another class now
}

// Change evaluates images before and after a change to the weights, and returns by how much it has changed their logits: for
// example what it costs to put the kernels of a net that was trained without a constraint on a manifold.
//
//	solver := solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{}, manifolds.Initial))
//	change, err := m.Change(images, func() error { return solver.Init(gorgonia.NodesToValueGrads(m.Learnables)) })
//
// images are channels x height x width numbers each, as for Predictor.Logits. An error of do is returned.
func (m *Model) Change(images []float32, do func() error) (Change, error) {
	if m.Net == nil {
		return Change{}, errNotMade
	}
	if do == nil {
		return Change{}, errors.New("models: Change: want a function, got nil")
	}
	p, err := m.Predictor()
	if err != nil {
		return Change{}, err
	}
	defer p.Close()
	before, err := p.Logits(images)
	if err != nil {
		return Change{}, err
	}
	if err := do(); err != nil {
		return Change{}, err
	}
	after, err := p.Logits(images)
	if err != nil {
		return Change{}, err
	}
	k := m.spec.Classes
	c := Change{Images: len(before) / k}
	for i, v := range before {
		d := after[i] - v
		c.Largest = max(c.Largest, math.Abs(d))
		c.RMS += d * d
		c.Before += v * v
	}
	c.RMS, c.Before = math.Sqrt(c.RMS/float64(len(before))), math.Sqrt(c.Before/float64(len(before)))
	for i := 0; i < len(before); i += k {
		if largest(before[i:i+k]) != largest(after[i:i+k]) {
			c.Others++
		}
	}
	return c, nil
}

func (c Change) String() string {
	return fmt.Sprintf("logits of %d images change by %.3g at most, by %.3g (RMS) where they were %.3g, and %d images are of another class",
		c.Images, c.Largest, c.RMS, c.Before, c.Others)
}
