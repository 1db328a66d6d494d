// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// sweeper is a body that computes the gradients with respect to all inputs together, because they
// share passes over memory. Its Backward is not called.
type sweeper[T vec.Float] interface {
	body[T]
	// Sweep writes the gradient of the cost with respect to input i to dst[i], unless that is nil.
	// The other arguments are those of Backward.
	Sweep(dst, in [][]T, out, grad []T) error
	// Runs returns how often Forward has been called.
	Runs() uint64
}

var errSwept = errors.New("want the gradients of all inputs together")

// sweep computes the gradients of a node with respect to all inputs when the machine asks for the
// first of them. The others have their values then already.
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
func (s *sweep) compute(g *gradient, views []dense.View) (gorgonia.Value, error) {
	if s.values == nil {
		s.values = make([]gorgonia.Value, len(s.gradients))
	}
	n := len(g.op.in)
	dst := make([]dense.View, n)
	for i, of := range s.gradients {
		s.values[i] = nil
		if of != nil && of.wanted() {
			s.values[i], dst[i] = of.buffer.get(g.op.in[i], views[0])
		}
	}
	var err error
	if views[0].F64 != nil {
		v := split64(views)
		err = g.op.f64.(sweeper[float64]).Sweep(split64(dst), v[:n], v[n], v[n+1])
	} else {
		v := split32(views)
		err = g.op.f32.(sweeper[float32]).Sweep(split32(dst), v[:n], v[n], v[n+1])
	}
	if err != nil {
		clear(s.values)
		return nil, err
	}
	s.run = g.runs()
	return s.take(g), nil
}
