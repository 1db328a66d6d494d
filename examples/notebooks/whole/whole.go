// SPDX-License-Identifier: Apache-2.0

// Package whole joins interfaces of the library with their optional parts, for types that are defined in a notebook.
// Compiled code sees only those methods of such a type that belong to the interface it is passed as:
//
//	solvers.Kernels(mine)                 // six methods: give the grouping and the scale as well
//	solvers.Kernels(whole.Manifold(mine)) // also those of Grouper and Scalable, which choose them
//
// Its methods For and Scaled return whole.Manifold(...) too, so that what they return has the same methods.
package whole

import "github.com/kernelfold/kernelfold/manifolds"

// Manifold is a manifold that chooses its grouping and can be scaled.
type Manifold interface {
	manifolds.Manifold
	manifolds.Grouper
	manifolds.Scalable
}

var _ Manifold = manifolds.Stiefel{}
