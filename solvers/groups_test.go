// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// A layer cut in groups moves as its groups would by themselves, continues from a snapshot to the bit, and not from one of
// other groups.
func TestGroups(t *testing.T) {
	for _, of := range precisions {
		for _, g := range []manifolds.Grouping{manifolds.FilterBank, manifolds.PerInputChannel, manifolds.PerTap,
			manifolds.FilterBank.Transposed(), manifolds.PerFilter.Transposed(), manifolds.PerTap.Transposed()} {
			t.Run(fmt.Sprint(of, g), func(t *testing.T) {
				make := func(g manifolds.Grouping) *solvers.Solver {
					return solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}, g, manifolds.Unit))
				}
				whole := newParam("kernel", of, 6, 5, 2, 2)
				gaussian(whole.w, source(1), 1)
				half := len(get(whole.w)) / 2
				a, b := newParam("a", of, 3, 5, 2, 2), newParam("b", of, 3, 5, 2, 2)
				put(a.w, get(whole.w)[:half])
				put(b.w, get(whole.w)[half:])
				s, parts := make(g.Groups(2)), make(g)
				step := func(s *solvers.Solver, whole *param, seed uint64) {
					gaussian(whole.g, source(seed), 1)
					put(a.g, get(whole.g)[:half])
					put(b.g, get(whole.g)[half:])
					require.NoError(t, s.Step(valueGrads([]*param{whole})))
				}
				for seed := range uint64(5) {
					step(s, whole, seed)
					require.NoError(t, parts.Step(valueGrads([]*param{a, b})))
				}
				require.InDeltaSlice(t, append(get(a.w), get(b.w)...), get(whole.w), 64*eps(of))
				onManifold(t, s.Report(), of)
				require.Equal(t, g.String()+", 2 groups", s.Report().Parameters[0].Grouping)

				snap, err := s.Snapshot()
				require.NoError(t, err)
				twin := copied([]*param{whole}, of)
				require.ErrorContains(t, make(g.Groups(3)).Restore(valueGrads(twin), snap), "groups")
				again := make(g.Groups(2))
				require.NoError(t, again.Restore(valueGrads(twin), snap))
				step(s, whole, 9)
				step(again, twin[0], 9)
				require.Equal(t, get(whole.w), get(twin[0].w))
			})
		}
	}
}

// convNet is a graph of convolutions in groups and transposed ones.
type convNet struct {
	g          *gorgonia.ExprGraph
	parameters gorgonia.Nodes
	vm         gorgonia.VM
}

func newConvNet(t *testing.T, build func(n *convNet) *gorgonia.Node) *convNet {
	t.Helper()
	n := &convNet{g: gorgonia.NewGraph()}
	y := build(n)
	_, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(y)))), n.parameters...)
	require.NoError(t, err)
	n.vm = gorgonia.NewTapeMachine(n.g, gorgonia.BindDualValues(n.parameters...))
	t.Cleanup(func() { n.vm.Close() })
	return n
}

func (n *convNet) leaf(name string, shape ...int) *gorgonia.Node {
	w := gorgonia.NewTensor(n.g, tensor.Float64, 4, gorgonia.WithName(name), gorgonia.WithShape(shape...),
		gorgonia.WithInit(nodes.HeNormal(1, uint64(len(n.parameters)))))
	n.parameters = append(n.parameters, w)
	return w
}

func (n *convNet) conv(x, w *gorgonia.Node, groups int) *gorgonia.Node {
	return gorgonia.Must(nodes.Conv2dWith(x, w, w.Shape()[2:], nil, []int{1, 1}, nil, nodes.Groups(groups)))
}

func (n *convNet) transposed(x, w *gorgonia.Node, groups int) *gorgonia.Node {
	return gorgonia.Must(nodes.ConvTranspose2d(x, w, w.Shape()[2:], nil, []int{1, 1}, nil, nodes.Groups(groups)))
}

func (n *convNet) step(t *testing.T, s *solvers.Solver) error {
	t.Helper()
	n.vm.Reset()
	require.NoError(t, n.vm.RunAll())
	return s.Step(gorgonia.NodesToValueGrads(n.parameters))
}

