// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// NewMuon returns Riemannian Muon for kernels and other matrices, and AdamW for the rest. The sign
// of a matrix with the singular value decomposition U S W^T is
//
//	msign(U S W^T) = U sign(S) W^T,
//
// its polar factor if it has full rank: the direction of steepest ascent among matrices of spectral
// norm 1. Unconstrained weights move as in the algorithm of Jordan et al. (2024). Those of a layer of
// shape (D, C, A, B) are one matrix of D x CAB, or one for each group of a convolution in groups, those of a
// linear layer are out x in:
//
//	mu <- theta mu + g
//	d   = g + theta mu                                or mu with Nesterov(false)
//	x  <- (1 - lr lambda) x - lr c msign(d)           c = sqrt(max(1, rows / columns))
//
// On a manifold with the tangent projection P_x, whatever its metric, for every point x:
//
//	grad = P_x(g)
//	mu  <- theta T(mu) + grad                         T the transport along the last step
//	d    = grad + theta mu                            or mu
//	v    = P_x(msign(d))                              or the steepest of several, see Rounds
//	x   <- R_x(-lr v / b)                             b >= |v|_2
//
// P_x is self-adjoint, so <d, v> is the nuclear norm of d, and without momentum every step is a descent step.
// On square orthogonal matrices v = x msign(skew(x^T g)) (Bernstein, 2025). The bound b is at most q^(1/32)
// times the spectral norm of v, where q is the shorter side. So no step has a spectral norm above lr: on
// matrices with orthonormal columns or rows lr bounds the angle, in radians, by which a step turns any of
// them.
//
// A kernel on a manifolds.Ambient, whose inner product is not the Frobenius product, is an error, because there P_x is not self-adjoint
// in the Frobenius product, and a step would not descend.
//
// Points that are vectors, as those on a Sphere, are the rows of one matrix: with PerFilter it is
// again D x CAB. Their step is -lr c v / b.
//
// Biases, the scales of a batch normalisation, and all other parameters whose rank is not 2 or 4, or
// with D < 2 or CAB < 2, are moved by NewAdamW, or by the solver of RestBy, with its own learning rate
// and decay. SetLearnRate and Anneal scale both rates.
//
// msign is computed by five steps of a quintic Newton-Schulz iteration, after which most singular values are
// between 0.7 and 1.2. With ExactPolar it is exact up to rounding.
//
// Defaults: LearnRate 0.02, Momentum 0.95, Nesterov, Rounds(1), RestBy(NewAdamW()), no decay. Options beyond
// the common ones: Momentum, Nesterov, Rounds, ExactPolar, RestBy, and Rest in With.
func NewMuon(opts ...Option) *Solver {
	r := muon{momentum: 0.95, nesterov: true, rounds: 1, rest: NewAdamW()}
	return newSolver(r, settings{learnRate: 0.02, decayOf: decayEuclidean}, opts)
}

type muon struct {
	momentum float64
	nesterov bool
	rounds   int
	exact    bool
	rest     *Solver
}

var (
	_ Cutting    = muon{}
	_ Costly     = muon{}
	_ InPlace    = muon{}
	_ Partial    = muon{}
	_ Restricted = muon{}
)

func (muon) Name() string { return "Muon" }

func (r muon) State() []State {
	if r.momentum == 0 {
		return nil
	}
	return []State{{tangentMomentum, Tangent}}
}

// Moves reports whether the weights of a layer are a matrix with more than one row and more than one column.
func (muon) Moves(shape tensor.Shape) bool {
	l, err := manifolds.FilterBank.Layout(shape)
	return err == nil && min(l.N, l.P) > 1
}

// Admits: P_x must be self-adjoint in the Frobenius product, in which msign is the steepest direction.
func (muon) Admits(m manifolds.Manifold) error {
	if err := inFrobenius(m, "Muon"); err != nil {
		return fmt.Errorf("%w: leave the parameter to the solver for the rest, by Rest", err)
	}
	return nil
}

func (r muon) Rest() *Solver { return r.rest }

func (muon) Cut(tensor.Shape) manifolds.Grouping { return manifolds.FilterBank }

// signSteps is the number of steps of the iteration for the sign.
const signSteps = 5

// Cost: with q the shorter side and n the longer one, a step of the iteration takes 1.5 n q^2 + 0.5 q^3
// multiplications, and half of that where two are made together.
func (r muon) Cost(m manifolds.Manifold, l manifolds.Layout) int {
	v := matricesOf(m, l)
	return r.rounds * signSteps * 2 * min(v.n, v.p)
}

