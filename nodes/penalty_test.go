// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// defect returns x x^T - I.
func defect(x [][]float64) [][]float64 {
	e := products(x)
	for i := range e {
		e[i][i]--
	}
	return e
}

func squaresOf(x [][]float64) float64 {
	s := 0.0
	for _, row := range x {
		for _, v := range row {
			s += v * v
		}
	}
	return s
}

// filtersOnly is the bank, not transposed.
func filtersOnly(s tensor.Shape, w []float64) [][]float64 {
	var x [][]float64
	for _, filter := range filtersOf(s) {
		var row []float64
		for _, e := range filter {
			row = append(row, w[e])
		}
		x = append(x, row)
	}
	return x
}

func spectralNorm(e [][]float64) float64 {
	m := mat.NewSymDense(len(e), nil)
	for i := range e {
		for j := range e {
			m.SetSym(i, j, e[i][j])
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(m, false) {
		panic("no eigenvalues")
	}
	largest := 0.0
	for _, v := range eigen.Values(nil) {
		largest = max(largest, math.Abs(v))
	}
	return largest
}

func TestPenalties(t *testing.T) {
	one := func(f func(*gorgonia.Node, ...nodes.KernelOption) (*gorgonia.Node, error)) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0]) }
	}
	srip := func(iterations int, seed uint64) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.SRIP(in[0], iterations, seed) }
	}
	for _, s := range append(kernelShapes, tensor.Shape{2, 1, 1, 1}) {
		for _, c := range []struct {
			name  string
			build nodetest.Build
			loop  func(w []float64) float64
		}{
			{"SoftOrthogonality", one(nodes.SoftOrthogonality), func(w []float64) float64 {
				x, _ := bankOf(s, w)
				return squaresOf(defect(x))
			}},
			{"DoubleSoftOrthogonality", one(nodes.DoubleSoftOrthogonality), func(w []float64) float64 {
				x := filtersOnly(s, w)
				return squaresOf(defect(x)) + squaresOf(defect(transposed(x)))
			}},
			{"MutualCoherence", one(nodes.MutualCoherence), func(w []float64) float64 {
				x, _ := bankOf(s, w)
				largest := 0.0
				for _, row := range defect(x) {
					for _, v := range row {
						largest = max(largest, math.Abs(v))
					}
				}
				return largest
			}},
			{"SRIP", srip(500, 7), func(w []float64) float64 {
				x, _ := bankOf(s, w)
				return spectralNorm(defect(x))
			}},
			{"SRIP of few iterations", srip(2, 7), nil},
		} {
			t.Run(fmt.Sprint(c.name, s), func(t *testing.T) {
				k := nodetest.Case{Build: c.build, Inputs: []nodetest.Input{{Shape: s}}, Condition: 30}
				if c.loop != nil {
					k.Value = func(in [][]float64) []float64 { return []float64{c.loop(in[0])} }
				} else {
					k.Variants = []nodetest.Build{srip(3, 7), srip(2, 8), one(nodes.SoftOrthogonality)}
				}
				nodetest.Run(t, k)
			})
		}
	}
}

// convolutionLoop sums over the offsets, in the words of the definition.
func convolutionLoop(s tensor.Shape, stride []int, w []float64) float64 {
	at := func(i, c, y, x int) float64 { return w[((i*s[1]+c)*s[2]+y)*s[3]+x] }
	value := 0.0
	for oy := -s[2] * stride[0]; oy <= s[2]*stride[0]; oy += stride[0] {
		for ox := -s[3] * stride[1]; ox <= s[3]*stride[1]; ox += stride[1] {
			for i := range s[0] {
				for j := range s[0] {
					z := 0.0
					if i == j && oy == 0 && ox == 0 {
						z = -1
					}
					for c := range s[1] {
						for y := range s[2] {
							for x := range s[3] {
								if y+oy >= 0 && y+oy < s[2] && x+ox >= 0 && x+ox < s[3] {
									z += at(i, c, y, x) * at(j, c, y+oy, x+ox)
								}
							}
						}
					}
					value += z * z
				}
			}
		}
	}
	return value
}

