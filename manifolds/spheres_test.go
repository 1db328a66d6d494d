// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// The tests below hold the spheres against their formulas, computed with 300 bits from the numbers
// that the operations get, at radii and lengths of 1e-30 to 1e30. Nothing of the implementation is
// used.

// exact is a vector with 300 bits.
type exact []*big.Float

func num(v float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(v) }
func mul(a, b *big.Float) *big.Float {
	return new(big.Float).SetPrec(300).Mul(a, b)
}
func quo(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(300).Quo(a, b) }
func add(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(300).Add(a, b) }
func sub(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(300).Sub(a, b) }

func (x exact) dot(y exact) *big.Float {
	s := num(0)
	for i := range x {
		s = add(s, mul(x[i], y[i]))
	}
	return s
}

func (x exact) norm() *big.Float { return new(big.Float).SetPrec(300).Sqrt(x.dot(x)) }

// plus returns x + a y.
func (x exact) plus(a *big.Float, y exact) exact {
	z := make(exact, len(x))
	for i := range x {
		z[i] = add(x[i], mul(a, y[i]))
	}
	return z
}

func (x exact) times(a *big.Float) exact {
	z := make(exact, len(x))
	for i := range x {
		z[i] = mul(a, x[i])
	}
	return z
}

// centred returns x - mean x.
func (x exact) centred() exact {
	s := num(0)
	for i := range x {
		s = add(s, x[i])
	}
	mean, z := quo(s, num(float64(len(x)))), make(exact, len(x))
	for i := range x {
		z[i] = sub(x[i], mean)
	}
	return z
}

// sinCos returns sine and cosine, by their series at t/2^k and k duplications.
func sinCos(t *big.Float) (sin, cos *big.Float) {
	const halvings = 24
	h := quo(t, num(math.Ldexp(1, halvings)))
	square, term := mul(h, h), num(1)
	one := num(0) // 1 - cos, which duplication keeps accurate
	sin = new(big.Float).SetPrec(300).Set(h)
	for i := 1; i < 30; i++ {
		term = quo(mul(term, square), num(float64((2*i-1)*(2*i))))
		if i%2 == 1 {
			one = add(one, term)
			sin = sub(sin, quo(mul(term, h), num(float64(2*i+1))))
		} else {
			one = sub(one, term)
			sin = add(sin, quo(mul(term, h), num(float64(2*i+1))))
		}
	}
	for range halvings {
		cos = sub(num(1), one)
		one = mul(num(2), mul(sin, sin))
		sin = mul(num(2), mul(sin, cos))
	}
	return sin, sub(num(1), one)
}

// world is one of the spheres with what the references need to know of it.
type world struct {
	m       sphereLike
	r       float64
	centred bool
	axis    manifolds.Axis // Auto for whole points
}

// sphereLike is what Sphere, CentredSphere and Oblique have in common.
type sphereLike interface {
	manifolds.Manifold
	manifolds.Exponential
	manifolds.Logarithm
	manifolds.ParallelTransporter
	manifolds.PathTransporter
	manifolds.Differentiable
	manifolds.Sampler
}

func worlds(r float64, geodesic bool) []world {
	return []world{
		{manifolds.Sphere{Radius: r, Geodesic: geodesic}, r, false, manifolds.Auto},
		{manifolds.CentredSphere{Radius: r, Geodesic: geodesic}, r, true, manifolds.Auto},
		{manifolds.Oblique{Radius: r, Geodesic: geodesic, Axis: manifolds.Columns}, r, false, manifolds.Columns},
		{manifolds.Oblique{Radius: r, Geodesic: geodesic, Axis: manifolds.Rows}, r, false, manifolds.Rows},
	}
}

// vectors returns the vectors of a batch that the manifold normalises.
func (w world) vectors(x manifolds.Points) []exact {
	var out []exact
	for k := range x.K {
		switch w.axis {
		case manifolds.Columns:
			for j := range x.P {
				var v exact
				for i := range x.N {
					v = append(v, num(x.At(k, i, j)))
				}
				out = append(out, v)
			}
		default:
			var v exact
			for i := range x.N {
				for j := range x.P {
					v = append(v, num(x.At(k, i, j)))
				}
				if w.axis == manifolds.Rows {
					out, v = append(out, v), nil
				}
			}
			if w.axis == manifolds.Auto {
				out = append(out, v)
			}
		}
	}
	return out
}

func (w world) centre(x exact) exact {
	if w.centred {
		return x.centred()
	}
	return x
}

// unit returns r x / |x|.
func (w world) unit(x exact) exact { return x.times(quo(num(w.r), x.norm())) }

// tangent returns g - mean g - x <x, g> / r^2.
func (w world) tangent(x, g exact) exact {
	g = w.centre(g)
	return g.plus(mul(num(-1), quo(x.dot(g), mul(num(w.r), num(w.r)))), x)
}

