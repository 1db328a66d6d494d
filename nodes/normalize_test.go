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
	"github.com/kernelfold/kernelfold/solvers"
)

// pointsOf returns the numbers of the elements of each point, row by row: the
// table of manifolds.Grouping written as loops over the four axes.
func pointsOf(s tensor.Shape, g manifolds.Grouping) [][][]int {
	d, c, a, b := s[0], s[1], 1, 1
	at := func(i, j, y, x int) int { return ((i*c+j)*a+y)*b + x }
	if s.Dims() == 2 {
		d, c = s[1], s[0]
		at = func(i, j, y, x int) int { return j*d + i }
	} else {
		a, b = s[2], s[3]
	}
	var k, n, p int
	place := func(k, i, j int) int { return 0 }
	switch g {
	case manifolds.PerSlice:
		k, n, p = d*c, a, b
		place = func(k, i, j int) int { return at(k/c, k%c, i, j) }
		if s.Dims() == 2 {
			place = func(k, _, _ int) int { return k }
		}
	case manifolds.PerFilter:
		k, n, p = d, c, a*b
		place = func(k, i, j int) int { return at(k, i, j/b, j%b) }
	case manifolds.PerInputChannel:
		k, n, p = c, d, a*b
		place = func(k, i, j int) int { return at(i, k, j/b, j%b) }
	case manifolds.PerTap:
		k, n, p = a*b, d, c
		place = func(k, i, j int) int { return at(i, j, k/b, k%b) }
	case manifolds.FilterBank:
		k, n, p = 1, d, c*a*b
		place = func(_, i, j int) int { return at(i, j/(a*b), j%(a*b)/b, j%b) }
	case manifolds.PerWeight:
		k, n, p = d*c*a*b, 1, 1
		place = func(k, _, _ int) int { return k }
	}
	points := make([][][]int, k)
	for q := range points {
		points[q] = make([][]int, n)
		for i := range n {
			for j := range p {
				points[q][i] = append(points[q][i], place(q, i, j))
			}
		}
	}
	return points
}

// nearest is the projection of one point, a matrix, of unit scale.
type nearest func(x [][]float64) [][]float64

func sphereLoop(x [][]float64) [][]float64 { return shifted(x, false) }

func centredLoop(x [][]float64) [][]float64 { return shifted(x, true) }

func shifted(x [][]float64, centred bool) [][]float64 {
	mean, squares := 0.0, 0.0
	for _, row := range x {
		for _, v := range row {
			if centred {
				mean += v / float64(len(x)*len(row))
			}
		}
	}
	for _, row := range x {
		for _, v := range row {
			squares += (v - mean) * (v - mean)
		}
	}
	y := make([][]float64, len(x))
	for i, row := range x {
		for _, v := range row {
			y[i] = append(y[i], (v-mean)/math.Sqrt(squares))
		}
	}
	return y
}

func rowsLoop(x [][]float64) [][]float64 {
	y := make([][]float64, len(x))
	for i := range x {
		y[i] = sphereLoop(x[i : i+1])[0]
	}
	return y
}

func columnsLoop(x [][]float64) [][]float64 { return transposed(rowsLoop(transposed(x))) }

func transposed(x [][]float64) [][]float64 {
	y := make([][]float64, len(x[0]))
	for i := range y {
		for j := range x {
			y[i] = append(y[i], x[j][i])
		}
	}
	return y
}

// polarLoop is x (x^T x)^(-1/2) by the eigenvalues of the Gram matrix.
func polarLoop(x [][]float64) [][]float64 {
	if len(x) < len(x[0]) {
		return transposed(polarLoop(transposed(x)))
	}
	n, p := len(x), len(x[0])
	m := mat.NewDense(n, p, nil)
	for i, row := range x {
		m.SetRow(i, row)
	}
	gram := mat.NewSymDense(p, nil)
	gram.SymOuterK(1, m.T())
	var eigen mat.EigenSym
	if !eigen.Factorize(gram, true) {
		panic("no eigenvalues")
	}
	var e, root, y mat.Dense
	eigen.VectorsTo(&e)
	values := eigen.Values(nil)
	for j := range values {
		values[j] = 1 / math.Sqrt(values[j])
	}
	root.Mul(&e, mat.NewDiagDense(p, values))
	y.Mul(m, &root)
	y.Mul(&y, e.T())
	out := make([][]float64, n)
	for i := range out {
		out[i] = append(out[i], y.RawRowView(i)...)
	}
	return out
}

