// SPDX-License-Identifier: Apache-2.0

package roles_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/roles"
)

// The mode of a stock batch normalisation is read from a field that Gorgonia does not export.
func TestTrainingField(t *testing.T) {
	f, ok := reflect.TypeFor[gorgonia.BatchNormOp]().FieldByName("training")
	require.True(t, ok, "gorgonia.BatchNormOp has no field training any more")
	assert.Equal(t, reflect.Bool, f.Type.Kind())
}

// The inputs of a node are read from such a field, too.
func TestChildrenField(t *testing.T) {
	f, ok := reflect.TypeFor[gorgonia.Node]().FieldByName("children")
	require.True(t, ok, "gorgonia.Node has no field children any more")
	assert.Equal(t, reflect.TypeFor[gorgonia.Nodes](), f.Type)
}

// normalised is conv, BatchNorm, conv with a cost.
type normalised struct {
	g                              *gorgonia.ExprGraph
	first, second, γ, output, cost *gorgonia.Node
}

func normalisedNet(t *testing.T) normalised {
	g := gorgonia.NewGraph()
	n := normalised{g: g, first: leaf(g, "first", 3, 2, 3, 3), second: leaf(g, "second", 2, 3, 3, 3), γ: leaf(g, "γ", 1, 3, 1, 1)}
	y, _, _, _, err := gorgonia.BatchNorm(conv(leaf(g, "x", 4, 2, 5, 5), n.first), n.γ, leaf(g, "β", 1, 3, 1, 1), 0.9, 1e-5)
	require.NoError(t, err)
	n.output = conv(y, n.second)
	n.cost = gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(n.output))))
	return n
}

// evaluating returns the names of the operations in evaluation mode.
func evaluating(parameters ...*gorgonia.Node) (names []string) {
	for _, m := range roles.Modes(parameters...) {
		if !m.Training() {
			names = append(names, m.Name)
		}
	}
	return names
}

// The mode is what the machine set that was made last, also one on a subgraph, which shares the
// operations. Parameters above a normalisation do not depend on its mode.
func TestModes(t *testing.T) {
	n := normalisedNet(t)
	_, err := gorgonia.Grad(n.cost, n.first, n.second, n.γ)
	require.NoError(t, err)

	train := gorgonia.NewTapeMachine(n.g, gorgonia.BindDualValues(n.first, n.second, n.γ))
	require.NoError(t, train.RunAll())
	assert.Empty(t, evaluating(n.first, n.second, n.γ))
	modes := roles.Read(n.g).Modes(n.first, n.γ)
	require.Len(t, modes, 1)
	assert.Equal(t, "BatchNorm with γ", modes[0].Name)
	assert.True(t, modes[0].Training())

	eval := gorgonia.NewTapeMachine(n.g.SubgraphRoots(n.output), gorgonia.EvalMode())
	assert.Equal(t, []string{"BatchNorm with γ"}, evaluating(n.first, n.second, n.γ))
	assert.False(t, modes[0].Training())
	assert.Empty(t, evaluating(n.second), "it is above the normalisation")
	assert.Empty(t, evaluating(n.γ), "it is multiplied with the normalised activations")
	assert.Empty(t, evaluating(nil, gorgonia.NewConstant(1.0)))

	again := gorgonia.NewTapeMachine(n.g)
	assert.Empty(t, evaluating(n.first))
	for _, m := range []gorgonia.VM{train, eval, again} {
		assert.NoError(t, m.Close())
	}
}

// Operations of other packages say it by the method Training.
func TestModesOfOtherOperations(t *testing.T) {
	g := gorgonia.NewGraph()
	training := true
	x, w, γ := leaf(g, "x", 2, 3, 5, 5), leaf(g, "w", 3, 3, 3, 3), leaf(g, "γ", 2, 3, 5, 5)
	y := testOp{name: "BatchNorm", filter: -1, kernel: -1, training: &training}.on(conv(x, w), γ)
	other := leaf(g, "other", 3, 3, 3, 3)
	conv(y, other)
	assert.Empty(t, evaluating(w, γ, other))
	training = false
	assert.Equal(t, []string{"BatchNorm with γ"}, evaluating(w, γ, other))
	assert.Empty(t, evaluating(other))
}

// Operations in training mode and random nodes make a cost unrepeatable, if it depends on parameters below them.
func TestUnrepeatable(t *testing.T) {
	n := normalisedNet(t)
	assert.Equal(t, []string{"BatchNorm with γ in training mode"}, roles.Unrepeatable(n.first, n.second, nil))
	assert.Empty(t, roles.Unrepeatable(n.second), "it is above the normalisation")
	eval := gorgonia.NewTapeMachine(n.g, gorgonia.EvalMode())
	defer eval.Close()
	assert.Empty(t, roles.Unrepeatable(n.first))

	g := gorgonia.NewGraph()
	x, w := leaf(g, "x", 4, 2, 5, 5), leaf(g, "w", 3, 2, 3, 3)
	y := conv(x, w)
	noise := gorgonia.GaussianRandomNode(g, y.Dtype(), 0, 1, y.Shape()...)
	gorgonia.Must(gorgonia.Square(noise))
	assert.Empty(t, roles.Unrepeatable(w), "nothing of w depends on the noise")
	dropped := gorgonia.Must(gorgonia.Dropout(y, 0.5))
	assert.Equal(t, []string{"dropout in training mode"}, roles.Unrepeatable(w))
	gorgonia.Must(gorgonia.Add(dropped, noise))
	assert.Equal(t, []string{"dropout in training mode", "a random node"}, roles.Unrepeatable(w))
	other := gorgonia.NewTapeMachine(g, gorgonia.EvalMode())
	defer other.Close()
	assert.Equal(t, []string{"a random node"}, roles.Unrepeatable(w))
}
