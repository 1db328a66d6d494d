// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
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

// orthogonalKernel is a case of testdata/orthogonalconv.json.
type orthogonalKernel struct {
	Groups, Filters, Channels  int
	Size, Stride               []int
	Matrix, Projectors, Kernel []float64
}

// Values are those of the reference, for shapes of all kinds, and gradients those of central differences.
func TestOrthogonalConvKernel(t *testing.T) {
	data, err := os.ReadFile("testdata/orthogonalconv.json")
	require.NoError(t, err)
	var cases []orthogonalKernel
	require.NoError(t, json.Unmarshal(data, &cases))
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d to %d in %d, %v, %v", c.Channels, c.Filters, c.Groups, c.Size, c.Stride), func(t *testing.T) {
			m, u, err := nodes.OrthogonalConvFactors(c.Filters, c.Channels, c.Size, c.Stride, nodes.Groups(c.Groups))
			require.NoError(t, err)
			build := func(channels int) nodetest.Build {
				return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
					if u.Shape == nil {
						in = append(in, nil)
					}
					return nodes.OrthogonalConvKernel(in[0], in[1], channels, c.Size, c.Stride)
				}
			}
			n := nodetest.Case{
				Build:  build(c.Channels),
				Inputs: []nodetest.Input{{Shape: m.Shape, Data: c.Matrix}},
				Value:  func([][]float64) []float64 { return c.Kernel },
			}
			if u.Shape != nil {
				n.Inputs = append(n.Inputs, nodetest.Input{Shape: u.Shape, Data: c.Projectors})
				n.Unhashed = []string{"runs", "work"}
			}
			if c.Channels == 2 && c.Filters == 12 {
				n.Variants = []nodetest.Build{build(1), build(3)} // c is 3
			}
			nodetest.Run(t, n)
		})
	}
}

// orthogonalLayer is an orthogonal convolution under test.
type orthogonalLayer struct {
	filters, channels, groups int
	kernel, stride, dilation  []int
	size                      []int // of the image
}

func (l orthogonalLayer) String() string {
	return fmt.Sprintf("%d to %d in %d, %v, stride %v, dilation %v, image %v", l.channels, l.filters, l.groups, l.kernel, l.stride, l.dilation, l.size)
}

// drawn adds the factors, drawn at random, to a graph.
func (l orthogonalLayer) drawn(t *testing.T, g *gorgonia.ExprGraph, of tensor.Dtype, seed uint64) (m, u *gorgonia.Node) {
	t.Helper()
	matrix, projectors, err := nodes.OrthogonalConvFactors(l.filters, l.channels, l.kernel, l.stride, nodes.Groups(l.groups))
	require.NoError(t, err, "%v", l)
	m = gorgonia.NewTensor(g, of, 4, gorgonia.WithName("matrix"), gorgonia.WithShape(matrix.Shape...), gorgonia.WithInit(nodes.ManifoldInit(matrix.Constraint, seed)))
	if projectors.Shape != nil {
		u = gorgonia.NewTensor(g, of, 4, gorgonia.WithName("projectors"), gorgonia.WithShape(projectors.Shape...),
			gorgonia.WithInit(nodes.ManifoldInit(projectors.Constraint, seed+1)))
	}
	return m, u
}

// jacobian returns the transpose of the Jacobian of a linear layer of images: row i is the image that it makes of unit vector i.
func jacobian(t *testing.T, of tensor.Dtype, shape []int, layer func(x *gorgonia.Node) (*gorgonia.Node, error), g *gorgonia.ExprGraph) *mat.Dense {
	t.Helper()
	n := shape[0] * shape[1] * shape[2]
	x := zeros(g, "unit vectors", of, append([]int{n}, shape...)...)
	for i := range n {
		set(x, i*n+i, 1)
	}
	y, err := layer(x)
	require.NoError(t, err)
	require.NoError(t, runOnce(g))
	return mat.NewDense(n, y.Shape().TotalSize()/n, floats(y.Value()))
}

func (l orthogonalLayer) jacobian(t *testing.T, of tensor.Dtype, opts ...nodes.ConvOption) *mat.Dense {
	t.Helper()
	g := gorgonia.NewGraph()
	m, u := l.drawn(t, g, of, 5)
	return jacobian(t, of, append([]int{l.channels}, l.size...), func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.OrthogonalConv(x, m, u, l.kernel, l.stride, l.dilation, opts...)
	}, g)
}

