// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// stepper is the method of a solver that a case uses.
type stepper interface {
	Step([]gorgonia.ValueGrad) error
}

// solverKind is a solver and the rule by which the oracle predicts it.
type solverKind struct {
	name string
	rule rule
	of   func(rate float64, opts ...solvers.Option) stepper
}

// theta and tau are the momentum and dampening of the grid.
const theta, tau = 0.9, 0.2

// rho is the weight of the past in RMSProp.
const rho = 0.95

func sgd(name string, r rule, own ...solvers.Option) solverKind {
	return solverKind{name, r, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewSGD(append(append([]solvers.Option{solvers.LearnRate(rate)}, own...), opts...)...)
	}}
}

func stock(name string, r rule, of func(rate float64) gorgonia.Solver) solverKind {
	return solverKind{name, r, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.ConstrainWith(of(rate), opts...)
	}}
}

var solverKinds = []solverKind{
	sgd("SGD", rule{kind: descent}),
	sgd("SGD.tangent", rule{momentum: theta, tangent: true}, solvers.Momentum(theta), solvers.TangentMomentum()),
	sgd("SGD.tangent.nesterov", rule{momentum: theta, tangent: true, nesterov: true, dampening: tau},
		solvers.Momentum(theta), solvers.TangentMomentum(), solvers.Nesterov(), solvers.Dampening(tau)),
	sgd("SGD.ambient", rule{momentum: theta, dampening: tau}, solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.Dampening(tau)),
	sgd("SGD.ambient.nesterov", rule{momentum: theta, nesterov: true}, solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.Nesterov()),
	{"Adam", rule{kind: adaptive}, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewAdam(append([]solvers.Option{solvers.LearnRate(rate)}, opts...)...)
	}},
	{"AMSGrad", rule{kind: adaptive, largest: true}, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewAdam(append([]solvers.Option{solvers.LearnRate(rate), solvers.AMSGrad()}, opts...)...)
	}},
	{"Adagrad", rule{kind: summing, keep: 1, take: 1}, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewAdagrad(append([]solvers.Option{solvers.LearnRate(rate)}, opts...)...)
	}},
	{"RMSProp", rule{kind: summing, keep: rho, take: 1 - rho}, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewRMSProp(append([]solvers.Option{solvers.LearnRate(rate), solvers.Rho(rho)}, opts...)...)
	}},
	{"RMSProp.momentum", rule{kind: summing, keep: rho, take: 1 - rho, momentum: theta, tangent: true}, func(rate float64, opts ...solvers.Option) stepper {
		return solvers.NewRMSProp(append([]solvers.Option{solvers.LearnRate(rate), solvers.Rho(rho), solvers.Momentum(theta)}, opts...)...)
	}},
	stock("Constrain.Vanilla", rule{kind: wrapped}, func(rate float64) gorgonia.Solver {
		return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(rate))
	}),
	stock("Constrain.Momentum", rule{kind: wrapped, momentum: theta}, func(rate float64) gorgonia.Solver {
		return gorgonia.NewMomentum(gorgonia.WithLearnRate(rate), gorgonia.WithMomentum(theta))
	}),
}

// manifoldKind is a manifold and its geometry for the oracle.
type manifoldKind struct {
	name     string
	geometry geometry
	axis     byte // 'c' and 'r' where columns or rows are the parts of a point
	of       manifolds.Manifold
}

