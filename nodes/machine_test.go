// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// constructors makes each node of the package, by name, on inputs of the shapes given. The first
// input is differentiated.
func constructors(t *testing.T) map[string]constructor {
	type in = []*gorgonia.Node
	type node = *gorgonia.Node
	image, kernel, channel := []int{2, 3, 4, 4}, []int{4, 3, 3, 3}, []int{1, 3, 1, 1}
	square, flat := tensor.Shape{2, 2}, []int{0, 0}
	base := func(n node) node {
		if n.Shape().TotalSize() > 0 {
			copy(n.Value().Data().([]float64), haar(t))
		}
		return n
	}
	unit := func(n node) node { // the first columns or rows of the unit matrix, in each slice
		s := n.Shape()
		for i := range s.TotalSize() {
			set(n, i, 0)
			if i/s[3]%s[2] == i%s[3] {
				set(n, i, 1)
			}
		}
		return n
	}
	matrix, projectors, three, one := []int{1, 1, 3, 4}, []int{1, 4, 4, 2}, tensor.Shape{3, 3}, []int{1, 1}
	return map[string]constructor{
		"OrthogonalConvKernel": {func(v in) (node, error) {
			return nodes.OrthogonalConvKernel(unit(v[0]), unit(v[1]), 3, three, one)
		}, [][]int{matrix, projectors}},
		"OrthogonalConv": {func(v in) (node, error) {
			return nodes.OrthogonalConv(v[0], unit(v[1]), unit(v[2]), three, one, nil, nodes.Circular())
		}, [][]int{image, matrix, projectors}},
		"OrthogonalConvTranspose": {func(v in) (node, error) {
			return nodes.OrthogonalConvTranspose(v[0], unit(v[1]), unit(v[2]), 3, three, one, nil)
		}, [][]int{{2, 4, 4, 4}, matrix, projectors}},
		"BatchNorm": {func(v in) (node, error) {
			y, _, _, _, err := nodes.BatchNorm(v[0], v[1], v[2], 0.1, 1e-5)
			return y, err
		}, [][]int{image, channel, channel}},
		"BatchNormWith": {func(v in) (node, error) { return nodes.BatchNormWith(v[0], v[1], v[2], statistics(t, 3), 1e-5) },
			[][]int{image, channel, channel}},
		"Add":  {func(v in) (node, error) { return nodes.Add(v[0], v[1]) }, [][]int{image, image}},
		"Bias": {func(v in) (node, error) { return nodes.Bias(v[0], v[1]) }, [][]int{image, channel}},
		"Conv2d": {func(v in) (node, error) {
			return nodes.Conv2d(v[0], v[1], tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
		}, [][]int{image, kernel}},
		"Conv2dWith": {func(v in) (node, error) {
			return nodes.Conv2dWith(v[0], v[1], tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil, nodes.Groups(3), nodes.Circular())
		}, [][]int{image, {3, 1, 3, 3}}},
		"ConvTranspose2d": {func(v in) (node, error) {
			return nodes.ConvTranspose2d(v[0], v[1], tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2}, nil)
		}, [][]int{image, {3, 4, 3, 3}}},
		"Dropout":                 {func(v in) (node, error) { return nodes.Dropout(v[0], 0.5, &nodes.Noise{}) }, [][]int{image}},
		"GroupNorm":               {func(v in) (node, error) { return nodes.GroupNorm(v[0], v[1], v[2], 3, 3, 1e-5) }, [][]int{image, channel, channel}},
		"MaxMin":                  {func(v in) (node, error) { return nodes.MaxMin(v[0]) }, [][]int{{2, 4, 3, 3}}},
		"Householder":             {func(v in) (node, error) { return nodes.Householder(v[0], v[1]) }, [][]int{{2, 4, 3, 3}, {1, 2, 1, 1}}},
		"Linear":                  {func(v in) (node, error) { return nodes.Linear(v[0], v[1], v[2]) }, [][]int{{2, 3}, {3, 4}, {1, 4}}},
		"CrossEntropy":            {func(v in) (node, error) { return nodes.CrossEntropy(v[0], v[1]) }, [][]int{{2, 3}, {2, 3}}},
		"Normalize":               {func(v in) (node, error) { return nodes.Normalize(v[0], manifolds.Stiefel{}) }, [][]int{kernel}},
		"UnitNorm":                {func(v in) (node, error) { return nodes.UnitNorm(v[0]) }, [][]int{kernel}},
		"Orthogonalize":           {func(v in) (node, error) { return nodes.Orthogonalize(v[0], 3, manifolds.Unit) }, [][]int{kernel}},
		"SoftOrthogonality":       {func(v in) (node, error) { return nodes.SoftOrthogonality(v[0]) }, [][]int{kernel}},
		"DoubleSoftOrthogonality": {func(v in) (node, error) { return nodes.DoubleSoftOrthogonality(v[0]) }, [][]int{kernel}},
		"MutualCoherence":         {func(v in) (node, error) { return nodes.MutualCoherence(v[0]) }, [][]int{kernel}},
		"SRIP":                    {func(v in) (node, error) { return nodes.SRIP(v[0], 2, 1) }, [][]int{kernel}},
		"ConvOrthogonality":       {func(v in) (node, error) { return nodes.ConvOrthogonality(v[0], []int{1, 1}) }, [][]int{kernel}},
		"AOL":                     {func(v in) (node, error) { return nodes.AOL(v[0], 1) }, [][]int{kernel}},
		"ConvSpectralNorm":        {func(v in) (node, error) { return nodes.ConvSpectralNorm(v[0], 0.05) }, [][]int{kernel}},
		"SLL":                     {func(v in) (node, error) { return nodes.SLL(v[0], v[1]) }, [][]int{kernel, {1, 4, 1, 1}}},
		"ConvexPotential":         {func(v in) (node, error) { return nodes.ConvexPotential(v[0], v[1], v[2]) }, [][]int{image, kernel, {1, 4, 1, 1}}},
		"NormPool2D":              {func(v in) (node, error) { return nodes.NormPool2D(v[0], square, flat, []int{2, 2}) }, [][]int{image}},
		"MarginCrossEntropy":      {func(v in) (node, error) { return nodes.MarginCrossEntropy(v[0], v[1], 1, 0.5) }, [][]int{{2, 3}, {2, 3}}},
		"MaxPool2D":               {func(v in) (node, error) { return nodes.MaxPool2D(v[0], square, flat, []int{2, 2}) }, [][]int{image}},
		"MaxPool2DCeil":           {func(v in) (node, error) { return nodes.MaxPool2DCeil(v[0], square, flat, []int{3, 3}) }, [][]int{image}},
		"AdaptiveAveragePool2D":   {func(v in) (node, error) { return nodes.AdaptiveAveragePool2D(v[0], 3, 2) }, [][]int{image}},
		"Concat":                  {func(v in) (node, error) { return nodes.Concat(v[0], v[1]) }, [][]int{image, image}},
		"Flatten":                 {func(v in) (node, error) { return nodes.Flatten(v[0]) }, [][]int{image}},
		"RectifyTo":               {func(v in) (node, error) { return nodes.RectifyTo(v[0], 6) }, [][]int{image}},
		"AveragePool2D":           {func(v in) (node, error) { return nodes.AveragePool2D(v[0], square, flat, []int{2, 2}) }, [][]int{image}},
		"GlobalAveragePool2D":     {func(v in) (node, error) { return nodes.GlobalAveragePool2D(v[0]) }, [][]int{image}},
		"Rectify":                 {func(v in) (node, error) { return nodes.Rectify(v[0]) }, [][]int{image}},
		"Shortcut":                {func(v in) (node, error) { return nodes.Shortcut(v[0], 6, 2) }, [][]int{image}},
		"SpectralNorm":            {func(v in) (node, error) { return nodes.SpectralNorm(v[0], nodes.NewPowerIteration(1), 1) }, [][]int{kernel}},
		"StochasticDepth":         {func(v in) (node, error) { return nodes.StochasticDepth(v[0], v[1], 0.5, &nodes.Noise{}) }, [][]int{image, image}},
		"ExpTrivialization":       {func(v in) (node, error) { return nodes.ExpTrivialization(v[0], base(v[1])) }, [][]int{kernel, kernel}},
		"CayleyTrivialization":    {func(v in) (node, error) { return nodes.CayleyTrivialization(v[0], base(v[1])) }, [][]int{kernel, kernel}},
		"WeightNorm":              {func(v in) (node, error) { return nodes.WeightNorm(v[0], v[1]) }, [][]int{kernel, {4, 1, 1, 1}}},
		"CentredWeightNorm":       {func(v in) (node, error) { return nodes.CentredWeightNorm(v[0], v[1]) }, [][]int{kernel, {4, 1, 1, 1}}},
		"WeightStandardization":   {func(v in) (node, error) { return nodes.WeightStandardization(v[0], 1e-5) }, [][]int{kernel}},
	}
}

