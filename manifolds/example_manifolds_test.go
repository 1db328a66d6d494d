// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// matrix is one point of float64.
func matrix(n, p int, values ...float64) manifolds.Points {
	x, err := manifolds.Points64(values, 1, n, p)
	if err != nil {
		panic(err)
	}
	return x
}

// show prints the rows of a point.
func show(x manifolds.Points) {
	for i := range x.N {
		for j := range x.P {
			fmt.Printf("%6.2f", math.Round(100*x.At(0, i, j))/100+0) // no minus before zero
		}
		fmt.Println()
	}
}

// The sphere keeps the norm of a point.
func ExampleSphere() {
	x := matrix(2, 2, 3, 0, 0, 4)
	if err := (manifolds.Sphere{Radius: 10}).Project(x, x); err != nil {
		fmt.Println(err)
	}
	show(x)
	fmt.Println("norm", x.Norm())
	// Output:
	//   6.00  0.00
	//   0.00  8.00
	// norm 10
}

// The centred sphere keeps the norm, and the mean at zero: a kernel that does not
// see a constant image.
func ExampleCentredSphere() {
	x := matrix(1, 3, 1, 2, 6)
	if err := (manifolds.CentredSphere{}).Project(x, x); err != nil {
		fmt.Println(err)
	}
	show(x)
	fmt.Printf("norm %.2f, sum %.2f\n", x.Norm(), math.Abs(x.At(0, 0, 0)+x.At(0, 0, 1)+x.At(0, 0, 2)))
	// Output:
	//  -0.53 -0.27  0.80
	// norm 1.00, sum 0.00
}

// The oblique manifold keeps the norm of every column, or of every row.
func ExampleOblique() {
	x := matrix(2, 2,
		3, 0,
		4, 2)
	y := x.Like()
	if err := (manifolds.Oblique{}).Project(y, x); err != nil {
		fmt.Println(err)
	}
	fmt.Println("columns")
	show(y)
	if err := (manifolds.Oblique{Axis: manifolds.Rows}).Project(y, x); err != nil {
		fmt.Println(err)
	}
	fmt.Println("rows")
	show(y)
	// Output:
	// columns
	//   0.60  0.00
	//   0.80  1.00
	// rows
	//   1.00  0.00
	//   0.89  0.45
}

// The Stiefel manifold keeps the vectors along the shorter side of a point
// orthonormal. A filter bank of two filters of four weights:
func ExampleStiefel() {
	x := matrix(2, 4,
		1, 1, 1, 1,
		1, 1, 1, 0)
	m := manifolds.Stiefel{}
	if err := m.Project(x, x); err != nil {
		fmt.Println(err)
	}
	show(x)
	fmt.Println("dimension", m.Properties(2, 4).Dim, "of 8; membership error below 1e-15:", m.Membership(x) < 1e-15)
	// Output:
	//   0.31  0.31  0.31  0.84
	//   0.49  0.49  0.49 -0.54
	// dimension 5 of 8; membership error below 1e-15: true
}

// The retractions of Stiefel end at different points, all on the manifold.
func ExampleStiefelRetraction() {
	x := matrix(3, 2,
		1, 0,
		0, 1,
		0, 0)
	v := matrix(3, 2, // tangent at x: the upper square is skew
		0, 0.5,
		-0.5, 0,
		1, 1)
	y := x.Like()
	for _, r := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic} {
		m := manifolds.Stiefel{Retraction: r}
		if err := m.Retract(y, x, v); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%v: first column (%.2f, %.2f, %.2f), on the manifold %v\n", r, y.At(0, 0, 0), y.At(0, 1, 0), y.At(0, 2, 0), m.Membership(y) < 1e-14)
	}
	// Output:
	// Cholesky-QR: first column (0.67, -0.33, 0.67), on the manifold true
	// QR: first column (0.67, -0.33, 0.67), on the manifold true
	// polar: first column (0.64, -0.53, 0.55), on the manifold true
	// geodesic: first column (0.29, -0.73, 0.62), on the manifold true
}

