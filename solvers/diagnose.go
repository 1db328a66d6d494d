// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"
	"math/bits"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Diagnostics are collected at three times. What a step computes anyway is noted in each step. What needs the
// gradient, which a step clears, is measured in some steps only, so that steps do not become slower. What
// needs only the weights is measured when Report is called.

// nowAndThen reports whether gradients are measured in a step, counted from 1: in steps 1, 2, 4, 8 ..., and in every hundredth.
func nowAndThen(step int) bool { return bits.OnesCount(uint(step)) == 1 || step%100 == 0 }

// trouble is what a solver remembers about its failures and likely mistakes.
type trouble struct {
	last       error
	refused    int
	still      int // steps in a row in which all gradients were 0
	modes      []roles.Mode
	evaluating []string
}

// refuse notes the error of a step that was not made.
func (e *engine) refuse(err error) error {
	e.last = err
	e.refused++
	return err
}

// look notes signs of mistakes that do not make a step fail.
func (e *engine) look(active []*parameter) {
	moved := false
	for _, p := range active {
		moved = moved || p.settings.frozen || p.gradient != 0
	}
	if e.still++; moved || len(active) == 0 {
		e.still = 0
	}
	if !nowAndThen(e.steps) {
		return
	}
	e.evaluating = e.evaluating[:0]
	for _, m := range e.modes {
		if !m.Training() {
			e.evaluating = append(e.evaluating, m.Name)
		}
	}
}

// lookUp finds the operations in the graphs of the parameters that have a training mode.
func (e *engine) lookUp(model []gorgonia.ValueGrad) {
	e.modes = roles.Modes(nodesOf(model)...)
}

// wake notes which filters of a kernel have had a gradient. In a healthy net all of them have after the first steps, and no filters are left to
// examine.
func (p *parameter) wake() {
	if p.role.Role != roles.Kernel || p.settings.frozen {
		return
	}
	if p.asleep == nil {
		p.asleep = make([]int, p.filters.K)
		for i := range p.asleep {
			p.asleep[i] = i
		}
	}
	p.asleep = slices.DeleteFunc(p.asleep, func(i int) bool { return !p.silent(p.grad, i) })
}

// silent reports whether all weights of filter i of a kernel are 0 in v.
func (p *parameter) silent(v dense.View, i int) bool {
	l := p.filters
	if l.Order != nil {
		i = int(l.Order[i])
	}
	for c := range l.N {
		at := i*l.StrideK + c*l.StrideN
		if v.F64 != nil && !zeros(v.F64[at:at+l.P]) || v.F32 != nil && !zeros(v.F32[at:at+l.P]) {
			return false
		}
	}
	return true
}

func zeros[T float32 | float64](v []T) bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

// ambient reports whether the part has momentum that is not tangent.
func (p *Part) ambient() bool {
	r, ok := p.bound.of.settings.rule.(Linear)
	if !ok || p.bound.euclidean {
		return false
	}
	d := p.descent(r)
	return !d.Tangent && d.Keep != 0
}

// watch measures <x, g>/|x|^2 of each point, or of each filter of an unconstrained kernel, and from it how close ambient momentum is to its stability
// bound.
func (p *Part) watch() error {
	of := p.bound.of
	var x, g manifolds.Points
	var err error
	if p.bound.euclidean {
		p.memory.cosine = 1
	}
	switch {
	case !p.bound.euclidean:
		if err := p.readIfUnread(); err != nil {
			return err
		}
		x = p.X
		g, err = p.lentBatch(of.grad)
	case of.role.Role == roles.Kernel && len(of.parts) == 1:
		l := of.filters
		buf := [2]manifolds.Points{lend(l.K, l.N, l.P, !p.single()), lend(l.K, l.N, l.P, !p.single())}
		defer giveBack(buf[0])
		defer giveBack(buf[1])
		if x, err = of.byFilter(of.weights, buf[0]); err == nil {
			g, err = of.byFilter(of.grad, buf[1])
		}
	default:
		return nil
	}
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	low, high, err := p.survey(x, g)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	p.memory.outwardness = [2]float64{low, high}
	p.memory.outward = 0
	if !p.ambient() || p.step.slope == 0 {
		return nil
	}
	d := p.descent(of.settings.rule.(Linear))
	if s := &of.settings; s.decayOf == decayAmbient { // adds so much to that of every point
		high += s.decay
	}
	p.memory.outward = max(0, p.Rate*d.Take/p.step.slope*high/((1-d.Keep)*(1-d.Keep)/d.Keep))
	return nil
}

