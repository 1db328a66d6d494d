// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// sweeper is a body that computes the gradients with respect to all inputs together, because they
// share passes over memory. They must not need the value of the node. Its Backward is not called.
type sweeper[T vec.Float] interface {
	body[T]
	// Sweep writes the gradient of the cost with respect to input i to dst[i], unless that is nil.
	// The other arguments are those of Backward.
	Sweep(dst, in [][]T, grad []T) error
	// Runs returns how often Forward has been called.
	Runs() uint64
}

var errSwept = errors.New("want the gradients of all inputs together")

// sweep computes the gradients of a node with respect to all inputs when the machine requests the
// first of them. The values of the others are then already computed.
type sweep struct {
	gradients []*gradient      // by input; nil if there is none
	values    []gorgonia.Value // that have been computed and not been taken
	run       uint64           // of the node for which they are
}

// runs returns how often the node has run. The bodies of both precisions share their state.
func (g *gradient) runs() uint64 { return g.op.f32.(sweeper[float32]).Runs() }

// take returns the value of a gradient that has been computed in this run and not been taken.
func (s *sweep) take(g *gradient) gorgonia.Value {
	if s.run != g.runs() || s.values == nil {
		return nil
	}
	v := s.values[g.input]
	s.values[g.input] = nil
	return v
}

// compute computes all gradients that anything uses, and returns that of g.
func (s *sweep) compute(g *gradient, a *args) (gorgonia.Value, error) {
	if s.values == nil {
		s.values = make([]gorgonia.Value, len(s.gradients))
	}
	n := len(g.op.in)
	dst := arguments(n)
	defer dst.back()
	for i, of := range s.gradients {
		s.values[i] = nil
		if of != nil && of.wanted() {
			v, memory := of.buffer.get(g.op.in[i], a.views[0])
			s.values[i] = v
			dst.set(i, memory)
		}
	}
	var err error
	if a.views[0].F64 != nil {
		err = g.op.f64.(sweeper[float64]).Sweep(dst.f64, a.f64[:n], a.f64[n])
	} else {
		err = g.op.f32.(sweeper[float32]).Sweep(dst.f32, a.f32[:n], a.f32[n])
	}
	if err != nil {
		clear(s.values)
		return nil, err
	}
	s.run = g.runs()
	return s.take(g), nil
}
