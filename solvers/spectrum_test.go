// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// Singular values are those of gonum's SVD, whatever the scale and the precision.
func TestSingularValues(t *testing.T) {
	for _, of := range precisions {
		for _, scale := range []float64{1, 1e-30, 1e30} {
			for _, n := range []int{1, 6, 20} { // fewer filters than weights, and more
				p := newParam("kernel", of, n, 2, 1, 4)
				gaussian(p.w, source(uint64(n)), scale)
				got, err := solvers.SingularValues(p)
				require.NoError(t, err)
				var svd mat.SVD
				require.True(t, svd.Factorize(mat.NewDense(n, 8, get(p.w)), mat.SVDNone))
				want := svd.Values(nil)
				require.Len(t, got, 1)
				assert.InDeltaSlice(t, want, got[0], 1e-7*want[0])
			}
		}
	}
	zero, err := solvers.SingularValues(newParam("kernel", tensor.Float32, 2, 2, 1, 2))
	require.NoError(t, err)
	assert.Equal(t, [][]float64{{0, 0}}, zero)
}

// A convolution of two groups has the values of two matrices: here filters (3, 4), (0, 0) and (1, 0), (0, 2).
func TestSingularValuesOfGroups(t *testing.T) {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithShape(1, 2, 1, 2), gorgonia.WithName("x"))
	w := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("w"), gorgonia.WithValue(tensor.New(tensor.WithShape(4, 1, 1, 2), tensor.WithBacking([]float64{3, 4, 0, 0, 1, 0, 0, 2}))))
	_, err := nodes.Conv2dWith(x, w, tensor.Shape{1, 2}, []int{0, 0}, []int{1, 1}, []int{1, 1}, nodes.Groups(2))
	require.NoError(t, err)
	got, err := solvers.SingularValues(w)
	require.NoError(t, err)
	require.Len(t, got, 2)
	assert.InDeltaSlice(t, []float64{5, 0}, got[0], 1e-15)
	assert.InDeltaSlice(t, []float64{2, 1}, got[1], 1e-15)
}

func TestSingularValuesRefuses(t *testing.T) {
	_, err := solvers.SingularValues(nil)
	require.ErrorIs(t, err, solvers.ErrParameter)
	_, err = solvers.SingularValues(newParam("bias", tensor.Float32, 3))
	assert.ErrorContains(t, err, "bias: want a convolution kernel, got a parameter of shape (3)")
	p := newParam("kernel", tensor.Float32, 2, 2, 1, 2)
	p.w.Float32s()[3] = float32(math.NaN())
	_, err = solvers.SingularValues(p)
	assert.ErrorContains(t, err, "kernel: want finite weights, got largest element NaN")
}
