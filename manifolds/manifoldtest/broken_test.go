// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// The tests must be able to fail. Each type below is a manifold with one defect, mostly one that has
// occurred in some library; the oracle named in TestBroken must find it.

type (
	points = manifolds.Points
	sphere = manifolds.Sphere
)

// edit applies f to every element of dst.
func edit(dst points, f func(k, i, j int, v float64) float64) {
	each(dst, func(k, i, j int) { dst.Set(k, i, j, f(k, i, j, dst.At(k, i, j))) })
}

func times(dst points, s float64) {
	edit(dst, func(_, _, _ int, v float64) float64 { return s * v })
}

// A QR retraction without the sign fix: the first column comes out reversed.
type unsigned struct{ manifolds.Stiefel }

func (m unsigned) Retract(dst, x, v points) error {
	err := m.Stiefel.Retract(dst, x, v)
	edit(dst, func(_, i, j int, v float64) float64 {
		if dst.N >= dst.P && j == 0 || dst.N < dst.P && i == 0 {
			return -v
		}
		return v
	})
	return err
}

// The Q factor in place of the polar factor: on the manifold, but not nearest.
type notNearest struct{ manifolds.Stiefel }

func (m notNearest) Project(dst, x points) error { return m.Stiefel.Retract(dst, x, x.Like()) }

// A tangent projection that projects nothing.
type ambient struct{ sphere }

func (m ambient) Tangent(dst, x, g points) error {
	if err := agree(dst, x); err != nil {
		return err
	}
	return dst.CopyFrom(g)
}

// A tangent projection for unit radius on a sphere of another.
type unitTangent struct{ sphere }

func (m unitTangent) Tangent(dst, x, g points) error {
	return sphere{}.Tangent(dst, x, g)
}

// A tangent space of dimension 0.
type frozen struct{ sphere }

func (m frozen) Tangent(dst, x, g points) error {
	err := m.sphere.Tangent(dst, x, g)
	if err == nil {
		times(dst, 0)
	}
	return err
}

// A step that stays in the tangent plane.
type straight struct{ sphere }

func (m straight) Retract(dst, x, v points) error {
	return manifolds.Euclidean{}.Retract(dst, x, v)
}

// A step a tenth of a percent too long.
type long struct{ sphere }

func (m long) Retract(dst, x, v points) error {
	w := v.Like()
	if err := agree(dst, x, v); err != nil {
		return err
	}
	w.CopyFrom(v)
	times(w, 1.001)
	return m.sphere.Retract(dst, x, w)
}

// A transport that forgets to project.
type still struct{ sphere }

func (m still) Transport(dst, x, y, u points) error {
	return manifolds.Euclidean{}.Transport(dst, x, y, u)
}

// A transport to the wrong end.
type backwards struct{ sphere }

func (m backwards) Transport(dst, x, y, u points) error {
	return m.sphere.Transport(dst, y, x, u)
}

// The gradient of one metric and the inner product of another.
type twoMetrics struct{ manifolds.Stiefel }

func (m twoMetrics) Inner(out []float64, x, u, v points) error {
	m.Metric = manifolds.EuclideanMetric
	return m.Stiefel.Inner(out, x, u, v)
}

// The geodesics of one metric and the inner product of another.
type otherGeodesics struct{ manifolds.Stiefel }

func (m otherGeodesics) Exp(dst, x, v points) error {
	m.Metric = manifolds.CanonicalMetric
	return m.Stiefel.Exp(dst, x, v)
}

// The retraction in place of the exponential map: the right curve at the wrong
// speed.
type slow struct{ sphere }

func (m slow) Exp(dst, x, v points) error { return m.sphere.Retract(dst, x, v) }

// The straight-line distance in place of the geodesic one.
type chordal struct{ sphere }

func (m chordal) Dist(out []float64, x, y points) error {
	return manifolds.Euclidean{}.Dist(out, x, y)
}

// The angle by the arc cosine, which loses half of the digits near 0 and pi.
type arcCosine struct{ sphere }

func (m arcCosine) Dist(out []float64, x, y points) error {
	if err := m.sphere.Dist(out, x, y); err != nil {
		return err
	}
	for k := range out {
		c := 0.0
		for i := range x.N {
			for j := range x.P {
				c += x.At(k, i, j) * y.At(k, i, j)
			}
		}
		out[k] = math.Acos(max(-1, min(1, c)))
	}
	return nil
}