var manifoldKinds = []manifoldKind{
	{"Euclidean", geometry{}, 0, manifolds.Euclidean{}},
	{"Sphere", geometry{family: sphere}, 0, manifolds.Sphere{}},
	{"Sphere.geodesic", geometry{family: sphere, geodesic: true}, 0, manifolds.Sphere{Geodesic: true}},
	{"CentredSphere", geometry{family: sphere, centred: true}, 0, manifolds.CentredSphere{}},
	{"CentredSphere.geodesic", geometry{family: sphere, centred: true, geodesic: true}, 0, manifolds.CentredSphere{Geodesic: true}},
	{"Oblique.columns", geometry{family: sphere}, 'c', manifolds.Oblique{Axis: manifolds.Columns}},
	{"Oblique.columns.geodesic", geometry{family: sphere, geodesic: true}, 'c', manifolds.Oblique{Axis: manifolds.Columns, Geodesic: true}},
	{"Oblique.rows", geometry{family: sphere}, 'r', manifolds.Oblique{Axis: manifolds.Rows}},
	{"Oblique.rows.geodesic", geometry{family: sphere, geodesic: true}, 'r', manifolds.Oblique{Axis: manifolds.Rows, Geodesic: true}},
	{"Stiefel.cholesky", geometry{family: stiefel}, 0, manifolds.Stiefel{}},
	{"Stiefel.qr", geometry{family: stiefel}, 0, manifolds.Stiefel{Retraction: manifolds.QR}},
	{"Stiefel.polar", geometry{family: stiefel, retraction: byPolar}, 0, manifolds.Stiefel{Retraction: manifolds.Polar}},
	{"Stiefel.geodesic", geometry{family: stiefel, retraction: byGeodesic}, 0, manifolds.Stiefel{Retraction: manifolds.Geodesic}},
	{"Stiefel.cayley", geometry{family: stiefel, retraction: byCayley}, 0, manifolds.Stiefel{Retraction: manifolds.Cayley}},
	{"Stiefel.canonical.cayley", geometry{family: stiefel, canonical: true, retraction: byCayley}, 0,
		manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Cayley}},
	{"Grassmann", geometry{family: stiefel, horizontal: true, retraction: byPolar}, 0, manifolds.Grassmann{}},
	{"Grassmann.geodesic", geometry{family: stiefel, horizontal: true, retraction: byGeodesic}, 0, manifolds.Grassmann{Geodesic: true}},
	{"Orthogonal", geometry{family: stiefel, group: true}, 0, manifolds.Orthogonal{}},
	{"SpecialOrthogonal", geometry{family: stiefel, group: true, proper: true}, 0, manifolds.SpecialOrthogonal{}},
	{"SpecialOrthogonal.geodesic", geometry{family: stiefel, group: true, proper: true, retraction: byGeodesic}, 0,
		manifolds.SpecialOrthogonal{Retraction: manifolds.Geodesic}},
	{"Stiefel.canonical.cholesky", geometry{family: stiefel, canonical: true}, 0, manifolds.Stiefel{Metric: manifolds.CanonicalMetric}},
	{"Stiefel.canonical.qr", geometry{family: stiefel, canonical: true}, 0,
		manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.QR}},
	{"Stiefel.canonical.polar", geometry{family: stiefel, canonical: true, retraction: byPolar}, 0,
		manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Polar}},
	{"Stiefel.canonical.geodesic", geometry{family: stiefel, canonical: true, retraction: byGeodesic}, 0,
		manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Geodesic}},
	{"GeneralizedStiefel", geometry{family: stiefel, weighted: true}, 0, manifolds.GeneralizedStiefel{}},
	{"GeneralizedStiefel.canonical.polar", geometry{family: stiefel, weighted: true, canonical: true, retraction: byPolar}, 0,
		manifolds.GeneralizedStiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Polar}},
	{"SpectralBall", geometry{family: ball}, 0, manifolds.SpectralBall{}},
}

// inner are the weights of an inner product of vectors of n elements: powers of 4, so that their roots are exact.
func inner(n int) []float64 {
	d := make([]float64, n)
	for i := range d {
		d[i] = math.Ldexp(1, 2*(i%3-1))
	}
	return d
}

// on is the manifold of the case.
func (c Case) on() manifolds.Manifold {
	g, ok := manifoldKinds[c.manifold].of.(manifolds.GeneralizedStiefel)
	if !ok {
		return manifoldKinds[c.manifold].of
	}
	_, _, n, p := cut(groupings[c.grouping].name, shapes[c.shape].value)
	m, err := manifolds.NewGeneralizedStiefel(max(n, p), inner(max(n, p)))
	if err != nil {
		panic(err) // inner is positive
	}
	m.Metric, m.Retraction = g.Metric, g.Retraction
	return m
}

type named[T any] struct {
	name  string
	value T
}

var groupings = []named[manifolds.Grouping]{
	{"PerSlice", manifolds.PerSlice}, {"PerFilter", manifolds.PerFilter}, {"PerInputChannel", manifolds.PerInputChannel},
	{"PerTap", manifolds.PerTap}, {"FilterBank", manifolds.FilterBank}, {"PerWeight", manifolds.PerWeight},
}

