// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// StateOf returns the state of a node of this package that is neither learnt nor drawn anew: a
// *Statistics, a *Noise or a *PowerIteration. It returns nil for any other node.
func StateOf(n *gorgonia.Node) any {
	if o := operation(n); o != nil {
		if s, ok := o.f32.(interface{ state() any }); ok {
			return s.state()
		}
	}
	return nil
}

func (l *batchNormLayer) state() any { return l.statistics }
func (l dropoutLayer) state() any    { return l.noise }
func (l depthLayer) state() any      { return l.noise }
func (s spectral[T]) state() any     { return s.power }

// The states are encoded without loss by encoding/json and by encoding/gob, which uses their binary form.
// Input is checked: if it is not a valid state, reading returns an error and leaves the state as it was.
var (
	_ encoding.BinaryMarshaler   = Statistics{}
	_ encoding.BinaryUnmarshaler = (*Statistics)(nil)
	_ json.Unmarshaler           = (*Statistics)(nil)
	_ encoding.BinaryMarshaler   = Noise{}
	_ encoding.BinaryUnmarshaler = (*Noise)(nil)
	_ json.Unmarshaler           = (*Noise)(nil)
	_ encoding.BinaryMarshaler   = (*PowerIteration)(nil)
	_ encoding.BinaryUnmarshaler = (*PowerIteration)(nil)
	_ json.Unmarshaler           = (*PowerIteration)(nil)
)

// The kinds of the binary forms, their first byte.
const (
	statisticsKind = 's'
	noiseKind      = 'n'
	iterationKind  = 'p'
)

// statisticsJSON is the form of Statistics in JSON. A field that is missing is nil.
type statisticsJSON struct {
	Mean, Variance []float64
	Momentum       *float64
	Batches        *uint64
}

// MarshalBinary returns the whole state.
func (s Statistics) MarshalBinary() ([]byte, error) {
	return words(statisticsKind, math.Float64bits(s.Momentum), s.Batches).floats(s.Mean).floats(s.Variance), nil
}

// UnmarshalBinary restores a state that MarshalBinary has returned. It returns an error, and leaves s
// as it was, for values that a node would refuse, and for another number of channels than s has, if it
// has any.
func (s *Statistics) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	r.kind(statisticsKind)
	from := Statistics{Momentum: math.Float64frombits(r.word()), Batches: r.word(), Mean: r.floats(), Variance: r.floats()}
	return named("Statistics", r.end(), func() error { return s.restore(from) })
}

// UnmarshalJSON restores a state that encoding/json has written. It returns an error where UnmarshalBinary does.
func (s *Statistics) UnmarshalJSON(text []byte) error {
	var j statisticsJSON
	err := files.JSON(text, &j)
	if err == nil && (j.Momentum == nil || j.Batches == nil) {
		err = errors.New("want Mean, Variance, Momentum and Batches, got less")
	}
	return named("Statistics", err, func() error {
		return s.restore(Statistics{Mean: j.Mean, Variance: j.Variance, Momentum: *j.Momentum, Batches: *j.Batches})
	})
}

func (s *Statistics) restore(from Statistics) error {
	channels := len(s.Mean)
	if channels == 0 {
		channels = max(1, len(from.Mean))
	}
	if err := from.check(channels); err != nil {
		return err
	}
	if len(s.Mean) == channels && len(s.Variance) == channels {
		copy(s.Mean, from.Mean)
		copy(s.Variance, from.Variance)
		s.Momentum, s.Batches = from.Momentum, from.Batches
		return nil
	}
	*s = from
	return nil
}

// noiseJSON is the form of Noise in JSON. A field that is missing is nil.
type noiseJSON struct{ Seed, Run *uint64 }

// MarshalBinary returns the state without First, which is not saved.
func (n Noise) MarshalBinary() ([]byte, error) { return words(noiseKind, n.Seed, n.Run), nil }

// UnmarshalBinary restores a state that MarshalBinary has returned. If it returns an error, n is as it
// was.
func (n *Noise) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	r.kind(noiseKind)
	seed, run := r.word(), r.word()
	return named("Noise", r.end(), func() error {
		n.Seed, n.Run = seed, run
		return nil
	})
}

