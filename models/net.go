// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/nodes"
)

// Net is any Gorgonia graph that is to be trained, saved and used for predictions. A Definition
// fills in the exported fields but Graph, and New makes a Net of it. A Model is a Net that
// classifies images.
type Net struct {
	// Graph is the graph of the cost. New sets it.
	Graph *gorgonia.ExprGraph
	// Inputs are the leaves that the outputs are computed from, such as images. The first size of each
	// is the batch. They have any element type.
	Inputs gorgonia.Nodes
	// Targets are the leaves that only the cost needs, such as labels or masks. Otherwise they are like
	// Inputs.
	Targets gorgonia.Nodes
	// Outputs are what a Predictor computes. The first size of each is the batch.
	Outputs gorgonia.Nodes
	// Cost is a scalar: the mean over the examples of the batch of what is to be minimised. A net
	// without a cost can be saved and used for predictions.
	Cost *gorgonia.Node
	// Learnables are the weights: leaves with values and unique names. The cost depends on each.
	Learnables gorgonia.Nodes
	// Buffers are the state beside the weights. All graphs of a net share them, so make them outside of
	// the Definition, except those of gorgonia.BatchNorm.
	Buffers []Buffer
	// Score, unless it is nil, rates the outputs of a batch: it returns the sum over its examples of a
	// finite number that is the higher the better, such as the number of images classified correctly.
	// Package train calls the mean over all examples the accuracy.
	Score func(outputs, targets []*tensor.Dense) float64

	batch     int
	define    Definition
	graphOf   func(batch int, of *Net) (*Net, error) // define with the weights and the buffers of a given net, or nil if that cannot be
	constants map[string]gorgonia.Value              // of leaves that are none of the above
	cost      gorgonia.Value                         // the value of Cost after a run
	outputs   []gorgonia.Value                       // those of Outputs
}

// attempts is how often a graph is made in which Gorgonia would mistake two nodes for one. Hashes contain addresses, so another graph has others.
const attempts = 3

// New makes a Net: it calls define, checks the graph, and adds the gradients of the cost. In the rare case that Gorgonia would mistake two
// nodes of the graph for one, it makes the graph again: see nodes.CheckGraph.
//
// It returns an error for a batch below 1, the error of define, and an error that names the node if the result is not what the fields of Net
// say: an output without the batch as its first size, learnables without a value or with equal names, a cost that does not depend on one of
// them, an operation with state that is not among the buffers. So is a graph that Gorgonia cannot differentiate.
func New(batch int, define Definition) (*Net, error) {
	if batch < 1 {
		return nil, fmt.Errorf("models: want a batch of at least 1, got %d", batch)
	}
	var n *Net
	for range attempts {
		var err error
		if n, err = forTraining(batch, define); err != nil {
			return nil, err
		}
		if nodes.CheckGraph(n.Graph) == nil {
			break
		} // if there is no better one, Machine returns the error
	}
	return n, nil
}

// forTraining makes a graph with the gradients of the cost.
func forTraining(batch int, define Definition) (*Net, error) {
	n, err := defined(batch, define)
	if err != nil {
		return nil, err
	}
	n.define = define
	n.outputs = make([]gorgonia.Value, len(n.Outputs))
	for i, o := range n.Outputs {
		gorgonia.Read(o, &n.outputs[i])
	}
	if n.Cost == nil {
		return n, nil
	}
	gorgonia.Read(n.Cost, &n.cost)
	err = making("gradient", func() error {
		_, err := gorgonia.Grad(n.Cost, n.Learnables...)
		return err
	})
	if err != nil {
		return nil, err
	}
	nodes.Plan(n.Graph, append(slices.Clone(n.Outputs), n.Cost)...)
	return n, nil
}

// making calls a function that makes gradients or machines, one call at a time, so that nets can be made
// concurrently: gorgonia.Grad writes to a node that all graphs share, and gorgonia.NewTapeMachine to all
// nodes of a graph. Both panic for some graphs; making returns an error instead.
func making(what string, make func() error) (err error) {
	makingOne.Lock()
	defer makingOne.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("models: %s: want a graph that Gorgonia can take, got its panic: %v", what, p)
		}
	}()
	if err := make(); err != nil {
		return fmt.Errorf("models: %s: %w", what, err)
	}
	return nil
}

