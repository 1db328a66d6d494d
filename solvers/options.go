// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Option configures a solver. An option with an impossible value, or one that
// the solver does not have, is an error at the first Step: nothing is ignored in
// silence.
type Option struct {
	name  string
	apply func(*config) error
}

// config is everything that options can say. Each constructor starts from the
// defaults of its rule.
type config struct {
	learnRate           float64
	momentum, dampening float64
	nesterov, tangent   bool
	geometric           bool
	beta1, beta2, eps   float64
	amsgrad             bool
	schedule            Schedule
	clipNorm, clipValue float64
	batch               int
	decay               float64
	decayOf             decayKind
	tolerance           float64
	rules               []rule
}

type decayKind uint8

const (
	decayEverything decayKind = iota
	decayEuclidean
	decayAmbient
)

// rule says which parameters a constraint applies to.
type rule struct {
	name       string // as in the program: Kernels(...), Param("w0", ...)
	matches    func(name string, shape tensor.Shape) bool
	constraint manifolds.Constraint
}

// options every solver has.
var common = []string{"LearnRate", "Anneal", "ClipNorm", "ClipValue", "BatchSize",
	"WeightDecay", "EuclideanDecay", "AmbientDecay", "Tolerance", "GeometricStep", "Kernels", "Param", "Where"}

