// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Muon, against NumPy, and against what its directions are by theory.

// Runs of 100 steps end where those of testdata/muon.py end. In float32 a single step is compared: the iteration for the
// sign is not a contraction, and rounding errors grow by it from step to step.
func TestMuonAgainstNumPy(t *testing.T) {
	text, err := os.ReadFile("testdata/muon.json")
	require.NoError(t, err)
	var cases []struct {
		Manifold           string
		Shape              []int
		Start, First, Last []float64
		Nesterov           *bool
		Exact              bool
		Rounds             int
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	on := map[string]solvers.Option{
		"Euclidean": solvers.EuclideanDecay(0.1),
		"Sphere":    solvers.Param("w", manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit),
		"Stiefel":   solvers.Param("w", manifolds.Stiefel{}, manifolds.Unit),
	}
	for _, of := range precisions {
		for _, c := range cases {
			t.Run(fmt.Sprint(of, c.Manifold, c.Shape, c.Exact), func(t *testing.T) {
				options := []solvers.Option{on[c.Manifold], solvers.ExactPolar(c.Exact)}
				if c.Nesterov != nil {
					options = append(options, solvers.Nesterov(*c.Nesterov))
				}
				if c.Rounds > 0 {
					options = append(options, solvers.Rounds(c.Rounds))
				}
				s := solvers.NewMuon(options...)
				p := newParam("w", of, c.Shape...)
				put(p.w, c.Start)
				for step := range 100 {
					x, g := get(p.w), make([]float64, len(c.Start))
					for i := range g {
						g[i] = math.Sin(0.7*float64(i)+0.3*float64(step)) + 0.1*float64(1+i%3)*x[i]
					}
					put(p.g, g)
					require.NoError(t, s.Step(valueGrads([]*param{p})))
					if step == 0 {
						assert.InDeltaSlice(t, c.First, get(p.w), 64*eps(of))
					}
				}
				if of == tensor.Float64 {
					assert.InDeltaSlice(t, c.Last, get(p.w), 1e-11)
				}
			})
		}
	}
}

// recorded is a manifold that keeps the steps it is asked to make.
type recorded struct {
	manifolds.Manifold
	steps *[]float64
}

func (r recorded) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	m, g := r.Manifold.(manifolds.Grouper).For(g)
	return recorded{m, r.steps}, g
}

func (r recorded) Retract(dst, x, v manifolds.Points) error {
	*r.steps = values(v)
	return r.Manifold.Retract(dst, x, v)
}

// stepOf returns the step of the first move of a bank of n filters of p weights on m with the gradient g, at the rate 1,
// with the point where it begins.
func stepOf(t *testing.T, m manifolds.Manifold, n, p int, g []float64, own ...solvers.Option) (x, step *mat.Dense) {
	t.Helper()
	var recording []float64
	w := newParam("w", tensor.Float64, n, p, 1, 1)
	gaussian(w.w, source(uint64(n*p)), 1)
	s := solvers.NewMuon(append(own, solvers.LearnRate(1), solvers.Momentum(0), solvers.Param("w", recorded{m, &recording}, manifolds.FilterBank, manifolds.Unit))...)
	require.NoError(t, s.Init(valueGrads([]*param{w})))
	x = mat.NewDense(n, p, get(w.w))
	put(w.g, g)
	require.NoError(t, s.Step(valueGrads([]*param{w})))
	return x, mat.NewDense(n, p, recording)
}

// random returns the elements of a Gaussian matrix.
func random(seed uint64, n int) []float64 {
	t := tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(n))
	gaussian(t, source(seed), 1)
	return get(t)
}

// signOf is U W^T of the singular value decomposition, without singular values of rounding errors, whose sum is also returned.
func signOf(m mat.Matrix) (sign *mat.Dense, nuclear float64) {
	var d mat.SVD
	d.Factorize(m, mat.SVDThin)
	var u, w mat.Dense
	d.UTo(&u)
	d.VTo(&w)
	values := d.Values(nil)
	for j, s := range values {
		nuclear += s
		if s < 1e-12*values[0] {
			for i := range u.RawMatrix().Rows {
				u.Set(i, j, 0)
			}
		}
	}
	sign = &mat.Dense{}
	sign.Mul(&u, w.T())
	return sign, nuclear
}

