// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// both says whether precisions are mixed; -short leaves out nets of one.
func both() []bool {
	if testing.Short() {
		return []bool{true}
	}
	return []bool{true, false}
}

// onRanks runs body on groups of 1 to 4, or to 3 with -short.
func onRanks(t *testing.T, body func(t *testing.T, g *distributed.Group)) {
	t.Helper()
	sizes := []int{1, 2, 3, 4}
	if testing.Short() {
		sizes = sizes[:3]
	}
	for _, n := range sizes {
		t.Run(string(rune('0'+n))+" ranks", func(t *testing.T) {
			mpitest.Run(t, n, func(t *testing.T, c mpi.Comm) { body(t, distributed.Over(c)) })
		})
	}
}

// severalRanks is onRanks for more than one.
func severalRanks(t *testing.T, body func(t *testing.T, g *distributed.Group)) {
	t.Helper()
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		if g.Size() > 1 {
			body(t, g)
		}
	})
}

// average shares everything, however small it is.
func average(g *distributed.Group, s gorgonia.Solver, opts ...distributed.Option) *distributed.Solver {
	return distributed.Average(g, s, append([]distributed.Option{distributed.DivideFrom(0)}, opts...)...)
}

// param is a parameter without a graph.
type param struct {
	name string
	w, g *tensor.Dense
	none bool // there is no gradient
}

func (p *param) Name() string          { return p.name }
func (p *param) Value() gorgonia.Value { return p.w }
func (p *param) Grad() (gorgonia.Value, error) {
	if p.none {
		return nil, nil
	}
	return p.g, nil
}

func newParam(name string, of tensor.Dtype, seed uint64, shape ...int) *param {
	p := &param{
		name: name,
		w:    tensor.New(tensor.Of(of), tensor.WithShape(shape...)),
		g:    tensor.New(tensor.Of(of), tensor.WithShape(shape...)),
	}
	fill(p.w, seed, 0.3, p.name)
	return p
}

// fill writes normal numbers of a seed and a name.
func fill(t *tensor.Dense, seed uint64, scale float64, name string) {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	for i := range t.Size() {
		set(t, i, scale*rng.NormFloat64())
	}
}

func set(t *tensor.Dense, i int, v float64) {
	if t.Dtype() == tensor.Float64 {
		t.Float64s()[i] = v
	} else {
		t.Float32s()[i] = float32(v)
	}
}

func at(t *tensor.Dense, i int) float64 {
	if t.Dtype() == tensor.Float64 {
		return t.Float64s()[i]
	}
	return float64(t.Float32s()[i])
}

// net is a net's worth of parameters, in both precisions at once if mixed.
func net(of tensor.Dtype, seed uint64, mixed bool) []*param {
	other := of
	if mixed {
		other = tensor.Float32
		if of == tensor.Float32 {
			other = tensor.Float64
		}
	}
	return []*param{
		newParam("conv1", of, seed, 4, 3, 3, 3),
		newParam("bias1", other, seed, 1, 4, 1, 1),
		newParam("conv2", of, seed, 6, 4, 2, 3),
		newParam("conv3", other, seed, 5, 6, 3, 3),
		newParam("linear", of, seed, 6, 5),
		newParam("offset", other, seed, 5),
	}
}

// gradients are those of one rank in a step.
func gradients(m []*param, step, rank int) {
	for _, p := range m {
		fill(p.g, uint64(1000*step+rank), 1, p.name)
	}
}

// meanGradients are the means of those of n ranks.
func meanGradients(m []*param, step, n int) {
	for _, p := range m {
		sum := make([]float64, p.g.Size())
		for r := range n {
			fill(p.g, uint64(1000*step+r), 1, p.name)
			for i := range sum {
				sum[i] += at(p.g, i) / float64(n)
			}
		}
		for i, v := range sum {
			set(p.g, i, v)
		}
	}
}

func all(m []*param) (v []gorgonia.ValueGrad) {
	for _, p := range m {
		v = append(v, p)
	}
	return v
}

// bits are all weights, and slopes all gradients, as they lie.
func bits(m []*param) (b []byte) {
	for _, p := range m {
		for i := range p.w.Size() {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(at(p.w, i)))
		}
	}
	return b
}

