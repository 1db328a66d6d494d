// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// param is a parameter without a graph: a ValueGrad, with a name, over two
// tensors of the test.
type param struct {
	name string
	w, g *tensor.Dense
}

var _ gorgonia.ValueGrad = (*param)(nil)

func (p *param) Value() gorgonia.Value         { return p.w }
func (p *param) Grad() (gorgonia.Value, error) { return p.g, nil }
func (p *param) Name() string                  { return p.name }

// precisions are the two that everything runs in.
var precisions = []tensor.Dtype{tensor.Float32, tensor.Float64}

// eps is the distance from 1 to the next larger number.
func eps(of tensor.Dtype) float64 {
	if of == tensor.Float32 {
		return 0x1p-23
	}
	return 0x1p-52
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6b66)) }

func newParam(name string, of tensor.Dtype, shape ...int) *param {
	return &param{
		name: name,
		w:    tensor.New(tensor.Of(of), tensor.WithShape(shape...)),
		g:    tensor.New(tensor.Of(of), tensor.WithShape(shape...)),
	}
}

// put writes values to t, rounded to its precision.
func put(t *tensor.Dense, values []float64) {
	if t.Dtype() == tensor.Float64 {
		copy(t.Float64s(), values)
		return
	}
	for i, v := range values {
		t.Float32s()[i] = float32(v)
	}
}

// get returns the values of t as float64.
func get(t *tensor.Dense) []float64 {
	if t.Dtype() == tensor.Float64 {
		return append([]float64(nil), t.Float64s()...)
	}
	out := make([]float64, len(t.Float32s()))
	for i, v := range t.Float32s() {
		out[i] = float64(v)
	}
	return out
}

// gaussian fills t with s times standard normal numbers.
func gaussian(t *tensor.Dense, rng *rand.Rand, s float64) {
	v := make([]float64, t.Size())
	for i := range v {
		v[i] = s * rng.NormFloat64()
	}
	put(t, v)
}

// model is a net's worth of parameters, kernels and others, with weights of
// a usual size. Cut per input channel, the kernels are square points.
func model(of tensor.Dtype, seed uint64) []*param {
	m := []*param{
		newParam("conv1", of, 6, 3, 2, 3),
		newParam("bias1", of, 1, 4, 1, 1),
		newParam("conv2", of, 6, 4, 2, 3),
		newParam("norm2", of, 1, 6, 1, 1),
		newParam("linear", of, 6, 5),
		newParam("offset", of, 5),
	}
	rng := source(seed)
	for _, p := range m {
		gaussian(p.w, rng, 0.3)
	}
	return m
}

// gradients gives every parameter a gradient that depends on seed and name only.
func gradients(m []*param, seed uint64) {
	for _, p := range m {
		s := seed
		for _, c := range p.name {
			s = 31*s + uint64(c)
		}
		gaussian(p.g, source(s), 1)
	}
}

func valueGrads[P gorgonia.ValueGrad](m []P) []gorgonia.ValueGrad {
	out := make([]gorgonia.ValueGrad, len(m))
	for i, p := range m {
		out[i] = p
	}
	return out
}

// weights copies all weights, to be compared to the bit.
func weights(m []*param) map[string][]float64 {
	out := map[string][]float64{}
	for _, p := range m {
		out[p.name] = get(p.w)
	}
	return out
}

// same requires weights equal to the bit.
func same(t *testing.T, want, got map[string][]float64, say ...any) {
	t.Helper()
	for name, w := range want {
		g := got[name]
		require.Len(t, g, len(w), name)
		for i := range w {
			if math.Float64bits(w[i]) != math.Float64bits(g[i]) {
				require.Failf(t, "not the same to the bit", "%s: element %d of %d: want %v, got %v, off by %g %v",
					name, i, len(w), w[i], g[i], g[i]-w[i], fmt.Sprint(say...))
			}
		}
	}
	require.Len(t, got, len(want))
}

// slopes copies all gradients.
func slopes(m []*param) map[string][]float64 {
	out := map[string][]float64{}
	for _, p := range m {
		out[p.name] = get(p.g)
	}
	return out
}

// stepper is what Solver and Constrained have in common.
type stepper interface {
	gorgonia.Solver
	Init([]gorgonia.ValueGrad) error
	Report() solvers.Report
}

