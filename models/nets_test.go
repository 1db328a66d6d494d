// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
)

var (
	grey   = models.Options{Shape: [3]int{1, 28, 28}, Classes: 10}
	colour = models.Options{Shape: [3]int{3, 32, 32}, Classes: 10}
	large  = models.Options{Shape: [3]int{3, 32, 32}, Classes: 1000, Kernels: func(uint64) gorgonia.InitWFn { return gorgonia.Zeroes() }}
)

// with returns options with a change.
func with(o models.Options, change func(*models.Options)) models.Options {
	change(&o)
	return o
}

func normed(o *models.Options)       { o.BatchNorm = true }
func projected(o *models.Options)    { o.Projections = true }
func preActivated(o *models.Options) { o.PreActivation = true }
func quarter(o *models.Options)      { o.Width = 0.25 }

func slim(o models.Options) models.Options {
	o.Width = 1. / 16
	return o
}

func hundredClasses(o *models.Options) { o.Classes = 100 }

// TestPublishedParameters compares the numbers of parameters with published ones. Papers give
// two digits or three; the exact numbers are those that well-known implementations in PyTorch
// print (named in each line), and that of a formula of the paper's table.
func TestPublishedParameters(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  func() (*models.Model, error)
		want   int
		paper  float64 // millions, 0 if the paper has none
		digits float64
	}{
		// LeNet-5 as in textbooks: 6*26 + 16*(6*25+1) + 401*120-120 + 121*84 + 85*10.
		{"LeNet", func() (*models.Model, error) { return models.LeNet(1, grey) }, 6*26 + 16*151 + 401*120 + 121*84 + 85*10, 0.06, 0.005},
		// He et al. 2016, table 6; exact: pytorch_resnet_cifar10 (Idelbayev).
		{"ResNet-20", func() (*models.Model, error) { return models.ResNet(1, 20, colour) }, 269722, 0.27, 0.005},
		{"ResNet-20 B", func() (*models.Model, error) { return models.ResNet(1, 20, with(colour, projected)) }, 272474, 0.27, 0.005},
		{"ResNet-32", func() (*models.Model, error) { return models.ResNet(1, 32, colour) }, 464154, 0.46, 0.005},
		{"ResNet-44", func() (*models.Model, error) { return models.ResNet(1, 44, colour) }, 658586, 0.66, 0.005},
		{"ResNet-56", func() (*models.Model, error) { return models.ResNet(1, 56, colour) }, 853018, 0.85, 0.005},
		{"ResNet-110", func() (*models.Model, error) { return models.ResNet(1, 110, colour) }, 1727962, 1.7, 0.05},
		// Ozay and Okatani 2016 and Huang et al. 2016: ResNet-110, 1.7 million.
		{"RCD-110", func() (*models.Model, error) { return models.ConstantDepth(1, 110, colour) }, 1727962, 1.7, 0.05},
		{"RSD-110", func() (*models.Model, error) { return models.StochasticDepth(1, 110, colour) }, 1727962, 1.7, 0.05},
		// Zagoruyko and Komodakis 2016, tables 2, 4 and 5; exact: the formula of wideParameters.
		{"WRN-16-4", func() (*models.Model, error) { return models.WideResNet(1, 16, 4, colour) }, wideParameters(16, 4, 10), 2.7, 0.06},
		{"WRN-40-4", func() (*models.Model, error) { return models.WideResNet(1, 40, 4, colour) }, wideParameters(40, 4, 10), 8.9, 0.05},
		{"WRN-28-10", func() (*models.Model, error) { return models.WideResNet(1, 28, 10, colour) }, 36479194, 36.5, 0.05},
		// pytorch-cifar (Liu) has 14,728,266 for VGG16, with the 4,224 biases before batch norm.
		{"VGG-16-BN", func() (*models.Model, error) { return models.VGG(1, 16, with(colour, normed)) }, 14728266 - 4224, 0, 0},
		// The nets for ImageNet; exact: torchvision. The paper of SqueezeNet has 1.25 million for version 1.0.
		{"ImageNetResNet-18", func() (*models.Model, error) { return models.ImageNetResNet(1, 18, large) }, 11689512, 0, 0},
		{"ImageNetResNet-34", func() (*models.Model, error) { return models.ImageNetResNet(1, 34, large) }, 21797672, 0, 0},
		{"ImageNetResNet-50", func() (*models.Model, error) { return models.ImageNetResNet(1, 50, large) }, 25557032, 0, 0},
		{"ImageNetResNet-101", func() (*models.Model, error) { return models.ImageNetResNet(1, 101, large) }, 44549160, 0, 0},
		{"SqueezeNet", func() (*models.Model, error) { return models.SqueezeNet(1, large) }, 1235496, 0, 0},
		{"MobileNetV2", func() (*models.Model, error) { return models.MobileNetV2(1, large) }, 3504872, 3.4, 0.11},
		{"MobileNetV2 1.4", func() (*models.Model, error) {
			return models.MobileNetV2(1, with(large, func(o *models.Options) { o.Width = 1.4 }))
		}, 6108776, 6.9, 0.8},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := c.build()
			require.NoError(t, err)
			assert.Equal(t, c.want, m.Parameters())
			if c.paper > 0 {
				assert.InDelta(t, c.paper, float64(m.Parameters())/1e6, c.digits)
			}
		})
	}
	assert.Equal(t, 36479194, wideParameters(28, 10, 10))
	for _, k := range []func(*models.Options){func(*models.Options) {}, hundredClasses} {
		o := with(colour, k)
		m, err := models.WideResNet(1, 10, 2, o)
		require.NoError(t, err)
		assert.Equal(t, wideParameters(10, 2, o.Classes), m.Parameters())
	}
}

