// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// ErrAmbiguous is wrapped by the error of Import if the meaning of the weights depends on something that the
// file does not state. The error names the field of ImportOptions that states it.
var ErrAmbiguous = errors.New("ambiguous")

// ImportOptions supply what a file does not state.
type ImportOptions struct {
	// Surplus allows layers in the file that the model does not have. A surplus tensor of a layer that the
	// model has, such as a bias, is still an error, because the results of the layer depend on it.
	Surplus bool
	// Names maps the names of layers in the file to those of the model. If it is nil, the names of the model
	// are recognised, and those of Torchvision, Timm, TimmVGG, TimmMobileNetV2, Akamaster and Kuangliu.
	Names Names
	// Zeros determines where shortcuts without weights put channels of zeros in the net that the file is
	// from: models.ZerosAround for akamaster/pytorch_resnet_cifar10. It must be set for a model with
	// such shortcuts, unless the file is from Export, and the model must agree.
	Zeros models.Zeros
	// OrthogonalMap is the orthogonal_map of torch.nn.utils.parametrizations.orthogonal in the file.
	// It must be set for a file with such weights.
	OrthogonalMap OrthogonalMap
}

func (o ImportOptions) check() error {
	if known := []models.Zeros{models.ZerosAfter, models.ZerosAround}; o.Zeros != "" && !slices.Contains(known, o.Zeros) {
		return fmt.Errorf("ImportOptions.Zeros: want one of %q, got %q", known, o.Zeros)
	}
	return o.OrthogonalMap.check()
}

// Import reads weights and statistics from a safetensors file that was written from the
// state_dict of a PyTorch module, or by Export or Save, into a model of the same layers. F16, BF16
// and F32 are read into float32 and float64, F64 only into float64. Of a checkpoint it reads the net alone.
//
// The prefixes "module.", "_orig_mod." and "model.", which PyTorch's wrappers put before all names, are
// left out; other names of layers are translated by ImportOptions.Names. Parametrized weights are computed from the
// parameters in the file: see OrthogonalMap for orthogonal ones; weight_norm, in both of its forms, is w = g v/|v|.
// If a convolution has a bias in the file but not in the model, because a batch normalisation follows, the bias is
// subtracted from the running mean, which contains it. A missing count of batches is 0. The kernels of a
// convolution whose result has one pixel, which timm uses in place of the linear layers of VGG, are read as the
// weight of a linear layer.
//
// A tensor that is missing, that the model does not have, that has another shape, or NaN or Inf in it, is an error that names it and
// wraps ErrMismatch. After any error the model is as before.
func Import(path string, m Stateful, o ImportOptions) error {
	if err := importFrom(path, m, o); err != nil {
		return fmt.Errorf("checkpoint: import %s: %w", path, err)
	}
	return nil
}

func importFrom(path string, of Stateful, o ImportOptions) error {
	m, err := stateOf(of)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.isCheckpoint() {
		if err := f.verify(); err != nil {
			return err
		}
	}
	if err := f.translate(m, o); err != nil {
		return err
	}
	all, err := f.weights(m, "", true, map[string]bool{})
	if err != nil {
		return err
	}
	if err := f.agreedZeros(m, o.Zeros); err != nil {
		return err
	}
	all.exchange()
	return nil
}

// source is the origin of a tensor: the file, or a computation from tensors of the file.
type source struct {
	name  string // in the file
	shape []int
	read  func() (safetensors.Tensor, error)
	err   error // why there is none, or nil
}

// source returns the source of the tensor of a name.
func (f *reading) source(name string) (source, bool) {
	if f.translated != nil {
		s, ok := f.translated[name]
		return s, ok
	}
	i, ok := f.Info(name)
	return f.sourceOf(i), ok
}

func (f *reading) sourceOf(i safetensors.Info) source {
	return source{name: i.Name, shape: i.Shape, read: func() (safetensors.Tensor, error) { return f.Read(i.Name) }}
}
