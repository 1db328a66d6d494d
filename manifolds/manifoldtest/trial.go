// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/manifolds"
)

// precision is float32 or float64, with its eps and with tiny and huge norms whose squares float64
// can still hold.
type precision struct {
	name       string
	double     bool
	eps        float64
	tiny, huge float64
}

var (
	single     = precision{"float32", false, 0x1p-23, 1e-20, 1e18}
	double     = precision{"float64", true, 0x1p-52, 1e-150, 1e150}
	precisions = []precision{single, double}
)

// slack is the c of the tolerance c sqrt(n) eps. An operation makes a few passes over the n
// elements of a point, and a factorisation about ten. Each pass adds n rounding errors of random
// sign, about sqrt(n) eps together. The condition numbers of the points that the trials draw are
// small.
const slack = 32

// trial is one run of an oracle: one manifold at one precision and shape.
type trial struct {
	m        manifolds.Manifold
	oracle   string
	prec     precision
	shape    Shape
	rng      *rand.Rand
	tol      float64 // slack sqrt(n p) eps, relative
	failures []*Failure
}

// abandon is the panic value that ends a trial early.
type abandon struct{}

func newTrial(m manifolds.Manifold, name string, p precision, s Shape) *trial {
	h := fnv.New64a()
	fmt.Fprint(h, name, p.name, s)
	return &trial{
		m: m, oracle: name, prec: p, shape: s,
		rng: rand.New(rand.NewPCG(1, h.Sum64())),
		tol: slack * math.Sqrt(float64(s.N*s.P)) * p.eps,
	}
}

func (t *trial) fail(property, want, got string) {
	t.failures = append(t.failures, &Failure{manifolds.Name(t.m), t.oracle, t.prec.name, t.shape, property, want, got})
}

// done records a failure and ends the trial if err is not nil.
func (t *trial) done(call string, err error) {
	if err != nil {
		t.fail(call, "no error", err.Error())
		panic(abandon{})
	}
}

// The assertions below take the equation that they check, as failures print it.

// atMost asserts got <= bound, and that got is not NaN.
func (t *trial) atMost(property string, got, bound float64) {
	if !(got <= bound) {
		t.fail(property, fmt.Sprintf("at most %.3g", bound), fmt.Sprintf("%.3g", got))
	}
}

// atLeast asserts got >= bound, and that got is not NaN.
func (t *trial) atLeast(property string, got, bound float64) {
	if !(got >= bound) {
		t.fail(property, fmt.Sprintf("at least %.3g", bound), fmt.Sprintf("%.3g", got))
	}
}

// equal asserts |got - want| <= tol * size for each point.
func (t *trial) equal(property string, got, want manifolds.Points, size []float64) {
	t.vanish(property, norms(minus(wide(got), wide(want))), size)
}

// equalPoints asserts that two batches hold the same points, or on a quotient the same classes.
func (t *trial) equalPoints(property string, got, want manifolds.Points, size []float64) {
	if has[manifolds.Quotient](t.m) {
		t.atMost(property+" as a class, Same", t.same(got, want), 4*t.tol)
		return
	}
	t.equal(property, got, want, size)
}

// equalNumbers asserts |got - want| <= tol * size for each point.
func (t *trial) equalNumbers(property string, got, want, size []float64) {
	diff := make([]float64, len(got))
	for k := range got {
		diff[k] = math.Abs(got[k] - want[k])
	}
	t.vanish(property, diff, size)
}

// vanish asserts got <= tol * size for each point.
func (t *trial) vanish(property string, got, size []float64) {
	worst, at := -1.0, 0
	for k := range got {
		e := got[k] / size[k]
		if got[k] == 0 {
			e = 0
		}
		if !(e <= worst) {
			worst, at = e, k
		}
		if e != e {
			break
		}
	}
	if !(worst <= t.tol) {
		t.fail(property, fmt.Sprintf("a relative difference of at most %.3g", t.tol), fmt.Sprintf("%.3g at point %d", worst, at))
	}
}

// member asserts that the points of x lie on the manifold.
func (t *trial) member(property string, x manifolds.Points) {
	t.atMost(property+" is on the manifold, Membership", t.m.Membership(x), t.tol)
}

// sameBits asserts that two batches are equal, bit for bit.
func (t *trial) sameBits(property string, got, want manifolds.Points) {
	for e := range want.Len() {
		if math.Float64bits(value(got, e)) != math.Float64bits(value(want, e)) {
			t.fail(property, fmt.Sprintf("the same bits, %v at element %d", value(want, e), e), fmt.Sprint(value(got, e)))
			return
		}
	}
}

// The functions below call the operations of the manifold. The destination is full of NaN, so that
// elements that are not written, or are read before, show.

func (t *trial) dst() manifolds.Points { return filled(t.prec, t.shape, math.NaN()) }

func (t *trial) project(a manifolds.Points) manifolds.Points {
	dst := filledLike(a, math.NaN())
	err := t.m.Project(dst, a)
	if refusal(err) && !t.bounded() && !has[manifolds.Sampler](t.m) {
		t.fail("Project(a)", "no error, or a method Random (manifolds.Sampler) that makes points of an open set", err.Error())
		panic(abandon{})
	}
	t.done("Project(a)", err)
	return dst
}

