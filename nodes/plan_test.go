// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// planned is a net of two residual blocks, with stock operations in between if mixed, and its machine.
type planned struct {
	g      *gorgonia.ExprGraph
	x      *gorgonia.Node
	all    gorgonia.Nodes // that the net is made of, in order
	leaves gorgonia.Nodes
	cost   gorgonia.Value
	vm     gorgonia.VM
}

func newPlanned(t *testing.T, of tensor.Dtype, mixed bool, finish func(*planned)) *planned {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	p := &planned{g: gorgonia.NewGraph()}
	leaf := func(name string, scale, mean float64, shape ...int) *gorgonia.Node {
		v := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
		for i := range v.Shape().TotalSize() {
			if x := scale*rng.NormFloat64() + mean; of == tensor.Float32 {
				v.Set(i, float32(x))
			} else {
				v.Set(i, x)
			}
		}
		return gorgonia.NewTensor(p.g, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
	}
	keep := func(n *gorgonia.Node, err error) *gorgonia.Node {
		require.NoError(t, err)
		p.all = append(p.all, n)
		return n
	}
	learnt := func(n *gorgonia.Node) *gorgonia.Node { p.leaves = append(p.leaves, n); return n }
	p.x = leaf("x", 1, 0, 4, 8, 16, 16)
	norm := func(name string, y *gorgonia.Node, opts ...BatchNormOption) *gorgonia.Node {
		s, err := NewStatistics(8, 0.1)
		require.NoError(t, err)
		one := []int{1, 8, 1, 1}
		return keep(BatchNormWith(y, learnt(leaf(name+".γ", 0.1, 1, one...)), learnt(leaf(name+".β", 0.1, 0, one...)), s, 1e-5, opts...))
	}
	conv := func(name string, y *gorgonia.Node) *gorgonia.Node {
		return keep(Conv2d(y, learnt(leaf(name, 0.1, 0, 8, 8, 3, 3)), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil))
	}
	y := norm("bn", conv("conv", p.x), Rectified())
	for i := range 2 {
		z := norm(fmt.Sprint("a", i), conv(fmt.Sprint("wa", i), y), Rectified())
		if mixed {
			z = keep(gorgonia.Add(keep(gorgonia.Tanh(z)), keep(gorgonia.Square(y))))
		}
		y = norm(fmt.Sprint("b", i), conv(fmt.Sprint("wb", i), z), Plus(y), Rectified())
	}
	cost := keep(gorgonia.Mean(keep(GlobalAveragePool2D(y))))
	gorgonia.Read(cost, &p.cost)
	_, err := gorgonia.Grad(cost, p.leaves...)
	require.NoError(t, err)
	finish(p)
	p.vm = gorgonia.NewTapeMachine(p.g, gorgonia.BindDualValues(p.leaves...))
	t.Cleanup(func() { p.vm.Close() })
	return p
}

func plain(*planned)    {}
func shares(p *planned) { Plan(p.g) }

// run is one step of training. It returns the cost and the gradients.
func (p *planned) run(t *testing.T) (results []any) {
	t.Helper()
	require.NoError(t, Cause(p.vm.RunAll()))
	results = append(results, p.cost.Data())
	for _, n := range p.leaves {
		d, err := n.Grad()
		require.NoError(t, err)
		c, err := gorgonia.CloneValue(d)
		require.NoError(t, err)
		results = append(results, c.Data())
		require.NoError(t, gorgonia.ZeroValue(d).(*tensor.Dense).Memset(zero(d)))
	}
	p.vm.Reset()
	return results
}

func zero(v gorgonia.Value) any {
	if v.Dtype() == tensor.Float32 {
		return float32(0)
	}
	return 0.0
}

// A planned graph has the bits of one that is not, although all memory that is given up is filled
// with NaN.
func TestPlanChangesNothing(t *testing.T) {
	count := 0
	freed = func(s storage) {
		count++
		for i := range s.f32 {
			s.f32[i] = float32(math.NaN())
		}
		for i := range s.f64 {
			s.f64[i] = math.NaN()
		}
	}
	defer func() { freed = nil }()
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for _, mixed := range []bool{false, true} {
			count = 0
			want, got := newPlanned(t, of, mixed, plain), newPlanned(t, of, mixed, shares)
			for range 3 {
				assert.Equal(t, want.run(t), got.run(t))
			}
			assert.Greater(t, count, 3*10, "values are given up")
		}
	}
}

