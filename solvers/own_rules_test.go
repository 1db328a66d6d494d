// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Rules of a program's own use what the rules of this package use.

// distance is a rule whose rate is the longest way from the start so far over the root of the sum of all squared
// gradients, of all parameters together (DoG; Ivgi, Hinder, Carmon, ICML 2023).
type distance struct {
	share float64
	*track
}

// track is what it remembers: once for all parts, and written for good only when a step was made.
type track struct {
	start         map[*solvers.Part][]float64
	steps         int // made
	longest, sum  float64
	nextLongest   float64
	nextSum       float64
	plans         int
	names         []string
	rates         []float64
	fail, failAim error
}

func newDistance() distance {
	return distance{1, &track{start: map[*solvers.Part][]float64{}}}
}

func (distance) Name() string           { return "DoG" }
func (distance) State() []solvers.State { return nil }

func (d distance) Plan(parts []*solvers.Part) error {
	t := d.track
	t.plans++
	if parts[0].Step > t.steps+1 { // the step planned last was made
		t.steps, t.longest, t.sum = parts[0].Step-1, t.nextLongest, t.nextSum
	}
	way, gradient := 0.0, 0.0
	t.names = nil
	for _, p := range parts {
		name, shape := p.Parameter()
		t.names = append(t.names, fmt.Sprint(name, shape))
		x := values(p.X)
		if p.Step == 1 {
			t.start[p] = x
		}
		v := plus(1, x, -1, t.start[p])
		way += dot(v, v)
		g := p.Gradient.Like()
		if err := p.Riemannian(g, p.Gradient); err != nil {
			return err
		}
		n := g.Norm()
		gradient += n * n
	}
	t.nextLongest, t.nextSum = max(t.longest, math.Sqrt(way), 1e-2), t.sum+gradient
	t.rates = nil
	for _, p := range parts {
		p.Rate = d.share * t.nextLongest / math.Sqrt(t.nextSum)
		t.rates = append(t.rates, p.Rate)
	}
	return t.fail
}

func (d distance) Direction(p *solvers.Part) error {
	if name, _ := p.Parameter(); d.failAim != nil && name == "offset" {
		return d.failAim
	}
	return p.Riemannian(p.Direction, p.Gradient)
}

// DistanceShare is an option of distance.
func DistanceShare(share float64) solvers.Option {
	return solvers.Tune("DistanceShare", func(r solvers.Rule) (solvers.Rule, bool) {
		d, ok := r.(distance)
		d.share = share
		return d, ok
	})
}

// values copies the numbers of a batch.
func values(x manifolds.Points) []float64 {
	if x.Data64() != nil {
		return append([]float64(nil), x.Data64()...)
	}
	var out []float64
	for _, v := range x.Data32() {
		out = append(out, float64(v))
	}
	return out
}

// A rule that plans sees all parts together, once in a step, and what it remembers is not that of steps that failed.
func TestPlanner(t *testing.T) {
	boom := errors.New("boom")
	for _, of := range precisions {
		t.Run(of.String(), func(t *testing.T) {
			make := func() (distance, *solvers.Solver) {
				d := newDistance()
				return d, solvers.New(d, solvers.Kernels(manifolds.Sphere{}), solvers.Param("bias1", nil).With(solvers.Frozen()))
			}
			d, s := make()
			e, reference := make()
			m, twin := model(of, 1), model(of, 1)
			for step := range uint64(8) {
				if step == 3 || step == 5 { // it fails, in Plan or after it
					gradients(m, 90)
					w, g := weights(m), slopes(m)
					if step == 3 {
						d.fail = boom
					} else {
						d.failAim = boom
					}
					require.ErrorIs(t, s.Step(valueGrads(m)), boom)
					d.fail, d.failAim = nil, nil
					same(t, w, weights(m))
					same(t, g, slopes(m))
				}
				run(t, s, m, step)
				run(t, reference, twin, step)
				same(t, weights(twin), weights(m), "step ", step)
				assert.Equal(t, e.rates, d.rates)
				for _, r := range d.rates {
					assert.Equal(t, d.rates[0], r)
				}
			}
			assert.Equal(t, 8, e.plans)
			assert.Equal(t, 10, d.plans)
			assert.Equal(t, []string{"conv1(6, 3, 2, 3)", "conv2(6, 4, 2, 3)", "norm2(1, 6, 1, 1)", "linear(6, 5)", "offset(5)"}, d.names)
			sameReport(t, reference.Report(), s.Report())
			onManifold(t, s.Report(), of)
		})
	}
}

