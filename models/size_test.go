// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
)

// A net that is too large is refused by name before any of its weights is drawn, also if the numbers of its sizes overflow.
func TestTooLarge(t *testing.T) {
	colour := models.Options{Shape: [3]int{3, 32, 32}, Classes: 10}
	undrawn := func(uint64) gorgonia.InitWFn {
		return func(tensor.Dtype, ...int) any { panic("drawn") }
	}
	with := func(change func(*models.Options)) models.Options {
		o := colour
		o.Kernels = undrawn
		change(&o)
		return o
	}
	own := func(shape ...int) func() (*models.Model, error) {
		return func() (*models.Model, error) {
			return models.Build(models.Spec{Batch: 1, Shape: colour.Shape, Classes: 10, Kernels: undrawn}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
				x = b.Conv("conv", x, 8, 3, 1, 1)
				return b.Apply("mine", x, func(*gorgonia.Node) (*gorgonia.Node, error) { return b.Weight("mine.weight", undrawn, shape...) })
			})
		}
	}
	const most = min(1<<30, math.MaxInt/8)
	for name, c := range map[string]struct {
		make func() (*models.Model, error)
		want models.SizeError
	}{
		"wide":   {func() (*models.Model, error) { return models.WideResNet(1, 16, 1000, with(func(*models.Options) {})) }, models.SizeError{Name: "layer1.0.conv2.weight", Shape: tensor.Shape{16000, 16000, 3, 3}}},
		"widest": {func() (*models.Model, error) { return models.WideResNet(1, 16, 65536, with(func(*models.Options) {})) }, models.SizeError{Name: "layer1.0.conv2.weight", Shape: tensor.Shape{1 << 20, 1 << 20, 3, 3}}},
		"width": {func() (*models.Model, error) {
			return models.MobileNetV2(1, with(func(o *models.Options) { o.Width = 65536 }))
		}, models.SizeError{Name: "features.1.conv.1.weight", Shape: tensor.Shape{1 << 20, 1 << 21, 1, 1}}},
		"classes": {func() (*models.Model, error) {
			return models.LeNet(1, with(func(o *models.Options) { o.Classes = math.MaxInt }))
		}, models.SizeError{Name: "fc3.weight", Shape: tensor.Shape{84, math.MaxInt}}},
		"the last":    {own(most-8*27, 1), models.SizeError{}},
		"one more":    {own(most-8*27+1, 1), models.SizeError{Name: "mine.weight", Shape: tensor.Shape{most - 8*27 + 1, 1}}},
		"to zero":     {own(math.MaxInt/2+1, 4), models.SizeError{Name: "mine.weight", Shape: tensor.Shape{math.MaxInt/2 + 1, 4}}},
		"to negative": {own(math.MaxInt/2+1, 2), models.SizeError{Name: "mine.weight", Shape: tensor.Shape{math.MaxInt/2 + 1, 2}}},
		"batch": {func() (*models.Model, error) { return models.LeNet(math.MaxInt, colour) },
			models.SizeError{What: "a batch", Name: "input", Shape: tensor.Shape{math.MaxInt, 3, 32, 32}}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := c.make()
			assert.Nil(t, m)
			var got *models.SizeError
			if c.want.Name == "" {
				require.NotErrorAs(t, err, &got) // it fails for another reason
				return
			}
			require.ErrorAs(t, err, &got)
			c.want.Most = most
			if c.want.What == "" {
				c.want.What = "the weights of a net"
			}
			assert.Equal(t, c.want, *got)
			assert.ErrorContains(t, err, fmt.Sprintf("want at most %d numbers in %s, got more with %s of shape (", most, c.want.What, c.want.Name))
		})
	}
	for _, width := range []float64{65537, 1e9, 1e300, math.Inf(1), math.NaN(), -1} {
		_, err := models.ImageNetResNet(1, 18, with(func(o *models.Options) { o.Width = width }))
		assert.ErrorContains(t, err, "want a width above 0 and up to 65536, got ")
	}
	for _, widen := range []int{0, 65537, math.MaxInt / 16, math.MaxInt} {
		_, err := models.WideResNet(1, 16, widen, colour)
		assert.ErrorContains(t, err, "want a widening factor of 1 to 65536, got ")
	}
	for _, depth := range []int{10_004, math.MaxInt/6*6 - 4} {
		_, err := models.StochasticDepth(1, depth, colour)
		assert.ErrorContains(t, err, "want a depth of 6n+2, at most 10000, got ")
	}
}

// The limit of memory that the runtime is given is a limit of the weights too.
func TestMemoryLimit(t *testing.T) {
	lenet := func(of tensor.Dtype) error {
		_, err := models.LeNet(1, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Dtype: of})
		return err
	}
	const weights = 61706
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(4 * weights))
	require.NoError(t, lenet(tensor.Float32))
	var size *models.SizeError
	require.ErrorAs(t, lenet(tensor.Float64), &size)
	assert.Equal(t, weights/2, size.Most)
	debug.SetMemoryLimit(4*weights - 1)
	require.ErrorAs(t, lenet(tensor.Float32), &size)
	assert.Equal(t, models.SizeError{What: "the weights of a net", Most: weights - 1, Name: "fc3.bias", Shape: tensor.Shape{1, 10}}, *size)
}

// A value that a net gives a learnable itself is kept.
func TestOwnValue(t *testing.T) {
	m, err := models.Build(models.Spec{Batch: 1, Shape: [3]int{1, 2, 2}, Classes: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("fc", b.Apply("scale", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			w, err := b.Weight("scale.weight", nil, 1, 1, 2, 2)
			if err == nil && w.Value() == nil {
				err = gorgonia.Let(w, tensor.New(tensor.WithShape(1, 1, 2, 2), tensor.WithBacking([]float32{1, 2, 3, 4})))
			}
			if err != nil {
				return nil, err
			}
			return gorgonia.HadamardProd(x, w)
		}), 2)
	})
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2, 3, 4}, m.Learnables[0].Value().Data())
}
