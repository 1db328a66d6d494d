// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
	"github.com/kernelfold/kernelfold/nodes"
)

// lcg is the generator of testdata/foreign.py: draws are in [-1, 1).
type lcg uint32

func (g *lcg) next() float64 {
	*g = 1664525**g + 1013904223
	return float64(*g>>24)/128 - 1
}

// stateDict are the tensors of a module of PyTorch.
type stateDict []struct {
	Name  string
	Shape []int
}

// foreign is testdata/foreign.json.
type foreign struct {
	Nets map[string]struct {
		Side    int
		Tensors stateDict
		Logits  []float64
	}
	Layers map[string]struct {
		Tensors stateDict
		Map     OrthogonalMap
		Shape   []int
		Weight  []float64
	}
}

func foreignNets(t testing.TB) (f foreign) {
	t.Helper()
	foreignInto(t, "testdata/foreign.json", &f)
	return f
}

// foreignInto reads a file of testdata.
func foreignInto(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// values are the numbers that foreign.py fills the module with, as float32.
func (s stateDict) values() map[string]safetensors.Tensor {
	g, all := lcg(1), map[string]safetensors.Tensor{}
	for _, i := range s {
		t := safetensors.Tensor{Name: i.Name, Shape: i.Shape, F32: make([]float32, tensor.Shape(i.Shape).TotalSize())}
		kind := i.Name[strings.LastIndex(i.Name, ".")+1:]
		for k := range t.F32 {
			v := g.next()
			switch {
			case kind == "running_var":
				v = 1 + v/2
			case kind == "weight" && len(i.Shape) > 1:
				v *= math.Sqrt(3 / float64(len(t.F32)/i.Shape[0]))
			case kind == "weight", kind == "weight_g":
				v = 1 + v/4
			case kind == "original":
				rows, cols := i.Shape[len(i.Shape)-2], i.Shape[len(i.Shape)-1]
				if k%(rows*cols)/cols == k%cols {
					v *= 8
				}
			case kind == "bias", kind == "running_mean":
				v /= 2
			}
			t.F32[k] = float32(v)
		}
		all[i.Name] = t
	}
	return all
}

// write writes a file of tensors that are called as rename says, unless it is nil.
func write(t testing.TB, all map[string]safetensors.Tensor, rename func(string) string) string {
	t.Helper()
	c := content{}
	for _, x := range all {
		if rename != nil {
			x.Name = rename(x.Name)
		}
		c.tensors = append(c.tensors, x)
	}
	path := filepath.Join(t.TempDir(), "foreign.safetensors")
	require.NoError(t, disk.Replace(disk.OS{}, path, c.writePlain))
	return path
}

// sameLogits fails unless the model has the logits for two images, which are of the order of 1, to 1e-10 in float64, and in
// float32 to the rounding of sums of up to 4,608 products in up to 9 layers.
func sameLogits(t *testing.T, want []float64, m *models.Model) {
	t.Helper()
	images, g := make([]float32, 2*m.Input.Shape()[1:].TotalSize()), lcg(2)
	for i := range images {
		images[i] = float32(g.next())
	}
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	got, err := p.Logits(images)
	require.NoError(t, err)
	tolerance := 1e-10
	if m.Spec().Dtype == tensor.Float32 {
		tolerance = 2e-6
	}
	assert.InDeltaSlice(t, want, got, tolerance)
}

// resnet8 is the ResNet-8 of foreign.json.
func resnet8(t testing.TB, of tensor.Dtype, o models.Options) *models.Model {
	t.Helper()
	o.Shape, o.Classes, o.Dtype = [3]int{3, 8, 8}, 10, of
	m, err := models.ResNet(2, 8, o)
	require.NoError(t, err)
	return m
}

// refusesImport fails unless the import fails in that way and changes nothing.
func refusesImport(t *testing.T, path string, m *models.Model, o ImportOptions, kind error, contains ...string) {
	t.Helper()
	r := run{model: m}
	before := r.memory(t)
	err := Import(path, m, o)
	require.Error(t, err)
	assert.ErrorIs(t, err, kind)
	for _, c := range contains {
		assert.ErrorContains(t, err, c)
	}
	assert.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, r.memory(t))
}

