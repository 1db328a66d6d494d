// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// reference is a case of testdata/reference.json: a node of PyTorch.
type reference struct {
	Op, Name string
	Params   struct {
		Kernel, Stride, Pad, Dilation []int
		Training, Cayley, Circular    bool
		Momentum, Epsilon, Top        float64
		Groups, Iterations            int
		OutputPadding                 [2]int
	}
	Inputs []struct {
		Shape []int
		Data  []float64
	}
	Value, Cotangent []float64
	Gradients        [][]float64          // nil for a constant input
	Before, After    map[string][]float64 // the state of the op
}

// node returns the node of this library for a reference, and what reads its state.
func (r reference) node(in []*gorgonia.Node) (n *gorgonia.Node, state func() map[string][]float64, err error) {
	p := r.Params
	switch r.Op {
	case "conv2d":
		n, err = gorgonia.Conv2d(in[0], in[1], p.Kernel, p.Pad, p.Stride, p.Dilation)
	case "batch_norm":
		s := &nodes.Statistics{Mean: r.Before["mean"], Variance: r.Before["variance"], Momentum: p.Momentum}
		state = func() map[string][]float64 { return map[string][]float64{"mean": s.Mean, "variance": s.Variance} }
		n, err = nodes.BatchNormWith(in[0], in[1], in[2], s, p.Epsilon)
	case "max_pool":
		n, err = nodes.MaxPool2D(in[0], p.Kernel, p.Pad, p.Stride)
	case "max_pool_ceil":
		n, err = nodes.MaxPool2DCeil(in[0], p.Kernel, p.Pad, p.Stride)
	case "adaptive_average_pool":
		n, err = nodes.AdaptiveAveragePool2D(in[0], p.Kernel[0], p.Kernel[1])
	case "rectify_to":
		n, err = nodes.RectifyTo(in[0], p.Top)
	case "concat":
		n, err = nodes.Concat(in...)
	case "average_pool":
		n, err = nodes.AveragePool2D(in[0], p.Kernel, p.Pad, p.Stride)
	case "global_average_pool":
		n, err = nodes.GlobalAveragePool2D(in[0])
	case "group_norm":
		n, err = nodes.GroupNorm(in[0], in[1], in[2], p.Groups, r.Inputs[0].Shape[1], p.Epsilon)
	case "max_min":
		n, err = nodes.MaxMin(in[0])
	case "householder":
		n, err = nodes.Householder(in[0], in[1])
	case "cross_entropy":
		n, err = nodes.CrossEntropy(in[0], in[1])
	case "weight_norm":
		n, err = nodes.WeightNorm(in[0], in[1])
	case "spectral_norm":
		s := nodes.NewPowerIteration(0)
		if err := s.SetVectors(r.Before["u"], r.Before["v"]); err != nil {
			return nil, nil, err
		}
		state = func() map[string][]float64 {
			u, v := s.Vectors()
			return map[string][]float64{"u": u, "v": v}
		}
		n, err = nodes.SpectralNorm(in[0], s, p.Iterations)
	case "orthogonal":
		n, err = r.orthogonal(in[0], in[1])
	default:
		err = fmt.Errorf("want a known op, got %s", r.Op)
	}
	return n, state, err
}

// orthogonal is the parametrisation of PyTorch by our trivialisations. With n >= q
// the sides of X, transposed where it is wide, B its square base and E the
// first q columns of the unit matrix, PyTorch has
//
//	W = phi(B A B^T) B E,   A = T E^T - E T^T,   T = the lower triangle of X.
//
// B A B^T is our Omega at the base B E for the tangent vector v = B A E.
func (r reference) orthogonal(x, b *gorgonia.Node) (*gorgonia.Node, error) {
	rows, columns := x.Shape()[0], x.Shape()[1]
	n, q := max(rows, columns), min(rows, columns)
	lower := zeros(x.Graph(), "lower triangle", x.Dtype(), n, q)
	e := zeros(x.Graph(), "E", x.Dtype(), n, q)
	for i := range n {
		for j := range q {
			if i >= j {
				set(lower, i*q+j, 1)
			}
			if i == j {
				set(e, i*q+j, 1)
			}
		}
	}
	tall := func(m *gorgonia.Node) *gorgonia.Node {
		if rows < columns {
			return gorgonia.Must(gorgonia.Transpose(m))
		}
		return m
	}
	mul := func(a, b *gorgonia.Node) *gorgonia.Node { return gorgonia.Must(gorgonia.Mul(a, b)) }
	t := gorgonia.Must(gorgonia.HadamardProd(lower, tall(x)))
	ae := gorgonia.Must(gorgonia.Sub(t, mul(e, mul(gorgonia.Must(gorgonia.Transpose(t)), e))))
	v, base := tall(mul(b, ae)), tall(mul(b, e))
	if r.Params.Cayley {
		return nodes.CayleyTrivialization(v, base)
	}
	return nodes.ExpTrivialization(v, base)
}

