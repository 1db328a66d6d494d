// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// Names maps names of layers in a file to those of a model. A name is one component of the name of a
// tensor, or several: {"head.fc": "classifier"} makes "head.fc.weight" "classifier.weight". The longest
// matching name is used, and the empty name removes the component: {"backbone": ""} makes
// "backbone.conv1.weight" "conv1.weight".
type Names map[string]string

// The names of well-known repositories where they differ from those of package models.
var (
	// Torchvision is for ResNets with the blocks of torchvision, as models.ResNet with Projections. Its VGGs
	// and its nets for ImageNet have the same names as here.
	Torchvision = Names{"downsample": "shortcut"}
	// Timm is for ResNets and VGGs of timm (pytorch-image-models), as models.ResNet with Projections and models.VGG. Names of
	// its ResNets for ImageNet are the same as here.
	Timm = Names{"downsample": "shortcut", "head.fc": "classifier"}
	// TimmVGG is for the VGGs of timm with their classifier, as models.ImageNetVGG.
	TimmVGG = Names{"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
	// TimmMobileNetV2 is for mobilenetv2_100 and other widths of timm, as models.MobileNetV2.
	TimmMobileNetV2 = timmMobileNetV2()
	// Akamaster is for the ResNets of akamaster/pytorch_resnet_cifar10. See ImportOptions.Zeros.
	Akamaster = Names{"linear": "fc"}
	// Kuangliu is for the ResNets of kuangliu/pytorch-cifar. Names of its VGGs are the same as here.
	Kuangliu = Names{"linear": "fc"}
)

// timmMobileNetV2 numbers blocks consecutively, as torchvision does.
func timmMobileNetV2() Names {
	all := Names{
		"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "features.18.0", "bn2": "features.18.1", "classifier": "classifier.1",
		"blocks.0.0.conv_dw": "features.1.conv.0.0", "blocks.0.0.bn1": "features.1.conv.0.1",
		"blocks.0.0.conv_pw": "features.1.conv.1", "blocks.0.0.bn2": "features.1.conv.2",
	}
	n := 2
	for stage, blocks := range []int{0, 2, 3, 4, 3, 3, 1} {
		for i := range blocks {
			from, to := fmt.Sprintf("blocks.%d.%d.", stage, i), fmt.Sprintf("features.%d.conv.", n)
			for layer, ours := range map[string]string{"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"} {
				all[from+layer] = to + ours
			}
			n++
		}
	}
	return all
}

// wellKnown returns the names that Import tries: all names that do not contradict each other together, and each of the others with them.
func wellKnown() []Names {
	all := Names{}
	for _, n := range []Names{Torchvision, Timm, Akamaster, Kuangliu} {
		maps.Copy(all, n)
	}
	known := []Names{all}
	for _, n := range []Names{TimmVGG, TimmMobileNetV2} {
		one := maps.Clone(all)
		maps.Copy(one, n)
		known = append(known, one)
	}
	return known
}

// rename returns the name of a tensor in the model.
func (n Names) rename(name string) string {
	longest := 1
	for from := range n {
		longest = max(longest, 1+strings.Count(from, "."))
	}
	var renamed []string
	for rest := strings.Split(name, "."); len(rest) > 0; {
		k, part := 1, rest[0]
		for i := min(longest, len(rest)); i > 0; i-- {
			if to, ok := n[strings.Join(rest[:i], ".")]; ok {
				k, part = i, to
				break
			}
		}
		if part != "" {
			renamed = append(renamed, part)
		}
		rest = rest[k:]
	}
	return strings.Join(renamed, ".")
}

// wanted lists what a model reads from a file.
type wanted struct {
	names  []string            // of the tensors, in order
	has    map[string]bool     // the same
	layers map[string]bool     // that the tensors belong to
	biases map[string][]string // running means that contain the bias of a convolution, which the model does not have
}

func wantedOf(m models.State) wanted {
	w := wanted{has: map[string]bool{}, layers: map[string]bool{}, biases: map[string][]string{}}
	add := func(name string) {
		w.names = append(w.names, name)
		w.has[name] = true
		w.layers[layerOf(name)] = true
	}
	for _, n := range m.Learnables {
		add(n.Name())
	}
	for _, b := range m.Buffers {
		if b.Running() != nil {
			add(b.Name + meanName)
			add(b.Name + varianceName)
			add(b.Name + batchesName)
		}
	}
	var r roles.Reader
	for _, n := range m.Learnables {
		if bias, means := w.absorbed(&r, n); len(means) > 0 {
			w.biases[bias] = means
		}
	}
	return w
}

// absorbed returns the bias that a convolution with that kernel does not have in the model, and the running
// means that contain it in a net where it has. There are none unless batch normalisations alone use the
// result of the convolution.
func (w wanted) absorbed(r *roles.Reader, kernel *gorgonia.Node) (bias string, means []string) {
	layer, ok := strings.CutSuffix(kernel.Name(), ".weight")
	bias = layer + ".bias"
	if !ok || w.has[bias] || kernel.Graph() == nil {
		return "", nil
	}
	scales, only := r.Graph(kernel.Graph()).Normalised(kernel)
	for _, s := range scales {
		mean := strings.TrimSuffix(s.Name(), ".weight") + meanName
		only = only && w.has[mean]
		means = append(means, mean)
	}
	if !only {
		return "", nil
	}
	return bias, means
}

// layerOf returns the name of the layer that a tensor belongs to.
func layerOf(name string) string {
	if layer, _, ok := strings.Cut(name, parametrizations); ok {
		return layer
	}
	if i := strings.LastIndex(name, "."); i >= 0 {
		return name[:i]
	}
	return name
}

// takes reports whether a tensor of that name is used.
func (w wanted) takes(name string) bool { return w.has[name] || w.biases[name] != nil }

// translation is an interpretation of the names of a file.
type translation struct {
	prefix  string            // left out
	sources map[string]source // by the names of the model
	missing []string          // names of the model
	left    []string          // names in the file that the model does not have
	partial []string          // those of layers that the model has
}

// translate gives the tensors of f the names of the model.
func (f *reading) translate(m models.State, o ImportOptions) error {
	all, net := map[string]source{}, "" // the beginning of the names of the net
	if f.isCheckpoint() {
		net = modelPrefix
	}
	for _, i := range f.Tensors() {
		name, ok := strings.CutPrefix(i.Name, net)
		if !ok {
			continue
		}
		name = strings.ReplaceAll(name, "_orig_mod.", "") // of compiled modules, at any place
		if s, ok := all[name]; ok {
			return fmt.Errorf("want one tensor %q, got %q and %q (%w)", name, s.name, i.Name, ErrMismatch)
		}
		all[name] = f.sourceOf(i)
	}
	w := wantedOf(m)
	var best *translation
	candidates := []Names{o.Names}
	if o.Names == nil {
		candidates = wellKnown()
	}
	for _, prefix := range prefixes(all) {
		for _, names := range candidates {
			t, err := w.translation(all, prefix, names, o)
			switch {
			case err != nil:
				return err
			case best == nil, len(t.missing) < len(best.missing):
				best = t
			case len(t.missing) == 0 && best.prefix != "" && best.prefix != prefix:
				return fmt.Errorf("want the weights once, got them under %q and %q: see ImportOptions.Names (%w)", best.prefix, prefix, ErrAmbiguous)
			}
		}
	}
	if err := best.check(o.Surplus); err != nil {
		return err
	}
	flattenKernels(best.sources, m)
	w.complete(best.sources)
	f.translated = best.sources
	return nil
}

// prefixes returns the prefixes that up to four wrappers may have added to the names, the shortest first.
func prefixes(all map[string]source) []string {
	found := map[string]bool{"": true}
	for name := range all {
		prefix := ""
		for range 4 {
			for _, p := range []string{"module.", "model."} {
				if strings.HasPrefix(name[len(prefix):], p) {
					prefix += p
					found[prefix] = true
					break
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
}

// translation interprets the names after a prefix. Without ImportOptions.Names it keeps the names of layers
// that the model has, and tries well-known names for the others.
func (w wanted) translation(all map[string]source, prefix string, names Names, o ImportOptions) (*translation, error) {
	t := &translation{prefix: prefix, sources: map[string]source{}}
	named, detect := map[string]source{}, o.Names == nil
	var others []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch rest, ok := strings.CutPrefix(name, prefix); {
		case !ok:
			t.left = append(t.left, all[name].name)
		case detect && w.layers[layerOf(rest)]:
			named[rest] = all[name]
		default:
			others = append(others, rest)
		}
	}
	for _, rest := range others {
		s, ours := all[prefix+rest], names.rename(rest)
		switch one, twice := named[ours]; {
		case !twice:
			named[ours] = s
		case detect:
			t.left = append(t.left, s.name)
		default:
			return nil, fmt.Errorf("want one tensor %q, got %q and %q: see ImportOptions.Names (%w)", ours, one.name, s.name, ErrAmbiguous)
		}
	}
	fold(named, w.has, o.OrthogonalMap)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if w.takes(name) {
			t.sources[name] = named[name]
			continue
		}
		t.left = append(t.left, named[name].name)
		if w.layers[layerOf(name)] {
			t.partial = append(t.partial, named[name].name)
		}
	}
	for _, name := range w.names {
		if _, ok := t.sources[name]; !ok && !strings.HasSuffix(name, batchesName) {
			t.missing = append(t.missing, name)
		}
	}
	return t, nil
}

// check returns an error if tensors are missing or left over.
func (t *translation) check(surplus bool) error {
	under := ""
	if t.prefix != "" {
		under = fmt.Sprintf(" under the prefix %q", t.prefix)
	}
	switch {
	case len(t.missing) > 0 && len(t.left) > 0:
		return fmt.Errorf("want the %s, got none of that name%s; the model does not have the %s: see ImportOptions.Names (%w)",
			tensors(t.missing), under, tensors(t.left), ErrMismatch)
	case len(t.missing) > 0:
		return fmt.Errorf("want the %s, got none of that name%s (%w)", tensors(t.missing), under, ErrMismatch)
	case len(t.partial) > 0:
		return fmt.Errorf("want no %s, because the model has the layer without it (%w)", tensors(t.partial), ErrMismatch)
	case len(t.left) > 0 && !surplus:
		return fmt.Errorf("want no %s, which the model does not have: see ImportOptions.Surplus (%w)", tensors(t.left), ErrMismatch)
	}
	return nil
}

// tensors lists a handful of names.
func tensors(names []string) string {
	const most = 4
	list := make([]string, min(most, len(names)))
	for i := range list {
		list[i] = strconv.Quote(names[i])
	}
	s := strings.Join(list, ", ")
	if len(names) > most {
		s = fmt.Sprintf("%s and %d more", s, len(names)-most)
	}
	if len(names) == 1 {
		return "tensor " + s
	}
	return "tensors " + s
}

// complete adds missing counts of batches, and subtracts absorbed biases from running means.
func (w wanted) complete(sources map[string]source) {
	for _, name := range w.names {
		if _, ok := sources[name]; !ok { // a count of batches, from before PyTorch had it
			sources[name] = source{name: name, read: func() (safetensors.Tensor, error) { return safetensors.Tensor{Name: name, I64: []int64{0}}, nil }}
		}
	}
	for bias, means := range w.biases {
		if b, ok := sources[bias]; ok {
			for _, name := range means {
				sources[name] = difference(sources[name], b)
			}
		}
	}
}

// flattenKernels turns the kernels of convolutions that see a whole image into matrices, (out, in, h, w) into
// (out, in h w), where the model has a linear layer: the classifier of timm's VGG has such convolutions.
func flattenKernels(sources map[string]source, m models.State) {
	for i, p := range places(m) {
		name := m.Learnables[i].Name()
		s, ok := sources[name]
		if !ok || !p.transposed || s.err != nil || len(s.shape) != 4 || s.shape[0] != p.shape[0] || s.shape[1]*s.shape[2]*s.shape[3] != p.shape[1] {
			continue
		}
		read := s.read
		s.shape = p.shape
		s.read = func() (safetensors.Tensor, error) {
			t, err := read()
			t.Shape = p.shape
			return t, err
		}
		sources[name] = s
	}
}