// Shortcuts of akamaster/pytorch_resnet_cifar10 put zeros around. The file does not say it, so it has to be
// asked for, and a model with zeros elsewhere is refused.
func TestImportZeros(t *testing.T) {
	net := foreignNets(t).Nets["akamaster ResNet-8"]
	path := write(t, net.Tensors.values(), func(name string) string { return "module." + name })
	for _, of := range precisions {
		m := resnet8(t, of, models.Options{Zeros: models.ZerosAround})
		refusesImport(t, path, m, ImportOptions{}, ErrAmbiguous, "set ImportOptions.Zeros to models.ZerosAfter or models.ZerosAround")
		refusesImport(t, path, m, ImportOptions{Zeros: models.ZerosAfter}, ErrMismatch, "want channels of zeros around", `got them "after"`, "models.Options.Zeros")
		for _, names := range []Names{nil, Akamaster} {
			require.NoError(t, Import(path, m, ImportOptions{Names: names, Zeros: models.ZerosAround}))
			sameLogits(t, net.Logits, m)
		}
		other := resnet8(t, of, models.Options{})
		refusesImport(t, path, other, ImportOptions{}, ErrAmbiguous, "ImportOptions.Zeros")
		refusesImport(t, path, other, ImportOptions{Zeros: models.ZerosAround}, ErrMismatch, "want channels of zeros after", `got them "around"`)

		assert.ErrorContains(t, Import(path, m, ImportOptions{Zeros: "middle"}), `ImportOptions.Zeros: want one of ["after" "around"], got "middle"`)

		exported := filepath.Join(t.TempDir(), "exported")
		require.NoError(t, Export(exported, m))
		again := resnet8(t, of, models.Options{Zeros: models.ZerosAround})
		require.NoError(t, Import(exported, again, ImportOptions{}))
		sameLogits(t, net.Logits, again)
		refusesImport(t, exported, other, ImportOptions{}, ErrMismatch, "want channels of zeros after", `got them "around"`)
		refusesImport(t, exported, again, ImportOptions{Zeros: models.ZerosAfter}, ErrMismatch, `as ImportOptions.Zeros says, got them "around" in the file`)
	}
}

// One net under the names that repositories and wrappers give it.
func TestImportNames(t *testing.T) {
	net := foreignNets(t).Nets["kuangliu ResNet-8"]
	all := net.Tensors.values()
	m := resnet8(t, tensor.Float32, models.Options{Projections: true})
	torchvision := strings.NewReplacer("linear", "fc", "shortcut", "downsample").Replace
	same := func(name string) string { return name }
	for _, naming := range []struct {
		rename func(string) string
		names  []Names
	}{{same, []Names{nil, Kuangliu, Akamaster}}, {torchvision, []Names{nil, Torchvision, Timm}}} {
		for _, prefix := range []string{"", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module.", "module.model._orig_mod."} {
			path := write(t, all, func(name string) string { return prefix + naming.rename(name) })
			for _, names := range naming.names {
				require.NoError(t, Import(path, resnet8(t, tensor.Float32, models.Options{Projections: true, Seed: 3}), ImportOptions{Names: names}), prefix)
			}
		}
		require.NoError(t, Import(write(t, all, naming.rename), m, ImportOptions{}))
		sameLogits(t, net.Logits, m)
	}

	compiled := write(t, all, func(name string) string { return strings.Replace(name, "layer2.0.", "layer2._orig_mod.0.", 1) })
	require.NoError(t, Import(compiled, m, ImportOptions{}))
	for _, b := range m.Buffers {
		assert.Zero(t, b.Statistics.Batches, "there is no count in the file")
	}
	own := write(t, all, func(name string) string { return "net.trunk." + strings.Replace(name, "linear", "head", 1) })
	require.NoError(t, Import(own, m, ImportOptions{Names: Names{"net.trunk": "", "head": "fc"}}))
	sameLogits(t, net.Logits, m)

	refusesImport(t, own, m, ImportOptions{}, ErrMismatch, `want the tensors "conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight" and 43 more, got none of that name`,
		`does not have the tensors "net.trunk.bn1.bias", "net.trunk.bn1.running_mean", "net.trunk.bn1.running_var", "net.trunk.bn1.weight" and 43 more: see ImportOptions.Names`)
	wrapped := write(t, all, func(name string) string { return "module." + name })
	refusesImport(t, wrapped, m, ImportOptions{Names: Torchvision}, ErrMismatch,
		`want the tensors "fc.weight", "fc.bias", got none of that name under the prefix "module."; the model does not have the tensors "module.linear.bias", "module.linear.weight"`)

	twice := maps.Clone(all)
	for name, x := range all {
		x.Name = "model." + name
		all[name] = x
		x.Name = "module." + name
		twice[x.Name] = x
	}
	for name, x := range all {
		twice[name] = x
	}
	path := write(t, twice, nil)
	refusesImport(t, path, m, ImportOptions{}, ErrAmbiguous, `want the weights once, got them under "model." and "module.": see ImportOptions.Names`)
	refusesImport(t, path, m, ImportOptions{Names: Names{"module": "", "linear": "fc"}}, ErrMismatch, `want no tensors "model.`, "43 more, which the model does not have: see ImportOptions.Surplus")
	require.NoError(t, Import(path, m, ImportOptions{Names: Names{"module": "", "linear": "fc"}, Surplus: true}))
	refusesImport(t, path, m, ImportOptions{Names: Names{"module": "", "model": "", "linear": "fc"}}, ErrAmbiguous, `want one tensor "bn1.bias", got "model.bn1.bias" and "module.bn1.bias"`)
}

