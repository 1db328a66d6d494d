// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// bank views a kernel as its filter bank: the matrix whose row i holds the in*height*width weights
// of filter i, in either memory layout of a kernel.
type bank struct {
	d, f   int // number of filters, weights per filter
	rs, cs int // element (i, j) is weight i*rs + j*cs
	lie    across
}

// admitKernel checks the inputs as admit does, and that the first is a kernel of shape
// (out, in, height, width), or (in, out) for a fully connected layer, or what the options say. The bank of a transposed kernel is that of
// a turned body.
func admitKernel(name string, opts []KernelOption, ranks []int, in ...*gorgonia.Node) ([]tensor.Shape, bank, error) {
	var o kernelOptions
	if err := setOptions(name, &o, opts); err != nil {
		return nil, bank{}, err
	}
	shapes, err := admit(name, ranks, in...)
	if err != nil {
		return nil, bank{}, err
	}
	if r := shapes[0].Dims(); r != 4 && r != 2 {
		return nil, bank{}, fmt.Errorf("%s: input 0, %s: want a kernel of shape (out, in, height, width) or (in, out), got shape %v",
			name, in[0].Name(), shapes[0])
	}
	if err := o.check(shapes[0]); err != nil {
		return nil, bank{}, fmt.Errorf("%s: input 0, %s: %w", name, in[0].Name(), err)
	}
	if o.transposed {
		k := shapes[0]
		lie := across{o.groups, k[0] / o.groups, k[1], k[2] * k[3]}
		return shapes, bank{k[1] * o.groups, lie.channels * lie.area, lie.channels * lie.area, 1, lie}, nil
	}
	l, err := manifolds.FilterBank.Layout(shapes[0])
	if err != nil {
		return nil, bank{}, fmt.Errorf("%s: input 0, %s: %w", name, in[0].Name(), err)
	}
	return shapes, bank{l.N, l.P, l.StrideN, l.StrideP, across{}}, nil
}

// matrixOf views the data of a kernel as its filter bank.
func matrixOf[T vec.Float](b bank, data []T) gemm.Mat[T] {
	return gemm.Mat[T]{Data: data, R: b.d, C: b.f, RS: b.rs, CS: b.cs}
}

// read copies filter i to dst.
func read[T vec.Float](dst []float64, b bank, data []T, i int) {
	at := i * b.rs
	for j := range dst {
		dst[j] = float64(data[at])
		at += b.cs
	}
}

// write copies src to filter i.
func write[T vec.Float](data []T, b bank, i int, src []float64) {
	at := i * b.rs
	for _, v := range src {
		data[at] = T(v)
		at += b.cs
	}
}

// leafValue returns the value that an input already has when the graph is built, or false if it has
// none or is the result of an operation.
func leafValue(n *gorgonia.Node) (dense.View, bool) {
	if n.Op() != nil || n.Value() == nil {
		return dense.View{}, false
	}
	v, err := dense.Of(n.Value())
	return v, err == nil
}

// computeEarly computes a node when the graph is built, if its inputs already have values, so that
// an error about these values comes as early as possible.
func computeEarly(s signature, f32 body[float32], f64 body[float64], in ...*gorgonia.Node) error {
	a := arguments(len(in))
	defer a.back()
	for i, n := range in {
		v, ok := leafValue(n)
		if !ok || v.Len() != s.in[i].TotalSize() {
			return nil
		}
		a.set(i, v)
	}
	var err error
	if size := s.out.TotalSize(); a.views[0].F64 != nil {
		err = f64.Forward(make([]float64, size), a.f64)
	} else {
		err = f32.Forward(make([]float32, size), a.f32)
	}
	if err != nil {
		return fmt.Errorf("%s: the value of %s: %w", s.name, in[0].Name(), err)
	}
	return nil
}
