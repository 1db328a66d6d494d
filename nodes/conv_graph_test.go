// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// upsample is a transposed convolution.
type upsample struct {
	kernel, pad, stride, dilation []int
	groups                        int
	output                        [2]int // padding
}

func (u upsample) build(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return nodes.ConvTranspose2d(in[0], in[1], u.kernel, u.pad, u.stride, u.dilation, nodes.Groups(u.groups), nodes.OutputPadding(u.output[0], u.output[1]))
}

// around is build with circular padding.
func (u upsample) around(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return nodes.ConvTranspose2d(in[0], in[1], u.kernel, u.pad, u.stride, u.dilation, nodes.Circular(), nodes.Groups(u.groups), nodes.OutputPadding(u.output[0], u.output[1]))
}

// convolve is a node for a case of PyTorch or of the stock op.
type convolve struct {
	kernel, pad, stride, dilation []int
	groups                        int
}

func (c convolve) build(in []*gorgonia.Node) (*gorgonia.Node, error) {
	if c.groups == 0 {
		return nodes.Conv2d(in[0], in[1], c.kernel, c.pad, c.stride, c.dilation)
	}
	return nodes.Conv2dWith(in[0], in[1], c.kernel, c.pad, c.stride, c.dilation, nodes.Groups(c.groups))
}

// around is build with circular padding.
func (c convolve) around(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return nodes.Conv2dWith(in[0], in[1], c.kernel, c.pad, c.stride, c.dilation, nodes.Groups(max(1, c.groups)), nodes.Circular())
}

func (c convolve) stock(in []*gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.Conv2d(in[0], in[1], c.kernel, c.pad, c.stride, c.dilation)
}

func TestConv2d(t *testing.T) {
	one := []int{1, 1}
	for _, c := range []struct {
		x, w []int
		c    convolve
	}{
		{[]int{2, 3, 5, 4}, []int{4, 3, 3, 3}, convolve{[]int{3, 3}, one, one, one, 0}},
		{[]int{1, 2, 6, 5}, []int{3, 2, 2, 3}, convolve{[]int{2, 3}, nil, []int{2, 1}, nil, 0}},
		{[]int{2, 4, 5, 4}, []int{6, 2, 3, 2}, convolve{[]int{3, 2}, []int{2, 0, 1, 1}, []int{1, 2}, []int{1, 2}, 2}},
		{[]int{2, 3, 5, 5}, []int{3, 1, 3, 3}, convolve{[]int{3, 3}, one, one, one, 3}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{Build: c.c.build, Inputs: []nodetest.Input{{Shape: c.x}, {Shape: c.w}}})
		})
	}
	variants := func(cs ...convolve) (all []nodetest.Build) {
		for _, c := range cs {
			all = append(all, c.build)
		}
		return all
	}
	k := []int{2, 2}
	nodetest.Run(t, nodetest.Case{
		Build:  convolve{k, one, one, one, 0}.build,
		Inputs: []nodetest.Input{{Shape: []int{2, 2, 5, 5}}, {Shape: []int{2, 2, 2, 2}}},
		Variants: variants(convolve{k, []int{0, 1}, one, one, 0}, convolve{k, []int{1, 0}, one, one, 0}, convolve{k, []int{2, 0, 1, 1}, one, one, 0},
			convolve{k, []int{0, 2, 1, 1}, one, one, 0}, convolve{k, one, []int{1, 2}, one, 0}, convolve{k, one, []int{2, 1}, one, 0},
			convolve{k, one, one, []int{1, 2}, 0}, convolve{k, one, one, []int{2, 1}, 0}),
	})
}

// differentiate runs a node of x and w with a cotangent, and returns it and its gradients.
func differentiate(t *testing.T, of tensor.Dtype, x, w []int, build nodetest.Build) [][]float64 {
	t.Helper()
	g := gorgonia.NewGraph()
	in := gorgonia.Nodes{zeros(g, "x", of, x...), zeros(g, "w", of, w...)}
	fill := func(n *gorgonia.Node) {
		for i, v := range ramp(n.Shape().TotalSize()) {
			set(n, i, v)
		}
	}
	n, err := build(in)
	require.NoError(t, err)
	cotangent := zeros(g, "cotangent", of, n.Shape()...)
	fill(in[0])
	fill(in[1])
	fill(cotangent)
	// Through a sum, as stock operations write into the gradient that they are given.
	cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(n, cotangent))))
	d, err := gorgonia.Grad(cost, in...)
	require.NoError(t, err)
	values := make([]gorgonia.Value, 3)
	for i, n := range []*gorgonia.Node{n, d[0], d[1]} {
		gorgonia.Read(n, &values[i])
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	all := make([][]float64, 3)
	for i, v := range values {
		all[i] = floats(v)
	}
	return all
}

