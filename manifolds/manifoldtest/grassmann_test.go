// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// grassmann is the set of the p-dimensional subspaces of R^n, each represented by an n x p matrix
// with orthonormal columns that span it: a quotient, on which x and x q are one point for every
// orthogonal q.
//
//	horizontal space  {v : x^T v = 0}
//	dimension         p (n - p)
//	projection        the polar factor
//	tangent           g - x x^T g
//	retraction        the polar factor of x + v
//	exponential       x W cos(s) W^T + U sin(s) W^T, v = U s W^T
//	curvature         at most 2; injectivity radius pi/2
//
// Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
// Anal. Appl. 20 (1998); Bendokat, Zimmermann, Absil, A Grassmann manifold handbook, Adv. Comput.
// Math. 50 (2024).
type grassmann struct{}

func (grassmann) String() string { return "grassmann" }

func (grassmann) Check(n, p int) error {
	if p < 1 || n < p {
		return fmt.Errorf("grassmann: want at least as many rows as columns, got %dx%d", n, p)
	}
	return nil
}

func (m grassmann) Properties(n, p int) manifolds.Properties {
	return manifolds.Properties{Dim: p * (n - p), Curvature: 2, InjectivityRadius: math.Pi / 2, Cost: 2 * p}
}

// For chooses PerFilter: the taps of a filter, up to their sign or rotation.
func (m grassmann) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	if g == manifolds.Default {
		g = manifolds.PerFilter
	}
	return m, g
}

// mat is a matrix whose rows lie one after the other.
type mat struct {
	n, p int
	a    []float64
}

func (x mat) at(i, j int) float64 { return x.a[i*x.p+j] }

// desk is the workspace of one call, a single allocation. Its first element is the number of
// elements in use.
type desk []float64

func newDesk(x points, matrices int) desk {
	side := max(x.N, x.P)
	return make(desk, 1+matrices*side*side)
}

// clean makes the whole workspace available again.
func (d desk) clean() { d[0] = 1 }

func (d desk) mat(n, p int) mat {
	from := int(d[0])
	a := d[from : from+n*p : from+n*p]
	d[0] += float64(n * p)
	clear(a)
	return mat{n, p, a}
}

// read returns point k of x.
func (d desk) read(x points, k int) mat {
	m := d.mat(x.N, x.P)
	for i := range x.N {
		for j := range x.P {
			m.a[i*x.P+j] = x.At(k, i, j)
		}
	}
	return m
}

func (x mat) write(dst points, k int) {
	for i := range x.n {
		for j := range x.p {
			dst.Set(k, i, j, x.at(i, j))
		}
	}
}

// mul returns x y.
func (d desk) mul(x, y mat) mat {
	z := d.mat(x.n, y.p)
	for i := range x.n {
		for j := range y.p {
			for l := range x.p {
				z.a[i*z.p+j] += x.at(i, l) * y.at(l, j)
			}
		}
	}
	return z
}

// tmul returns x^T y.
func (d desk) tmul(x, y mat) mat { return d.mul(d.t(x), y) }

func (d desk) t(x mat) mat {
	z := d.mat(x.p, x.n)
	for i := range x.n {
		for j := range x.p {
			z.a[j*z.p+i] = x.at(i, j)
		}
	}
	return z
}

// plus adds f y to x.
func (x mat) plus(f float64, y mat) mat {
	for e, v := range y.a {
		x.a[e] += f * v
	}
	return x
}

// columns multiplies column j of x by f[j].
func (x mat) columns(f mat) mat {
	for i := range x.n {
		for j := range x.p {
			x.a[i*x.p+j] *= f.a[j]
		}
	}
	return x
}

