// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"unsafe"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// warmUp is the minimal number of iterations in the first run of a PowerIteration.
const warmUp = 15

// PowerIteration is the state of SpectralNorm: the vectors u and v, which converge to the first
// singular vectors of a kernel. It belongs to the kernel: save and load it together with the
// kernel, and share it among graphs with the same weights. It may be used from several goroutines.
type PowerIteration struct {
	mu    sync.Mutex
	seed  uint64
	u, v  []float64 // unit vectors, nil before the first run
	sigma float64
}

// NewPowerIteration returns a state whose first run starts from a random vector that depends on seed.
func NewPowerIteration(seed uint64) *PowerIteration { return &PowerIteration{seed: seed} }

// Vectors returns copies of u, with one number per filter, and of v, with one number per weight of a
// filter. Both are nil before the first run.
func (p *PowerIteration) Vectors() (u, v []float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]float64(nil), p.u...), append([]float64(nil), p.v...)
}

// Sigma returns the estimate u^T W v of the largest singular value in the last run, or 0 before the
// first run.
func (p *PowerIteration) Sigma() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sigma
}

// SetVectors sets u and v, for example to vectors that Vectors has returned, and scales them to
// norm 1. It returns an error for vectors that are empty, zero or not finite, and for vectors of
// other lengths than those that the state already has.
func (p *PowerIteration) SetVectors(u, v []float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.admit(u, v); err != nil {
		return fmt.Errorf("nodes.PowerIteration: %w", err)
	}
	nu, nv := vec.Norm(u), vec.Norm(v)
	p.u, p.v = make([]float64, len(u)), make([]float64, len(v))
	vec.Scale(p.u, 1/nu, u)
	vec.Scale(p.v, 1/nv, v)
	return nil
}

// Exchange exchanges the whole states of p and q.
func (p *PowerIteration) Exchange(q *PowerIteration) {
	if p == q {
		return
	}
	if uintptr(unsafe.Pointer(p)) > uintptr(unsafe.Pointer(q)) { // one order for all who exchange
		p, q = q, p
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	p.seed, q.seed = q.seed, p.seed
	p.u, q.u = q.u, p.u
	p.v, q.v = q.v, p.v
	p.sigma, q.sigma = q.sigma, p.sigma
}

// admit returns an error for vectors that the state cannot have.
func (p *PowerIteration) admit(u, v []float64) error {
	if p.u != nil && (len(u) != len(p.u) || len(v) != len(p.v)) {
		return fmt.Errorf("want vectors of length %d and %d, got %d and %d", len(p.u), len(p.v), len(u), len(v))
	}
	if nu, nv := vec.Norm(u), vec.Norm(v); !frames.Invertible(nu) || !frames.Invertible(nv) {
		return fmt.Errorf("want vectors with a direction, got norms %g and %g", nu, nv)
	}
	return nil
}

// SpectralNorm returns w / sigma, where sigma = u^T W v estimates the largest
// singular value of the filter bank W of w by power iteration
//
//	v = W^T u / |W^T u|,   u = W v / |W v|,
//
// Each run makes the given number of iterations, starting from the vectors of the last run (Miyato
// et al., Spectral normalization for generative adversarial networks, ICLR 2018, algorithm 1, where
// it is one iteration). w has shape (out, in, height, width), or (in, out) for a fully connected
// layer, and W has one row of in*height*width weights for each filter. sigma is the norm of this
// matrix, not of the convolution, whose norm is at most (height*width)^(1/2) times as large.
//
// The gradient treats u and v as constants, which is correct to first order where they are singular
// vectors:
//
//	dL/dw = (g - <g, w/sigma> u v^T) / sigma,   g = dL/d(w/sigma).
//
// v is updated before u, as in torch.nn.utils.spectral_norm. The newer PyTorch parametrization
// updates u first, so its results differ by half an iteration until both have converged.
//
// On a machine made with gorgonia.EvalMode(), u and v do not change. The first run of a new state
// makes at least 15 iterations, in either mode. A run that fails leaves the state unchanged.
//
// SpectralNorm returns an error for a nil state, for iterations below 1, for a state whose vectors
// have other lengths, and for a w whose value is already known and zero or not finite. A run fails
// if the estimate sigma is not positive.
func SpectralNorm(w *gorgonia.Node, state *PowerIteration, iterations int, opts ...KernelOption) (*gorgonia.Node, error) {
	const name = "nodes.SpectralNorm"
	shapes, b, err := admitKernel(name, opts, []int{0}, w)
	if err != nil {
		return nil, err
	}
	if state == nil {
		return nil, fmt.Errorf("%s: want a state, as of NewPowerIteration, got nil", name)
	}
	if iterations < 1 {
		return nil, fmt.Errorf("%s: want at least 1 iteration, got %d", name, iterations)
	}
	if err := state.fits(b); err != nil {
		return nil, fmt.Errorf("%s: input 0, %s: %w", name, w.Name(), err)
	}
	if v, ok := leafValue(w); ok {
		if n := v.Norm(); !frames.Invertible(n) {
			return nil, fmt.Errorf("%s: the value of %s: want a matrix of positive finite norm, got %g", name, w.Name(), n)
		}
	}
	m := &mode{training: true}
	s := signature{name: name, in: shapes, out: shapes[0], mode: m}
	used := new(spectralRun)
	f32, f64 := turn(b, true, spectral[float32]{b, state, iterations, m, used}, spectral[float64]{b, state, iterations, m, used})
	return apply(s, f32, f64, w)
}

// fits checks that the vectors, if there are any, have the lengths for the filter bank.
func (p *PowerIteration) fits(b bank) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.u != nil && (len(p.u) != b.d || len(p.v) != b.f) {
		return fmt.Errorf("want a state of vectors of length %d and %d, got %d and %d", b.d, b.f, len(p.u), len(p.v))
	}
	return nil
}

