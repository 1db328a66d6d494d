// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// Write writes a file of the tensors, in any order, and of the metadata, which may be nil. The same tensors and metadata give the same bytes.
//
// A name that occurs twice or is not UTF-8, and a tensor that has not exactly one slice set or whose elements do not fill its shape, are
// errors, and nothing is written.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	if err := write(w, tensors, metadata); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

func write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	h := header{metadata: metadata}
	byName := make(map[string]Tensor, len(tensors))
	for _, t := range tensors {
		i := Info{Name: t.Name, DType: t.DType(), Shape: slices.Clone(t.Shape)}
		if t.Name == metadataKey {
			return fmt.Errorf("tensor %q: want another name", t.Name)
		}
		if i.DType == "" {
			return fmt.Errorf("tensor %q: want one of F32, F64 and I64", t.Name)
		}
		size, err := bytesOf(i.DType, i.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if n := 8 * uint64(size) / bits[i.DType]; n != uint64(t.Len()) {
			return fmt.Errorf("tensor %q: want %d elements for shape %v, got %d", t.Name, n, t.Shape, t.Len())
		}
		h.tensors = append(h.tensors, i)
		byName[t.Name] = t
	}
	text, err := h.encode()
	if err != nil {
		return err
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)); err != nil {
		return err
	}
	chunk := make([]byte, 0, chunkBytes)
	for _, i := range h.tensors {
		if err := byName[i.Name].write(w, chunk); err != nil {
			return fmt.Errorf("tensor %q: %w", i.Name, err)
		}
	}
	return nil
}

// write writes the elements through a chunk.
func (t Tensor) write(w io.Writer, chunk []byte) error {
	for part := range slices.Chunk(t.F32, chunkBytes/4) {
		b := chunk
		for _, v := range part {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(t.F64, chunkBytes/8) {
		b := chunk
		for _, v := range part {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(t.I64, chunkBytes/8) {
		b := chunk
		for _, v := range part {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
