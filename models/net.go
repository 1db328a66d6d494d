// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"reflect"
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
	// Targets are the leaves that only the cost needs, such as labels or masks; as Inputs otherwise.
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
	// number that is the higher the better, such as the number of images classified correctly. Package
	// train calls the mean over all examples the accuracy.
	Score func(outputs, targets []*tensor.Dense) float64

	batch     int
	define    Definition
	constants map[string]gorgonia.Value // of leaves that are none of the above
	cost      gorgonia.Value            // the value of Cost after a run
	outputs   []gorgonia.Value          // those of Outputs
}

// Definition makes the graph of a net for a batch of the given size. It is called once for each graph:
// for training, and for those of predictors, which are of other batch sizes. Each time it makes a new
// graph with the same learnables, by their names and shapes. Initial values count in the first graph
// only; all others use the weights of the first. If it returns an error for a batch size other than
// the first, predictors use graphs of the first.
type Definition func(batch int) (*Net, error)

// New makes a Net: it calls define, checks the graph, and adds the gradients of the cost.
func New(batch int, define Definition) (*Net, error) {
	if batch < 1 {
		return nil, fmt.Errorf("models: want a batch of at least 1, got %d", batch)
	}
	n, err := defined(batch, define)
	if err != nil {
		return nil, err
	}
	n.define = define
	for _, b := range n.Buffers {
		if b.BatchNorm != nil {
			if err := b.BatchNorm.Reset(); err != nil { // its variance starts at 0
				return nil, fmt.Errorf("models: buffer %s: %w", b.Name, err)
			}
		}
	}
	n.outputs = make([]gorgonia.Value, len(n.Outputs))
	for i, o := range n.Outputs {
		gorgonia.Read(o, &n.outputs[i])
	}
	if n.Cost == nil {
		return n, nil
	}
	gorgonia.Read(n.Cost, &n.cost)
	making.Lock()
	defer making.Unlock()
	if _, err = gorgonia.Grad(n.Cost, n.Learnables...); err != nil {
		return nil, fmt.Errorf("models: gradient: %w", err)
	}
	nodes.Plan(n.Graph, append(slices.Clone(n.Outputs), n.Cost)...)
	return n, nil
}

// making lets nets and machines be made concurrently: gorgonia.Grad writes to a node that all graphs
// share, and gorgonia.NewTapeMachine to all nodes of a graph.
var making sync.Mutex

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
func (n *Net) Machine() (gorgonia.VM, error) {
	if err := nodes.CheckGraph(n.Graph); err != nil {
		return nil, err
	}
	making.Lock()
	defer making.Unlock()
	type stats struct{ mean, variance tensor.Tensor }
	before := make([]stats, len(n.Buffers))
	for i, b := range n.Buffers {
		if b.BatchNorm != nil {
			mean, variance := b.BatchNorm.Stats()
			before[i] = stats{mean.Clone().(tensor.Tensor), variance.Clone().(tensor.Tensor)}
		}
	}
	vm := gorgonia.NewTapeMachine(n.Graph, gorgonia.BindDualValues(n.Learnables...))
	for i, b := range n.Buffers {
		if b.BatchNorm != nil {
			if err := b.BatchNorm.SetStats(before[i].mean, before[i].variance); err != nil {
				return nil, fmt.Errorf("models: buffer %s: %w", b.Name, err)
			}
		}
	}
	return vm, nil
}

// State is what a net has learnt: all that is needed to continue training. Weights that lie in several
// graphs, or in graphs that no Net was made of, can be saved together as a State too.
type State struct {
	Learnables gorgonia.Nodes // with unique names
	Buffers    []Buffer       // with unique names
}

// State returns the learnables and the buffers of the net.
func (n *Net) State() State { return State{n.Learnables, n.Buffers} }

// State returns s.
func (s State) State() State { return s }

// Check returns an error if a name is missing or not unique, or if there is no value for one.
func (s State) Check() error {
	names := map[string]bool{}
	for i, l := range s.Learnables {
		if l == nil {
			return fmt.Errorf("models: learnable %d: want a node, got nil", i)
		}
		if l.Op() != nil {
			return fmt.Errorf("models: learnable %d: want a leaf, got %v", i, l)
		}
		if err := claim(names, "learnable", i, l.Name()); err != nil {
			return err
		}
		if _, err := dense.Of(l.Value()); err != nil {
			return fmt.Errorf("models: learnable %s: %w", l.Name(), err)
		}
	}
	clear(names)
	for i, b := range s.Buffers {
		if err := claim(names, "buffer", i, b.Name); err != nil {
			return err
		}
		if b.state() == nil {
			return fmt.Errorf("models: buffer %s: want one of Statistics, Noise, Iteration and BatchNorm, got none or several", b.Name)
		}
	}
	return nil
}