// UnmarshalJSON restores a state that encoding/json has written. If it returns an error, n is as it
// was.
func (n *Noise) UnmarshalJSON(text []byte) error {
	var j noiseJSON
	err := files.JSON(text, &j)
	if err == nil && (j.Seed == nil || j.Run == nil) {
		err = errors.New("want Seed and Run, got less")
	}
	return named("Noise", err, func() error {
		n.Seed, n.Run = *j.Seed, *j.Run
		return nil
	})
}

// iterationJSON is the form of a PowerIteration in JSON.
type iterationJSON struct {
	Seed  uint64    `json:"seed"`
	U     []float64 `json:"u,omitempty"`
	V     []float64 `json:"v,omitempty"`
	Sigma float64   `json:"sigma,omitempty"`
}

// MarshalJSON returns the whole state, without rounding.
func (p *PowerIteration) MarshalJSON() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.Marshal(iterationJSON{p.seed, p.u, p.v, p.sigma})
}

// UnmarshalJSON restores a state that MarshalJSON has returned. It returns an error where UnmarshalBinary does.
func (p *PowerIteration) UnmarshalJSON(text []byte) error {
	var j iterationJSON
	return named("PowerIteration", files.JSON(text, &j), func() error { return p.restore(j) })
}

// MarshalBinary returns the whole state.
func (p *PowerIteration) MarshalBinary() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return words(iterationKind, p.seed, math.Float64bits(p.sigma)).floats(p.u).floats(p.v), nil
}

// UnmarshalBinary restores a state that MarshalBinary has returned. It returns an error, and leaves p
// as it was, for vectors that are not of norm 1, for vectors of other lengths than p has, if it has
// any, and for a singular value that is negative or not finite.
func (p *PowerIteration) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	r.kind(iterationKind)
	from := iterationJSON{Seed: r.word(), Sigma: math.Float64frombits(r.word()), U: r.floats(), V: r.floats()}
	return named("PowerIteration", r.end(), func() error { return p.restore(from) })
}

func (p *PowerIteration) restore(from iterationJSON) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !finite(from.Sigma) || from.Sigma < 0 {
		return fmt.Errorf("want a singular value that is finite and not negative, got %v", from.Sigma)
	}
	if len(from.U)+len(from.V) > 0 {
		if err := p.admit(from.U, from.V); err != nil {
			return err
		}
		const unit = 1e-9 // far above the rounding of a norm
		if nu, nv := vec.Norm(from.U), vec.Norm(from.V); math.Abs(nu-1) > unit || math.Abs(nv-1) > unit {
			return fmt.Errorf("want vectors of norm 1, got norms %g and %g", nu, nv)
		}
	}
	p.seed, p.sigma = from.Seed, from.Sigma
	p.u, p.v = slices.Clone(from.U), slices.Clone(from.V)
	return nil
}

// named calls set unless there is an error. Errors begin with the name of the type.
func named(name string, err error, set func() error) error {
	if err == nil {
		err = set()
	}
	if err != nil {
		return fmt.Errorf("nodes.%s: %w", name, err)
	}
	return nil
}

// binaryForm is a state in bytes: the kind, then numbers of 8 bytes, little endian, where a list is its
// length and its elements.
type binaryForm []byte

func words(kind byte, list ...uint64) binaryForm {
	b := binaryForm{kind}
	for _, w := range list {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func (b binaryForm) floats(list []float64) binaryForm {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(list)))
	for _, v := range list {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

// reader reads a binaryForm. After an error it reads zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) kind(want byte) {
	if len(r.rest) == 0 || r.rest[0] != want {
		r.err = fmt.Errorf("want a state that begins with %q, got %d bytes of another kind", want, len(r.rest))
		return
	}
	r.rest = r.rest[1:]
}

func (r *reader) word() uint64 {
	if r.err == nil && len(r.rest) < 8 {
		r.err = fmt.Errorf("want 8 bytes more, got %d", len(r.rest))
	}
	if r.err != nil {
		return 0
	}
	w := binary.LittleEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return w
}

func (r *reader) floats() []float64 {
	n := r.word()
	if left := uint64(len(r.rest) / 8); r.err == nil && n > left {
		r.err = fmt.Errorf("want %d numbers more, got %d", n, left)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	list := make([]float64, n)
	for i := range list {
		list[i] = math.Float64frombits(r.word())
	}
	return list
}

// end returns the error of the reads, or an error if bytes are left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("want nothing more, got %d bytes", len(r.rest))
	}
	return r.err
}