// onTangent is the projection of g to the tangent space of St(n, p) at x.
func onTangent(x, g mat.Matrix) *mat.Dense {
	if n, p := x.Dims(); n < p {
		return mat.DenseCopyOf(onTangent(x.T(), g.T()).T())
	}
	var s, sym, v mat.Dense
	s.Mul(x.T(), g)
	sym.Add(&s, s.T())
	v.Mul(x, &sym)
	v.Scale(-0.5, &v)
	v.Add(g, &v)
	return &v
}

func product(a, b *mat.Dense) (sum float64) {
	r, c := a.Dims()
	for i := range r {
		for j := range c {
			sum += a.At(i, j) * b.At(i, j)
		}
	}
	return sum
}

// A step on Stiefel is along -P(msign(P g)), of which the product with the gradient is the nuclear norm of P g, and its spectral norm
// is the learning rate, or less by a factor of at most q^(1/32).
func TestMuonDirectionOnStiefel(t *testing.T) {
	for _, m := range []manifolds.Manifold{manifolds.Stiefel{}, manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Geodesic}} {
		for _, size := range [][2]int{{3, 2}, {2, 3}, {9, 4}, {4, 9}, {40, 12}, {36, 36}} {
			n, p := size[0], size[1]
			x, step := stepOf(t, m, n, p, random(7, n*p), solvers.ExactPolar())
			grad := onTangent(x, mat.NewDense(n, p, random(7, n*p)))
			sign, nuclear := signOf(grad)
			v := onTangent(x, sign)
			assert.InEpsilon(t, nuclear, product(grad, v), 1e-13)
			assert.InEpsilon(t, -1, product(step, v)/mat.Norm(step, 2)/mat.Norm(v, 2), 1e-13, "%dx%d", n, p)
			assert.LessOrEqual(t, spectral(step), 1+1e-13)
			assert.GreaterOrEqual(t, spectral(step), math.Pow(float64(min(n, p)), -1./32))
		}
	}
}

// On square orthogonal matrices the step is x msign(skew(x^T g)), also where skew matrices have no full rank.
func TestMuonOnSquareMatrices(t *testing.T) {
	for _, m := range []manifolds.Manifold{manifolds.Stiefel{}, manifolds.Orthogonal{}, manifolds.SpecialOrthogonal{}} {
		for n := 2; n < 8; n++ {
			x, step := stepOf(t, m, n, n, random(7, n*n), solvers.ExactPolar())
			var s, skew, want mat.Dense
			s.Mul(x.T(), mat.NewDense(n, n, random(7, n*n)))
			skew.Sub(&s, s.T())
			sign, _ := signOf(&skew)
			want.Mul(x, sign)
			want.Scale(-1, &want)
			if n%2 == 1 { // the bound of the spectral norm is not 1 where singular values are 0
				want.Scale(product(step, &want)/product(&want, &want), &want)
			}
			assert.InDeltaSlice(t, want.RawMatrix().Data, step.RawMatrix().Data, 1e-13, "%s, %d", manifolds.Name(m), n)
		}
	}
}

// Against the steepest of thousands of tangent directions of spectral norm 1, drawn at random: one round is nearly as steep,
// and more rounds are never less steep.
func TestMuonIsSteepest(t *testing.T) {
	for _, c := range []struct {
		n, p      int
		one, many float64
	}{{3, 2, 0.8, 0.9}, {4, 3, 0.9, 0.99}} {
		for seed := range uint64(6) {
			g := mat.NewDense(c.n, c.p, random(50+seed, c.n*c.p))
			steepest, last := 0.0, 0.0
			for _, rounds := range []int{1, 2, 5, 20} {
				x, step := stepOf(t, manifolds.Stiefel{}, c.n, c.p, g.RawMatrix().Data, solvers.ExactPolar(), solvers.Rounds(rounds))
				if rounds == 1 {
					for trial := range uint64(3000) {
						a := onTangent(x, mat.NewDense(c.n, c.p, random(1000+trial, c.n*c.p)))
						steepest = max(steepest, product(g, a)/spectral(a))
					}
				}
				slope := -product(g, step)
				assert.GreaterOrEqual(t, slope, last)
				last = slope
				if share := slope / spectral(step) / steepest; rounds == 1 {
					assert.Greater(t, share, c.one, "%dx%d", c.n, c.p)
				} else if rounds == 20 {
					assert.Greater(t, share, c.many, "%dx%d", c.n, c.p)
				}
			}
		}
	}
}