// isometryDefect returns the largest element of |J'J - I|, or |JJ' - I| if J has fewer rows.
func isometryDefect(j *mat.Dense) float64 {
	r, c := j.Dims()
	var gram mat.Dense
	if r <= c {
		gram.Mul(j, j.T())
	} else {
		gram.Mul(j.T(), j)
	}
	worst := 0.0
	for i := range min(r, c) {
		for k := range min(r, c) {
			d := gram.At(i, k)
			if i == k {
				d--
			}
			worst = max(worst, math.Abs(d))
		}
	}
	return worst
}

func orthogonalLayers() []orthogonalLayer {
	one, two := []int{1, 1}, []int{2, 2}
	size := func(k int) []int { return []int{k, k} }
	var all []orthogonalLayer
	for _, kernel := range []int{1, 3, 5} {
		for _, filters := range []int{2, 4, 7} {
			all = append(all, orthogonalLayer{filters, 4, 1, size(kernel), one, one, []int{5, 4}})
			if kernel > 1 {
				all = append(all, orthogonalLayer{filters * 2, 2, 1, size(kernel), two, one, []int{6, 4}},
					orthogonalLayer{filters, 4, 1, size(kernel), one, two, []int{6, 5}},
					orthogonalLayer{2 * filters, 4, 2, size(kernel), two, nil, []int{4, 4}})
			}
			all = append(all, orthogonalLayer{2 * filters, 6, 2, size(kernel), one, one, []int{4, 3}})
		}
	}
	return append(all,
		orthogonalLayer{5, 3, 1, []int{4, 3}, []int{2, 1}, one, []int{6, 5}},
		orthogonalLayer{9, 2, 1, size(2), two, one, []int{4, 4}},
		orthogonalLayer{5, 3, 1, size(3), two, []int{3, 1}, []int{8, 6}},
		orthogonalLayer{6, 1, 1, size(3), one, one, []int{5, 5}},
		orthogonalLayer{1, 6, 1, size(3), one, one, []int{5, 5}},
		orthogonalLayer{20, 1, 1, size(5), size(3), one, []int{6, 6}})
}

// On circular images the Jacobian is orthogonal, to rounding.
func TestOrthogonalConvJacobian(t *testing.T) {
	for _, l := range orthogonalLayers() {
		for of, tolerance := range map[tensor.Dtype]float64{tensor.Float64: 1e-12, tensor.Float32: 1e-5} {
			j := l.jacobian(t, of, nodes.Circular())
			in, out := j.Dims()
			assert.Equal(t, l.channels*l.size[0]*l.size[1], in, "%v", l)
			assert.Equal(t, l.filters*l.size[0]*l.size[1]/(l.stride[0]*l.stride[1]), out, "%v", l)
			assert.Less(t, isometryDefect(j), tolerance, "%v, %v", l, of)
		}
	}
}

// With zeros as padding no singular value exceeds 1, and the Jacobian is not orthogonal.
func TestOrthogonalConvZeroPadding(t *testing.T) {
	for _, l := range orthogonalLayers() {
		j := l.jacobian(t, tensor.Float64)
		var svd mat.SVD
		require.True(t, svd.Factorize(j, mat.SVDNone))
		s := svd.Values(nil)
		assert.Less(t, s[0], 1+1e-12, "%v", l)
		if l.kernel[0] > 1 && l.filters == l.channels {
			assert.Less(t, s[len(s)-1], 0.9, "%v", l)
		}
	}
}

// The transposed layer has the transposed Jacobian.
func TestOrthogonalConvTranspose(t *testing.T) {
	for _, l := range orthogonalLayers() {
		for _, opts := range [][]nodes.ConvOption{nil, {nodes.Circular()}} {
			want := l.jacobian(t, tensor.Float64, opts...)
			g := gorgonia.NewGraph()
			m, u := l.drawn(t, g, tensor.Float64, 5)
			small := []int{l.filters, l.size[0] / l.stride[0], l.size[1] / l.stride[1]}
			if len(opts) == 0 && (l.size[0]%l.stride[0] != 0 || l.size[1]%l.stride[1] != 0) {
				continue
			}
			got := jacobian(t, tensor.Float64, small, func(x *gorgonia.Node) (*gorgonia.Node, error) {
				return nodes.OrthogonalConvTranspose(x, m, u, l.channels, l.kernel, l.stride, l.dilation, opts...)
			}, g)
			assert.True(t, mat.EqualApprox(got, want.T(), 1e-14), "%v", l)
		}
	}
}