// wideParameters counts the weights of WRN-d-k: with c channels before and w after a block,
// two kernels of 9cw and 9w^2, 2c+2w of batch norms, and cw of a shortcut where c is not w.
func wideParameters(d, k, classes int) int {
	sum, c := 3*9*16, 16
	for _, w := range []int{16 * k, 32 * k, 64 * k} {
		for range (d - 4) / 6 {
			sum += 9*c*w + 9*w*w + 2*c + 2*w
			if c != w {
				sum += c * w
			}
			c = w
		}
	}
	return sum + 2*c + c*classes + classes
}

func TestVGGParameters(t *testing.T) {
	// Simonyan and Zisserman 2015, table 2: 133, 133, 138 and 144 million, most of them in two
	// layers of 4096 and one of 1000, which are here one of 10.
	full := 25088*4096 + 4096 + 4096*4096 + 4096 + 4096*1000 + 1000
	for depth, want := range map[int]int{11: 132863336, 13: 133047848, 16: 138357544, 19: 143667240} { // torchvision
		m, err := models.VGG(1, depth, colour)
		require.NoError(t, err)
		assert.Equal(t, want-full+512*10+10, m.Parameters(), "VGG-%d", depth)
	}
	if !testing.Short() { // 132 million weights
		m, err := models.ImageNetVGG(1, 11, with(large, normed))
		require.NoError(t, err)
		assert.Equal(t, 132868840-2752, m.Parameters(), "torchvision's vgg11_bn has 2,752 biases before batch norm")
	}
	m, err := models.VGG(1, 11, with(colour, normed))
	require.NoError(t, err)
	var names []string
	for _, n := range m.Learnables[:7] {
		names = append(names, n.Name())
	}
	assert.Equal(t, []string{"features.0.weight", "features.1.weight", "features.1.bias",
		"features.4.weight", "features.5.weight", "features.5.bias", "features.8.weight"}, names, "as in torchvision's vgg11_bn")
}

// every is one of each net, small.
func every(o models.Options) map[string]func() (*models.Model, error) {
	return map[string]func() (*models.Model, error){
		"CNN":         func() (*models.Model, error) { return models.CNN(3, o) },
		"CNN, normed": func() (*models.Model, error) { return models.CNN(3, with(o, normed)) },
		"LeNet":       func() (*models.Model, error) { return models.LeNet(3, o) },
		"VGG":         func() (*models.Model, error) { return models.VGG(3, 11, o) },
		"ResNet A":    func() (*models.Model, error) { return models.ResNet(3, 8, o) },
		"ResNet B":    func() (*models.Model, error) { return models.ResNet(3, 8, with(o, projected)) },
		"ResNet pre":  func() (*models.Model, error) { return models.ResNet(3, 8, with(o, preActivated)) },
		"WideResNet": func() (*models.Model, error) {
			return models.WideResNet(3, 10, 2, with(o, func(o *models.Options) { o.Dropout = 0.3 }))
		},
		"ImageNetResNet":             func() (*models.Model, error) { return models.ImageNetResNet(3, 18, slim(o)) },
		"ImageNetResNet, bottleneck": func() (*models.Model, error) { return models.ImageNetResNet(3, 50, slim(o)) },
		"ImageNetVGG":                func() (*models.Model, error) { return models.ImageNetVGG(3, 11, slim(o)) },
		"ImageNetVGG, normed":        func() (*models.Model, error) { return models.ImageNetVGG(3, 11, with(slim(o), normed)) },
		"SqueezeNet":                 func() (*models.Model, error) { return models.SqueezeNet(3, with(o, quarter)) },
		"MobileNetV2": func() (*models.Model, error) {
			return models.MobileNetV2(3, with(slim(o), func(o *models.Options) { o.Shape = [3]int{2, 64, 64} }))
		},
		"StochasticDepth": func() (*models.Model, error) { return models.StochasticDepth(3, 14, o) },
	}
}