// It converges, with no rate to choose, on a quadratic cost of two layers together.
func TestDistanceAdaptiveRate(t *testing.T) {
	m := []*param{newParam("a", tensor.Float64, 4), newParam("b", tensor.Float64, 1, 1, 2, 3)}
	rng := source(1)
	gaussian(m[0].w, rng, 1)
	gaussian(m[1].w, rng, 1)
	s := solvers.New(newDistance(), solvers.Param("b", manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit))
	cost := 0.0
	for range 2000 {
		cost = 0
		for _, p := range m {
			x, g := p.w.Float64s(), p.g.Float64s()
			for i, v := range x {
				g[i] = float64(i+1) * v / 2
				cost += g[i] * v / 2
			}
		}
		require.NoError(t, s.Step(valueGrads(m)))
	}
	assert.InDelta(t, 0.25, cost, 1e-6) // a is 0 and b the first unit vector
}

// An option that is made by Tune reaches the rule of all parameters, or of some, and leaves the rule it was given as it is.
func TestTune(t *testing.T) {
	m := model(tensor.Float64, 1)
	base := newDistance()
	d := base
	s := solvers.New(base, solvers.Kernels(manifolds.Sphere{}), DistanceShare(0.5))
	run(t, s, m, 1)
	twin := model(tensor.Float64, 1)
	run(t, solvers.New(newDistance(), solvers.Kernels(manifolds.Sphere{})), twin, 1)
	assert.Equal(t, 1.0, d.share)
	start := model(tensor.Float64, 1)
	for i, v := range get(m[4].w) { // half the way
		assert.InDelta(t, (get(start[4].w)[i]+get(twin[4].w)[i])/2, v, 1e-15)
	}
	refuses(t, func() stepper { return solvers.NewAdam(DistanceShare(1)) }, m, solvers.ErrOption, "Adam has no option DistanceShare")
	refuses(t, func() stepper { return solvers.New(newDistance(), solvers.Tune("X", nil)) }, m, solvers.ErrOption, "X: want a function, got nil")
	refuses(t, func() stepper {
		return solvers.New(newDistance(), solvers.Tune("X", func(solvers.Rule) (solvers.Rule, bool) { return nil, true }))
	}, m, solvers.ErrOption, "X")
}

// whole normalises the gradient of a layer as one matrix, also where nothing is constrained.
type whole struct{ seen map[string][3]int }

func (whole) Name() string           { return "whole" }
func (whole) State() []solvers.State { return []solvers.State{{Name: "norm", Kind: solvers.PerPoint}} }

func (whole) Cut(shape tensor.Shape) manifolds.Grouping {
	if len(shape) < 2 {
		return manifolds.PerWeight
	}
	return manifolds.FilterBank
}

func (r whole) Direction(p *solvers.Part) error {
	name, _ := p.Parameter()
	r.seen[name] = [3]int{p.X.K, p.X.N, p.X.P}
	for k := range p.X.K {
		n := 0.0
		for i := range p.X.N {
			for j := range p.X.P {
				n = math.Hypot(n, p.Gradient.At(k, i, j))
			}
		}
		p.New[0].Set(k, 0, 0, n)
		for i := range p.X.N {
			for j := range p.X.P {
				p.Direction.Set(k, i, j, p.Gradient.At(k, i, j)/n)
			}
		}
	}
	return nil
}

