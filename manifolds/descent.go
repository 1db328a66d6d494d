// SPDX-License-Identifier: Apache-2.0

package manifolds

import "github.com/kernelfold/kernelfold/internal/fused"

// Descender is implemented by a manifold that can make a whole step of gradient
// descent with momentum at once, in place: a solver then reads and writes its memory
// once instead of once for each operation. What it computes is what the methods of
// Manifold say, but for rounding.
type Descender interface {
	// Descends reports whether Descend serves such steps of n x p points.
	Descends(n, p int, d Descent) bool

	// Descend makes the step. Without momentum m has no points, K = 0.
	//
	// It cannot fail. Norms of g and m are below 10^15, or 10^150 in float64, and x is
	// on the manifold unless somebody else wrote it; a point that is not finite may
	// become anything that is not.
	Descend(x, m, g Points, d Descent) Moved
}

// Descent is a step of gradient descent with momentum. For every point x with
// Euclidean gradient g and momentum m,
//
//	v  = P_x(Ahead m + Slope g)              tangent projection
//	y  = R_x(-Rate/g_t v)                    retraction
//	m <- Keep m + Take g                     ambient momentum
//	m <- T_y(P_x(Keep m + Take g))           tangent momentum, T the transport from x to y
//	x <- y,  g <- 0.
type Descent struct {
	Keep, Take   float64
	Ahead, Slope float64
	Rate         float64
	Decay        float64 // in Euclidean space v is Ahead m + Slope g + Decay x; 0 elsewhere
	Tangent      bool    // whether m is a tangent vector
	Geometric    bool    // whether g_t is the geometric factor of the norm of v, or 1
}

// Moved is what a step did: the sums of |v|^2, without decay, and of |Rate/g_t v|^2 over
// the points, and the largest g_t.
type Moved struct{ Direction, Length, Factor float64 }

// GeometricFactor returns
//
//	g_t = sqrt(max(1, r^2 max((2 rho + r)^2, 1 + c (rho + r)))),  rho = 1/sqrt(c),
//
// by which Ozay and Okatani (arXiv 1610.07008, theorem 2) divide the learning rate
// for a direction of norm r on a manifold of sectional curvature at most c > 0.
func GeometricFactor(r, c float64) float64 { return fused.GeometricFactor(r, c) }

// pass is the step as internal/fused knows it.
func (d Descent) pass() fused.Step {
	return fused.Step{Keep: d.Keep, Take: d.Take, Ahead: d.Ahead, Slope: d.Slope, Rate: d.Rate, Tangent: d.Tangent}
}

// Descends reports true: the projection is the identity, and the retraction addition.
func (Euclidean) Descends(n, p int, d Descent) bool { return !d.Geometric }

// Descend writes x - Rate (Ahead m + Slope g + Decay x).
func (Euclidean) Descend(x, m, g Points, d Descent) Moved {
	shrink := 1 - d.Rate*d.Decay
	if x.f64 != nil {
		return Moved(fused.Flat(x.f64, m.f64, g.f64, d.pass(), shrink))
	}
	return Moved(fused.Flat(x.f32, m.f32, g.f32, d.pass(), shrink))
}

// descends: moving by geodesics needs other sums, as does tangent momentum seen from
// ahead, and the geometric factor of a point of several vectors belongs to all of them.
func (s spheres[T]) descends(lines int, d Descent) bool {
	ahead := d.Keep != d.Ahead || d.Take != d.Slope
	return !s.geodesic && d.Decay == 0 && !(d.Tangent && ahead) && !(d.Geometric && lines > 1)
}

func (s spheres[T]) descend(x block[T], m, g []T, d Descent) Moved {
	step := d.pass()
	step.Radius, step.Centred = s.r, s.centred
	if d.Geometric {
		step.Curvature = 1 / (s.r * s.r)
	}
	switch s.axis {
	case whole:
		return Moved(fused.Spheres(x.data, m, g, x.n*x.p, step))
	case Rows:
		return Moved(fused.Spheres(x.data, m, g, x.p, step))
	}
	return Moved(fused.Columns(x.data, m, g, x.n, x.p, step))
}

// Descends reports false for geodesics and for tangent momentum with a look ahead.
func (m Sphere) Descends(n, p int, d Descent) bool { return m.s64().descends(1, d) }

// Descend makes the step in two sweeps over each point.
func (m Sphere) Descend(x, mu, g Points, d Descent) Moved {
	if x.f64 != nil {
		return m.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return m.s32().descend(x.b32(), mu.f32, g.f32, d)
}

// Descends reports false for geodesics and for tangent momentum with a look ahead.
func (m CentredSphere) Descends(n, p int, d Descent) bool { return m.s64().descends(1, d) }

// Descend makes the step in two sweeps over each point.
func (m CentredSphere) Descend(x, mu, g Points, d Descent) Moved {
	if x.f64 != nil {
		return m.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return m.s32().descend(x.b32(), mu.f32, g.f32, d)
}

// Descends reports false for geodesics, for tangent momentum with a look ahead, and for
// the geometric factor of points of several vectors.
func (m Oblique) Descends(n, p int, d Descent) bool { return m.s64().descends(m.count(n, p), d) }

// Descend makes the step in two sweeps over each point.
func (m Oblique) Descend(x, mu, g Points, d Descent) Moved {
	if x.f64 != nil {
		return m.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return m.s32().descend(x.b32(), mu.f32, g.f32, d)
}

var (
	_ Descender = Euclidean{}
	_ Descender = Sphere{}
	_ Descender = CentredSphere{}
	_ Descender = Oblique{}
)
