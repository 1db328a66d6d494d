// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/models"
)

// place describes how a learnable is stored in a file: under its own name, in the shape that PyTorch gives it.
//
//	learnable                 shape here        in the file
//	kernel of a convolution   (out, in, h, w)   (out, in, h, w)
//	weight of a linear layer  (in, out)         (out, in), transposed
//	bias                      (1, C, 1, 1)      (C)
//	bias                      (1, C)            (C)
//	weight of a normalisation (1, C, 1, 1)      (C)
//	weight of a normalisation (1, C)            (C)
//	anything else             as it is          as it is
//
// A layer is a normalisation if it has running statistics, or if weight and bias have
// the one shape (1, C, 1, 1).
//
// Running statistics are "LAYER.running_mean" and "LAYER.running_var", of shape (C), F64, and
// "LAYER.num_batches_tracked", a scalar, I64.
type place struct {
	shape      []int
	transposed bool
}

// The statistics of a layer.
const (
	meanName     = ".running_mean"
	varianceName = ".running_var"
	batchesName  = ".num_batches_tracked"
)

// places returns those of the learnables of a model.
func places(m models.State) []place {
	normalises := map[string]bool{}
	for _, b := range m.Buffers {
		if b.Statistics != nil || b.BatchNorm != nil {
			normalises[b.Name] = true
		}
	}
	shapes := map[string][]int{}
	for _, n := range m.Learnables {
		shapes[n.Name()] = n.Shape()
	}
	list := make([]place, len(m.Learnables))
	for i, n := range m.Learnables {
		shape := []int(n.Shape().Clone())
		layer, isWeight := strings.CutSuffix(n.Name(), ".weight")
		isNorm := isWeight && (normalises[layer] || len(shape) == 4 && slices.Equal(shape, shapes[layer+".bias"]))
		switch {
		case isPerChannel(shape) && (isNorm || strings.HasSuffix(n.Name(), ".bias")):
			list[i].shape = []int{shape[1]}
		case isWeight && len(shape) == 2:
			list[i] = place{[]int{shape[1], shape[0]}, true}
		default:
			list[i].shape = shape
		}
	}
	return list
}

// isPerChannel says whether the shape is (1, C) or (1, C, 1, 1).
func isPerChannel(shape []int) bool {
	switch len(shape) {
	case 2:
		return shape[0] == 1
	case 4:
		return shape[0] == 1 && shape[2] == 1 && shape[3] == 1
	}
	return false
}

// transpose returns the transpose of a matrix with the given number of columns.
func transpose[T any](a []T, cols int) []T {
	t := make([]T, 0, len(a))
	for j := range cols {
		for i := j; i < len(a); i += cols {
			t = append(t, a[i])
		}
	}
	return t
}