// A rule may ask for the whole bank of an unconstrained parameter as one matrix. Constraints, Euclidean{} with a
// grouping among them, come before it.
func TestCutting(t *testing.T) {
	for _, of := range precisions {
		m, start := model(of, 1), model(of, 1)
		rule := whole{map[string][3]int{}}
		s := solvers.New(rule, solvers.LearnRate(0.5), solvers.Param("conv2", manifolds.Euclidean{}, manifolds.PerFilter))
		run(t, s, m, 1)
		assert.Equal(t, map[string][3]int{"conv1": {1, 6, 18}, "bias1": {1, 1, 4}, "conv2": {6, 4, 6}, "norm2": {1, 1, 6}, "linear": {1, 5, 6}, "offset": {5, 1, 1}}, rule.seen)
		for i, p := range m {
			v := plus(1, get(p.w), -1, get(start[i].w))
			want := 0.5 * math.Sqrt(map[string]float64{"conv2": 6, "offset": 5}[p.name]+float64(btoi(p.name != "conv2" && p.name != "offset")))
			assert.InEpsilon(t, want, math.Sqrt(dot(v, v)), 64*eps(of), p.name)
		}
		snap, err := s.Snapshot()
		require.NoError(t, err)
		assert.Equal(t, []int{1, 1, 1}, snap.Parameters[4].State[0].Shape)
		again := solvers.New(rule, solvers.LearnRate(0.5), solvers.Param("conv2", manifolds.Euclidean{}, manifolds.PerFilter))
		twin := copied(m, of)
		require.NoError(t, again.Restore(valueGrads(twin), snap))
		run(t, s, m, 2)
		run(t, again, twin, 2)
		same(t, weights(m), weights(twin))
	}
}

// signs moves every weight by the rate against the sign of its gradient, in place where it can.
type signs struct{ advanced *int }

func (signs) Name() string           { return "signs" }
func (signs) State() []solvers.State { return nil }

func (signs) Direction(p *solvers.Part) error {
	for k := range p.X.K {
		p.Direction.Set(k, 0, 0, sign(p.Gradient.At(k, 0, 0)))
	}
	return nil
}

func (signs) Fits(p *solvers.Part, slope float64) bool { return p.Unconstrained() }