// A logarithm that is the difference, projected, but not of the right length.
type shortLog struct{ sphere }

func (m shortLog) Log(dst, x, y points) error {
	if err := agree(dst, x, y); err != nil {
		return err
	}
	return m.sphere.Tangent(dst, x, y)
}

// The tangent projection in place of parallel transport: not an isometry.
type shrinking struct{ sphere }

func (m shrinking) ParallelTransport(dst, x, y, u points) error {
	return m.sphere.Transport(dst, x, y, u)
}

// The tangent projection in place of the derivative, which it is on the manifold
// only, and the derivative without the part that turns.
type undivided struct{ sphere }

func (m undivided) ProjectAdjoint(dst, v, y, g points) error {
	if err := agree(dst, v); err != nil {
		return err
	}
	return m.Tangent(dst, y, g)
}

type divided struct{ sphere }

func (m divided) ProjectAdjoint(dst, v, y, g points) error {
	if err := agree(dst, v, y, g); err != nil {
		return err
	}
	r := make([]float64, v.K)
	for k := range r {
		r[k] = 1 / v.Slice(k, k+1).Norm()
	}
	return dst.Scale(r, g)
}

// ProjectAdjoint returns a result where Project has none.
type hopeful struct{ sphere }

func (m hopeful) ProjectAdjoint(dst, v, y, g points) error {
	if err := m.sphere.ProjectAdjoint(dst, v, y, g); !errors.Is(err, manifolds.ErrDegenerate) {
		return err
	}
	return dst.CopyFrom(g)
}

// A wrong bound of the curvature.
type flat struct{ sphere }

func (m flat) Properties(n, p int) manifolds.Properties {
	known := m.sphere.Properties(n, p)
	known.Curvature = 0
	return known
}

type noRadius struct{ sphere }

func (m noRadius) Properties(n, p int) manifolds.Properties {
	known := m.sphere.Properties(n, p)
	known.InjectivityRadius = -1
	return known
}

type miscounted struct{ sphere }

func (m miscounted) Properties(n, p int) manifolds.Properties {
	known := m.sphere.Properties(n, p)
	known.Dim = n * p
	return known
}

// The logarithm in place of the inverse of the normalisation.
type shortInverse struct{ sphere }

func (m shortInverse) InverseRetract(dst, x, y points) error { return m.sphere.Log(dst, x, y) }

// An inverse for points that no step reaches.
type farInverse struct{ sphere }

func (m farInverse) InverseRetract(dst, x, y points) error {
	if err := m.sphere.InverseRetract(dst, x, y); err == nil {
		return nil
	}
	return dst.Combine(1, y, -1, x)
}

// A scaled manifold that forgets its other fields.
type forgetful struct{ sphere }

func (m forgetful) Scaled(s float64) manifolds.Manifold { return sphere{Radius: s} }

type unscaled struct{ sphere }

func (m unscaled) Scaled(s float64) manifolds.Manifold { return m }

type halfNorm struct{ manifolds.Oblique }

func (m halfNorm) Norm(n, p int) float64 { return 1 }

// Random points around a pole, random points around an axis, and random points that ignore the seed.
type polarRandom struct{ sphere }

func (m polarRandom) Random(dst points, rng *rand.Rand) error {
	edit(dst, func(_, i, j int, _ float64) float64 { return rng.NormFloat64() + 0.3 })
	return m.Project(dst, dst)
}

type axialRandom struct{ sphere }

func (m axialRandom) Random(dst points, rng *rand.Rand) error {
	edit(dst, func(_, i, j int, _ float64) float64 { return rng.NormFloat64() / float64(1+i+j) })
	return m.Project(dst, dst)
}

type unseeded struct{ sphere }

func (m unseeded) Random(dst points, _ *rand.Rand) error {
	return m.sphere.Random(dst, rand.New(rand.NewPCG(rand.Uint64(), 0)))
}

type repeated struct{ sphere }

func (m repeated) Random(dst points, rng *rand.Rand) error {
	if err := m.sphere.Random(dst, rng); err != nil {
		return err
	}
	edit(dst, func(_, i, j int, _ float64) float64 { return dst.At(0, i, j) })
	return nil
}

// Membership errors of the first point only, errors of the squares, and a small error for NaN.
type firstOnly struct{ sphere }

func (m firstOnly) Membership(x points) float64 { return m.sphere.Membership(x.Slice(0, 1)) }

type squared struct{ sphere }

