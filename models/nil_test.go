// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// What is missing (nil, a nil pointer in an interface, a value that no function of the package has made) is an error that says so.
func TestMissing(t *testing.T) {
	m, err := models.CNN(2, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2}})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	var noNet *models.Net
	var noModel *models.Model
	var noSphere *manifolds.Sphere
	of := func(_ any, err error) error { return err }
	build := func(layers models.Layers) func() error {
		return func() error {
			return of(models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 8, 8}, Classes: 3}, layers))
		}
	}
	on := func(c manifolds.Manifold, opts ...manifolds.Option) func() error {
		return build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			w, err := b.Weight("w", models.OnManifold(c, opts...), 4, 1, 3, 3)
			if err != nil {
				b.Fail("w", err)
				return x
			}
			return w
		})
	}
	for name, f := range map[string]func() error{
		"Build without layers": build(nil),
		"Build a nil node":     build(func(*models.Builder, *gorgonia.Node) *gorgonia.Node { return nil }),
		"Build, Conv of nil":   build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Conv("conv", nil, 2, 3, 1, 1) }),
		"Build, Linear of nil": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("linear", nil, 3) }),
		"Build, Apply nothing": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Apply("apply", x, nil) }),
		"Build, Add of nil":    build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Add(x, nil) }),
		"Build, Concat of nil": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Concat(x, nil) }),
		"Build, BatchNorm":     build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.BatchNorm("norm", nil) }),
		"Build, nodes.Plus nil": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.BatchNorm("norm", x, nodes.Plus(nil))
		}),
		"Build, no shortcut": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.BatchNormShortcut("norm", x, nil) }),
		"Build, shortcut nil": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.BatchNormShortcut("norm", x, func() *gorgonia.Node { return nil })
		}),
		"Build, weight by nil": build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			_, err := b.Weight("w", nil, 2, 2)
			b.Fail("w", err)
			return x
		}),
		"Build, Fail with nil":   build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { b.Fail("w", nil); return nil }),
		"OnManifold nil":         on(nil),
		"OnManifold nil pointer": on(noSphere),
		"OnManifold, nil option": on(manifolds.Sphere{}, nil),
		"zero Spec": func() error {
			return of(models.Build(models.Spec{}, func(*models.Builder, *gorgonia.Node) *gorgonia.Node { return nil }))
		},
		"CNN of zero Options":      func() error { return of(models.CNN(2, models.Options{})) },
		"New of nil":               func() error { return of(models.New(2, nil)) },
		"New, nil Net":             func() error { return of(models.New(2, func(int) (*models.Net, error) { return nil, nil })) },
		"New, zero Net":            func() error { return of(models.New(2, func(int) (*models.Net, error) { return &models.Net{}, nil })) },
		"NewConfusion of nil":      func() error { return of(models.NewConfusion(nil)) },
		"zero Confusion, Add":      func() error { return (&models.Confusion{}).Add(0, 0) },
		"Lipschitz of nil":         func() error { return of(models.Lipschitz(nil)) },
		"Lipschitz of a nil Net":   func() error { return of(models.Lipschitz(noNet)) },
		"Lipschitz of a nil Model": func() error { return of(models.Lipschitz(noModel)) },
		"Lipschitz of a zero Net":  func() error { return of(models.Lipschitz(&models.Net{})) },
		"Lipschitz, nil option":    func() error { return of(models.Lipschitz(m, nil)) },
		"Release of nil":           func() error { return of(models.Release(nil)) },
		"Release of a nil Net":     func() error { return of(models.Release(noNet)) },
		"Release of a zero Model":  func() error { return of(models.Release(&models.Model{})) },
		"Release of a zero Net":    func() error { return of(models.Release(&models.Net{})) },
		"zero Net, Predictor":      func() error { return of((&models.Net{}).Predictor()) },
		"zero Net, Machine":        func() error { return of((&models.Net{}).Machine()) },
		"zero Net, Feed":           func() error { return (&models.Net{}).Feed(nil) },
		"zero Net, Features":       func() error { return of((&models.Net{}).Features(nil)) },
		"zero Net, Part":           func() error { return of((&models.Net{}).Part("conv")) },
		"zero Model, SetBatch":     func() error { return (&models.Model{}).SetBatch(nil, nil) },
		"zero Model, Change":       func() error { return of((&models.Model{}).Change(nil, nil)) },
		"SetBatch of nil":          func() error { return m.SetBatch(nil, nil) },
		"Change by nil":            func() error { return of(m.Change(make([]float32, 2*64), nil)) },
		"Feed nil":                 func() error { return m.Feed(nil, nil) },
		"Feed nothing":             func() error { return m.Feed() },
		"zero Predictor, Predict":  func() error { return of((&models.Predictor{}).Predict()) },
		"zero Predictor, Evaluate": func() error { _, _, err := (&models.Predictor{}).Evaluate(); return err },
		"zero Predictor, Logits":   func() error { return of((&models.Predictor{}).Logits(nil)) },
		"zero Predictor, Classify": func() error { return of((&models.Predictor{}).Classify(nil)) },
		"zero Predictor, Certify":  func() error { return of((&models.Predictor{}).Certify(nil)) },
		"Predict nil":              func() error { return of(p.Predict(nil)) },
		"Predict nothing":          func() error { return of(p.Predict()) },
		"Evaluate nil":             func() error { _, _, err := p.Evaluate(nil, nil); return err },
		"Certify, nil option":      func() error { return of(p.Certify(make([]float32, 64), nil)) },
		"SetRunning":               func() error { return models.Buffer{}.SetRunning(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			require.NotPanics(t, func() { err = f() })
			assert.ErrorContains(t, err, "want ")
		})
	}
	for name, f := range map[string]func(){
		"zero values": func() {
			n := &models.Net{}
			_, _, _, _, _ = n.Base(), n.Batch(), n.State(), n.Zeros(), n.Parameters()
			_, _, _ = (&models.Model{}).Base(), models.Change{}.String(), models.State{}.State()
			_, _ = models.State{}.Check(), models.State{}.Has("w", tensor.Shape{1})
			_ = models.Buffer{}.Running()
		},
		"zero Confusion": func() {
			c := &models.Confusion{}
			_, _, _, _, _ = c.Accuracy(), c.Classes(), c.Examples(), c.Matrix(), c.MeanRecall()
			_ = c.String()
		},
		"Softmax and Top": func() { _, _ = models.Softmax(nil), models.Top(nil, 3) },
		"SizeError":       func() { _ = (&models.SizeError{}).Error() },
	} {
		t.Run(name, func(t *testing.T) { assert.NotPanics(t, f) })
	}
}
