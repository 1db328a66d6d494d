// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
)

// Part returns the weights and the buffers of parts of a net, in the order of the net. A name is that of a weight or a buffer, such as
// "conv1.weight", of a layer, "conv1", or of all that begins with it and a dot, such as the stage "layer1".
//
//	early, err := m.Part("conv1", "bn1", "layer1")
//	solver := solvers.NewSGD(solvers.Where(early.Has, nil).With(solvers.Frozen()))
//
// A name that the net does not have is an error.
func (n *Net) Part(names ...string) (State, error) {
	s := n.State()
	for _, name := range names {
		if !s.contains(name) {
			return State{}, fmt.Errorf("models: want the name of a weight, a layer or a part, which begins with one of %s, got %q", strings.Join(s.beginnings(), ", "), name)
		}
	}
	return s.filter(func(name string) bool { return within(name, names) }), nil
}

// Without returns the weights and the buffers of a net but those of Part. It is what a net takes from another one whose last layer is
// for other classes:
//
//	body, err := m.Without("fc")
//	err = checkpoint.Import(path, body, checkpoint.ImportOptions{Surplus: true})
func (n *Net) Without(names ...string) (State, error) {
	if _, err := n.Part(names...); err != nil {
		return State{}, err
	}
	return n.State().filter(func(name string) bool { return !within(name, names) }), nil
}

// Has reports whether the state has a weight of that name. It ignores the shape, which solvers.Where passes.
func (s State) Has(name string, _ tensor.Shape) bool {
	for _, l := range s.Learnables {
		if l.Name() == name {
			return true
		}
	}
	return false
}

// within reports whether a name is one of parts, or begins with one and a dot.
func within(name string, parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return name == p || strings.HasPrefix(name, p+".") })
}

func (s State) filter(keep func(name string) bool) (kept State) {
	for _, l := range s.Learnables {
		if keep(l.Name()) {
			kept.Learnables = append(kept.Learnables, l)
		}
	}
	for _, b := range s.Buffers {
		if keep(b.Name) {
			kept.Buffers = append(kept.Buffers, b)
		}
	}
	return kept
}

func (s State) contains(name string) bool {
	f := s.filter(func(n string) bool { return within(n, []string{name}) })
	return len(f.Learnables)+len(f.Buffers) > 0
}

// beginnings returns what names begin with, in order, each once.
func (s State) beginnings() (list []string) {
	for _, l := range s.Learnables {
		first, _, _ := strings.Cut(l.Name(), ".")
		if first = strconv.Quote(first); !slices.Contains(list, first) {
			list = append(list, first)
		}
	}
	return list
}
