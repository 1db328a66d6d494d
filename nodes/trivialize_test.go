// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// orthonormal is a kernel whose bank is r times orthonormal.
func orthonormal(s tensor.Shape, r float64) []float64 {
	rng := rand.New(rand.NewPCG(9, 9))
	w := make([]float64, s.TotalSize())
	for i := range w {
		w[i] = rng.NormFloat64()
	}
	x, place := bankOf(s, w)
	for i, row := range polarLoop(x) {
		for j, v := range row {
			w[place[i][j]] = r * v
		}
	}
	return w
}

// exactly is a kernel whose bank is 3/4 times orthonormal without rounding in
// float32: its rows are those of the unit matrix and of Hadamard's of 4x4, halved.
func exactly(s tensor.Shape) []float64 {
	w := make([]float64, s.TotalSize())
	_, place := bankOf(s, w)
	for i := range place {
		block := i / 4 * 4
		if block+4 > len(place[0]) {
			w[place[i][i]] = -0.75
			continue
		}
		for j := range 4 {
			h := 0.375
			if k := i % 4 & j; k == 1 || k == 2 {
				h = -h
			}
			w[place[i][block+j]] = h
		}
	}
	return w
}

// trivializationLoop computes phi(Omega) x with the n x n matrix Omega.
func trivializationLoop(s tensor.Shape, cayley bool) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		v, _ := bankOf(s, in[0])
		base, place := bankOf(s, in[1])
		q, n := len(base), len(base[0])
		r := norm2(base[0])
		x, t := mat.NewDense(n, q, nil), mat.NewDense(n, q, nil)
		for i := range q {
			for j := range n {
				x.Set(j, i, base[i][j]/r)
				t.Set(j, i, v[i][j]/r)
			}
		}
		var xt, sym, w, omega, back, f, y mat.Dense
		xt.Mul(x.T(), t)
		sym.Add(&xt, xt.T())
		sym.Scale(0.5, &sym)
		w.Mul(x, &sym)
		t.Sub(t, &w) // the tangent projection
		xt.Mul(x.T(), t)
		w.Mul(x, &xt)
		w.Scale(-0.5, &w)
		w.Add(&w, t)
		omega.Mul(&w, x.T())
		back.Mul(x, w.T())
		omega.Sub(&omega, &back)
		if cayley {
			minus, plus := mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
			for i := range n {
				for j := range n {
					one := 0.0
					if i == j {
						one = 1
					}
					minus.Set(i, j, one-omega.At(i, j)/2)
					plus.Set(i, j, one+omega.At(i, j)/2)
				}
			}
			if err := f.Solve(minus, plus); err != nil {
				panic(err)
			}
		} else {
			f.Exp(&omega)
		}
		y.Mul(&f, x)
		out := make([]float64, len(in[0]))
		for i := range q {
			for j := range n {
				out[place[i][j]] = r * y.At(j, i)
			}
		}
		return out
	}
}

func trivializations() map[string]func(v, base *gorgonia.Node) (*gorgonia.Node, error) {
	return map[string]func(v, base *gorgonia.Node) (*gorgonia.Node, error){
		"exp":    nodes.ExpTrivialization,
		"Cayley": nodes.CayleyTrivialization,
	}
}

func TestTrivializations(t *testing.T) {
	all := trivializations()
	for name, build := range all {
		other := all[map[string]string{"exp": "Cayley", "Cayley": "exp"}[name]]
		for _, s := range append(kernelShapes, tensor.Shape{3, 1, 1, 3}) {
			t.Run(fmt.Sprint(name, s), func(t *testing.T) {
				c := nodetest.Case{
					Build:     func(in []*gorgonia.Node) (*gorgonia.Node, error) { return build(in[0], in[1]) },
					Inputs:    []nodetest.Input{{Shape: s}, {Shape: s, Data: exactly(s), Constant: true}},
					Value:     trivializationLoop(s, name == "Cayley"),
					Condition: 30,
				}
				if x, _ := bankOf(s, make([]float64, s.TotalSize())); len(x) > 1 {
					c.Variants = []nodetest.Build{func(in []*gorgonia.Node) (*gorgonia.Node, error) { return other(in[0], in[1]) }}
				}
				nodetest.Run(t, c)
			})
		}
	}
}

