// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// The paper's algorithm and Riemannian Adam, written out with loops over single
// points in float64, against the solvers.

// geometry is a manifold of tall n x p matrices, row-major, the slow way.
type geometry struct {
	gradient func(x, g []float64) []float64  // Riemannian, of the ambient g
	tangent  func(x, u []float64) []float64  // projection
	retract  func(x, v []float64) []float64  // of x + v
	inner    func(x, u, v []float64) float64 // of the metric
	c        float64                         // curvature bound
}

func dot(x, y []float64) float64 {
	s := 0.0
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

// plus returns a x + b y.
func plus(a float64, x []float64, b float64, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = a*x[i] + b*y[i]
	}
	return out
}

// sphere of radius r.
func sphere(r float64) geometry {
	tangent := func(x, u []float64) []float64 { return plus(1, u, -dot(x, u)/(r*r), x) }
	return geometry{tangent, tangent, func(x, v []float64) []float64 {
		y := plus(1, x, 1, v)
		return plus(r/math.Sqrt(dot(y, y)), y, 0, y)
	}, func(_, u, v []float64) float64 { return dot(u, v) }, 1 / (r * r)}
}

// stiefel of n x p matrices with columns of norm r, n >= p.
func stiefel(n, p int, r float64, canonical bool) geometry {
	cross := func(x, y []float64) []float64 { // x^T y
		out := make([]float64, p*p)
		for i := range n {
			for a := range p {
				for b := range p {
					out[a*p+b] += x[i*p+a] * y[i*p+b]
				}
			}
		}
		return out
	}
	less := func(g, x []float64, s func(a, b int) float64) []float64 { // g - x s / r^2
		out := append([]float64(nil), g...)
		for i := range n {
			for b := range p {
				for a := range p {
					out[i*p+b] -= x[i*p+a] * s(a, b) / (r * r)
				}
			}
		}
		return out
	}
	g := geometry{c: 1 / (r * r)}
	g.tangent = func(x, u []float64) []float64 {
		s := cross(x, u)
		return less(u, x, func(a, b int) float64 { return (s[a*p+b] + s[b*p+a]) / 2 })
	}
	g.gradient = g.tangent
	g.inner = func(_, u, v []float64) float64 { return dot(u, v) }
	if canonical {
		g.c = 1.25 / (r * r)
		g.gradient = func(x, u []float64) []float64 { // u - x u^T x
			s := cross(u, x)
			return less(u, x, func(a, b int) float64 { return s[a*p+b] })
		}
		g.inner = func(x, u, v []float64) float64 { return dot(u, v) - dot(cross(x, u), cross(x, v))/(2*r*r) }
	}
	// Gram-Schmidt, twice for accuracy: the Q of x + v = Q R with a positive
	// diagonal.
	g.retract = func(x, v []float64) []float64 {
		y := plus(1, x, 1, v)
		for range 2 {
			for b := range p {
				for a := range b {
					d := 0.0
					for i := range n {
						d += y[i*p+a] * y[i*p+b]
					}
					for i := range n {
						y[i*p+b] -= d / (r * r) * y[i*p+a]
					}
				}
				s := 0.0
				for i := range n {
					s += y[i*p+b] * y[i*p+b]
				}
				for i := range n {
					y[i*p+b] *= r / math.Sqrt(s)
				}
			}
		}
		return y
	}
	return g
}

// transposed turns rows x columns into columns x rows.
func transposed(x []float64, rows, columns int) []float64 {
	out := make([]float64, len(x))
	for i := range rows {
		for j := range columns {
			out[j*rows+i] = x[i*columns+j]
		}
	}
	return out
}

// example is a kernel cut into points, in the library and here.
type example struct {
	name     string
	shape    []int
	manifold manifolds.Manifold
	grouping manifolds.Grouping
	points   int
	// flip: the points are wide, n x p with n < p, and the reference is tall.
	flip bool
	n, p int
	geo  geometry
}

