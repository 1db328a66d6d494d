// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Problems whose solution is known, for every solver.

// problem is a cost of one tall point x, n x p, n >= p, row-major.
type problem struct {
	// slope writes the Euclidean gradient at x to g and returns the cost.
	slope func(g, x []float64) float64
	best  float64
	// off is the distance of x from a solution, up to the sign of a column.
	off func(x []float64) float64
}

// rotated returns Q diag(values) Q^T and Q, of random orthonormal columns.
func rotated(rng *rand.Rand, values []float64) (a, q []float64) {
	n := len(values)
	q = make([]float64, n*n)
	for i := range q {
		q[i] = rng.NormFloat64()
	}
	q = stiefel(n, n, 1, false).retract(q, make([]float64, n*n))
	a = make([]float64, n*n)
	for i := range n {
		for j := range n {
			for k, v := range values {
				a[i*n+j] += v * q[i*n+k] * q[j*n+k]
			}
		}
	}
	return a, q
}

// spectrum is top, top-1, ... for the first p values, and [0, top-p] spread over
// the rest: the gap that decides the rate is 1.
func spectrum(n, p int) []float64 {
	out := make([]float64, n)
	for i := range out {
		if i <= p {
			out[i] = float64(p - i + 1)
		} else {
			out[i] = float64(n-i) / float64(n-p)
		}
	}
	return out
}

// multiply writes a x to out, a n x n and x n x p.
func multiply(out, a, x []float64, n, p int) {
	for i := range n {
		row := out[i*p : (i+1)*p]
		clear(row)
		for k := range n {
			f := a[i*n+k]
			for j, v := range x[k*p : (k+1)*p] {
				row[j] += f * v
			}
		}
	}
}

// brockett is -tr(x^T A x N)/2 with N = diag(p, ..., 1)/p: on Stiefel, the solution
// has the top eigenvectors of A in their order (Absil, Mahony, Sepulchre 2008,
// section 4.8).
func brockett(rng *rand.Rand, n, p int) problem {
	values := spectrum(n, p)
	a, q := rotated(rng, values)
	weight := func(j int) float64 { return float64(p-j) / float64(p) }
	best := 0.0
	for j := range p {
		best -= values[j] * weight(j) / 2
	}
	return problem{func(g, x []float64) float64 {
		multiply(g, a, x, n, p)
		cost := 0.0
		for i := range g {
			g[i] *= -weight(i % p)
			cost += x[i] * g[i] / 2
		}
		return cost
	}, best, func(x []float64) float64 { return columnsOff(x, n, p, func(i, j int) float64 { return q[i*n+j] }) }}
}

// variances is the diagonal of the B of generalized.
func variances(n int) []float64 {
	b := make([]float64, n)
	for i := range b {
		b[i] = 0.5 + float64(i)/float64(n)
	}
	return b
}

// generalized is brockett for x with x^T B x = I, where A becomes B^(1/2) A B^(1/2): the solution has the top vectors of
// A' v = l B v.
func generalized(rng *rand.Rand, n, p int) problem {
	values, b := spectrum(n, p), variances(n)
	a, q := rotated(rng, values)
	for i := range n {
		for j := range n {
			a[i*n+j] *= math.Sqrt(b[i] * b[j])
		}
	}
	best := 0.0
	for j := range p {
		best -= values[j] * float64(p-j) / float64(p) / 2
	}
	return problem{func(g, x []float64) float64 {
		multiply(g, a, x, n, p)
		cost := 0.0
		for i := range g {
			g[i] *= -float64(p-i%p) / float64(p)
			cost += x[i] * g[i] / 2
		}
		return cost
	}, best, func(x []float64) float64 {
		return columnsOff(x, n, p, func(i, j int) float64 { return q[i*n+j] / math.Sqrt(b[i]) })
	}}
}