// set writes an element of the value of a leaf.
func set(n *gorgonia.Node, i int, x float64) {
	switch d := n.Value().Data().(type) {
	case []float32:
		d[i] = float32(x)
	case []float64:
		d[i] = x
	}
}

// differ is the largest difference, relative to the largest magnitude or 1.
func differ(t *testing.T, got, want []float64) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	scale, most := 1.0, 0.0
	for i := range want {
		require.False(t, math.IsNaN(got[i]))
		scale = max(scale, math.Abs(want[i]))
		most = max(most, math.Abs(got[i]-want[i]))
	}
	return most / scale
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// Values, gradients and states are those of PyTorch in float64. See
// testdata/reference.py for what is computed and how it is made again.
func TestReference(t *testing.T) {
	// Sums have up to 60 terms here: 64 sqrt(60) eps is 1e-13 and 6e-5. Float32 rounds
	// bases and parameters as well.
	var file struct{ Cases []json.RawMessage }
	readJSON(t, "testdata/reference.json", &file)
	require.NotEmpty(t, file.Cases)
	largest := map[string]float64{}
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		tolerance := 1e-13
		if of == tensor.Float32 {
			tolerance = 6e-5
		}
		for i, raw := range file.Cases {
			var r reference
			require.NoError(t, json.Unmarshal(raw, &r)) // a fresh state for each precision
			t.Run(fmt.Sprintf("%v/%d %s/%s", of, i, r.Op, r.Name), func(t *testing.T) {
				near := func(what string, got, want []float64) {
					t.Helper()
					d := differ(t, got, want)
					assert.LessOrEqual(t, d, tolerance, what)
					key := fmt.Sprintf("%v %s", of, r.Op)
					largest[key] = max(largest[key], d)
				}
				g := gorgonia.NewGraph()
				var in, wrt gorgonia.Nodes
				var want [][]float64
				for j, x := range r.Inputs {
					n := zeros(g, fmt.Sprintf("input %d", j), of, x.Shape...)
					for k, v := range x.Data {
						set(n, k, v)
					}
					in = append(in, n)
					if r.Gradients[j] != nil {
						wrt, want = append(wrt, n), append(want, r.Gradients[j])
					}
				}
				node, state, err := r.node(in)
				require.NoError(t, err)
				// The gradient of the sum of cotangent * value is that of PyTorch.
				cost := node
				if !node.IsScalar() {
					c := zeros(g, "cotangent", of, node.Shape()...)
					for k, v := range r.Cotangent {
						set(c, k, v)
					}
					cost = gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(node, c))))
				}
				gradients, err := gorgonia.Grad(cost, wrt...)
				require.NoError(t, err)
				var value gorgonia.Value
				gorgonia.Read(node, &value)
				got := make([]gorgonia.Value, len(gradients))
				for j, n := range gradients {
					gorgonia.Read(n, &got[j])
				}
				var opts []gorgonia.VMOpt
				if state != nil && !r.Params.Training {
					opts = append(opts, gorgonia.EvalMode())
				}
				vm := gorgonia.NewTapeMachine(g, opts...)
				defer vm.Close()
				require.NoError(t, vm.RunAll())
				near("value", floats(value), r.Value)
				for j := range want {
					near(fmt.Sprintf("gradient in %s", wrt[j].Name()), floats(got[j]), want[j])
				}
				if state != nil {
					for name, x := range state() {
						near(name+" after the run", x, r.After[name])
					}
				}
			})
		}
	}
	assert.Len(t, largest, 2*16, "sixteen ops in two precisions")
	for _, key := range slices.Sorted(maps.Keys(largest)) {
		t.Logf("%-27s differs by at most %.1e", key, largest[key])
	}
}