func (m squared) Membership(x points) float64 { return math.Pow(m.sphere.Membership(x), 2) }

type blind struct{ sphere }

func (m blind) Membership(x points) float64 {
	if e := m.sphere.Membership(x); e > 0 {
		return e
	}
	return 0
}

// Division by zero, and an error that does not say where.
type infinite struct{ sphere }

func (m infinite) Project(dst, x points) error {
	if err := m.sphere.Project(dst, x); !errors.Is(err, manifolds.ErrDegenerate) {
		return err
	}
	edit(dst, func(_, _, _ int, _ float64) float64 { return math.NaN() })
	return nil
}

type mumbling struct{ sphere }

func (m mumbling) Project(dst, x points) error {
	if err := m.sphere.Project(dst, x); err != nil {
		return errors.New("cannot project")
	}
	return nil
}

type miscountedPoint struct{ sphere }

func (m miscountedPoint) Project(dst, x points) error {
	err := m.sphere.Project(dst, x)
	var pe *manifolds.PointError
	if errors.As(err, &pe) {
		pe.Point++
	}
	return err
}

// Aliasing: dst is written before v is read, an argument is used as a workspace, and the result
// depends on the old contents of dst.
type overwriting struct{ sphere }

func (m overwriting) Retract(dst, x, v points) error {
	if err := dst.CopyFrom(x); err != nil {
		return err
	}
	return m.sphere.Retract(dst, dst, v)
}

type scribbling struct{ sphere }

func (m scribbling) Tangent(dst, x, g points) error {
	err := m.sphere.Tangent(dst, x, g)
	if err == nil {
		x.Set(0, 0, 0, 1.01*x.At(0, 0, 0))
	}
	return err
}

type reading struct{ sphere }

func (m reading) Transport(dst, x, y, u points) error {
	old := dst.At(0, 0, 0)
	err := m.sphere.Transport(dst, x, y, u)
	if old != 0 && err == nil {
		dst.Set(0, 0, 0, dst.At(0, 0, 0)+1e-3)
	}
	return err
}

// No check of the batches, a check after the fact, and a panic.
type unchecked struct{ sphere }

func (m unchecked) Transport(dst, x, y, u points) error { return m.sphere.Tangent(dst, y, u) }

type late struct{ sphere }

func (m late) Retract(dst, x, v points) error {
	dst.Set(0, 0, 0, 0)
	return m.sphere.Retract(dst, x, v)
}

type panicking struct{ sphere }

func (m panicking) Tangent(dst, x, g points) error {
	for k := range g.K {
		_ = x.At(k, g.N-1, g.P-1)
	}
	return m.sphere.Tangent(dst, x, g)
}

// A batch of several points uses another retraction than a single point; float32 uses another than
// float64.
type coupled struct{ sphere }

func (m coupled) Retract(dst, x, v points) error {
	m.Geodesic = x.K > 1
	return m.sphere.Retract(dst, x, v)
}

type split struct{ sphere }

func (m split) Retract(dst, x, v points) error {
	m.Geodesic = x.Data32() != nil
	return m.sphere.Retract(dst, x, v)
}

// A workspace that concurrent calls share. Each access is locked, so there is no data race, but
// calls may overwrite each other's values.
type sharing struct {
	sphere
	work *work
}

type work struct {
	sync.Mutex
	x points
}

func (m sharing) Retract(dst, x, v points) error {
	sum := x.Like()
	if err := (manifolds.Euclidean{}).Retract(sum, x, v); err != nil {
		return err
	}
	m.work.Lock()
	m.work.x = sum
	m.work.Unlock()
	runtime.Gosched()
	m.work.Lock()
	defer m.work.Unlock()
	if err := agree(dst, m.work.x); err != nil {
		return err
	}
	err := m.sphere.Project(dst, m.work.x)
	m.work.x.Set(0, 0, 0, 0) // used up
	return err
}

// An allocation for each point.
type allocating struct{ sphere }

var sink points

func (m allocating) Tangent(dst, x, g points) error {
	for k := range x.K {
		sink = x.Slice(k, k+1).Like()
	}
	return m.sphere.Tangent(dst, x, g)
}