func (t *trial) tangent(x, g manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Tangent(x, g)", t.m.Tangent(dst, x, g))
	return dst
}

func (t *trial) retract(x, v manifolds.Points) manifolds.Points {
	dst := t.step(x, v)
	if t.known().Drift > 0 {
		dst = t.project(dst)
	}
	return dst
}

// step is retract without a projection of what drifts off the manifold.
func (t *trial) step(x, v manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Retract(x, v)", t.m.Retract(dst, x, v))
	return dst
}

func (t *trial) transport(x, y, u manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Transport(x, y, u)", t.m.Transport(dst, x, y, u))
	return dst
}

func (t *trial) gradient(x, g manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Gradient(x, g)", manifolds.Gradient(t.m, dst, x, g))
	return dst
}

func (t *trial) inner(x, u, v manifolds.Points) []float64 {
	out := make([]float64, x.K)
	t.done("Inner(x, u, v)", manifolds.Inner(t.m, out, x, u, v))
	return out
}

// ambient returns the inner products in the ambient space.
func (t *trial) ambient(u, v manifolds.Points) []float64 {
	if !has[manifolds.Ambient](t.m) {
		return dots(u, v)
	}
	out := make([]float64, u.K)
	t.done("AmbientInner(u, v)", manifolds.AmbientInner(t.m, out, u, v))
	return out
}

func (t *trial) exp(x, v manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Exp(x, v)", t.m.(manifolds.Exponential).Exp(dst, x, v))
	return dst
}

func (t *trial) log(x, y manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("Log(x, y)", t.m.(manifolds.Logarithm).Log(dst, x, y))
	return dst
}

func (t *trial) dist(x, y manifolds.Points) []float64 {
	out := make([]float64, x.K)
	t.done("Dist(x, y)", t.m.(manifolds.Logarithm).Dist(out, x, y))
	return out
}

func (t *trial) inverse(x, y manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("InverseRetract(x, y)", t.m.(manifolds.Inverse).InverseRetract(dst, x, y))
	return dst
}

func (t *trial) parallel(x, y, u manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("ParallelTransport(x, y, u)", t.m.(manifolds.ParallelTransporter).ParallelTransport(dst, x, y, u))
	return dst
}

func (t *trial) along(x, v, y, u manifolds.Points) manifolds.Points {
	dst := filledLike(x, math.NaN())
	t.done("TransportAlong(x, v, y, u)", t.m.(manifolds.PathTransporter).TransportAlong(dst, x, v, y, u))
	return dst
}

func (t *trial) same(x, y manifolds.Points) float64 {
	d, err := t.m.(manifolds.Quotient).Same(x, y)
	t.done("Same(x, y)", err)
	return d
}

func (t *trial) adjoint(v, y, g manifolds.Points) manifolds.Points {
	dst := filledLike(v, math.NaN())
	t.done("ProjectAdjoint(v, y, g)", t.m.(manifolds.Differentiable).ProjectAdjoint(dst, v, y, g))
	return dst
}

// The functions below draw random arguments.

// gauss returns a batch of independent standard normal numbers.
func (t *trial) gauss() manifolds.Points {
	a := filled(t.prec, t.shape, 0)
	for e := range a.Len() {
		put(a, e, t.rng.NormFloat64())
	}
	return a
}

// refusal reports whether an operation says that it has no answer, for one of the points.
func refusal(err error) bool {
	var pe *manifolds.PointError
	return errors.As(err, &pe) && errors.Is(err, manifolds.ErrDegenerate)
}

// bounded reports whether the points all have one norm. Nothing is far away then, so every step has an answer, and nearly every matrix a
// nearest point.
func (t *trial) bounded() bool { return has[manifolds.Scalable](t.m) }

// refuses reports whether Project has no answer for one of the matrices because the manifold is an open set, such as that of positive numbers.
// A set whose points Project cannot make must have a method Random. It asserts that the refused matrices are not points.
func (t *trial) refuses(a manifolds.Points) (some bool) {
	if t.bounded() || !has[manifolds.Sampler](t.m) {
		return false
	}
	for k := range a.K {
		at := a.Slice(k, k+1)
		if err := t.m.Project(at.Like(), at); refusal(err) {
			some = true
			t.atLeast("Membership of a matrix that Project refuses", t.m.Membership(at), t.tol)
		}
	}
	return some
}

// matrix returns a Gaussian batch, or one near the manifold if Project refuses that.
func (t *trial) matrix() manifolds.Points {
	a := t.gauss()
	if t.refuses(a) {
		return t.near()
	}
	return a
}

// point returns points of the manifold: the projection of a Gaussian batch, or random ones if Project refuses that. Those of a convex body are
// halfway to 0, inside it.
func (t *trial) point() manifolds.Points {
	a := t.gauss()
	if t.refuses(a) {
		x := t.dst()
		t.done("Random", t.m.(manifolds.Sampler).Random(x, t.rng))
		return x
	}
	x := t.project(a)
	if t.known().Convex {
		x = scaled(0.5, x)
	}
	return x
}