func TestConvOrthogonality(t *testing.T) {
	for _, stride := range [][]int{{1, 1}, {2, 2}, {1, 2}, {3, 1}} {
		for _, s := range []tensor.Shape{{4, 3, 3, 3}, {1, 2, 3, 3}, {3, 1, 2, 5}, {5, 3, 1, 1}, {2, 1, 5, 2}} {
			build := func(stride []int) nodetest.Build {
				return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
					return nodes.ConvOrthogonality(in[0], stride)
				}
			}
			t.Run(fmt.Sprint(stride, s), func(t *testing.T) {
				nodetest.Run(t, nodetest.Case{
					Build:     build(stride),
					Inputs:    []nodetest.Input{{Shape: s}},
					Value:     func(in [][]float64) []float64 { return []float64{convolutionLoop(s, stride, in[0])} },
					Variants:  []nodetest.Build{build([]int{4, 1}), build([]int{1, 7})},
					Condition: 10,
				})
			})
		}
	}
}

// The penalty is what the rows of the convolution, taken from gorgonia.Conv2d one
// pixel at a time, say: the row of a pixel in the middle against all others,
// whatever the stride and the padding.
func TestConvOrthogonalityIsThatOfConv2d(t *testing.T) {
	shape := tensor.Shape{3, 2, 3, 3}
	const side = 13
	for _, c := range []struct{ stride, pad int }{{1, 0}, {1, 1}, {1, 2}, {2, 0}, {2, 1}, {2, 2}, {3, 1}} {
		stride := c.stride
		w := waves(shape.TotalSize(), 0.7)
		for i := range w {
			w[i] = (w[i] - 1) * math.Cos(float64(i*i))
		}
		var columns [][]float64 // the image of each pixel
		for pixel := range 2 * side * side {
			g := gorgonia.NewGraph()
			image := make([]float64, 2*side*side)
			image[pixel] = 1
			x := given(g, tensor.Float64, "x", tensor.Shape{1, 2, side, side}, image)
			y := gorgonia.Must(gorgonia.Conv2d(x, given(g, tensor.Float64, "w", shape, w), tensor.Shape{3, 3}, []int{c.pad, c.pad}, []int{stride, stride}, []int{1, 1}))
			require.NoError(t, runOnce(g))
			columns = append(columns, floats(y.Value()))
		}
		rows := transposed(columns)
		n := len(rows) / 3 // pixels of the output
		across := int(math.Sqrt(float64(n)))
		want := 0.0
		for i := range 3 {
			middle := i*n + across/2*across + across/2
			for j := range rows {
				z := 0.0
				for k := range rows[j] {
					z += rows[middle][k] * rows[j][k]
				}
				if j == middle {
					z--
				}
				want += z * z
			}
		}
		g := gorgonia.NewGraph()
		got := gorgonia.Must(nodes.ConvOrthogonality(given(g, tensor.Float64, "w", shape, w), []int{stride, stride}))
		require.NoError(t, runOnce(g))
		assert.InDelta(t, want, floats(got.Value())[0], 1e-12*want, "stride %d, padding %d", stride, c.pad)
	}
}

// For an orthonormal bank the penalties and their gradients are 0, even where they are not
// differentiable.
func TestPenaltiesVanish(t *testing.T) {
	for name, build := range map[string]func(*gorgonia.Node, ...nodes.KernelOption) (*gorgonia.Node, error){
		"SoftOrthogonality": nodes.SoftOrthogonality,
		"MutualCoherence":   nodes.MutualCoherence,
		"SRIP":              func(w *gorgonia.Node, _ ...nodes.KernelOption) (*gorgonia.Node, error) { return nodes.SRIP(w, 3, 1) },
		"ConvOrthogonality": func(w *gorgonia.Node, _ ...nodes.KernelOption) (*gorgonia.Node, error) {
			return nodes.ConvOrthogonality(w, []int{2, 2})
		},
		"DoubleSoftOrthogonality": func(w *gorgonia.Node, _ ...nodes.KernelOption) (*gorgonia.Node, error) {
			p, err := nodes.DoubleSoftOrthogonality(w)
			if err != nil {
				return nil, err
			}
			return gorgonia.Sub(p, gorgonia.NewConstant(2.0)) // 2 filters of 4 weights
		},
	} {
		g := gorgonia.NewGraph()
		w := given(g, tensor.Float64, "w", tensor.Shape{2, 1, 2, 2}, []float64{0, 1, 0, 0, 0, 0, -1, 0})
		p, err := build(w)
		require.NoError(t, err, name)
		grads, err := gorgonia.Grad(p, w)
		require.NoError(t, err, name)
		require.NoError(t, runOnce(g), name)
		assert.Equal(t, []float64{0}, floats(p.Value()), name)
		for _, x := range floats(grads[0].Value()) {
			assert.Zero(t, x, name)
		}
	}
}

