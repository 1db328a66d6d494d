// SPDX-License-Identifier: Apache-2.0

package manifolds

import "fmt"

// positive is the least that every manifold asks of a shape.
func positive(name string, n, p int) error {
	if n < 1 || p < 1 {
		return shapeError(name, "positive sizes", n, p)
	}
	return nil
}

func shapeError(name string, want string, n, p int) error {
	return fmt.Errorf("manifolds: %s: want %s, got points of %dx%d", name, want, n, p)
}