// nearest is |x - a|^2/2 for an a of singular values 0.5, 1, ...: in the unit ball of the spectral norm the solution cuts them off at 1.
func nearest(rng *rand.Rand, n, p int) problem {
	_, u := rotated(rng, spectrum(n, p))
	_, w := rotated(rng, spectrum(p, p))
	a, cut := make([]float64, n*p), make([]float64, n*p)
	best := 0.0
	for l := range p {
		s := 0.5 * float64(l+1)
		best += max(0, s-1) * max(0, s-1) / 2
		for i := range n {
			for j := range p {
				a[i*p+j] += s * u[i*n+l] * w[j*p+l]
				cut[i*p+j] += min(s, 1) * u[i*n+l] * w[j*p+l]
			}
		}
	}
	return problem{func(g, x []float64) float64 {
		cost := 0.0
		for i := range g {
			g[i] = x[i] - a[i]
			cost += g[i] * g[i] / 2
		}
		return cost
	}, best, func(x []float64) float64 {
		off := 0.0
		for i := range x {
			off = math.Hypot(off, x[i]-cut[i])
		}
		return off
	}}
}

// subspace is -tr(x^T A x)/2: on Grassmann, the solution is the span of the top eigenvectors of A, and off is the root of the sum of
// squared sines of the angles between it and the span of x.
func subspace(rng *rand.Rand, n, p int) problem {
	values := spectrum(n, p)
	a, q := rotated(rng, values)
	best := 0.0
	for _, v := range values[:p] {
		best -= v / 2
	}
	return problem{func(g, x []float64) float64 {
		multiply(g, a, x, n, p)
		cost := 0.0
		for i := range g {
			g[i] = -g[i]
			cost += x[i] * g[i] / 2
		}
		return cost
	}, best, func(x []float64) float64 {
		outside := 0.0
		for l := p; l < n; l++ {
			for j := range p {
				along := 0.0
				for i := range n {
					along += q[i*n+l] * x[i*p+j]
				}
				outside = math.Hypot(outside, along)
			}
		}
		return outside
	}}
}

// columnsOff is the distance of the columns of x from the wanted ones, each up to
// its sign.
func columnsOff(x []float64, n, p int, want func(i, j int) float64) float64 {
	total := 0.0
	for j := range p {
		plus, minus := 0.0, 0.0
		for i := range n {
			w := want(i, j)
			plus += (x[i*p+j] - w) * (x[i*p+j] - w)
			minus += (x[i*p+j] + w) * (x[i*p+j] + w)
		}
		total += min(plus, minus)
	}
	return math.Sqrt(total)
}

// rayleigh is the sum of -x_j^T A_j x_j / 2 over the columns of x, each with a
// matrix of its own: on oblique manifolds, and with p = 1 on the sphere, the
// solution is the top eigenvector of each.
func rayleigh(rng *rand.Rand, n, p int) problem {
	values := spectrum(n, 1)
	var matrices, vectors [][]float64
	for range p {
		a, q := rotated(rng, values)
		matrices, vectors = append(matrices, a), append(vectors, q)
	}
	column, image := make([]float64, n), make([]float64, n)
	return problem{func(g, x []float64) float64 {
		cost := 0.0
		for j := range p {
			for i := range n {
				column[i] = x[i*p+j]
			}
			multiply(image, matrices[j], column, n, 1)
			for i := range n {
				g[i*p+j] = -image[i]
				cost -= column[i] * image[i] / 2
			}
		}
		return cost
	}, -float64(p) * values[0] / 2, func(x []float64) float64 {
		return columnsOff(x, n, p, func(i, j int) float64 { return vectors[j][i*n] })
	}}
}

// procrustes is |x R - B|^2 / 2: on Stiefel, the solution is the polar factor
// U V^T of B R^T = U S V^T (Schoenemann 1966), here by gonum's SVD.
func procrustes(rng *rand.Rand, n, p int) problem {
	r, b := mat.NewDense(p, p, nil), mat.NewDense(n, p, nil)
	for i := range p {
		for j := range p {
			r.Set(i, j, 0.2*rng.NormFloat64())
		}
		r.Set(i, i, 1+r.At(i, i))
	}
	for i := range n {
		for j := range p {
			b.Set(i, j, rng.NormFloat64())
		}
	}
	var m, residual, u, v, best mat.Dense
	m.Mul(b, r.T())
	var svd mat.SVD
	svd.Factorize(&m, mat.SVDThin)
	svd.UTo(&u)
	svd.VTo(&v)
	best.Mul(&u, v.T())
	cost := func(x mat.Matrix) float64 {
		residual.Mul(x, r)
		residual.Sub(&residual, b)
		f := mat.Norm(&residual, 2)
		return f * f / 2
	}
	return problem{func(g, x []float64) float64 {
		c := cost(mat.NewDense(n, p, x))
		mat.NewDense(n, p, g).Mul(&residual, r.T())
		return c
	}, cost(&best), func(x []float64) float64 {
		var d mat.Dense
		d.Sub(mat.NewDense(n, p, x), &best)
		return mat.Norm(&d, 2)
	}}
}

