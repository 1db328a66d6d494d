// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/rerun"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

type pooling struct{ kernel, pad, stride []int }

func (p pooling) String() string {
	return fmt.Sprintf("kernel %v pad %v stride %v", p.kernel, p.pad, p.stride)
}

// sides returns top, bottom, left, right.
func (p pooling) sides() []int {
	if len(p.pad) == 4 {
		return p.pad
	}
	return []int{p.pad[0], p.pad[0], p.pad[1], p.pad[1]}
}

func (p pooling) fits(shape []int) bool {
	s := p.sides()
	return p.kernel[0] <= shape[2]+s[0]+s[1] && p.kernel[1] <= shape[3]+s[2]+s[3]
}

// reference pools by copying the image into one that is padded with fill.
func (p pooling) reference(shape []int, x []float64, fill float64, reduce func(window []float64) float64) []float64 {
	s := p.sides()
	h, w := shape[2]+s[0]+s[1], shape[3]+s[2]+s[3]
	var y []float64
	for plane := range shape[0] * shape[1] {
		padded := make([]float64, h*w)
		for i := range padded {
			padded[i] = fill
		}
		for u := range shape[2] {
			for v := range shape[3] {
				padded[(u+s[0])*w+v+s[2]] = x[(plane*shape[2]+u)*shape[3]+v]
			}
		}
		for i := 0; i+p.kernel[0] <= h; i += p.stride[0] {
			for j := 0; j+p.kernel[1] <= w; j += p.stride[1] {
				var window []float64
				for u := range p.kernel[0] {
					window = append(window, padded[(i+u)*w+j:(i+u)*w+j+p.kernel[1]]...)
				}
				y = append(y, reduce(window))
			}
		}
	}
	return y
}

func maximum(x []float64) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

func mean(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s / float64(len(x))
}

var poolings = []pooling{
	{[]int{2, 2}, []int{0, 0}, []int{2, 2}},
	{[]int{3, 3}, []int{1, 1}, []int{2, 2}},
	{[]int{2, 3}, []int{1, 0}, []int{1, 2}},
	{[]int{1, 1}, []int{0, 0}, []int{1, 1}},
	{[]int{1, 2}, []int{0, 1}, []int{3, 1}}, // rows between the windows
	{[]int{3, 2}, []int{0, 2, 1, 0}, []int{1, 1}},
}

type pool func(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error)

func poolBuild(f pool, p pooling) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0], p.kernel, p.pad, p.stride) }
}

func testPool(t *testing.T, f pool, fill float64, reduce func([]float64) float64) {
	for _, shape := range images() {
		for _, p := range poolings {
			if !p.fits(shape) {
				continue
			}
			t.Run(fmt.Sprint(shape, p), func(t *testing.T) {
				nodetest.Run(t, nodetest.Case{
					Build:  poolBuild(f, p),
					Inputs: []nodetest.Input{{Shape: shape}},
					Value:  func(in [][]float64) []float64 { return p.reference(shape, in[0], fill, reduce) },
				})
			})
		}
	}
	shape := []int{1, 2, 5, 4}
	p := pooling{[]int{3, 3}, []int{1, 1}, []int{2, 2}}
	nodetest.Run(t, nodetest.Case{
		Build:  poolBuild(f, p),
		Inputs: []nodetest.Input{{Shape: shape}},
		Variants: []nodetest.Build{
			poolBuild(f, pooling{[]int{2, 3}, p.pad, p.stride}),
			poolBuild(f, pooling{[]int{3, 2}, p.pad, p.stride}),
			poolBuild(f, pooling{p.kernel, p.pad, []int{1, 2}}),
			poolBuild(f, pooling{p.kernel, p.pad, []int{2, 1}}),
			poolBuild(f, pooling{p.kernel, []int{0, 1}, p.stride}),
			poolBuild(f, pooling{p.kernel, []int{0, 2, 1, 1}, p.stride}),
			poolBuild(f, pooling{p.kernel, []int{2, 0, 1, 1}, p.stride}),
			poolBuild(f, pooling{p.kernel, []int{1, 1, 2, 0}, p.stride}),
			poolBuild(f, pooling{p.kernel, []int{1, 1, 0, 2}, p.stride}),
		},
	})
}

