// SPDX-License-Identifier: Apache-2.0

// Package safetensors reads and writes safetensors files, the format in which PyTorch
// and other tools exchange weights:
//
//	8 bytes   the length n of the header, little-endian
//	n bytes   the header, a JSON object:
//	          {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
//	           "__metadata__": {"KEY": "VALUE", ...}}
//	the rest  the data: row-major, little-endian, one tensor after the other
//
// Write makes a file:
//
//	err := safetensors.Write(w, []safetensors.Tensor{{Name: "w", Shape: []int{2}, F32: []float32{1, 2}}}, nil)
//
// and NewReader opens one, from any io.ReaderAt:
//
//	r, err := safetensors.NewReader(f, size)
//	w, err := r.Read("w")
//
// Files are not trusted. A reader accepts the headers that the reference implementation, in Rust, accepts, if
// every name occurs once and each tensor is described by an object: the tensors cover the data without
// overlaps or gaps, and shapes agree with lengths. Memory use is bounded by the size of the file: a tensor is
// allocated when it is read, after checking that it lies within the file.
//
// The format: https://github.com/huggingface/safetensors#format.
package safetensors

import (
	"errors"
	"fmt"
	mathbits "math/bits"
)

// MaxHeader is the largest length of a header, in bytes, that the format allows.
const MaxHeader = 100_000_000

// metadataKey is the name of the metadata, which no tensor can have.
const metadataKey = "__metadata__"

// ErrType is wrapped by the error of Read for a type that it does not support.
var ErrType = errors.New("not a type to read")

// ErrFormat is wrapped by every error for a file that is not of the format, or not whole.
var ErrFormat = errors.New("not a whole safetensors file")

// DType is the type of the elements of a tensor, by its name in files.
type DType string

// The types that Read supports. F16 and BF16 are widened to float32; Write supports the others.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
)

// bits holds the sizes of the elements of all types of the format, also of those that Read does not support.
var bits = map[DType]uint64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, F16: 16, BF16: 16,
	"I32": 32, "U32": 32, F32: 32,
	"C64": 64, F64: 64, I64: 64, "U64": 64,
}

// Tensor is a named tensor in row-major order. One of F32, F64 and I64 holds its elements;
// of a tensor without elements that one is empty and not nil.
type Tensor struct {
	Name  string
	Shape []int // empty for a scalar
	F32   []float32
	F64   []float64
	I64   []int64
}

// DType returns the type of the elements, or "" unless exactly one slice is set.
func (t Tensor) DType() DType {
	switch {
	case t.F32 != nil && t.F64 == nil && t.I64 == nil:
		return F32
	case t.F32 == nil && t.F64 != nil && t.I64 == nil:
		return F64
	case t.F32 == nil && t.F64 == nil && t.I64 != nil:
		return I64
	}
	return ""
}

// Len returns the number of elements.
func (t Tensor) Len() int { return len(t.F32) + len(t.F64) + len(t.I64) }

// Info is the description of a tensor in a header.
type Info struct {
	Name  string
	DType DType
	Shape []int

	begin, end int64 // in the data
}

// Len returns the number of elements.
func (i Info) Len() int {
	n := 1
	for _, s := range i.Shape {
		n *= s
	}
	return n
}

// bytesOf returns the number of bytes of a tensor. Sizes are multiplied in their order, as in the
// reference: what overflows there is an error also if a later size is 0.
func bytesOf(d DType, shape []int) (int64, error) {
	width, ok := bits[d]
	if !ok {
		return 0, fmt.Errorf("want a type of the format, got %q", string(d))
	}
	n, overflow := uint64(1), false
	times := func(by uint64) {
		high, low := mathbits.Mul64(n, by)
		n, overflow = low, overflow || high > 0
	}
	for _, s := range shape {
		if s < 0 {
			return 0, fmt.Errorf("want sizes of 0 at least, got shape %v", shape)
		}
		times(uint64(s))
	}
	if times(width); overflow {
		return 0, fmt.Errorf("want fewer than 2^64 bits, got %s of shape %v", d, shape)
	}
	if n%8 != 0 {
		return 0, fmt.Errorf("want whole bytes, got %d bits for %s of shape %v", n, d, shape)
	}
	return int64(n / 8), nil
}
