// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"hash"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// orthogonalNet is an orthogonal convolution of circular images whose unit vectors are its input: row i of its value is what it makes of unit
// vector i. Its cost is <value, noise>, and penalised by the square of a gain.
type orthogonalNet struct {
	matrix, projectors, gain, value *gorgonia.Node
	vm                              gorgonia.VM
}

func newOrthogonalNet(t *testing.T, of tensor.Dtype, filters, channels, size, stride, groups int) orthogonalNet {
	t.Helper()
	const side = 4
	g := gorgonia.NewGraph()
	kernel, strides := tensor.Shape{size, size}, []int{stride, stride}
	m, u, err := nodes.OrthogonalConvFactors(filters, channels, kernel, strides, nodes.Groups(groups))
	require.NoError(t, err)
	factor := func(name string, f nodes.Factor) *gorgonia.Node {
		return gorgonia.NewTensor(g, of, 4, gorgonia.WithName(name), gorgonia.WithShape(f.Shape...), gorgonia.WithInit(nodes.ManifoldInit(f.Constraint, 1)))
	}
	n := orthogonalNet{matrix: factor("matrix", m)}
	learnables := gorgonia.Nodes{n.matrix}
	if u.Shape != nil {
		n.projectors = factor("projectors", u)
		learnables = append(learnables, n.projectors)
	}
	in := channels * side * side
	unit := tensor.New(tensor.Of(of), tensor.WithShape(in, channels, side, side))
	for i := range in {
		switch d := unit.Data().(type) {
		case []float32:
			d[i*in+i] = 1
		case []float64:
			d[i*in+i] = 1
		}
	}
	x := gorgonia.NewTensor(g, of, 4, gorgonia.WithName("unit vectors"), gorgonia.WithValue(unit))
	n.gain = gorgonia.NewTensor(g, of, 4, gorgonia.WithName("gain"), gorgonia.WithShape(in, filters, side/stride, side/stride), gorgonia.WithInit(gorgonia.Ones()))
	noise := gorgonia.NewTensor(g, of, 4, gorgonia.WithName("noise"), gorgonia.WithShape(n.gain.Shape()...), gorgonia.WithInit(nodes.HeNormal(10, 2)))
	n.value, err = nodes.OrthogonalConv(x, n.matrix, n.projectors, kernel, strides, nil, nodes.Circular())
	require.NoError(t, err)
	product := gorgonia.Must(gorgonia.HadamardProd(gorgonia.Must(gorgonia.HadamardProd(n.value, n.gain)), noise))
	_, err = gorgonia.Grad(gorgonia.Must(gorgonia.Mean(product)), append(learnables, n.gain)...)
	require.NoError(t, err)
	n.vm = gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(append(learnables, n.gain)...))
	return n
}

func (n orthogonalNet) model() []gorgonia.ValueGrad {
	if n.projectors == nil {
		return gorgonia.NodesToValueGrads(gorgonia.Nodes{n.matrix, n.gain})
	}
	return gorgonia.NodesToValueGrads(gorgonia.Nodes{n.matrix, n.projectors, n.gain})
}

// step makes a step, and defect tells how far the Jacobian was from orthogonal before it.
func (n orthogonalNet) step(s gorgonia.Solver) error {
	defer n.vm.Reset()
	if err := n.vm.RunAll(); err != nil {
		return nodes.Cause(err)
	}
	return s.Step(n.model())
}

func (n orthogonalNet) defect(t *testing.T) float64 {
	t.Helper()
	var value gorgonia.Value
	gorgonia.Read(n.value, &value)
	vm := gorgonia.NewTapeMachine(n.value.Graph())
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	rows := n.value.Shape()[0]
	cols := n.value.Shape().TotalSize() / rows
	j := toFloats(value.Data())
	worst := 0.0
	gram := func(count, length, stride, step int) {
		for a := range count {
			for b := range a + 1 {
				sum := 0.0
				for k := range length {
					sum += j[a*stride+k*step] * j[b*stride+k*step]
				}
				if a == b {
					sum--
				}
				worst = max(worst, math.Abs(sum))
			}
		}
	}
	if rows <= cols {
		gram(rows, cols, cols, 1)
	} else {
		gram(cols, rows, 1, cols)
	}
	return worst
}

func toFloats(data any) []float64 {
	switch d := data.(type) {
	case []float64:
		return d
	case []float32:
		f := make([]float64, len(d))
		for i, v := range d {
			f[i] = float64(v)
		}
		return f
	}
	panic(fmt.Sprintf("%T", data))
}

