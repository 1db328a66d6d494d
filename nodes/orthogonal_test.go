// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// bankOf returns the filters of a kernel, and its transpose where that is wider.
func bankOf(s tensor.Shape, w []float64) (x [][]float64, place [][]int) {
	filters := filtersOf(s)
	if len(filters) > len(filters[0]) {
		t := make([][]int, len(filters[0]))
		for i := range t {
			for _, filter := range filters {
				t[i] = append(t[i], filter[i])
			}
		}
		filters = t
	}
	x = make([][]float64, len(filters))
	for i, filter := range filters {
		for _, e := range filter {
			x[i] = append(x[i], w[e])
		}
	}
	return x, filters
}

// products returns x x^T.
func products(x [][]float64) [][]float64 {
	g := make([][]float64, len(x))
	for i := range x {
		for j := range x {
			s := 0.0
			for k := range x[i] {
				s += x[i][k] * x[j][k]
			}
			g[i] = append(g[i], s)
		}
	}
	return g
}

func TestOrthogonalize(t *testing.T) {
	for _, iterations := range []int{1, 2, 5} {
		for _, s := range append(kernelShapes, tensor.Shape{2, 1, 1, 1}) {
			build := func(iterations int, scale manifolds.Scale) nodetest.Build {
				return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
					return nodes.Orthogonalize(in[0], iterations, scale)
				}
			}
			t.Run(fmt.Sprint(iterations, s), func(t *testing.T) {
				kernelNode{
					build:     build(iterations, manifolds.Times(1.7)),
					shapes:    []tensor.Shape{s},
					variants:  []nodetest.Build{build(iterations+1, manifolds.Times(1.7)), build(iterations, manifolds.Times(1.700001))},
					condition: 10,
					loop: func(in [][]float64) []float64 {
						x, place := bankOf(s, in[0])
						squares := 0.0
						for _, row := range products(x) {
							for _, v := range row {
								squares += v * v
							}
						}
						for _, row := range x {
							for k := range row {
								row[k] /= math.Pow(squares, 0.25)
							}
						}
						for range iterations {
							g, y := products(x), make([][]float64, len(x))
							for i := range x {
								for k := range x[i] {
									sum := 1.5 * x[i][k]
									for j := range x {
										sum -= 0.5 * g[i][j] * x[j][k]
									}
									y[i] = append(y[i], sum)
								}
							}
							x = y
						}
						out := make([]float64, len(in[0]))
						for i, row := range x {
							for k, v := range row {
								out[place[i][k]] = 1.7 * v
							}
						}
						return out
					},
				}.check(t)
			})
		}
	}
}

// With many iterations the node is the projection to Stiefel, and stays it.
func TestOrthogonalizeConverges(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for _, iterations := range []int{20, 60, 400} {
			for _, s := range kernelShapes {
				g := gorgonia.NewGraph()
				v := given(g, of, "v", s, positive(s.TotalSize()))
				for _, scale := range []manifolds.Scale{{}, manifolds.Unit, manifolds.FilterNorm(2)} {
					a := gorgonia.Must(nodes.Orthogonalize(v, iterations, scale))
					b := gorgonia.Must(nodes.Normalize(v, manifolds.Stiefel{}, scale))
					require.NoError(t, runOnce(g))
					tolerance := 1e-12
					if of == tensor.Float32 {
						tolerance = 1e-4 // rounding times the condition of v
					}
					assert.InDeltaSlice(t, floats(b.Value()), floats(a.Value()), tolerance, "%v %v %d %v", of, s, iterations, scale)
				}
			}
		}
	}
}

func TestOrthogonalizeExtremes(t *testing.T) {
	g := gorgonia.NewGraph()
	// Without full rank: two equal filters share what one would have.
	v := given(g, tensor.Float64, "v", tensor.Shape{2, 1, 1, 2}, []float64{1, 0, 1, 0})
	w := gorgonia.Must(nodes.Orthogonalize(v, 40, manifolds.Unit))
	require.NoError(t, runOnce(g))
	assert.InDeltaSlice(t, []float64{math.Sqrt(0.5), 0, math.Sqrt(0.5), 0}, floats(w.Value()), 1e-14)

	for _, s := range []float64{1e-300, 1e-30, 1e30, 1e300} {
		g := gorgonia.NewGraph()
		v := given(g, tensor.Float64, "v", tensor.Shape{2, 1, 1, 2}, []float64{s, 0, 0, -2 * s})
		w := gorgonia.Must(nodes.Orthogonalize(v, 40, manifolds.Unit))
		require.NoError(t, runOnce(g))
		assert.InDeltaSlice(t, []float64{1, 0, 0, -1}, floats(w.Value()), 1e-14)
	}
	for _, bad := range []float64{0, math.NaN(), math.Inf(1)} {
		set := []float64{bad, bad, bad, bad}
		assign(v.Value(), set)
		assert.ErrorContains(t, runOnce(g), "nodes.Orthogonalize: want a matrix of positive finite norm, got largest element")
	}
}

func TestOrthogonalizeRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	v := unset(g, "v", 4, 3, 3, 3)
	_, err := nodes.Orthogonalize(v, 0, manifolds.Unit)
	assert.EqualError(t, err, "nodes.Orthogonalize: want at least 1 iteration, got 0")
	_, err = nodes.Orthogonalize(v, 5, manifolds.Initial)
	assert.EqualError(t, err, "nodes.Orthogonalize: want a scale that is a number, got initial scale")
	_, err = nodes.Orthogonalize(v, 5, manifolds.Times(-1))
	assert.EqualError(t, err, "nodes.Orthogonalize: manifolds: Stiefel: want a positive finite scale, got scale -1 = -1")
	_, err = nodes.Orthogonalize(unset(g, "x", 3), 5, manifolds.Unit)
	assert.ErrorContains(t, err, "nodes.Orthogonalize: input 0, x: want a kernel of shape")
	_, err = nodes.Orthogonalize(given(g, tensor.Float32, "zero", tensor.Shape{2, 2}, make([]float64, 4)), 5, manifolds.Unit)
	assert.EqualError(t, err, "nodes.Orthogonalize: the value of zero: want a matrix of positive finite norm, got largest element 0")
}

// Two filters that are far from orthogonal, after few and after many iterations.
func ExampleOrthogonalize() {
	for _, iterations := range []int{1, 5, 15} {
		g := gorgonia.NewGraph()
		v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
			gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float64{1, 1, 1, 0}))))
		w := gorgonia.Must(nodes.Orthogonalize(v, iterations, manifolds.UnitFilters))

		vm := gorgonia.NewTapeMachine(g)
		if err := vm.RunAll(); err != nil {
			fmt.Println(err)
		}
		k := w.Value().Data().([]float64)
		fmt.Printf("%d: %.4f, product %.4f\n", iterations, k, math.Abs(k[0]*k[2]+k[1]*k[3]))
		vm.Close()
	}
	// Output:
	// 1: [0.5736 0.6898 0.6898 -0.1162], product 0.3156
	// 5: [0.4473 0.8943 0.8943 -0.4470], product 0.0002
	// 15: [0.4472 0.8944 0.8944 -0.4472], product 0.0000
}