// Of a checkpoint the net alone is imported, as it would be of a file of weights; a damaged one is refused.
func TestImportCheckpoint(t *testing.T) {
	from := runOf(t, tensor.Float32, 1, onStiefel())
	from.steps(t, 2)
	path, plain := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "weights")
	from.save(t, path)
	require.NoError(t, Export(plain, from.model))
	for _, of := range precisions {
		want, got := runOf(t, of, 2, nil), runOf(t, of, 2, nil)
		require.NoError(t, Import(plain, want.model, ImportOptions{}))
		require.NoError(t, Import(path, got.model, ImportOptions{}))
		assert.Equal(t, want.memory(t), got.memory(t))
	}
	other := modelOf(t, spec(tensor.Float32, 2), tiny)
	refusesImport(t, path, other, ImportOptions{}, ErrMismatch, `the model does not have the tensors "model/bn1.bias", `)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o666))
	refusesImport(t, path, from.model, ImportOptions{}, ErrDamaged, "want the checksum")
}

// A net takes all but the last layer from a net of other classes.
func TestImportBody(t *testing.T) {
	from, err := models.ResNet(2, 8, models.Options{Shape: [3]int{3, 8, 8}, Classes: 7, Seed: 2})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "exported")
	require.NoError(t, Export(path, from))
	m := resnet8(t, tensor.Float32, models.Options{Seed: 1})
	refusesImport(t, path, m, ImportOptions{Surplus: true}, ErrMismatch, `tensor "fc.weight": want shape [10 64], got [7 64]`)

	to := &run{model: m}
	before, want := to.memory(t), (&run{model: from}).memory(t)
	body := models.State{Buffers: m.Buffers}
	for _, n := range m.Learnables {
		if layerOf(n.Name()) == "fc" {
			want.Weights[n.Name()] = before.Weights[n.Name()]
			continue
		}
		body.Learnables = append(body.Learnables, n)
	}
	require.NoError(t, Import(path, body, ImportOptions{Surplus: true}))
	assert.Equal(t, want, to.memory(t))
}

func TestRename(t *testing.T) {
	n := Names{"a": "b", "b": "a", "head.fc": "classifier", "net": "", "a.b": "c"}
	for from, want := range map[string]string{
		"a.weight": "b.weight", "b.a.weight": "a.b.weight", "a.b.weight": "c.weight", "ab.weight": "ab.weight",
		"net.head.fc.bias": "classifier.bias", "head.fcx.bias": "head.fcx.bias", "head.bias": "head.bias",
	} {
		assert.Equal(t, want, n.rename(from))
	}
	for _, names := range []struct {
		Names
		from, want string
	}{
		{Torchvision, "layer2.0.downsample.1.weight", "layer2.0.shortcut.1.weight"},
		{Timm, "head.fc.weight", "classifier.weight"}, {Timm, "layer2.0.downsample.0.weight", "layer2.0.shortcut.0.weight"},
		{Akamaster, "linear.bias", "fc.bias"}, {Kuangliu, "linear.weight", "fc.weight"},
	} {
		assert.Equal(t, names.want, names.rename(names.from))
		assert.Equal(t, names.want, wellKnown()[0].rename(names.from))
	}
}

func TestLayerOf(t *testing.T) {
	for name, want := range map[string]string{"w": "w", "fc.weight": "fc", "layer1.0.bn1.bias": "layer1.0.bn1", "a.b.parametrizations.weight.0.base": "a.b"} {
		assert.Equal(t, want, layerOf(name))
	}
}