// svd turns the columns of x until they are orthogonal: x W = U s, by the one-sided method of
// Jacobi. It returns U s, s and W.
func (d desk) svd(x mat) (us, s, w mat) {
	us, s, w = d.mat(x.n, x.p), d.mat(1, x.p), d.mat(x.p, x.p)
	copy(us.a, x.a)
	for j := range x.p {
		w.a[j*x.p+j] = 1
	}
	rotate := func(m mat, j, l int, c, sn float64) {
		for i := range m.n {
			a, b := m.at(i, j), m.at(i, l)
			m.a[i*m.p+j], m.a[i*m.p+l] = c*a-sn*b, sn*a+c*b
		}
	}
	for sweep, worst := 0, 1.0; worst > 1e-15 && sweep < 40; sweep++ {
		worst = 0
		for j := range x.p {
			for l := j + 1; l < x.p; l++ {
				jj, ll, jl := 0.0, 0.0, 0.0
				for i := range x.n {
					jj += us.at(i, j) * us.at(i, j)
					ll += us.at(i, l) * us.at(i, l)
					jl += us.at(i, j) * us.at(i, l)
				}
				if jl == 0 || !(math.Abs(jl) > 1e-16*math.Sqrt(jj*ll)) {
					continue
				}
				worst = max(worst, math.Abs(jl)/math.Sqrt(jj*ll))
				z := (ll - jj) / (2 * jl)
				t := math.Copysign(1, z) / (math.Abs(z) + math.Hypot(1, z))
				c := 1 / math.Hypot(1, t)
				rotate(us, j, l, c, c*t)
				rotate(w, j, l, c, c*t)
			}
		}
	}
	for j := range x.p {
		for i := range x.n {
			s.a[j] = math.Hypot(s.a[j], us.at(i, j))
		}
	}
	return us, s, w
}

// each calls f for every point with fresh parts of one work space.
func (grassmann) each(op string, x points, matrices int, f func(d desk, k int) string) error {
	d := newDesk(x, matrices)
	for k := range x.K {
		d.clean()
		if reason := f(d, k); reason != "" {
			return &manifolds.PointError{Manifold: "grassmann", Op: op, Point: k, Reason: reason}
		}
	}
	return nil
}

func (m grassmann) admit(op string, x points, others ...points) error {
	if err := m.Check(x.N, x.P); err != nil {
		return err
	}
	return manifolds.Agree(op, x, others...)
}

// polar writes U W^T for a = U s W^T.
func (m grassmann) polar(d desk, a mat, dst points, k int) string {
	largest := 0.0
	for _, v := range a.a {
		largest = max(largest, math.Abs(v))
	}
	if !(largest > 0) || math.IsInf(largest, 0) {
		return fmt.Sprintf("want a finite matrix of full rank, got elements of %g at most", largest)
	}
	for e := range a.a {
		a.a[e] /= largest
	}
	us, s, w := d.svd(a)
	least, most := s.a[0], s.a[0]
	for _, v := range s.a {
		least, most = min(least, v), max(most, v)
	}
	if !(least > 1e-14*most) {
		return fmt.Sprintf("want full rank, got singular values of %g to %g", least, most)
	}
	for j := range s.a {
		s.a[j] = 1 / s.a[j]
	}
	d.mul(us.columns(s), d.t(w)).write(dst, k)
	return ""
}

func (m grassmann) Project(dst, x points) error {
	if err := m.admit("project", dst, x); err != nil {
		return err
	}
	return m.each("project", x, 6, func(d desk, k int) string { return m.polar(d, d.read(x, k), dst, k) })
}

func (m grassmann) Retract(dst, x, v points) error {
	if err := m.admit("retract", dst, x, v); err != nil {
		return err
	}
	return m.each("retract", x, 7, func(d desk, k int) string {
		return m.polar(d, d.read(x, k).plus(1, d.read(v, k)), dst, k)
	})
}

// horizontal returns g - x x^T g.
func (d desk) horizontal(x, g mat) mat {
	for range 2 { // the second time to remove rounding errors
		g.plus(-1, d.mul(x, d.tmul(x, g)))
	}
	return g
}

func (m grassmann) Tangent(dst, x, g points) error {
	if err := m.admit("tangent", dst, x, g); err != nil {
		return err
	}
	return m.each("tangent", x, 8, func(d desk, k int) string {
		d.horizontal(d.read(x, k), d.read(g, k)).write(dst, k)
		return ""
	})
}