// TestNetsLearn takes some steps of each net on one batch, which must make the cost less,
// with finite gradients in every learnable that are not all 0.
func TestNetsLearn(t *testing.T) {
	o := models.Options{Shape: [3]int{2, 32, 32}, Classes: 3, Seed: 4}
	for name, build := range every(o) {
		t.Run(name, func(t *testing.T) {
			m, err := build()
			require.NoError(t, err)
			x, y := batch(m.Spec(), 1)
			vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
			defer vm.Close()
			require.NoError(t, m.SetBatch(x, y))
			s := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.003))
			first, moved := 0.0, map[string]bool{}
			for i := range 10 {
				require.NoError(t, vm.RunAll())
				if i == 0 {
					first = m.Loss()
				}
				for _, n := range m.Learnables {
					g, err := n.Grad()
					require.NoError(t, err)
					sum := 0.0
					for _, v := range g.Data().([]float32) {
						sum += math.Abs(float64(v))
					}
					require.False(t, math.IsNaN(sum) || math.IsInf(sum, 0), n.Name())
					if sum > 0 {
						moved[n.Name()] = true
					}
				}
				require.NoError(t, s.Step(gorgonia.NodesToValueGrads(m.Learnables)))
				vm.Reset()
			}
			assert.Less(t, m.Loss(), first)
			assert.Len(t, moved, len(m.Learnables))
		})
	}
}

// StochasticDepth draws with the probabilities of the paper, is ResNet where all
// survive, and goes on where its noise was.
func TestStochasticDepth(t *testing.T) {
	o := models.Options{Shape: [3]int{2, 8, 8}, Classes: 3, Dtype: tensor.Float64, Seed: 4}
	run := func(m *models.Model, err error) func() float64 {
		require.NoError(t, err)
		x, y := batch(m.Spec(), 1)
		vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
		t.Cleanup(func() { vm.Close() })
		require.NoError(t, m.SetBatch(x, y))
		return func() float64 {
			require.NoError(t, vm.RunAll())
			vm.Reset()
			return m.Loss()
		}
	}
	all := run(models.StochasticDepth(2, 20, with(o, func(o *models.Options) { o.Survival = 1 })))
	assert.InDelta(t, run(models.ConstantDepth(2, 20, o))(), all(), 1e-14)

	m, err := models.StochasticDepth(2, 20, o)
	require.NoError(t, err)
	loss := run(m, nil)
	var losses []float64
	for range 5 {
		losses = append(losses, loss())
	}
	assert.NotEqual(t, losses[0], losses[1])
	var noise []string
	again, err := models.StochasticDepth(2, 20, o)
	require.NoError(t, err)
	for _, b := range again.Buffers {
		require.NotEqual(t, b.Statistics == nil, b.Noise == nil, "%s is one of the two", b.Name)
		if b.Noise != nil {
			noise = append(noise, b.Name)
			b.Noise.Run = 3
		}
	}
	assert.Len(t, noise, 9)
	assert.Equal(t, "layer1.0.survival", noise[0])
	assert.Equal(t, losses[3], run(again, nil)(), "the noise of run 3")

	// In evaluation the branch of block l of 9 counts 1 - l/9 (1-p): make all branches the
	// constant 1 in channel 0, and the rest of the net nothing.
	const last = 0.4
	m, err = models.StochasticDepth(1, 20, with(o, func(o *models.Options) { o.Survival = last }))
	require.NoError(t, err)
	for _, n := range m.Learnables {
		w := n.Value().Data().([]float64)
		clear(w)
		switch name := n.Name(); {
		case name == "fc.weight", strings.HasSuffix(name, "bn2.bias"):
			w[0] = 1
		}
	}
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	logits, err := p.Logits(make([]float32, 2*8*8))
	require.NoError(t, err)
	want := 0.0
	for l := range 9 {
		want += 1 - float64(l+1)/9*(1-last)
	}
	assert.InDelta(t, want, logits[0], 1e-12)
}