func (r muon) Direction(p *Part) error {
	grad, v, free := p.Gradient, p.Direction, p.Unconstrained()
	if !free {
		if err := p.Manifold.Tangent(grad, p.X, grad); err != nil {
			return err
		}
	}
	if err := r.accumulate(p, v, grad); err != nil {
		return err
	}
	a := matricesOf(p.Manifold, p.bound.layout)
	if free {
		if err := r.sign(p, a, v); err != nil {
			return err
		}
	} else if err := r.ascend(p, a, v); err != nil {
		return err
	}
	if free || a.stacked {
		return v.Combine(a.aspect(), v, 0, v)
	}
	return nil
}

// ascend replaces v by the steepest of the directions of the rounds, each divided by a bound of its spectral norm.
func (r muon) ascend(p *Part, a matrices, v manifolds.Points) error {
	if r.rounds == 1 {
		return r.round(p, a, v)
	}
	d, steepest := p.borrow(p.wide()), p.borrow(p.wide())
	if err := d.CopyFrom(v); err != nil {
		return err
	}
	slopes := scratch.Get[float64](2 * a.k)
	defer scratch.Put(slopes)
	slope, best := slopes[:a.k], slopes[a.k:]
	for round := range r.rounds {
		if err := r.round(p, a, v); err != nil {
			return err
		}
		if err := manifolds.Inner(manifolds.Euclidean{}, slope, a.of(v), a.of(d), a.of(v)); err != nil {
			return err
		}
		for i, s := range slope {
			if round > 0 && !(s > best[i]) {
				continue
			}
			best[i] = s
			if err := a.of(steepest).Slice(i, i+1).CopyFrom(a.of(v).Slice(i, i+1)); err != nil {
				return err
			}
		}
	}
	return v.CopyFrom(steepest)
}

// round replaces v by the tangent projection of its sign, divided by a bound of its spectral norm.
func (r muon) round(p *Part, a matrices, v manifolds.Points) error {
	if err := r.sign(p, a, v); err != nil {
		return err
	}
	if err := p.Manifold.Tangent(v, p.X, v); err != nil {
		return err
	}
	a.divide(v)
	return nil
}

// accumulate updates the momentum, and writes to v the matrix whose sign is the step.
func (r muon) accumulate(p *Part, v, grad manifolds.Points) error {
	if r.momentum == 0 {
		return v.CopyFrom(grad)
	}
	mu := p.New[0]
	if err := mu.Combine(r.momentum, p.Old[0], 1, grad); err != nil {
		return err
	}
	if r.nesterov {
		return v.Combine(1, grad, r.momentum, mu)
	}
	return v.CopyFrom(mu)
}

// matrices says how a batch of points is viewed as k matrices of n x p.
type matrices struct {
	k, n, p int
	stacked bool // the points are the rows of one matrix
}

func matricesOf(m manifolds.Manifold, l manifolds.Layout) matrices {
	if vectors := manifolds.PropertiesOf(m, l.N, l.P).Vectors || min(l.N, l.P) == 1; vectors && l.K > 1 {
		return matrices{1, l.K, l.N * l.P, true}
	}
	return matrices{k: l.K, n: l.N, p: l.P}
}

// aspect is the factor of matrices that have more rows than columns.
func (a matrices) aspect() float64 { return math.Sqrt(max(1, float64(a.n)/float64(a.p))) }

// of views the batch as these matrices.
func (a matrices) of(x manifolds.Points) manifolds.Points {
	x, _ = points(dense.View{F32: x.Data32(), F64: x.Data64()}, a.k, a.n, a.p)
	return x
}

// tall views matrix i of the values of a batch, transposed if it is wide.
func tall[T vec.Float](a matrices, data []T, i int) gemm.Mat[T] {
	x := gemm.Of(data[i*a.n*a.p:(i+1)*a.n*a.p], a.n, a.p)
	if a.n < a.p {
		return x.T()
	}
	return x
}

// sign replaces the matrices of v by their signs.
func (r muon) sign(p *Part, a matrices, v manifolds.Points) error {
	if p.wide() || !p.single() {
		return signInPlace(r, a, p, v.Data64())
	}
	return signInPlace(r, a, p, v.Data32())
}

func signInPlace[T vec.Float](r muon, a matrices, p *Part, v []T) error {
	if r.exact {
		eps := vec.Eps[float64]()
		if p.single() {
			eps = vec.Eps[float32]()
		}
		for i := range a.k {
			if err := frames.Sign(tall(a, v, i), eps); err != nil {
				return fmt.Errorf("solvers: Muon: %w", err)
			}
		}
		return nil
	}
	work := scratch.Get[T](len(v))
	defer scratch.Put(work)
	for i := range a.k {
		x := tall(a, v, i)
		copy(x.Data, frames.QuinticSign(x, tall(a, work, i), signSteps).Data)
	}
	return nil
}

