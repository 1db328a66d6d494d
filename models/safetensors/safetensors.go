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
// Files are not trusted. A reader accepts what the format says and nothing else: the data
// are covered by the tensors without overlap or hole, every name occurs once, the shape
// agrees with the length. The size of a file bounds what is allocated for it: a tensor is
// allocated when it is read, after it is known to lie within the file.
//
// The format: https://github.com/huggingface/safetensors#format.
package safetensors

import (
	"errors"
	"fmt"
	"math"
)

// Limits of a header.
const (
	// MaxHeader is the greatest length of a header, in bytes, that the format allows.
	MaxHeader = 100_000_000
	// MaxRank is the greatest number of axes of a tensor.
	MaxRank = 32
)

// metadataKey is the name that is not a tensor's.
const metadataKey = "__metadata__"

// ErrType is in the chain of the error of Read for a type that it does not take.
var ErrType = errors.New("not a type to read")

// ErrFormat is in the chain of every error of a file that is not of the format, or not
// whole.
var ErrFormat = errors.New("not a whole safetensors file")

// DType is the type of the elements of a tensor, by its name in files.
type DType string

// The types that Read takes. F16 and BF16 are widened to float32; the others are written too.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
)

// sizes are the bytes of an element, of the types that Read takes and of those that may lie
// beside them in a file.
var sizes = map[DType]int64{
	F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8,
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
	"I16": 2, "U16": 2, "I32": 4, "U32": 4, "U64": 8, "C64": 8,
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

// DType returns the type of the elements, or "" if not just one slice is set.
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

// Info is what a header says of a tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int

	begin, end int64 // in the data
}

// Len returns the number of elements.
func (i Info) Len() int { return int((i.end - i.begin) / sizes[i.DType]) }

// bytesOf returns the number of bytes of a tensor.
func bytesOf(d DType, shape []int) (int64, error) {
	n, ok := sizes[d]
	if !ok {
		return 0, fmt.Errorf("want a type of the format, got %q", string(d))
	}
	if len(shape) > MaxRank {
		return 0, fmt.Errorf("want at most %d axes, got %d", MaxRank, len(shape))
	}
	empty := false
	for _, s := range shape {
		switch {
		case s < 0:
			return 0, fmt.Errorf("want sizes of 0 at least, got shape %v", shape)
		case s == 0:
			empty = true
		case n > math.MaxInt64/int64(s):
			return 0, fmt.Errorf("want a number of bytes less than 2^63, got %s of shape %v", d, shape)
		default:
			n *= int64(s)
		}
	}
	if empty {
		return 0, nil
	}
	return n, nil
}