// claim adds a name to names. It returns an error if the name is empty or there.
func claim(names map[string]bool, what string, i int, name string) error {
	if name == "" || name == "%!s(<nil>)()" { // as gorgonia calls a leaf without a name
		return fmt.Errorf("models: %s %d: want a name, got none", what, i)
	}
	if names[name] {
		return fmt.Errorf("models: %s %d: want unique names, got %q twice", what, i, name)
	}
	names[name] = true
	return nil
}

// Buffer is the state of a layer that is not learnt. One field beside the name is set.
type Buffer struct {
	Name       string                // the name of the layer, which is unique
	Statistics *nodes.Statistics     // of a batch normalisation
	Noise      *nodes.Noise          // of a layer that draws random numbers
	Iteration  *nodes.PowerIteration // of a spectral normalisation
	// BatchNorm is what gorgonia.BatchNorm returns beside its node; each graph has its own. Making a
	// machine loses its running statistics: use Net.Machine, which keeps them.
	BatchNorm *gorgonia.BatchNormOp
}

// state returns what the buffer holds, or nil unless one field is set.
func (b Buffer) state() (state any) {
	n := 0
	if b.Statistics != nil {
		state, n = b.Statistics, n+1
	}
	if b.Noise != nil {
		state, n = b.Noise, n+1
	}
	if b.Iteration != nil {
		state, n = b.Iteration, n+1
	}
	if b.BatchNorm != nil {
		state, n = b.BatchNorm, n+1
	}
	if n != 1 {
		return nil
	}
	return state
}

// Running returns the running statistics of a batch normalisation: Statistics, or a copy of those of
// BatchNorm, which are a mean and a variance alone. It returns nil for any other buffer.
func (b Buffer) Running() *nodes.Statistics {
	if b.BatchNorm == nil {
		return b.Statistics
	}
	mean, variance := b.BatchNorm.Stats()
	return &nodes.Statistics{Mean: widened(mean.Data()), Variance: widened(variance.Data())}
}

// SetRunning copies the numbers of s to the running statistics of a batch normalisation.
func (b Buffer) SetRunning(s *nodes.Statistics) error {
	own := b.Running()
	if own == nil || len(s.Mean) != len(own.Mean) || len(s.Variance) != len(own.Variance) {
		return fmt.Errorf("models: buffer %s: want statistics of its batch normalisation, got %d means and %d variances", b.Name, len(s.Mean), len(s.Variance))
	}
	if b.BatchNorm == nil {
		copy(own.Mean, s.Mean)
		copy(own.Variance, s.Variance)
		own.Batches = s.Batches
		return nil
	}
	mean, variance := b.BatchNorm.Stats()
	narrow(mean.Data(), s.Mean)
	narrow(variance.Data(), s.Variance)
	return nil
}

// widened returns a copy of numbers in float64.
func widened(of any) []float64 {
	switch x := of.(type) {
	case []float32:
		wide := make([]float64, len(x))
		for i, v := range x {
			wide[i] = float64(v)
		}
		return wide
	case []float64:
		return slices.Clone(x)
	}
	return nil
}

// narrow copies numbers to memory of either precision.
func narrow(to any, from []float64) {
	switch x := to.(type) {
	case []float32:
		for i, v := range from {
			x[i] = float32(v)
		}
	case []float64:
		copy(x, from)
	}
}

// stateOf returns the state of an operation that belongs into the buffers, or nil.
func stateOf(x *gorgonia.Node) any {
	if op, ok := x.Op().(*gorgonia.BatchNormOp); ok {
		return op
	}
	return nodes.StateOf(x)
}

// copyStats copies the running statistics of one operation to another.
func copyStats(to, from *gorgonia.BatchNormOp) error {
	mean, variance := from.Stats()
	return to.SetStats(mean, variance)
}