// near asserts that the vectors of got are those of want within c eps of the given sizes, or of the
// smallest number of the precision; and if want has an element that the precision cannot hold, that
// the operation failed at a point.
func (w world) near(t *testing.T, what string, err error, got manifolds.Points, want []exact, size []*big.Float, c float64) {
	t.Helper()
	eps, top, least := 0x1p-52, math.MaxFloat64, math.SmallestNonzeroFloat64
	if got.Data32() != nil {
		eps, top, least = 0x1p-23, math.MaxFloat32, math.SmallestNonzeroFloat32
	}
	for _, v := range want {
		for _, e := range v {
			if new(big.Float).Abs(e).Cmp(num(top)) > 0 {
				var pe *manifolds.PointError
				assert.True(t, errors.As(err, &pe), "%s: want a *PointError for a result that overflows, got %v", what, err)
				return
			}
		}
	}
	if !assert.NoError(t, err, what) {
		return
	}
	for i, v := range w.vectors(got) {
		root := math.Sqrt(float64(len(v)))
		bound := add(mul(num(c*eps*root), size[i]), num(least*root))
		if off := v.plus(num(-1), want[i]).norm(); off.Cmp(bound) > 0 {
			assert.Fail(t, what, "vector %d is off by %.3g, more than %.3g", i, off, bound)
			return
		}
	}
}

func sizes(vs []exact) []*big.Float {
	s := make([]*big.Float, len(vs))
	for i, v := range vs {
		s[i] = v.norm()
	}
	return s
}

func radii(vs []exact, r float64) []*big.Float {
	s := make([]*big.Float, len(vs))
	for i := range s {
		s[i] = num(r)
	}
	return s
}

// fresh returns zeros of a shape in one of the precisions.
func fresh(t *testing.T, bits, k, n, p int) manifolds.Points {
	if bits == 32 {
		return points32(t, make([]float32, k*n*p), k, n, p)
	}
	return points64(t, make([]float64, k*n*p), k, n, p)
}

// draw fills x with normal numbers of the given size around the given mean.
func draw(x manifolds.Points, rng *rand.Rand, size, mean float64) manifolds.Points {
	for k := range x.K {
		for i := range x.N {
			for j := range x.P {
				x.Set(k, i, j, size*(mean+rng.NormFloat64()))
			}
		}
	}
	return x
}

func TestSpheresAtEverySize(t *testing.T) {
	extremes := []float64{1e-30, 1e-16, 1, 1e5, 1e30}
	if testing.Short() { // minutes under the race detector
		extremes = []float64{1e-30, 1e30}
	}
	for _, bits := range []int{32, 64} {
		for _, r := range extremes {
			for _, w := range worlds(r, false) {
				t.Run(fmt.Sprintf("float%d/%v", bits, w.m), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(1, 2))
					for _, s := range [][3]int{{3, 3, 3}, {2, 5, 8}} {
						for _, size := range extremes {
							for _, mean := range []float64{0, 1e6} {
								everySize(t, w, rng, fresh(t, bits, s[0], s[1], s[2]), size, mean)
							}
						}
					}
				})
			}
		}
	}
}