// ceil is p with padding behind each axis for the windows that rounding up adds, which begin in the image.
func (p pooling) ceil(shape []int) pooling {
	s := append([]int{}, p.sides()...)
	for axis := range 2 {
		size := shape[2+axis]
		windows := int(math.Ceil(float64(s[2*axis]+size+s[2*axis+1]-p.kernel[axis])/float64(p.stride[axis]))) + 1
		if (windows-1)*p.stride[axis] >= size+s[2*axis] {
			windows--
		}
		s[2*axis+1] = max(s[2*axis+1], (windows-1)*p.stride[axis]+p.kernel[axis]-size-s[2*axis])
	}
	return pooling{p.kernel, s, p.stride}
}

func TestMaxPool2DCeil(t *testing.T) {
	more := 0
	for _, shape := range append(images(), []int{1, 2, 6, 8}, []int{1, 1, 7, 5}) {
		for _, p := range append(poolings, pooling{[]int{3, 3}, []int{0, 0}, []int{2, 2}}, pooling{[]int{2, 2}, []int{0, 1, 1, 0}, []int{3, 2}}) {
			if !p.fits(shape) {
				continue
			}
			build := poolBuild(nodes.MaxPool2DCeil, p)
			t.Run(fmt.Sprint(shape, p), func(t *testing.T) {
				nodetest.Run(t, nodetest.Case{
					Build:  build,
					Inputs: []nodetest.Input{{Shape: shape}},
					Value: func(in [][]float64) []float64 {
						y := p.ceil(shape).reference(shape, in[0], math.Inf(-1), maximum)
						if len(y) > len(p.reference(shape, in[0], math.Inf(-1), maximum)) {
							more++
						}
						return y
					},
				})
			})
		}
	}
	assert.Positive(t, more, "cases in which rounding up makes a difference")
	p := pooling{[]int{3, 3}, []int{0, 0}, []int{2, 2}}
	x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 1, 1, 14, 27)
	y, err := poolBuild(nodes.MaxPool2DCeil, p)([]*gorgonia.Node{x})
	require.NoError(t, err)
	assert.Equal(t, tensor.Shape{1, 1, 7, 13}, y.Shape())
}

func TestMaxPool2D(t *testing.T)     { testPool(t, nodes.MaxPool2D, math.Inf(-1), maximum) }
func TestAveragePool2D(t *testing.T) { testPool(t, nodes.AveragePool2D, 0, mean) }

// TestAveragePool2DOften repeats the checks of a small pooling, 1,000 times with KERNELFOLD_LONG=1,
// while other goroutines allocate: no value may become another tensor. docs/gorgonia.md has what
// was found.
func TestAveragePool2DOften(t *testing.T) {
	runs := 5
	if os.Getenv("KERNELFOLD_LONG") != "" {
		runs = 1000
	}
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				tensor.ReturnTensor(tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(1, 2, 2, 2)))
				runtime.GC()
			}
		}
	})
	for i := range runs {
		err := nodetest.Check(nodetest.Case{
			Build:  poolBuild(nodes.AveragePool2D, poolings[0]),
			Inputs: []nodetest.Input{{Shape: []int{1, 2, 4, 4}}},
		})
		if !assert.NoError(t, err, "run %d", i) {
			break
		}
	}
	close(stop)
	wait.Wait()
}

func TestGlobalAveragePool2D(t *testing.T) {
	for _, shape := range append(images(), []int{1, 2, 40, 30}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{
				Build:  func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.GlobalAveragePool2D(in[0]) },
				Inputs: []nodetest.Input{{Shape: shape}},
				Value: func(in [][]float64) []float64 {
					p := pooling{shape[2:], []int{0, 0}, []int{1, 1}}
					return p.reference(shape, in[0], 0, mean)
				},
			})
		})
	}
}

func TestPoolRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 2, 3, 4, 5)
	for _, f := range []pool{nodes.MaxPool2D, nodes.MaxPool2DCeil, nodes.AveragePool2D} {
		for want, p := range map[string]pooling{
			"want a kernel of a positive number of rows and columns, got ()":     {nil, []int{0, 0}, []int{1, 1}},
			"want a kernel of a positive number of rows and columns, got (0, 2)": {[]int{0, 2}, []int{0, 0}, []int{1, 1}},
			"want two positive strides, got [1]":                                 {[]int{2, 2}, []int{0, 0}, []int{1}},
			"want two positive strides, got [1 0]":                               {[]int{2, 2}, []int{0, 0}, []int{1, 0}},
			"got [0 0 0]":                                                        {[]int{2, 2}, []int{0, 0, 0}, []int{1, 1}},
			"got [-1 0]":                                                         {[]int{2, 2}, []int{-1, 0}, []int{1, 1}},
			"got [0 2]":                                                          {[]int{2, 2}, []int{0, 2}, []int{1, 1}},
			"want a kernel that fits into the padded image, 6x5, got (7, 2)":     {[]int{7, 2}, []int{1, 0}, []int{1, 1}},
		} {
			rejects(t, poolBuild(f, p), want, x)
		}
		p := poolings[0]
		rejects(t, poolBuild(f, p), "want rank 4, got shape (4, 5)", zeros(g, "matrix", tensor.Float64, 4, 5))
		rejects(t, poolBuild(f, p), "want float32 or float64, got int", zeros(g, "ints", tensor.Int, 2, 3, 4, 5))
		rejects(t, poolBuild(f, p), "want a node, got nil", nil)
	}
	rejects(t, func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.GlobalAveragePool2D(in[0]) },
		"want rank 4, got shape (4)", zeros(g, "vector", tensor.Float64, 4))
}

// execute runs a node on x, with its gradient, and returns both.
func execute(t *testing.T, x []float64, shape []int, build nodetest.Build) (y, dx []float64, err error) {
	t.Helper()
	g := gorgonia.NewGraph()
	in := zeros(g, "x", tensor.Float64, shape...)
	copy(in.Value().Data().([]float64), x)
	n, err := build([]*gorgonia.Node{in})
	require.NoError(t, err)
	ones := zeros(g, "ones", tensor.Float64, n.Shape()...)
	for i := range ones.Value().Data().([]float64) {
		ones.Value().Data().([]float64)[i] = 1
	}
	d, err := gorgonia.Backpropagate(gorgonia.Nodes{n}, gorgonia.Nodes{ones}, gorgonia.Nodes{in})
	require.NoError(t, err)
	var value, gradient gorgonia.Value
	gorgonia.Read(n, &value)
	gorgonia.Read(d[0], &gradient)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, nil, err
	}
	return value.Data().([]float64), gradient.Data().([]float64), nil
}

func ramp(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = math.Sin(float64(7*i + 1))
	}
	return x
}

// Where the stock op is right, ours is the same.
func TestMaxPool2DIsStock(t *testing.T) {
	shape := []int{2, 3, 5, 6}
	x := ramp(180)
	for _, p := range poolings[:5] {
		want, wantGradient, err := execute(t, x, shape, poolBuild(gorgonia.MaxPool2D, p))
		require.NoError(t, err)
		got, gotGradient, err := execute(t, x, shape, poolBuild(nodes.MaxPool2D, p))
		require.NoError(t, err)
		assert.Equal(t, want, got, "%v", p)
		assert.Equal(t, wantGradient, gotGradient, "%v", p)
	}
}

// Infinities are numbers, and a window of them has a maximum.
func TestMaxPool2DInfinite(t *testing.T) {
	inf := math.Inf(1)
	x := []float64{-inf, -inf, -inf, -inf}
	y, dx, err := execute(t, x, []int{1, 1, 2, 2}, poolBuild(nodes.MaxPool2D, poolings[0]))
	require.NoError(t, err)
	assert.Equal(t, []float64{-inf}, y)
	assert.Equal(t, []float64{1, 0, 0, 0}, dx)
	x[2] = inf
	y, dx, err = execute(t, x, []int{1, 1, 2, 2}, poolBuild(nodes.MaxPool2D, poolings[0]))
	require.NoError(t, err)
	assert.Equal(t, []float64{inf}, y)
	assert.Equal(t, []float64{0, 0, 1, 0}, dx)
}