func slopes(m []*param) (b []byte) {
	for _, p := range m {
		for i := range p.g.Size() {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(at(p.g, i)))
		}
	}
	return b
}

// alike requires the same bytes on every rank.
func alike(t *testing.T, g *distributed.Group, b []byte, say ...any) {
	t.Helper()
	parts, err := g.Gather(b)
	require.NoError(t, err)
	for r, p := range parts {
		require.True(t, bytes.Equal(b, p), "rank %d differs from rank %d %v", r, g.Rank(), say)
	}
}

// near requires weights equal to a tolerance.
func near(t *testing.T, want, got []*param, tolerance float64, say ...any) {
	t.Helper()
	for k, p := range want {
		for i := range p.w.Size() {
			if a, b := at(p.w, i), at(got[k].w, i); !(math.Abs(a-b) <= tolerance) {
				require.Failf(t, "not near", "%s: element %d: want %v, got %v %v", p.name, i, a, b, say)
			}
		}
	}
}

func zero(t *testing.T, m []*param) {
	t.Helper()
	for _, p := range m {
		for i := range p.g.Size() {
			require.Zero(t, at(p.g, i), p.name)
		}
	}
}

// maker makes solvers of one kind.
type maker struct {
	name string
	make func() gorgonia.Solver
}

func kernels(m manifolds.Manifold, opts ...manifolds.Option) solvers.Option {
	return solvers.Kernels(m, opts...)
}

// oneByOne makes the steps of stock solvers one at a time. They return tensors to a pool of package
// tensor, which blocks for ever if several goroutines fill its last place at once. Ranks are
// processes, and goroutines only here.
type oneByOne struct{ gorgonia.Solver }

var stock sync.Mutex

func (o oneByOne) Step(model []gorgonia.ValueGrad) error {
	stock.Lock()
	defer stock.Unlock()
	return o.Solver.Step(model)
}

func makers() []maker {
	rate := gorgonia.WithLearnRate(0.02)
	sgd := func(opts ...solvers.Option) func() gorgonia.Solver {
		return func() gorgonia.Solver { return solvers.NewSGD(append(opts, solvers.LearnRate(0.02))...) }
	}
	return []maker{
		{"SGD", sgd()},
		{"SGD momentum, sphere", sgd(solvers.Momentum(0.9), kernels(manifolds.Sphere{}))},
		{"SGD tangent momentum, Stiefel", sgd(solvers.Momentum(0.9), solvers.TangentMomentum(), kernels(manifolds.Stiefel{}))},
		{"SGD, clipped, oblique", sgd(solvers.Momentum(0.5), solvers.ClipNorm(1), solvers.ClipValue(0.5), kernels(manifolds.Oblique{}, manifolds.PerTap))},
		{"SGD, decay, geometric, Stiefel polar", sgd(solvers.EuclideanDecay(0.1), solvers.GeometricStep(true), kernels(manifolds.Stiefel{Retraction: manifolds.Polar}))},
		{"Adam, centred sphere", func() gorgonia.Solver {
			return solvers.NewAdam(solvers.LearnRate(0.02), solvers.AMSGrad(), kernels(manifolds.CentredSphere{}))
		}},
		{"AdamW", func() gorgonia.Solver { return solvers.NewAdamW() }},
		{"stock Momentum", func() gorgonia.Solver { return oneByOne{gorgonia.NewMomentum(rate, gorgonia.WithMomentum(0.9))} }},
		{"stock Adam", func() gorgonia.Solver { return oneByOne{gorgonia.NewAdamSolver(rate)} }},
		{"Constrain(Momentum), Stiefel", func() gorgonia.Solver {
			return solvers.Constrain(gorgonia.NewMomentum(rate), manifolds.Stiefel{})
		}},
		{"Constrain(Adam), sphere", func() gorgonia.Solver { return solvers.Constrain(gorgonia.NewAdamSolver(rate), manifolds.Sphere{}) }},
	}
}

// precisions are the two that everything runs in.
var precisions = []tensor.Dtype{tensor.Float32, tensor.Float64}

func eps(of tensor.Dtype) float64 {
	if of == tensor.Float32 {
		return 0x1p-23
	}
	return 0x1p-52
}
