// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

const modelNames = "lenet, vgg11 (13, 16, 19), resnet20 (any 6n+2), wrn-16-4 (any 6n+4 and width), rcd110 and rsd110 (constant and stochastic depth, any 6n+2)"

// net finds the net of a name.
func (s *settings) net() (func(batch int, o models.Options) (*models.Model, error), error) {
	var depth, widen int
	named := func(format string, to ...any) bool {
		n, err := fmt.Sscanf(s.Model, format, to...)
		values := make([]any, n)
		for i := range values {
			values[i] = *to[i].(*int)
		}
		return err == nil && fmt.Sprintf(format, values...) == s.Model
	}
	switch {
	case s.Model == "lenet":
		return models.LeNet, nil
	case named("vgg%d", &depth):
		return func(batch int, o models.Options) (*models.Model, error) {
			o.BatchNorm = true
			return models.VGG(batch, depth, o)
		}, nil
	case named("resnet%d", &depth):
		return func(batch int, o models.Options) (*models.Model, error) { return models.ResNet(batch, depth, o) }, nil
	case named("rcd%d", &depth):
		return func(batch int, o models.Options) (*models.Model, error) { return models.ConstantDepth(batch, depth, o) }, nil
	case named("rsd%d", &depth):
		return func(batch int, o models.Options) (*models.Model, error) {
			return models.StochasticDepth(batch, depth, o)
		}, nil
	case named("wrn-%d-%d", &depth, &widen):
		return func(batch int, o models.Options) (*models.Model, error) {
			return models.WideResNet(batch, depth, widen, o)
		}, nil
	}
	return nil, cli.Usage("-model: want one of %s, got %q", modelNames, s.Model)
}

// model builds the net for images as those of the set; its batch normalisations are those of all that over sums over, if
// it is not nil.
func (s *settings) model(batch int, of *imageSet, over nodes.Sums) (*models.Model, error) {
	net, err := s.net()
	if err != nil {
		return nil, err
	}
	o := models.Options{Shape: of.Shape(), Classes: len(of.Classes), Seed: s.Seed, BatchNormOver: over}
	if err := s.setShortcut(&o); err != nil {
		return nil, err
	}
	m, err := net(batch, o)
	if err != nil {
		return nil, cli.Usage("-model %s: %w", s.Model, err)
	}
	return m, nil
}