// The value and both gradients are those of the stock op.
func TestConv2dIsStock(t *testing.T) {
	one := []int{1, 1}
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		tolerance := 1e-13 // sums of up to 1000 products, as in TestReference
		if of == tensor.Float32 {
			tolerance = 6e-5
		}
		for i, kernel := range [][]int{{1, 1}, {3, 3}, {5, 5}, {3, 5}, {2, 3}, {7, 7}} {
			for j, stride := range [][]int{one, {2, 2}, {3, 3}, {1, 2}, {3, 2}} {
				for k, dilation := range [][]int{nil, {2, 2}, {1, 2}} {
					pad := []int{(i + j) % 4, (i + k + 1) % 4}
					x := []int{1 + (i+j+k)%5, []int{1, 3, 8, 17}[(i+k)%4], 13, 13}
					w := []int{[]int{4, 1, 9}[(j+k)%3], x[1], kernel[0], kernel[1]}
					c := convolve{kernel, pad, stride, dilation, 0}
					want := differentiate(t, of, x, w, c.stock)
					got := differentiate(t, of, x, w, c.build)
					for n, what := range []string{"value", "gradient in x", "gradient in w"} {
						assert.LessOrEqual(t, differ(t, got[n], want[n]), tolerance, "%v %v: %s", x, c, what)
					}
				}
			}
		}
	}
}

// Values and gradients are those of PyTorch in float64: see testdata/conv.py.
func TestConv2dReference(t *testing.T) {
	var file struct{ Cases []json.RawMessage }
	readJSON(t, "testdata/conv.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		tolerance := 1e-13 // as in TestReference
		if of == tensor.Float32 {
			tolerance = 6e-5
		}
		for _, raw := range file.Cases {
			var r reference
			require.NoError(t, json.Unmarshal(raw, &r))
			t.Run(fmt.Sprintf("%v/%s/%s", of, r.Op, r.Name), func(t *testing.T) {
				g := gorgonia.NewGraph()
				var in gorgonia.Nodes
				for j, x := range r.Inputs {
					n := zeros(g, fmt.Sprintf("input %d", j), of, x.Shape...)
					for k, v := range x.Data {
						set(n, k, v)
					}
					in = append(in, n)
				}
				p := r.Params
				c, u := convolve{p.Kernel, p.Pad, p.Stride, p.Dilation, p.Groups}, upsample{p.Kernel, p.Pad, p.Stride, p.Dilation, p.Groups, p.OutputPadding}
				build := c.build
				switch {
				case r.Op == "conv_transpose2d" && p.Circular:
					build = u.around
				case r.Op == "conv_transpose2d":
					build = u.build
				case p.Circular:
					build = c.around
				}
				n, err := build(in)
				require.NoError(t, err)
				cotangent := zeros(g, "cotangent", of, n.Shape()...)
				for k, v := range r.Cotangent {
					set(cotangent, k, v)
				}
				d, err := gorgonia.Backpropagate(gorgonia.Nodes{n}, gorgonia.Nodes{cotangent}, in)
				require.NoError(t, err)
				vm := gorgonia.NewTapeMachine(g)
				defer vm.Close()
				require.NoError(t, vm.RunAll())
				assert.LessOrEqual(t, differ(t, floats(n.Value()), r.Value), tolerance, "value")
				for j, n := range d {
					assert.LessOrEqual(t, differ(t, floats(n.Value()), r.Gradients[j]), tolerance, "gradient %d", j)
				}
			})
		}
	}
}