var scales = []named[manifolds.Scale]{
	{"Unit", manifolds.Unit}, {"Initial", manifolds.Initial}, {"UnitFilters", manifolds.UnitFilters},
}

// shapes are the shapes of the kernels: for full and partial vectors of lanes, wide and tall filter
// banks, and one that is large enough to be divided among two cores through buffers. The last,
// which the grid leaves out, is large enough to be divided in place.
var shapes = []named[[]int]{
	{"6x4x3x3", []int{6, 4, 3, 3}}, {"4x3x2x3", []int{4, 3, 2, 3}}, {"3x17x2x2", []int{3, 17, 2, 2}},
	{"20x2x3x3", []int{20, 2, 3, 3}}, {"48x24x3x3", []int{48, 24, 3, 3}},
	{"1024x128x3x3", []int{1024, 128, 3, 3}},
}

// paths are the two ways in which a solver can move a parameter: in place or through buffers.
// Clipping at a value that no gradient reaches makes it use buffers.
var paths = []string{"inplace", "buffers"}

var filterKinds = []string{"generic", "equal", "duplicated", "zero"}

// magnitudes of the weights.
var magnitudes = []float64{1e-30, 1e-16, 1e-8, 1, 1e8, 1e19, 1e30}

// gradientKind makes gradients from the current weights.
type gradientKind struct {
	name string
	fill func(rng *rand.Rand, w []float64, perFilter int, g []float64)
}

func random(size float64) gradientKind {
	return gradientKind{fmt.Sprintf("random%.0e", size), func(rng *rand.Rand, w []float64, _ int, g []float64) {
		for i := range g {
			g[i] = size * rng.NormFloat64()
		}
	}}
}

// parallel gradients are a multiple of the weights, of the given root mean square.
func parallel(size float64) gradientKind {
	return gradientKind{fmt.Sprintf("parallel%.0e", size), func(rng *rand.Rand, w []float64, _ int, g []float64) {
		largest := 0.0
		for _, v := range w {
			largest = max(largest, math.Abs(v))
		}
		if largest == 0 {
			largest = 1
		}
		factor := size * (0.5 + rng.Float64())
		for i := range g {
			g[i] = factor * (w[i] / largest)
		}
	}}
}

var gradientKinds = []gradientKind{
	{"zero", func(_ *rand.Rand, _ []float64, _ int, g []float64) { clear(g) }},
	parallel(1), parallel(1e10),
	{"mean1e+06", func(rng *rand.Rand, _ []float64, _ int, g []float64) {
		for i := range g {
			g[i] = 1e6 + rng.NormFloat64()
		}
	}},
	random(1e-30), random(1e-15), random(1e-6), random(1), random(1e6), random(1e15), random(1e20), random(1e30),
	{"huge1e+12", func(rng *rand.Rand, _ []float64, perFilter int, g []float64) {
		one := rng.IntN(len(g) / perFilter)
		for i := range g {
			g[i] = rng.NormFloat64()
			if i/perFilter == one {
				g[i] *= 1e12
			}
		}
	}},
	{"nan", func(rng *rand.Rand, _ []float64, _ int, g []float64) {
		random(1).fill(rng, nil, 0, g)
		g[rng.IntN(len(g))] = math.NaN()
	}},
	{"inf", func(rng *rand.Rand, _ []float64, _ int, g []float64) {
		random(1).fill(rng, nil, 0, g)
		g[rng.IntN(len(g))] = math.Inf(1 - 2*rng.IntN(2))
	}},
}

var rates = []float64{0, 1e-12, 1e-3, 0.1, 1, 1e3, 1e10, 1e17, 1e25}

// Case is one point of the grid; its fields are indices into the tables above.
type Case struct {
	solver, manifold, grouping, scale, shape, precision, path, procs int
	magnitude, filters, gradient, rate                               int
	seed                                                             uint64
}

// String returns the name of the case, for ParseCase.
func (c Case) String() string {
	return strings.Join([]string{
		solverKinds[c.solver].name, manifoldKinds[c.manifold].name, groupings[c.grouping].name, scales[c.scale].name, shapes[c.shape].name,
		precisions[c.precision].name, paths[c.path], "p" + strconv.Itoa(1+c.procs), fmt.Sprintf("w%.0e", magnitudes[c.magnitude]),
		filterKinds[c.filters], gradientKinds[c.gradient].name, fmt.Sprintf("lr%.0e", rates[c.rate]), "s" + strconv.FormatUint(c.seed, 10),
	}, "/")
}

