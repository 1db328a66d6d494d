// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"fmt"
	"hash/fnv"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/solvers"
)

// parameters are the parameters of a step. Except for their memory, they are the same on all ranks.
type parameters struct {
	list           []parameter
	weights, grads []dense.View // of the step under way
}

type parameter struct { // without its node, so that no graph is kept alive
	name      string
	shape     tensor.Shape
	precision string
}

func (p *parameter) String() string { return fmt.Sprintf("%q %v %s", p.name, p.shape, p.precision) }

func (p *parameter) fail(kind error, cause string, err error) error {
	return &solvers.ParameterError{Name: p.name, Shape: p.shape, Kind: kind, Cause: cause, Err: err}
}

// look views the weights. Known reports whether the parameters are those in the list. An error of
// the options comes first.
func (s *Solver) look(model []gorgonia.ValueGrad) (known bool, err error) {
	if s.err != nil {
		return false, s.err
	}
	p := &s.parameters
	known = len(model) == len(p.list)
	p.weights = p.weights[:0]
	for i, v := range model {
		if isnil.Of(v) {
			return false, fmt.Errorf("distributed: want a gorgonia.ValueGrad as parameter %d, got nil (%w)", i, solvers.ErrParameter)
		}
		w, err := dense.Of(v.Value())
		if err != nil {
			return false, &solvers.ParameterError{Name: called(v, i), Kind: solvers.ErrParameter, Cause: "weights: " + err.Error(), Err: err}
		}
		p.weights = append(p.weights, w)
		known = known && p.list[i].is(v, i, w)
	}
	return known, nil
}

// is reports whether the parameter at position i, with the weights w, is p.
func (p *parameter) is(v gorgonia.ValueGrad, i int, w dense.View) bool {
	return called(v, i) == p.name && w.Shape.Eq(p.shape) && w.Precision() == p.precision
}

func called(v gorgonia.ValueGrad, position int) string {
	if n, ok := v.(gorgonia.Namer); ok && n.Name() != "" {
		return n.Name()
	}
	return fmt.Sprintf("number %d", position)
}

// note puts the parameters that look has seen into the list.
func (p *parameters) note(model []gorgonia.ValueGrad) {
	p.list = p.list[:0]
	for i, v := range model {
		w := p.weights[i]
		p.list = append(p.list, parameter{called(v, i), w.Shape.Clone(), w.Precision()})
	}
}

// takeGradients views the gradients.
func (p *parameters) takeGradients(model []gorgonia.ValueGrad) error {
	p.grads = p.grads[:0]
	for i, v := range model {
		a, w := &p.list[i], p.weights[i]
		value, err := v.Grad()
		switch {
		case err != nil:
			return a.fail(solvers.ErrNoGradient, "want a gradient: "+err.Error(), err)
		case isnil.Of(value):
			return a.fail(solvers.ErrNoGradient, "want a gradient, got nil: run the machine before the step", nil)
		}
		g, err := dense.Of(value)
		if err != nil {
			return a.fail(solvers.ErrParameter, "gradient: "+err.Error(), err)
		}
		if g.Precision() != w.Precision() || g.Len() != w.Len() {
			return a.fail(solvers.ErrParameter, fmt.Sprintf("want a gradient of shape %v, %s, got %v, %s", w.Shape, w.Precision(), g.Shape, g.Precision()), nil)
		}
		p.grads = append(p.grads, g)
	}
	return nil
}

// compare returns an error, the same on every rank, unless head and the parameters are the same on
// all of them.
func (s *Solver) compare(head string) error {
	lines := []string{head}
	for i := range s.list {
		lines = append(lines, fmt.Sprintf("parameter %d %v", i, &s.list[i]))
	}
	return s.group.same(lines)
}

// same returns an error, the same on every rank, that names the first difference, unless all ranks
// have the same lines.
func (g *Group) same(lines []string) error {
	text := []byte(strings.Join(lines, "\n"))
	h := fnv.New64a()
	h.Write(text)
	all, err := g.gatherWord(h.Sum64())
	if err != nil {
		return err
	}
	equal := true
	for r := range g.Size() {
		equal = equal && string(all[8*r:8*r+8]) == string(all[:8])
	}
	if equal {
		return nil
	}
	texts, err := g.Gather(text)
	if err != nil {
		return err
	}
	first := strings.Split(string(texts[0]), "\n")
	for r, t := range texts[1:] {
		other := strings.Split(string(t), "\n")
		for i := range max(len(first), len(other)) {
			a, b := "nothing more", "nothing more"
			if i < len(first) {
				a = first[i]
			}
			if i < len(other) {
				b = other[i]
			}
			if a != b {
				return fmt.Errorf("distributed: want the same on every rank, got %s on rank 0 and %s on rank %d (%w)", a, b, r+1, ErrDifferent)
			}
		}
	}
	return fmt.Errorf("distributed: want the same on every rank, got other checksums of it (%w)", ErrDifferent) // cannot happen
}

// adopt puts the parameters that look has seen into the list, if they are the same on all ranks, and gives
// new ones the weights of rank 0. The first call also gives the solvers the state of the solver of rank 0.
func (s *Solver) adopt(model []gorgonia.ValueGrad) error {
	before := s.list
	s.list = nil
	s.note(model)
	err := s.compare(fmt.Sprintf("the solver %s (%s), CheckEvery(%d), Divide(%v), DivideFrom(%d)", nameOf(s.inner), wrap.Describe(s.inner), s.every, s.divide, s.heavy))
	if err == nil && s.known == nil {
		err = s.beginAlike(model)
	}
	if err != nil {
		s.list = before
		return err
	}
	if s.known == nil {
		s.known = map[string]bool{}
	}
	seen := map[string]int{}
	var fresh []dense.View
	for i := range s.list {
		line := s.list[i].String()
		seen[line]++
		line = fmt.Sprint(line, seen[line])
		if !s.known[line] {
			fresh = append(fresh, s.weights[i])
			s.known[line] = true
		}
	}
	s.mean.fit(s.weights)
	return s.group.broadcast(fresh)
}

// broadcast gives all ranks the values of rank 0.
func (g *Group) broadcast(values []dense.View) error {
	var all []byte
	for _, v := range values {
		all = append(all, v.Bytes()...)
	}
	if err := g.comm.Broadcast(0, all); err != nil {
		return g.failed("broadcast", err)
	}
	for _, v := range values {
		all = all[copy(v.Bytes(), all):]
	}
	return nil
}