func TestNormalize(t *testing.T) {
	for _, c := range []struct {
		m         manifolds.Manifold
		loop      nearest
		groupings []manifolds.Grouping
		condition float64
	}{
		{manifolds.Euclidean{}, func(x [][]float64) [][]float64 { return x }, []manifolds.Grouping{manifolds.PerWeight, manifolds.PerTap}, 1},
		{manifolds.Sphere{}, sphereLoop, []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerTap, manifolds.FilterBank}, 10},
		{manifolds.CentredSphere{}, centredLoop, []manifolds.Grouping{manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerTap}, 100},
		{manifolds.Oblique{Axis: manifolds.Columns}, columnsLoop, []manifolds.Grouping{manifolds.PerSlice, manifolds.PerFilter}, 100},
		{manifolds.Oblique{Axis: manifolds.Rows}, rowsLoop, []manifolds.Grouping{manifolds.PerTap, manifolds.FilterBank}, 100},
		{manifolds.Stiefel{}, polarLoop, []manifolds.Grouping{manifolds.FilterBank, manifolds.PerTap, manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerSlice}, 100},
	} {
		for _, g := range c.groupings {
			for _, s := range kernelShapes {
				if s.Dims() == 2 && g == manifolds.PerSlice {
					continue
				}
				points := pointsOf(s, g)
				if _, ok := c.m.(manifolds.CentredSphere); ok && len(points[0])*len(points[0][0]) < 2 {
					continue
				}
				t.Run(fmt.Sprint(c.m, g, s), func(t *testing.T) {
					kernelNode{
						build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
							return nodes.Normalize(in[0], c.m, g, manifolds.Unit)
						},
						shapes:    []tensor.Shape{s},
						condition: c.condition,
						loop: func(in [][]float64) []float64 {
							out := make([]float64, len(in[0]))
							for _, point := range points {
								x := make([][]float64, len(point))
								for i, row := range point {
									for _, e := range row {
										x[i] = append(x[i], in[0][e])
									}
								}
								for i, row := range c.loop(x) {
									for j, v := range row {
										out[point[i][j]] = v
									}
								}
							}
							return out
						},
					}.check(t)
				})
			}
		}
	}
}

// The constraint means the same in the node and in a solver: the scale is bound
// from the shape, and the value, of the kernel.
func TestNormalizeScale(t *testing.T) {
	shape := tensor.Shape{4, 3, 3, 3}
	rng := rand.New(rand.NewPCG(3, 3))
	values := make([]float64, shape.TotalSize())
	norm := 0.0
	for i := range values {
		values[i] = rng.NormFloat64()
		norm += values[i] * values[i]
	}
	for _, c := range []struct {
		scale manifolds.Scale
		want  float64 // Frobenius norm of the layer
	}{
		{manifolds.UnitFilters, 2},
		{manifolds.FilterNorm(3), 6},
		{manifolds.Unit, math.Sqrt(12)},
		{manifolds.Times(1.00001), 1.00001 * math.Sqrt(12)},
		{manifolds.Initial, math.Sqrt(norm)},
	} {
		g := gorgonia.NewGraph()
		v := given(g, tensor.Float64, "v", shape, values)
		w := gorgonia.Must(nodes.Normalize(v, manifolds.Sphere{}, manifolds.PerSlice, c.scale))
		require.NoError(t, runOnce(g))
		got := 0.0
		for _, x := range floats(w.Value()) {
			got += x * x
		}
		assert.InDelta(t, c.want, math.Sqrt(got), 1e-13, "%v", c.scale)
	}

	// Nearly the same radius, and another manifold with the same fields, are
	// other nodes.
	g := gorgonia.NewGraph()
	v := given(g, tensor.Float64, "v", shape, values)
	seen := map[uint32]string{}
	for _, m := range []manifolds.Manifold{
		manifolds.Sphere{Radius: 1}, manifolds.Sphere{Radius: 1.0000001}, manifolds.CentredSphere{Radius: 1},
		manifolds.Stiefel{Radius: 1}, manifolds.Oblique{Radius: 1, Axis: manifolds.Rows},
	} {
		for _, grouping := range []manifolds.Grouping{manifolds.PerFilter, manifolds.PerInputChannel} {
			w := gorgonia.Must(nodes.Normalize(v, m, grouping))
			name := fmt.Sprintf("%#v %v", m, grouping)
			assert.Empty(t, seen[w.Op().Hashcode()], name)
			seen[w.Op().Hashcode()] = name
		}
	}
	assert.Same(t, gorgonia.Must(nodes.Normalize(v, manifolds.Sphere{})), gorgonia.Must(nodes.Normalize(v, manifolds.Sphere{})), "a node that is built twice")
}