// The metric of a manifold decides what the gradient is.
func ExampleGradient() {
	x := matrix(2, 2, 1, 0, 0, 1)
	g := matrix(2, 2, 0, 1, 0, 0)
	grad := x.Like()
	for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
		m := manifolds.Stiefel{Metric: metric}
		if err := manifolds.Gradient(m, grad, x, g); err != nil {
			fmt.Println(err)
		}
		fmt.Println(manifolds.Name(m))
		show(grad)
	}
	// Output:
	// Stiefel
	//   0.00  0.50
	//  -0.50  0.00
	// Stiefel(canonical)
	//   0.00  1.00
	//  -1.00  0.00
}

// Without a constraint everything is a point, and a step is an addition.
func ExampleEuclidean() {
	x, v := matrix(1, 2, 1, 2), matrix(1, 2, 0.5, -1)
	m := manifolds.Euclidean{}
	if err := m.Retract(x, x, v); err != nil {
		fmt.Println(err)
	}
	show(x)
	fmt.Println(manifolds.On(m).Grouping)
	// Output:
	//   1.50  1.00
	// per weight
}

// An oblique manifold takes its columns or its rows from the grouping.
func ExampleGrouper() {
	fmt.Println(manifolds.On(manifolds.Oblique{}))
	fmt.Println(manifolds.On(manifolds.Oblique{}, manifolds.FilterBank))
	// Output:
	// Oblique, per slice, unit filters
	// Oblique(rows), filter bank, unit filters
}

// The radius that each scale gives the slices of a layer of 64 filters on 32
// channels, whose weights have norm 10 together.
func ExampleScale() {
	for _, s := range []manifolds.Scale{
		manifolds.UnitFilters, manifolds.Unit, manifolds.Initial, manifolds.FilterNorm(math.Sqrt2), manifolds.Times(3),
	} {
		piece, err := manifolds.Single(manifolds.On(manifolds.Sphere{}, manifolds.PerSlice, s).Bind([]int{64, 32, 3, 3}, 10))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%v: %.4f\n", s, piece.Manifold.(manifolds.Sphere).Radius)
	}
	// Output:
	// unit filters: 0.1768
	// unit scale: 0.0000
	// initial scale: 0.2210
	// filter norm 1.414: 0.2500
	// scale 3: 3.0000
}