// maker makes solvers of one kind.
type maker struct {
	name string
	// of makes one with the options Kernels, Param, Where and Tolerance.
	of func(opts ...solvers.Option) stepper
	// memoryless tells that the wrapped solver has no state of its own that a
	// failure after its step could spoil.
	memoryless bool
	// layers tells that how a point moves depends on the others of its layer.
	layers bool
	// plans tells that the rate is a distance over gradients: first steps are short, and the length of gradients makes no difference.
	plans bool
	// frobenius tells that it refuses manifolds with another inner product.
	frobenius bool
	// bare makes the wrapped solver without the wrapper; nil for a native one.
	bare func() gorgonia.Solver
}

// native are the solvers of this package, wrapped are stock ones in Constrain.
func native(lr float64) []maker {
	type options = []solvers.Option
	sgd := func(name string, own ...solvers.Option) maker {
		return maker{name: "SGD " + name, memoryless: true, of: func(opts ...solvers.Option) stepper {
			return solvers.NewSGD(append(append(options{solvers.LearnRate(lr)}, own...), opts...)...)
		}}
	}
	adam := func(name string, make func(...solvers.Option) *solvers.Solver, own ...solvers.Option) maker {
		return maker{name: name, memoryless: true, of: func(opts ...solvers.Option) stepper {
			return make(append(append(options{solvers.LearnRate(lr)}, own...), opts...)...)
		}}
	}
	muon := func(name string, own ...solvers.Option) maker {
		m := adam(name, solvers.NewMuon, own...)
		m.layers, m.frobenius = true, true
		return m
	}
	dog := func(name string, make func(...solvers.Option) *solvers.Solver, own ...solvers.Option) maker {
		m := adam(name, make, own...)
		m.layers, m.plans = len(own) == 0, true // a layer has one rate, unless each point has
		return m
	}
	return []maker{
		sgd("plain"),
		sgd("ambient momentum", solvers.Momentum(0.9), solvers.AmbientMomentum()),
		sgd("tangent momentum", solvers.Momentum(0.9)),
		sgd("Nesterov", solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Nesterov()),
		sgd("tangent Nesterov", solvers.Momentum(0.9), solvers.TangentMomentum(), solvers.Nesterov(), solvers.Dampening(0.1)),
		sgd("geometric step", solvers.Momentum(0.5), solvers.GeometricStep()),
		sgd("sampled geometric step", solvers.Momentum(0.5), solvers.AmbientMomentum(), solvers.SampledGeometricStep()),
		adam("Adam", solvers.NewAdam),
		adam("AMSGrad", solvers.NewAdam, solvers.AMSGrad()),
		adam("AdamW", solvers.NewAdamW),
		adam("Adagrad", solvers.NewAdagrad),
		adam("RMSProp", solvers.NewRMSProp, solvers.Momentum(0.9)),
		dog("RDoG", solvers.NewRDoG),
		dog("RDoWG", solvers.NewRDoWG, solvers.DistanceFor(solvers.EachPoint)),
		muon("Muon", solvers.RestBy(solvers.NewAdamW(solvers.LearnRate(min(lr, 1))))),
		muon("exact Muon", solvers.ExactPolar(), solvers.Rounds(2), solvers.Nesterov(false), solvers.RestBy(solvers.NewSGD(solvers.LearnRate(lr), solvers.Momentum(0.9)))),
	}
}

func wrapped(lr float64) []maker {
	stock := func(name string, memoryless bool, make func() gorgonia.Solver) maker {
		return maker{name: "Constrain(" + name + ")", memoryless: memoryless, bare: make, of: func(opts ...solvers.Option) stepper {
			return solvers.ConstrainWith(make(), opts...)
		}}
	}
	rate := gorgonia.WithLearnRate(lr)
	return []maker{
		stock("Vanilla", true, func() gorgonia.Solver { return gorgonia.NewVanillaSolver(rate) }),
		stock("Momentum", false, func() gorgonia.Solver { return gorgonia.NewMomentum(rate) }),
		stock("Adam", false, func() gorgonia.Solver { return gorgonia.NewAdamSolver(rate) }),
		stock("RMSProp", false, func() gorgonia.Solver { return gorgonia.NewRMSPropSolver(rate) }),
	}
}