// A NaN anywhere in a window is an error that names the op.
func TestMaxPool2DNaN(t *testing.T) {
	for i := range 4 {
		x := ramp(8)
		x[4+i] = math.NaN()
		_, _, err := execute(t, x, []int{1, 2, 2, 2}, poolBuild(nodes.MaxPool2D, poolings[0]))
		assert.ErrorContains(t, err, "nodes.MaxPool2D: window at rows 0-1, columns 0-1 of plane 1: want numbers, got NaN")
	}
}

// In stock MaxPool2D a NaN ends the process.
func TestStockMaxPool2DNaN(t *testing.T) {
	if os.Getenv("KERNELFOLD_NAN") != "" {
		x := []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
		_, _, err := execute(t, x, []int{1, 1, 2, 2}, poolBuild(gorgonia.MaxPool2D, poolings[0]))
		t.Skip("no panic: ", err)
	}
	c := rerun.Command("-test.run=^TestStockMaxPool2DNaN$")
	c.Env = append(os.Environ(), "KERNELFOLD_NAN=1")
	out, err := c.CombinedOutput()
	assert.Error(t, err)
	assert.True(t, strings.Contains(string(out), "index out of range [-1]"), "%s", out)
}

// Stock MaxPool2D starts its windows at bottom and right, if it is given four
// sides.
func TestStockMaxPool2DSides(t *testing.T) {
	shape, x := []int{1, 1, 3, 3}, ramp(9)
	p := pooling{[]int{2, 2}, []int{1, 0, 0, 0}, []int{1, 1}}
	want := p.reference(shape, x, math.Inf(-1), maximum)
	got, _, err := execute(t, x, shape, poolBuild(nodes.MaxPool2D, p))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	stock, _, err := execute(t, x, shape, poolBuild(gorgonia.MaxPool2D, p))
	require.NoError(t, err)
	assert.NotEqual(t, want, stock)
}

// Stock AveragePool2D divides by the width of the image.
func TestStockAveragePool2D(t *testing.T) {
	x := []float64{1, 1, 1, 1, 1, 1}
	y, _, err := execute(t, x, []int{1, 1, 2, 3}, poolBuild(gorgonia.AveragePool2D, poolings[0]))
	require.NoError(t, err)
	assert.InDelta(t, 4./3, y[0], 1e-15)
}

// Stock GlobalAveragePool2D has no gradient.
func TestStockGlobalAveragePool2D(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 1, 2, 3, 3)
	y, err := gorgonia.GlobalAveragePool2D(x)
	require.NoError(t, err)
	fails := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		_, err = gorgonia.Grad(gorgonia.Must(gorgonia.Sum(y)), x)
		return err
	}
	assert.Error(t, fails())
}

// Any arguments give a node that is right, or an error that names it.
func FuzzPool2D(f *testing.F) {
	f.Add(4, 4, 2, 2, 0, 0, 0, 0, 2, 2)
	f.Add(5, 3, 3, 2, 1, 2, 0, 1, 1, 3)
	f.Add(1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
	f.Add(2, 2, 3, 3, 3, 0, 0, 0, 1, 1)
	f.Add(2, 2, 5, 1, 0, 0, 0, 0, 1, 1)
	f.Add(3, 3, -1, 0, -2, 0, 0, 0, -1, 0)
	f.Fuzz(func(t *testing.T, h, w, kh, kw, top, bottom, left, right, sh, sw int) {
		h, w = 1+(h&7), 1+(w&7)
		p := pooling{[]int{kh, kw}, []int{top, bottom, left, right}, []int{sh, sw}}
		shape := []int{2, 1, h, w}
		for name, op := range map[string]struct {
			pool   pool
			fill   float64
			reduce func([]float64) float64
		}{"MaxPool2D": {nodes.MaxPool2D, math.Inf(-1), maximum}, "AveragePool2D": {nodes.AveragePool2D, 0, mean}} {
			x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, shape...)
			copy(x.Value().Data().([]float64), ramp(2*h*w))
			n, err := op.pool(x, p.kernel, p.pad, p.stride)
			if err != nil {
				assert.ErrorContains(t, err, "nodes."+name+": want ")
				continue
			}
			y, err := n.Op().Do(x.Value())
			require.NoError(t, err)
			want := p.reference(shape, floats(x.Value()), op.fill, op.reduce)
			assert.Len(t, want, n.Shape().TotalSize())
			assert.InDeltaSlice(t, want, floats(y), 1e-14)
		}
	})
}