// Circular padding, with gradients that are convolutions on a torus and with others.
func TestCircular(t *testing.T) {
	one, two, k := []int{1, 1}, []int{2, 2}, []int{3, 3}
	for _, c := range []struct {
		x, w  []int
		build nodetest.Build
	}{
		{[]int{2, 3, 5, 4}, []int{4, 3, 3, 3}, convolve{k, one, one, one, 1}.around},
		{[]int{2, 2, 4, 6}, []int{3, 2, 4, 3}, convolve{[]int{4, 3}, []int{1, 1, 0, 2}, two, nil, 1}.around},
		{[]int{1, 4, 5, 3}, []int{4, 2, 3, 3}, convolve{k, []int{0, 1, 4, 2}, []int{2, 1}, []int{1, 2}, 2}.around},
		{[]int{2, 2, 3, 4}, []int{2, 3, 4, 4}, upsample{[]int{4, 4}, one, two, nil, 1, [2]int{}}.around},
		{[]int{1, 4, 3, 4}, []int{4, 1, 3, 2}, upsample{[]int{3, 2}, []int{2, 0, 1, 1}, []int{1, 3}, []int{2, 1}, 2, [2]int{1, 2}}.around},
	} {
		nodetest.Run(t, nodetest.Case{Build: c.build, Inputs: []nodetest.Input{{Shape: c.x}, {Shape: c.w}}})
	}
	nodetest.Run(t, nodetest.Case{
		Build:  convolve{k, one, one, one, 1}.around,
		Inputs: []nodetest.Input{{Shape: []int{2, 2, 4, 4}}, {Shape: []int{2, 2, 3, 3}}},
		Variants: []nodetest.Build{convolve{k, one, one, one, 1}.build, upsample{k, one, one, one, 1, [2]int{}}.build,
			upsample{k, one, one, one, 1, [2]int{}}.around, convolve{k, []int{2, 0, 1, 1}, one, one, 1}.around},
	})
}

// A circular convolution of a shifted image is the shifted result.
func TestCircularConvolutionsCommuteWithShifts(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for _, channels := range []int{3, 16} { // 16 by Winograd's algorithm
			shape, c := []int{16, channels, 8, 8}, convolve{[]int{3, 3}, []int{1, 1}, []int{1, 1}, nil, 1}
			run := func(down, right int) []float64 {
				g := gorgonia.NewGraph()
				x, w := zeros(g, "x", of, shape...), zeros(g, "w", of, 16, channels, 3, 3)
				for i, v := range ramp(x.Shape().TotalSize()) {
					row, col := i/8%8, i%8
					set(x, i/64*64+(row+down)%8*8+(col+right)%8, v)
				}
				for i, v := range ramp(w.Shape().TotalSize()) {
					set(w, i, v)
				}
				y, err := c.around([]*gorgonia.Node{x, w})
				require.NoError(t, err)
				vm := gorgonia.NewTapeMachine(g)
				defer vm.Close()
				require.NoError(t, vm.RunAll())
				shifted := floats(y.Value())
				out := make([]float64, len(shifted))
				for i := range out { // shifted back
					row, col := i/8%8, i%8
					out[i] = shifted[i/64*64+(row+down)%8*8+(col+right)%8]
				}
				return out
			}
			tolerance := 1e-13
			if of == tensor.Float32 {
				tolerance = 6e-5
			}
			want := run(0, 0)
			assert.LessOrEqual(t, differ(t, run(3, 5), want), tolerance)
			assert.LessOrEqual(t, differ(t, run(7, 0), want), tolerance)
		}
	}
}

func TestConvTranspose2d(t *testing.T) {
	one, two, k := []int{1, 1}, []int{2, 2}, []int{2, 2}
	for _, c := range []struct {
		x, w []int
		u    upsample
	}{
		{[]int{2, 3, 4, 3}, []int{3, 2, 4, 4}, upsample{[]int{4, 4}, one, two, nil, 1, [2]int{}}},
		{[]int{2, 3, 5, 4}, []int{3, 4, 3, 3}, upsample{[]int{3, 3}, one, one, one, 1, [2]int{}}},
		{[]int{1, 4, 3, 4}, []int{4, 1, 3, 2}, upsample{[]int{3, 2}, []int{2, 0, 1, 1}, []int{1, 3}, []int{2, 1}, 2, [2]int{1, 2}}},
		{[]int{3, 3, 2, 3}, []int{3, 1, 2, 2}, upsample{k, nil, two, nil, 3, [2]int{}}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{Build: c.u.build, Inputs: []nodetest.Input{{Shape: c.x}, {Shape: c.w}}})
		})
	}
	nodetest.Run(t, nodetest.Case{
		Build:  upsample{k, one, two, two, 1, [2]int{}}.build,
		Inputs: []nodetest.Input{{Shape: []int{2, 2, 3, 3}}, {Shape: []int{2, 2, 2, 2}}},
		Variants: []nodetest.Build{
			upsample{k, one, two, two, 1, [2]int{0, 1}}.build, upsample{k, one, two, two, 1, [2]int{1, 0}}.build,
			upsample{k, one, two, two, 2, [2]int{}}.build, upsample{k, []int{2, 0, 1, 1}, two, two, 1, [2]int{}}.build,
			upsample{k, one, []int{2, 1}, two, 1, [2]int{}}.build, upsample{k, one, two, []int{1, 2}, 1, [2]int{}}.build,
			convolve{k, one, two, two, 0}.build,
		},
	})
}

