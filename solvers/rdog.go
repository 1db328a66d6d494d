// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// NewRDoG returns Riemannian distance over gradients (Dodd, Sharrock, Nemeth, 2024, arXiv 2406.02296;
// without a manifold it is DoG: Ivgi, Hinder, Carmon, ICML 2023), gradient descent without a learning rate to
// choose: the rate is the largest distance from the start so far, divided by the root of the sum of all
// squared gradients. For every layer, whose points are one point of a product manifold that began at x_0,
//
//	r <- max(r, d(x_0, x))                      at first r = eps |x_0|, without a manifold eps (1 + |x_0|)
//	s <- s + |grad|^2
//	x <- R_x(-lr r / sqrt(zeta(r) s) grad)
//
// with d the distance and |grad| the norm in the metric of the manifold, and
//
//	zeta(r) = r sqrt(-k) / tanh(r sqrt(-k)),    k the lower bound of the sectional curvature.
//
// zeta is 1 where k = 0, on all manifolds of this library but Stiefel and GeneralizedStiefel in the Euclidean
// metric. d is the chord |x - x_0| on these two, where the geodesic distance would need an iteration, and on
// manifolds that are not a manifolds.Logarithm. In the Euclidean metric a chord is no longer than the
// geodesic, so the steps can only be shorter. On a manifolds.Ambient, chords and |x_0| are measured in its
// inner product.
//
// Steps do not depend on the scale of the cost, nor, since eps is relative, on that of the manifold. If other
// code writes weights that are farther from x_0 than a step could lead, distances are measured from these
// weights from then on, and r stays the same.
//
// The convergence bounds of the paper hold for an average of the points: see AverageByDistance.
//
// Defaults: LearnRate 1, which multiplies the step, InitialDistance(1e-3), DistanceFor(EachLayer). Options
// beyond the common ones: InitialDistance, DistanceFor.
func NewRDoG(opts ...Option) *Solver {
	return newSolver(dog{name: "RDoG", initial: 1e-3, scope: EachLayer}, settings{learnRate: 1, decayOf: decayEuclidean}, opts)
}

// NewRDoWG returns Riemannian distance over weighted gradients, of the same paper (without a manifold
// DoWG: Khaled, Mishchenko, Jin, NeurIPS 2023). It is NewRDoG with squared gradients weighted by the distance
// at which they were computed, so that those of the first, short steps soon lose their influence:
//
//	r <- max(r, d(x_0, x))
//	s <- s + w |grad|^2,                        w = r^2 / zeta(r)
//	x <- R_x(-lr w / sqrt(s) grad).
//
// Defaults and options are those of NewRDoG.
func NewRDoWG(opts ...Option) *Solver {
	return newSolver(dog{name: "RDoWG", weighted: true, initial: 1e-3, scope: EachLayer}, settings{learnRate: 1, decayOf: decayEuclidean}, opts)
}

type dog struct {
	name     string
	weighted bool
	initial  float64
	scope    Scope
}

var (
	_ Separate = dog{}
	_ Resizing = dog{}
)

func (r dog) Name() string { return r.name }

// The blocks of state of dog.
const (
	dogDistance = iota // r
	dogLength          // sqrt(s), which neither overflows nor vanishes
	dogStart           // x_0
)

func (r dog) State() []State {
	kind := PerPart
	if r.scope == EachPoint {
		kind = PerPoint
	}
	return []State{{"largest distance", kind}, {"length of all gradients", kind}, {"start", Ambient}}
}

// Resize scales the distance and the start with the points.
func (dog) Resize(state []manifolds.Points, factor float64) error {
	for _, i := range []int{dogDistance, dogStart} {
		if err := state[i].Combine(factor, state[i], 0, state[i]); err != nil {
			return err
		}
	}
	return nil
}

// Separates reports whether no two layers share a rate.
func (r dog) Separates() bool { return r.scope != AllLayers }