// spectral is the largest singular value.
func spectral(a mat.Matrix) float64 {
	var d mat.SVD
	d.Factorize(a, mat.SVDNone)
	return d.Values(nil)[0]
}

// The frame nearest to a matrix is its polar factor.
func TestMuonSolvesProcrustes(t *testing.T) {
	const n, p, steps = 12, 5, 300
	for _, of := range precisions {
		for _, own := range [][]solvers.Option{nil, {solvers.ExactPolar(), solvers.Nesterov(false)}} {
			target := random(5, n*p)
			want, _ := signOf(mat.NewDense(p, n, target))
			w := newParam("w", of, p, n, 1, 1)
			gaussian(w.w, source(6), 1)
			s := solvers.NewMuon(append(own, solvers.LearnRate(0.2), solvers.Momentum(0.5), solvers.Anneal(solvers.Cosine(steps, 1e-4)),
				solvers.Kernels(manifolds.Stiefel{}, manifolds.Unit))...)
			for range steps {
				g := make([]float64, n*p)
				for i, v := range target {
					g[i] = -v
				}
				put(w.g, g)
				require.NoError(t, s.Step(valueGrads([]*param{w})))
			}
			assert.InDeltaSlice(t, want.RawMatrix().Data, get(w.w), 1e-3)
		}
	}
}

// Biases and other parameters that are no matrices move as under AdamW, or under the solver of RestBy, to the bit, and so
// do those that With puts among them.
func TestMuonAndTheRest(t *testing.T) {
	kernels := solvers.Kernels(manifolds.Stiefel{})
	gain := solvers.Param("norm2", manifolds.Sphere{}, manifolds.FilterBank)
	for _, of := range precisions {
		for _, c := range []struct {
			name string
			own  []solvers.Option
			rest *solvers.Solver
			twin *solvers.Solver
		}{
			{"AdamW", nil, solvers.NewAdamW(), solvers.NewAdamW(gain)},
			{"AdamW clipped", []solvers.Option{solvers.ClipValue(0.5)}, solvers.NewAdamW(solvers.Betas(0.5, 0.9), solvers.LearnRate(0.1)),
				solvers.NewAdamW(gain, solvers.Betas(0.5, 0.9), solvers.LearnRate(0.1), solvers.ClipValue(0.5))},
			{"SGD", nil, solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.WeightDecay(0)),
				solvers.NewSGD(gain, solvers.LearnRate(0.1), solvers.Momentum(0.9))},
		} {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				m, twin := model(of, 1), model(of, 1)
				s := solvers.NewMuon(append(c.own, kernels, gain, solvers.RestBy(c.rest), solvers.Param("linear", nil).With(solvers.Rest()))...)
				for step := range uint64(5) {
					if step == 3 { // both rates are scaled
						require.NoError(t, s.SetLearnRate(0.01))
						require.NoError(t, c.twin.SetLearnRate(c.twin.Report().LearnRate/2))
					}
					run(t, s, m, step)
					run(t, c.twin, twin, step)
				}
				for i, p := range m {
					rule := "Muon"
					if p.name != "conv1" && p.name != "conv2" {
						rule = c.rest.String()
						assert.Equal(t, get(twin[i].w), get(p.w), p.name)
					}
					assert.Equal(t, rule, s.Report().Parameters[i].Rule, p.name)
				}
				assert.Contains(t, s.Report().String(), "moved by "+c.rest.String())
				assert.NotContains(t, s.Report().String(), "moved by Muon")
			})
		}
	}
}

// The gradient's length makes no difference, from 1e-30 to 1e30, and a gradient of 0 none to the weights.
func TestMuonDoesNotSeeTheLengthOfGradients(t *testing.T) {
	for _, of := range precisions {
		for _, at := range places {
			for _, exact := range []bool{false, true} {
				end := func(scale float64) []*param {
					m := model(of, 1)
					m = []*param{m[0], m[2], m[4]}
					s := solvers.NewMuon(at.kernels(), solvers.ExactPolar(exact))
					for step := range uint64(3) {
						gradients(m, step)
						for _, p := range m {
							g := get(p.g)
							for i := range g {
								g[i] *= scale
							}
							put(p.g, g)
						}
						require.NoError(t, s.Step(valueGrads(m)))
					}
					return m
				}
				want := end(1)
				for _, scale := range []float64{0x1p-110, 0x1p-40, 0x1p40, 0x1p110} {
					got := end(scale)
					for i, p := range want {
						assert.InDeltaSlice(t, get(p.w), get(got[i].w), 4096*eps(of), "%s, %s times %g", p.name, at.name, scale)
					}
				}
				assert.Equal(t, get(model(of, 1)[4].w), get(end(0)[2].w))
			}
		}
	}
}