var makingOne sync.Mutex

// Base returns n. With it a type that embeds a Net is a Trainable.
func (n *Net) Base() *Net { return n }

// Trainable is a *Net, or what embeds one, such as a *Model.
type Trainable interface{ Base() *Net }

// Batch returns the number of examples in one run.
func (n *Net) Batch() int { return n.batch }

// Feed copies the values of a batch to Inputs and then Targets: one tensor for each, of its shape and
// element type.
func (n *Net) Feed(values ...*tensor.Dense) error {
	return feed(slices.Concat(n.Inputs, n.Targets), n.batch, values)
}

// Loss returns the value of Cost in the last run of Graph, or NaN before the first run.
func (n *Net) Loss() float64 { return number(n.cost) }

// Output returns the value of Outputs[i] in the last run of Graph, or nil before the first run.
func (n *Net) Output(i int) *tensor.Dense {
	t, _ := n.outputs[i].(*tensor.Dense)
	return t
}

// Parameters returns the total number of elements of the learnables.
func (n *Net) Parameters() int {
	sum := 0
	for _, l := range n.Learnables {
		sum += l.Shape().TotalSize()
	}
	return sum
}

// Machine returns a machine for training: a tape machine that computes the cost and its gradients.
// Close it after use. It fails if Gorgonia would mistake two nodes for one: see nodes.CheckGraph.
func (n *Net) Machine() (vm gorgonia.VM, err error) {
	if err := nodes.CheckGraph(n.Graph); err != nil {
		return nil, err
	}
	before := make([]*nodes.Statistics, len(n.Buffers))
	for i, b := range n.Buffers {
		before[i] = b.Running()
	}
	err = making("machine", func() error {
		vm = gorgonia.NewTapeMachine(n.Graph, gorgonia.BindDualValues(n.Learnables...))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, b := range n.Buffers {
		if b.BatchNorm != nil {
			if err := b.SetRunning(before[i]); err != nil {
				return nil, err
			}
		}
	}
	return vm, nil
}

// feed copies values, of some examples each, to the first rows of leaves.
func feed(leaves gorgonia.Nodes, examples int, values []*tensor.Dense) error {
	from, err := rowsOf(leaves, values)
	if err != nil {
		return err
	}
	for i, r := range from {
		if r.Len != examples {
			return fmt.Errorf("models: %s: want %d examples, got %d", leaves[i].Name(), examples, r.Len)
		}
		to, err := dense.RowsOf(leaves[i].Value())
		if err != nil {
			return fmt.Errorf("models: %s: %w", leaves[i].Name(), err)
		}
		to.Copy(0, r, 0, examples)
	}
	return nil
}

// rowsOf views values as examples for leaves, which have the same shape but for their number.
func rowsOf(leaves gorgonia.Nodes, values []*tensor.Dense) ([]dense.Rows, error) {
	if len(values) != len(leaves) {
		return nil, fmt.Errorf("models: want %d tensors, for %v, got %d", len(leaves), namesOf(leaves), len(values))
	}
	rows := make([]dense.Rows, len(values))
	for i, l := range leaves {
		var err error
		if rows[i], err = dense.RowsOf(values[i]); err != nil {
			return nil, fmt.Errorf("models: %s: %w", l.Name(), err)
		}
		if got := values[i]; got.Dtype() != l.Dtype() || !slices.Equal(got.Shape()[1:], l.Shape()[1:]) {
			return nil, fmt.Errorf("models: %s: want %v of shape %v for each example, got %v of %v", l.Name(), l.Dtype(), l.Shape()[1:], got.Dtype(), got.Shape()[1:])
		}
	}
	return rows, nil
}

func namesOf(list gorgonia.Nodes) []string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.Name()
	}
	return names
}

// number returns a scalar value, or NaN for anything else.
func number(v gorgonia.Value) float64 {
	if v == nil {
		return math.NaN()
	}
	switch x := v.Data().(type) {
	case float32:
		return float64(x)
	case float64:
		return x
	}
	return math.NaN()
}