// Plan converts the gradients to Riemannian ones and sets the rates, if points share a rate.
func (dog) Plan(parts []*Part) error {
	var all []*Part
	for len(parts) > 0 {
		of, n := parts[0].bound.of, 1
		for n < len(parts) && parts[n].bound.of == of {
			n++
		}
		r, layer := of.settings.rule.(dog), parts[:n]
		switch parts = parts[n:]; {
		case r.scope == AllLayers:
			all = append(all, layer...)
		case r.scope == EachLayer:
			if err := plan(layer); err != nil {
				return err
			}
		default:
			for i, p := range layer {
				if p.Unconstrained() {
					if err := plan(layer[i : i+1]); err != nil {
						return err
					}
				}
			}
		}
	}
	return plan(all)
}

// plan sets the rate of parts that share one.
func plan(parts []*Part) error {
	if len(parts) == 0 {
		return nil
	}
	r := parts[0].bound.of.settings.rule.(dog)
	var seen travel
	n := len(parts)
	numbers := scratch.Get[float64](3 * n) // of each part
	defer scratch.Put(numbers)
	moved, lengths, sizes := numbers[:n], numbers[n:2*n], numbers[2*n:]
	lowest, free := 0.0, 0.0
	for i, p := range parts {
		seen.distance = max(seen.distance, p.Old[dogDistance].At(0, 0, 0))
		seen.length = max(seen.length, p.Old[dogLength].At(0, 0, 0))
		lowest = min(lowest, p.bound.properties.LowestCurvature)
		moved[i] = 0
		var err error
		if sizes[i], err = p.norm(p.X); err != nil {
			return err
		}
		if p.Unconstrained() {
			free = 1
		}
		if err := p.Riemannian(p.Gradient, p.Gradient); err != nil {
			return p.fail(ErrDiverged, err.Error(), err)
		}
		if lengths[i], err = p.length(p.Gradient); err != nil {
			return err
		}
		if p.step.restarts = p.Step == 1; p.step.restarts {
			continue
		}
		if moved[i], err = p.distance(); err != nil {
			return err
		}
		p.step.moved = moved[i]
	}
	way := together(moved)
	if parts[0].tooFar(way, seen.distance) { // something else has taken some of them there
		for i, p := range parts {
			if moved[i] = p.step.moved; p.bound.of.overwritten {
				p.step.restarts, moved[i] = true, 0
			}
		}
		way = together(moved)
	}
	seen.first(r.initial * (free + together(sizes)))
	rate := seen.next(r, way, together(lengths), lowest)
	for _, p := range parts {
		p.step.travel = seen
		p.Rate *= rate
	}
	return nil
}

// travel holds the distance from the start and the sums that determine the rate.
type travel struct {
	distance float64 // r
	length   float64 // sqrt(s)
	weight   float64 // of the step in an average of the points
}

// first sets the distance before the first step.
func (t *travel) first(distance float64) {
	if t.distance == 0 {
		t.distance = distance
	}
}

// next adds the distance from the start and the norm of the gradient, and returns the rate.
func (t *travel) next(r dog, moved, length, lowest float64) (rate float64) {
	t.distance = max(t.distance, moved)
	root := t.distance / math.Sqrt(manifolds.Distortion(lowest, t.distance))
	rate = root
	if r.weighted {
		length *= root
		rate *= root
	}
	t.weight = rate
	t.length = min(math.Hypot(t.length, length), math.MaxFloat64)
	if t.length == 0 {
		return 0
	}
	return rate / t.length
}

func (r dog) Direction(p *Part) error {
	if r.scope == EachPoint && !p.Unconstrained() {
		return r.each(p)
	}
	start := p.Old[dogStart]
	if p.step.restarts {
		start = p.X
	}
	if err := p.New[dogStart].CopyFrom(start); err != nil {
		return err
	}
	for k := range p.New[dogDistance].K {
		p.New[dogDistance].Set(k, 0, 0, p.step.travel.distance)
		p.New[dogLength].Set(k, 0, 0, p.step.travel.length)
	}
	return p.Direction.CopyFrom(p.Gradient)
}

