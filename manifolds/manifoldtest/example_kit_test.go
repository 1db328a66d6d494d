// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"errors"
	"fmt"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// A manifold that is right, and one that is not: a Failure says which equation it
// breaks, and by how much.
func Example() {
	fmt.Println(manifoldtest.Check(manifolds.Stiefel{}, manifoldtest.Shape{K: 2, N: 5, P: 3}))

	err := manifoldtest.Check(Sheared{}, manifoldtest.Shape{K: 2, N: 3, P: 3})
	var failure *manifoldtest.Failure
	if errors.As(err, &failure) {
		fmt.Println(failure.Oracle, failure.Shape)
		fmt.Println(failure.Property)
	}
	// Output:
	// <nil>
	// transport 2 points of 3x3
	// T_y of the transported u is itself
}

// The order to which a retraction follows the geodesics.
func ExampleRetractionOrder() {
	for _, m := range []manifolds.Stiefel{
		{},
		{Retraction: manifolds.Polar},
		{Retraction: manifolds.Polar, Metric: manifolds.CanonicalMetric},
		{Retraction: manifolds.Geodesic},
	} {
		order, err := manifoldtest.RetractionOrder(m, manifoldtest.Shape{K: 1, N: 7, P: 3})
		fmt.Printf("%v: %.1f %v\n", m, order, err)
	}
	// Output:
	// Stiefel: 1.0 <nil>
	// Stiefel(polar): 2.0 <nil>
	// Stiefel(canonical, polar): 1.0 <nil>
	// Stiefel(geodesic): +Inf <nil>
}
