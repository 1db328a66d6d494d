// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/nodes"
)

// evaluation is a graph of a net in evaluation, for a fixed number of examples, and its machine. It
// shares the weights and the buffers of the net. Memory for results is allocated in the first run.
type evaluation struct {
	batch   int
	feeds   []*tensor.Dense                   // the values of the inputs and, with a cost, of the targets
	weights map[*gorgonia.Node]*gorgonia.Node // learnables, and those of the net by them
	norms   map[*gorgonia.BatchNormOp]*gorgonia.BatchNormOp
	// values are the values of the outputs and, if it is wanted, of the cost after a run. They are allocated
	// separately: the graph writes to them, so the machine, which has a finalizer, would otherwise refer to
	// itself and never be freed.
	values []gorgonia.Value
	vm     gorgonia.VM
}

// evaluation makes a graph for the given number of examples, with the cost if it is wanted.
func (n *Net) evaluation(batch int, cost bool) (*evaluation, error) {
	var collision error
	for range attempts {
		a, err := n.another(batch)
		if err != nil {
			return nil, err
		}
		roots := slices.Clone(a.Outputs)
		if cost {
			roots = append(roots, a.Cost)
		}
		if fused, err := nodes.Fuse(roots...); err == nil { // or there is an operation that cannot be copied
			roots = fused
		}
		e := &evaluation{batch: batch, values: make([]gorgonia.Value, len(roots))}
		g := roots[0].Graph()
		e.find(g, n, a, cost)
		for i, r := range roots {
			gorgonia.Read(r, &e.values[i])
		}
		if collision = nodes.CheckGraph(g); collision == nil {
			nodes.Plan(g)
			return e, making("machine", func() error {
				e.vm = gorgonia.NewTapeMachine(g, gorgonia.EvalMode())
				return nil
			})
		}
	}
	return nil, collision
}

// find finds the leaves of a graph of a, which was made from the definition of n.
func (e *evaluation) find(g *gorgonia.ExprGraph, n, a *Net, cost bool) {
	e.weights = map[*gorgonia.Node]*gorgonia.Node{}
	leaves, of := byName(g.Inputs()), byName(n.Learnables)
	for _, l := range a.Learnables {
		if leaf := leaves[l.Name()]; leaf != nil {
			e.weights[leaf] = of[l.Name()]
		}
	}
	feeds := a.Inputs
	if cost {
		feeds = slices.Concat(a.Inputs, a.Targets)
	}
	e.norms = map[*gorgonia.BatchNormOp]*gorgonia.BatchNormOp{}
	for _, b := range a.Buffers {
		if b.BatchNorm != nil {
			i := slices.IndexFunc(n.Buffers, func(o Buffer) bool { return o.Name == b.Name })
			e.norms[b.BatchNorm] = n.Buffers[i].BatchNorm
		}
	}
	for _, x := range feeds {
		if leaf := leaves[x.Name()]; leaf != nil { // the net may ignore it
			x = leaf
		}
		e.feeds = append(e.feeds, x.Value().(*tensor.Dense))
	}
}

// run evaluates the examples from..to, no more than the batch, with the current weights of the net. It
// fills the batch up with copies of the first.
func (e *evaluation) run(examples []dense.Rows, from, to int) error {
	for n, l := range e.weights {
		if err := gorgonia.Let(n, l.Value()); err != nil {
			return fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	for op, of := range e.norms {
		if err := copyStats(op, of); err != nil {
			return fmt.Errorf("models: %w", err)
		}
	}
	for i, t := range e.feeds {
		rows, err := dense.RowsOf(t)
		if err != nil {
			return err
		}
		rows.Copy(0, examples[i], from, to)
		for k := to - from; k < e.batch; k++ {
			rows.Copy(k, examples[i], from, from+1)
		}
	}
	defer e.vm.Reset()
	if err := nodes.Cause(e.vm.RunAll()); err != nil {
		return fmt.Errorf("models: predict: %w", err)
	}
	return nil
}
