// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// methods are those of Minimize.
var methods = []struct {
	name string
	of   solvers.Option
}{
	{"gradient descent", solvers.GradientDescent()},
	{"conjugate gradient", solvers.ConjugateGradient()},
	{"L-BFGS", solvers.LBFGS(10)},
}

// minimize runs Minimize on parameters without a graph.
func minimize(m []*param, cost func() (float64, error), opts ...solvers.Option) (solvers.Result, error) {
	return solvers.Minimize(context.Background(), valueGrads(m), cost, opts...)
}

// constrained requires the kernels of the parameters to lie on the manifold.
func constrained(t *testing.T, m []*param, of tensor.Dtype, opts ...solvers.Option) {
	t.Helper()
	s := solvers.NewSGD(opts...)
	require.NoError(t, s.Init(valueGrads(m)))
	for _, p := range s.Report().Parameters {
		require.False(t, p.Projected, p.Name)
	}
	onManifold(t, s.Report(), of)
}

// Every method reaches the solutions that are known: PCA on spheres and Grassmann, Brockett's and Procrustes' problem on
// Stiefel, Kabsch's on rotations. In float64 the gradient is less than 1e-9, and the curvature is 0.1 at least; in float32 the
// cost is as good as its rounding lets it be. No step of gradient descent is longer than the injectivity radius: longer ones lead with
// Cayley transforms to and fro between points that are nearly opposite.
func TestMinimizeKnownSolutions(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for long under the race detector")
	}
	t.Parallel()
	for _, of := range precisions {
		for _, a := range arenas() {
			if a.name == "nearest" {
				continue // on a body with a boundary
			}
			for _, m := range methods {
				t.Run(fmt.Sprintf("%v/%s/%s/%s", of, a.name, a.at.name, m.name), func(t *testing.T) {
					at := a.stage(t, of)
					cost := func() (float64, error) { return at.slope(t), nil }
					longest := manifolds.PropertiesOf(a.at.manifold, at.layout.N, at.layout.P).InjectivityRadius * math.Sqrt(float64(at.layout.K))
					r, err := minimize([]*param{at.kernel}, cost, m.of, a.at.kernels(), solvers.GradientTolerance(1e-9), solvers.AfterIteration(func(i solvers.Iteration) error {
						if m.name == "gradient descent" && longest > 0 {
							require.LessOrEqual(t, i.Step, longest*(1+8*eps(of)))
						}
						return nil
					}))
					require.NoError(t, err)
					constrained(t, []*param{at.kernel}, of, a.at.kernels())
					require.Equal(t, at.slope(t), r.Cost)
					gap, off := at.far(t)
					if of == tensor.Float64 {
						require.Equal(t, solvers.SmallGradient, r.Reason)
						require.LessOrEqual(t, r.Gradient, 1e-9)
						require.Less(t, gap, 1e-14)
						require.Less(t, off, 1e-8)
						return
					}
					require.Less(t, r.Evaluations, 300, "it goes on in rounding errors")
					require.Less(t, gap, 4*eps(of))
					require.Less(t, off, 1e-4)
				})
			}
		}
	}
}

// To come within 1e-10 of the least cost in Brockett's problem, L-BFGS takes the fewest evaluations, and gradient descent, with steps of Barzilai
// and Borwein, fewer than conjugate gradients.
func TestMinimizeBrockett(t *testing.T) {
	t.Parallel()
	for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
		for _, r := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.Polar, manifolds.Geodesic} {
			a := arena{shape: []int{5, 50, 1, 1}, problems: brockett, at: place{manifold: manifolds.Stiefel{Metric: metric, Retraction: r},
				options: []manifolds.Option{manifolds.FilterBank, manifolds.Unit}}}
			const starts = 5
			var needed [3][starts]int
			for i, m := range methods {
				for start := range starts {
					at := a.stage(t, tensor.Float64)
					gaussian(at.kernel.w, source(uint64(start)), 1)
					evaluations := 0
					done := errors.New("done")
					_, err := minimize([]*param{at.kernel}, func() (float64, error) {
						evaluations++
						return at.slope(t), nil
					}, m.of, a.at.kernels(), solvers.AfterIteration(func(solvers.Iteration) error {
						if gap, _ := at.far(t); gap < 1e-10 {
							return done
						}
						return nil
					}))
					require.ErrorIs(t, err, done, m.name)
					needed[i][start] = evaluations
				}
				slices.Sort(needed[i][:])
			}
			t.Log(manifolds.Name(a.at.manifold), r, needed)
			const median = starts / 2
			assert.Less(t, needed[2][median], needed[0][median], "L-BFGS and gradient descent")
			assert.Less(t, needed[0][median], needed[1][median], "gradient descent and conjugate gradient")
		}
	}
}

