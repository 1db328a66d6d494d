// SPDX-License-Identifier: Apache-2.0

package nodes

// Convolution is implemented by the operation of a node that convolves. A solver finds by
// it that a parameter is a kernel: solvers.Kernels constrains what a convolution takes
// as its filter. An operation of another package that has this method is treated
// like those of this one.
type Convolution interface {
	// FilterInput returns the number of the input that is convolved with, a kernel of shape
	// (out, in, height, width), counted from 0. It is negative if the operation is not
	// a convolution.
	FilterInput() int
}

// KernelMap is implemented by the operation of a node whose value is a kernel made of
// one of its inputs, as WeightNorm and Normalize make one. That input is a kernel if the value
// is, and the other inputs, such as the gain of WeightNorm, are not.
type KernelMap interface {
	// KernelInput returns the number of the input of which the kernel is made, counted from
	// 0. It is negative if the operation is not such a map.
	KernelInput() int
}

// FilterInput is that of the body, if it is a convolution, and else negative.
func (o *op) FilterInput() int {
	if c, ok := o.f64.(Convolution); ok {
		return c.FilterInput()
	}
	return -1
}

// KernelInput is that of the body, if it makes a kernel, and else negative.
func (o *op) KernelInput() int {
	if m, ok := o.f64.(KernelMap); ok {
		return m.KernelInput()
	}
	return -1
}

func (conv[T]) FilterInput() int { return 1 }

func (normalize[T]) KernelInput() int      { return 0 }
func (filterNorm[T]) KernelInput() int     { return 0 }
func (newtonSchulz[T]) KernelInput() int   { return 0 }
func (trivialization[T]) KernelInput() int { return 0 }
func (spectral[T]) KernelInput() int       { return 0 }

var (
	_ Convolution = (*op)(nil)
	_ KernelMap   = (*op)(nil)
)