// spectral is SpectralNorm at one precision.
type spectral[T vec.Float] struct {
	bank       bank
	power      *PowerIteration
	iterations int
	mode       *mode
	used       *spectralRun
}

// spectralRun holds the vectors and sigma with which the value of a node was computed. The gradient
// needs them, because a run of another graph may have changed the state.
type spectralRun struct {
	u, v  []float64
	sigma float64
}

func (s spectral[T]) Forward(out []T, in [][]T) error {
	if err := s.power.fits(s.bank); err != nil {
		return err
	}
	p, w := s.power, in[0]
	p.mu.Lock()
	defer p.mu.Unlock()
	row := scratch.Get[float64](s.bank.f)
	defer scratch.Put(row)
	r := s.used
	r.u, r.v = append(r.u[:0], p.u...), append(r.v[:0], p.v...)
	iterations := 0
	if s.mode.training {
		iterations = s.iterations
	}
	if p.u == nil {
		iterations = max(iterations, warmUp)
		r.u, r.v = make([]float64, s.bank.d), make([]float64, s.bank.f)
		rng := rand.New(rand.NewPCG(p.seed, 0))
		for i := range r.u {
			r.u[i] = rng.NormFloat64()
		}
		vec.Scale(r.u, 1/vec.Norm(r.u), r.u)
	}
	for range iterations {
		s.timesTransposed(r.v, w, r.u, row)
		n := vec.Norm(r.v)
		if !frames.Invertible(n) {
			return fmt.Errorf("want a matrix with W^T u other than 0, got |W^T u| = %g", n)
		}
		vec.Scale(r.v, 1/n, r.v)
		s.times(r.u, w, r.v, row)
		if n = vec.Norm(r.u); !frames.Invertible(n) {
			return fmt.Errorf("want a matrix with W v other than 0, got |W v| = %g", n)
		}
		vec.Scale(r.u, 1/n, r.u)
	}
	wv := scratch.Get[float64](s.bank.d)
	defer scratch.Put(wv)
	s.times(wv, w, r.v, row)
	r.sigma = vec.Dot(r.u, wv)
	if !frames.Invertible(r.sigma) {
		return fmt.Errorf("want a positive estimate of the largest singular value, got %g", r.sigma)
	}
	for i, x := range w {
		out[i] = T(float64(x) / r.sigma)
	}
	if iterations > 0 {
		p.u, p.v = append(p.u[:0], r.u...), append(p.v[:0], r.v...)
	}
	p.sigma = r.sigma
	return nil
}

func (s spectral[T]) Backward(dst []T, _ int, _ [][]T, out, grad []T) error {
	r := s.used
	if len(r.u) != s.bank.d {
		return errors.New("want a value before its gradient, got none")
	}
	c := vec.Dot(grad, out)
	g := scratch.Get[float64](s.bank.f)
	defer scratch.Put(g)
	for i, u := range r.u {
		read(g, s.bank, grad, i)
		vec.Combine(g, 1/r.sigma, g, -c*u/r.sigma, r.v)
		write(dst, s.bank, i, g)
	}
	return nil
}

// times sets y to W x.
func (s spectral[T]) times(y []float64, w []T, x, row []float64) {
	for i := range y {
		read(row, s.bank, w, i)
		y[i] = vec.Dot(row, x)
	}
}

// timesTransposed sets y to W^T x.
func (s spectral[T]) timesTransposed(y []float64, w []T, x, row []float64) {
	clear(y)
	for i, a := range x {
		read(row, s.bank, w, i)
		vec.Combine(y, 1, y, a, row)
	}
}