// bowl is offset + sum_i c_i (x_i - centre_i)^2/2 with curvatures c_i from 1 to kappa, of n weights that begin at random.
type bowl struct {
	of                    tensor.Dtype
	n                     int
	offset, centre, kappa float64
}

func (b bowl) String() string {
	return fmt.Sprintf("%v, %d weights, offset %g, centre %g, kappa %g", b.of, b.n, b.offset, b.centre, b.kappa)
}

// cost has the rounding errors of its precision.
func (b bowl) cost() (*param, func() (float64, error)) {
	p := newParam("x", b.of, b.n)
	gaussian(p.w, source(1), 1)
	return p, func() (float64, error) {
		g, sum := get(p.w), b.offset
		for i, x := range g {
			c := math.Pow(b.kappa, float64(i)/float64(b.n-1))
			x -= b.centre * (1 + float64(i)/7)
			g[i] = c * x
			sum += g[i] * x / 2
		}
		put(p.g, g)
		if b.of == tensor.Float32 {
			sum = float64(float32(sum))
		}
		return sum, nil
	}
}

// The worse the condition, the more evaluations a method takes. Gradient descent by the strong Wolfe conditions would take 681, 7762
// and more than 70000.
func TestMinimizeIllConditioned(t *testing.T) {
	t.Parallel()
	for kappa, most := range map[float64][3]int{1e2: {200, 250, 130}, 1e3: {1000, 800, 400}, 1e4: {8000, 2400, 1200}} {
		for i, m := range methods {
			p, cost := bowl{tensor.Float64, 30, 1, 0, kappa}.cost()
			r, err := minimize([]*param{p}, cost, m.of, solvers.MaxIterations(10000))
			require.NoError(t, err)
			t.Logf("kappa %g, %s: %d iterations, %d evaluations", kappa, m.name, r.Iterations, r.Evaluations)
			require.Equal(t, solvers.SmallGradient, r.Reason, m.name)
			require.LessOrEqual(t, r.Evaluations, most[i], m.name)
		}
	}
}

// Where a constant hides how the cost falls, and where it falls slowly, Minimize does not stall: the gradient gets small
// nevertheless. The gradient is exact, because the minimum is at 0.
func TestMinimizeInNoise(t *testing.T) {
	t.Parallel()
	for _, of := range precisions {
		for _, offset := range []float64{0, 1, 1e4, 1e8} {
			for _, kappa := range []float64{10, 1e2, 1e3, 1e4} {
				for _, n := range []int{6, 30} {
					for _, m := range methods {
						b := bowl{of, n, offset, 0, kappa}
						p, cost := b.cost()
						r, err := minimize([]*param{p}, cost, m.of, solvers.MaxIterations(10000))
						require.NoError(t, err)
						require.Equal(t, solvers.SmallGradient, r.Reason, "%s, %v: %+v", m.name, b, r)
					}
				}
			}
		}
	}
}