// configure applies the options to a copy of defaults, refusing those that are
// not among the common ones or own.
func configure(solver string, defaults config, own []string, opts []Option) (config, error) {
	c := defaults
	for _, o := range opts {
		if o.apply == nil {
			return c, optionError("%s: want an option, got the zero Option", solver)
		}
		known := false
		for _, list := range [][]string{common, own} {
			for _, n := range list {
				known = known || n == o.name
			}
		}
		if !known {
			return c, optionError("%s has no option %s", solver, o.name)
		}
		if err := o.apply(&c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// number makes an option of a number that must lie in [low, high).
func number(name string, v, low, high float64, set func(*config)) Option {
	return Option{name, func(c *config) error {
		if !(v >= low && v < high) {
			return optionError("%s: want a number in [%g, %g), got %g", name, low, high, v)
		}
		set(c)
		return nil
	}}
}

func flag(name string, set func(*config)) Option {
	return Option{name, func(c *config) error { set(c); return nil }}
}

var infinity = math.Inf(1)

// LearnRate sets the length of a step in units of the direction.
func LearnRate(lr float64) Option {
	return number("LearnRate", lr, 0, infinity, func(c *config) { c.learnRate = lr })
}

// Momentum sets the factor theta of the momentum, in [0, 1).
func Momentum(theta float64) Option {
	return number("Momentum", theta, 0, 1, func(c *config) { c.momentum = theta })
}

// Dampening sets the share tau of a gradient that the momentum does not take
// up, in [0, 1): mu <- theta mu + (1 - tau) g. The first gradient is taken whole.
func Dampening(tau float64) Option {
	return number("Dampening", tau, 0, 1, func(c *config) { c.dampening = tau })
}

// Nesterov moves along g + theta mu instead of mu.
func Nesterov() Option { return flag("Nesterov", func(c *config) { c.nesterov = true }) }

// AmbientMomentum keeps the momentum in the ambient space and projects it at
// every step, as in the paper.
func AmbientMomentum() Option {
	return flag("AmbientMomentum", func(c *config) { c.tangent = false })
}

// TangentMomentum keeps the momentum in the tangent space and transports it
// along every step.
func TangentMomentum() Option {
	return flag("TangentMomentum", func(c *config) { c.tangent = true })
}

// GeometricStep divides the step of every constrained point by the paper's factor
//
//	g_t = max(1, R^2 max((2 rho + R)^2, 1 + c (rho + R)))^(1/2),
//
// R the norm of the direction, c the manifold's curvature bound and rho = c^(-1/2)
// in the place of the distance to the minimiser. On the unit sphere g_t is
// max(1, R (2 + R)), so no step is longer than the learning rate over 2 + R or R.
func GeometricStep(on bool) Option {
	return flag("GeometricStep", func(c *config) { c.geometric = on })
}

// Betas sets the decay of the first and second moments of Adam, each in [0, 1).
func Betas(beta1, beta2 float64) Option {
	return Option{"Betas", func(c *config) error {
		if !(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1) {
			return optionError("Betas: want two numbers in [0, 1), got %g and %g", beta1, beta2)
		}
		c.beta1, c.beta2 = beta1, beta2
		return nil
	}}
}

// Eps sets what Adam adds to the root of the second moment.
func Eps(eps float64) Option {
	return Option{"Eps", func(c *config) error {
		if !(eps > 0) || math.IsInf(eps, 0) {
			return optionError("Eps: want a positive number, got %g", eps)
		}
		c.eps = eps
		return nil
	}}
}

// AMSGrad divides by the largest second moment so far (Reddi, Kale, Kumar,
// ICLR 2018).
func AMSGrad() Option { return flag("AMSGrad", func(c *config) { c.amsgrad = true }) }

// Anneal sets the schedule of the learning rate.
func Anneal(s Schedule) Option {
	return Option{"Anneal", func(c *config) error {
		c.schedule = s
		return s.err
	}}
}

// BatchSize divides gradients by b, for a cost that is a sum over the batch.
// It comes before clipping.
func BatchSize(b int) Option {
	return Option{"BatchSize", func(c *config) error {
		if b < 1 {
			return optionError("BatchSize: want a positive number, got %d", b)
		}
		c.batch = b
		return nil
	}}
}

// ClipValue clamps every element of the Euclidean gradients to [-limit, limit].
func ClipValue(limit float64) Option {
	return Option{"ClipValue", func(c *config) error {
		if !(limit > 0) {
			return optionError("ClipValue: want a positive number, got %g", limit)
		}
		c.clipValue = limit
		return nil
	}}
}

// ClipNorm scales the Euclidean gradients of all parameters of a step by one
// factor so that their joint norm is at most limit (Pascanu, Mikolov, Bengio,
// ICML 2013). It comes after ClipValue.
func ClipNorm(limit float64) Option {
	return Option{"ClipNorm", func(c *config) error {
		if !(limit > 0) {
			return optionError("ClipNorm: want a positive number, got %g", limit)
		}
		c.clipNorm = limit
		return nil
	}}
}

// WeightDecay takes lr*lambda*x off every parameter x, decoupled from the
// gradient (Loshchilov, Hutter, ICLR 2019). Weights on a manifold of fixed scale
// have nothing to lose: a constrained parameter makes the first step fail. Say
// EuclideanDecay or AmbientDecay, which are two different things.
func WeightDecay(lambda float64) Option { return decay("WeightDecay", lambda, decayEverything) }

// EuclideanDecay is WeightDecay of the unconstrained parameters, and leaves the
// constrained ones alone.
func EuclideanDecay(lambda float64) Option { return decay("EuclideanDecay", lambda, decayEuclidean) }

// AmbientDecay adds lambda*x to the Euclidean gradient of every parameter x
// before the momentum, as the paper does. On a manifold of fixed scale the term
// is normal to the tangent space: it acts only through ambient momentum, whose
// older terms are normal no more.
func AmbientDecay(lambda float64) Option { return decay("AmbientDecay", lambda, decayAmbient) }

func decay(name string, lambda float64, of decayKind) Option {
	return number(name, lambda, 0, infinity, func(c *config) { c.decay, c.decayOf = lambda, of })
}

// Tolerance sets the membership error beyond which a parameter is projected
// back before its step. The default is 1e-5 for float32 and 1e-11 for float64,
// times sqrt(q/64) where the shorter side q of a point exceeds 64.
func Tolerance(t float64) Option {
	return Option{"Tolerance", func(c *config) error {
		if !(t > 0) {
			return optionError("Tolerance: want a positive number, got %g", t)
		}
		c.tolerance = t
		return nil
	}}
}

// Kernels constrains every convolution kernel: every parameter of shape (out,
// in, height, width) that is not a vector in disguise, as the scale (1, C, 1, 1)
// of a batch normalisation is. Options are a manifolds.Grouping and a
// manifolds.Scale.
//
// Where several of Kernels, Param and Where apply to a parameter, the last one
// holds.
func Kernels(m manifolds.Manifold, opts ...manifolds.Option) Option {
	return constrain("Kernels", "", func(_ string, shape tensor.Shape) bool { return IsKernel(shape) }, m, opts)
}

// Param constrains the parameter of the given name. With manifolds.Euclidean{}
// it frees one that Kernels would constrain.
func Param(name string, m manifolds.Manifold, opts ...manifolds.Option) Option {
	return constrain("Param", fmt.Sprintf("%q, ", name), func(n string, _ tensor.Shape) bool { return n == name }, m, opts)
}

// Where constrains the parameters for which pred holds.
func Where(pred func(name string, shape tensor.Shape) bool, m manifolds.Manifold, opts ...manifolds.Option) Option {
	return constrain("Where", "", pred, m, opts)
}

func constrain(option, args string, matches func(string, tensor.Shape) bool, m manifolds.Manifold, opts []manifolds.Option) Option {
	return Option{option, func(c *config) error {
		if m == nil || matches == nil {
			return optionError("%s: want a manifold, and a predicate that is not nil", option)
		}
		name := fmt.Sprintf("%s(%s%s)", option, args, manifolds.Name(m))
		c.rules = append(c.rules, rule{name, matches, manifolds.On(m, opts...)})
		return nil
	}}
}

// IsKernel reports whether a parameter of the given shape is taken for a
// convolution kernel: rank 4, with more than one size other than 1.
func IsKernel(shape tensor.Shape) bool {
	if len(shape) != 4 {
		return false
	}
	large := 0
	for _, s := range shape {
		if s > 1 {
			large++
		}
	}
	return large > 1
}