// ParseCase returns the case with the given name.
func ParseCase(name string) (Case, error) {
	var c Case
	words := strings.Split(name, "/")
	if len(words) != 13 {
		return c, fmt.Errorf("extremes: want the 13 words of a case, as %q, got %q", c, name)
	}
	find := func(i int, n int, label func(Case, int) (string, Case)) error {
		for k := range n {
			if _, d := label(c, k); strings.Split(d.String(), "/")[i] == words[i] {
				c = d
				return nil
			}
		}
		return fmt.Errorf("extremes: no case has %q as word %d of its name", words[i], i+1)
	}
	for i, axis := range axes {
		if err := find(i, axis.n(), func(c Case, k int) (string, Case) { *axis.of(&c) = k; return "", c }); err != nil {
			return c, err
		}
	}
	seed, err := strconv.ParseUint(strings.TrimPrefix(words[12], "s"), 10, 64)
	if err != nil {
		return c, fmt.Errorf("extremes: want a seed s0, s1 ..., got %q", words[12])
	}
	c.seed = seed
	return c, nil
}

// axis is a field of Case and the size of its table, in the order of the name.
type axis struct {
	of func(*Case) *int
	n  func() int
}

var axes = []axis{
	{func(c *Case) *int { return &c.solver }, func() int { return len(solverKinds) }},
	{func(c *Case) *int { return &c.manifold }, func() int { return len(manifoldKinds) }},
	{func(c *Case) *int { return &c.grouping }, func() int { return len(groupings) }},
	{func(c *Case) *int { return &c.scale }, func() int { return len(scales) }},
	{func(c *Case) *int { return &c.shape }, func() int { return len(shapes) }},
	{func(c *Case) *int { return &c.precision }, func() int { return len(precisions) }},
	{func(c *Case) *int { return &c.path }, func() int { return len(paths) }},
	{func(c *Case) *int { return &c.procs }, func() int { return 2 }},
	{func(c *Case) *int { return &c.magnitude }, func() int { return len(magnitudes) }},
	{func(c *Case) *int { return &c.filters }, func() int { return len(filterKinds) }},
	{func(c *Case) *int { return &c.gradient }, func() int { return len(gradientKinds) }},
	{func(c *Case) *int { return &c.rate }, func() int { return len(rates) }},
}

// crossed are the axes of the grid. Scale, shape and number of cores are drawn at random for each
// case.
var crossed = []int{0, 1, 2, 5, 6, 8, 9, 10, 11}

// gridSize returns the number of places in the grid. at reports false for those that are skipped.
func gridSize() int {
	n := 1
	for _, a := range crossed {
		n *= axes[a].n()
	}
	return n
}

// at returns case number i of the grid, or false if it does not exist or repeats another. The order
// is such that every range of numbers is a mixture of all kinds of cases.
func at(i int) (Case, bool) {
	var c Case
	rest := int(int64(i) * 6700417 % int64(gridSize())) // a prime that does not divide the size
	for _, a := range crossed {
		*axes[a].of(&c) = rest % axes[a].n()
		rest /= axes[a].n()
	}
	h := fnv.New64a()
	fmt.Fprint(h, i)
	rng := rand.New(rand.NewPCG(h.Sum64(), 0x6b66))
	c.scale = rng.IntN(len(scales))
	c.shape = rng.IntN(len(shapes) - 2)
	if rng.IntN(200) == 0 {
		c.shape = len(shapes) - 2
	}
	c.procs = rng.IntN(2)
	c.seed = rng.Uint64N(1000)
	return c, c.exists()
}

func (c Case) exists() bool {
	euclidean := manifoldKinds[c.manifold].geometry.family == flat
	switch {
	case groupings[c.grouping].name == "PerWeight" && !euclidean:
		return false // points of dimension 0
	case manifoldKinds[c.manifold].geometry.horizontal && c.square():
		return false // the same
	case manifoldKinds[c.manifold].geometry.group && !c.square():
		return false // no points
	case (euclidean || manifoldKinds[c.manifold].geometry.weighted || manifoldKinds[c.manifold].geometry.family == ball) && scales[c.scale].name != "Unit":
		return false
	case solverKinds[c.solver].rule.kind == wrapped && c.path > 0:
		return false // has one path
	}
	return true
}