// defined calls define, checks what it returns, and completes it.
func defined(batch int, define Definition) (*Net, error) {
	if define == nil {
		return nil, fmt.Errorf("models: want a definition, got nil")
	}
	n, err := define(batch)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, fmt.Errorf("models: want a net, got nil")
	}
	n.batch = batch
	if err := n.check(); err != nil {
		return nil, err
	}
	for _, x := range slices.Concat(n.Inputs, n.Targets) {
		if x.Value() == nil {
			if err := gorgonia.Let(x, tensor.New(tensor.Of(x.Dtype()), tensor.WithShape(x.Shape()...))); err != nil {
				return nil, fmt.Errorf("models: %s: %w", x.Name(), err)
			}
		}
	}
	return n, nil
}

// check returns an error if the fields do not make a net. It sets Graph.
func (n *Net) check() error {
	roots := slices.Clone(n.Outputs)
	if n.Cost != nil {
		roots = append(roots, n.Cost)
	}
	if len(roots) == 0 {
		return fmt.Errorf("models: want a cost or outputs, got neither")
	}
	names, known := map[string]bool{}, map[*gorgonia.Node]bool{}
	for _, list := range []struct {
		what  string
		nodes gorgonia.Nodes
		leaf  bool
	}{{"input", n.Inputs, true}, {"target", n.Targets, true}, {"output", n.Outputs, false}} {
		for i, x := range list.nodes {
			if x == nil {
				return fmt.Errorf("models: %s %d: want a node, got nil", list.what, i)
			}
			if s := x.Shape(); len(s) == 0 || s[0] != n.batch {
				return fmt.Errorf("models: %s %d, %s: want the batch of %d as the first size, got shape %v", list.what, i, x.Name(), n.batch, s)
			}
			if !list.leaf {
				continue
			}
			if x.Op() != nil {
				return fmt.Errorf("models: %s %d: want a leaf, got %v", list.what, i, x)
			}
			if err := claim(names, list.what, i, x.Name()); err != nil {
				return err
			}
			known[x] = true
		}
	}
	if err := n.State().Check(); err != nil {
		return err
	}
	for i, l := range n.Learnables {
		if err := claim(names, "learnable", i, l.Name()); err != nil {
			return err
		}
		known[l] = true
	}
	n.Graph = roots[0].Graph()
	for _, x := range slices.Concat(roots, n.Inputs, n.Targets, n.Learnables) {
		if x.Graph() == nil || x.Graph() != n.Graph {
			return fmt.Errorf("models: want the nodes of a net in one graph, got %s in another", x.Name())
		}
	}
	if n.Cost != nil {
		if !n.Cost.IsScalar() || len(n.Cost.Shape()) > 0 {
			return fmt.Errorf("models: want a cost that is a scalar, such as gorgonia.Mean of it, got shape %v", n.Cost.Shape())
		}
		reached := reach(n.Cost)
		for _, l := range n.Learnables {
			if !reached[l] {
				return fmt.Errorf("models: learnable %s of shape %v: want a cost that depends on it, got one that does not", l.Name(), l.Shape())
			}
		}
	}
	return n.checkLeaves(reach(roots...), names, known)
}

// checkLeaves checks what else the net is made of: leaves that are not in its lists and the state of
// operations.
func (n *Net) checkLeaves(reached map[*gorgonia.Node]bool, names map[string]bool, known map[*gorgonia.Node]bool) error {
	n.constants = map[string]gorgonia.Value{}
	for _, x := range n.Graph.AllNodes() {
		if !reached[x] || known[x] {
			continue
		}
		if s := stateOf(x); s != nil && !slices.ContainsFunc(n.Buffers, func(b Buffer) bool { return b.state() == s }) {
			return fmt.Errorf("models: %v: want its state, a %T, among the buffers, got none of it there", x, s)
		}
		if x.Op() != nil {
			continue
		}
		if names[x.Name()] {
			return fmt.Errorf("models: leaf %s of shape %v: want a name that no input, target or learnable has, got theirs", x.Name(), x.Shape())
		}
		if x.Value() == nil {
			return fmt.Errorf("models: leaf %s of shape %v: want it among the inputs, the targets or the learnables, or with a value, got neither", x.Name(), x.Shape())
		}
		n.constants[x.Name()] = x.Value()
	}
	return nil
}