// kabsch is -<x, U S V^T>, where det(U V^T) < 0: among rotations, the solution is U diag(1, ..., 1, -1) V^T (Kabsch 1976).
func kabsch(rng *rand.Rand, n, p int) problem {
	_, u := rotated(rng, make([]float64, n))
	_, v := rotated(rng, make([]float64, n))
	if mat.Det(mat.NewDense(n, n, u))*mat.Det(mat.NewDense(n, n, v)) > 0 {
		for i := range n {
			u[i*n] *= -1
		}
	}
	m, solution, best := make([]float64, n*n), make([]float64, n*n), 0.0
	for l := range n {
		s, sign := 2-0.5*float64(l), 1.0 // curvatures are sums of two, with a minus for the last
		if l == n-1 {
			s, sign = 0.3, -1
		}
		best -= s * sign
		for i := range n {
			for j := range n {
				m[i*n+j] += s * u[i*n+l] * v[j*n+l]
				solution[i*n+j] += sign * u[i*n+l] * v[j*n+l]
			}
		}
	}
	return problem{func(g, x []float64) float64 {
		cost := 0.0
		for e, v := range m {
			g[e] = -v
			cost -= v * x[e]
		}
		return cost
	}, best, func(x []float64) float64 {
		off := 0.0
		for e, v := range solution {
			off = math.Hypot(off, x[e]-v)
		}
		return off
	}}
}

// arena is a kernel with a problem for each of its points.
type arena struct {
	name     string
	variant  bool // of the metric or the retraction
	shape    []int
	at       place
	problems func(rng *rand.Rand, n, p int) problem
}

func arenas() []arena {
	on := func(name string, m manifolds.Manifold, g manifolds.Grouping) place {
		return place{name, m, []manifolds.Option{g, manifolds.Unit}}
	}
	list := []arena{
		{"Rayleigh", false, []int{3, 2, 2, 3}, on("sphere per filter", manifolds.Sphere{}, manifolds.PerFilter), nil},
		{"Rayleigh", false, []int{2, 2, 3, 3}, on("sphere per slice", manifolds.Sphere{}, manifolds.PerSlice), nil},
		{"Rayleigh", false, []int{4, 2, 1, 3}, on("sphere per tap, geodesic", manifolds.Sphere{Geodesic: true}, manifolds.PerTap), nil},
		{"Rayleigh", false, []int{5, 3, 2, 1}, on("sphere per input channel", manifolds.Sphere{}, manifolds.PerInputChannel), nil},
		{"column-wise Rayleigh", false, []int{2, 2, 4, 3}, on("oblique columns", manifolds.Oblique{Axis: manifolds.Columns}, manifolds.PerSlice), rayleigh},
		{"column-wise Rayleigh", false, []int{2, 2, 3, 4}, on("oblique wide columns, geodesic", manifolds.Oblique{Axis: manifolds.Columns, Geodesic: true}, manifolds.PerSlice), rayleigh},
		{"row-wise Rayleigh", false, []int{3, 2, 2, 2}, on("oblique rows", manifolds.Oblique{Axis: manifolds.Rows}, manifolds.FilterBank), rayleigh},
	}
	for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
		for _, r := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic,
			manifolds.OneStep, manifolds.IterativeCayley, manifolds.Landing} {
			m := manifolds.Stiefel{Metric: metric, Retraction: r}
			name, variant := fmt.Sprintf("%v %d", r, metric), r != manifolds.CholeskyQR || metric != manifolds.EuclideanMetric
			for _, c := range []struct {
				name string
				f    func(*rand.Rand, int, int) problem
			}{{"Brockett", brockett}, {"Procrustes", procrustes}} {
				list = append(list,
					arena{c.name, variant, []int{3, 2, 2, 2}, on("wide bank, "+name, m, manifolds.FilterBank), c.f},
					arena{c.name, variant, []int{8, 3, 1, 1}, on("tall bank, "+name, m, manifolds.FilterBank), c.f},
					arena{c.name, variant, []int{6, 2, 1, 2}, on("tall per tap, "+name, m, manifolds.PerTap), c.f})
			}
		}
	}
	gr, so := manifolds.Grassmann{}, manifolds.SpecialOrthogonal{}
	cayley := manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Cayley}
	whitened, err := manifolds.NewGeneralizedStiefel(8, variances(8))
	if err != nil {
		panic(err)
	}
	return append(list,
		arena{"nearest", false, []int{3, 2, 2, 2}, on("spectral ball", manifolds.SpectralBall{}, manifolds.FilterBank), nearest},
		arena{"generalized Rayleigh", false, []int{3, 2, 2, 2}, on("wide bank", whitened, manifolds.FilterBank), generalized},
		arena{"generalized Rayleigh", true, []int{8, 3, 1, 1}, on("tall bank", whitened, manifolds.FilterBank), generalized},
		arena{"Brockett", true, []int{3, 2, 2, 2}, on("wide bank, Cayley", cayley, manifolds.FilterBank), brockett},
		arena{"PCA", false, []int{3, 2, 2, 2}, on("span of a wide bank", gr, manifolds.FilterBank), subspace},
		arena{"PCA", false, []int{6, 2, 1, 2}, on("span per tap, geodesic", manifolds.Grassmann{Geodesic: true}, manifolds.PerTap), subspace},
		arena{"Kabsch", false, []int{2, 2, 3, 3}, on("rotations", so, manifolds.PerSlice), kabsch},
		arena{"Kabsch", false, []int{4, 4, 1, 2}, on("rotations per tap, geodesic", manifolds.SpecialOrthogonal{Retraction: manifolds.Geodesic}, manifolds.PerTap), kabsch})
}

