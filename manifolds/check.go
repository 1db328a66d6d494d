// SPDX-License-Identifier: Apache-2.0

package manifolds

import "fmt"

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