// Where the rounding of the weights keeps the gradient from 0, Minimize ends as stalled, soon after the gradient is about as small as
// it ever gets.
func TestMinimizeStalls(t *testing.T) {
	t.Parallel()
	for _, of := range precisions {
		for _, offset := range []float64{1, 1e4} {
			for _, kappa := range []float64{10, 1e2, 1e3} {
				for _, n := range []int{6, 30} {
					for _, m := range methods {
						b := bowl{of, n, offset, 1, kappa}
						p, cost := b.cost()
						var seen []solvers.Iteration
						r, err := minimize([]*param{p}, cost, m.of, solvers.GradientTolerance(0), solvers.MaxIterations(10000), solvers.AfterIteration(func(i solvers.Iteration) error {
							seen = append(seen, i)
							return nil
						}))
						require.NoError(t, err)
						if r.Gradient == 0 {
							continue // by luck
						}
						require.Equal(t, solvers.Stalled, r.Reason, "%s, %v: %+v", m.name, b, r)
						at := slices.IndexFunc(seen, func(i solvers.Iteration) bool { return i.Gradient <= 4*r.Gradient })
						t.Logf("%s, %v: %d evaluations, %d to gradient %.1e", m.name, b, r.Evaluations, seen[at].Evaluations, r.Gradient)
						require.LessOrEqual(t, r.Evaluations, 2*seen[at].Evaluations+100, "%s, %v", m.name, b)
						require.LessOrEqual(t, r.Gradient, kappa*eps(of)*norm64(get(p.w)), "%s, %v", m.name, b)
					}
				}
			}
		}
	}
}

// chainedRosenbrock is the chained function of Rosenbrock, with its minimum 0 where all are 1.
func chainedRosenbrock(g, x []float64) (cost float64) {
	clear(g)
	for i := range len(x) - 1 {
		a, b := x[i+1]-x[i]*x[i], 1-x[i]
		cost += 100*a*a + b*b
		g[i] -= 400*a*x[i] + 2*b
		g[i+1] += 200 * a
	}
	return cost
}

// Without constraints Minimize needs about as many evaluations as SciPy, which has other line searches.
func TestMinimizeEuclidean(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/minimize.json") // written by minimize.py
	require.NoError(t, err)
	var runs []struct {
		Method      string
		N           int
		Evaluations int
		Solution    []float64
	}
	require.NoError(t, json.Unmarshal(text, &runs))
	require.Len(t, runs, 6)
	for _, c := range runs {
		of := solvers.LBFGS(10)
		if c.Method == "CG" {
			of = solvers.ConjugateGradient()
		}
		p := newParam("x", tensor.Float64, c.N)
		for i := range c.N {
			p.w.Float64s()[i] = []float64{-1.2, 1}[i%2]
		}
		r, err := minimize([]*param{p}, func() (float64, error) { return chainedRosenbrock(p.g.Float64s(), p.w.Float64s()), nil },
			of, solvers.GradientTolerance(1e-8))
		require.NoError(t, err)
		require.Equal(t, solvers.SmallGradient, r.Reason)
		require.InDeltaSlice(t, c.Solution, p.w.Float64s(), 1e-7)
		t.Logf("%s, n = %d: %d evaluations here, %d there", c.Method, c.N, r.Evaluations, c.Evaluations)
		require.Less(t, 2*r.Evaluations, 3*c.Evaluations)
	}
}

