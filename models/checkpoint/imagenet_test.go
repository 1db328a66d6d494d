// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
)

// imageNet is testdata/imagenet.json.
type imageNet struct {
	Height, Width int
	Nets          map[string]struct {
		Tensors []string // "conv1.weight 64 3 7 7"
		Logits  []float64
	}
}

// stateDict returns the names and the shapes of a net.
func (n imageNet) stateDict(t *testing.T, name string) (s stateDict) {
	t.Helper()
	for _, line := range n.Nets[name].Tensors {
		words := strings.Fields(line)
		shape := make([]int, len(words)-1)
		for i, w := range words[1:] {
			var err error
			shape[i], err = strconv.Atoi(w)
			require.NoError(t, err)
		}
		s = append(s, struct {
			Name  string
			Shape []int
		}{words[0], shape})
	}
	require.NotEmpty(t, s, name)
	return s
}

// imageNets are the nets of package models for those of imagenet.json. Those that are long take seconds and hundreds of megabytes;
// KERNELFOLD_LONG=1 runs them too. VGG has products of 25,088 numbers.
var imageNets = map[string]struct {
	build func(o models.Options) (*models.Model, error)
	long  bool
}{
	"ResNet-18":        {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(2, 18, o) }, true},
	"ResNet-34":        {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(2, 34, o) }, true},
	"ResNet-50":        {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(2, 50, o) }, true},
	"ResNet-101":       {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(2, 101, o) }, true},
	"ResNet-50 slim":   {func(o models.Options) (*models.Model, error) { return models.ImageNetResNet(2, 50, eighth(o)) }, false},
	"SqueezeNet":       {func(o models.Options) (*models.Model, error) { return models.SqueezeNet(2, o) }, false},
	"MobileNetV2":      {func(o models.Options) (*models.Model, error) { return models.MobileNetV2(2, o) }, false},
	"MobileNetV2 slim": {func(o models.Options) (*models.Model, error) { return models.MobileNetV2(2, eighth(o)) }, false},
	"VGG-16":           {func(o models.Options) (*models.Model, error) { return models.ImageNetVGG(2, 16, o) }, true},
	"VGG-11 slim":      {func(o models.Options) (*models.Model, error) { return models.ImageNetVGG(2, 11, eighth(o)) }, false},
	"VGG-13 slim":      {func(o models.Options) (*models.Model, error) { return models.ImageNetVGG(2, 13, eighth(o)) }, false},
	"VGG-19 normed slim": {func(o models.Options) (*models.Model, error) {
		o.BatchNorm = true
		return models.ImageNetVGG(2, 19, eighth(o))
	}, false},
}

func eighth(o models.Options) models.Options {
	o.Width = 1. / 8
	return o
}

// logitsNear fails unless the logits of the model are those of torchvision, to 1e-9 in float64 and to 1e-4 in float32.
func logitsNear(t *testing.T, want []float64, m *models.Model, images []float32) {
	t.Helper()
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	got, err := p.Logits(images)
	require.NoError(t, err)
	tolerance := 1e-9
	if m.Spec().Dtype == tensor.Float32 {
		tolerance = 1e-4
	}
	assert.InDeltaSlice(t, want, got, tolerance)
	most := 0.0
	for i := range want {
		most = max(most, want[i]-got[i], got[i]-want[i])
	}
	t.Logf("%v: logits differ by at most %.1e", m.Spec().Dtype, most)
}

func readImageNet(t *testing.T) (all imageNet) {
	t.Helper()
	foreignInto(t, "testdata/imagenet.json", &all)
	require.Len(t, all.Nets, len(imageNets))
	return all
}

// images are those of imagenet.py.
func (n imageNet) images() []float32 {
	x, g := make([]float32, 2*3*n.Height*n.Width), lcg(2)
	for i := range x {
		x[i] = float32(g.next())
	}
	return x
}

// Logits are those of torchvision, whose state dicts are read as they are, and Export writes the same names and shapes.
func TestImageNet(t *testing.T) {
	all := readImageNet(t)
	for name, net := range imageNets {
		t.Run(name, func(t *testing.T) {
			if net.long && os.Getenv("KERNELFOLD_LONG") == "" {
				t.Skip("takes seconds and hundreds of megabytes: set KERNELFOLD_LONG=1")
			}
			if testing.Short() && name != "MobileNetV2 slim" && name != "ResNet-50 slim" {
				t.Skip("takes seconds under the race detector")
			}
			dict := all.stateDict(t, name)
			path := write(t, dict.values(), nil)
			for _, of := range precisions {
				m, err := net.build(models.Options{Shape: [3]int{3, all.Height, all.Width}, Classes: 10, Dtype: of, Seed: 5})
				require.NoError(t, err)
				require.NoError(t, Import(path, m, ImportOptions{}))
				logitsNear(t, all.Nets[name].Logits, m, all.images())
			}
			if net.long {
				return
			}
			m, err := net.build(models.Options{Shape: [3]int{3, all.Height, all.Width}, Classes: 10})
			require.NoError(t, err)
			exported := path + "-exported"
			require.NoError(t, Export(exported, m))
			ours := tensorsIn(t, exported)
			for _, i := range dict {
				if x, ok := ours[i.Name]; ok {
					assert.Equal(t, i.Shape, x.Shape, i.Name)
					delete(ours, i.Name)
				} else {
					assert.True(t, name == "VGG-19 normed slim" && strings.HasSuffix(i.Name, ".bias"), "%s is missing", i.Name)
				}
			}
			for name := range ours {
				assert.True(t, strings.HasSuffix(name, batchesName), "%s is left over", name)
			}
		})
	}
}