// Every v gives a point of the radius of base, v = 0 gives base, the exponential
// is that of manifolds, and the two maps agree to second order.
func TestTrivializationsOnManifold(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		tolerance := 1e-11 // a v of 30 radii loses three digits
		if of == tensor.Float32 {
			tolerance = 3e-6
		}
		for _, s := range kernelShapes {
			base := orthonormal(s, 0.7)
			values := map[string][]float64{}
			for name, build := range trivializations() {
				for _, size := range []float64{0, 1e-3, 1, 30} {
					g := gorgonia.NewGraph()
					v := waves(s.TotalSize(), 1)
					for i := range v {
						v[i] *= size * 0.7 / norm2(waves(s.TotalSize(), 1)) * math.Cos(float64(i*i))
					}
					w := gorgonia.Must(build(given(g, of, "v", s, v), given(g, of, "base", s, base)))
					require.NoError(t, runOnce(g))
					got := floats(w.Value())
					x, _ := bankOf(s, got)
					for i, row := range products(x) {
						for j, a := range row {
							want := 0.0
							if i == j {
								want = 0.49
							}
							require.InDelta(t, want, a, tolerance, "%s %v %v %g", name, of, s, size)
						}
					}
					if size == 0 {
						assert.InDeltaSlice(t, base, got, tolerance)
					}
					if of == tensor.Float64 && size <= 1 {
						assert.InDeltaSlice(t, trivializationLoop(s, name == "Cayley")([][]float64{v, base}), got, 1e-13, "%s %v %g", name, s, size)
					}
					if size == 1e-3 {
						values[name] = got
					}
					if name == "exp" && of == tensor.Float64 {
						d, n := len(x), len(x[0])
						at, err := manifolds.Points64(flatBank(s, base), 1, d, n)
						require.NoError(t, err)
						u, err := manifolds.Points64(flatBank(s, v), 1, d, n)
						require.NoError(t, err)
						m := manifolds.Stiefel{Radius: 0.7, Metric: manifolds.CanonicalMetric}
						require.NoError(t, m.Tangent(u, at, u))
						require.NoError(t, m.Exp(u, at, u))
						assert.InDeltaSlice(t, u.Data64(), flatBank(s, got), 1e-10, "%v %g", s, size)
					}
				}
			}
			assert.InDeltaSlice(t, values["exp"], values["Cayley"], 1e-9+tolerance)
		}
	}
}

func flatBank(s tensor.Shape, w []float64) (flat []float64) {
	x, _ := bankOf(s, w)
	for _, row := range x {
		flat = append(flat, row...)
	}
	return flat
}