// reach returns all nodes that the roots depend on, with them.
func reach(roots ...*gorgonia.Node) map[*gorgonia.Node]bool {
	reached := map[*gorgonia.Node]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if reached[x] {
			continue
		}
		reached[x] = true
		for it := x.Graph().From(x.ID()); it != nil && it.Next(); {
			todo = append(todo, it.Node().(*gorgonia.Node))
		}
	}
	return reached
}

// another makes a graph of the net for another batch, with the weights and the buffers of n.
func (n *Net) another(batch int) (*Net, error) {
	a, err := defined(batch, n.define)
	if err != nil {
		return nil, errUndefined{err}
	}
	if err := n.compare(a); err != nil {
		return nil, fmt.Errorf("models: graph for a batch of %d: %w", batch, err)
	}
	return a, nil
}

// errUndefined is the error of a Definition for another batch than the first.
type errUndefined struct{ error }

func (e errUndefined) Unwrap() error { return e.error }

// compare returns an error unless another graph has the leaves and the state of n.
func (n *Net) compare(a *Net) error {
	for _, list := range []struct {
		what      string
		want, got gorgonia.Nodes
	}{{"inputs", n.Inputs, a.Inputs}, {"targets", n.Targets, a.Targets}, {"outputs", n.Outputs, a.Outputs}} {
		if len(list.want) != len(list.got) {
			return fmt.Errorf("want %d %s as in the first graph, got %d", len(list.want), list.what, len(list.got))
		}
		for i, want := range list.want {
			got := list.got[i]
			if list.what != "outputs" && got.Name() != want.Name() || got.Dtype() != want.Dtype() || !slices.Equal(got.Shape()[1:], want.Shape()[1:]) {
				return fmt.Errorf("%s %d: want %s of %v and shape %v after the batch as in the first graph, got %s of %v and %v",
					list.what, i, want.Name(), want.Dtype(), want.Shape()[1:], got.Name(), got.Dtype(), got.Shape()[1:])
			}
		}
	}
	if (n.Cost == nil) != (a.Cost == nil) {
		return fmt.Errorf("want a cost in each graph or in none, got one in the other only")
	}
	if len(n.Learnables) != len(a.Learnables) || len(n.Buffers) != len(a.Buffers) {
		return fmt.Errorf("want %d learnables and %d buffers as in the first graph, got %d and %d", len(n.Learnables), len(n.Buffers), len(a.Learnables), len(a.Buffers))
	}
	of := byName(n.Learnables)
	for _, l := range a.Learnables {
		want := of[l.Name()]
		if want == nil {
			return fmt.Errorf("want the learnables of the first graph, got %s of shape %v", l.Name(), l.Shape())
		}
		if !l.Shape().Eq(want.Shape()) || l.Dtype() != want.Dtype() {
			return fmt.Errorf("learnable %s: want %v and shape %v as in the first graph, for a batch of %d, got %v and %v: weights must not depend on the batch",
				l.Name(), want.Dtype(), want.Shape(), n.batch, l.Dtype(), l.Shape())
		}
	}
	for _, b := range a.Buffers {
		i := slices.IndexFunc(n.Buffers, func(o Buffer) bool { return o.Name == b.Name })
		if i < 0 {
			return fmt.Errorf("want the buffers of the first graph, got %s", b.Name)
		}
		if own := n.Buffers[i].BatchNorm; own != nil && b.BatchNorm != nil && own != b.BatchNorm {
			if err := copyStats(b.BatchNorm, own); err != nil {
				return fmt.Errorf("buffer %s: %w", b.Name, err)
			}
			continue
		}
		if n.Buffers[i].state() != b.state() {
			return fmt.Errorf("buffer %s: want that of the first graph, got another: make it outside of the definition", b.Name)
		}
	}
	for name, got := range a.constants {
		want, ok := n.constants[name]
		if ok && want != got && want.Shape().Eq(got.Shape()) && !reflect.DeepEqual(want.Data(), got.Data()) {
			return fmt.Errorf("leaf %s of shape %v: want the value of the first graph, or it among the learnables, got another value", name, got.Shape())
		}
	}
	return nil
}

func byName(list gorgonia.Nodes) map[string]*gorgonia.Node {
	of := make(map[string]*gorgonia.Node, len(list))
	for _, n := range list {
		of[n.Name()] = n
	}
	return of
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