var examples = []example{
	{"sphere per filter", []int{3, 2, 2, 2}, manifolds.Sphere{Radius: 1}, manifolds.PerFilter, 3, false, 8, 1, sphere(1)},
	{"sphere per slice, radius 3", []int{3, 2, 2, 2}, manifolds.Sphere{Radius: 3}, manifolds.PerSlice, 6, false, 4, 1, sphere(3)},
	{"wide bank", []int{3, 2, 2, 2}, manifolds.Stiefel{Radius: 1}, manifolds.FilterBank, 1, true, 3, 8, stiefel(8, 3, 1, false)},
	{"wide bank, Householder", []int{3, 2, 2, 2}, manifolds.Stiefel{Radius: 0.5, Retraction: manifolds.QR}, manifolds.FilterBank, 1, true, 3, 8, stiefel(8, 3, 0.5, false)},
	{"tall bank", []int{8, 1, 2, 2}, manifolds.Stiefel{Radius: 1}, manifolds.FilterBank, 1, false, 8, 4, stiefel(8, 4, 1, false)},
	{"tall bank, canonical", []int{8, 1, 2, 2}, manifolds.Stiefel{Radius: 2, Metric: manifolds.CanonicalMetric}, manifolds.FilterBank, 1, false, 8, 4, stiefel(8, 4, 2, true)},
	{"square slices", []int{2, 3, 3, 3}, manifolds.Stiefel{Radius: 1}, manifolds.PerSlice, 6, false, 3, 3, stiefel(3, 3, 1, false)},
}

// cut returns the points of the weights, tall.
func (e example) cut(w []float64) [][]float64 {
	size := len(w) / e.points
	var out [][]float64
	for k := range e.points {
		x := w[k*size : (k+1)*size]
		if e.flip {
			x = transposed(x, e.n, e.p)
		}
		out = append(out, append([]float64(nil), x...))
	}
	return out
}

// join is the inverse of cut.
func (e example) join(points [][]float64) []float64 {
	var out []float64
	for _, x := range points {
		if e.flip {
			x = transposed(x, e.p, e.n)
		}
		out = append(out, x...)
	}
	return out
}

// follow runs a solver beside a reference that moves one point at a time.
func follow(t *testing.T, of tensor.Dtype, e example, s stepper, newPoint func() func(x, g []float64, t int) []float64) {
	t.Helper()
	const steps = 12
	p := newParam("kernel", of, e.shape...)
	gaussian(p.w, source(5), 1)
	m := []*param{p}
	require.NoError(t, s.Init(valueGrads(m)))
	points := e.cut(get(p.w))
	rules := make([]func(x, g []float64, t int) []float64, e.points)
	for k := range rules {
		rules[k] = newPoint()
	}
	for step := 1; step <= steps; step++ {
		gradients(m, uint64(step))
		for k, g := range e.cut(get(p.g)) {
			points[k] = rules[k](points[k], g, step)
		}
		require.NoError(t, s.Step(valueGrads(m)))
	}
	// The rounding of the products of a step, and those of a short way along
	// which neighbouring points stay neighbours: 64 roundings a step are ample.
	for i, want := range e.join(points) {
		require.InDelta(t, want, get(p.w)[i], 64*steps*eps(of)*max(1, math.Abs(want)), "element %d", i)
	}
}

// geometricFactor makes g_t as a function of the squared norms of the directions of a point on a
// manifold of curvature c, in their order.
type geometricFactor func(c float64) func(square float64) float64

// sampled is that of the direction itself.
func sampled(c float64) func(float64) float64 {
	return func(square float64) float64 {
		r := math.Sqrt(square / c)
		return max(1, r*(2+r))
	}
}

// predictable is that of the mean of the squares of the directions before, by the weights 1, 0.9, 0.81 ...
func predictable(c float64) func(float64) float64 {
	var past []float64
	return func(square float64) float64 {
		sum, all, weight := 0.0, 0.0, 1.0
		for i := len(past) - 1; i >= 0; i-- {
			sum += weight * past[i]
			all += weight
			weight *= 0.9
		}
		past = append(past, square)
		if all == 0 {
			return 1
		}
		return sampled(c)(sum / all)
	}
}

