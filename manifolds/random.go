// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"math/rand/v2"
)

// gaussian fills dst with independent standard normal numbers.
func gaussian(dst Points, rng *rand.Rand) error {
	if rng == nil {
		return errors.New("manifolds: random: want a source of random numbers, got nil")
	}
	for i := range dst.f64 {
		dst.f64[i] = rng.NormFloat64()
	}
	for i := range dst.f32 {
		dst.f32[i] = float32(rng.NormFloat64())
	}
	return nil
}

// projected fills dst with the projections of independent Gaussian matrices.
func projected(m Manifold, dst Points, rng *rand.Rand) error {
	if err := gaussian(dst, rng); err != nil {
		return err
	}
	return m.Project(dst, dst)
}