// Natural keeps the factors of an orthogonal convolution on their manifolds, with any solver: after 1,000 steps, 100 with -short, the Jacobian is orthogonal.
func TestNaturalKeepsConvolutionsOrthogonal(t *testing.T) {
	for name, make := range map[string]func() *solvers.Solver{
		"SGD": func() *solvers.Solver {
			return solvers.NewSGD(solvers.LearnRate(1), solvers.Momentum(0.9), solvers.Natural())
		},
		"Adam": func() *solvers.Solver { return solvers.NewAdam(solvers.LearnRate(0.01), solvers.Natural()) },
	} {
		for of, tolerance := range map[tensor.Dtype]float64{tensor.Float64: 1e-12, tensor.Float32: 1e-5} {
			cases := []struct{ filters, channels, size, stride, groups int }{{2, 3, 3, 1, 1}, {5, 2, 3, 2, 1}, {4, 4, 3, 1, 2}, {2, 2, 1, 1, 1}, {3, 2, 5, 1, 1}}
			steps := 1000
			if testing.Short() {
				cases, steps = cases[:4], 100
			}
			for _, c := range cases {
				n := newOrthogonalNet(t, of, c.filters, c.channels, c.size, c.stride, c.groups)
				before := n.matrix.Value().(*tensor.Dense).Clone().(*tensor.Dense)
				s := make()
				for range steps {
					require.NoError(t, n.step(s), "%s, %v, %v", name, of, c)
				}
				assert.Less(t, n.defect(t), tolerance, "%s, %v, %v", name, of, c)
				assert.NotEqual(t, before.Data(), n.matrix.Value().Data())
				rows := map[string]solvers.ParameterReport{}
				for _, p := range s.Report().Parameters {
					rows[p.Name] = p
				}
				if c.size > 1 {
					assert.Equal(t, "Grassmann", rows["projectors"].Manifold)
				}
				assert.Contains(t, []string{"Orthogonal", "Stiefel"}, rows["matrix"].Manifold)
				assert.Equal(t, "per slice", rows["matrix"].Grouping)
				assert.Empty(t, rows["gain"].Grouping, "it is free")
				require.NoError(t, n.vm.Close())
			}
		}
	}
}

// Every solver does. Without the option, or if a later one frees a factor, the run after the first long step fails.
func TestNatural(t *testing.T) {
	rate := solvers.LearnRate(0.01)
	for name, s := range map[string]gorgonia.Solver{
		"Adagrad":   solvers.NewAdagrad(rate, solvers.Natural()),
		"RMSProp":   solvers.NewRMSProp(rate, solvers.Natural()),
		"AdamW":     solvers.NewAdamW(rate, solvers.Natural()),
		"Muon":      solvers.NewMuon(rate, solvers.Natural()),
		"RDoG":      solvers.NewRDoG(solvers.Natural()),
		"Constrain": solvers.ConstrainWith(gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.01)), solvers.Natural()),
		"With":      solvers.NewSGD(solvers.LearnRate(1), solvers.Natural().With(rate, solvers.GeometricStep())),
	} {
		n := newOrthogonalNet(t, tensor.Float64, 3, 2, 3, 1, 1)
		for range 20 {
			require.NoError(t, n.step(s), name)
		}
		assert.Less(t, n.defect(t), 1e-12, name)
		require.NoError(t, n.vm.Close())
	}
	for name, s := range map[string]gorgonia.Solver{
		"stock": gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.01)),
		"free":  solvers.NewAdam(rate),
		"freed": solvers.NewAdam(rate, solvers.Natural(), solvers.Param("projectors", manifolds.Euclidean{})),
	} {
		n := newOrthogonalNet(t, tensor.Float64, 3, 2, 3, 1, 1)
		require.NoError(t, n.step(s), name)
		err := n.step(s)
		assert.ErrorIs(t, err, nodes.ErrNotOrthogonal, name)
		assert.ErrorContains(t, err, "solvers.Natural()", name)
		require.NoError(t, n.vm.Close())
	}
}

// The option is an error where no graph says anything, and where operations contradict each other.
func TestNaturalRefuses(t *testing.T) {
	n := newOrthogonalNet(t, tensor.Float64, 3, 2, 3, 1, 1)
	require.NoError(t, n.vm.RunAll())
	err := solvers.NewAdam(solvers.Natural()).Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{n.gain}))
	assert.ErrorIs(t, err, solvers.ErrConstraint)
	assert.ErrorContains(t, err, "Natural() applies to no parameter")
	require.NoError(t, n.vm.Close())

	g := gorgonia.NewGraph()
	kernel, strides := tensor.Shape{2, 2}, []int{2, 2}
	m, _, err := nodes.OrthogonalConvFactors(4, 1, kernel, strides)
	require.NoError(t, err)
	square := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("square"), gorgonia.WithShape(m.Shape...), gorgonia.WithInit(nodes.ManifoldInit(m.Constraint, 1)))
	a, err := nodes.OrthogonalConvKernel(square, nil, 1, kernel, strides)
	require.NoError(t, err)
	b, err := gorgonia.ApplyOp(rotates{a.Op()}, square)
	require.NoError(t, err)
	_, err = gorgonia.Grad(gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Add(a, b)))), square)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(square))
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	err = solvers.NewAdam(solvers.Natural()).Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{square}))
	assert.ErrorIs(t, err, solvers.ErrConstraint)
	assert.ErrorContains(t, err, "OrthogonalConvKernel wants it on Orthogonal, per slice, unit scale")
	require.NoError(t, solvers.NewAdam().Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{square})))
}

// rotates is an operation that wants rotations.
type rotates struct{ gorgonia.Op }

func (rotates) PointInput(int) (manifolds.Constraint, bool) {
	return manifolds.On(manifolds.SpecialOrthogonal{}, manifolds.PerSlice, manifolds.Unit), true
}

func (r rotates) String() string   { return "rotates" }
func (r rotates) Hashcode() uint32 { return r.Op.Hashcode() + 1 }

func (r rotates) WriteHash(h hash.Hash) {
	r.Op.WriteHash(h)
	h.Write([]byte("rotates"))
}

func (r rotates) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return r.Op.(gorgonia.SDOp).SymDiff(in, out, grad)
}

func (r rotates) DiffWRT(n int) []bool { return r.Op.(gorgonia.SDOp).DiffWRT(n) }