// The gradients of leaves stay in their nodes if the machine does not add them to the leaves, also if another machine has done so before.
func TestPlanKeepsGradientsThatAreNotAdded(t *testing.T) {
	p := newPlanned(t, tensor.Float32, false, shares)
	want := p.run(t)[1:]
	vm := gorgonia.NewTapeMachine(p.g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	for i, n := range p.leaves {
		assert.Equal(t, want[i], n.Deriv().Value().Data(), n.Name())
	}
}

// Memory is shared: what the values of a graph take, and what a step allocates.
func TestPlanSharesMemory(t *testing.T) {
	measure := func(finish func(*planned)) (memory int64, step uint64) {
		p := newPlanned(t, tensor.Float64, false, finish)
		var before, after runtime.MemStats
		for range 3 { // what has a finalizer is freed later
			runtime.GC()
		}
		runtime.ReadMemStats(&before)
		p.run(t)
		runtime.GC()
		runtime.ReadMemStats(&after)
		memory = int64(after.HeapAlloc) - int64(before.HeapAlloc)
		step = math.MaxUint64
		for range 8 { // pools of package sync lose a part of what they are given, under the race detector at random
			runtime.ReadMemStats(&before)
			require.NoError(t, p.vm.RunAll())
			runtime.ReadMemStats(&after)
			p.vm.Reset()
			step = min(step, after.TotalAlloc-before.TotalAlloc)
		}
		return memory, step
	}
	memory, _ := measure(plain)
	less, step := measure(shares)
	assert.Less(t, less, memory*7/10)
	assert.Less(t, step, uint64(4*8*16*16*8), "less than one value")
	runtime.KeepAlive(&memory)
}

// What is read, kept or a root of the graph is whole after a run; other values are given up visibly.
func TestPlanKeepsWhatIsRead(t *testing.T) {
	var read gorgonia.Value
	want := newPlanned(t, tensor.Float64, false, plain)
	p := newPlanned(t, tensor.Float64, false, func(p *planned) {
		gorgonia.Read(p.all[3], &read)
		Plan(p.g, p.all[5])
	})
	want.run(t)
	p.run(t)
	assert.Equal(t, want.all[3].Value().Data(), read.Data(), "read")
	assert.Equal(t, want.all[5].Value().Data(), p.all[5].Value().Data(), "kept")
	assert.Equal(t, tensor.Shape{1}, p.all[2].Value().Shape(), "given up")

	// A node that is read only after the plan was made and run.
	var late gorgonia.Value
	gorgonia.Read(p.all[2], &late)
	vm := gorgonia.NewTapeMachine(p.g, gorgonia.BindDualValues(p.leaves...))
	defer vm.Close()
	want.run(t)
	require.NoError(t, vm.RunAll())
	assert.Equal(t, want.all[2].Value().Data(), late.Data(), "read later")
}

// A run that fails in the middle leaves a graph that goes on as if it had not been.
func TestPlanAfterFailure(t *testing.T) {
	want, p := newPlanned(t, tensor.Float64, false, plain), newPlanned(t, tensor.Float64, false, shares)
	want.run(t)
	p.run(t)
	d := p.x.Value().Data().([]float64)
	was := d[7]
	d[7] = math.NaN()
	require.ErrorIs(t, Cause(p.vm.RunAll()), ErrNotFinite)
	p.vm.Reset()
	d[7] = was
	for range 2 {
		assert.Equal(t, want.run(t), p.run(t))
	}
	// Values that are returned to the pools of package tensor belong to something else afterwards.
	p.g.UnbindAllNonInputs()
	others := make([]*tensor.Dense, 100)
	for i := range others {
		others[i] = tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(2, 3))
	}
	assert.Equal(t, want.run(t), p.run(t))
	for _, o := range others {
		assert.Equal(t, tensor.Shape{2, 3}, o.Shape())
		assert.Equal(t, make([]float64, 6), o.Data())
	}
}

// The gradients of a value that is used more than once are added up by Add.
func TestPlanAdds(t *testing.T) {
	sums := func(finish func(*planned)) (stock, ours int) {
		for _, n := range newPlanned(t, tensor.Float32, false, finish).g.AllNodes() {
			switch o := n.Op().(type) {
			case *op:
				if o.name == "nodes.Add" {
					ours++
				}
			default:
				if fmt.Sprintf("%T", o) == "gorgonia.elemBinOp" && n.Dims() == 4 {
					stock++
				}
			}
		}
		return stock, ours
	}
	stock, ours := sums(plain)
	assert.Equal(t, []int{2, 0}, []int{stock, ours})
	stock, ours = sums(shares)
	assert.Equal(t, []int{0, 2}, []int{stock, ours})
}

// A machine without BindDualValues leaves the gradients of leaves in their nodes, where they stay; another one copies
// them, and all but the one computed last give up their memory.
func TestPlanGradientsOfLeaves(t *testing.T) {
	want, p := newPlanned(t, tensor.Float64, false, plain), newPlanned(t, tensor.Float64, false, shares)
	vm := gorgonia.NewTapeMachine(p.g)
	defer vm.Close()
	for range 2 {
		gradients := want.run(t)[1:]
		require.NoError(t, vm.RunAll())
		vm.Reset()
		for i, n := range p.leaves {
			d, err := n.Grad()
			require.NoError(t, err)
			assert.Equal(t, gradients[i], d.Data(), n.Name())
		}
	}
	want.run(t)
	require.Equal(t, want.run(t), func() []any { p.run(t); return p.run(t) }())
	kept := 0
	for _, n := range p.leaves {
		if n.Shape().TotalSize() >= fewest && n.Deriv().Value().Shape().TotalSize() > 1 {
			kept++
		}
	}
	assert.Equal(t, 1, kept)
}
