// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kernelfold/kernelfold/internal/files"
)

// Reader reads the tensors of a file. It may be used by several goroutines at once if the
// io.ReaderAt may.
type Reader struct {
	source io.ReaderAt
	header header
	data   int64 // where the data begin
}

// NewReader reads and checks the header of a file of the given size. The errors wrap ErrFormat, unless the
// source failed, and name the format of the file if it is another known one.
func NewReader(source io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{source: source}
	if err := r.open(size); err != nil {
		if kind := foreign(source); kind != "" && errors.Is(err, ErrFormat) {
			err = fmt.Errorf("%w: this is %s", err, kind)
		}
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return r, nil
}

// foreign names the format of a file that is not a safetensors file, and says what to do with weights of PyTorch. It returns "" if the format is
// unknown.
func foreign(source io.ReaderAt) string {
	var first [1]byte
	if n, _ := source.ReadAt(first[:], 8); n == 1 && first[0] == '{' {
		return "" // what comes before is a length, whatever it looks like
	}
	kind := files.KindOf(source)
	if strings.HasPrefix(kind, "a pickled file of torch.save") {
		kind += ": write its state_dict by safetensors.torch.save_file"
	}
	return kind
}

func (r *Reader) open(size int64) error {
	if size < 8 {
		return fmt.Errorf("%w: want 8 bytes at least, got %d", ErrFormat, size)
	}
	var length [8]byte
	if err := r.readAt(length[:], 0); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if limit := uint64(min(size-8, MaxHeader)); n > limit {
		return fmt.Errorf("%w: want a header of at most %d bytes, got %d", ErrFormat, limit, n)
	}
	var text strings.Builder
	text.Grow(int(n))
	if got, err := io.Copy(&text, io.NewSectionReader(r.source, 8, int64(n))); err != nil {
		return err
	} else if got < int64(n) {
		return fmt.Errorf("%w: want a header of %d bytes, got %d", ErrFormat, n, got)
	}
	r.data = 8 + int64(n)
	if err := r.header.parse(text.String(), size-r.data); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// readAt fills b from a position in the file.
func (r *Reader) readAt(b []byte, at int64) error {
	n, err := r.source.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: want %d bytes from %d on, got %d", ErrFormat, len(b), at, n)
	}
	return err
}

// Tensors returns the descriptions of the tensors in the header, in the order of their data.
func (r *Reader) Tensors() []Info {
	list := slices.Clone(r.header.tensors)
	for i := range list {
		list[i].Shape = slices.Clone(list[i].Shape)
	}
	return list
}

// Info returns the description of a tensor in the header, and whether there is one of that name.
func (r *Reader) Info(name string) (Info, bool) {
	i, ok := r.header.byName[name]
	if !ok {
		return Info{}, false
	}
	info := r.header.tensors[i]
	info.Shape = slices.Clone(info.Shape)
	return info, true
}

// Metadata returns the strings of the header, nil if there are none.
func (r *Reader) Metadata() map[string]string { return maps.Clone(r.header.metadata) }

// MetadataValue returns the string of a key of the header, and whether there is one.
func (r *Reader) MetadataValue(key string) (string, bool) {
	value, ok := r.header.metadata[key]
	return value, ok
}

// DataOffset returns the position in the file at which the header ends.
func (r *Reader) DataOffset() int64 { return r.data }

// Read returns a tensor. It fails if there is none of that name, and with an error that wraps ErrType if it
// is of a type other than F64, F32, F16, BF16 and I64.
func (r *Reader) Read(name string) (Tensor, error) {
	i, ok := r.header.byName[name]
	if !ok {
		return Tensor{}, fmt.Errorf("safetensors: tensor %q: there is none of that name", name)
	}
	t, err := r.read(r.header.tensors[i])
	if err != nil {
		return Tensor{}, fmt.Errorf("safetensors: tensor %q: %w", name, err)
	}
	return t, nil
}

func (r *Reader) read(i Info) (Tensor, error) {
	if i.end-i.begin > math.MaxInt { // where an int has 32 bits
		return Tensor{}, fmt.Errorf("want at most %d bytes, got %d", math.MaxInt, i.end-i.begin)
	}
	t := Tensor{Name: i.Name, Shape: slices.Clone(i.Shape)}
	var decode func(b []byte, at int)
	switch i.DType {
	case F64:
		t.F64 = make([]float64, i.Len())
		decode = func(b []byte, at int) {
			for k := range len(b) / 8 {
				t.F64[at+k] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*k:]))
			}
		}
	case I64:
		t.I64 = make([]int64, i.Len())
		decode = func(b []byte, at int) {
			for k := range len(b) / 8 {
				t.I64[at+k] = int64(binary.LittleEndian.Uint64(b[8*k:]))
			}
		}
	case F32:
		t.F32 = make([]float32, i.Len())
		decode = func(b []byte, at int) {
			for k := range len(b) / 4 {
				t.F32[at+k] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*k:]))
			}
		}
	case F16, BF16:
		widen := halfToFloat
		if i.DType == BF16 {
			widen = func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
		}
		t.F32 = make([]float32, i.Len())
		decode = func(b []byte, at int) {
			for k := range len(b) / 2 {
				t.F32[at+k] = widen(binary.LittleEndian.Uint16(b[2*k:]))
			}
		}
	default:
		return Tensor{}, fmt.Errorf("%w: want F64, F32, F16, BF16 or I64, got %s", ErrType, i.DType)
	}
	size := int64(bits[i.DType] / 8)
	chunk := make([]byte, min(chunkBytes, i.end-i.begin))
	for at := i.begin; at < i.end; at += int64(len(chunk)) {
		chunk = chunk[:min(int64(len(chunk)), i.end-at)]
		if err := r.readAt(chunk, r.data+at); err != nil {
			return Tensor{}, err
		}
		decode(chunk, int((at-i.begin)/size))
	}
	return t, nil
}

// chunkBytes is how much is read or written at a time, a multiple of every size.
const chunkBytes = 1 << 16

// halfToFloat widens an IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of fraction.
func halfToFloat(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 31: // infinity or NaN
		return math.Float32frombits(sign | 255<<23 | fraction<<13)
	case 0: // fraction / 2^24, exact in float32
		return math.Float32frombits(math.Float32bits(float32(fraction)/(1<<24)) | sign)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
