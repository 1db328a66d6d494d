// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Option configures a solver. No option is ignored: an invalid value, or an option that the solver does not have, is an error at the first Step.
//
// Options with a parameter on ...bool are on without an argument: Nesterov() is Nesterov(true).
type Option struct {
	kind  optionKind
	name  string                // for errors: an option of Tune may have the name of another
	whole func(*config) error   // sets it for the solver
	part  func(*settings) error // sets it for parameters: of the solver, or by With of some
}

// optionKind is a set of options that some functions take and others do not. All other options are of kind 0.
type optionKind uint8

const ( // in the order of String
	minimizes optionKind = 1 << iota
	selects
	tolerates
	freezes
	clips
	decaysAmbient
	rests
)

// String lists the options of the kinds.
func (k optionKind) String() string {
	var names []string
	for i, n := range [...]string{"GradientDescent, ConjugateGradient, LBFGS, GradientTolerance, MaxIterations, MaxEvaluations, AfterIteration",
		"Kernels, Natural, Param, Where", "Tolerance", "Frozen", "ClipValue, ClipNorm", "AmbientDecay", "Rest"} {
		if k&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// of returns the option as one of a kind.
func (o Option) of(k optionKind) Option {
	o.kind = k
	return o
}

// only returns an error if there are options that are not of the allowed kinds.
func only(who string, opts []Option, allowed optionKind) error {
	for _, o := range opts {
		if o.kind&allowed == 0 {
			return optionError("%s has no option %s: want %v", who, o.name, allowed)
		}
	}
	return nil
}

// config holds the values of all options.
type config struct {
	settings           // of parameters without their own
	base       float64 // the learning rate that options gave; SetLearnRate scales all rates by its quotient
	schedule   Schedule
	clipNorm   float64 // of all gradients together
	batch      int
	selections []selection
	minimizing *minimizing // of Minimize; nil for solvers
}

// settings holds the values that can differ from parameter to parameter.
type settings struct {
	rule      Rule
	learnRate float64
	decay     float64
	decayOf   decayKind
	clipValue float64
	clipOwn   float64 // of the gradient of the parameter
	factor    factorKind
	scope     Scope
	tolerance float64
	frozen    bool
	rest      bool // the rule is that of the Rest of a Partial rule
}

type decayKind uint8

const (
	decayEverything decayKind = iota
	decayEuclidean
	decayAmbient
)

// factorKind says which directions determine the geometric factor.
type factorKind uint8

const (
	noFactor     factorKind = iota
	ofPast                  // the directions of the steps before
	ofThisSample            // the direction that it divides
)

// selection says which parameters a constraint, or options, apply to.
type selection struct {
	name       string // as in the program: Kernels(...), Param("w0", ...)
	matches    func(p *parameter) bool
	natural    bool                  // the constraint is what the graph says of each parameter
	constraint *manifolds.Constraint // nil: leaves it to the others
	options    []Option
}

// configure applies the options to the defaults of a rule.
func configure(r Rule, defaults settings, opts []Option) (config, error) {
	if isnil.Of(r) {
		return config{}, optionError("New: want a rule, got nil")
	}
	c := config{settings: defaults}
	c.rule = r
	for _, o := range opts {
		var err error
		switch {
		case o.whole != nil:
			err = o.whole(&c)
		case o.part != nil:
			err = o.part(&c.settings)
		default:
			err = optionError("%s: want an option, got the zero Option", r.Name())
		}
		if err != nil {
			return c, err
		}
	}
	c.base = c.learnRate
	if err := c.check(); err != nil {
		return c, err
	}
	for _, s := range c.selections { // errors of options for some parameters come as early as the others
		if s.constraint == nil && !s.natural && len(s.options) == 0 {
			return c, optionError("%s: want a manifold, or options by With, got nil and none", s.name)
		}
		_, err := c.settings.with(s.options)
		if r, ok := c.rule.(Partial); ok && err != nil { // it may be meant for parameters of the rest
			if _, rest := c.settings.by(r.Rest()).with(s.options); rest == nil {
				err = nil
			}
		}
		if err != nil {
			return c, fmt.Errorf("%w, in %s", err, s.name)
		}
	}
	return c, nil
}

// with returns the settings with more options. Rest is applied first, because the others then apply to its settings.
func (s settings) with(opts []Option) (settings, error) {
	scope := s.scope
	rest := func(o Option) bool { return o.kind == rests }
	if slices.ContainsFunc(opts, rest) {
		opts = append([]Option{Rest()}, slices.DeleteFunc(slices.Clone(opts), rest)...)
	}
	for _, o := range opts {
		switch {
		case o.part == nil && o.whole == nil:
			return s, optionError("With: want an option, got the zero Option")
		case o.part == nil:
			return s, optionError("%s is an option of the whole solver", o.name)
		}
		if err := o.part(&s); err != nil {
			return s, err
		}
	}
	if s.factor == noFactor && s.scope == scope { // that of a factor which these parameters do not have
		s.scope = EachPoint
	}
	return s, s.check()
}

// by returns the settings for a parameter that another solver moves.
func (s settings) by(other *Solver) settings {
	t := other.engine.settings
	t.clipValue, t.clipOwn = cmp.Or(t.clipValue, s.clipValue), cmp.Or(t.clipOwn, s.clipOwn)
	if t.factor == noFactor {
		t.factor, t.scope = s.factor, s.scope
	}
	t.tolerance, t.frozen, t.rest = cmp.Or(t.tolerance, s.tolerance), t.frozen || s.frozen, true
	return t
}

func (s settings) check() error {
	if s.scope != EachPoint && s.factor == noFactor {
		return optionError("FactorFor: want GeometricStep or SampledGeometricStep with it, got neither")
	}
	if r, ok := s.rule.(Partial); ok {
		if err := checkRest(s.rule.Name(), r.Rest()); err != nil {
			return err
		}
	}
	if c, ok := s.rule.(Checked); ok {
		return c.Check()
	}
	return nil
}

// checkRest returns an error unless another solver can move the rest of the parameters of a Partial
// rule: by a rule that looks at one part at a time, with settings of single parameters.
func checkRest(name string, s *Solver) error {
	if s == nil {
		return optionError("%s: want a solver for the rest, got nil", name)
	}
	e := s.made()
	if e.err != nil {
		return e.err
	}
	_, partial := e.rule.(Partial)
	_, plans := e.rule.(Planner)
	_, remembers := e.rule.(encoding.BinaryMarshaler)
	switch {
	case partial || plans || remembers:
		return optionError("%s: want a solver for the rest that moves every parameter by itself, such as NewAdamW or NewSGD, got %s", name, s)
	case e.schedule.factor != nil || e.schedule.err != nil || e.clipNorm > 0 || e.batch > 0 || len(e.selections) > 0:
		return optionError("%s: want the options Anneal, ClipNorm, BatchSize, Kernels, Natural, Param and Where given to the solver itself, got one of them in that for the rest", name)
	}
	return nil
}

// With sets options for the parameters that Kernels, Natural, Param or Where select, in place of those of the
// solver: LearnRate, WeightDecay, EuclideanDecay, AmbientDecay, ClipValue, ClipNorm (for the gradient of each
// such parameter), Tolerance, GeometricStep and its variants, Frozen, and the options of the rule, such as
// Momentum and Betas. ConstrainWith, Minimize and CheckGradient take fewer.
//
//	solvers.Param("head", nil).With(solvers.LearnRate(0.01), solvers.Momentum(0.5))
func (o Option) With(opts ...Option) Option {
	whole := o.whole
	if o.kind != selects {
		return Option{name: o.name, whole: func(*config) error {
			return optionError("%s.With: want Kernels, Natural, Param or Where, which select parameters", o.name)
		}}
	}
	return Option{kind: selects, name: o.name, whole: func(c *config) error {
		if err := whole(c); err != nil {
			return err
		}
		s := &c.selections[len(c.selections)-1]
		s.options = append(append([]Option{}, s.options...), opts...)
		return nil
	}}
}

// Tune makes an option for your own rule. Change returns the rule with the option set, and false for a rule
// that does not have it. It must not modify the rule that it is given.
func Tune(name string, change func(Rule) (Rule, bool)) Option {
	if change == nil {
		return tune(name, errors.New("want a function, got nil"), nil)
	}
	return tune(name, nil, change)
}

// tune makes an option of a rule, or the error of its value.
func tune(name string, bad error, change func(Rule) (Rule, bool)) Option {
	return Option{name: name, part: func(s *settings) error {
		if bad != nil {
			return optionError("%s: %v", name, bad)
		}
		r, ok := change(s.rule)
		switch {
		case !ok:
			return optionError("%s has no option %s", s.rule.Name(), name)
		case isnil.Of(r):
			return optionError("%s: want a rule, got nil", name)
		}
		s.rule = r
		return nil
	}}
}

// tuneOf makes an option of the rules of a type.
func tuneOf[R Rule](name string, bad error, set func(*R)) Option {
	return tune(name, bad, func(r Rule) (Rule, bool) {
		of, ok := r.(R)
		if ok {
			set(&of)
		}
		return of, ok
	})
}

// setting makes an option of parameters.
func setting(name string, bad error, set func(*settings)) Option {
	return Option{name: name, part: func(s *settings) error {
		if bad != nil {
			return optionError("%s: %v", name, bad)
		}
		set(s)
		return nil
	}}
}

// unit returns an error unless v lies in [0, 1).
func unit(v float64) error { return between(v, 1) }

// natural returns an error unless v is finite and not negative.
func natural(v float64) error { return between(v, math.Inf(1)) }

func between(v, high float64) error {
	if !(v >= 0 && v < high) {
		return fmt.Errorf("want a number in [0, %g), got %g", high, v)
	}
	return nil
}

func positive(v float64) error {
	if !(v > 0) || math.IsInf(v, 0) {
		return fmt.Errorf("want a positive number, got %g", v)
	}
	return nil
}

// flag returns the value of an option that is on without an argument.
func flag(on []bool) (bool, error) {
	switch len(on) {
	case 0:
		return true, nil
	case 1:
		return on[0], nil
	}
	return false, fmt.Errorf("want at most one argument, got %d", len(on))
}

// LearnRate sets the learning rate: a step is the direction times the rate.
func LearnRate(lr float64) Option {
	return setting("LearnRate", natural(lr), func(s *settings) { s.learnRate = lr })
}

// Rest adds parameters to those that a Partial rule, such as that of NewMuon, leaves to another solver. It is
// an option of With; the other options in that With then apply to that solver:
//
//	solvers.Param("head", nil).With(solvers.Rest())
func Rest() Option {
	return Option{
		kind: rests,
		name: "Rest",
		whole: func(c *config) error {
			return optionError("Rest: want it in With, for some parameters")
		},
		part: func(s *settings) error {
			r, ok := s.rule.(Partial)
			switch {
			case s.rest:
				return nil
			case !ok:
				return optionError("%s has no option Rest", s.rule.Name())
			}
			*s = s.by(r.Rest())
			return nil
		},
	}
}

// Frozen excludes parameters from the step: they are not moved or projected, and their gradients are cleared without being checked.
func Frozen(on ...bool) Option {
	is, err := flag(on)
	return setting("Frozen", err, func(s *settings) { s.frozen = is }).of(freezes)
}

// GeometricStep divides the step of every constrained point by a factor
//
//	g_t = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// manifolds.GeometricFactor, where c is the manifold's curvature bound and R the root of the mean of the
// squared norms of the point's past directions, weighted by 0.9^k for the k-th last step; in the first step
// the factor is 1, and it is always 1 where c is 0 or negative. On a sphere of radius r, R' is r R: the norm
// of the gradient of the same cost as a function of x/r, so that the factor does not depend on the scale.
//
// The factor is known before the gradient of a step is drawn. A step is therefore unbiased, and for learning
// rates with infinite sum and finite sum of squares (RobbinsMonro) the theorem of Robbins and Monro applies
// as Bonnabel (2013) states it for manifolds: for a cost with a single stationary point in a compact region
// that the iterates do not leave, without momentum.
func GeometricStep(on ...bool) Option { return geometric("GeometricStep", ofPast, on) }

// SampledGeometricStep is GeometricStep where R is the norm of the direction that is divided, as in the
// algorithm of Ozay and Okatani (arXiv 1610.07008). On the unit sphere a step is then no longer than the
// smaller of R and 1/(2 + R) learning rates, whatever the gradient. But long gradients count less than short
// ones: the mean of the steps does not point along the mean gradient, and where gradients are rare and long,
// the solver does not converge to a minimum of the cost (docs/solvers.md has an example).
func SampledGeometricStep(on ...bool) Option {
	return geometric("SampledGeometricStep", ofThisSample, on)
}

// Scope determines which points share a number: the factor of a geometric step, or a distance.
type Scope uint8

const (
	// EachPoint: every point has its own number.
	EachPoint Scope = iota
	// EachGroup: the points of a group share a number. A manifolds.Ensemble has groups; on any other manifold all points of a layer are one
	// group.
	EachGroup
	// EachLayer: all points of a layer share a number.
	EachLayer
	// AllLayers: all points of all layers share a number.
	AllLayers
)

// FactorFor chooses which points share the factor of GeometricStep or SampledGeometricStep. Points that share
// it are one point of a product manifold, whose metric is the sum of their metrics: R^2 is the sum of their
// squared norms, and the curvature bound c is the largest of their bounds. The default is EachPoint.
func FactorFor(s Scope) Option {
	var err error
	if s > EachLayer {
		err = fmt.Errorf("want EachPoint, EachGroup or EachLayer, got %d", s)
	}
	return setting("FactorFor", err, func(to *settings) { to.scope = s })
}

func geometric(name string, kind factorKind, on []bool) Option {
	is, err := flag(on)
	return setting(name, err, func(s *settings) {
		if s.factor = noFactor; is {
			s.factor = kind
		}
	})
}

// ClipValue clamps every element of the Euclidean gradients to [-limit, limit].
func ClipValue(limit float64) Option {
	return setting("ClipValue", positive(limit), func(s *settings) { s.clipValue = limit }).of(clips)
}

// ClipNorm scales the Euclidean gradients of all parameters of a step by one
// factor so that their joint Frobenius norm is at most limit, whatever the manifolds (Pascanu,
// Mikolov, Bengio, ICML 2013). It comes after ClipValue. In With it bounds the gradient of each parameter, before
// the joint norm is taken.
func ClipNorm(limit float64) Option {
	o := setting("ClipNorm", positive(limit), func(s *settings) { s.clipOwn = limit }).of(clips)
	o.whole = func(c *config) error {
		c.clipNorm = limit
		return o.part(&settings{}) // for its error
	}
	return o
}

// Tolerance sets the membership error beyond which a parameter is projected
// back before its step. The default is 1e-5 for float32 and 1e-11 for float64,
// times sqrt(q/64) where the shorter side q of a point exceeds 64.
func Tolerance(t float64) Option {
	return setting("Tolerance", positive(t), func(s *settings) { s.tolerance = t }).of(tolerates)
}

// WeightDecay subtracts lr*lambda*x from every parameter x, decoupled from the
// gradient (Loshchilov, Hutter, ICLR 2019). On a manifold of fixed scale weight decay has no meaning, so a
// constrained parameter makes the first step fail. Use EuclideanDecay or AmbientDecay, which differ in what
// they do there.
func WeightDecay(lambda float64) Option { return decay("WeightDecay", lambda, decayEverything) }

// EuclideanDecay is WeightDecay for the unconstrained parameters only.
func EuclideanDecay(lambda float64) Option { return decay("EuclideanDecay", lambda, decayEuclidean) }

// AmbientDecay adds lambda*x to the Euclidean gradient of every parameter x
// before the momentum, as the paper does. On a manifold of fixed scale the term is normal to the manifold. It
// acts only through AmbientMomentum, whose older terms are no longer normal, and makes that less stable. A
// parameter on a manifolds.Ambient, where lambda*x is not normal, makes the first step fail.
func AmbientDecay(lambda float64) Option {
	return decay("AmbientDecay", lambda, decayAmbient).of(decaysAmbient)
}

func decay(name string, lambda float64, of decayKind) Option {
	return setting(name, natural(lambda), func(s *settings) { s.decay, s.decayOf = lambda, of })
}

// Anneal sets the schedule of the learning rate.
func Anneal(s Schedule) Option {
	return Option{name: "Anneal", whole: func(c *config) error {
		c.schedule = s
		return s.err
	}}
}

// BatchSize divides gradients by b, for a cost that is a sum over the batch. It is applied before clipping.
func BatchSize(b int) Option {
	return Option{name: "BatchSize", whole: func(c *config) error {
		if b < 1 {
			return optionError("BatchSize: want a positive number, got %d", b)
		}
		c.batch = b
		return nil
	}}
}

// Kernels constrains every convolution kernel. A *gorgonia.Node is a kernel if its graph convolves with it,
// directly or through a normalisation or a reshape. A parameter without a graph is judged by its shape: see
// IsKernel. The report lists the kernels and says why. The options are a manifolds.Grouping and a
// manifolds.Scale. The number of groups of a convolution, and whether it is transposed, also come from the
// graph, unless the Grouping states them.
//
// If several of Kernels, Natural, Param and Where apply to a parameter, the last one is used. With a nil
// manifold, the option leaves the constraint to the others and only sets the options of its With.
func Kernels(m manifolds.Manifold, opts ...manifolds.Option) Option {
	return selecting("Kernels", "", func(p *parameter) bool { return p.role.Role == roles.Kernel }, m, opts)
}

// Natural constrains the parameters whose manifold is determined by the graph itself: the factors of
// nodes.OrthogonalConv on Orthogonal, Stiefel and Grassmann, and inputs of other operations that are nodes.PointInputs. Kernels does not
// constrain them, so that
//
//	solvers.NewAdam(solvers.Natural())
//
// trains a net of orthogonal convolutions. With Kernels beside it, the ordinary convolutions of the same net are constrained to another
// manifold. Natural applies only to parameters that are a *gorgonia.Node, because others have no graph.
func Natural() Option {
	return Option{kind: selects, name: "Natural", whole: func(c *config) error {
		c.selections = append(c.selections, selection{name: "Natural()", natural: true, matches: func(p *parameter) bool { return p.claimed }})
		return nil
	}}
}

// Param constrains the parameter of the given name. With manifolds.Euclidean{} it leaves a kernel unconstrained that Kernels would constrain.
func Param(name string, m manifolds.Manifold, opts ...manifolds.Option) Option {
	return selecting("Param", fmt.Sprintf("%q, ", name), func(p *parameter) bool { return p.name == name }, m, opts)
}

// Where constrains the parameters for which pred returns true.
func Where(pred func(name string, shape tensor.Shape) bool, m manifolds.Manifold, opts ...manifolds.Option) Option {
	if pred == nil {
		return Option{kind: selects, name: "Where", whole: func(*config) error { return optionError("Where: want a predicate, got nil") }}
	}
	return selecting("Where", "", func(p *parameter) bool { return pred(p.name, p.shape) }, m, opts)
}

func selecting(option, args string, matches func(*parameter) bool, m manifolds.Manifold, opts []manifolds.Option) Option {
	return Option{kind: selects, name: option, whole: func(c *config) error {
		s := selection{name: fmt.Sprintf("%s(%snil)", option, args), matches: matches}
		if slices.ContainsFunc(opts, func(o manifolds.Option) bool { return isnil.Of(o) }) {
			return optionError("%s: want a manifolds.Grouping or a manifolds.Scale, got nil", option)
		}
		if m == nil && len(opts) > 0 {
			return optionError("%s: want a manifold for the options %v, got nil", option, opts)
		}
		if m != nil {
			if isnil.Of(m) {
				return optionError("%s: want a manifold, got a nil %T", option, m)
			}
			on := manifolds.On(m, opts...)
			s.name, s.constraint = fmt.Sprintf("%s(%s%s)", option, args, manifolds.Name(m)), &on
		}
		c.selections = append(c.selections, s)
		return nil
	}}
}

// IsKernel reports whether a parameter of the given shape counts as a convolution kernel if no graph says
// what it is used for: its rank is 4, and more than one size is not 1.
func IsKernel(shape tensor.Shape) bool { return roles.ByShape(shape).Role == roles.Kernel }
