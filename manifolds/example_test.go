// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/manifolds"
)

// A step of Riemannian gradient descent on the unit sphere.
func Example() {
	x, _ := manifolds.Points64([]float64{3, 0, 4}, 1, 1, 3)
	g, _ := manifolds.Points64([]float64{1, 1, 1}, 1, 1, 3)
	v, y := x.Like(), x.Like()

	m := manifolds.Sphere{}
	_ = m.Project(x, x)
	_ = m.Tangent(v, x, g)
	_ = v.Combine(-0.5, v, 0, v) // learning rate 0.5
	_ = m.Retract(y, x, v)
	fmt.Printf("x %.2f, v %.2f, y %.2f\n", x.Data64(), v.Data64(), y.Data64())
	fmt.Println("membership error below 1e-15:", m.Membership(y) < 1e-15)
	// Output:
	// x [0.60 0.00 0.80], v [-0.08 -0.50 0.06], y [0.46 -0.45 0.77]
	// membership error below 1e-15: true
}

// How a layer of 64 filters of 32x3x3 is cut.
func ExampleGrouping_Layout() {
	for _, g := range []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter,
		manifolds.PerInputChannel, manifolds.PerTap, manifolds.FilterBank} {
		l, err := g.Layout([]int{64, 32, 3, 3})
		fmt.Printf("%v: %d points of %dx%d, contiguous %v, %v\n", g, l.K, l.N, l.P, l.Contiguous(), err)
	}
	// Output:
	// per slice: 2048 points of 3x3, contiguous true, <nil>
	// per filter: 64 points of 32x9, contiguous true, <nil>
	// per input channel: 32 points of 64x9, contiguous false, <nil>
	// per tap: 9 points of 64x32, contiguous false, <nil>
	// filter bank: 1 points of 64x288, contiguous true, <nil>
}

// The scale of a constraint becomes a radius once the shape of the layer is
// known.
func ExampleConstraint_Bind() {
	shape := []int{64, 32, 3, 3}
	for _, c := range []manifolds.Constraint{
		manifolds.On(manifolds.Sphere{}, manifolds.PerSlice, manifolds.UnitFilters),
		manifolds.On(manifolds.Sphere{}, manifolds.PerSlice, manifolds.Unit),
		manifolds.On(manifolds.Sphere{Radius: 2}),
	} {
		pieces, err := c.Bind(shape, 1)
		for _, p := range pieces {
			fmt.Printf("%v -> %d points on %v\n", c, p.Layout.K, manifolds.Name(p.Manifold))
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// Sphere, per slice, unit filters -> 2048 points on Sphere(r=0.1768)
	// Sphere, per slice, unit scale -> 2048 points on Sphere
	// Sphere(r=2), per filter, unit scale -> 64 points on Sphere(r=2)
}

// A point drawn uniformly, and the geodesic between two.
func ExampleSphere_Log() {
	m := manifolds.Sphere{}
	rng := rand.New(rand.NewPCG(1, 2))
	x, _ := manifolds.Points64(make([]float64, 9), 1, 3, 3)
	y, v := x.Like(), x.Like()
	_ = m.Random(x, rng)
	_ = m.Random(y, rng)

	dist := make([]float64, 1)
	_ = m.Dist(dist, x, y)
	_ = m.Log(v, x, y)
	fmt.Printf("distance %.6f, |log| %.6f\n", dist[0], v.Norm())

	_ = m.Exp(v, x, v)
	_ = v.Combine(1, v, -1, y)
	fmt.Println("exp(log) is y:", v.Norm() < 1e-14)
	// Output:
	// distance 1.813053, |log| 1.813053
	// exp(log) is y: true
}

// Where there is no nearest point, the error names the point.
func ExamplePointError() {
	x, _ := manifolds.Points32([]float32{3, 0, 0, 4 /**/, 0, 0, 0, 0}, 2, 2, 2)
	err := manifolds.Sphere{}.Project(x, x)
	fmt.Println(err)
	fmt.Println(errors.Is(err, manifolds.ErrDegenerate))
	// Output:
	// manifolds: Sphere: project: point 1: want a vector with a direction, got norm 0
	// true
}
