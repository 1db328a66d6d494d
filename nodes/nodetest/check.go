// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

const (
	eps32 = 0x1p-23
	eps64 = 0x1p-52
	step  = 0x1p-17
)

// rounding returns the relative tolerance for sums of n terms.
func (c *Case) rounding(eps float64, n int) float64 {
	for _, in := range c.Inputs {
		n = max(n, len(in.Data))
	}
	return 64 * math.Sqrt(float64(n)) * eps * c.Condition
}

// compare returns an error for the first element of got that differs from want by more than tolerance
// times the largest finite magnitude or, if that is less than 1, by more than tolerance. Infinities must be the same, and NaN must be NaN.
func compare(what string, got, want []float64, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%s: want %d numbers, got %d", what, len(want), len(got))
	}
	scale := 1.0
	for _, v := range slices.Concat(want, got) {
		if a := math.Abs(v); a <= math.MaxFloat64 {
			scale = max(scale, a)
		}
	}
	for i := range want {
		bothNaN := got[i] != got[i] && want[i] != want[i]
		if d := math.Abs(got[i] - want[i]); !(d <= tolerance*scale) && got[i] != want[i] && !bothNaN {
			return fmt.Errorf("%s: element %d: want %.9g, got %.9g, which differ by %.3g, more than %.3g", what, i, want[i], got[i], d, tolerance*scale)
		}
	}
	return nil
}

// same returns an error for the first element whose bits differ.
func same(what string, got, want []float64) error {
	for i := range want {
		if math.Float64bits(got[i]) != math.Float64bits(want[i]) {
			return fmt.Errorf("%s: element %d: want the bits of %.17g, got %.17g", what, i, want[i], got[i])
		}
	}
	return nil
}