// survey returns the smallest and the largest <x, g>/|x|^2 of the points, with the gradient times the slope, and measures the cosine.
// It goes through the memory once, in blocks that stay in a cache.
func (p *Part) survey(x, g manifolds.Points) (low, high float64, err error) {
	const block = 1 << 13 // weights
	each := min(max(1, block/(x.N*x.P)), x.K)
	f := scratch.Get[float64](2 * each)
	defer scratch.Put(f)
	t := p.tilt(g, each)
	defer t.end()
	low, high = math.Inf(1), math.Inf(-1)
	for from := 0; from < x.K; from += each {
		to := min(from+each, x.K)
		y, h := x.Slice(from, to), g.Slice(from, to)
		along, squares := f[:to-from], f[each:each+to-from]
		if err := manifolds.Inner(manifolds.Euclidean{}, along, y, y, h); err != nil {
			return 0, 0, err
		}
		if err := manifolds.AmbientInner(p.Manifold, squares, y, y); err != nil {
			return 0, 0, err
		}
		for i, sq := range squares {
			if sq > 0 {
				along[i] *= p.step.slope / sq
				low, high = min(low, along[i]), max(high, along[i])
			}
		}
		t.add(y, h)
	}
	if low > high { // all filters are 0
		low, high = 0, 0
	}
	if !p.bound.euclidean {
		p.memory.cosine = t.cosine()
	}
	return low, high, nil
}

// tilt measures the cosine of the angle between the Euclidean and the Riemannian gradient of points,
// which in the Euclidean metric is the ratio of their norms. It uses the squared norms that a manifold
// computes for adaptive rules.
type tilt struct {
	manifold  manifolds.Adaptable // nil where there is no cosine
	size      float64             // gradients are divided by it, so that squares do not overflow or vanish
	unit      manifolds.Points    // such a gradient
	squares   []float64           // of the points of a block
	norm, sum float64             // |g| and the sum of |grad|^2, both of such a gradient
}

// tilt begins to measure the gradient g in blocks of at most each points. The cosine is unknown for manifolds that are not Adaptable and for other
// metrics, of which one is known to be Euclidean.
func (p *Part) tilt(g manifolds.Points, each int) (t tilt) {
	m, ok := p.Manifold.(manifolds.Adaptable)
	_, metric := m.(manifolds.Metric)
	if s, is := m.(manifolds.Stiefel); is && s.Metric == manifolds.EuclideanMetric {
		metric = false
	}
	if !ok || metric || p.bound.euclidean {
		return t
	}
	n := p.bound.of.gradient
	if len(p.bound.of.parts) > 1 {
		n = g.Norm()
	}
	if !(n > 0 && n <= math.MaxFloat64) {
		return t
	}
	t.manifold, t.size = m, max(n, p.vanishing()*p.vanishing()) // its inverse is finite
	t.norm = n / t.size
	t.unit = lend(each, g.N, g.P, !p.single())
	t.squares = scratch.Get[float64](each)
	return t
}

// add measures a block.
func (t *tilt) add(x, g manifolds.Points) {
	if t.manifold == nil {
		return
	}
	unit, squares := t.unit.Slice(0, g.K), t.squares[:g.K]
	if unit.Combine(1/t.size, g, 0, g) != nil || t.manifold.GradientSquares(squares, x, unit) != nil { // the step says what is wrong
		t.end()
		return
	}
	for _, sq := range squares {
		t.sum += sq
	}
}

