// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Cause distinguishes NaN and Inf from other failures of a machine.
func TestNotFinite(t *testing.T) {
	for name, c := range map[string]struct {
		build func(x *gorgonia.Node) (*gorgonia.Node, error)
		want  string
	}{
		"MaxPool2D": {func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		}, "nodes.MaxPool2D: window at rows 0-1, columns 0-1 of plane 0: want numbers, got NaN"},
		"BatchNorm": {func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, _, _, _, err := nodes.BatchNorm(x, nil, nil, 0.1, 1e-5)
			return y, err
		}, "nodes.BatchNorm: channel 0: want a finite mean and variance, got NaN and NaN"},
		"DoubleSoftOrthogonality": {func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.DoubleSoftOrthogonality(x) },
			"nodes.DoubleSoftOrthogonality: want a kernel whose products are finite, got a penalty of NaN"},
	} {
		t.Run(name, func(t *testing.T) {
			g := gorgonia.NewGraph()
			x := zeros(g, "x", tensor.Float64, 2, 3, 2, 2)
			_, err := c.build(x)
			require.NoError(t, err)
			vm := gorgonia.NewTapeMachine(g)
			defer vm.Close()
			require.NoError(t, nodes.Cause(vm.RunAll()))
			vm.Reset()
			set(x, 0, math.NaN())
			err = nodes.Cause(vm.RunAll())
			assert.EqualError(t, err, c.want)
			assert.ErrorIs(t, err, nodes.ErrNotFinite)
		})
	}
}

func TestCause(t *testing.T) {
	assert.NoError(t, nodes.Cause(nil))
	mine := errors.New("mine")
	assert.Equal(t, mine, nodes.Cause(mine))
}