func TestPaperAlgorithm(t *testing.T) {
	const theta = 0.9
	for _, of := range precisions {
		for _, e := range examples {
			for _, c := range []struct {
				name              string
				opts              []solvers.Option
				tangent, nesterov bool
				factor            geometricFactor
				theta, tau        float64
			}{
				{"plain", nil, false, false, nil, 0, 0},
				{"plain, predictable factor", []solvers.Option{solvers.GeometricStep()}, false, false, predictable, 0, 0},
				{"plain, sampled factor", []solvers.Option{solvers.SampledGeometricStep()}, false, false, sampled, 0, 0},
				{"ambient", []solvers.Option{solvers.Momentum(theta), solvers.AmbientMomentum()}, false, false, nil, theta, 0},
				{"ambient, predictable factor", []solvers.Option{solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.GeometricStep()}, false, false, predictable, theta, 0},
				{"ambient, sampled factor", []solvers.Option{solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.SampledGeometricStep()}, false, false, sampled, theta, 0},
				{"ambient, Nesterov, dampening", []solvers.Option{solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.Nesterov(), solvers.Dampening(0.25)}, false, true, nil, theta, 0.25},
				{"default", []solvers.Option{solvers.Momentum(theta)}, true, false, nil, theta, 0},
				{"tangent", []solvers.Option{solvers.Momentum(theta), solvers.TangentMomentum()}, true, false, nil, theta, 0},
				{"tangent, predictable factor", []solvers.Option{solvers.Momentum(theta), solvers.GeometricStep()}, true, false, predictable, theta, 0},
				{"tangent, sampled factor", []solvers.Option{solvers.Momentum(theta), solvers.SampledGeometricStep()}, true, false, sampled, theta, 0},
				{"tangent, Nesterov, dampening", []solvers.Option{solvers.Momentum(theta), solvers.Nesterov(), solvers.Dampening(0.25)}, true, true, nil, theta, 0.25},
			} {
				t.Run(of.String()+"/"+e.name+"/"+c.name, func(t *testing.T) {
					s := solvers.NewSGD(append(c.opts, solvers.LearnRate(lr), solvers.Kernels(e.manifold, e.grouping))...)
					follow(t, of, e, s, func() func(x, g []float64, step int) []float64 {
						var mu []float64
						factorOf := func(float64) float64 { return 1 }
						if c.factor != nil {
							factorOf = c.factor(e.geo.c)
						}
						return func(x, g []float64, step int) []float64 {
							if c.tangent {
								g = e.geo.gradient(x, g)
							}
							if mu == nil {
								mu = append([]float64(nil), g...)
							} else {
								mu = plus(c.theta, mu, 1-c.tau, g)
							}
							d := mu
							if c.nesterov {
								d = plus(1, g, c.theta, mu)
							}
							if !c.tangent {
								d = e.geo.gradient(x, d)
							}
							y := e.geo.retract(x, plus(-lr/factorOf(e.geo.inner(x, d, d)), d, 0, d))
							if c.tangent {
								mu = e.geo.tangent(y, mu)
							}
							return y
						}
					})
				})
			}
		}
	}
}

// One second moment for each point, the first moment a transported tangent
// vector.
func TestRiemannianAdam(t *testing.T) {
	const beta1, beta2, small = 0.9, 0.95, 1e-8
	for _, of := range precisions {
		for _, e := range examples {
			for _, ams := range []bool{false, true} {
				t.Run(of.String()+"/"+e.name, func(t *testing.T) {
					opts := []solvers.Option{solvers.LearnRate(lr), solvers.Betas(beta1, beta2), solvers.Kernels(e.manifold, e.grouping)}
					if ams {
						opts = append(opts, solvers.AMSGrad())
					}
					follow(t, of, e, solvers.NewAdam(opts...), func() func(x, g []float64, step int) []float64 {
						var m []float64
						v, top := 0.0, 0.0
						return func(x, g []float64, step int) []float64 {
							g = e.geo.gradient(x, g)
							if m == nil {
								m = make([]float64, len(g))
							}
							m = plus(beta1, m, 1-beta1, g)
							v = beta2*v + (1-beta2)*e.geo.inner(x, g, g)
							u := v
							if ams {
								top = max(top, v)
								u = top
							}
							mHat := 1 / (1 - math.Pow(beta1, float64(step)))
							vHat := u / (1 - math.Pow(beta2, float64(step)))
							y := e.geo.retract(x, plus(-lr*mHat/(math.Sqrt(vHat)+small), m, 0, m))
							m = e.geo.tangent(y, m)
							return y
						}
					})
				})
			}
		}
	}
}

// On the unit sphere the factor is max(1, R (2 + R)). R^2 is what is left of the square
// of the direction without its normal part, which makes its rounding 7^2/R^2 times as large.
func TestGeometricFactorOnTheUnitSphere(t *testing.T) {
	for _, R := range []float64{0.01, 0.4, math.Sqrt2 - 1, 0.5, 1, 10, 1000} {
		p := newParam("kernel", tensor.Float64, 1, 1, 2, 2)
		put(p.w, []float64{1, 0, 0, 0})
		put(p.g, []float64{7, 0, R, 0}) // 7 is normal
		s := solvers.NewSGD(solvers.LearnRate(0.5), solvers.SampledGeometricStep(), solvers.Kernels(manifolds.Sphere{Radius: 1}))
		require.NoError(t, s.Step(valueGrads([]*param{p})))
		r := s.Report().Parameters[0]
		want := max(1, R*(2+R))
		rounding := 1e-15 * (10 + 49/(R*R))
		assert.InEpsilon(t, want, r.GeometricFactor, rounding, "R = %g", R)
		assert.InEpsilon(t, 0.5*R/want, r.StepLength, rounding, "R = %g", R)
	}
}