func TestBroken(t *testing.T) {
	canonical := manifolds.Stiefel{Metric: manifolds.CanonicalMetric}
	for _, c := range []struct {
		m      manifolds.Manifold
		oracle string
	}{
		{notNearest{}, "project"},
		{firstOnly{}, "membership"},
		{squared{}, "membership"},
		{blind{}, "membership"},
		{infinite{}, "degenerate"},
		{mumbling{}, "degenerate"},
		{miscountedPoint{}, "degenerate"},
		{ambient{}, "tangent"},
		{unitTangent{sphere{Radius: 2}}, "tangent"},
		{frozen{}, "tangent"},
		{twoMetrics{canonical}, "metric"},
		{twoMetrics{canonical}, "gradient"},
		{long{}, "gradient"},
		{unsigned{}, "retract"},
		{straight{}, "retract"},
		{long{}, "retract"},
		{still{}, "transport"},
		{backwards{}, "transport"},
		{slow{}, "exponential"},
		{otherGeodesics{}, "exponential"},
		{chordal{}, "logarithm"},
		{arcCosine{}, "logarithm"},
		{shortLog{}, "logarithm"},
		{shortInverse{}, "inverse"},
		{farInverse{}, "inverse"},
		{shrinking{}, "parallel"},
		{undivided{}, "adjoint"},
		{divided{}, "adjoint"},
		{hopeful{}, "adjoint"},
		{flat{}, "curvature"},
		{noRadius{}, "curvature"},
		{miscounted{}, "dimension"},
		{forgetful{sphere{Geodesic: true}}, "scale"},
		{unscaled{}, "scale"},
		{halfNorm{}, "scale"},
		{polarRandom{}, "random"},
		{axialRandom{}, "random"},
		{unseeded{}, "random"},
		{repeated{}, "random"},
		{overwriting{}, "aliasing"},
		{scribbling{}, "aliasing"},
		{reading{}, "transport"},
		{unchecked{}, "mismatch"},
		{late{}, "mismatch"},
		{panicking{}, "mismatch"},
		{coupled{}, "batch"},
		{split{}, "precision"},
		{sharing{work: &work{}}, "concurrency"},
		{allocating{}, "allocations"},
	} {
		t.Run(fmt.Sprintf("%T/%s", c.m, c.oracle), func(t *testing.T) {
			if c.oracle == "allocations" && manifoldtest.RaceEnabled {
				t.Skip("allocations are not counted under the race detector")
			}
			caught := manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 4, P: 2}, manifoldtest.Shape{K: 2, N: 2, P: 5}))
			var by []string
			for _, f := range caught {
				by = append(by, f.Oracle)
				if f.Oracle == c.oracle {
					t.Log(f)
				}
			}
			assert.Contains(t, by, c.oracle)
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		m      manifolds.Manifold
		shapes []manifoldtest.Shape
		want   string
	}{
		{nil, nil, "manifoldtest: want a manifold, got nil"},
		{sphere{}, []manifoldtest.Shape{{K: 0, N: 3, P: 3}}, "want a positive shape, got 0 points of 3x3"},
		{manifolds.CentredSphere{}, []manifoldtest.Shape{{K: 1, N: 1, P: 1}}, "manifoldtest: 1 points of 1x1: manifolds: CentredSphere"},
		{sphere{Radius: -1}, nil, "admits no shape"},
	} {
		err := manifoldtest.Check(c.m, c.shapes...)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestFailures(t *testing.T) {
	assert.Empty(t, manifoldtest.Failures(nil))
	assert.Empty(t, manifoldtest.Failures(errors.New("another")))
	err := manifoldtest.Check(ambient{}, manifoldtest.Shape{K: 2, N: 3, P: 3})
	var lines []string
	for _, f := range manifoldtest.Failures(fmt.Errorf("wrapped: %w", err)) {
		lines = append(lines, f.Error())
	}
	assert.Equal(t, err.Error(), strings.Join(lines, "\n"))
}

func TestCheckIsRepeatable(t *testing.T) {
	shape := manifoldtest.Shape{K: 2, N: 3, P: 2}
	first := manifoldtest.Check(chordal{}, shape)
	assert.EqualError(t, manifoldtest.Check(chordal{}, shape), first.Error())
}

func TestRetractionOrderRefuses(t *testing.T) {
	_, err := manifoldtest.RetractionOrder(Cylinder{}, manifoldtest.Shape{K: 2, N: 3, P: 2})
	assert.ErrorContains(t, err, "want an exponential map to compare with")
	_, err = manifoldtest.RetractionOrder(sphere{}, manifoldtest.Shape{K: 2})
	assert.ErrorContains(t, err, "want a positive shape")
}