// contender is a solver with a learning rate that suits the problems, whose
// curvature is between 1/3 and 4.
type contender struct {
	maker
	// gap and off are the tolerances in float64.
	gap, off float64
	plain    bool // one that shows every metric and retraction
	// tick sets the learning rate of a wrapped solver.
	tick func(s stepper, step int)
}

const steps = 1000

func contenders() []contender {
	type options = []solvers.Option
	native := func(name string, make func(...solvers.Option) *solvers.Solver, rate float64, own ...solvers.Option) contender {
		return contender{maker{name: name, of: func(opts ...solvers.Option) stepper {
			return make(append(append(options{solvers.LearnRate(rate)}, own...), opts...)...)
		}}, 1e-14, 1e-12, false, func(stepper, int) {}}
	}
	// The normal part of the gradient, which does not vanish at the solution, makes
	// ambient momentum a brake: see TestAmbientMomentumBrakes. It gets a smaller
	// rate and is still on its way.
	ambient := func(name string, own ...solvers.Option) contender {
		c := native(name, solvers.NewSGD, 0.02, append(own, solvers.Momentum(0.9), solvers.AmbientMomentum())...)
		c.gap, c.off = 1e-6, 1e-2
		return c
	}
	wrapped := func(name string, rate float64, s solvers.Schedule, make func() gorgonia.Solver) contender {
		return contender{maker{name: "Constrain(" + name + ")", of: func(opts ...solvers.Option) stepper {
			return solvers.ConstrainWith(make(), opts...)
		}}, 1e-14, 1e-12, false, func(c stepper, step int) {
			gorgonia.WithLearnRate(rate * s.At(step))(c.(*solvers.Constrained).Unwrap())
		}}
	}
	plain := func(c contender) contender {
		c.plain = true
		return c
	}
	loose := func(c contender) contender { // its rate does not fall, and retractions that drift keep it in motion
		c.gap = 1e-13
		return c
	}
	falling := solvers.Cosine(steps, 0)
	return []contender{
		plain(native("SGD", solvers.NewSGD, 0.25)),
		ambient("SGD ambient momentum"),
		plain(native("SGD tangent momentum", solvers.NewSGD, 0.05, solvers.Momentum(0.9))),
		ambient("SGD Nesterov", solvers.Nesterov()),
		native("SGD tangent Nesterov", solvers.NewSGD, 0.05, solvers.Momentum(0.9), solvers.Nesterov()),
		native("SGD geometric", solvers.NewSGD, 0.25, solvers.GeometricStep()),
		native("SGD sampled geometric", solvers.NewSGD, 0.25, solvers.SampledGeometricStep()),
		plain(native("Adam", solvers.NewAdam, 0.1, solvers.Anneal(falling))),
		native("AMSGrad", solvers.NewAdam, 0.1, solvers.AMSGrad(), solvers.Anneal(falling)),
		native("Adagrad", solvers.NewAdagrad, 1),
		native("RMSProp", solvers.NewRMSProp, 0.1, solvers.Rho(0.9), solvers.Anneal(falling)),
		native("RDoG", solvers.NewRDoG, 1, solvers.DistanceFor(solvers.EachPoint)),
		loose(native("RDoWG", solvers.NewRDoWG, 1, solvers.DistanceFor(solvers.EachPoint))),
		wrapped("Vanilla", 0.25, solvers.Constant(), func() gorgonia.Solver { return gorgonia.NewVanillaSolver() }),
		wrapped("Momentum", 0.05, solvers.Constant(), func() gorgonia.Solver { return gorgonia.NewMomentum() }),
		wrapped("Adam", 0.1, falling, func() gorgonia.Solver { return gorgonia.NewAdamSolver() }),
	}
}

