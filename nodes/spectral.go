// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// warmUp is how often a fresh PowerIteration iterates when it first runs.
const warmUp = 15

// PowerIteration is the state of a SpectralNorm: the vectors u and v that approach
// the first singular vectors of a kernel. It belongs to the kernel, and is saved
// and loaded with it; graphs on the same weights share it. It may be used
// from several goroutines.
type PowerIteration struct {
	mu    sync.Mutex
	seed  uint64
	u, v  []float64 // unit vectors, nil before the first run
	sigma float64
}

// NewPowerIteration returns a state whose first vector is drawn from seed, when
// it first runs.
func NewPowerIteration(seed uint64) *PowerIteration { return &PowerIteration{seed: seed} }

// Vectors returns copies of u, one number a filter, and of v, one number a weight
// of a filter; nil before the first run.
func (p *PowerIteration) Vectors() (u, v []float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]float64(nil), p.u...), append([]float64(nil), p.v...)
}

// Sigma returns the estimate u^T W v of the largest singular value in the last run,
// and 0 before the first.
func (p *PowerIteration) Sigma() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sigma
}

// SetVectors sets u and v, as Vectors returned them, and scales them to norm 1.
// Vectors that are empty, zero or not finite are an error, and so are vectors of
// other lengths once the state has some.
func (p *PowerIteration) SetVectors(u, v []float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.u != nil && (len(u) != len(p.u) || len(v) != len(p.v)) {
		return fmt.Errorf("nodes.PowerIteration: want vectors of length %d and %d, got %d and %d", len(p.u), len(p.v), len(u), len(v))
	}
	nu, nv := vec.Norm(u), vec.Norm(v)
	if !usable(nu) || !usable(nv) {
		return fmt.Errorf("nodes.PowerIteration: want vectors with a direction, got norms %g and %g", nu, nv)
	}
	p.u, p.v = make([]float64, len(u)), make([]float64, len(v))
	vec.Scale(p.u, 1/nu, u)
	vec.Scale(p.v, 1/nv, v)
	return nil
}

// powerIteration is a PowerIteration on disk.
type powerIteration struct {
	Seed  uint64    `json:"seed"`
	U     []float64 `json:"u,omitempty"`
	V     []float64 `json:"v,omitempty"`
	Sigma float64   `json:"sigma,omitempty"`
}

// MarshalJSON gives the whole state, to the bit.
func (p *PowerIteration) MarshalJSON() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.Marshal(powerIteration{p.seed, p.u, p.v, p.sigma})
}

// UnmarshalJSON sets the whole state to what MarshalJSON gave. Vectors that
// SetVectors would refuse are an error, and leave the state as it was.
func (p *PowerIteration) UnmarshalJSON(text []byte) error {
	var s powerIteration
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("nodes.PowerIteration: %w", err)
	}
	if len(s.U)+len(s.V) > 0 {
		if err := p.SetVectors(s.U, s.V); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seed, p.u, p.v, p.sigma = s.Seed, s.U, s.V, s.Sigma
	return nil
}

// SpectralNorm returns w / sigma, where sigma = u^T W v estimates the largest
// singular value of the filter bank W of w by power iteration
//
//	v = W^T u / |W^T u|,   u = W v / |W v|,
//
// as many times a run as iterations says, from where the last run ended (Miyato et
// al., Spectral normalization for generative adversarial networks, ICLR 2018,
// algorithm 1, which takes one). W has a row of in*height*width weights for each
// filter of w, which has the shape (out, in, height, width), or (in, out) for a
// fully connected layer. sigma is the norm of that matrix, not of the convolution,
// which is at most (height*width)^(1/2) times as large.
//
// The gradient takes u and v as constant, as which sigma changes to first order
// where they are singular vectors:
//
//	dL/dw = (g - <g, w/sigma> u v^T) / sigma,   g = dL/d(w/sigma).
//
// The order is that of torch.nn.utils.spectral_norm; the newer parametrization
// there takes u first, and is half an iteration apart until both have converged.
//
// A machine made with gorgonia.EvalMode() keeps u and v as they are. A fresh state
// is brought near the singular vectors by 15 iterations when it first runs, in
// either mode. A run that fails leaves the state as it was.
//
// A nil state, iterations below 1 and vectors of other lengths are errors at once;
// a kernel whose estimate is not positive, such as 0, is one when it runs, and at once if it is
// 0 by then.
func SpectralNorm(w *gorgonia.Node, state *PowerIteration, iterations int) (*gorgonia.Node, error) {
	const name = "nodes.SpectralNorm"
	shapes, b, err := admitKernel(name, []int{0}, w)
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
		if n := v.Norm(); !usable(n) {
			return nil, fmt.Errorf("%s: the value of %s: want a matrix of positive finite norm, got %g", name, w.Name(), n)
		}
	}
	m := &mode{training: true}
	s := signature{name: name, in: shapes, out: shapes[0], mode: m}
	used := new(spectralRun)
	return apply(s, spectral[float32]{b, state, iterations, m, used}, spectral[float64]{b, state, iterations, m, used}, w)
}

// fits checks that the vectors, if there are some, are those of such a bank.
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
	state      *PowerIteration
	iterations int
	mode       *mode
	used       *spectralRun
}

// spectralRun is what the value of a node was computed with, which its gradient
// needs: the state may have moved on in another graph.
type spectralRun struct {
	u, v  []float64
	sigma float64
}

func (s spectral[T]) Forward(out []T, in [][]T) error {
	if err := s.state.fits(s.bank); err != nil {
		return err
	}
	p, w := s.state, in[0]
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
		if !usable(n) {
			return fmt.Errorf("want a matrix with W^T u other than 0, got |W^T u| = %g", n)
		}
		vec.Scale(r.v, 1/n, r.v)
		s.times(r.u, w, r.v, row)
		if n = vec.Norm(r.u); !usable(n) {
			return fmt.Errorf("want a matrix with W v other than 0, got |W v| = %g", n)
		}
		vec.Scale(r.u, 1/n, r.u)
	}
	wv := scratch.Get[float64](s.bank.d)
	defer scratch.Put(wv)
	s.times(wv, w, r.v, row)
	r.sigma = vec.Dot(r.u, wv)
	if !usable(r.sigma) {
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