// Points that do not lie one after the other are gathered, and scattered back.
func ExampleLayout_Gather() {
	shape := []int{2, 1, 1, 3} // two filters of 1x3
	layer, err := manifolds.Points64([]float64{1, 2, 3, 4, 5, 6}, 1, 2, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := manifolds.PerTap.Layout(shape)
	if err != nil {
		fmt.Println(err)
		return
	}
	taps, err := manifolds.Points64(make([]float64, 6), l.K, l.N, l.P)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := l.Gather(taps, layer); err != nil {
		fmt.Println(err)
	}
	fmt.Println(taps, taps.Data64())
	// Output:
	// 3 points of 2x1 float64 [1 4 2 5 3 6]
}

// A batch is a view of numbers that the caller owns.
func ExamplePoints32() {
	weights := []float32{3, 4, 0, 2}
	x, err := manifolds.Points32(weights, 2, 1, 2) // two points of 1x2
	if err != nil {
		fmt.Println(err)
	}
	if err := (manifolds.Sphere{}).Project(x, x); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.1f\n", weights)

	_, err = manifolds.Points32(weights, 3, 1, 2)
	fmt.Println(err)
	// Output:
	// [0.6 0.8 0.0 1.0]
	// manifolds: want a positive number of points and 3*1*2 = 6 values, got 4
}

// The geometric factor shortens long steps: on the unit sphere no step is longer
// than the learning rate.
func ExampleGeometricFactor() {
	c := manifolds.PropertiesOf(manifolds.Sphere{}, 3, 3).Curvature
	for _, r := range []float64{0.1, 1, 10} {
		g := manifolds.GeometricFactor(r, c)
		fmt.Printf("|v| = %g: g = %g, |v|/g = %.2f\n", r, g, r/g)
	}
	// Output:
	// |v| = 0.1: g = 1, |v|/g = 0.10
	// |v| = 1: g = 3, |v|/g = 0.33
	// |v| = 10: g = 120, |v|/g = 0.08
}

// What a manifold can do beyond the six methods is found by type assertion.
func ExampleManifold() {
	for _, m := range []manifolds.Manifold{
		manifolds.Euclidean{}, manifolds.Sphere{}, manifolds.CentredSphere{}, manifolds.Oblique{}, manifolds.Stiefel{},
	} {
		_, exp := m.(manifolds.Exponential)
		_, log := m.(manifolds.Logarithm)
		_, parallel := m.(manifolds.ParallelTransporter)
		_, metric := m.(manifolds.Metric)
		_, scalable := m.(manifolds.Scalable)
		fmt.Printf("%v: exp %v, log %v, parallel transport %v, metric of its own %v, scalable %v\n", m, exp, log, parallel, metric, scalable)
	}
	known := manifolds.PropertiesOf(manifolds.Stiefel{}, 5, 3)
	fmt.Printf("Stiefel of 5x3: dimension %d, curvature at most %g, injectivity radius %.3f\n", known.Dim, known.Curvature, known.InjectivityRadius)
	// Output:
	// Euclidean: exp true, log true, parallel transport true, metric of its own false, scalable false
	// Sphere: exp true, log true, parallel transport true, metric of its own false, scalable true
	// CentredSphere: exp true, log true, parallel transport true, metric of its own false, scalable true
	// Oblique: exp true, log true, parallel transport true, metric of its own false, scalable true
	// Stiefel: exp true, log true, parallel transport false, metric of its own true, scalable true
	// Stiefel of 5x3: dimension 9, curvature at most 1, injectivity radius 3.142
}

// Two filters whose outputs are uncorrelated and of variance 1, for inputs of covariance B.
func ExampleNewGeneralizedStiefel() {
	m, err := manifolds.NewGeneralizedStiefel(3, []float64{4, 1, 0.25}) // a diagonal B
	if err != nil {
		fmt.Println(err)
		return
	}
	x := matrix(2, 3,
		3, 0, 0,
		0, 3, 4)
	if err := m.Project(x, x); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n%.3f\n", x.Data64()[:3], x.Data64()[3:])
	_, err = manifolds.NewGeneralizedStiefel(3, []float64{1, -1, 1})
	fmt.Println(err)
	// Output:
	// [0.500 0.000 0.000]
	// [0.000 0.832 1.109]
	// manifolds: GeneralizedStiefel: want a positive definite B, got -1 on its diagonal, at 1
}

// A point of the Grassmann manifold is a subspace: another basis of it is the same point.
func ExampleGrassmann() {
	x := matrix(3, 2,
		1, 0,
		0, 1,
		0, 0)
	rotated := matrix(3, 2,
		0.6, -0.8,
		0.8, 0.6,
		0, 0)
	tilted := matrix(3, 2, // by 0.5 radians about the first axis
		1, 0,
		0, math.Cos(0.5),
		0, math.Sin(0.5))
	m, d := manifolds.Grassmann{}, []float64{0}
	for _, y := range []manifolds.Points{rotated, tilted} {
		if err := m.Dist(d, x, y); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("distance %.2f\n", math.Abs(d[0]))
	}
	// Output:
	// distance 0.00
	// distance 0.50
}

// The nearest rotation to a matrix that mirrors; Orthogonal admits mirror images.
func ExampleSpecialOrthogonal() {
	x := matrix(2, 2,
		2, 0,
		0, -1)
	y := x.Like()
	for _, m := range []manifolds.Manifold{manifolds.SpecialOrthogonal{}, manifolds.Orthogonal{}} {
		if err := m.Project(y, x); err != nil {
			fmt.Println(err)
		}
		fmt.Println(manifolds.Name(m))
		show(y)
	}
	// Output:
	// SpecialOrthogonal
	//   1.00  0.00
	//   0.00  1.00
	// Orthogonal
	//   1.00  0.00
	//   0.00 -1.00
}

// The logarithm of two rotations turns by the angle between them.
func ExampleOrthogonal() {
	at := func(t float64) manifolds.Points {
		return matrix(2, 2, math.Cos(t), -math.Sin(t), math.Sin(t), math.Cos(t))
	}
	v := at(0)
	if err := (manifolds.Orthogonal{}).Log(v, at(0), at(0.3)); err != nil {
		fmt.Println(err)
	}
	show(v)
	// Output:
	//   0.00 -0.30
	//   0.30  0.00
}