// In float64 the gap closes to the rounding of the cost, the distance to that
// of the gradient over the least curvature; float32 rounds the weights, which the
// cost feels as a few eps and the distance as some tens. Every metric and retraction of Stiefel with
// every solver takes a minute:
//
//	KERNELFOLD_LONG=1 go test -run KnownSolutions ./solvers
func TestKnownSolutions(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for minutes under the race detector")
	}
	t.Parallel()
	for _, of := range precisions {
		for _, a := range arenas() {
			for _, s := range contenders() {
				if a.variant && !s.plain && os.Getenv("KERNELFOLD_LONG") == "" {
					continue
				}
				if a.name == "nearest" && s.name == "Constrain(Adam)" {
					continue // it divides by elements, and projected steps of that do not rest at the nearest point
				}
				t.Run(fmt.Sprintf("%v/%s/%s/%s", of, a.name, a.at.name, s.name), func(t *testing.T) {
					gap, off := solve(t, of, a, s)
					rounding, drift := float64(btoi(of == tensor.Float32)), 0.0
					if manifolds.PropertiesOf(a.at.manifold, 8, 3).Drift > 0 {
						drift = 3e-10 // thirty times the tolerance of solvers
						if of == tensor.Float32 {
							drift = 3e-4
						}
					}
					t.Logf("gap %.1e, distance %.1e", gap, off)
					require.Less(t, gap, max(s.gap, rounding*4*eps(tensor.Float32), drift))
					require.Less(t, off, max(s.off, rounding*64*eps(tensor.Float32), drift))
				})
			}
		}
	}
}

// stage is an arena with a kernel in it.
type stage struct {
	kernel   *param
	layout   manifolds.Layout
	problems []problem
	turned   bool // points are wide, problems tall
}

// stage makes the problems, and a kernel of random weights.
func (a arena) stage(t *testing.T, of tensor.Dtype) *stage {
	t.Helper()
	layout, err := a.at.options[0].(manifolds.Grouping).Layout(a.shape)
	require.NoError(t, err)
	s := &stage{kernel: newParam("kernel", of, a.shape...), layout: layout}
	n, p := layout.N, layout.P
	s.turned = n < p && a.problems != nil
	if o, ok := a.at.manifold.(manifolds.Oblique); ok {
		s.turned = o.Axis == manifolds.Rows
	}
	rng := source(17)
	for range layout.K {
		switch {
		case a.problems == nil: // the point is a vector
			s.problems = append(s.problems, rayleigh(rng, n*p, 1))
		case s.turned:
			s.problems = append(s.problems, a.problems(rng, p, n))
		default:
			s.problems = append(s.problems, a.problems(rng, n, p))
		}
	}
	gaussian(s.kernel.w, rng, 1)
	return s
}