// square reports whether points have as many rows as columns.
func (c Case) square() bool {
	_, _, n, p := cut(groupings[c.grouping].name, shapes[c.shape].value)
	return n == p
}

// parameter is a parameter without a graph.
type parameter struct {
	name string
	w, g values
}

func (p *parameter) Value() gorgonia.Value         { return p.w.tensor }
func (p *parameter) Grad() (gorgonia.Value, error) { return p.g.tensor, nil }
func (p *parameter) Name() string                  { return p.name }

// weights returns the weights of the kernel. Its filters are random, equal, duplicated or partly
// zero.
func (c Case) weights(rng *rand.Rand) []float64 {
	shape := shapes[c.shape].value
	d, per := shape[0], shape[1]*shape[2]*shape[3]
	w := make([]float64, d*per)
	for i := range w {
		w[i] = magnitudes[c.magnitude] * rng.NormFloat64()
	}
	filter := func(i int) []float64 { return w[i*per : (i+1)*per] }
	switch filterKinds[c.filters] {
	case "equal":
		for i := 1; i < d; i++ {
			copy(filter(i), filter(0))
		}
	case "duplicated":
		copy(filter(d-1), filter(0))
	case "zero":
		clear(filter(rng.IntN(d)))
	}
	return w
}

// problem returns the oracle's problem for the kernel, whose weights have the given Frobenius norm.
func (c Case) problem(frobenius float64) *problem {
	kind := manifoldKinds[c.manifold]
	shape := shapes[c.shape].value
	o := &problem{name: "kernel", m: kind.geometry, precise: precisions[c.precision], r: 1}
	o.where, o.k, o.n, o.p = cut(groupings[c.grouping].name, shape)
	o.pn, o.pp = o.n, o.p
	count := 1.0 // of the squared norm of a point, in r^2
	switch {
	case o.m.family == flat:
		o.pn, o.pp = 1, 1
		for e := range o.n * o.p {
			o.parts = append(o.parts, []int{e})
		}
	case kind.axis == 'c':
		o.pp, count = 1, float64(o.p)
		for j := range o.p {
			var at []int
			for i := range o.n {
				at = append(at, i*o.p+j)
			}
			o.parts = append(o.parts, at)
		}
	case kind.axis == 'r':
		o.pn, count = 1, float64(o.n)
		for i := range o.n {
			var at []int
			for j := range o.p {
				at = append(at, i*o.p+j)
			}
			o.parts = append(o.parts, at)
		}
	default:
		if o.m.family == stiefel {
			count = float64(min(o.n, o.p))
		}
		whole := make([]int, o.n*o.p)
		for e := range whole {
			whole[e] = e
		}
		o.parts = [][]int{whole}
	}
	if o.m.weighted {
		d := inner(max(o.n, o.p))
		rows := o.n < o.p || o.n == o.p && groupings[c.grouping].name == "FilterBank"
		for e := range o.k * o.n * o.p {
			i := e / o.p % o.n
			if rows {
				i = e % o.p
			}
			o.root = append(o.root, math.Sqrt(d[i]))
		}
	}
	layer := math.Sqrt(count * float64(o.k)) // Frobenius norm of the layer at radius 1
	if o.m.family != flat {
		switch scales[c.scale].name {
		case "Initial":
			o.r = frobenius / layer
		case "UnitFilters":
			o.r = math.Sqrt(float64(shape[0])) / layer
		}
	}
	return o
}

// bias returns the oracle's problem for the bias, the second parameter of every model, which is not
// constrained.
func (c Case) bias(n int) *problem {
	o := &problem{name: "bias", precise: precisions[c.precision], r: 1, parts: [][]int{{0}}, pn: 1, pp: 1}
	o.where, o.k, o.n, o.p = cut("PerWeight", []int{n})
	return o
}

// build makes the solver of the case.
func (c Case) build() stepper {
	opts := []solvers.Option{solvers.Param("kernel", c.on(), groupings[c.grouping].value, scales[c.scale].value)}
	if paths[c.path] == "buffers" {
		opts = append(opts, solvers.ClipValue(math.MaxFloat64))
	}
	return solverKinds[c.solver].of(rates[c.rate], opts...)
}