// Several parameters on every manifold, in every grouping, are minimised together: the squared distance of each
// to a random target, whose minimum on a manifold is the projection where that is unique.
func TestMinimizeEverywhere(t *testing.T) {
	t.Parallel()
	for _, of := range precisions {
		for _, at := range everywhere {
			for _, method := range methods {
				t.Run(fmt.Sprintf("%v/%s/%s", of, at.name, method.name), func(t *testing.T) {
					m, targets := model(of, 5), model(of, 6)
					cost := func() (float64, error) {
						sum := 0.0
						for i, p := range m {
							w, c := get(p.w), get(targets[i].w)
							for e := range w {
								w[e] -= c[e]
								sum += w[e] * w[e] / 2
							}
							put(p.g, w)
						}
						return sum, nil
					}
					r, err := minimize(m, cost, method.of, at.kernels())
					if manifolds.PropertiesOf(at.manifold, 2, 2).Convex {
						require.ErrorIs(t, err, solvers.ErrConstraint)
						require.ErrorContains(t, err, "want a manifold without a boundary")
						for i, p := range model(of, 5) {
							require.Equal(t, get(p.w), get(m[i].w))
						}
						return
					}
					require.NoError(t, err)
					constrained(t, m, of, at.kernels())
					after, err := cost()
					require.NoError(t, err)
					require.Equal(t, after, r.Cost)
					for i, p := range m {
						if !solvers.IsKernel(p.w.Shape()) {
							require.InDeltaSlice(t, get(targets[i].w), get(p.w), 1e-5, p.name)
						}
					}
					if of == tensor.Float64 {
						require.Equal(t, solvers.SmallGradient, r.Reason)
						return
					}
					require.Less(t, r.Gradient, 1e-4)
				})
			}
		}
	}
}

// half is |x|^2/2 of parameters, which counts its calls, and may be changed in one.
func half(m []*param, change func(call int, cost float64) (float64, error)) func() (float64, error) {
	call := 0
	return func() (float64, error) {
		sum := 0.0
		for i, p := range m {
			w := get(p.w)
			for e, x := range w {
				w[e] = float64(e+i+1) * x
				sum += w[e] * x / 2
			}
			put(p.g, w)
		}
		call++
		return change(call, sum)
	}
}

// What ends Minimize before the first cost is known leaves the weights as they were, and off the manifold.
func TestMinimizeRefuses(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	plain := func(_ int, cost float64) (float64, error) { return cost, nil }
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(int, float64) (float64, error)
		opts   []solvers.Option
		want   error
		says   string
	}{
		"NaN":       {change: func(int, float64) (float64, error) { return math.NaN(), nil }, want: solvers.ErrNotFinite, says: "want a finite cost, got NaN"},
		"infinite":  {change: func(int, float64) (float64, error) { return math.Inf(-1), nil }, want: solvers.ErrNotFinite},
		"failed":    {change: func(int, float64) (float64, error) { return 0, failed }, want: failed},
		"cancelled": {ctx: cancelled, want: context.Canceled},
		"momentum":  {opts: []solvers.Option{solvers.Momentum(0.9)}, want: solvers.ErrOption, says: "Minimize has no option Momentum"},
		"rate in With": {opts: []solvers.Option{solvers.Param("conv1", nil).With(solvers.LearnRate(1))}, want: solvers.ErrOption,
			says: "in With has no option LearnRate"},
		"tolerance":    {opts: []solvers.Option{solvers.GradientTolerance(-1)}, want: solvers.ErrOption, says: "GradientTolerance"},
		"memory":       {opts: []solvers.Option{solvers.LBFGS(0)}, want: solvers.ErrOption, says: "LBFGS"},
		"iterations":   {opts: []solvers.Option{solvers.MaxIterations(-1)}, want: solvers.ErrOption},
		"evaluations":  {opts: []solvers.Option{solvers.MaxEvaluations(0)}, want: solvers.ErrOption},
		"none matches": {opts: []solvers.Option{solvers.Param("other", manifolds.Sphere{})}, want: solvers.ErrConstraint},
		"impossible":   {opts: []solvers.Option{solvers.Param("offset", manifolds.Orthogonal{})}, want: solvers.ErrConstraint},
		"a boundary":   {opts: []solvers.Option{solvers.Param("linear", manifolds.SpectralBall{})}, want: solvers.ErrConstraint, says: "without a boundary"},
		"frozen":       {opts: []solvers.Option{solvers.Frozen()}, want: solvers.ErrParameter, says: "all frozen"},
		"zero option":  {opts: []solvers.Option{{}}, want: solvers.ErrOption},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(tensor.Float64, 1)
			before := weights(m)
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			if c.change == nil {
				c.change = plain
			}
			_, err := solvers.Minimize(c.ctx, valueGrads(m), half(m, c.change), append(c.opts, solvers.Kernels(manifolds.Stiefel{}))...)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.says)
			same(t, before, weights(m))
		})
	}
	m := model(tensor.Float64, 1)
	_, err := minimize(m, nil)
	require.ErrorIs(t, err, solvers.ErrParameter)
	_, err = minimize(nil, half(m, plain))
	require.ErrorIs(t, err, solvers.ErrParameter)
	require.ErrorIs(t, solvers.NewSGD(solvers.MaxIterations(3)).Init(valueGrads(m)), solvers.ErrOption)
}

