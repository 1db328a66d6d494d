// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// KernelOption is an option of the initialisers, and of the nodes that compute a kernel or a penalty from a kernel.
type KernelOption func(*kernelOptions)

type kernelOptions struct {
	transposed bool
	groups     int
}

// TransposedKernel declares that the kernel belongs to a ConvTranspose2d with the given number of groups, and has the shape (in,
// out/groups, height, width). Its filters, one for each channel of the result, are then those of the second axis of each group,
// with in/groups*height*width weights, as in manifolds.FilterBank.Transposed. A node cannot find this out by itself, because the convolution is made
// after it.
func TransposedKernel(groups int) KernelOption {
	return func(o *kernelOptions) { o.transposed, o.groups = true, groups }
}

// cut returns the grouping of the kernel.
func (o kernelOptions) cut(g manifolds.Grouping) manifolds.Grouping {
	if !o.transposed {
		return g
	}
	return g.Of(o.groups, true)
}

// check returns an error if a kernel of the shape cannot have the options.
func (o kernelOptions) check(shape tensor.Shape) error {
	switch {
	case !o.transposed:
		return nil
	case len(shape) != 4:
		return fmt.Errorf("want a kernel of shape (in, out/groups, height, width) for TransposedKernel, got shape %v", shape)
	case o.groups < 1 || shape[0]%o.groups != 0:
		return fmt.Errorf("want groups that divide %d channels for TransposedKernel, got %d", shape[0], o.groups)
	}
	return nil
}

// across describes where the filters of a transposed kernel lie: filter e of group q has runs of area weights, one for each channel of the group.
type across struct {
	groups, channels, filters, area int // channels and filters of a group; no groups for other kernels
}

// each calls f with the places of a run in the bank, whose rows are filters, and in the kernel.
func (a across) each(f func(inBank, inKernel int)) {
	for q := range a.groups {
		for c := range a.channels {
			for e := range a.filters {
				f(((q*a.filters+e)*a.channels+c)*a.area, ((q*a.channels+c)*a.filters+e)*a.area)
			}
		}
	}
}

// turned applies a body that expects the filters as the rows of a matrix to transposed kernels.
type turned[T vec.Float] struct {
	body body[T]
	lie  across
	maps bool // the value is a kernel too
}

// turn returns the bodies for kernels with the memory layout of the bank.
func turn(b bank, maps bool, f32 body[float32], f64 body[float64]) (body[float32], body[float64]) {
	if b.lie.groups == 0 {
		return f32, f64
	}
	return turned[float32]{f32, b.lie, maps}, turned[float64]{f64, b.lie, maps}
}

func (t turned[T]) toBank(kernel []T) []T {
	bank := scratch.Get[T](len(kernel))
	t.lie.each(func(to, from int) { copy(bank[to:to+t.lie.area], kernel[from:]) })
	return bank
}

func (t turned[T]) toKernel(kernel, bank []T) {
	t.lie.each(func(from, to int) { copy(kernel[to:to+t.lie.area], bank[from:]) })
}

// inputs returns the inputs of the body; the first is borrowed.
func (t turned[T]) inputs(in [][]T) [][]T {
	return append([][]T{t.toBank(in[0])}, in[1:]...)
}

func (t turned[T]) Forward(out []T, in [][]T) error {
	in = t.inputs(in)
	defer scratch.Put(in[0])
	if !t.maps {
		return t.body.Forward(out, in)
	}
	bank := scratch.Get[T](len(out))
	defer scratch.Put(bank)
	if err := t.body.Forward(bank, in); err != nil {
		return err
	}
	t.toKernel(out, bank)
	return nil
}

func (t turned[T]) Backward(dst []T, i int, in [][]T, out, grad []T) error {
	in = t.inputs(in)
	defer scratch.Put(in[0])
	if t.maps {
		out, grad = t.toBank(out), t.toBank(grad)
		defer scratch.Put(out)
		defer scratch.Put(grad)
	}
	if i > 0 {
		return t.body.Backward(dst, i, in, out, grad)
	}
	bank := scratch.Get[T](len(dst))
	defer scratch.Put(bank)
	if err := t.body.Backward(bank, i, in, out, grad); err != nil {
		return err
	}
	t.toKernel(dst, bank)
	return nil
}

// KernelInput returns that of the body.
func (t turned[T]) KernelInput() int {
	if m, ok := t.body.(KernelMap); ok {
		return m.KernelInput()
	}
	return -1
}

func (t turned[T]) state() any {
	if s, ok := t.body.(interface{ state() any }); ok {
		return s.state()
	}
	return nil
}