func TestTrivializationsRefuse(t *testing.T) {
	for name, build := range trivializations() {
		full := "nodes.ExpTrivialization: "
		if name == "Cayley" {
			full = "nodes.CayleyTrivialization: "
		}
		g := gorgonia.NewGraph()
		s := tensor.Shape{2, 1, 2, 2}
		v, base := given(g, tensor.Float64, "v", s, waves(8, 1)), given(g, tensor.Float64, "base", s, orthonormal(s, 1))
		_, err := build(v, nil)
		assert.EqualError(t, err, full+"input 1: want a node, got nil")
		_, err = build(unset(g, "x", 3), base)
		assert.ErrorContains(t, err, full+"input 0, x: want a kernel of shape")
		_, err = build(v, unset(g, "y", 2, 2, 2, 1))
		assert.EqualError(t, err, full+"input 1, y: want the shape of v, (2, 1, 2, 2), got (2, 2, 2, 1)")
		_, err = build(base, v)
		assert.ErrorContains(t, err, full+"the value of base: want an orthonormal base, |x^T x / r^2 - I| at most 1e-4, got")
		_, err = build(v, given(g, tensor.Float64, "zero", s, make([]float64, 8)))
		assert.EqualError(t, err, full+"the value of v: want a base of positive finite norm, got 0")
		for _, bad := range []float64{1e5, math.Inf(1), math.NaN()} {
			g := gorgonia.NewGraph()
			v, base := given(g, tensor.Float64, "v", s, waves(8, 1)), given(g, tensor.Float64, "base", s, orthonormal(s, 1))
			gorgonia.Must(build(v, base))
			assign(v.Value(), []float64{bad, 0, 0, 0, 0, 0, 0, 0})
			assert.ErrorContains(t, runOnce(g), full+"want a v of norm at most 10^4 r, got")
		}
	}
}

// Descent in v keeps the filters orthonormal, and base may follow.
func TestTrivializationsTrain(t *testing.T) {
	for name, build := range trivializations() {
		g := gorgonia.NewGraph()
		s := tensor.Shape{3, 2, 2, 2}
		v := given(g, tensor.Float32, "v", s, make([]float64, s.TotalSize()))
		base := given(g, tensor.Float32, "base", s, orthonormal(s, 1))
		w := gorgonia.Must(build(v, base))
		x := given(g, tensor.Float32, "x", tensor.Shape{2, 2, 5, 5}, waves(100, 1))
		y := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{2, 2}, []int{0, 0}, []int{1, 1}, []int{1, 1}))
		cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y))))
		var loss, value gorgonia.Value
		gorgonia.Read(cost, &loss)
		gorgonia.Read(w, &value)
		_, err := gorgonia.Grad(cost, v)
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(v))
		solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.05))
		var losses []float64
		for step := range 40 {
			require.NoError(t, vm.RunAll())
			losses = append(losses, floats(loss)[0])
			bank, _ := bankOf(s, floats(value))
			require.Less(t, math.Sqrt(squaresOf(defect(bank))), 1e-5)
			if step == 20 {
				assign(base.Value(), floats(value))
				assign(v.Value(), make([]float64, s.TotalSize()))
				d, err := v.Grad()
				require.NoError(t, err)
				assign(d, make([]float64, s.TotalSize()))
			} else {
				require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{v})))
			}
			vm.Reset()
		}
		vm.Close()
		assert.InDelta(t, losses[20], losses[21], 1e-4*losses[20], "%s: a new base changes nothing", name)
		assert.Less(t, losses[39], 0.2*losses[0], name)
	}
}

// The rotation of two filters of two weights by an angle.
func ExampleExpTrivialization() {
	g := gorgonia.NewGraph()
	kernel := func(name string, w ...float64) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName(name),
			gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking(w))))
	}
	base := kernel("base", 1, 0, 0, 1)
	v := kernel("v", 0, math.Pi/2, -math.Pi/2, 0)
	w := gorgonia.Must(nodes.ExpTrivialization(v, base))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll())
	for _, x := range w.Value().Data().([]float64) {
		fmt.Printf("%.2f ", x+0)
	}
	// Output:
	// <nil>
	// 0.00 1.00 -1.00 0.00
}

// The Cayley transform turns by twice the arc tangent of half the angle.
func ExampleCayleyTrivialization() {
	g := gorgonia.NewGraph()
	kernel := func(name string, w ...float64) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName(name),
			gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking(w))))
	}
	base := kernel("base", 1, 0, 0, 1)
	v := kernel("v", 0, 1, -1, 0)
	w := gorgonia.Must(nodes.CayleyTrivialization(v, base))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll())
	fmt.Printf("%.2f\n", w.Value().Data())
	// Output:
	// <nil>
	// [0.60 0.80 -0.80 0.60]
}
