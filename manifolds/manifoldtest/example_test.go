// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// Cylinder is the set {x : the first column of x has norm 1}; the other columns
// are free. It is a manifold of n x p matrices written outside package manifolds,
// from the six methods and no more.
//
//	tangent space  {v : <x_0, v_0> = 0}
//	projection     x_0 / |x_0|, the rest as it is
//	retraction     the projection of x + v
type Cylinder struct{}

// Check accepts every positive shape.
func (Cylinder) Check(n, p int) error {
	if n < 1 || p < 1 {
		return fmt.Errorf("Cylinder: want positive sizes, got %dx%d", n, p)
	}
	return nil
}

// Project normalises the first column.
func (m Cylinder) Project(dst, x manifolds.Points) error {
	if err := dst.CopyFrom(x); err != nil {
		return err
	}
	return m.normalise("project", dst)
}

// Retract projects x + v.
func (m Cylinder) Retract(dst, x, v manifolds.Points) error {
	if err := agree(dst, x, v); err != nil {
		return err
	}
	each(dst, func(k, i, j int) { dst.Set(k, i, j, x.At(k, i, j)+v.At(k, i, j)) })
	return m.normalise("retract", dst)
}

// Tangent writes g_0 - x_0 <x_0, g_0>, and the rest of g as it is.
func (m Cylinder) Tangent(dst, x, g manifolds.Points) error {
	if err := agree(dst, x, g); err != nil {
		return err
	}
	for k := range x.K {
		c := 0.0
		for i := range x.N {
			c += x.At(k, i, 0) * g.At(k, i, 0)
		}
		for i := range x.N {
			dst.Set(k, i, 0, g.At(k, i, 0)-c*x.At(k, i, 0))
			for j := 1; j < x.P; j++ {
				dst.Set(k, i, j, g.At(k, i, j))
			}
		}
	}
	return nil
}

// Transport projects u to the tangent space at y.
func (m Cylinder) Transport(dst, x, y, u manifolds.Points) error {
	if err := agree(dst, x); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// Membership returns the largest ||x_0| - 1|, and NaN if an element is not finite.
func (m Cylinder) Membership(x manifolds.Points) float64 {
	worst := 0.0
	for k := range x.K {
		norm, finite := m.norm(x, k)
		if !finite {
			return math.NaN()
		}
		worst = max(worst, math.Abs(norm-1))
	}
	return worst
}

func (m Cylinder) normalise(op string, x manifolds.Points) error {
	for k := range x.K {
		norm, finite := m.norm(x, k)
		if !finite || norm < 1e-300 {
			return &manifolds.PointError{Manifold: "Cylinder", Op: op, Point: k,
				Reason: fmt.Sprintf("want a first column with a direction, got norm %g", norm)}
		}
		for i := range x.N {
			x.Set(k, i, 0, x.At(k, i, 0)/norm)
		}
	}
	return nil
}

func (Cylinder) norm(x manifolds.Points, k int) (norm float64, finite bool) {
	largest := 0.0
	for i := range x.N {
		norm = math.Hypot(norm, x.At(k, i, 0))
		for j := range x.P {
			largest = max(largest, math.Abs(x.At(k, i, j)))
		}
	}
	return norm, largest <= math.MaxFloat64
}

func each(x manifolds.Points, f func(k, i, j int)) {
	for k := range x.K {
		for i := range x.N {
			for j := range x.P {
				f(k, i, j)
			}
		}
	}
}

func agree(x manifolds.Points, others ...manifolds.Points) error {
	for _, y := range others {
		if y.K != x.K || y.N != x.N || y.P != x.P || (y.Data64() == nil) != (x.Data64() == nil) {
			return fmt.Errorf("Cylinder: want batches of one shape and precision, got %v and %v", x, y)
		}
	}
	return nil
}

// In a test Run checks a manifold oracle by oracle.
func TestCylinder(t *testing.T) {
	manifoldtest.Run(t, Cylinder{})
}

// Outside of tests Check returns what is wrong, here nothing.
func ExampleCheck() {
	fmt.Println(manifoldtest.Check(Cylinder{}))
	// Output: <nil>
}

// Sheared forgets that transport must end in the tangent space at y.
type Sheared struct{ Cylinder }

// Transport copies u.
func (m Sheared) Transport(dst, x, y, u manifolds.Points) error {
	if err := agree(dst, x, y, u); err != nil {
		return err
	}
	return dst.CopyFrom(u)
}

// A failure names the oracle, the equation, and the size of the error.
func ExampleCheck_failure() {
	fmt.Println(manifoldtest.Check(Sheared{}, manifoldtest.Shape{K: 2, N: 3, P: 3}))
	// Output:
	// manifoldtest: manifoldtest_test.Sheared: transport: float32, 2 points of 3x3: T_y of the transported u is itself: want a relative difference of at most 1.14e-05, got 0.0398 at point 0
	// manifoldtest: manifoldtest_test.Sheared: transport: float64, 2 points of 3x3: T_y of the transported u is itself: want a relative difference of at most 2.13e-14, got 0.505 at point 0
}