func (r signs) Advance(p *solvers.Part, g manifolds.Points, slope float64) (manifolds.Progress, error) {
	*r.advanced++
	squares := 0.0
	for k := range p.X.K {
		d := sign(g.At(k, 0, 0) * slope)
		p.X.Set(k, 0, 0, p.X.At(k, 0, 0)*(1-p.Rate*p.Decay)-p.Rate*d)
		g.Set(k, 0, 0, 0)
		squares += d * d
	}
	return manifolds.Progress{Direction: squares, Length: p.Rate * p.Rate * squares, Factor: 1}, nil
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

// A rule's own way to make a step in place is taken where it fits, and agrees with the general one.
func TestInPlaceRule(t *testing.T) {
	for _, of := range precisions {
		var m [2][]*param
		var reports [2]solvers.Report
		for i, more := range [][]solvers.Option{nil, {solvers.ClipValue(1e30)}} {
			advanced := 0
			m[i] = model(of, 1)
			s := solvers.New(signs{&advanced}, append(more, solvers.LearnRate(0.125), solvers.WeightDecay(0.5), solvers.ClipNorm(3))...)
			for step := range uint64(5) {
				run(t, s, m[i], step)
				for _, p := range m[i] {
					assert.Equal(t, make([]float64, p.g.Size()), get(p.g))
				}
			}
			assert.Equal(t, 5*len(m[i])*(1-i), advanced)
			reports[i] = s.Report()
		}
		for i, p := range m[0] {
			near(t, get(p.w), get(m[1][i].w), 5, of, p.name)
			assert.Equal(t, reports[0].Parameters[i].Direction, reports[1].Parameters[i].Direction)
			assert.InEpsilon(t, reports[0].Parameters[i].StepLength, reports[1].Parameters[i].StepLength, 1e-14)
		}
	}
}

// toilsome is a rule whose work is more than the manifold's.
type toilsome struct{ normalised }

func (toilsome) Name() string { return "toilsome" }

func (toilsome) Cost(_ manifolds.Manifold, l manifolds.Layout) int { return 100 * l.N }

// The cost of a rule counts when work is divided: with it parameters are heavy that are not by their manifold.
func TestCostlyRule(t *testing.T) {
	shared := func(r solvers.Rule) (n int) {
		m := model(tensor.Float64, 1)
		gradients(m, 1)
		require.NoError(t, solvers.New(r).StepShare(valueGrads(m), solvers.Share{Size: 2, Heavy: 50, Agree: func(err error, _ uint64) error { return err },
			Exchange: func(own []byte, sizes []int) ([][]byte, error) {
				n++
				return silence(own, sizes)
			}}))
		return n
	}
	assert.Equal(t, 0, shared(normalised{}))
	assert.Equal(t, 1, shared(toilsome{}))
}

// flatMinded is a rule that does not move points in a metric other than that of the ambient space.
type flatMinded struct{ normalised }

func (flatMinded) Admits(m manifolds.Manifold) error {
	if _, other := m.(manifolds.Metric); other {
		return fmt.Errorf("want the metric of the ambient space, got %s", manifolds.Name(m))
	}
	return nil
}

// A rule may refuse manifolds. It is not asked about parameters that it does not move.
func TestRestrictedRule(t *testing.T) {
	for _, of := range precisions {
		refuses(t, func() stepper { return solvers.New(flatMinded{}, solvers.Kernels(manifolds.Stiefel{})) }, model(of, 1),
			solvers.ErrConstraint, `"conv1"`, "want the metric of the ambient space, got Stiefel")
		run(t, solvers.New(flatMinded{}, solvers.Kernels(manifolds.Sphere{})), model(of, 1), 1)
		run(t, solvers.New(flatMinded{}, solvers.Kernels(manifolds.Stiefel{}).With(solvers.Frozen())), model(of, 1), 1)
	}
}

// Rules of one's own have names, and take no snapshots of each other.
func TestSnapshotsOfOtherRules(t *testing.T) {
	m := model(tensor.Float64, 1)
	a := solvers.New(normalised{}, solvers.Kernels(manifolds.Sphere{}))
	run(t, a, m, 1)
	assert.Equal(t, "normalised SGD", a.String())
	snap, err := a.Snapshot()
	require.NoError(t, err)
	b := solvers.New(toilsome{}, solvers.Kernels(manifolds.Sphere{}))
	err = b.Restore(valueGrads(copied(m, tensor.Float64)), snap)
	require.ErrorContains(t, err, "want the snapshot of toilsome, got that of normalised SGD")
	require.NoError(t, solvers.New(normalised{}, solvers.Kernels(manifolds.Sphere{})).Restore(valueGrads(copied(m, tensor.Float64)), snap))
	var _ gorgonia.Solver = b
}

// squares is an Adaptive rule without momentum: s <- s + |grad|^2, v = grad / sqrt(s) (Duchi, Hazan, Singer, JMLR 2011).
type squares struct{}

func (squares) Name() string { return "squares" }
func (squares) State() []solvers.State {
	return []solvers.State{{Name: "sum of squares", Kind: solvers.PerPoint}}
}
func (r squares) Direction(p *solvers.Part) error { return p.Adapt(r) }
func (squares) Descent(*solvers.Part) manifolds.Descent {
	return manifolds.Descent{Slope: 1, Tangent: true}
}
func (squares) LongestDirection(p *solvers.Part) float64 {
	return math.Sqrt(float64(p.X.K))
}
func (squares) Factors(p *solvers.Part, f []float64, old, next []manifolds.Points) {
	for k, sq := range f {
		s := old[0].At(k, 0, 0) + sq
		next[0].Set(k, 0, 0, s)
		f[k] = 0
		if s > 0 {
			f[k] = 1 / math.Sqrt(s)
		}
	}
}

// An Adaptive rule without momentum moves in place as it does in buffers.
func TestAdaptiveWithoutMomentum(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			t.Run(of.String()+"/"+at.name, func(t *testing.T) {
				make := func(more ...solvers.Option) *solvers.Solver {
					return solvers.New(squares{}, append(more, solvers.LearnRate(0.05), at.kernels())...)
				}
				direct, buffers := make(), make(solvers.ClipValue(1e30)) // nothing is clipped
				m, twin := model(of, 1), model(of, 1)
				for step := range uint64(6) {
					for _, each := range []struct {
						s *solvers.Solver
						m []*param
					}{{direct, m}, {buffers, twin}} {
						gradients(each.m, step)
						if step == 3 { // the squares of these gradients ask for buffers
							for _, p := range each.m {
								put(p.g, plus(1e14, get(p.g), 0, get(p.g)))
							}
						}
						require.NoError(t, each.s.Step(valueGrads(each.m)))
					}
				}
				for i, p := range m {
					near(t, get(twin[i].w), get(p.w), 6, of, p.name)
				}
				onManifold(t, direct.Report(), of)
			})
		}
	}
}