func TestNetsReject(t *testing.T) {
	for _, c := range []struct {
		want  string
		build func() (*models.Model, error)
	}{
		{"models: VGG: want a depth of 11, 13, 16 or 19, got 12", func() (*models.Model, error) { return models.VGG(1, 12, colour) }},
		{"models: ResNet: want a depth of 6n+2, at most 10000, got 21", func() (*models.Model, error) { return models.ResNet(1, 21, colour) }},
		{"models: ResNet: want a depth of 6n+2, at most 10000, got 2", func() (*models.Model, error) { return models.ResNet(1, 2, colour) }},
		{"models: StochasticDepth: want a depth of 6n+2, at most 10000, got -4", func() (*models.Model, error) { return models.StochasticDepth(1, -4, colour) }},
		{"models: WideResNet: want a depth of 6n+4, at most 10000, got 20", func() (*models.Model, error) { return models.WideResNet(1, 20, 2, colour) }},
		{"models: WideResNet: want a widening factor of 1 to 65536, got 0", func() (*models.Model, error) { return models.WideResNet(1, 10, 0, colour) }},
		{"models: WideResNet: want a probability of dropout from 0 to less than 1, got 1", func() (*models.Model, error) {
			return models.WideResNet(1, 10, 1, with(colour, func(o *models.Options) { o.Dropout = 1 }))
		}},
		{"models: StochasticDepth: want a probability of survival above 0 and up to 1, got 1.5", func() (*models.Model, error) {
			return models.StochasticDepth(1, 8, with(colour, func(o *models.Options) { o.Survival = 1.5 }))
		}},
		{"models: ResNet has no option BatchNorm", func() (*models.Model, error) { return models.ResNet(1, 8, with(colour, normed)) }},
		{"models: ResNet has no option Survival", func() (*models.Model, error) {
			return models.ResNet(1, 8, with(colour, func(o *models.Options) { o.Survival = 0.5 }))
		}},
		{"models: LeNet has no option Widths", func() (*models.Model, error) {
			return models.LeNet(1, with(grey, func(o *models.Options) { o.Widths = []int{3} }))
		}},
		{"models: CNN has no option Projections", func() (*models.Model, error) { return models.CNN(1, with(grey, projected)) }},
		{"models: CNN has no option PreActivation", func() (*models.Model, error) { return models.CNN(1, with(grey, preActivated)) }},
		{`models: want zeros "after" or "around" the channels of a shortcut, got "before"`, func() (*models.Model, error) {
			return models.ResNet(1, 8, with(colour, func(o *models.Options) { o.Zeros = "before" }))
		}},
		{"models: StochasticDepth: want one of the options Projections and Zeros, got both", func() (*models.Model, error) {
			return models.StochasticDepth(1, 8, with(with(colour, projected), func(o *models.Options) { o.Zeros = models.ZerosAfter }))
		}},
		{"models: WideResNet has no option Zeros", func() (*models.Model, error) {
			return models.WideResNet(1, 10, 1, with(colour, func(o *models.Options) { o.Zeros = models.ZerosAround }))
		}},
		{"models: VGG has no option Dropout", func() (*models.Model, error) {
			return models.VGG(1, 11, with(colour, func(o *models.Options) { o.Dropout = 0.5 }))
		}},
		{"models: ImageNetResNet: want a depth of 18, 34, 50 or 101, got 20", func() (*models.Model, error) { return models.ImageNetResNet(1, 20, colour) }},
		{"models: ImageNetResNet has no option Dropout", func() (*models.Model, error) {
			return models.ImageNetResNet(1, 18, with(colour, func(o *models.Options) { o.Dropout = models.NoDropout }))
		}},
		{"models: ImageNetVGG: want a depth of 11, 13, 16 or 19, got 12", func() (*models.Model, error) { return models.ImageNetVGG(1, 12, colour) }},
		{"models: ImageNetVGG: want a probability of dropout from 0 to less than 1, or NoDropout, got 1", func() (*models.Model, error) {
			return models.ImageNetVGG(1, 11, with(colour, func(o *models.Options) { o.Dropout = 1 }))
		}},
		{"models: SqueezeNet: want a probability of dropout from 0 to less than 1, or NoDropout, got -0.5", func() (*models.Model, error) {
			return models.SqueezeNet(1, with(colour, func(o *models.Options) { o.Dropout = -0.5 }))
		}},
		{"models: MobileNetV2: want a width above 0 and up to 65536, got -1", func() (*models.Model, error) {
			return models.MobileNetV2(1, with(colour, func(o *models.Options) { o.Width = -1 }))
		}},
		{"models: VGG has no option Width", func() (*models.Model, error) {
			return models.VGG(1, 11, with(colour, func(o *models.Options) { o.Width = 0.5 }))
		}},
		{"models: features.pool: nodes.MaxPool2D: want a kernel that fits", func() (*models.Model, error) {
			return models.ImageNetVGG(1, 11, with(slim(colour), func(o *models.Options) { o.Shape[2] = 31 }))
		}},
		{"models: features.8: nodes.MaxPool2DCeil: want a kernel that fits", func() (*models.Model, error) {
			return models.SqueezeNet(1, with(slim(colour), func(o *models.Options) { o.Shape[2] = 24 }))
		}},
		{"models: features.pool: nodes.MaxPool2D: want a kernel that fits", func() (*models.Model, error) {
			return models.VGG(1, 11, with(colour, func(o *models.Options) { o.Shape[1] = 16 }))
		}},
	} {
		t.Run(fmt.Sprint(c.want), func(t *testing.T) {
			_, err := c.build()
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// Nets for ImageNet take images of any size that fits, and their own dropout unless another is wanted.
func TestImageNetSizes(t *testing.T) {
	for name, c := range map[string]struct {
		build  func(o models.Options) (*models.Model, error)
		least  int
		noises int
	}{
		"ImageNetResNet": {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(1, 18, o) }, 1, 0},
		"ImageNetVGG":    {func(o models.Options) (*models.Model, error) { return models.ImageNetVGG(1, 11, o) }, 32, 2},
		"SqueezeNet":     {func(o models.Options) (*models.Model, error) { return models.SqueezeNet(1, o) }, 25, 1},
		"MobileNetV2":    {func(o models.Options) (*models.Model, error) { return models.MobileNetV2(1, o) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			count := func(m *models.Model) (n int) {
				for _, b := range m.Buffers {
					if b.Noise != nil {
						n++
					}
				}
				return n
			}
			for _, more := range []int{0, 1, 37} {
				o := slim(models.Options{Shape: [3]int{3, c.least, c.least + more}, Classes: 5})
				m, err := c.build(o)
				require.NoError(t, err)
				assert.Equal(t, c.noises, count(m))
				p, err := m.Predictor()
				require.NoError(t, err)
				logits, err := p.Logits(make([]float32, 2*3*c.least*(c.least+more)))
				require.NoError(t, err)
				assert.Len(t, logits, 10)
				require.NoError(t, p.Close())
			}
			if c.noises > 0 {
				m, err := c.build(with(slim(models.Options{Shape: [3]int{3, 32, 32}, Classes: 5}), func(o *models.Options) { o.Dropout = models.NoDropout }))
				require.NoError(t, err)
				assert.Zero(t, count(m))
			}
		})
	}
}

// A model knows where its shortcuts put zeros.
func TestZeros(t *testing.T) {
	around := func(o *models.Options) { o.Zeros = models.ZerosAround }
	for _, c := range []struct {
		want  models.Zeros
		build func() (*models.Model, error)
	}{
		{models.ZerosAfter, func() (*models.Model, error) { return models.ResNet(1, 8, colour) }},
		{models.ZerosAround, func() (*models.Model, error) { return models.StochasticDepth(1, 8, with(colour, around)) }},
		{"", func() (*models.Model, error) { return models.ConstantDepth(1, 8, with(colour, projected)) }},
		{"", func() (*models.Model, error) { return models.LeNet(1, grey) }},
	} {
		m, err := c.build()
		require.NoError(t, err)
		assert.Equal(t, c.want, m.Zeros())
	}
}

// Noise is of the layer's own, and of the seed of the net. WideResNet has it between
// the convolutions of each block, if it has dropout at all.
func TestNoise(t *testing.T) {
	o := with(colour, func(o *models.Options) { o.Dropout = 0.3 })
	seeds := map[uint64]string{}
	for seed := range uint64(2) {
		o.Seed = seed
		m, err := models.WideResNet(1, 16, 1, o)
		require.NoError(t, err)
		var layers []string
		for _, b := range m.Buffers {
			if b.Noise != nil {
				layers = append(layers, b.Name)
				seeds[b.Noise.Seed] = b.Name
			}
		}
		assert.Equal(t, []string{"layer1.0.dropout", "layer1.1.dropout", "layer2.0.dropout", "layer2.1.dropout",
			"layer3.0.dropout", "layer3.1.dropout"}, layers)
	}
	assert.Len(t, seeds, 12)
	m, err := models.WideResNet(1, 16, 1, colour)
	require.NoError(t, err)
	for _, b := range m.Buffers {
		assert.Nil(t, b.Noise, b.Name)
	}
}