// Fits: unconstrained matrices of moderate numbers, which are not moved in pieces.
func (r muon) Fits(p *Part, slope float64) bool {
	if !p.Unconstrained() || r.exact || p.scattered() {
		return false
	}
	least, limit := 1e-12, 1e12
	if !p.single() {
		least, limit = 1e-140, 1e140
	}
	a := matricesOf(p.Manifold, p.bound.layout)
	norm := 2 * math.Sqrt(float64(a.k*min(a.n, a.p))) // of the direction, at most
	return p.bound.of.gradient*slope > least && p.Longest() < limit*(1-r.momentum) && (1+p.Rate*p.Decay)*p.Bound()+p.Rate*a.aspect()*norm < limit
}

func (r muon) Advance(p *Part, g manifolds.Points, slope float64) (manifolds.Progress, error) {
	a := matricesOf(p.Manifold, p.bound.layout)
	var mu manifolds.Points
	if r.momentum > 0 {
		mu = p.Old[0]
	}
	var sq float64
	if p.single() {
		sq = advanceMuon(r, a, p, p.X.Data32(), mu.Data32(), g.Data32(), slope)
	} else {
		sq = advanceMuon(r, a, p, p.X.Data64(), mu.Data64(), g.Data64(), slope)
	}
	return manifolds.Progress{Direction: sq, Length: p.Rate * p.Rate * sq, Factor: 1}, nil
}

// advanceMuon moves x and mu, clears g, and returns the square of the direction's norm.
func advanceMuon[T vec.Float](r muon, a matrices, p *Part, x, mu, g []T, slope float64) float64 {
	v, work := scratch.Get[T](len(x)), scratch.Get[T](len(x))
	defer scratch.Put(v)
	defer scratch.Put(work)
	switch {
	case r.momentum == 0:
		vec.Scale(v, slope, g)
	case r.nesterov:
		vec.Combine(mu, r.momentum, mu, slope, g)
		vec.Combine(v, slope, g, r.momentum, mu)
	default:
		vec.Combine(mu, r.momentum, mu, slope, g)
		copy(v, mu)
	}
	clear(g)
	c, sq := a.aspect(), 0.0
	for i := range a.k {
		at, to := a.n*a.p*i, a.n*a.p*(i+1)
		sign := frames.QuinticSign(tall(a, v, i), tall(a, work, i), signSteps).Data
		sq += c * c * vec.Dot(sign, sign)
		vec.Combine(x[at:to], 1-p.Rate*p.Decay, x[at:to], -p.Rate*c, sign)
	}
	return sq
}

// divide divides every matrix of v by a bound of its spectral norm, unless it is 0.
func (a matrices) divide(v manifolds.Points) {
	if v.Data64() != nil {
		divideByBounds(a, v.Data64())
	} else {
		divideByBounds(a, v.Data32())
	}
}

func divideByBounds[T vec.Float](a matrices, v []T) {
	for i := range a.k {
		x := tall(a, v, i)
		if bound := frames.SpectralBound(x); bound > 0 {
			vec.Scale(x.Data, 1/bound, x.Data)
		}
	}
}

// Rounds makes Muon compute k directions on a manifold, v_1 = P_x(msign(d)) and
// v_(j+1) = P_x(msign(v_j)), and take the one with the largest <d, v_j> / b_j. The default is 1. On
// Stiefel the first has nine tenths or more of the slope of the steepest direction of its spectral
// norm. Each round costs about as much as the rest of the step.
func Rounds(k int) Option {
	var err error
	if k < 1 {
		err = fmt.Errorf("want a positive number, got %d", k)
	}
	return tuneOf("Rounds", err, func(r *muon) { r.rounds = k })
}

// ExactPolar makes Muon compute msign to rounding, in float64, instead of by five steps of Newton-Schulz
// iteration. Singular values below the rounding of the weights' precision count as 0. It takes
// several times as long.
func ExactPolar(on ...bool) Option {
	is, err := flag(on)
	return tuneOf("ExactPolar", err, func(r *muon) { r.exact = is })
}

// RestBy sets the solver whose rule, learning rate and decay move the parameters that Muon does not:
//
//	solvers.NewMuon(solvers.RestBy(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9))))
//
// The solver is used for these settings alone. Options of the whole solver, such as Anneal and Kernels, must be given to
// NewMuon.
func RestBy(s *Solver) Option { return tuneOf("RestBy", nil, func(r *muon) { r.rest = s }) }