// cosine returns the cosine, or 0 if it is unknown.
func (t *tilt) cosine() float64 {
	if t.manifold == nil {
		return 0
	}
	return min(1, math.Sqrt(t.sum)/t.norm)
}

// end returns the workspace. Without it nothing is measured.
func (t *tilt) end() {
	if t.manifold == nil {
		return
	}
	giveBack(t.unit)
	scratch.Put(t.squares)
	t.manifold = nil
}

// equilibrium returns the angle of a step at which weight decay at the given rate and gradients orthogonal to the weights keep
// the norm of the weights constant. For a rule that adds up independent gradients, with mu <- Keep mu + Take g, a direction
// Ahead mu + Slope g has the mean square s = Slope^2 + Ahead^2 Take^2/(1 - Keep^2) |g|^2, and the total weight of each
// gradient over all steps is c = Slope + Ahead Take/(1 - Keep). So the square of the norm grows by lr^2 c^2 |g|^2 a step and
// shrinks by 2 lr decay |x|^2.
func (p *Part) equilibrium(rate float64) float64 {
	of := p.bound.of
	r, ok := of.settings.rule.(Linear)
	if !ok || !p.bound.euclidean || of.role.Role != roles.Kernel || of.steps == 0 || of.settings.frozen || of.settings.decayOf == decayAmbient {
		return 0
	}
	d := r.Descent(p)
	square := d.Slope*d.Slope + d.Ahead*d.Ahead*d.Take*d.Take/(1-d.Keep*d.Keep)
	whole := d.Slope + d.Ahead*d.Take/(1-d.Keep)
	angle := math.Sqrt(2*rate*of.settings.decay*square) / math.Abs(whole)
	if !(angle <= math.MaxFloat64) {
		return 0
	}
	return angle
}

// now views the current weights; ok is false if the graph of the parameter is gone or its weights have another type or shape.
func (p *parameter) now() (v dense.View, ok bool) {
	of := p.who.value()
	if of == nil {
		return v, false
	}
	v, err := dense.Of(of.Value())
	return v, err == nil && v.Precision() == p.precision && v.Len() == p.shape.TotalSize()
}

// membership measures the current weights of the part, and returns their norm, in the space around the manifold, too.
func (p *Part) membership(v dense.View) (off, norm float64) {
	l := p.bound.layout
	buf := lend(l.K, l.N, l.P, !p.single())
	defer giveBack(buf)
	x, err := p.batch(v, &buf)
	if err != nil {
		return math.NaN(), math.NaN()
	}
	if p.bound.euclidean {
		return 0, x.Norm()
	}
	if norm, err = p.norm(x); err != nil {
		norm = math.NaN()
	}
	return p.Manifold.Membership(x), norm
}

// dead counts the filters of a kernel that cannot move: those whose gradient was 0 in every step and, without a constraint, those whose weights are
// all 0.
func (p *parameter) dead(v dense.View) int {
	if p.role.Role != roles.Kernel {
		return 0
	}
	count := len(p.asleep)
	if len(p.parts) == 1 && p.parts[0].bound.euclidean {
		for i := range p.filters.K {
			if p.silent(v, i) && !slices.Contains(p.asleep, i) {
				count++
			}
		}
	}
	return count
}

// condition returns the condition number of the matrix whose rows are the filters of a kernel, or the largest
// condition number of the groups of a convolution. Beyond 1e7 it cannot be computed accurately, and the
// result is infinite.
func (p *parameter) condition(v dense.View) float64 {
	if p.role.Role != roles.Kernel {
		return 0
	}
	spectra, err := spectra(v, p.shape, p.role.Convolution)
	if err != nil {
		return math.NaN()
	}
	worst := 0.0
	for _, values := range spectra {
		worst = max(worst, values[0]/values[len(values)-1])
	}
	if !(worst < 1e7) {
		return math.Inf(1)
	}
	return worst
}