// A running mean contains the bias of the convolution before it.
func TestImportBiasBeforeBatchNorm(t *testing.T) {
	net := foreignNets(t).Nets["torchvision VGG-11"]
	path := write(t, net.Tensors.values(), nil)
	timm := write(t, net.Tensors.values(), strings.NewReplacer("classifier", "head.fc").Replace)
	for _, of := range precisions {
		m, err := models.VGG(2, 11, models.Options{Shape: [3]int{3, 32, 32}, Classes: 10, Dtype: of, BatchNorm: true})
		require.NoError(t, err)
		require.NoError(t, Import(path, m, ImportOptions{}))
		sameLogits(t, net.Logits, m)
		if of == tensor.Float32 {
			require.NoError(t, Import(timm, m, ImportOptions{}))
			require.NoError(t, Import(timm, m, ImportOptions{Names: Timm}))
			refusesImport(t, timm, m, ImportOptions{Names: Kuangliu}, ErrMismatch, `the model does not have the tensors "head.fc.bias", "head.fc.weight"`)
		}
	}
}

// What cannot be folded into a mean is refused, whatever is surplus.
func TestImportRefusesBias(t *testing.T) {
	all := foreignNets(t).Nets["kuangliu ResNet-8"].Tensors.values()
	m := resnet8(t, tensor.Float32, models.Options{Projections: true})
	with := func(name string, shape ...int) map[string]safetensors.Tensor {
		more := maps.Clone(all)
		more[name] = safetensors.Tensor{Name: name, Shape: shape, F32: make([]float32, tensor.Shape(shape).TotalSize())}
		return more
	}
	surplus := ImportOptions{Surplus: true}
	require.NoError(t, Import(write(t, with("conv1.bias", 16), nil), m, surplus))
	refusesImport(t, write(t, with("conv1.bias", 8), nil), m, surplus, ErrMismatch, `tensor "conv1.bias": want shape [16], as of "bn1.running_mean", which contains it, got [8]`)
	nan := with("conv1.bias", 16)
	nan["conv1.bias"].F32[3] = float32(math.NaN())
	refusesImport(t, write(t, nan, nil), m, surplus, ErrMismatch, `tensor "conv1.bias": want finite numbers, got NaN at element 3`)

	require.NoError(t, Import(write(t, with("layer4.conv1.bias", 64), nil), m, surplus))
	refusesImport(t, write(t, with("layer4.conv1.bias", 64), nil), m, ImportOptions{}, ErrMismatch, `want no tensor "layer4.conv1.bias", which the model does not have: see ImportOptions.Surplus`)
	refusesImport(t, write(t, with("conv1.weight_mask", 16), nil), m, surplus, ErrMismatch, `want no tensor "conv1.weight_mask", because the model has the layer without it`)

	// Before a sum a bias has an effect of its own.
	pre := resnet8(t, tensor.Float32, models.Options{Projections: true, PreActivation: true})
	path := filepath.Join(t.TempDir(), "pre")
	require.NoError(t, Export(path, pre))
	preActivated := tensorsIn(t, path)
	for layer, fits := range map[string]bool{"layer2.0.conv1": true, "layer2.0.conv2": false, "layer2.0.shortcut.0": false, "conv1": false} {
		more := maps.Clone(preActivated)
		more["b"] = safetensors.Tensor{Name: layer + ".bias", Shape: []int{preActivated[layer+".weight"].Shape[0]}, F32: make([]float32, preActivated[layer+".weight"].Shape[0])}
		if path := write(t, more, nil); fits {
			require.NoError(t, Import(path, pre, surplus), layer)
		} else {
			refusesImport(t, path, pre, surplus, ErrMismatch, fmt.Sprintf(`want no tensor "%s.bias", because`, layer))
		}
	}
}

// layer is a net with one layer of weights of that shape, "layer".
func layer(t testing.TB, of tensor.Dtype, shape []int) *models.Model {
	t.Helper()
	if len(shape) == 4 {
		return modelOf(t, models.Spec{Batch: 1, Shape: [3]int{shape[1], 1, 1}, Classes: shape[0], Dtype: of},
			func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
				return b.Apply("flat", b.Conv("layer", x, shape[0], shape[2], 1, shape[2]/2), func(x *gorgonia.Node) (*gorgonia.Node, error) {
					return gorgonia.Reshape(x, tensor.Shape{1, shape[0]})
				})
			})
	}
	return modelOf(t, models.Spec{Batch: 1, Shape: [3]int{shape[1], 1, 1}, Classes: shape[0], Dtype: of},
		func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("layer", x, shape[0]) })
}