func everySolver(lr float64) []maker { return append(native(lr), wrapped(lr)...) }

// place is a manifold with a grouping.
type place struct {
	name     string
	manifold manifolds.Manifold
	options  []manifolds.Option
}

func (p place) kernels() solvers.Option { return solvers.Kernels(p.manifold, p.options...) }

// places are the manifolds in the groupings that people use.
var places = []place{
	{"sphere", manifolds.Sphere{}, nil},
	{"sphere per slice", manifolds.Sphere{Geodesic: true}, []manifolds.Option{manifolds.PerSlice, manifolds.Unit}},
	{"centred sphere", manifolds.CentredSphere{}, nil},
	{"oblique", manifolds.Oblique{}, nil},
	{"oblique per tap", manifolds.Oblique{}, []manifolds.Option{manifolds.PerTap}},
	{"Stiefel bank", manifolds.Stiefel{}, nil},
	{"Stiefel per slice", manifolds.Stiefel{Retraction: manifolds.Polar}, []manifolds.Option{manifolds.PerSlice, manifolds.Initial}},
	{"Stiefel bank, transposed", manifolds.Stiefel{}, []manifolds.Option{manifolds.FilterBank.Transposed()}},
	{"Grassmann bank", manifolds.Grassmann{}, nil},
	{"orthogonal", manifolds.Orthogonal{}, []manifolds.Option{manifolds.PerInputChannel}},
	{"rotations", manifolds.SpecialOrthogonal{Retraction: manifolds.Polar}, []manifolds.Option{manifolds.PerInputChannel}},
	{"Stiefel canonical", manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, []manifolds.Option{manifolds.PerFilter}},
}

// everywhere are places, one whose points have no fixed norm, and one where the points of a layer lie on several manifolds.
var everywhere = append(slices.Clone(places),
	place{"spectral ball", manifolds.SpectralBall{Radius: 0.5}, nil},
	place{"ensemble", manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}), Seed: 3}, nil})

// beyond are those and one where the inner product is not that of the ambient space.
var beyond = append(slices.Clone(everywhere), place{"generalised Stiefel per tap", weightedFrames(6), []manifolds.Option{manifolds.PerTap}})

// beyond are the places where solvers of the kind work.
func (s maker) beyond() []place {
	if s.frobenius {
		return everywhere
	}
	return beyond
}

// weightedFrames is the generalised Stiefel manifold of a dense matrix of order n, such as the covariance of channels that depend on their neighbours.
func weightedFrames(n int) manifolds.Manifold {
	b := make([]float64, n*n)
	for i := range b {
		b[i] = math.Exp(-math.Abs(float64(i/n-i%n)) / 2)
	}
	m, err := manifolds.NewGeneralizedStiefel(n, b)
	if err != nil {
		panic(err)
	}
	return m
}

// onManifold requires every kernel to be on its manifold: the error of a point is
// a few roundings of its norm, which grow with the root of its size; 8 is room
// for the products of Stiefel.
func onManifold(t *testing.T, r solvers.Report, of tensor.Dtype) {
	t.Helper()
	for _, p := range r.Parameters {
		limit := 8 * math.Sqrt(float64(p.N*p.P)) * eps(of)
		for _, r := range []manifolds.StiefelRetraction{manifolds.OneStep, manifolds.IterativeCayley, manifolds.Landing} {
			if strings.Contains(p.Manifold, r.String()) { // a retraction that drifts: thirty times the tolerance
				limit = 3e-4
				if of == tensor.Float64 {
					limit = 3e-10
				}
			}
		}
		require.LessOrEqual(t, p.Membership, limit, "%s on %s", p.Name, p.Manifold)
	}
}

// sameReport requires equal reports, but for the number of steps that failed.
func sameReport(t *testing.T, want, got solvers.Report) {
	t.Helper()
	got.Refused = want.Refused
	require.Equal(t, want, got)
}

// run makes a step with the gradients of the seed.
func run(t *testing.T, s gorgonia.Solver, m []*param, seed uint64) {
	t.Helper()
	gradients(m, seed)
	require.NoError(t, s.Step(valueGrads(m)))
}