// everySize checks what is done with ambient vectors of one size and mean.
func everySize(t *testing.T, w world, rng *rand.Rand, like manifolds.Points, size, mean float64) {
	at := func(op string) string { return fmt.Sprintf("%s of vectors of %g with mean %g", op, size, mean) }
	eps := 0x1p-52
	if like.Data32() != nil {
		eps = 0x1p-23
	}
	x, a, dst := like.Like(), draw(like.Like(), rng, size, mean), like.Like()
	require.NoError(t, w.m.Random(x, rng))
	vx, va := w.vectors(x), w.vectors(a)
	assert.LessOrEqual(t, w.m.Membership(x), 8*eps, at("Random beside"))

	// Project, and the adjoint of its derivative with the projection as it was rounded.
	want := make([]exact, len(va))
	for i := range va {
		want[i] = w.unit(w.centre(va[i]))
	}
	err := w.m.Project(dst, a)
	w.near(t, at("Project"), err, dst, want, radii(want, w.r), 8)
	assert.LessOrEqual(t, w.m.Membership(dst), 8*eps, at("Project"))

	for _, length := range []float64{1e-30, 1, 1e30} {
		g := draw(like.Like(), rng, length, mean)
		vg, vy, scale := w.vectors(g), w.vectors(dst), make([]*big.Float, len(va))
		for i := range va {
			f := quo(num(w.r), w.centre(va[i]).norm())
			want[i] = w.tangent(vy[i], vg[i]).times(f)
			scale[i] = mul(f, w.centre(vg[i]).norm())
		}
		got := like.Like()
		err := w.m.ProjectAdjoint(got, a, dst, g)
		w.near(t, at(fmt.Sprintf("ProjectAdjoint, gradient of %g,", length)), err, got, want, scale, 8)
	}

	// Tangent, and Transport to another point.
	scale := make([]*big.Float, len(va))
	for i := range va {
		want[i], scale[i] = w.tangent(vx[i], va[i]), w.centre(va[i]).norm()
	}
	v := like.Like()
	w.near(t, at("Tangent"), w.m.Tangent(v, x, a), v, want, scale, 8)
	aliased := like.Like()
	require.NoError(t, aliased.CopyFrom(x))
	w.near(t, at("Tangent into x"), w.m.Tangent(aliased, aliased, a), aliased, want, scale, 8)
	y := like.Like()
	require.NoError(t, w.m.Random(y, rng))
	vy := w.vectors(y)
	for i := range va {
		want[i] = w.tangent(vy[i], va[i])
	}
	w.near(t, at("Transport"), w.m.Transport(dst, x, y, a), dst, want, scale, 8)

	// Retract by the tangent vector, and by the ambient one.
	for _, step := range []manifolds.Points{v, a} {
		vs := w.vectors(step)
		for i := range va {
			want[i] = w.unit(w.centre(vx[i].plus(num(1), vs[i])))
		}
		err := w.m.Retract(dst, x, step)
		w.near(t, at("Retract"), err, dst, want, radii(want, w.r), 16)
		assert.LessOrEqual(t, w.m.Membership(dst), 8*eps, at("Retract"))
	}

	// Exp and transport along it. The angle carries the rounding of |v|, and so do its sine and
	// cosine.
	u := draw(like.Like(), rng, size, 0)
	require.NoError(t, w.m.Tangent(u, x, u))
	vv, vu := w.vectors(v), w.vectors(u)
	var longest float64
	path := make([]exact, len(va))
	for i := range va {
		c := w.centre(vv[i])
		n := c.norm()
		angle := quo(n, num(w.r))
		far, _ := angle.Float64()
		if longest = max(longest, far); far > 1e3 {
			continue
		}
		sin, cos := sinCos(angle)
		e := c.times(quo(num(1), n))
		want[i] = w.unit(w.centre(vx[i].times(cos).plus(mul(num(w.r), sin), e)))
		along := vu[i].dot(e)
		path[i] = vu[i].plus(mul(along, sub(cos, num(1))), e).plus(mul(num(-1), quo(mul(along, sin), num(w.r))), vx[i])
	}
	err = w.m.Exp(dst, x, v)
	require.NoError(t, err, at("Exp"))
	assert.LessOrEqual(t, w.m.Membership(dst), 8*eps, at("Exp"))
	geodesic := worlds(w.r, true)
	along := like.Like()
	for _, g := range geodesic {
		if g.axis == w.axis && g.centred == w.centred {
			err = g.m.TransportAlong(along, x, v, dst, u)
		}
	}
	if longest <= 1e3 {
		w.near(t, at("Exp"), nil, dst, want, radii(want, w.r), 8*(1+longest))
		w.near(t, at("TransportAlong"), err, along, path, sizes(vu), 8*(1+longest))
	} else {
		require.NoError(t, err)
		for i, p := range w.vectors(along) {
			was, _ := vu[i].norm().Float64()
			is, _ := p.norm().Float64()
			assert.InEpsilon(t, was, is, 64*eps, at("TransportAlong keeps the length"))
		}
	}

	// Parallel transport, logarithm and distance between two points.
	for i := range va {
		z := vx[i].plus(num(1), vy[i])
		want[i] = vu[i].plus(mul(num(-2), quo(vu[i].dot(z), z.dot(z))), z)
	}
	err = w.m.ParallelTransport(dst, x, y, u)
	w.near(t, at("ParallelTransport"), err, dst, want, sizes(vu), 8)

	require.NoError(t, w.m.Log(dst, x, y), at("Log"))
	out := make([]float64, x.K)
	require.NoError(t, w.m.Dist(out, x, y), at("Dist"))
	squares, each := make([]float64, x.K), len(vx)/x.K
	for i, l := range w.vectors(dst) {
		n := l.norm()
		sin, cos := sinCos(quo(n, num(w.r)))
		want[i] = vx[i].times(cos).plus(quo(mul(num(w.r), sin), n), l)
		angle, _ := quo(n, num(w.r)).Float64()
		squares[i/each] += angle * angle
	}
	w.near(t, at("Exp of Log"), nil, y, want, radii(want, w.r), 16)
	for k := range out {
		assert.InEpsilon(t, w.r*math.Sqrt(squares[k]), out[k], 16*eps, at("Dist"))
	}
}

// A step of a centred sphere whose mean, a rounding error, is longer than what remains of it along the geodesic.
func TestGeodesicOfAMean(t *testing.T) {
	m := manifolds.CentredSphere{Geodesic: true}
	for _, mean := range []float64{1, 1e3, 1e10} {
		x, err := manifolds.Points64([]float64{math.Sqrt(0.5), -math.Sqrt(0.5), 0}, 1, 3, 1)
		require.NoError(t, err)
		v, err := manifolds.Points64([]float64{mean + 1, mean + 1, mean - 2}, 1, 3, 1)
		require.NoError(t, err)
		y := x.Like()
		require.NoError(t, m.Retract(y, x, v))
		assert.Less(t, m.Membership(y), 1e-15)
	}
}
