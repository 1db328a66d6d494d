// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// The engine adds as the standard one does: to the bit, into the same tensor, with the same errors.
func TestEngineAddIsStandard(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	random := func(of tensor.Dtype, shape ...int) *tensor.Dense {
		d := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
		for i := range shape[0] * shape[1] {
			if of == tensor.Float32 {
				d.Set(i, float32(rng.NormFloat64()))
			} else if of == tensor.Float64 {
				d.Set(i, rng.NormFloat64())
			} else {
				d.Set(i, rng.Int())
			}
		}
		return d
	}
	transposed := func(d *tensor.Dense) *tensor.Dense {
		require.NoError(t, d.T())
		return d
	}
	const r, c = 300, 400 // worth several cores
	for what, inputs := range map[string]func() (a, b, third *tensor.Dense){
		"float32": func() (a, b, third *tensor.Dense) {
			return random(tensor.Float32, r, c), random(tensor.Float32, r, c), random(tensor.Float32, r, c)
		},
		"float64": func() (a, b, third *tensor.Dense) {
			return random(tensor.Float64, r, c), random(tensor.Float64, r, c), random(tensor.Float64, r, c)
		},
		"int": func() (a, b, third *tensor.Dense) {
			return random(tensor.Int, r, c), random(tensor.Int, r, c), random(tensor.Int, r, c)
		},
		"a transpose": func() (a, b, third *tensor.Dense) {
			return random(tensor.Float64, r, c), transposed(random(tensor.Float64, c, r)), random(tensor.Float64, r, c)
		},
		"another size": func() (a, b, third *tensor.Dense) {
			return random(tensor.Float64, r, c), random(tensor.Float64, c, r), random(tensor.Float64, r, c)
		},
		"precisions": func() (a, b, third *tensor.Dense) {
			return random(tensor.Float64, r, c), random(tensor.Float32, r, c), random(tensor.Float64, r, c)
		},
	} {
		a, b, third := inputs()
		for how, opts := range map[string]func(third *tensor.Dense) []tensor.FuncOpt{
			"new":       func(*tensor.Dense) []tensor.FuncOpt { return nil },
			"in place":  func(*tensor.Dense) []tensor.FuncOpt { return []tensor.FuncOpt{tensor.UseUnsafe()} },
			"to third":  func(third *tensor.Dense) []tensor.FuncOpt { return []tensor.FuncOpt{tensor.WithReuse(third)} },
			"increment": func(third *tensor.Dense) []tensor.FuncOpt { return []tensor.FuncOpt{tensor.WithIncr(third)} },
		} {
			add := func(e tensor.Engine) ([]any, error) {
				copies := []*tensor.Dense{a.Clone().(*tensor.Dense), b.Clone().(*tensor.Dense), third.Clone().(*tensor.Dense)}
				for _, d := range copies {
					tensor.WithEngine(e)(d)
				}
				y, err := tensor.Add(copies[0], copies[1], opts(copies[2])...)
				if err != nil {
					return nil, err
				}
				return []any{y.Data(), y.Shape(), copies[0].Data(), copies[1].Data(), copies[2].Data(),
					y == tensor.Tensor(copies[0]), y == tensor.Tensor(copies[2])}, nil
			}
			want, wantErr := add(gorgonia.StandardEngine{})
			got, err := add(nodes.Engine{})
			assert.Equal(t, want, got, "%s, %s", what, how)
			assert.Equal(t, wantErr == nil, err == nil, "%s, %s", what, how)
		}
	}
}

// A net with forks trains to the same bits with either engine.
func TestEngineInAMachine(t *testing.T) {
	run := func(opts ...gorgonia.VMOpt) [][]float64 {
		g := gorgonia.NewGraph()
		x, w := zeros(g, "x", tensor.Float32, 2, 4, 8, 8), zeros(g, "w", tensor.Float32, 4, 4, 3, 3)
		rng := rand.New(rand.NewPCG(2, 2))
		for _, n := range []*gorgonia.Node{x, w} {
			d := n.Value().Data().([]float32)
			for i := range d {
				d[i] = float32(rng.NormFloat64())
			}
		}
		y := x
		for range 3 {
			z, err := nodes.Conv2d(y, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
			require.NoError(t, err)
			y, err = nodes.Add(z, y)
			require.NoError(t, err)
		}
		cost, err := gorgonia.Sum(gorgonia.Must(gorgonia.Square(y)))
		require.NoError(t, err)
		all, err := gorgonia.Grad(cost, x, w)
		require.NoError(t, err)
		values := make([]gorgonia.Value, 2)
		for i, n := range all {
			gorgonia.Read(n, &values[i])
		}
		vm := gorgonia.NewTapeMachine(g, append(opts, gorgonia.BindDualValues(x, w))...)
		defer vm.Close()
		for range 2 {
			require.NoError(t, vm.RunAll())
			vm.Reset()
		}
		return [][]float64{floats(values[0]), floats(values[1])}
	}
	assert.Equal(t, run(), run(gorgonia.WithEngine(nodes.Engine{})))
}