func TestMuonRefuses(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, c := range []struct {
		name  string
		opts  []solvers.Option
		wants []string
	}{
		{"rounds", []solvers.Option{solvers.Rounds(0)}, []string{"Rounds: want a positive number, got 0"}},
		{"momentum", []solvers.Option{solvers.Momentum(1)}, []string{"Momentum: want a number in [0, 1), got 1"}},
		{"option of another rule", []solvers.Option{solvers.Betas(0.9, 0.9)}, []string{"Muon has no option Betas"}},
		{"a vector by name", []solvers.Option{solvers.Param("bias1", nil).With(solvers.Rounds(2))},
			[]string{`"bias1"`, "it is moved by AdamW, not by Muon", "AdamW has no option Rounds"}},
		{"the rest by name", []solvers.Option{solvers.Param("conv1", nil).With(solvers.Betas(0.9, 0.9))}, []string{`"conv1"`, "Muon has no option Betas"}},
		{"Muon's options of the rest", []solvers.Option{solvers.Param("linear", nil).With(solvers.Momentum(0.9), solvers.Rest())}, []string{"AdamW has no option Momentum"}},
		{"Rest for all", []solvers.Option{solvers.Rest()}, []string{"Rest: want it in With"}},
		{"no solver", []solvers.Option{solvers.RestBy(nil)}, []string{"Muon: want a solver for the rest, got nil"}},
		{"a bad solver", []solvers.Option{solvers.RestBy(solvers.NewAdam(solvers.Eps(0)))}, []string{"Eps: want a positive number, got 0"}},
		{"Muon for the rest", []solvers.Option{solvers.RestBy(solvers.NewMuon())}, []string{"moves every parameter by itself", "got Muon"}},
		{"a planner for the rest", []solvers.Option{solvers.RestBy(solvers.New(newDistance()))}, []string{"moves every parameter by itself", "got DoG"}},
		{"a schedule of the rest", []solvers.Option{solvers.RestBy(solvers.NewAdam(solvers.Anneal(solvers.Cosine(9, 0))))}, []string{"want the options Anneal, ClipNorm"}},
		{"kernels of the rest", []solvers.Option{solvers.RestBy(solvers.NewAdam(solvers.Kernels(manifolds.Sphere{})))}, []string{"want the options Anneal, ClipNorm"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, func() stepper { return solvers.NewMuon(c.opts...) }, m, solvers.ErrOption, c.wants...)
		})
	}
	refuses(t, func() stepper { return solvers.NewSGD(solvers.Param("bias1", nil).With(solvers.Rest())) }, m, solvers.ErrOption, "SGD has no option Rest")
	refuses(t, func() stepper { return solvers.NewMuon(solvers.WeightDecay(0.1), solvers.Kernels(manifolds.Sphere{})) }, m,
		solvers.ErrConstraint, `"conv1"`, "WeightDecay(0.1)")
}

// Snapshots know who moves what.
func TestMuonSnapshot(t *testing.T) {
	make := func(by *solvers.Solver) *solvers.Solver {
		return solvers.NewMuon(solvers.Kernels(manifolds.Sphere{}), solvers.RestBy(by), solvers.Param("linear", nil).With(solvers.Rest()))
	}
	m := model(tensor.Float64, 1)
	s := make(solvers.NewAdamW())
	run(t, s, m, 1)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	err = make(solvers.NewSGD()).Restore(valueGrads(copied(m, tensor.Float64)), snap)
	require.ErrorContains(t, err, `want 0 blocks of state, got "first moment"`)
	again, twin := make(solvers.NewAdamW()), copied(m, tensor.Float64)
	require.NoError(t, again.Restore(valueGrads(twin), snap))
	run(t, s, m, 2)
	run(t, again, twin, 2)
	same(t, weights(m), weights(twin))
	assert.Equal(t, s.Report(), again.Report())
}