// weights returns all weights.
func (n *convNet) weights() (all []float64) {
	for _, p := range n.parameters {
		all = append(all, p.Value().Data().([]float64)...)
	}
	return all
}

// The solver asks the graph for groups and for transposed convolutions, and what a grouping says itself goes before.
func TestGroupsOfTheGraph(t *testing.T) {
	build := func(n *convNet) *gorgonia.Node {
		x := n.conv(n.leaf("x", 2, 4, 5, 5), n.leaf("depthwise", 8, 1, 3, 3), 4)
		x = n.conv(x, n.leaf("plain", 6, 8, 1, 1), 1)
		x = n.transposed(x, gorgonia.Must(nodes.WeightNorm(n.leaf("up", 6, 3, 2, 2), n.leaf("gain", 6, 1, 1, 1))), 1)
		return n.transposed(x, n.leaf("up in groups", 3, 2, 2, 2), 3)
	}
	for _, c := range []struct {
		option      solvers.Option
		orthonormal bool              // the filters of each group
		want        map[string][4]any // grouping, points and their shape
	}{
		{solvers.Kernels(manifolds.Stiefel{}), true, map[string][4]any{
			"depthwise":    {"filter bank, 4 groups", 4, 2, 9},
			"plain":        {"filter bank", 1, 6, 8},
			"up":           {"filter bank, transposed", 1, 3, 24},
			"up in groups": {"filter bank, transposed, 3 groups", 3, 2, 4},
		}},
		{solvers.Kernels(manifolds.Sphere{}), false, map[string][4]any{
			"depthwise":    {"per filter, 4 groups", 8, 1, 9},
			"plain":        {"per filter", 6, 8, 1},
			"up":           {"per filter, transposed", 3, 6, 4},
			"up in groups": {"per filter, transposed, 3 groups", 6, 1, 4},
		}},
		{solvers.Kernels(manifolds.Stiefel{}, manifolds.FilterBank.Groups(1)), false, map[string][4]any{
			"depthwise":    {"filter bank", 1, 8, 9},
			"plain":        {"filter bank", 1, 6, 8},
			"up":           {"filter bank", 1, 6, 12},
			"up in groups": {"filter bank", 1, 3, 8},
		}},
	} {
		s, n := solvers.NewSGD(solvers.LearnRate(0.01), c.option), newConvNet(t, build)
		for range 2 {
			require.NoError(t, n.step(t, s))
		}
		onManifold(t, s.Report(), tensor.Float64)
		got := map[string][4]any{}
		for _, p := range s.Report().Parameters {
			if p.Kernel {
				got[p.Name] = [4]any{p.Grouping, p.Points, p.N, p.P}
				assert.Zero(t, p.Dead, p.Name)
				if c.orthonormal {
					assert.InDelta(t, 1, p.Condition, 1e-6, p.Name)
				}
			}
		}
		assert.Equal(t, c.want, got)
	}
}

// Muon moves each group by itself. The groups of a depthwise convolution are vectors, which it leaves to the rest.
func TestMuonInGroups(t *testing.T) {
	n := newConvNet(t, func(n *convNet) *gorgonia.Node {
		x := n.transposed(n.leaf("x", 2, 4, 5, 5), n.leaf("one filter", 4, 1, 1, 1), 1)
		x = n.conv(x, n.leaf("one channel", 4, 1, 1, 1), 1)
		x = n.conv(x, n.leaf("depthwise", 4, 1, 3, 3), 4)
		return n.conv(x, n.leaf("groups", 6, 2, 2, 2), 2)
	})
	before := map[string][]float64{}
	for _, p := range n.parameters {
		before[p.Name()] = slices.Clone(p.Value().Data().([]float64))
	}
	s := solvers.NewMuon(solvers.LearnRate(0.1))
	require.NoError(t, n.step(t, s))
	rules := map[string]string{}
	for _, p := range s.Report().Parameters {
		rules[p.Name] = p.Rule
	}
	assert.Equal(t, rules["x"], rules["groups"])
	assert.NotEqual(t, rules["groups"], rules["depthwise"])
	assert.Equal(t, rules["depthwise"], rules["one filter"])
	assert.Equal(t, rules["depthwise"], rules["one channel"])
	for g := range 2 { // the step of a bank of 3 x 8 has equal singular values: its rows are orthogonal, up to the iteration
		var step [3][8]float64
		for i := range 3 {
			for j := range 8 {
				e := (g*3+i)*8 + j
				step[i][j] = n.parameters[4].Value().Data().([]float64)[e] - before["groups"][e]
			}
		}
		dot := func(a, b int) (s float64) {
			for j := range 8 {
				s += step[a][j] * step[b][j]
			}
			return s
		}
		for a := range 3 {
			for b := range a {
				assert.Less(t, math.Abs(dot(a, b)), 0.5*math.Sqrt(dot(a, a)*dot(b, b)), "filters %d and %d of group %d", a, b, g)
			}
		}
	}
}