// A limit leaves the weights and the result of the best iteration, an error of AfterIteration those of the last: costs of gradient descent
// rise now and then.
func TestMinimizeEndsAtTheBest(t *testing.T) {
	t.Parallel()
	rose := false
	for n := range 100 {
		for _, hook := range []bool{false, true} {
			p, cost := bowl{tensor.Float64, 30, 1, 0, 100}.cost()
			best, last := solvers.Iteration{Cost: math.Inf(1)}, solvers.Iteration{}
			var thereBest, thereLast []float64
			enough := errors.New("enough")
			r, err := minimize([]*param{p}, cost, solvers.GradientDescent(), solvers.GradientTolerance(0), solvers.MaxIterations(n),
				solvers.AfterIteration(func(i solvers.Iteration) error {
					last, thereLast = i, get(p.w)
					if i.Cost < best.Cost {
						best, thereBest = last, thereLast
					}
					if hook && i.Number == n {
						return enough
					}
					return nil
				}))
			require.Equal(t, n, r.Iterations)
			want, there := best, thereBest
			if hook {
				require.ErrorIs(t, err, enough)
				want, there = last, thereLast
			} else {
				require.NoError(t, err)
				require.Equal(t, solvers.IterationLimit, r.Reason)
			}
			require.Equal(t, want.Cost, r.Cost)
			require.Equal(t, want.Gradient, r.Gradient)
			require.Equal(t, there, get(p.w))
			rose = rose || last.Cost > best.Cost
		}
	}
	require.True(t, rose)
}

// After the first cost, an error leaves the weights and the result of an iteration: here the costs fall, and the best is the last.
func TestMinimizeInterrupted(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	for _, method := range methods {
		for name, end := range map[string]func(call, iteration int, cancel func()) error{
			"cost": func(call, _ int, _ func()) error {
				if call == 9 {
					return failed
				}
				return nil
			},
			"context": func(call, _ int, cancel func()) error {
				if call == 9 {
					cancel()
				}
				return nil
			},
			"hook": func(_, iteration int, _ func()) error {
				if iteration == 4 {
					return failed
				}
				return nil
			},
		} {
			t.Run(method.name+"/"+name, func(t *testing.T) {
				m := model(tensor.Float64, 1)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				var last solvers.Iteration
				var there map[string][]float64
				r, err := solvers.Minimize(ctx, valueGrads(m), half(m, func(call int, cost float64) (float64, error) { return cost, end(call, -1, cancel) }),
					method.of, solvers.Kernels(manifolds.Stiefel{}), solvers.AfterIteration(func(i solvers.Iteration) error {
						require.True(t, i.Number == 0 || i.Cost < last.Cost && i.Step > 0, "%+v after %+v", i, last)
						last, there = i, weights(m)
						return end(-1, i.Number, cancel)
					}))
				if name == "context" {
					require.ErrorIs(t, err, context.Canceled)
				} else {
					require.ErrorIs(t, err, failed)
				}
				require.Equal(t, solvers.Result{Cost: last.Cost, Gradient: last.Gradient, Iterations: last.Number, Evaluations: r.Evaluations}, r)
				require.Positive(t, r.Iterations)
				same(t, there, weights(m))
				for name, g := range slopes(m) {
					require.Zero(t, norm64(g), name)
				}
			})
		}
	}
}