func (m grassmann) Transport(dst, x, y, u points) error {
	if err := m.admit("transport", dst, x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

func (m grassmann) Membership(x points) float64 {
	worst := 0.0
	d := newDesk(x, 3)
	for k := range x.K {
		d.clean()
		a := d.read(x, k)
		gram, e := d.tmul(a, a), 0.0
		for i := range x.P {
			gram.a[i*x.P+i]--
		}
		for _, v := range gram.a {
			e = math.Hypot(e, v)
		}
		if math.IsInf(e, 0) || e != e {
			return math.NaN()
		}
		worst = max(worst, e)
	}
	return worst
}

func (m grassmann) Random(dst points, rng *rand.Rand) error {
	each(dst, func(k, i, j int) { dst.Set(k, i, j, rng.NormFloat64()) })
	return m.Project(dst, dst)
}

// Same returns the largest |y - x x^T y| / sqrt(p), which is the root mean square of the sines of
// the angles between the subspaces.
func (m grassmann) Same(x, y points) (float64, error) {
	if err := m.admit("same", x, y); err != nil {
		return 0, err
	}
	worst := 0.0
	d := newDesk(x, 8)
	for k := range x.K {
		d.clean()
		e := 0.0
		for _, v := range d.horizontal(d.read(x, k), d.read(y, k)).a {
			e = math.Hypot(e, v)
		}
		worst = max(worst, e/math.Sqrt(float64(x.P)))
	}
	return worst, nil
}

// walk returns x W cos(s) W^T + U sin(s) W^T for v = U s W^T.
func (d desk) walk(x, v mat) mat {
	us, s, w := d.svd(v)
	cos, sinc := d.mat(1, x.p), d.mat(1, x.p)
	for j, a := range s.a {
		cos.a[j], sinc.a[j] = math.Cos(a), 1
		if a > 0 {
			sinc.a[j] = math.Sin(a) / a
		}
	}
	return d.mul(d.mul(x, w).columns(cos).plus(1, us.columns(sinc)), d.t(w))
}

func (m grassmann) Exp(dst, x, v points) error {
	if err := m.admit("exp", dst, x, v); err != nil {
		return err
	}
	return m.each("exp", x, 16, func(d desk, k int) string {
		for _, e := range d.read(v, k).a {
			if math.Abs(e) > math.MaxFloat64 || e != e {
				return "want a finite step"
			}
		}
		return m.polar(d, d.walk(d.read(x, k), d.read(v, k)), dst, k)
	})
}

// log returns log_x y, and y in the representation that Exp_x leads to.
func (d desk) log(x, y mat) (v, turned mat, reason string) {
	us, s, w := d.svd(d.tmul(y, x)) // y^T x = Q D R^T
	for j, c := range s.a {
		if !(c > 1e-7) {
			return v, turned, fmt.Sprintf("want subspaces without a right angle, got the cosine %g", c)
		}
		s.a[j] = 1 / c
	}
	turned = d.mul(y, d.mul(us.columns(s), d.t(w))) // y Q R^T
	part := d.mat(x.n, x.p)
	copy(part.a, turned.a)
	us, s, w = d.svd(d.horizontal(x, part))
	inside := d.mul(d.tmul(x, turned), w)
	for j, sine := range s.a {
		cosine := 0.0
		for i := range x.p {
			cosine = math.Hypot(cosine, inside.at(i, j))
		}
		s.a[j] = 1
		if sine > 0 {
			s.a[j] = math.Atan2(sine, cosine) / sine
		}
	}
	return d.mul(us.columns(s), d.t(w)), turned, ""
}

func (m grassmann) Log(dst, x, y points) error {
	if err := m.admit("log", dst, x, y); err != nil {
		return err
	}
	return m.each("log", x, 40, func(d desk, k int) string {
		v, _, reason := d.log(d.read(x, k), d.read(y, k))
		if reason == "" {
			v.write(dst, k)
		}
		return reason
	})
}

func (m grassmann) Dist(out []float64, x, y points) error {
	if err := m.admit("distance", x, y); err != nil {
		return err
	}
	if len(out) != x.K {
		return fmt.Errorf("grassmann: want %d numbers, got %d", x.K, len(out))
	}
	return m.each("distance", x, 40, func(d desk, k int) string {
		v, _, reason := d.log(d.read(x, k), d.read(y, k))
		out[k] = 0
		for _, e := range v.a {
			out[k] = math.Hypot(out[k], e)
		}
		return reason
	})
}

// ParallelTransport writes (u + (U (cos s - 1) - x W sin s) U^T u) q for log_x y = U s W^T, with q
// the rotation from where Exp leads to y.
func (m grassmann) ParallelTransport(dst, x, y, u points) error {
	if err := m.admit("parallel transport", dst, x, y, u); err != nil {
		return err
	}
	return m.each("parallel transport", x, 80, func(d desk, k int) string {
		X, Y, V := d.read(x, k), d.read(y, k), d.read(u, k)
		v, turned, reason := d.log(X, Y)
		if reason != "" {
			return reason
		}
		us, s, w := d.svd(v)
		one, sin, inverse := d.mat(1, X.p), d.mat(1, X.p), d.mat(1, X.p)
		for j, a := range s.a {
			half := math.Sin(a / 2)
			one.a[j], sin.a[j] = -2*half*half, -math.Sin(a)
			if a > 0 {
				inverse.a[j] = 1 / a
			}
		}
		us.columns(inverse)
		along := d.tmul(us, V)
		moved := d.mul(X, w).columns(sin).plus(1, d.mul(us, d.diagonal(one)))
		d.mul(V.plus(1, d.mul(moved, along)), d.tmul(turned, Y)).write(dst, k)
		return ""
	})
}

func (d desk) diagonal(f mat) mat {
	m := d.mat(f.p, f.p)
	for j, v := range f.a {
		m.a[j*f.p+j] = v
	}
	return m
}

var (
	_ manifolds.Quotient            = grassmann{}
	_ manifolds.Exponential         = grassmann{}
	_ manifolds.Logarithm           = grassmann{}
	_ manifolds.ParallelTransporter = grassmann{}
	_ manifolds.Described           = grassmann{}
	_ manifolds.Sampler             = grassmann{}
	_ manifolds.Grouper             = grassmann{}
)

// A quotient passes the tests, which compare its points by class.
func TestGrassmann(t *testing.T) {
	manifoldtest.Run(t, grassmann{})
	manifoldtest.Run(t, grassmann{}, manifoldtest.Shape{K: 3, N: 6, P: 2}, manifoldtest.Shape{K: 2, N: 7, P: 4})
}

// Quotients with one defect each.

// The tangent projection of Stiefel: not horizontal, and of more dimensions than the quotient has.
type vertical struct{ grassmann }

func (m vertical) Tangent(dst, x, g points) error { return manifolds.Stiefel{}.Tangent(dst, x, g) }
func (m vertical) Transport(dst, x, y, u points) error {
	return manifolds.Stiefel{}.Transport(dst, x, y, u)
}

// Same compares matrices instead of classes.
type represented struct{ grassmann }

func (m represented) Same(x, y points) (float64, error) {
	d := x.Like()
	if err := d.Combine(1, x, -1, y); err != nil {
		return 0, err
	}
	return d.Norm() / x.Norm(), nil
}

// Same returns 0 for all points.
type alike struct{ grassmann }

func (m alike) Same(x, y points) (float64, error) {
	_, err := m.grassmann.Same(x, y)
	return 0, err
}

// A distance that is not proportional to the step.
type squaredSame struct{ grassmann }

func (m squaredSame) Same(x, y points) (float64, error) {
	d, err := m.grassmann.Same(x, y)
	return d * d, err
}

// A logarithm that depends on the representative of a point.
type unaligned struct{ grassmann }

func (m unaligned) Log(dst, x, y points) error {
	if err := m.admit("log", dst, x, y); err != nil {
		return err
	}
	if err := dst.Combine(1, y, -1, x); err != nil {
		return err
	}
	return m.Tangent(dst, x, dst)
}

// Transport that ends in the tangent space of another representative.
type unturned struct{ grassmann }

func (m unturned) ParallelTransport(dst, x, y, u points) error {
	if err := m.admit("parallel transport", dst, x, y, u); err != nil {
		return err
	}
	v := x.Like()
	if err := m.Log(v, x, y); err != nil {
		return err
	}
	return m.grassmann.ParallelTransport(dst, x, x, u)
}

// A step to another subspace.
type aside struct{ grassmann }

func (m aside) Retract(dst, x, v points) error {
	w := v.Like()
	if err := manifolds.Agree("retract", dst, x, v); err != nil {
		return err
	}
	if err := w.Combine(1.01, v, 0, v); err != nil {
		return err
	}
	return m.grassmann.Retract(dst, x, w)
}

func TestBrokenQuotients(t *testing.T) {
	for _, c := range []struct {
		m      manifolds.Manifold
		oracle string
	}{
		{vertical{}, "dimension"},
		{represented{}, "tangent"},
		{alike{}, "quotient"},
		{squaredSame{}, "quotient"},
		{unaligned{}, "logarithm"},
		{unturned{}, "parallel"},
		{aside{}, "retract"},
		{aside{}, "tangent"},
	} {
		t.Run(fmt.Sprintf("%T/%s", c.m, c.oracle), func(t *testing.T) {
			var by []string
			for _, f := range manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 5, P: 2})) {
				by = append(by, f.Oracle)
			}
			assert.Contains(t, by, c.oracle)
		})
	}
}
