// SPDX-License-Identifier: Apache-2.0

package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/safetensors"
)

// allocated returns the bytes that f allocates, live or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// bound is what reading a file of that many bytes may allocate in all, garbage included: for
// the data a few times their size (F16 doubles, chunks come on top), and for the header
// a small multiple of its length, plus what the test itself does.
func bound(size int) uint64 { return 24*uint64(size) + 1<<20 }

// A file that promises much and holds little costs little.
func TestAllocationIsBoundedByTheFile(t *testing.T) {
	for name, b := range map[string][]byte{
		"length of the header": append(binary.LittleEndian.AppendUint64(nil, 90_000_000), "{}"...),
		"size of a tensor":     file(`{"a":{"dtype":"F64","shape":[1000000000],"data_offsets":[0,8000000000]}}`),
		"product of sizes":     file(`{"a":{"dtype":"F64","shape":[1000000,1000000],"data_offsets":[0,8000000000000]}}`),
		"empty, but long":      file(`{"a":{"dtype":"F64","shape":[0,1000000000000],"data_offsets":[0,0]}}`),
		"many empty ones":      manyEmpty(2000),
		"many strings":         manyKeys(20000),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Less(t, allocated(func() { readAll(b) }), bound(len(b)))
		})
	}
}

func manyEmpty(n int) []byte {
	header := []byte(`{`)
	for i := range n {
		if i > 0 {
			header = append(header, ',')
		}
		header = fmt.Appendf(header, `"%x"`, i)
		header = append(header, `:{"dtype":"F64","shape":[0],"data_offsets":[0,0]}`...)
	}
	return file(string(append(header, '}')))
}

// manyKeys is a file with n strings of metadata under the shortest names there are.
func manyKeys(n int) []byte {
	header := []byte(`{"__metadata__":{`)
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'()*+,-./:;<=>?@[]^_{|}~"
	for i := range n {
		if i > 0 {
			header = append(header, ',')
		}
		header = append(header, '"')
		for i := i; ; i /= len(digits) {
			if header = append(header, digits[i%len(digits)]); i < len(digits) {
				break
			}
		}
		header = append(header, `":""`...)
	}
	return file(string(append(header, "}}"...)))
}

// Reading a header takes memory in proportion to its length, and few allocations for each tensor and none for each string.
func TestHeaderCost(t *testing.T) {
	for name, c := range map[string]struct {
		file func(n int) []byte
		each float64 // allocations
	}{"tensors": {manyEmpty, 3}, "metadata": {manyKeys, 0.1}} {
		t.Run(name, func(t *testing.T) {
			const n = 4000
			cost := func(b []byte) float64 {
				return testing.AllocsPerRun(3, func() {
					_, err := open(b)
					require.NoError(t, err)
				})
			}
			one, four := c.file(n), c.file(4*n)
			assert.Less(t, (cost(four)-cost(one))/(3*n), c.each)
			assert.Less(t, allocated(func() { _, _ = open(four) }), 12*uint64(len(four)))
		})
	}
}

func BenchmarkHeader(b *testing.B) {
	for _, c := range []struct {
		name string
		file []byte
	}{{"tensors", manyEmpty(1_000_000)}, {"metadata", manyKeys(6_000_000)}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.file)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := open(c.file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// readAll reads what can be read.
func readAll(b []byte) (tensors []safetensors.Tensor, metadata map[string]string, whole bool) {
	r, err := open(b)
	if err != nil {
		return nil, nil, false
	}
	whole = true
	for _, i := range r.Tensors() {
		t, err := r.Read(i.Name)
		if err != nil {
			whole = false
			continue
		}
		tensors = append(tensors, t)
	}
	return tensors, r.Metadata(), whole
}

// FuzzFile: no file makes the reader panic or allocate beyond the file, and what it accepts
// can be written and read again.
func FuzzFile(f *testing.F) {
	f.Add(file(`{}`))
	f.Add(written(f, map[string]string{"k": ""}, safetensors.Tensor{Name: "w", Shape: []int{2, 1}, F32: []float32{1, 2}}, safetensors.Tensor{Name: "v", F64: []float64{3}}))
	f.Add(manyEmpty(30))
	f.Fuzz(check)
}

// FuzzHeader does so for files whose header has the length that they say.
func FuzzHeader(f *testing.F) {
	f.Add(`{"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"__metadata__":{"k":"v"}}   `, []byte{1, 2, 3, 4})
	f.Add(`{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"BOOL","shape":[0],"data_offsets":[8,8]}}`, make([]byte, 8))
	f.Add(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"data_offsets":[8,16],"dtype":"F64","shape":[1,1]}}`, make([]byte, 16))
	f.Fuzz(func(t *testing.T, header string, data []byte) { check(t, file(header, data...)) })
}

func check(t *testing.T, b []byte) {
	var tensors []safetensors.Tensor
	var metadata map[string]string
	var whole bool
	require.Less(t, allocated(func() { tensors, metadata, whole = readAll(b) }), bound(len(b)))
	if !whole {
		return
	}
	again, same, whole := readAll(written(t, metadata, tensors...))
	require.True(t, whole)
	require.Len(t, again, len(tensors))
	require.Subset(t, metadata, same)
	byName := map[string]safetensors.Tensor{}
	for _, a := range again {
		byName[a.Name] = a
	}
	for _, want := range tensors {
		require.Equal(t, want.Shape, byName[want.Name].Shape)
		require.Equal(t, bits(want), bits(byName[want.Name]))
	}
}

// FuzzRoundTrip: the shape is the input.
func FuzzRoundTrip(f *testing.F) {
	f.Add("w", uint8(2), uint8(3), uint8(0), []byte{1, 2, 3})
	f.Add("läyer/0", uint8(0), uint8(255), uint8(1), []byte{})
	f.Add("__metadata_", uint8(1), uint8(1), uint8(2), []byte{255})
	f.Fuzz(func(t *testing.T, name string, rows, cols, kind uint8, noise []byte) {
		want := safetensors.Tensor{Name: name, Shape: []int{int(rows), int(cols)}}
		n := int(rows) * int(cols)
		at := func(i int) uint64 { // some bits, NaNs among them
			u := uint64(i) * 0x9e3779b97f4a7c15
			for _, b := range noise {
				u = u<<7 ^ u>>3 ^ uint64(b)
			}
			return u
		}
		switch kind % 3 {
		case 0:
			want.F32 = make([]float32, n)
			for i := range want.F32 {
				want.F32[i] = math.Float32frombits(uint32(at(i)))
			}
		case 1:
			want.F64 = make([]float64, n)
			for i := range want.F64 {
				want.F64[i] = math.Float64frombits(at(i))
			}
		case 2:
			want.I64 = make([]int64, n)
			for i := range want.I64 {
				want.I64[i] = int64(at(i))
			}
		}
		var b bytes.Buffer
		if err := safetensors.Write(&b, []safetensors.Tensor{want}, nil); err != nil {
			return // a name that cannot be written
		}
		r, err := open(b.Bytes())
		require.NoError(t, err)
		got, err := r.Read(name)
		require.NoError(t, err)
		require.Equal(t, want.Shape, got.Shape)
		require.Equal(t, bits(want), bits(got))
	})
}
