// SPDX-License-Identifier: Apache-2.0

package nodes

import "github.com/kernelfold/kernelfold/manifolds"

// Convolution is implemented by the operation of a node that computes a convolution. Solvers use it
// to find out which parameters are kernels: solvers.Kernels constrains the filter input of
// convolutions. An operation of another package that has this method is treated like those of this
// package.
type Convolution interface {
	// FilterInput returns the index, from 0, of the input that is the kernel, of shape
	// (out, in, height, width) unless the operation is a GroupedConvolution that says otherwise. It is
	// negative if the operation is not a convolution.
	FilterInput() int
}

// GroupedConvolution is implemented by the operation of a Convolution in groups, or of a transposed one.
// Solvers use it to find out which weights of a kernel are a filter: see manifolds.Grouping.
type GroupedConvolution interface {
	Convolution
	// FilterGroups returns the number of groups, at least 1, and whether the convolution is transposed: the
	// kernel then has shape (in, out/groups, height, width), and otherwise (out, in/groups, height, width).
	FilterGroups() (groups int, transposed bool)
}

// KernelMap is implemented by the operation of a node that maps a kernel to a kernel, such as
// WeightNorm or Normalize. If the value of the node is used as a kernel, its kernel input is a
// kernel too, and its other inputs, such as the gain of WeightNorm, are not.
type KernelMap interface {
	// KernelInput returns the index, from 0, of the input that is the kernel. It is negative if the
	// operation is not such a map.
	KernelInput() int
}

// PointInputs is implemented by the operation of a node some of whose inputs must lie on manifolds, such as
// OrthogonalConvKernel. The option solvers.Natural constrains parameters that are such inputs. An operation of another
// package that has this method is treated like those of this package.
type PointInputs interface {
	// PointInput returns the constraint of the parameter that is input i, or false if any values will do.
	PointInput(i int) (manifolds.Constraint, bool)
}

// FilterInput returns that of the body, or -1 if the body is not a Convolution.
func (o *op) FilterInput() int {
	if c, ok := o.f64.(Convolution); ok {
		return c.FilterInput()
	}
	return -1
}

// KernelInput returns that of the body, or -1 if the body is not a KernelMap.
func (o *op) KernelInput() int {
	if m, ok := o.f64.(KernelMap); ok {
		return m.KernelInput()
	}
	return -1
}

// FilterGroups returns that of the body, and otherwise that of an ordinary convolution.
func (o *op) FilterGroups() (groups int, transposed bool) {
	if c, ok := o.f64.(GroupedConvolution); ok {
		return c.FilterGroups()
	}
	return 1, false
}

// PointInput returns that of the body, or false if the body has no PointInputs.
func (o *op) PointInput(i int) (manifolds.Constraint, bool) {
	if p, ok := o.f64.(PointInputs); ok {
		return p.PointInput(i)
	}
	return manifolds.Constraint{}, false
}

func (conv[T]) FilterInput() int       { return 1 }
func (transposed[T]) FilterInput() int { return 1 }

func (c conv[T]) FilterGroups() (groups int, transposed bool) { return c.groups, false }

func (t transposed[T]) FilterGroups() (groups int, transposed bool) {
	groups, _ = t.of.FilterGroups()
	return groups, true
}

func (normalize[T]) KernelInput() int      { return 0 }
func (filterNorm[T]) KernelInput() int     { return 0 }
func (newtonSchulz[T]) KernelInput() int   { return 0 }
func (trivialization[T]) KernelInput() int { return 0 }
func (spectral[T]) KernelInput() int       { return 0 }
func (convNorm[T]) KernelInput() int       { return 0 }
func (rescale[T]) KernelInput() int        { return 0 }

var (
	_ GroupedConvolution = (*op)(nil)
	_ KernelMap          = (*op)(nil)
	_ PointInputs        = (*op)(nil)
)