// near returns points off the manifold, but so close to it that their projection is well conditioned.
func (t *trial) near() manifolds.Points {
	x := t.point()
	return plus(x, t.offset(x, 0.2))
}

// offset returns matrices of norm f |x|, or shorter ones if P(x + g) has no answer.
func (t *trial) offset(x manifolds.Points, f float64) manifolds.Points {
	g := resize(t.gauss(), times(f, lengths(x)))
	t.shorten("Project(x + g)", x, g, func(x, g manifolds.Points) error { return t.m.Project(x.Like(), plus(x, g)) })
	return g
}

// errFar is the error of a step that has an answer, but one that is so far away that equations are not well conditioned.
var errFar = fmt.Errorf("too far away (%w)", manifolds.ErrDegenerate)

// shorten halves the vectors for which call has no answer, until it has one. It has one for all vectors of a bounded manifold.
func (t *trial) shorten(name string, x, v manifolds.Points, call func(x, v manifolds.Points) error) {
	if t.bounded() {
		return
	}
	const halvings = 20
	for k := range v.K {
		at, along := x.Slice(k, k+1), v.Slice(k, k+1)
		for i := 0; ; i++ {
			err := call(at, along)
			if err == nil {
				break
			}
			if !errors.Is(err, manifolds.ErrDegenerate) || i == halvings {
				t.done(fmt.Sprintf("%s of length %.2g|x|", name, norms(along)[0]/lengths(at)[0]), err)
			}
			for e := range along.Len() {
				put(along, e, value(along, e)/2)
			}
		}
	}
}

// vector returns tangent vectors at x of norm f |x|, or shorter ones if a step along them has no answer or leads far away.
func (t *trial) vector(x manifolds.Points, f float64) manifolds.Points {
	v := t.direction(x, f)
	t.shorten("Retract(x, v) with v", x, v, func(x, v manifolds.Points) error { return t.leads(t.m.Retract, x, v) })
	if m, ok := t.m.(manifolds.Exponential); ok {
		t.shorten("Exp(x, v) with v", x, v, func(x, v manifolds.Points) error { return t.leads(m.Exp, x, v) })
	}
	return v
}

// leads makes a step and returns its error, or errFar. In the metric of the ambient space no geodesic ends farther away than it is long. In
// another metric its end may be exponentially far away, as on hyperbolic space, or where the metric is much longer or shorter.
func (t *trial) leads(move func(dst, x, v manifolds.Points) error, x, v manifolds.Points) error {
	y, long := x.Like(), norms(v)[0]
	if err := move(y, x, v); err != nil || !has[manifolds.Metric](t.m) || long <= t.tol*lengths(x)[0] {
		return err
	}
	w := t.tangent(y, v)
	before, after := t.inner(x, v, v)[0], t.inner(y, w, w)[0]
	if norms(minus(y, x))[0] > 4*long || after > 16*before || after < before/16 {
		return errFar
	}
	return nil
}

// direction returns tangent vectors at x of norm f |x|. Every other one is the projection of a matrix
// with a single non-zero element, to test tangent vectors that are concentrated in one row and
// column. If the tangent space is {0}, the vector is 0.
func (t *trial) direction(x manifolds.Points, f float64) manifolds.Points {
	g := t.gauss()
	np := g.N * g.P
	for k := 1; k < g.K; k += 2 {
		keep := t.rng.IntN(np)
		for e := range np {
			if e != keep {
				put(g, k*np+e, 0)
			}
		}
	}
	v := t.tangent(x, g)
	size := times(f, lengths(x))
	vn, gn := norms(v), norms(g)
	for k := range size {
		if vn[k] <= t.tol*gn[k] { // rounding, not a direction
			size[k] = 0
		}
	}
	// Once more: where most of g is normal, rounding leaves a normal part that is not small beside v.
	return t.tangent(x, resize(v, size))
}

// sizes returns the norms of vectors at x, or their lengths in the metric where these are longer. Rounding errors of inner products are relative
// to them.
func (t *trial) sizes(x, u manifolds.Points) []float64 {
	if !has[manifolds.Metric](t.m) {
		return norms(u)
	}
	return largest(norms(u), roots(t.inner(x, u, u)))
}

// spans returns the lengths in the metric of vectors as long as x in the direction of v, but at least the norms of x. Rounding errors of distances
// are relative to them.
func (t *trial) spans(x, v manifolds.Points) []float64 {
	size, long, norm := lengths(x), t.sizes(x, v), norms(v)
	for k := range size {
		if norm[k] > 0 {
			size[k] *= long[k] / norm[k]
		}
	}
	return size
}

// lengths returns the norms of the points, or 1 for the point 0. Steps at x are measured in these
// lengths.
func lengths(x manifolds.Points) []float64 {
	n := norms(x)
	for k := range n {
		if n[k] == 0 {
			n[k] = 1
		}
	}
	return n
}