// Weights are what PyTorch computes of their parametrizations.
func TestImportParametrized(t *testing.T) {
	later := strings.NewReplacer("weight_g", "parametrizations.weight.original0", "weight_v", "parametrizations.weight.original1").Replace
	for name, l := range foreignNets(t).Layers {
		t.Run(name, func(t *testing.T) {
			for _, of := range precisions {
				for _, rename := range []func(string) string{func(s string) string { return "layer." + s }, func(s string) string { return "module.layer." + later(s) }} {
					path := write(t, l.Tensors.values(), rename)
					m := layer(t, of, l.Shape)
					if l.Map != "" {
						refusesImport(t, path, m, ImportOptions{}, ErrAmbiguous, "set ImportOptions.OrthogonalMap")
					}
					require.NoError(t, Import(path, m, ImportOptions{OrthogonalMap: l.Map}))
					path = filepath.Join(t.TempDir(), "exported")
					require.NoError(t, Export(path, m))
					got := tensorsIn(t, path)["layer.weight"]
					assert.Equal(t, l.Shape, got.Shape)
					// The weights of both precisions are those of a file in float32.
					for i, w := range l.Weight {
						assert.InDelta(t, w, widened(got)[i], 1e-6*math.Max(1, math.Abs(w)))
					}
				}
			}
		})
	}
}

// Gains and directions that are learnables of the model stay what they are.
func TestImportOwnWeightNorm(t *testing.T) {
	net := func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.Apply("conv", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			v, err := b.Weight("conv.weight_v", b.Spec().Kernels, 3, 2, 3, 3)
			if err != nil {
				return nil, err
			}
			g, err := b.Weight("conv.weight_g", b.Spec().Kernels, 3, 1, 1, 1)
			if err != nil {
				return nil, err
			}
			w, err := nodes.WeightNorm(v, g)
			if err != nil {
				return nil, err
			}
			return nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1})
		})
		return b.Linear("fc", b.GlobalAveragePool(x), 3)
	}
	m, again := &run{model: modelOf(t, spec(tensor.Float32, 1), net)}, &run{model: modelOf(t, spec(tensor.Float32, 2), net)}
	path := filepath.Join(t.TempDir(), "own")
	require.NoError(t, Export(path, m.model))
	require.NoError(t, Import(path, again.model, ImportOptions{}))
	assert.Equal(t, m.memory(t), again.memory(t))
}