// timmNames returns the names of timm for a net of torchvision, by the layers of timm's source.
func timmNames(t *testing.T, net string) func(string) string {
	t.Helper()
	switch {
	case strings.HasPrefix(net, "VGG"):
		return strings.NewReplacer("classifier.0", "pre_logits.fc1", "classifier.3", "pre_logits.fc2", "classifier.6", "head.fc").Replace
	case strings.HasPrefix(net, "ResNet"):
		return func(name string) string { return name }
	}
	// MobileNetV2: a stem, stages of blocks, a head.
	pairs := []string{"features.0.0.", "conv_stem.", "features.0.1.", "bn1.", "features.18.0.", "conv_head.", "features.18.1.", "bn2.", "classifier.1.", "classifier."}
	block := 1
	for stage, blocks := range []int{1, 2, 3, 4, 3, 3, 1} {
		for i := range blocks {
			layers := []string{"conv.0.0.", "conv_pw.", "conv.0.1.", "bn1.", "conv.1.0.", "conv_dw.", "conv.1.1.", "bn2.", "conv.2.", "conv_pwl.", "conv.3.", "bn3."}
			if block == 1 { // depthwise separable
				layers = []string{"conv.0.0.", "conv_dw.", "conv.0.1.", "bn1.", "conv.1.", "conv_pw.", "conv.2.", "bn2."}
			}
			for j := 0; j < len(layers); j += 2 {
				pairs = append(pairs, fmt.Sprintf("features.%d.%s", block, layers[j]), fmt.Sprintf("blocks.%d.%d.%s", stage, i, layers[j+1]))
			}
			block++
		}
	}
	return strings.NewReplacer(pairs...).Replace
}

// Names of timm are recognised. The first two linear layers of its VGGs are convolutions.
func TestImageNetOfTimm(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds under the race detector")
	}
	all := readImageNet(t)
	for name, names := range map[string]Names{"MobileNetV2 slim": TimmMobileNetV2, "VGG-11 slim": TimmVGG, "VGG-19 normed slim": TimmVGG, "ResNet-50 slim": {}} {
		t.Run(name, func(t *testing.T) {
			dict := all.stateDict(t, name).values()
			if strings.HasPrefix(name, "VGG") {
				for layer, pixels := range map[string]int{"classifier.0.weight": 7, "classifier.3.weight": 1} {
					x := dict[layer]
					x.Shape = []int{x.Shape[0], x.Shape[1] / (pixels * pixels), pixels, pixels}
					dict[layer] = x
				}
			}
			path := write(t, dict, timmNames(t, name))
			for _, given := range []Names{nil, names} {
				m, err := imageNets[name].build(models.Options{Shape: [3]int{3, all.Height, all.Width}, Classes: 10, Dtype: tensor.Float64, Seed: 5})
				require.NoError(t, err)
				require.NoError(t, Import(path, m, ImportOptions{Names: given}))
				logitsNear(t, all.Nets[name].Logits, m, all.images())
			}
		})
	}
	// A convolution does not become a layer of another size.
	dict := all.stateDict(t, "VGG-11 slim").values()
	x := dict["classifier.0.weight"]
	x.Shape, x.F32 = []int{x.Shape[0], x.Shape[1] / 49, 7, 5}, x.F32[:len(x.F32)/49*35]
	dict["classifier.0.weight"] = x
	m, err := imageNets["VGG-11 slim"].build(models.Options{Shape: [3]int{3, 32, 32}, Classes: 10})
	require.NoError(t, err)
	refusesImport(t, write(t, dict, nil), m, ImportOptions{}, ErrMismatch, `tensor "classifier.0.weight": want shape [512 3136], got [512 64 7 5]`)
}

// A file that PyTorch has written of a net that it has trained: see testdata/imagenet.py.
func TestImageNetTrained(t *testing.T) {
	const path = "testdata/imagenet-slim.safetensors"
	run := tensorsIn(t, path)
	images, logits := run["images"], run["logits"]
	m, err := models.ImageNetResNet(2, 18, models.Options{Shape: [3]int(images.Shape[1:]), Classes: 10, Width: 1. / 32})
	require.NoError(t, err)
	require.NoError(t, Import(path, m, ImportOptions{Surplus: true}))
	logitsNear(t, widened(logits), m, images.F32)
	assert.EqualValues(t, 3, m.Buffers[0].Statistics.Batches)
	refusesImport(t, path, m, ImportOptions{}, ErrMismatch, `want no tensors "images", "logits", which the model does not have`)
	m, err = models.ImageNetResNet(2, 34, models.Options{Shape: [3]int(images.Shape[1:]), Classes: 10, Width: 1. / 32})
	require.NoError(t, err)
	refusesImport(t, path, m, ImportOptions{Surplus: true}, ErrMismatch, `want the tensors "layer1.2.conv1.weight"`)
}
