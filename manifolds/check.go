// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
)

// positive returns an error unless n and p are positive, as every manifold requires.
func positive(name string, n, p int) error {
	if n < 1 || p < 1 {
		return shapeError(name, "positive sizes", n, p)
	}
	return nil
}

func shapeError(name string, want string, n, p int) error {
	return fmt.Errorf("manifolds: %s: want %s, got points of %dx%d", name, want, n, p)
}

// size is a radius as given by the user: zero means 1.
type size float64

func (s size) value() float64 {
	if s == 0 {
		return 1
	}
	return float64(s)
}

func checkRadius(name string, r float64) error {
	if r < 0 || math.IsInf(r, 0) || r != r {
		return fmt.Errorf("manifolds: %s: want a positive finite radius, got %v", name, r)
	}
	return nil
}

// label returns the name of a manifold with, in brackets, its radius unless that is 1, and those
// properties that are not empty.
func label(name string, radius float64, properties ...string) string {
	if radius != 0 && radius != 1 {
		properties = append([]string{fmt.Sprintf("r=%.4g", radius)}, properties...)
	}
	out, sep := name, "("
	for _, p := range properties {
		if p != "" {
			out += sep + p
			sep = ", "
		}
	}
	if sep == ", " {
		out += ")"
	}
	return out
}

func geodesicLabel(geodesic bool) string {
	if geodesic {
		return "geodesic"
	}
	return ""
}
