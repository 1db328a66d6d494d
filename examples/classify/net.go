// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

const modelNames = "lenet, vgg11 (13, 16, 19), resnet20 (any 6n+2), wrn-16-4 (any 6n+4 and width), rcd110 and rsd110 (constant and stochastic depth, any 6n+2); " +
	"imagenet-resnet18 (34, 50, 101), imagenet-vgg11 and imagenet-vgg11-bn (13, 16, 19), squeezenet, mobilenetv2"

// forImageNet tells whether the net is one of those for ImageNet, which takes pictures of 224x224 and has the option Width.
func (s *settings) forImageNet() bool {
	return strings.HasPrefix(s.Model, "imagenet-") || s.Model == "squeezenet" || s.Model == "mobilenetv2"
}

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
	deep := func(make func(batch, depth int, o models.Options) (*models.Model, error), batchNorm bool) func(int, models.Options) (*models.Model, error) {
		return func(batch int, o models.Options) (*models.Model, error) {
			o.BatchNorm = batchNorm
			return make(batch, depth, o)
		}
	}
	switch {
	case s.Model == "lenet":
		return models.LeNet, nil
	case s.Model == "squeezenet":
		return models.SqueezeNet, nil
	case s.Model == "mobilenetv2":
		return models.MobileNetV2, nil
	case named("vgg%d", &depth):
		return deep(models.VGG, true), nil
	case named("imagenet-vgg%d-bn", &depth):
		return deep(models.ImageNetVGG, true), nil
	case named("imagenet-vgg%d", &depth):
		return deep(models.ImageNetVGG, false), nil
	case named("imagenet-resnet%d", &depth):
		return deep(models.ImageNetResNet, false), nil
	case named("resnet%d", &depth):
		return deep(models.ResNet, false), nil
	case named("rcd%d", &depth):
		return deep(models.ConstantDepth, false), nil
	case named("rsd%d", &depth):
		return deep(models.StochasticDepth, false), nil
	case named("wrn-%d-%d", &depth, &widen):
		return func(batch int, o models.Options) (*models.Model, error) {
			return models.WideResNet(batch, depth, widen, o)
		}, nil
	}
	return nil, cli.Usage("-model: want one of %s, got %q", modelNames, s.Model)
}

// model builds the net for images like those of the set; if over is not nil, batch normalisations are over the batches of all its processes.
func (s *settings) model(batch int, of *imageSet, over nodes.Sums) (*models.Model, error) {
	net, err := s.net()
	if err != nil {
		return nil, err
	}
	o := models.Options{Shape: of.Shape(), Classes: len(of.Classes), Seed: s.Seed, BatchNormOver: over, Width: s.Width}
	if err := s.setShortcut(&o); err != nil {
		return nil, err
	}
	m, err := net(batch, o)
	if err != nil {
		return nil, cli.Usage("-model %s: %w", s.Model, err)
	}
	return m, nil
}

// head is the name of the last layer, which has the logits.
func head(m *models.Model) string {
	name := m.Learnables[len(m.Learnables)-1].Name()
	return name[:strings.LastIndex(name, ".")]
}