func norm64(x []float64) (n float64) {
	for _, v := range x {
		n = math.Hypot(n, v)
	}
	return n
}

// Limits, a cost that is not finite on the way, and one whose gradient is wrong.
func TestMinimizeEnds(t *testing.T) {
	t.Parallel()
	for _, method := range methods {
		t.Run(method.name, func(t *testing.T) {
			plain := func(_ int, cost float64) (float64, error) { return cost, nil }
			m := model(tensor.Float64, 1)
			r, err := minimize(m, half(m, plain), method.of, solvers.MaxIterations(3))
			require.NoError(t, err)
			require.Equal(t, solvers.IterationLimit, r.Reason)
			require.Equal(t, 3, r.Iterations)

			m = model(tensor.Float64, 1)
			r, err = minimize(m, half(m, plain), method.of, solvers.MaxEvaluations(5))
			require.NoError(t, err)
			require.Equal(t, solvers.EvaluationLimit, r.Reason)
			require.Equal(t, 5, r.Evaluations)

			far := newParam("far", tensor.Float64, 3) // x - log x has its minimum at 1, and little curvature at 50
			put(far.w, []float64{50, 40, 0.1})
			undefined := 0
			r, err = minimize([]*param{far}, func() (float64, error) {
				sum := 0.0
				for i, x := range far.w.Float64s() {
					far.g.Float64s()[i] = 1 - 1/x
					sum += x - math.Log(x)
				}
				if math.IsNaN(sum) {
					undefined++
				}
				return sum, nil
			}, method.of)
			require.NoError(t, err)
			require.Equal(t, solvers.SmallGradient, r.Reason)
			require.InDelta(t, 3, r.Cost, 1e-10)
			require.Positive(t, undefined)

			m = model(tensor.Float64, 1)
			r, err = minimize(m, half(m, func(_ int, cost float64) (float64, error) { return -cost, nil }), method.of)
			require.NoError(t, err)
			require.Equal(t, solvers.Stalled, r.Reason)
			require.Zero(t, r.Iterations)
		})
	}
	steep := newParam("steep", tensor.Float64, 3)
	put(steep.w, []float64{1, 2, 3})
	_, err := minimize([]*param{steep}, func() (float64, error) {
		sum := 0.0
		for i, x := range steep.w.Float64s() {
			steep.g.Float64s()[i] = 1e160 * x
			sum += 1e160 * x * x / 2
		}
		return sum, nil
	})
	require.ErrorIs(t, err, solvers.ErrNotFinite)
	require.ErrorContains(t, err, "want a gradient whose square is finite")
	require.Equal(t, []float64{1, 2, 3}, get(steep.w))
	require.Equal(t, "stalled", solvers.Stalled.String())
	require.Equal(t, "Reason(9)", solvers.Reason(9).String())
}

// Frozen parameters stay, to the bit, and weights that begin at zero move.
func TestMinimizeFrozen(t *testing.T) {
	t.Parallel()
	m := model(tensor.Float32, 1)
	put(m[5].w, make([]float64, 5))
	before := get(m[0].w)
	r, err := minimize(m, func() (float64, error) {
		sum := 0.0
		for _, p := range m {
			g := get(p.w)
			for e, x := range g {
				g[e] = x - 1
				sum += g[e] * g[e] / 2
			}
			put(p.g, g)
		}
		return sum, nil
	}, solvers.Kernels(manifolds.Sphere{}), solvers.Param("conv1", nil).With(solvers.Frozen()))
	require.NoError(t, err)
	require.Less(t, r.Gradient, 1e-4)
	require.Equal(t, before, get(m[0].w))
	require.Zero(t, norm64(get(m[0].g)), "the gradient of a frozen parameter is cleared, too")
	require.InDeltaSlice(t, []float64{1, 1, 1, 1, 1}, get(m[5].w), 1e-5)
}