func sameRun(got, want *run) error {
	if err := same("value", got.value, want.value); err != nil {
		return err
	}
	for i := range want.gradients {
		if err := same(fmt.Sprintf("gradient in input %d", i), got.gradients[i], want.gradients[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Case) value() error {
	r, _, err := c.base(tensor.Float64)
	if err != nil {
		return err
	}
	in := c.data()
	for i := range in { // the reference may overwrite its arguments
		in[i] = append([]float64{}, in[i]...)
	}
	return compare("value", r.value, c.Value(in), c.rounding(eps64, len(r.value)))
}

func (c *Case) gradient() error {
	r, cotangent, err := c.base(tensor.Float64)
	if err != nil {
		return err
	}
	var g *graph
	at := func(data [][]float64) ([]float64, error) {
		if g == nil || c.Varies {
			if g, err = c.graph(tensor.Float64, c.Build, nil, false); err != nil {
				return nil, err
			}
		}
		r, err := g.run(data, nil)
		if err != nil {
			return nil, err
		}
		return r.value, nil
	}
	for i, in := range c.Inputs {
		if in.Constant {
			continue
		}
		x := append([]float64{}, in.Data...)
		data := c.data()
		data[i] = x
		want := make([]float64, len(x))
		for j, v := range x {
			h := step * max(1, math.Abs(v))
			x[j] = v + h
			above, err := at(data)
			if err != nil {
				return err
			}
			x[j] = v - h
			below, err := at(data)
			if err != nil {
				return err
			}
			x[j] = v
			for k, a := range cotangent {
				want[j] += a * (above[k] - below[k])
			}
			want[j] /= (v + h) - (v - h)
		}
		if err := compare(fmt.Sprintf("gradient in input %d against central differences", i), r.gradients[i], want, 1e-7*c.Condition); err != nil {
			return err
		}
	}
	return nil
}

func (c *Case) precision() error {
	want, _, err := c.base(tensor.Float64)
	if err != nil {
		return err
	}
	got, _, err := c.base(tensor.Float32)
	if err != nil {
		return err
	}
	tolerance := c.rounding(eps32, len(want.value))
	if err := compare("value in float32 against float64", got.value, want.value, tolerance); err != nil {
		return err
	}
	for i := range want.gradients {
		if err := compare(fmt.Sprintf("gradient in input %d in float32 against float64", i), got.gradients[i], want.gradients[i], tolerance); err != nil {
			return err
		}
	}
	return nil
}

func (c *Case) unwritten() error {
	for _, of := range precisions {
		for _, gradients := range []bool{false, true} {
			g, err := c.graph(of, c.Build, nil, gradients)
			if err != nil {
				return err
			}
			r, err := g.run(c.data(), c.cotangent(g.node))
			if err != nil {
				return err
			}
			for i, in := range c.Inputs {
				if err := same(fmt.Sprintf("%v: input %d after the run", of, i), r.inputs[i], in.Data); err != nil {
					return err
				}
			}
			if g.cotangent != nil {
				if err := same(fmt.Sprintf("%v: the gradient of the output after the run", of), numbers(g.cotangent.Value()), c.cotangent(g.node)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *Case) determinism() error {
	for _, of := range precisions {
		first, _, err := c.base(of)
		if err != nil {
			return err
		}
		second, _, err := c.base(of)
		if err != nil {
			return err
		}
		if err := sameRun(second, first); err != nil {
			return fmt.Errorf("%v: two graphs: %w", of, err)
		}
	}
	return nil
}

func (c *Case) repetition() error {
	for _, of := range precisions {
		g, err := c.graph(of, c.Build, nil, true)
		if err != nil {
			return err
		}
		data, cotangent := c.data(), c.cotangent(g.node)
		first, err := g.run(data, cotangent)
		if err != nil {
			return err
		}
		other := make([][]float64, len(data))
		for i, x := range data {
			other[i] = x
			if !c.Inputs[i].Constant { // a constant input may hold labels
				other[i] = reversed(x)
			}
		}
		if _, err := g.run(other, normal(rand.New(rand.NewPCG(5, 6)), len(cotangent))); err != nil {
			return err
		}
		again, err := g.run(data, cotangent)
		if err != nil {
			return err
		}
		if err := sameRun(again, first); err != nil {
			return fmt.Errorf("%v: the third run of a machine against the first: %w", of, err)
		}
	}
	return nil
}

// reversed returns the numbers in reverse order. It does not change the numbers, because a node may
// require something of them, such as a sign.
func reversed(x []float64) []float64 {
	r := make([]float64, len(x))
	for i, v := range x {
		r[len(x)-1-i] = v
	}
	return r
}

// writers are operations that Gorgonia computes in place where it can.
var writers = []struct {
	name       string
	op         then
	value      func(y float64) float64
	derivative func(y float64) float64
}{
	{"Square", gorgonia.Square, func(y float64) float64 { return y * y }, func(y float64) float64 { return 2 * y }},
	{"Rectify", gorgonia.Rectify, func(y float64) float64 { return max(y, 0) }, func(y float64) float64 {
		if y > 0 {
			return 1
		}
		return 0
	}},
	{"Sqrt(1 + y^2)", func(y *gorgonia.Node) (*gorgonia.Node, error) {
		s, err := gorgonia.Square(y)
		if err != nil {
			return nil, err
		}
		if s, err = gorgonia.Add(s, gorgonia.NewConstant(1.0)); err != nil {
			return nil, err
		}
		return gorgonia.Sqrt(s)
	}, func(y float64) float64 { return math.Sqrt(1 + y*y) }, func(y float64) float64 { return y / math.Sqrt(1+y*y) }},
}

// inPlace compares the gradients of <c, f(y)>, where f may write into y, with those of <f'(y) c, y>.
func (c *Case) inPlace() error {
	plain, cotangent, err := c.base(tensor.Float64)
	if err != nil {
		return err
	}
	y := plain.value
	tolerance := c.rounding(eps64, len(y))
	for _, w := range writers {
		value, pulled := make([]float64, len(y)), make([]float64, len(y))
		for i := range y {
			value[i], pulled[i] = w.value(y[i]), w.derivative(y[i])*cotangent[i]
		}
		want, err := c.once(tensor.Float64, nil, true, c.data(), pulled)
		if err != nil {
			return err
		}
		for _, gradients := range []bool{false, true} {
			g, err := c.graph(tensor.Float64, c.Build, w.op, gradients)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			runs := 2
			if c.Varies {
				runs = 1
			}
			for range runs {
				got, err := g.run(c.data(), cotangent)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if err := compare("value of "+w.name, got.value, value, tolerance); err != nil {
					return err
				}
				for i := range want.gradients {
					if !gradients {
						break
					}
					if err := compare(fmt.Sprintf("%s: gradient in input %d", w.name, i), got.gradients[i], want.gradients[i], tolerance); err != nil {
						return err
					}
				}
				for i, in := range c.Inputs {
					if err := same(fmt.Sprintf("%s: input %d after the run", w.name, i), got.inputs[i], in.Data); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