type constructor struct {
	build  func(in []*gorgonia.Node) (*gorgonia.Node, error)
	shapes [][]int
}

// haar is a filter bank of four orthonormal filters.
func haar(t *testing.T) []float64 {
	t.Helper()
	return nodes.Orthonormal(1, 1)(tensor.Float64, 4, 3, 3, 3).([]float64)
}

// graph makes a graph of the node, with the sum of its elements as cost.
func (c constructor) graph(t *testing.T) (inputs gorgonia.Nodes, y, cost *gorgonia.Node) {
	t.Helper()
	g := gorgonia.NewGraph()
	for i, s := range c.shapes {
		n := zeros(g, "input "+string(rune('0'+i)), tensor.Float64, s...)
		for k := range tensor.Shape(s).TotalSize() {
			set(n, k, 0.25+float64((7*k+3*i)%11)/13)
		}
		inputs = append(inputs, n)
	}
	y, err := c.build(inputs)
	require.NoError(t, err)
	cost = y
	if y.Dims() > 0 {
		cost = gorgonia.Must(gorgonia.Sum(y))
	}
	return inputs, y, cost
}

// TestConstructorsAreComplete compares the table with the source of the package.
func TestConstructorsAreComplete(t *testing.T) {
	table := constructors(t)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results == nil {
				continue
			}
			star, ok := fn.Type.Results.List[0].Type.(*ast.StarExpr)
			if !ok {
				continue
			}
			if fn.Name.Name == "Fuse" {
				continue // copies a graph that has no gradients
			}
			if s, ok := star.X.(*ast.SelectorExpr); ok && s.Sel.Name == "Node" {
				found++
				assert.Contains(t, table, fn.Name.Name)
			}
		}
	}
	assert.Len(t, table, found)
}

