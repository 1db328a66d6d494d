// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
	"github.com/kernelfold/kernelfold/nodes"
)

// tensorsOf returns the weights and the statistics of a model as they lie in a file. They
// share memory with the model where nothing is transposed.
func tensorsOf(m models.State, prefix string) ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	for i, p := range places(m) {
		n := m.Learnables[i]
		v, err := dense.Of(n.Value())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		t := safetensors.Tensor{Name: prefix + n.Name(), Shape: p.shape, F32: v.F32, F64: v.F64}
		if p.transposed && t.F64 != nil {
			t.F64 = transpose(t.F64, p.shape[0])
		} else if p.transposed {
			t.F32 = transpose(t.F32, p.shape[0])
		}
		list = append(list, t)
	}
	for _, b := range m.Buffers {
		s := b.Running()
		if s == nil {
			continue
		}
		if s.Batches > maxBatches {
			return nil, fmt.Errorf("%s: want at most %d batches, got %d", b.Name, int64(maxBatches), s.Batches)
		}
		list = append(list,
			safetensors.Tensor{Name: prefix + b.Name + meanName, Shape: []int{len(s.Mean)}, F64: s.Mean},
			safetensors.Tensor{Name: prefix + b.Name + varianceName, Shape: []int{len(s.Variance)}, F64: s.Variance},
			safetensors.Tensor{Name: prefix + b.Name + batchesName, I64: []int64{int64(s.Batches)}})
	}
	return list, nil
}

// maxBatches is the largest count of batches in a file.
const maxBatches = math.MaxInt64 / 2

// noiseOf returns the noise of each layer that has some.
func noiseOf(m models.State) map[string]nodes.Noise {
	noise := map[string]nodes.Noise{}
	for _, b := range m.Buffers {
		if b.Noise != nil {
			noise[b.Name] = *b.Noise
		}
	}
	return noise
}

// changes are functions that exchange new values with those in memory. Exchanging twice leaves memory as it was.
type changes []func()

func (c changes) exchange() {
	for _, f := range c {
		f()
	}
}

func change[T any](c *changes, memory, values []T) {
	*c = append(*c, func() {
		for i := range values {
			memory[i], values[i] = values[i], memory[i]
		}
	})
}

// model reads the values of a model from a checkpoint and adds their names to known.
func (f *reading) model(m models.State, known map[string]bool) (changes, error) {
	all, err := f.weights(m, modelPrefix, false, known)
	if err != nil {
		return nil, err
	}
	var noise map[string]nodes.Noise
	text, _ := f.MetadataValue(noiseKey)
	if err := files.JSON([]byte(text), &noise); err != nil {
		return nil, fmt.Errorf("noise: %w (%w)", err, ErrMismatch)
	}
	has := noiseOf(m)
	for name := range noise {
		if _, ok := has[name]; !ok {
			return nil, fmt.Errorf("%s: want no noise, got some (%w)", name, ErrMismatch)
		}
	}
	for _, b := range m.Buffers {
		if b.Noise == nil {
			continue
		}
		n, ok := noise[b.Name]
		if !ok {
			return nil, fmt.Errorf("%s: want noise, got none (%w)", b.Name, ErrMismatch)
		}
		n.First = b.Noise.First // of this process, not of the file
		all = append(all, func() { *b.Noise, n = n, *b.Noise })
	}
	return f.iterations(m, all)
}

// iterationsOf returns the power iteration of each layer that has one.
func iterationsOf(m models.State) map[string]*nodes.PowerIteration {
	list := map[string]*nodes.PowerIteration{}
	for _, b := range m.Buffers {
		if b.Iteration != nil {
			list[b.Name] = b.Iteration
		}
	}
	return list
}

// iterations reads the power iterations and appends their changes to all.
func (f *reading) iterations(m models.State, all changes) (changes, error) {
	has, saved := iterationsOf(m), map[string]json.RawMessage{}
	if text, ok := f.MetadataValue(iterationsKey); ok {
		if err := files.JSON([]byte(text), &saved); err != nil {
			return nil, fmt.Errorf("power iterations: %w (%w)", err, ErrMismatch)
		}
	}
	for name := range saved {
		if has[name] == nil {
			return nil, fmt.Errorf("%s: want no power iteration, got one (%w)", name, ErrMismatch)
		}
	}
	for name, p := range has {
		text, ok := saved[name]
		if !ok {
			return nil, fmt.Errorf("%s: want a power iteration, got none (%w)", name, ErrMismatch)
		}
		before, err := p.MarshalBinary()
		if err != nil {
			return nil, err
		}
		var trial, state nodes.PowerIteration
		if err := errors.Join(trial.UnmarshalBinary(before), trial.UnmarshalJSON(text)); err != nil {
			return nil, fmt.Errorf("%s: %w (%w)", name, err, ErrMismatch)
		}
		if err := state.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		all = append(all, func() { p.Exchange(&state) })
	}
	return all, nil
}