// <Conv2d(z), x> = <z, ConvTranspose2d(x)> for the same kernel.
func TestConvTranspose2dIsAdjoint(t *testing.T) {
	for i, c := range []struct {
		z, w   []int
		c      convolve
		output [2]int
	}{
		{[]int{2, 3, 7, 8}, []int{4, 3, 3, 3}, convolve{[]int{3, 3}, []int{1, 1}, []int{2, 2}, nil, 1}, [2]int{0, 1}},
		{[]int{1, 4, 9, 6}, []int{6, 2, 2, 3}, convolve{[]int{2, 3}, []int{0, 1, 2, 1}, []int{1, 3}, []int{3, 1}, 2}, [2]int{}},
		{[]int{16, 16, 9, 12}, []int{32, 16, 3, 3}, convolve{[]int{3, 3}, []int{1, 1}, []int{1, 1}, nil, 1}, [2]int{}},
	} {
		for j := range 4 {
			of, circular := []tensor.Dtype{tensor.Float32, tensor.Float64}[j%2], j > 1
			g := gorgonia.NewGraph()
			z, w := zeros(g, "z", of, c.z...), zeros(g, "w", of, c.w...)
			u := upsample{c.c.kernel, c.c.pad, c.c.stride, c.c.dilation, c.c.groups, c.output}
			conv, transposed := c.c.build, u.build
			if circular {
				conv, transposed = c.c.around, u.around
			}
			forth := gorgonia.Must(conv([]*gorgonia.Node{z, w}))
			x := zeros(g, "x", of, forth.Shape()...)
			back := gorgonia.Must(transposed([]*gorgonia.Node{x, w}))
			require.Equal(t, z.Shape(), back.Shape(), "case %d", i)
			for j, n := range []*gorgonia.Node{z, w, x} {
				for k, v := range ramp(n.Shape().TotalSize()) {
					set(n, k, v+float64(j*k%5))
				}
			}
			vm := gorgonia.NewTapeMachine(g)
			for range 2 { // the second run writes to the same memory
				vm.Reset()
				require.NoError(t, vm.RunAll())
				dot := func(a, b *gorgonia.Node) (sum, size float64) {
					y := floats(b.Value())
					for i, v := range floats(a.Value()) {
						sum += v * y[i]
						size += math.Abs(v * y[i])
					}
					return sum, size
				}
				there, size := dot(forth, x)
				again, _ := dot(z, back)
				tolerance := 1e-13
				if of == tensor.Float32 {
					tolerance = 6e-5
				}
				assert.InDelta(t, there, again, tolerance*size, "case %d", i)
				assert.Greater(t, math.Abs(there), 1e-3*size, "case %d: want an inner product that is not small", i)
			}
			require.NoError(t, vm.Close())
		}
	}
}