// each is Direction with a rate for each point. It does not change the gradient, so that it can be repeated in float64.
func (r dog) each(p *Part) error {
	if err := p.Riemannian(p.Direction, p.Gradient); err != nil {
		return err
	}
	if err := p.New[dogStart].CopyFrom(p.Old[dogStart]); err != nil {
		return err
	}
	n := p.X.K
	numbers := scratch.Get[float64](3 * n)
	defer scratch.Put(numbers)
	f, moved, size := numbers[:n], numbers[n:2*n], numbers[2*n:]
	if err := manifolds.Inner(p.Manifold, f, p.X, p.Direction, p.Direction); err != nil {
		return err
	}
	if err := manifolds.AmbientInner(p.Manifold, size, p.X, p.X); err != nil {
		return err
	}
	if p.Step > 1 {
		if err := p.distances(moved); err != nil {
			return err
		}
	}
	for k, sq := range f {
		seen := travel{distance: p.Old[dogDistance].At(k, 0, 0), length: p.Old[dogLength].At(k, 0, 0)}
		if p.Step == 1 || p.bound.of.overwritten && p.tooFar(moved[k], seen.distance) {
			moved[k] = 0
			if err := p.New[dogStart].Slice(k, k+1).CopyFrom(p.X.Slice(k, k+1)); err != nil {
				return err
			}
		}
		seen.first(r.initial * math.Sqrt(size[k]))
		f[k] = seen.next(r, moved[k], math.Sqrt(sq), p.bound.properties.LowestCurvature)
		p.New[dogDistance].Set(k, 0, 0, seen.distance)
		p.New[dogLength].Set(k, 0, 0, seen.length)
		p.step.travel.weight = max(p.step.travel.weight, seen.weight)
	}
	return p.Direction.Scale(f, p.Direction)
}

// tooFar reports whether a distance from the start is longer than a step could have made it.
func (p *Part) tooFar(moved, longest float64) bool {
	return moved > (2+max(p.Rate, p.bound.of.settings.learnRate))*longest
}

// length returns the norm of v, the tangent vectors of all points together.
func (p *Part) length(v manifolds.Points) (float64, error) {
	if p.Unconstrained() {
		return v.Norm(), nil
	}
	square, err := p.inner(p.X, v, v)
	return math.Sqrt(square), err
}

// distance returns the distance of all points together from their start.
func (p *Part) distance() (float64, error) {
	if p.Unconstrained() {
		chord, err := p.chord()
		defer giveBack(chord)
		return chord.Norm(), err
	}
	f := scratch.Get[float64](p.X.K)
	defer scratch.Put(f)
	if err := p.distances(f); err != nil {
		return 0, err
	}
	sum := 0.0
	for _, d := range f {
		sum += d * d
	}
	return math.Sqrt(sum), nil
}

// distances writes the distance of each point from its start to out, or the chord where the distance is not known or needs an
// iteration.
func (p *Part) distances(out []float64) error {
	if m, ok := p.Manifold.(manifolds.Logarithm); ok && !p.bound.properties.IterativeLog && m.Dist(out, p.X, p.Old[dogStart]) == nil {
		return nil
	}
	chord, err := p.chord()
	defer giveBack(chord)
	if err != nil {
		return err
	}
	if err := manifolds.AmbientInner(p.Manifold, out, chord, chord); err != nil {
		return p.fail(ErrDiverged, err.Error(), err)
	}
	for k, sq := range out {
		out[k] = math.Sqrt(sq)
	}
	return nil
}

// chord returns the differences of the points and their start, in borrowed memory.
func (p *Part) chord() (manifolds.Points, error) {
	chord := lend(p.X.K, p.X.N, p.X.P, p.X.Data64() != nil)
	if err := chord.Combine(1, p.X, -1, p.Old[dogStart]); err != nil {
		return chord, p.fail(ErrDiverged, err.Error(), err)
	}
	return chord, nil
}

// InitialDistance sets eps of NewRDoG and NewRDoWG. The length of the first step is eps times the norm of the
// weights; it should be smaller than the distance to a minimum.
func InitialDistance(eps float64) Option {
	return tuneOf("InitialDistance", positive(eps), func(r *dog) { r.initial = eps })
}

// DistanceFor chooses which points share a distance and a rate in NewRDoG and NewRDoWG. With EachPoint every
// point has its own. With EachLayer or AllLayers they are one point of a product manifold, whose distance is
// the root of the sum of squared distances. With EachPoint, an unconstrained layer is one point.
func DistanceFor(s Scope) Option {
	var err error
	if s != EachPoint && s != EachLayer && s != AllLayers {
		err = fmt.Errorf("want EachPoint, EachLayer or AllLayers, got %d", s)
	}
	return tuneOf("DistanceFor", err, func(r *dog) { r.scope = s })
}