// A penalty pulls the filters of a layer together with the cost.
func TestPenaltyTrains(t *testing.T) {
	g := gorgonia.NewGraph()
	shape := tensor.Shape{4, 2, 3, 3}
	start := positive(shape.TotalSize()) // filters that are nearly parallel
	for i := range start {
		start[i] /= 3
	}
	w := given(g, tensor.Float32, "w", shape, start)
	x := given(g, tensor.Float32, "x", tensor.Shape{2, 2, 6, 6}, waves(2*2*36, 1))
	y := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	p := gorgonia.Must(nodes.SoftOrthogonality(w))
	var value gorgonia.Value
	gorgonia.Read(p, &value)
	cost := gorgonia.Must(gorgonia.Mul(gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y)))), gorgonia.NewConstant(float32(1e-4))))
	cost = gorgonia.Must(gorgonia.Add(cost, p))
	_, err := gorgonia.Grad(cost, w)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
	defer vm.Close()
	solver := gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.02))
	var values []float64
	for range 150 {
		require.NoError(t, vm.RunAll())
		values = append(values, floats(value)[0])
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{w})))
		vm.Reset()
	}
	assert.Greater(t, values[0], 10.)
	assert.Less(t, values[len(values)-1], 0.05)
}

func TestPenaltiesRefuse(t *testing.T) {
	g := gorgonia.NewGraph()
	w := unset(g, "w", 4, 3, 3, 3)
	_, err := nodes.SoftOrthogonality(nil)
	assert.EqualError(t, err, "nodes.SoftOrthogonality: input 0: want a node, got nil")
	_, err = nodes.DoubleSoftOrthogonality(unset(g, "x", 3))
	assert.ErrorContains(t, err, "nodes.DoubleSoftOrthogonality: input 0, x: want a kernel of shape")
	_, err = nodes.MutualCoherence(given(g, tensor.Float64, "nan", tensor.Shape{1, 2}, []float64{1, math.NaN()}))
	assert.EqualError(t, err, "nodes.MutualCoherence: the value of nan: want a kernel whose products are finite, got a penalty of NaN")
	_, err = nodes.SRIP(w, 0, 1)
	assert.EqualError(t, err, "nodes.SRIP: want at least 1 iteration, got 0")
	_, err = nodes.ConvOrthogonality(unset(g, "m", 3, 3), []int{1, 1})
	assert.EqualError(t, err, "nodes.ConvOrthogonality: input 0, m: want rank 4, got shape (3, 3)")
	for _, stride := range [][]int{nil, {1}, {1, 1, 1}, {0, 1}, {1, -1}} {
		_, err = nodes.ConvOrthogonality(w, stride)
		assert.EqualError(t, err, fmt.Sprintf("nodes.ConvOrthogonality: want a stride of two numbers of at least 1, got %v", stride))
	}
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		g := gorgonia.NewGraph()
		w := given(g, of, "w", tensor.Shape{2, 1, 2, 2}, waves(8, 1))
		gorgonia.Must(nodes.SoftOrthogonality(w))
		assign(w.Value(), []float64{1, 2, 3, 4, 5, math.Inf(1), 7, 8})
		assert.ErrorContains(t, runOnce(g), "nodes.SoftOrthogonality: want a kernel whose products are finite")
	}
}

// bankNode is a kernel of two filters, one of which is twice too long.
func bankNode() *gorgonia.Node {
	return gorgonia.NewTensor(gorgonia.NewGraph(), tensor.Float64, 4, gorgonia.WithName("w"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 3), tensor.WithBacking([]float64{1, 0, 0, 0, 2, 0}))))
}

func show(penalty *gorgonia.Node, err error) {
	if err != nil {
		fmt.Println(err)
		return
	}
	vm := gorgonia.NewTapeMachine(penalty.Graph())
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.4f\n", penalty.Value().Data())
}

func ExampleSoftOrthogonality() {
	show(nodes.SoftOrthogonality(bankNode()))
	// Output: 9.0000
}

func ExampleDoubleSoftOrthogonality() {
	show(nodes.DoubleSoftOrthogonality(bankNode()))
	// Output: 19.0000
}

func ExampleMutualCoherence() {
	show(nodes.MutualCoherence(bankNode()))
	// Output: 3.0000
}

func ExampleSRIP() {
	show(nodes.SRIP(bankNode(), 5, 1))
	// Output: 3.0000
}

// The filters overlap where one is shifted by a pixel.
func ExampleConvOrthogonality() {
	show(nodes.ConvOrthogonality(bankNode(), []int{1, 1}))
	show(nodes.ConvOrthogonality(bankNode(), []int{1, 2}))
	// Output:
	// 17.0000
	// 9.0000
}