// A filter of a transposed convolution whose weights are all zero is dead, though no row of the kernel is.
func TestDeadFiltersOfTransposedConvolutions(t *testing.T) {
	n := newConvNet(t, func(n *convNet) *gorgonia.Node {
		return n.transposed(n.leaf("x", 2, 4, 5, 5), n.leaf("up", 4, 3, 2, 2), 2)
	})
	w := n.parameters[1].Value().Data().([]float64)
	for c := range 2 { // filter 1 of group 1 sees the input channels 2 and 3
		clear(w[((2+c)*3+1)*4:][:4])
	}
	s := solvers.NewSGD(solvers.LearnRate(0))
	require.NoError(t, n.step(t, s))
	for _, p := range s.Report().Parameters {
		if p.Name == "up" {
			assert.Equal(t, 1, p.Dead)
			assert.Equal(t, "filter of ConvTranspose2d", p.Role)
		}
	}
}

// A kernel of convolutions of different kinds is an error, unless its grouping says which to follow. Nothing moves.
func TestGroupsThatAreUnclear(t *testing.T) {
	tied := func(n *convNet) *gorgonia.Node {
		w := n.leaf("tied", 4, 3, 3, 3)
		return n.transposed(n.conv(n.leaf("x", 2, 3, 5, 5), w, 1), w, 1)
	}
	moved := func(n *convNet) *gorgonia.Node {
		w := gorgonia.Must(gorgonia.Transpose(n.leaf("moved", 4, 3, 3, 3), 1, 0, 2, 3))
		return n.transposed(n.leaf("x", 2, 3, 5, 5), w, 1)
	}
	for why, build := range map[string]func(*convNet) *gorgonia.Node{
		"filter of Conv2d in one group, filter of ConvTranspose2d in one group, transposed":                                  tied,
		"filter of ConvTranspose2d through Transpose in one group, transposed, whose kernel has the weights in other places": moved,
	} {
		for _, option := range []solvers.Option{solvers.Kernels(manifolds.Stiefel{}), solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice)} {
			n := newConvNet(t, build)
			before := n.weights()
			err := n.step(t, solvers.NewSGD(solvers.LearnRate(0.1), option))
			require.ErrorIs(t, err, solvers.ErrConstraint)
			require.ErrorContains(t, err, "want Groups or Transposed in its grouping")
			require.ErrorContains(t, err, why)
			require.Equal(t, before, n.weights())
		}
		for want, option := range map[string]solvers.Option{
			"filter bank":             solvers.Kernels(manifolds.Stiefel{}, manifolds.FilterBank.Groups(1)),
			"filter bank, transposed": solvers.Kernels(manifolds.Stiefel{}, manifolds.Default.Transposed()),
			"":                        solvers.Kernels(manifolds.Euclidean{}),
		} {
			s := solvers.NewSGD(solvers.LearnRate(0.1), option)
			require.NoError(t, newConvNet(t, build).step(t, s))
			for _, p := range s.Report().Parameters {
				if p.Kernel {
					require.Equal(t, want, p.Grouping)
				}
			}
		}
	}
}