// weights reads learnables and statistics and adds their names to known. If widen is set, numbers may have a lower precision than the
// memory, and must be finite.
func (f *reading) weights(m models.State, prefix string, widen bool, known map[string]bool) (changes, error) {
	var all changes
	for i, p := range places(m) {
		n := m.Learnables[i]
		memory, err := dense.Of(n.Value())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		t, err := f.tensor(prefix+n.Name(), p.shape, known)
		if err != nil {
			return nil, err
		}
		if memory.F64 != nil && widen {
			t.F64, t.F32 = widened(t), nil
		}
		if (t.F64 != nil) != (memory.F64 != nil) || (t.F32 != nil) != (memory.F32 != nil) {
			return nil, fmt.Errorf("tensor %q: want %s, got %s (%w)", t.Name, memory.Precision(), t.DType(), ErrMismatch)
		}
		if widen { // a checkpoint is as the run was
			for _, backing := range []any{t.F32, t.F64} {
				if k, v := dense.NotFinite(backing); k >= 0 {
					return nil, fmt.Errorf("tensor %q: want finite numbers, got %v at element %d (%w)", t.Name, v, k, ErrMismatch)
				}
			}
		}
		if p.transposed {
			t.F32, t.F64 = transpose(t.F32, p.shape[1]), transpose(t.F64, p.shape[1])
		}
		change(&all, memory.F32, t.F32)
		change(&all, memory.F64, t.F64)
	}
	for _, b := range m.Buffers {
		s := b.Running()
		if s == nil {
			continue
		}
		c, err := f.statistics(b, s, prefix, widen, known)
		if err != nil {
			return nil, err
		}
		all = append(all, c...)
		if b.BatchNorm != nil { // s is a copy
			all = append(all, func() { _ = b.SetRunning(s) }) // the shapes are right
		}
	}
	return all, nil
}

// statistics reads the statistics of a layer.
func (f *reading) statistics(b models.Buffer, s *nodes.Statistics, prefix string, widen bool, known map[string]bool) (all changes, err error) {
	most := math.MaxFloat64
	if b.BatchNorm != nil {
		if mean, _ := b.BatchNorm.Stats(); mean.Dtype() == tensor.Float32 {
			most = math.MaxFloat32
		}
	}
	for _, c := range []struct {
		name   string
		memory []float64
		least  float64
	}{{meanName, s.Mean, -most}, {varianceName, s.Variance, 0}} {
		t, err := f.tensor(prefix+b.Name+c.name, []int{len(c.memory)}, known)
		if err != nil {
			return nil, err
		}
		if widen {
			t.F64 = widened(t)
		}
		if t.F64 == nil {
			return nil, fmt.Errorf("tensor %q: want %s, got %s (%w)", t.Name, safetensors.F64, t.DType(), ErrMismatch)
		}
		for i, v := range t.F64 {
			if !(v >= c.least && v <= most) {
				return nil, fmt.Errorf("tensor %q: want a finite number of at least %g, got %g at element %d (%w)", t.Name, c.least, v, i, ErrMismatch)
			}
		}
		change(&all, c.memory, t.F64)
	}
	t, err := f.tensor(prefix+b.Name+batchesName, nil, known)
	if err != nil {
		return nil, err
	}
	if t.I64 == nil {
		return nil, fmt.Errorf("tensor %q: want a count of batches in %s, got %s (%w)", t.Name, safetensors.I64, t.DType(), ErrMismatch)
	}
	if n := t.I64[0]; n < 0 || n > maxBatches {
		return nil, fmt.Errorf("tensor %q: want a count of batches from 0 to %d, got %d (%w)", t.Name, int64(maxBatches), n, ErrMismatch)
	}
	batches := uint64(t.I64[0])
	return append(all, func() { s.Batches, batches = batches, s.Batches }), nil
}

// tensor reads a tensor of a shape and adds its name to known.
func (f *reading) tensor(name string, want []int, known map[string]bool) (safetensors.Tensor, error) {
	known[name] = true
	s, ok := f.source(name)
	switch {
	case !ok:
		return safetensors.Tensor{}, fmt.Errorf("want a tensor %q, got none of that name (%w)", name, ErrMismatch)
	case s.err != nil:
		return safetensors.Tensor{}, fmt.Errorf("tensor %q: %w", s.name, s.err)
	case !slices.Equal(s.shape, want):
		return safetensors.Tensor{}, fmt.Errorf("tensor %q: want shape %v, got %v (%w)", s.name, want, s.shape, ErrMismatch)
	}
	t, err := s.read()
	switch {
	case errors.Is(err, safetensors.ErrType):
		err = fmt.Errorf("%w (%w)", err, ErrMismatch)
	case err != nil:
		err = damaged(err)
	}
	return t, err
}

// widened returns float32 or float64 numbers in float64, or nil.
func widened(t safetensors.Tensor) []float64 {
	if t.F32 == nil {
		return t.F64
	}
	wide := make([]float64, len(t.F32))
	for i, v := range t.F32 {
		wide[i] = float64(v)
	}
	return wide
}