// plain is a manifold without ProjectAdjoint.
type plain struct{ manifolds.Manifold }

func TestNormalizeRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	v := unset(g, "v", 4, 3, 3, 3)
	for _, c := range []struct {
		v    *gorgonia.Node
		m    manifolds.Manifold
		opts []manifolds.Option
		want string
	}{
		{nil, manifolds.Sphere{}, nil, "nodes.Normalize: input 0: want a node, got nil"},
		{v, nil, nil, "nodes.Normalize: want a manifold, got nil"},
		{v, manifolds.Sphere{}, []manifolds.Option{nil}, "nodes.Normalize: option 0: want a grouping or a scale, got nil"},
		{v, plain{manifolds.Sphere{}}, nil, "nodes.Normalize: want a manifold that implements manifolds.Differentiable, got nodes_test.plain"},
		{v, manifolds.Sphere{}, []manifolds.Option{manifolds.Initial}, "nodes.Normalize: input 0, v: want a value when the graph is built, for the scale initial scale, got none"},
		{v, manifolds.Sphere{Radius: -1}, nil, "nodes.Normalize: input 0, v: manifolds: Sphere: want a positive finite radius, got -1 (shape [4 3 3 3], per filter)"},
		{v, manifolds.Sphere{}, []manifolds.Option{manifolds.Grouping(99)}, "nodes.Normalize: input 0, v: manifolds: Grouping(99) is not a way to cut weights"},
		{v, manifolds.Euclidean{}, []manifolds.Option{manifolds.UnitFilters}, "nodes.Normalize: input 0, v: manifolds: Euclidean cannot be scaled: want the scale Unit, got unit filters"},
		{unset(g, "dots", 4, 1, 1, 1), manifolds.CentredSphere{}, nil, "nodes.Normalize: input 0, dots: manifolds: CentredSphere: want at least 2 elements, got points of 1x1"},
		{unset(g, "rank3", 4, 3, 3), manifolds.Sphere{}, nil, "nodes.Normalize: input 0, rank3: want a kernel of shape"},
		{given(g, tensor.Float64, "zero", tensor.Shape{1, 1, 2, 2}, make([]float64, 4)), manifolds.Sphere{}, []manifolds.Option{manifolds.Initial},
			"nodes.Normalize: input 0, zero: manifolds: Sphere: want a positive finite scale, got initial scale = 0"},
		{given(g, tensor.Float32, "rank1", tensor.Shape{2, 1, 1, 2}, []float64{1, 2, 2, 4}), manifolds.Stiefel{}, nil,
			"nodes.Normalize: the value of rank1: manifolds: Stiefel: project: point 0: want full rank"},
	} {
		_, err := nodes.Normalize(c.v, c.m, c.opts...)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestNormalizeDegenerate(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float64, tensor.Float32} {
		for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.CentredSphere{}, manifolds.Oblique{}, manifolds.Stiefel{}, manifolds.Euclidean{}} {
			for _, bad := range []float64{0, math.NaN(), math.Inf(1)} {
				if _, flat := m.(manifolds.Euclidean); flat && bad == 0 {
					continue
				}
				g := gorgonia.NewGraph()
				v := given(g, of, "v", tensor.Shape{2, 1, 2, 2}, []float64{1, 2, 4, 3, 4, 2, 3, 2})
				_, err := nodes.Normalize(v, m)
				require.NoError(t, err)
				assign(v.Value(), []float64{1, 2, 4, 3, bad, bad, bad, bad})
				err = runOnce(g)
				require.ErrorContains(t, err, "nodes.Normalize: manifolds: ", "%v %v", m, bad)
			}
		}
	}
}

