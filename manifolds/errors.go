// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
)

// ErrDegenerate is wrapped by the error of an operation that has no result at a point: a zero
// vector to be normalised, a rank-deficient matrix to be orthonormalised, the logarithm at the cut locus, a non-finite value.
var ErrDegenerate = errors.New("degenerate point")

// PointError names the point of a batch at which an operation has no result.
type PointError struct {
	Manifold string // the name of the manifold
	Op       string // the operation: "project", "retract" ...
	Point    int    // index in the batch
	Reason   string // what was wanted and what was found
}

// Error describes the failure in one line.
func (e *PointError) Error() string {
	return fmt.Sprintf("manifolds: %s: %s: point %d: %s", e.Manifold, e.Op, e.Point, e.Reason)
}

// Unwrap returns ErrDegenerate.
func (e *PointError) Unwrap() error { return ErrDegenerate }
