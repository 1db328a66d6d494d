// SPDX-License-Identifier: Apache-2.0

package dense

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func TestOf(t *testing.T) {
	f := tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4, 5, 6}), tensor.WithShape(2, 3))
	v, err := Of(f)
	require.NoError(t, err)
	v.F32[4] = 50
	got, _ := f.At(1, 1)
	assert.Equal(t, float32(50), got, "a view, not a copy")
	assert.Equal(t, 6, v.Len())
	assert.Equal(t, "float32", v.Precision())

	d := tensor.New(tensor.WithBacking([]float64{1, 2}))
	v, err = Of(d)
	require.NoError(t, err)
	assert.Equal(t, "float64", v.Precision())
	assert.InDelta(t, 2.23606797749979, v.Norm(), 1e-15)
	v.Zero()
	assert.Equal(t, []float64{0, 0}, d.Data())
	assert.Zero(t, v.Norm())

	s := gorgonia.NewF64(3)
	v, err = Of(s)
	require.NoError(t, err)
	v.F64[0] = 4
	assert.Equal(t, 4.0, s.Data())

	s32 := gorgonia.NewF32(3)
	v, err = Of(s32)
	require.NoError(t, err)
	v.F32[0] = 4
	assert.Equal(t, float32(4), s32.Data())

	v, err = Of(tensor.New(tensor.FromScalar(2.5)))
	require.NoError(t, err)
	assert.Equal(t, []float64{2.5}, v.F64)
}

func TestOfRefuses(t *testing.T) {
	f := tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4, 5, 6}), tensor.WithShape(2, 3))
	transposed := f.Clone().(*tensor.Dense)
	require.NoError(t, transposed.T())
	column, err := f.Slice(nil, gorgonia.S(1))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		value gorgonia.Value
		want  string
	}{
		"nil":         {nil, "got nil"},
		"nil tensor":  {(*tensor.Dense)(nil), "got nil"},
		"nil scalar":  {(*gorgonia.F32)(nil), "got nil"},
		"integer":     {gorgonia.NewI(1), "*gorgonia.I"},
		"ints":        {tensor.New(tensor.Of(tensor.Int), tensor.WithShape(2)), "float32 or float64, got int"},
		"transposed":  {transposed, "contiguous"},
		"column":      {column.(*tensor.Dense), "contiguous"},
		"columnmajor": {tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(2, 3), tensor.AsFortran(nil)), "row-major"},
	} {
		_, err := Of(c.value)
		assert.ErrorContains(t, err, c.want, name)
	}
}

func TestNotFinite(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		data any
		want int
	}{
		{[]float32{1, float32(inf), 2}, 1}, {[]float32{math.MaxFloat32, -1}, -1}, {[]float64{0, math.NaN()}, 1}, {[]float64{-inf}, 0},
		{[]float64{math.MaxFloat64}, -1}, {[]int{1}, -1}, {nil, -1},
	} {
		i, _ := NotFinite(c.data)
		assert.Equal(t, c.want, i, "%v", c.data)
	}
	assert.Equal(t, "+Inf at element 1 of 2", View{F64: []float64{0, inf}}.FirstBad())
	assert.Equal(t, "NaN at element 0 of 1", View{F32: []float32{float32(math.NaN())}}.FirstBad())
	assert.Equal(t, "values whose norm overflows", View{F32: []float32{math.MaxFloat32}}.FirstBad())
}