// A stock convolution on a normalised kernel trains, with a stock solver and with
// one of ours, and the kernel it sees stays on the manifold.
func TestNormalizeTrains(t *testing.T) {
	for name, solver := range map[string]func() gorgonia.Solver{
		"stock Adam":    func() gorgonia.Solver { return gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.02)) },
		"stock vanilla": func() gorgonia.Solver { return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.05)) },
		"solvers.SGD": func() gorgonia.Solver {
			return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.5), solvers.Kernels(manifolds.Euclidean{}))
		},
		// On the sphere the norm of v stays, beside what the node does.
		"solvers.SGD on the sphere": func() gorgonia.Solver {
			return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Kernels(manifolds.Sphere{}))
		},
	} {
		for _, c := range []manifolds.Constraint{
			manifolds.On(manifolds.Stiefel{}),
			manifolds.On(manifolds.Sphere{}, manifolds.PerSlice),
			manifolds.On(manifolds.Oblique{}, manifolds.PerTap),
			manifolds.On(manifolds.CentredSphere{}, manifolds.Initial),
		} {
			for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
				t.Run(fmt.Sprint(name, ", ", c, ", ", of), func(t *testing.T) { normalizeTrains(t, solver(), c, of) })
			}
		}
	}
}

func normalizeTrains(t *testing.T, solver gorgonia.Solver, c manifolds.Constraint, of tensor.Dtype) {
	rng := rand.New(rand.NewPCG(5, 5))
	draw := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = rng.NormFloat64()
		}
		return x
	}
	shape := tensor.Shape{4, 2, 3, 3}
	g := gorgonia.NewGraph()
	x := given(g, of, "x", tensor.Shape{3, 2, 6, 6}, draw(3*2*36))
	v := given(g, of, "v", shape, draw(shape.TotalSize()))
	piece, err := manifolds.Single(c.Bind(shape, norm2(floats(v.Value()))))
	require.NoError(t, err)
	bound, layout := piece.Manifold, piece.Layout
	w, err := nodes.Normalize(v, c.Manifold, c.Grouping, c.Scale)
	require.NoError(t, err)
	var value gorgonia.Value
	gorgonia.Read(w, &value)
	conv := func(kernel *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(gorgonia.Conv2d(x, kernel, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	}
	teacher := draw(3 * 4 * 36)
	target := given(g, of, "target", tensor.Shape{3, 4, 6, 6}, teacher)
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(conv(w), target))))))
	var loss gorgonia.Value
	gorgonia.Read(cost, &loss)
	_, err = gorgonia.Grad(cost, v)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(v))
	defer vm.Close()
	var losses []float64
	for range 15 {
		require.NoError(t, vm.RunAll())
		losses = append(losses, floats(loss)[0])
		k := floats(value)
		all, err := manifolds.Points64(k, 1, 1, len(k))
		require.NoError(t, err)
		points, err := manifolds.Points64(make([]float64, len(k)), layout.K, layout.N, layout.P)
		require.NoError(t, err)
		require.NoError(t, layout.Gather(points, all))
		tolerance := 1e-14
		if of == tensor.Float32 {
			tolerance = 2e-6
		}
		require.LessOrEqual(t, bound.Membership(points), tolerance)
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{v})))
		vm.Reset()
	}
	assert.Less(t, losses[len(losses)-1], losses[0], "%v", losses)
}