// each calls f for every point of the kernel, and returns what f has written to g in the order of the weights.
func (s *stage) each(t *testing.T, f func(q problem, x, g []float64)) []float64 {
	t.Helper()
	l := s.layout
	batch := func(values []float64, k, n, p int) manifolds.Points {
		x, err := manifolds.Points64(values, k, n, p)
		require.NoError(t, err)
		return x
	}
	size := l.K * l.N * l.P
	x, g, values := batch(make([]float64, size), l.K, l.N, l.P), batch(make([]float64, size), l.K, l.N, l.P), make([]float64, size)
	require.NoError(t, l.Gather(x, batch(get(s.kernel.w), size, 1, 1)))
	for i, q := range s.problems {
		xi, gi := x.Slice(i, i+1).Data64(), g.Slice(i, i+1).Data64()
		if s.turned {
			tall, slope := transposed(xi, l.N, l.P), make([]float64, l.N*l.P)
			f(q, tall, slope)
			copy(gi, transposed(slope, l.P, l.N))
			continue
		}
		f(q, xi, gi)
	}
	require.NoError(t, l.Scatter(batch(values, size, 1, 1), g))
	return values
}

// slope gives the kernel its gradient, and returns the sum of the costs.
func (s *stage) slope(t *testing.T) (cost float64) {
	t.Helper()
	put(s.kernel.g, s.each(t, func(q problem, x, g []float64) { cost += q.slope(g, x) }))
	return cost
}

// far returns how far above the best cost the kernel is, as a part of the best, and how far from the
// solution; the worst of all points.
func (s *stage) far(t *testing.T) (gap, off float64) {
	t.Helper()
	s.each(t, func(q problem, x, g []float64) {
		gap = max(gap, (q.slope(g, x)-q.best)/math.Abs(q.best))
		off = max(off, q.off(x))
	})
	return gap, off
}

// solve runs a contender and returns how far it ends from the best cost and from the solution.
func solve(t *testing.T, of tensor.Dtype, a arena, s contender) (gap, off float64) {
	t.Helper()
	at := a.stage(t, of)
	m := []*param{at.kernel}
	solver := s.of(a.at.kernels())
	require.NoError(t, solver.Init(valueGrads(m)))
	for step := range steps {
		at.slope(t)
		s.tick(solver, step)
		require.NoError(t, solver.Step(valueGrads(m)))
	}
	onManifold(t, solver.Report(), of)
	return at.far(t)
}

// With ambient momentum the gradients of earlier points are projected at this
// one. Near a solution they are normal, x_old S with S = x^T g symmetric, and
// their tangent part at x is (x_old - x) S: a force against the way that was made, or
// along it, of the rate times |S|. Where S < 0, as here, it outweighs the momentum unless
//
//	rate |S| < (1 - theta^2) / theta,
//
// with 2 |S| in the canonical metric, a bound like that of gradient descent with
// the rate over 1 - theta. Tangent momentum, and momentum of Riemannian gradients
// in Constrain, are not bound by it. TestBoundsOfAmbientMomentum has both signs.
func TestAmbientMomentumBrakes(t *testing.T) {
	a := arena{"Brockett", false, []int{8, 3, 1, 1}, place{"", manifolds.Stiefel{Metric: manifolds.CanonicalMetric},
		[]manifolds.Option{manifolds.FilterBank, manifolds.Unit}}, brockett}
	// |S| is the top of the spectrum, 4; (1 - theta^2) / theta = 0.211.
	for _, c := range []struct {
		rate      float64
		own       []solvers.Option
		converges bool
	}{
		{0.02, []solvers.Option{solvers.AmbientMomentum()}, true},  // 0.16
		{0.05, []solvers.Option{solvers.AmbientMomentum()}, false}, // 0.4
		{0.05, nil, true},
	} {
		s := contender{maker: maker{of: func(opts ...solvers.Option) stepper {
			return solvers.NewSGD(append(append(opts, c.own...), solvers.LearnRate(c.rate), solvers.Momentum(0.9))...)
		}}, tick: func(stepper, int) {}}
		gap, _ := solve(t, tensor.Float64, a, s)
		require.Equal(t, c.converges, gap < 1e-6, "gap %g at rate %g", gap, c.rate)
	}
}