func TestConvTranspose2dRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	of := tensor.Float64
	x, w := zeros(g, "x", of, 2, 4, 5, 6), zeros(g, "w", of, 4, 3, 3, 2)
	k, one := []int{3, 2}, []int{1, 1}
	for want, u := range map[string]upsample{
		"want the kernel shape (3, 2) of the filters, got (2, 3)":                                                                                     {[]int{2, 3}, one, one, one, 1, [2]int{}},
		"want padding of rows and columns or top, bottom, left and right, got [1]":                                                                    {k, []int{1}, one, one, 1, [2]int{}},
		"want padding that is not negative, got [0 -1]":                                                                                               {k, []int{0, -1}, one, one, 1, [2]int{}},
		"want two positive strides, got [1 0]":                                                                                                        {k, one, []int{1, 0}, one, 1, [2]int{}},
		"want two positive dilations, got [0 1]":                                                                                                      {k, one, one, []int{0, 1}, 1, [2]int{}},
		"want groups that divide 4 channels, got 3":                                                                                                   {k, one, one, one, 3, [2]int{}},
		"want groups that divide 4 channels, got 0":                                                                                                   {k, one, one, one, 0, [2]int{}},
		"want output padding from 0 to less than the stride or the dilation, 1 and 1, got [1 0]":                                                      {k, one, one, one, 1, [2]int{1, 0}},
		"want output padding from 0 to less than the stride or the dilation, 2 and 3, got [0 3]":                                                      {k, one, []int{1, 2}, []int{1, 3}, 1, [2]int{0, 3}},
		"want output padding from 0 to less than the stride or the dilation, 1 and 1, got [-1 0]":                                                     {k, one, one, one, 1, [2]int{-1, 0}},
		"want padding that leaves pixels of the result, got images of shape (2, 4, 5, 6), kernel (3, 2), stride [1 1], dilation [1 1], padding [4 0]": {k, []int{4, 0}, one, one, 1, [2]int{}},
	} {
		rejects(t, u.build, want, x, w)
	}
	u := upsample{k, one, one, one, 1, [2]int{}}
	rejects(t, u.build, "want w of 3 input channels for images of shape (2, 3, 5, 6), got shape (4, 3, 3, 2)", zeros(g, "three", of, 2, 3, 5, 6), w)
	rejects(t, u.build, "want rank 4, got shape (2, 4)", zeros(g, "matrix", of, 2, 4), w)
	rejects(t, u.build, "want inputs of one precision", x, zeros(g, "w32", tensor.Float32, 4, 3, 3, 2))
}

func TestConv2dRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	of := tensor.Float64
	x, w := zeros(g, "x", of, 2, 4, 5, 6), zeros(g, "w", of, 6, 4, 3, 2)
	k, one := []int{3, 2}, []int{1, 1}
	for want, c := range map[string]convolve{
		"want the kernel shape (3, 2) of the filters, got (2, 3)":                                          {[]int{2, 3}, one, one, one, 0},
		"want the kernel shape (3, 2) of the filters, got ()":                                              {nil, one, one, one, 0},
		"want padding of rows and columns or top, bottom, left and right, got [1]":                         {k, []int{1}, one, one, 0},
		"want padding that is not negative, got [0 -1]":                                                    {k, []int{0, -1}, one, one, 0},
		"want two positive strides, got []":                                                                {k, one, nil, one, 0},
		"want two positive strides, got [1 0]":                                                             {k, one, []int{1, 0}, one, 0},
		"want two positive dilations, got [0 1]":                                                           {k, one, one, []int{0, 1}, 0},
		"got images of shape (2, 4, 5, 6), kernel (3, 2), dilation [4 1], padding [1 1]":                   {k, one, one, []int{4, 1}, 0},
		"want groups that divide 4 channels and 6 filters, got 3":                                          {k, one, one, one, 3},
		"want groups that divide 4 channels and 6 filters, got 4":                                          {k, one, one, one, 4},
		"want groups that divide 4 channels and 6 filters, got -1":                                         {k, one, one, one, -1},
		"want filters of 2 channels for 2 groups and images of shape (2, 4, 5, 6), got shape (6, 4, 3, 2)": {k, one, one, one, 2},
	} {
		rejects(t, c.build, want, x, w)
	}
	rejects(t, func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.Conv2dWith(in[0], in[1], k, one, one, one, nodes.Circular(), nodes.OutputPadding(0, 1))
	}, "nodes.Conv2d: want no output padding, which is for ConvTranspose2d, got [0 1]", x, w)
	rejects(t, convolve{k, one, one, one, 3}.around, "want groups that divide 4 channels and 6 filters, got 3", x, w)
	c := convolve{k, one, one, one, 0}
	rejects(t, c.build, "want filters of 3 channels", zeros(g, "three", of, 2, 3, 5, 6), w)
	rejects(t, c.build, "want rank 4, got shape (2, 4)", zeros(g, "matrix", of, 2, 4), w)
	rejects(t, c.build, "want a node, got nil", x, nil)
	rejects(t, c.build, "want inputs of one precision", x, zeros(g, "w32", tensor.Float32, 6, 4, 3, 2))
}