// Gradient descent through the node is Riemannian gradient descent on the sphere
// with the learning rate times r^2/|v|^2, one filter after the other: docs/geometry.md.
func TestNormalizeIsASolverOnTheSphere(t *testing.T) {
	const rate, radius = 0.5, 1.3
	shape := tensor.Shape{1, 2, 3, 3} // one filter, as each has its own rate
	net := func(constrained bool) (v *gorgonia.Node, kernel *gorgonia.Value, vm gorgonia.VM) {
		g := gorgonia.NewGraph()
		x := given(g, tensor.Float64, "x", tensor.Shape{2, 2, 5, 5}, waves(100, 1))
		start := waves(18, 2)
		for i := range start {
			start[i] *= math.Cos(float64(i * i))
		}
		scale := radius / norm2(start) // |v| is r at first, so that both start alike
		for i := range start {
			start[i] *= scale
		}
		v = given(g, tensor.Float64, "v", shape, start)
		w := v
		if !constrained {
			w = gorgonia.Must(nodes.Normalize(v, manifolds.Sphere{Radius: radius}))
		}
		kernel = new(gorgonia.Value)
		gorgonia.Read(w, kernel)
		y := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{0, 0}, []int{1, 1}, []int{1, 1}))
		target := given(g, tensor.Float64, "target", y.Shape(), waves(y.Shape().TotalSize(), 3))
		cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(y, target))))))
		_, err := gorgonia.Grad(cost, v)
		require.NoError(t, err)
		return v, kernel, gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(v))
	}
	free, inGraph, vm1 := net(false)
	point, onSphere, vm2 := net(true)
	defer vm1.Close()
	defer vm2.Close()
	norms := []float64{norm2(floats(free.Value()))}
	for step := range 30 {
		require.NoError(t, vm1.RunAll())
		require.NoError(t, vm2.RunAll())
		assert.InDeltaSlice(t, floats(*onSphere), floats(*inGraph), 1e-12, "step %d", step)

		norm := norm2(floats(free.Value()))
		require.NoError(t, gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(rate)).Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{free})))
		solver := solvers.NewSGD(solvers.LearnRate(rate*radius*radius/(norm*norm)), solvers.Kernels(manifolds.Sphere{Radius: radius}))
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{point})))
		vm1.Reset()
		vm2.Reset()
		norms = append(norms, norm2(floats(free.Value())))
		assert.GreaterOrEqual(t, norms[step+1], norms[step]*(1-1e-15))
	}
	assert.Greater(t, norms[30], 1.05*norms[0])
}

func norm2(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s)
}

// A convolution whose filters are orthonormal whatever the solver does.
func ExampleNormalize() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("x"), gorgonia.WithShape(1, 1, 5, 5), gorgonia.WithInit(gorgonia.Ones()))
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float64{3, 0, 3, 3}))))
	w, err := nodes.Normalize(v, manifolds.Stiefel{})
	if err != nil {
		fmt.Println(err)
		return
	}
	y := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{1, 2}, []int{0, 0}, []int{1, 1}, []int{1, 1}))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll(), y.Shape())
	k := w.Value().Data().([]float64)
	fmt.Printf("%.4f\n", k)
	fmt.Printf("norms %.4f %.4f, product %.4f\n", k[0]*k[0]+k[1]*k[1], k[2]*k[2]+k[3]*k[3], math.Abs(k[0]*k[2]+k[1]*k[3]))
	// Output:
	// <nil> (1, 2, 5, 4)
	// [0.8944 -0.4472 0.4472 0.8944]
	// norms 1.0000 1.0000, product 0.0000
}

func ExampleUnitNorm() {
	g := gorgonia.NewGraph()
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float64{3, 4, 0, 5}))))
	w := gorgonia.Must(nodes.UnitNorm(v))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll())
	fmt.Printf("%.2f\n", w.Value().Data())
	// Output:
	// <nil>
	// [0.60 0.80 0.00 1.00]
}

// Kernels in groups and of transposed convolutions.
func TestNormalizeByConvolution(t *testing.T) {
	for _, g := range []manifolds.Grouping{manifolds.FilterBank.Groups(2), manifolds.FilterBank.Transposed(), manifolds.FilterBank.Transposed().Groups(2)} {
		build := func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Normalize(in[0], manifolds.Stiefel{}, g, manifolds.Unit)
		}
		nodetest.Run(t, nodetest.Case{Build: build, Inputs: []nodetest.Input{{Shape: []int{4, 3, 2, 2}}}, Condition: 100,
			Value: func(in [][]float64) []float64 {
				l, err := g.Layout([]int{4, 3, 2, 2})
				require.NoError(t, err)
				v, err := manifolds.Points64(in[0], 1, len(in[0]), 1)
				require.NoError(t, err)
				x, err := manifolds.Points64(make([]float64, len(in[0])), l.K, l.N, l.P)
				require.NoError(t, err)
				require.NoError(t, l.Gather(x, v))
				require.NoError(t, manifolds.Stiefel{Radius: 1}.Project(x, x))
				w := v.Like()
				require.NoError(t, l.Scatter(w, x))
				return w.Data64()
			}})
	}
}
