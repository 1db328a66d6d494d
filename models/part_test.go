// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/solvers"
)

func namesOf(s models.State) (list []string) {
	for _, l := range s.Learnables {
		list = append(list, l.Name())
	}
	for _, b := range s.Buffers {
		list = append(list, "buffer "+b.Name)
	}
	return list
}

func TestPart(t *testing.T) {
	m, err := models.ImageNetResNet(2, 18, slim(colour))
	require.NoError(t, err)
	part, err := m.Part("layer1.1", "conv1", "bn1", "layer4.1.conv2.weight")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"conv1.weight", "bn1.weight", "bn1.bias",
		"layer1.1.conv1.weight", "layer1.1.bn1.weight", "layer1.1.bn1.bias", "layer1.1.conv2.weight", "layer1.1.bn2.weight", "layer1.1.bn2.bias",
		"layer4.1.conv2.weight", "buffer bn1", "buffer layer1.1.bn1", "buffer layer1.1.bn2",
	}, namesOf(part))
	assert.True(t, part.Has("conv1.weight", nil))
	assert.False(t, part.Has("conv1", nil))
	assert.False(t, part.Has("fc.weight", nil))

	all := m.State()
	rest, err := m.Without("fc", "layer4")
	require.NoError(t, err)
	end, err := m.Part("layer4", "fc")
	require.NoError(t, err)
	assert.Equal(t, len(all.Learnables), len(rest.Learnables)+len(end.Learnables))
	assert.Equal(t, len(all.Buffers), len(rest.Buffers)+len(end.Buffers))
	for _, name := range namesOf(rest) {
		assert.NotContains(t, namesOf(end), name)
	}
	for _, wrong := range []string{"layer5", "layer", "conv1.bias", "", "layer1.1."} {
		want := fmt.Sprintf(`models: want the name of a weight, a layer or a part, which begins with one of "conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc", got %q`, wrong)
		_, err := m.Part("fc", wrong)
		assert.EqualError(t, err, want)
		_, err = m.Without(wrong)
		assert.EqualError(t, err, want)
	}
}

// Frozen stages stay to the bit while the others move.
func TestFreezePart(t *testing.T) {
	m, err := models.ImageNetResNet(2, 18, slim(colour))
	require.NoError(t, err)
	early, err := m.Part("conv1", "bn1", "layer1", "layer2")
	require.NoError(t, err)
	before := map[string][]float32{}
	for _, l := range m.Learnables {
		before[l.Name()] = append([]float32{}, l.Value().Data().([]float32)...)
	}
	x, y := batch(m.Spec(), 1)
	require.NoError(t, m.SetBatch(x, y))
	vm, err := m.Machine()
	require.NoError(t, err)
	defer vm.Close()
	s := solvers.NewSGD(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Sphere{}, manifolds.Initial), solvers.Where(early.Has, nil).With(solvers.Frozen()))
	for range 2 {
		require.NoError(t, vm.RunAll())
		require.NoError(t, s.Step(gorgonia.NodesToValueGrads(m.Learnables)))
		vm.Reset()
	}
	for _, l := range m.Learnables {
		if now := l.Value().Data().([]float32); early.Has(l.Name(), nil) {
			assert.Equal(t, before[l.Name()], now, l.Name())
		} else {
			assert.NotEqual(t, before[l.Name()], now, l.Name())
		}
	}
}

func TestChange(t *testing.T) {
	o := slim(colour)
	o.Width = 0.25
	m, err := models.ImageNetResNet(2, 18, o)
	require.NoError(t, err)
	spec := m.Spec()
	spec.Batch = 5
	images, _ := batch(spec, 1)
	c, err := m.Change(images, func() error { return nil })
	require.NoError(t, err)
	assert.Equal(t, 5, c.Images)
	assert.Zero(t, c.Largest)
	assert.Zero(t, c.RMS)
	assert.Zero(t, c.Others)
	assert.Positive(t, c.Before)

	// Twice the last layer is twice the logits.
	c, err = m.Change(images, func() error {
		for _, l := range m.Learnables {
			if l.Name() == "fc.weight" {
				w := l.Value().Data().([]float32)
				for i := range w {
					w[i] *= 2
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	assert.InDelta(t, c.Before, c.RMS, 1e-6*c.Before)
	assert.GreaterOrEqual(t, c.Largest, c.RMS)
	assert.Zero(t, c.Others)

	// On spheres of the size that kernels have nothing changes but rounding; orthonormal filters are others.
	put := func(of manifolds.Manifold, opts ...manifolds.Option) models.Change {
		s := solvers.NewSGD(solvers.Kernels(of, opts...))
		c, err := m.Change(images, func() error { return s.Init(gorgonia.NodesToValueGrads(m.Learnables)) })
		require.NoError(t, err)
		return c
	}
	onSphere := put(manifolds.Sphere{}, manifolds.FilterBank, manifolds.Initial)
	assert.Less(t, onSphere.RMS, 1e-5*onSphere.Before)
	onStiefel := put(manifolds.Stiefel{}, manifolds.Initial)
	assert.Greater(t, onStiefel.RMS, 1e-3*onStiefel.Before)
	assert.Zero(t, put(manifolds.Stiefel{}, manifolds.Initial).Others, "they are on Stiefel already")
	assert.Contains(t, onStiefel.String(), "logits of 5 images change by ")

	failed := errors.New("failed")
	_, err = m.Change(images, func() error { return failed })
	assert.ErrorIs(t, err, failed)
	_, err = m.Change(nil, func() error { return nil })
	assert.ErrorContains(t, err, "want images of [3 32 32], 3072 numbers each, got 0 numbers")
	_, err = m.Change(images[:7], func() error { return nil })
	assert.ErrorContains(t, err, "want images of [3 32 32]")
}