// TestLispMachineIsRefused runs each node on the machine that skips operations without DoDiff:
// without the error its run would succeed with gradients of zero, and a solver would take them.
func TestLispMachineIsRefused(t *testing.T) {
	for name, c := range constructors(t) {
		t.Run(name, func(t *testing.T) {
			// Without a symbolic gradient, as Lisp machines are used.
			_, _, cost := c.graph(t)
			vm := gorgonia.NewLispMachine(cost.Graph())
			err := nodes.Cause(vm.RunAll())
			assert.ErrorIs(t, err, nodes.ErrMachine)
			if name != "UnitNorm" { // which is a Normalize
				assert.ErrorContains(t, err, "nodes."+strings.TrimSuffix(name, "With"))
			}
			assert.ErrorContains(t, err, "gorgonia.NewTapeMachine")

			// With a symbolic gradient, run as part of a forward pass, Node.Grad would be zero too.
			if name == "Add" {
				return // passes the gradient on, without a node of this package that could refuse
			}
			in, _, cost := c.graph(t)
			_, err = gorgonia.Grad(cost, in[0])
			require.NoError(t, err)
			vm = gorgonia.NewLispMachine(cost.Graph(), gorgonia.ExecuteFwdOnly())
			assert.ErrorIs(t, nodes.Cause(vm.RunAll()), nodes.ErrMachine)
		})
	}
}

// TestLispMachineForward evaluates each node without gradients on both machines.
func TestLispMachineForward(t *testing.T) {
	for name, c := range constructors(t) {
		t.Run(name, func(t *testing.T) {
			_, want, _ := c.graph(t)
			vm := gorgonia.NewTapeMachine(want.Graph())
			defer vm.Close()
			require.NoError(t, vm.RunAll())
			_, got, _ := c.graph(t)
			lisp := gorgonia.NewLispMachine(got.Graph(), gorgonia.ExecuteFwdOnly())
			defer lisp.Close()
			require.NoError(t, lisp.RunAll())
			assert.Equal(t, want.Value().Data(), got.Value().Data())
		})
	}
}

// TestEvaluationMachineSwitchesSharedNodes shows how training can continue in evaluation mode by
// mistake: a machine for evaluation of a subgraph shares operations with the graph. The method
// Training of the operation shows it.
func TestEvaluationMachineSwitchesSharedNodes(t *testing.T) {
	table := constructors(t)
	for _, name := range []string{"BatchNorm", "BatchNormWith", "Dropout", "StochasticDepth"} {
		_, y, cost := table[name].graph(t)
		mode, ok := y.Op().(interface{ Training() bool })
		require.True(t, ok, name)
		g := cost.Graph()
		gorgonia.NewTapeMachine(g).Close()
		assert.True(t, mode.Training(), name)
		gorgonia.NewTapeMachine(g.SubgraphRoots(y), gorgonia.EvalMode()).Close()
		assert.False(t, mode.Training(), name)
		gorgonia.NewTapeMachine(g).Close()
		assert.True(t, mode.Training(), name)
	}
	_, y, _ := table["Rectify"].graph(t)
	_, ok := y.Op().(interface{ Training() bool })
	assert.False(t, ok, "a node that does the same in both modes has none")
}

// TestBuffersLeavePools returns the values of all nodes to the pools of package tensor and takes
// tensors from the pools again. The next run must neither write to these tensors nor fail.
func TestBuffersLeavePools(t *testing.T) {
	for name, c := range constructors(t) {
		if name == "Dropout" || name == "StochasticDepth" || name == "SpectralNorm" || name == "SRIP" {
			continue // differ from run to run
		}
		in, y, cost := c.graph(t)
		d, err := gorgonia.Grad(cost, in[0])
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(cost.Graph())
		require.NoError(t, vm.RunAll(), name)
		copied := func(n *gorgonia.Node) any {
			v, err := gorgonia.CloneValue(n.Value())
			require.NoError(t, err)
			return v.Data()
		}
		value, gradient := copied(y), copied(d[0])
		vm.Reset()
		cost.Graph().UnbindAllNonInputs()
		var others []*tensor.Dense
		for range 200 {
			o := tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(5, 1, 1, 2))
			others = append(others, o)
		}
		require.NoError(t, nodes.Cause(vm.RunAll()), name)
		assert.Equal(t, value, y.Value().Data(), name)
		assert.Equal(t, gradient, d[0].Value().Data(), name)
		for _, o := range others {
			require.Equal(t, tensor.Shape{5, 1, 1, 2}, o.Shape(), name)
			require.Equal(t, make([]float64, 10), o.Data(), name)
		}
		vm.Close()
	}
}
