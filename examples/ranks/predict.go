// SPDX-License-Identifier: Apache-2.0

package main

import "math"

// job is a net on ranks of one kind, all times in seconds.
type job struct {
	net
	image  float64 // forward and backward, for an image
	sphere float64 // a step of the solver on spheres
	bank   float64 // and on Stiefel banks
	around float64 // copies and checks around the sum of the gradients
}

// jobOf takes the times of the solver from the file of the fewest ranks, and those around the sum from the first of several.
// A faster device computes, and makes the steps of the solver, faster times as fast as a core; the work around the sum, and the additions, stay on
// one core.
func jobOf(n net, r records, faster float64) (job, error) {
	j := job{net: n, image: n.seconds / faster}
	sphere, err := r[0].find(n.name, "Sphere")
	if err != nil {
		return job{}, err
	}
	bank, err := r[0].find(n.name, "Stiefel")
	if err != nil {
		return job{}, err
	}
	j.sphere, j.bank = sphere.Alone/faster, bank.Alone/faster
	if several := r.several(); len(several) > 0 {
		s, err := several[0].find(n.name, "Sphere")
		if err != nil {
			return job{}, err
		}
		j.around = max(0, s.Whole-s.Alone-s.WholeSum)
	}
	return j, nil
}

// way is how a step is made.
type way int

const (
	sphere way = iota // every rank moves all
	whole             // Stiefel, every rank moves all
	shared            // Stiefel, ranks share the layers
)

// words are the agreements of a step, of 8 bytes a rank or so: one in the solver, two in models/train.
const words = 3

// parts are the parts of a step, in seconds.
type parts struct{ compute, solver, around, sum, exchange float64 }

func (t parts) communication() float64 { return t.sum + t.exchange }
func (t parts) step() float64          { return t.compute + t.solver + t.around + t.communication() }
func (t parts) efficiency() float64    { return t.compute / t.step() }

// predict returns the parts of a step of p ranks, each with a batch.
func (j job) predict(w network, p, batch int, by way) parts {
	t := parts{compute: float64(batch) * j.image}
	switch by {
	case sphere:
		t.solver = j.sphere
	default:
		t.solver = j.bank
	}
	if p == 1 {
		return t
	}
	t.around = j.around
	t.sum = w.sum(p, 4*j.weights())
	t.exchange = words * w.gather(p, 8*p)
	if by == shared {
		busiest, bytes := j.deal(p)
		t.solver *= busiest
		t.exchange += w.exchange(bytes)
	}
	return t
}

// least returns the smallest batch of a rank for which communication takes at most the given share of a step.
func (j job) least(w network, p int, by way, share float64) int {
	t := j.predict(w, p, 0, by)
	compute := t.communication()*(1/share-1) - t.solver - t.around
	return max(1, int(math.Ceil(compute/j.image)))
}
