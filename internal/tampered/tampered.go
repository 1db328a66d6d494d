// SPDX-License-Identifier: Apache-2.0

// Package tampered makes checkpoints with a right checksum and wrong content, for tests.
package tampered

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/models/safetensors"
)

// The keys of the metadata of checkpoints.
const (
	Solver = "kernelfold.solver"
	Noise  = "kernelfold.noise"
	Loop   = "kernelfold.loop"
	sum    = "kernelfold.sha256"
)

// Content is what a checkpoint is made of.
type Content struct {
	Tensors  map[string]safetensors.Tensor
	Metadata map[string]string
}

// Read takes a checkpoint apart.
func Read(file []byte) (*Content, error) {
	r, err := safetensors.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	c := &Content{map[string]safetensors.Tensor{}, r.Metadata()}
	for _, i := range r.Tensors() {
		if c.Tensors[i.Name], err = r.Read(i.Name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Write writes a checkpoint with the checksum that belongs to it.
func (c *Content) Write(path string) error {
	tensors, metadata := slices.Collect(maps.Values(c.Tensors)), maps.Clone(c.Metadata)
	metadata[sum] = strings.Repeat("0", hex.EncodedLen(sha256.Size))
	digest := sha256.New()
	if err := safetensors.Write(digest, tensors, metadata); err != nil {
		return err
	}
	metadata[sum] = hex.EncodeToString(digest.Sum(nil))
	var b bytes.Buffer
	if err := safetensors.Write(&b, tensors, metadata); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}

// Replace puts a JSON text in the place of the value n of a text, counted depth first with the names of objects in order,
// where 0 is the whole. It returns the text as it was if there are fewer values, or value is not JSON.
func Replace(text string, n int, value string) string {
	if !json.Valid([]byte(value)) {
		return text
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var root any
	if err := d.Decode(&root); err != nil {
		return text
	}
	var walk func(v any) any
	walk = func(v any) any {
		if n--; n == -1 {
			return json.RawMessage(value)
		}
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				v[name] = walk(v[name])
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		}
		return v
	}
	b, err := json.Marshal(walk(root))
	if err != nil {
		return text
	}
	return string(b)
}

// Edit changes one thing: part 0, 1 and 2 are the JSON of the solver, the noise and the loop, of which value replaces value n;
// 3 is the element n, of all tensors in order, which gets the bits of value; 4 makes the tensor n one of the shape value, a list.
// It reports whether there is such a thing.
func (c *Content) Edit(part uint8, n uint16, value string) bool {
	switch part {
	case 0, 1, 2:
		key := []string{Solver, Noise, Loop}[part]
		before := c.Metadata[key]
		c.Metadata[key] = Replace(before, int(n), value)
		return c.Metadata[key] != before
	case 3:
		at := int(n)
		for _, name := range slices.Sorted(maps.Keys(c.Tensors)) {
			t := c.Tensors[name]
			if at >= t.Len() {
				at -= t.Len()
				continue
			}
			var bits [8]byte
			copy(bits[:], value)
			u := uint64(0)
			for _, b := range bits {
				u = u<<8 | uint64(b)
			}
			switch {
			case t.F32 != nil:
				t.F32[at] = math.Float32frombits(uint32(u >> 32))
			case t.F64 != nil:
				t.F64[at] = math.Float64frombits(u)
			default:
				t.I64[at] = int64(u)
			}
			return true
		}
	case 4:
		names := slices.Sorted(maps.Keys(c.Tensors))
		var shape []int
		if int(n) >= len(names) || json.Unmarshal([]byte(value), &shape) != nil {
			return false
		}
		size := 1
		for _, s := range shape {
			if s < 0 || s > 100 || size > 10_000 {
				return false
			}
			size *= s
		}
		t := c.Tensors[names[n]]
		switch t.Shape = shape; {
		case t.F32 != nil:
			t.F32 = make([]float32, size)
		case t.F64 != nil:
			t.F64 = make([]float64, size)
		default:
			t.I64 = make([]int64, size)
		}
		c.Tensors[names[n]] = t
		return true
	}
	return false
}