// A parametrization that does not fit, or that is not known, is refused.
func TestImportRefusesParametrized(t *testing.T) {
	layers := foreignNets(t).Layers
	norm, orthogonal := layers["weight_norm 0 tall"], layers["householder with base tall"]
	m := layer(t, tensor.Float32, norm.Shape)
	refuse := func(of stateDict, edit func(map[string]safetensors.Tensor), o ImportOptions, want string) {
		t.Helper()
		all := of.values()
		edit(all)
		refusesImport(t, write(t, all, func(s string) string { return "layer." + s }), m, o, ErrMismatch, want)
	}
	set := func(name string, shape ...int) func(map[string]safetensors.Tensor) {
		return func(all map[string]safetensors.Tensor) {
			all[name] = safetensors.Tensor{Name: name, Shape: shape, F32: make([]float32, tensor.Shape(shape).TotalSize())}
		}
	}
	refuse(norm.Tensors, set("weight_g", 2, 1), ImportOptions{}, `tensor "layer.weight_g": want sizes of 1 or of "layer.weight_v", [7 3], got [2 1]`)
	refuse(norm.Tensors, set("weight_v", 7, 3), ImportOptions{}, `tensor "layer.weight_v": want directions of a finite norm above 0, got 0 for gain 0`)
	refuse(norm.Tensors, set("weight_v", 7, 4), ImportOptions{}, `tensor "layer.weight_v": want shape [7 3], got [7 4]`)
	refuse(norm.Tensors, set("weight", 7, 3), ImportOptions{}, `tensor "layer.weight": want it once, got it and its parametrization by the tensors "layer.weight_g", "layer.weight_v"`)
	refuse(norm.Tensors, func(all map[string]safetensors.Tensor) { delete(all, "weight_g") }, ImportOptions{}, `want the tensor "layer.weight", got none of that name; the model does not have the tensor "layer.weight_v"`)
	refuse(norm.Tensors, func(all map[string]safetensors.Tensor) { all["weight_g"].F32[2] = float32(math.Inf(1)) }, ImportOptions{}, `tensor "layer.weight_g": want finite numbers, got +Inf at element 2`)
	refuse(norm.Tensors, func(all map[string]safetensors.Tensor) {
		all["weight_g"] = safetensors.Tensor{Name: "weight_g", Shape: []int{7, 1}, I64: make([]int64, 7)}
	}, ImportOptions{}, `tensor "layer.weight_g": want floating-point numbers, got I64`)

	o := ImportOptions{OrthogonalMap: MapDefault}
	const x = "parametrizations.weight."
	refuse(orthogonal.Tensors, set(x+"0.base", 3, 3), o, `tensor "layer.parametrizations.weight.original": want a base of shape [7 7], got [3 3]`)
	refuse(orthogonal.Tensors, set(x+"1.scale", 1), o, `tensor "layer.weight": want a parametrization by weight_norm or orthogonal, got the tensors "layer.parametrizations.weight.0.base", "layer.parametrizations.weight.1.scale", "layer.parametrizations.weight.original"`)
	refuse(orthogonal.Tensors, func(all map[string]safetensors.Tensor) {
		delete(all, x+"0.base")
		set(x+"0._u", 7)(all)
		set(x+"0._v", 3)(all)
	}, o, "call torch.nn.utils.parametrize.remove_parametrizations before writing the file")
	for want, parts := range map[string][]string{
		`got the tensors "layer.weight_orig", "layer.weight_u", "layer.weight_v": call torch.nn.utils.remove_spectral_norm before`: {"weight_orig", "weight_u", "weight_v"},
		`got the tensors "layer.weight_mask", "layer.weight_orig": call torch.nn.utils.prune.remove before`:                        {"weight_orig", "weight_mask"},
	} {
		refuse(norm.Tensors, func(all map[string]safetensors.Tensor) {
			delete(all, "weight_g")
			delete(all, "weight_v")
			for _, name := range parts {
				set(name, 7, 3)(all)
			}
		}, ImportOptions{}, `tensor "layer.weight": want a parametrization by weight_norm or orthogonal, `+want)
	}
	err := Import("none", m, ImportOptions{OrthogonalMap: "exp"})
	assert.ErrorContains(t, err, `ImportOptions.OrthogonalMap: want one of ["default" "matrix_exp" "cayley" "householder"], got "exp"`)
	assert.False(t, errors.Is(err, os.ErrNotExist))
}

// FuzzImport: whatever tensors are called and however they are shaped, Import does not panic, and what it refuses changes
// nothing.
func FuzzImport(f *testing.F) {
	l := foreignNets(f).Layers["default with base tall"]
	for _, name := range []string{"layer.bias", "module.layer.weight", "layer.weight_g", "layer.weight_v", "layer.parametrizations.weight.1.x", "model.module._orig_mod.layer.bias",
		"layer.parametrizations.weight.original0", ".parametrizations..", "_g", "", "layer."} {
		f.Add(name, uint8(7), uint8(3), uint8(0))
	}
	f.Add("linear.bias", uint8(0), uint8(0), uint8(7))
	f.Fuzz(func(t *testing.T, name string, rows, cols, options uint8) {
		c, shape := content{}, []int{int(rows), int(cols)}[:options%3]
		values := l.Tensors.values()
		for _, i := range l.Tensors {
			x := values[i.Name]
			x.Name = "layer." + x.Name
			c.tensors = append(c.tensors, x)
		}
		drop := int(options/4) % (len(c.tensors) + 1)
		c.tensors = append(slices.Delete(c.tensors, 0, drop), safetensors.Tensor{Name: name, Shape: shape, F32: make([]float32, tensor.Shape(shape).TotalSize())})
		path := filepath.Join(t.TempDir(), "x")
		if disk.Replace(disk.OS{}, path, c.writePlain) != nil {
			return
		}
		r := run{model: layer(t, tensor.Float32, l.Shape)}
		before := r.memory(t)
		o := ImportOptions{Surplus: options&32 > 0, OrthogonalMap: l.Map}
		if options&64 > 0 {
			o.Names = Names{name: "layer"}
		}
		if err := Import(path, r.model, o); err != nil {
			require.Equal(t, before, r.memory(t))
		}
	})
}