// Convolutions that cannot be orthogonal are errors of one kind, other wrong arguments are not.
func TestOrthogonalConvRejects(t *testing.T) {
	g, of := gorgonia.NewGraph(), tensor.Float64
	one, two, three := []int{1, 1}, []int{2, 2}, []int{3, 3}
	refused := func(want string, filters, channels int, kernel, stride []int, opts ...nodes.ConvOption) error {
		t.Helper()
		_, _, err := nodes.OrthogonalConvFactors(filters, channels, kernel, stride, opts...)
		assert.ErrorContains(t, err, "nodes.OrthogonalConvFactors: "+want)
		return err
	}
	assert.ErrorIs(t, refused("want more than one channel in a group, because shifts are the only orthogonal kernels of one channel, got 4 groups of 1 filters and 1 channels",
		4, 4, three, one, nodes.Groups(4)), nodes.ErrNotOrthogonal)
	assert.ErrorIs(t, refused("want more than one weight in a group", 4, 4, one, one, nodes.Groups(4)), nodes.ErrNotOrthogonal)
	assert.ErrorIs(t, refused("want a kernel as large as the strides, because others leave out pixels, got kernel (1, 1) and strides [2 2]", 4, 4, one, two), nodes.ErrNotOrthogonal)
	assert.NotErrorIs(t, refused("want groups that divide 4 channels and 6 filters, got 3", 6, 4, three, one, nodes.Groups(3)), nodes.ErrNotOrthogonal)
	assert.NotErrorIs(t, refused("want positive numbers of filters and channels, got 0 and 4", 0, 4, three, one), nodes.ErrNotOrthogonal)
	refused("want two positive strides, got [1]", 4, 4, three, []int{1})
	refused("want a kernel shape of two positive sizes, got (3)", 4, 4, []int{3}, one)

	l := orthogonalLayer{4, 3, 1, three, one, one, nil}
	m, u := l.drawn(t, g, of, 1)
	x := zeros(g, "x", of, 2, 3, 6, 5)
	conv := func(kernel, stride, dilation []int, opts ...nodes.ConvOption) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.OrthogonalConv(in[0], in[1], in[2], kernel, stride, dilation, opts...)
		}
	}
	rejects(t, conv(three, one, one), "want rank 4", zeros(g, "vector", of, 4), m, u)
	rejects(t, conv(three, one, one), "want a node, got nil", nil, m, u)
	rejects(t, conv(three, one, one), "want a node, got nil", x, m, nil)
	rejects(t, conv(three, one, one), "want a node, got nil", x, nil, u)
	rejects(t, conv(three, one, []int{1}), "want two positive dilations, got [1]", x, m, u)
	rejects(t, conv([]int{5, 5}, one, one), "want projectors of shape (1, 8, 4, 2) for the matrix matrix of shape (1, 1, 3, 4), got (1, 4, 4, 2)", x, m, u)
	rejects(t, conv(three, one, one), "want a matrix of a shape that OrthogonalConvFactors returns for 5 channels, kernel (3, 3) and strides [1 1], got (1, 1, 3, 4)", zeros(g, "five", of, 2, 5, 6, 5), m, u)
	rejects(t, conv(one, one, one), "want no projectors for a kernel of the size of the strides, got projectors of shape (1, 4, 4, 2)", zeros(g, "four", of, 2, 4, 6, 5), m, u)
	_, err := nodes.OrthogonalConv(x, m, u, three, one, one, nodes.OutputPadding(1, 1))
	assert.NoError(t, err, "the option is ignored")
	transposed := func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.OrthogonalConvTranspose(in[0], in[1], in[2], 3, three, one, nil)
	}
	rejects(t, transposed, "want w of 3 input channels", x, m, u)

	for want, l := range map[string]orthogonalLayer{
		"want an odd kernel where the stride is 1, so that both sides are padded alike, got kernel (2, 2)":     {4, 4, 1, two, one, one, []int{6, 6}},
		"want strides and dilations without a common divisor, got [2 2] and [2 2]":                             {4, 4, 1, three, two, two, []int{6, 6}},
		"want circular images of a size that the strides [2 2] divide, got shape (2, 4, 6, 5)":                 {4, 4, 1, three, two, one, []int{6, 5}},
		"want a kernel as large as the strides, because others leave out pixels, got kernel (1, 1) and stride": {4, 4, 1, one, two, one, []int{6, 6}},
	} {
		g := gorgonia.NewGraph()
		of := l
		if l.kernel[0] < l.stride[0] {
			of.stride = one
		}
		m, u := of.drawn(t, g, tensor.Float64, 1)
		n, err := nodes.OrthogonalConv(zeros(g, "x", tensor.Float64, 2, 4, l.size[0], l.size[1]), m, u, l.kernel, l.stride, l.dilation, nodes.Circular())
		assert.ErrorContains(t, err, "nodes.OrthogonalConv: "+want)
		assert.ErrorIs(t, err, nodes.ErrNotOrthogonal)
		assert.Nil(t, n)
	}
}