// A graph with operations in training mode, stock or ours, or with random nodes is refused before it runs.
func TestMinimizeUnrepeatable(t *testing.T) {
	for _, c := range []struct {
		name string
		put  func(x *gorgonia.Node) (*gorgonia.Node, error)
		says string
		eval bool // it is admitted on a machine for evaluation
	}{
		{"nothing", func(x *gorgonia.Node) (*gorgonia.Node, error) { return x, nil }, "", true},
		{"dropout", func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Dropout(x, 0.5, &nodes.Noise{}) }, "Dropout", true},
		{"stock dropout", func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Dropout(x, 0.5) }, "dropout", true},
		{"stock batch normalisation", func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, _, _, _, err := gorgonia.BatchNorm(x, nil, nil, 0.9, 1e-5)
			return y, err
		}, "BatchNorm", true},
		{"noise", func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.Add(x, gorgonia.GaussianRandomNode(x.Graph(), x.Dtype(), 0, 1, x.Shape()...))
		}, "a random node", false},
	} {
		for _, eval := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, evaluation %v", c.name, eval), func(t *testing.T) {
				g := gorgonia.NewGraph()
				x := gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("x"), gorgonia.WithShape(2, 2, 5, 5), gorgonia.WithInit(gorgonia.Gaussian(0, 1)))
				w := gorgonia.NewTensor(g, gorgonia.Float64, 4, gorgonia.WithName("w"), gorgonia.WithShape(3, 2, 3, 3), gorgonia.WithInit(gorgonia.Gaussian(0, 1)))
				y, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1})
				require.NoError(t, err)
				y, err = c.put(y)
				require.NoError(t, err)
				node := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(y))))
				_, err = gorgonia.Grad(node, w)
				require.NoError(t, err)
				var cost gorgonia.Value
				gorgonia.Read(node, &cost)
				opts := []gorgonia.VMOpt{gorgonia.BindDualValues(w)}
				if eval {
					opts = append(opts, gorgonia.EvalMode())
				}
				vm := gorgonia.NewTapeMachine(g, opts...)
				defer vm.Close()
				f := solvers.CostOf(vm, &cost)
				before := append([]float64(nil), w.Value().Data().([]float64)...)
				r, err := solvers.Minimize(context.Background(), []gorgonia.ValueGrad{w}, f, solvers.Kernels(manifolds.Sphere{}), solvers.MaxIterations(3))
				if c.says == "" || c.eval && eval {
					require.NoError(t, err)
					require.Positive(t, r.Iterations)
					return
				}
				require.ErrorIs(t, err, solvers.ErrUnrepeatable)
				require.ErrorContains(t, err, c.says)
				require.Equal(t, before, w.Value().Data())
				require.Nil(t, cost, "it has run")
			})
		}
	}
}

// A net in float32 learns all of its images by heart, with kernels on Stiefel.
func TestMinimizeNet(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for minutes under the race detector")
	}
	t.Parallel()
	const batch, side = 64, 12
	set, err := images.Digits(1, batch, 1, images.DigitOptions{Side: side})
	require.NoError(t, err)
	m, err := models.CNN(batch, models.Options{Shape: [3]int{1, side, side}, Classes: 10, Seed: 1})
	require.NoError(t, err)
	copy(m.Inputs[0].Value().Data().([]float32), set.Train.Images)
	for i, label := range set.Train.Labels {
		m.Targets[0].Value().Data().([]float32)[i*10+label] = 1
	}
	vm, err := m.Machine()
	require.NoError(t, err)
	defer vm.Close()
	r, err := solvers.Minimize(context.Background(), gorgonia.NodesToValueGrads(m.Learnables), func() (float64, error) {
		err := vm.RunAll()
		vm.Reset()
		return m.Loss(), err
	}, solvers.Kernels(manifolds.Stiefel{}), solvers.GradientTolerance(1e-4), solvers.MaxEvaluations(200))
	require.NoError(t, err)
	require.Equal(t, solvers.SmallGradient, r.Reason, "%+v", r)
	require.Less(t, r.Cost, 1e-4)
}