// A run in which a factor has left its manifold fails, as does a node of such a factor.
func TestOrthogonalConvLeaves(t *testing.T) {
	for i, want := range []string{"matrix 0 of group 1: want orthonormal columns, or rows, |x'x - I| at most 0.0001, got ", "projector 3 of group 1: want orthonormal"} {
		g := gorgonia.NewGraph()
		l := orthogonalLayer{6, 6, 2, []int{3, 3}, []int{1, 1}, nil, nil}
		m, u := l.drawn(t, g, tensor.Float32, 1)
		n, err := nodes.OrthogonalConvKernel(m, u, 6, l.kernel, l.stride)
		require.NoError(t, err)
		require.NoError(t, runOnce(g))
		factor := []*gorgonia.Node{m, u}[i]
		set(factor, factor.Shape().TotalSize()-1, 2)
		err = nodes.Cause(runOnce(g))
		assert.ErrorIs(t, err, nodes.ErrNotOrthogonal)
		assert.ErrorContains(t, err, want)
		_, err = nodes.OrthogonalConvKernel(m, u, 6, l.kernel, l.stride)
		assert.ErrorIs(t, err, nodes.ErrNotOrthogonal)
		assert.ErrorContains(t, err, "the value of matrix")
		_ = n
	}
}

// The node says on which manifolds its factors lie.
func TestOrthogonalConvPointInputs(t *testing.T) {
	g := gorgonia.NewGraph()
	for _, l := range []orthogonalLayer{{4, 4, 1, []int{3, 3}, []int{1, 1}, nil, nil}, {3, 4, 1, []int{3, 3}, []int{1, 1}, nil, nil}} {
		m, u := l.drawn(t, g, tensor.Float64, 1)
		n, err := nodes.OrthogonalConvKernel(m, u, 4, l.kernel, l.stride)
		require.NoError(t, err)
		for i, want := range []manifolds.Manifold{manifolds.Stiefel{}, manifolds.Grassmann{}} {
			if i == 0 && l.filters == 4 {
				want = manifolds.Orthogonal{}
			}
			c, ok := n.Op().(nodes.PointInputs).PointInput(i)
			assert.True(t, ok)
			assert.Equal(t, manifolds.On(want, manifolds.PerSlice, manifolds.Unit), c)
		}
		r, err := nodes.Rectify(n)
		require.NoError(t, err)
		_, ok := r.Op().(nodes.PointInputs).PointInput(0)
		assert.False(t, ok)
	}
}

// orthogonalGraph is the kernel of an orthogonal layer with its gradients.
func orthogonalGraph(tb testing.TB, filters, channels, size, stride int) gorgonia.VM {
	tb.Helper()
	g := gorgonia.NewGraph()
	kernel, strides := tensor.Shape{size, size}, []int{stride, stride}
	matrix, projectors, err := nodes.OrthogonalConvFactors(filters, channels, kernel, strides)
	require.NoError(tb, err)
	factor := func(name string, f nodes.Factor) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName(name), gorgonia.WithShape(f.Shape...), gorgonia.WithInit(nodes.ManifoldInit(f.Constraint, 1)))
	}
	m, u := factor("matrix", matrix), factor("projectors", projectors)
	k, err := nodes.OrthogonalConvKernel(m, u, channels, kernel, strides)
	require.NoError(tb, err)
	grad := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("gradient"), gorgonia.WithShape(k.Shape()...), gorgonia.WithInit(nodes.HeNormal(1, 1)))
	_, err = gorgonia.Backpropagate(gorgonia.Nodes{k}, gorgonia.Nodes{grad}, gorgonia.Nodes{m, u})
	require.NoError(tb, err)
	return gorgonia.NewTapeMachine(g)
}

// The steady state allocates no memory for numbers.
func TestOrthogonalConvAllocates(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	vm := orthogonalGraph(t, 64, 32, 3, 1)
	defer vm.Close()
	run := func() {
		require.NoError(t, vm.RunAll())
		vm.Reset()
	}
	run()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const runs = 20
	for range runs {
		run()
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(4*64*32), "less than a tap of the kernel")
}

func BenchmarkOrthogonalConvKernel(b *testing.B) {
	for _, c := range []struct{ filters, channels, size, stride int }{{32, 3, 3, 1}, {64, 32, 3, 1}, {128, 64, 3, 1}, {64, 64, 3, 1}, {128, 64, 3, 2}, {64, 64, 5, 1}} {
		b.Run(fmt.Sprintf("%d to %d, %dx%d, stride %d", c.channels, c.filters, c.size, c.size, c.stride), func(b *testing.B) {
			vm := orthogonalGraph(b, c.filters, c.channels, c.size, c.stride)
			defer vm.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := vm.RunAll(); err != nil {
					b.Fatal(err)
				}
				vm.Reset()
			}
		})
	}
}
