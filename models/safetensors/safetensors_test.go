// SPDX-License-Identifier: Apache-2.0

package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/safetensors"
)

// file puts a header and data together.
func file(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func open(b []byte) (*safetensors.Reader, error) {
	return safetensors.NewReader(bytes.NewReader(b), int64(len(b)))
}

func written(t testing.TB, metadata map[string]string, tensors ...safetensors.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, safetensors.Write(&b, tensors, metadata))
	return b.Bytes()
}

func Example() {
	var disk bytes.Buffer
	err := safetensors.Write(&disk, []safetensors.Tensor{
		{Name: "fc.weight", Shape: []int{2, 3}, F32: []float32{1, 2, 3, 4, 5, 6}},
		{Name: "bn.num_batches_tracked", I64: []int64{40}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := safetensors.NewReader(bytes.NewReader(disk.Bytes()), int64(disk.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range r.Tensors() {
		t, err := r.Read(i.Name)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(i.Name, i.DType, i.Shape, t.F32, t.I64)
	}
	fmt.Println(r.Metadata())
	// Output:
	// bn.num_batches_tracked I64 [] [] [40]
	// fc.weight F32 [2 3] [1 2 3 4 5 6] []
	// map[format:pt]
}

// The bytes of a small file, by the format's page: a header padded with spaces to a
// multiple of 8 and little-endian data, those of 8 bytes first.
func TestBytes(t *testing.T) {
	got := written(t, map[string]string{"k": "v"},
		safetensors.Tensor{Name: "a", Shape: []int{1, 2}, F32: []float32{1, -2}},
		safetensors.Tensor{Name: "b", Shape: []int{}, I64: []int64{-2}})
	header := `{"__metadata__":{"k":"v"},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := file(header, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0)
	assert.Equal(t, want, got)
}

// What is written is read, to the bit, whatever the numbers, the sizes and the names.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f32, f64, i64 := make([]float32, 40001), make([]float64, 20003), make([]int64, 9001)
	for i := range f32 {
		f32[i] = math.Float32frombits(rng.Uint32())
	}
	for i := range f64 {
		f64[i] = math.Float64frombits(rng.Uint64())
	}
	for i := range i64 {
		i64[i] = int64(rng.Uint64())
	}
	want := []safetensors.Tensor{
		{Name: "f32", Shape: []int{40001}, F32: f32},
		{Name: "f64", Shape: []int{83, 241}, F64: f64},
		{Name: "i64", Shape: []int{1, 9001, 1}, I64: i64},
		{Name: "scalar", Shape: []int{}, F32: []float32{float32(math.Copysign(0, -1))}},
		{Name: "empty", Shape: []int{3, 0, 1 << 20}, F64: []float64{}},
		{Name: "", Shape: []int{1}, F64: []float64{math.Inf(-1)}},
		{Name: "läyer.<\"0\">/\u2028\\", Shape: []int{2}, I64: []int64{math.MinInt64, math.MaxInt64}},
	}
	metadata := map[string]string{"": "empty", "ключ": "{\"json\": [1, 2]}\n\x00"}
	b := written(t, metadata, want...)
	r, err := open(b)
	require.NoError(t, err)
	assert.Equal(t, metadata, r.Metadata())
	assert.Len(t, r.Tensors(), len(want))
	assert.Zero(t, r.DataOffset()%8)
	for _, w := range want {
		got, err := r.Read(w.Name)
		require.NoError(t, err)
		assert.Equal(t, w.Shape, got.Shape, w.Name)
		assert.Equal(t, bits(w), bits(got), w.Name)
		assert.Equal(t, w.DType(), got.DType(), w.Name)
	}
	again := written(t, metadata, want[6], want[5], want[4], want[3], want[2], want[1], want[0])
	assert.Equal(t, b, again, "whatever the order")
}

// bits are the elements as they lie on disk, so that NaNs compare.
func bits(t safetensors.Tensor) (b []uint64) {
	for _, v := range t.F32 {
		b = append(b, uint64(math.Float32bits(v)))
	}
	for _, v := range t.F64 {
		b = append(b, math.Float64bits(v))
	}
	for _, v := range t.I64 {
		b = append(b, uint64(v))
	}
	return b
}

// Every half, against the definition.
func TestHalvesAreWidened(t *testing.T) {
	data := make([]byte, 0, 1<<18)
	for range 2 {
		for h := range 1 << 16 {
			data = binary.LittleEndian.AppendUint16(data, uint16(h))
		}
	}
	r, err := open(file(`{"f":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]},"b":{"dtype":"BF16","shape":[65536],"data_offsets":[131072,262144]}}`, data...))
	require.NoError(t, err)
	f, err := r.Read("f")
	require.NoError(t, err)
	b, err := r.Read("b")
	require.NoError(t, err)
	for h := range 1 << 16 {
		for _, c := range []struct {
			got                 float32
			exponents, mantissa int
		}{{f.F32[h], 5, 10}, {b.F32[h], 8, 7}} {
			bias := 1<<(c.exponents-1) - 1
			e := h >> c.mantissa & (1<<c.exponents - 1)
			m := float64(h & (1<<c.mantissa - 1))
			want := math.Ldexp(1+m/math.Exp2(float64(c.mantissa)), e-bias)
			switch {
			case e == 0:
				want = math.Ldexp(m/math.Exp2(float64(c.mantissa)), 1-bias)
			case e == 1<<c.exponents-1 && m == 0:
				want = math.Inf(1)
			case e == 1<<c.exponents-1:
				want = math.NaN()
			}
			if h>>15 == 1 {
				want = -want
			}
			if math.IsNaN(want) {
				require.True(t, math.IsNaN(float64(c.got)), "%#04x", h)
			} else {
				require.Equal(t, math.Float32bits(float32(want)), math.Float32bits(c.got), "%#04x of %d exponent bits", h, c.exponents)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	one := func(info string) string { return `{"a":` + info + `}` }
	tooLarge := "fewer than 2^64 bits"
	if math.MaxInt == math.MaxInt32 { // a size alone does not fit
		tooLarge = "sizes of at most 2147483647"
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                   {nil, "8 bytes at least, got 0"},
		"cut in the length":       {[]byte{1, 2, 3}, "8 bytes at least, got 3"},
		"no header":               {make([]byte, 8), "a JSON object"},
		"header beyond the file":  {append(binary.LittleEndian.AppendUint64(nil, 3), "{}"...), "at most 2 bytes, got 3"},
		"header of 2^64-1":        {append(bytes.Repeat([]byte{255}, 8), "{}"...), "at most 2 bytes"},
		"not JSON":                {file(`hello`), "a JSON object"},
		"an array":                {file(`[]`), "a JSON object"},
		"cut JSON":                {file(`{"a":{"dtype":"F32"`), "got the end"},
		"cut after a key":         {file(`{"a"`), "header"},
		"more than an object":     {file(`{}{}`), "nothing after the object"},
		"a letter after it":       {file("{}\tx"), "nothing after the object"},
		"a byte order mark":       {file("\ufeff{}"), "a JSON object"},
		"not UTF-8":               {file("{\"\xff\":1}"), "UTF-8"},
		"tensor is null":          {file(one(`null`)), `"a"`},
		"tensor is a list":        {file(one(`[]`)), `"a"`},
		"nothing said":            {file(one(`{}`)), "got less"},
		"no offsets":              {file(one(`{"dtype":"F32","shape":[]}`)), "got less"},
		"field in capitals":       {file(one(`{"DTYPE":"F32","shape":[],"data_offsets":[0,4]}`), 0, 0, 0, 0), "got less"},
		"another field of 1e400":  {file(one(`{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1e400}`), 0, 0, 0, 0), "fit in 64 bits"},
		"another field, deep":     {file(one(`{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":`+strings.Repeat("[", 126)+strings.Repeat("]", 126)+`}`), 0, 0, 0, 0), "at most 127 levels"},
		"field twice":             {file(one(`{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}`), 0, 0, 0, 0), "twice"},
		"name twice":              {file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}`, 0, 0), "got it twice"},
		"name twice, escaped":     {file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}`, 0, 0), "got it twice"},
		"metadata twice":          {file(`{"__metadata__":{},"__metadata__":{}}`), "got them twice"},
		"metadata key twice":      {file(`{"__metadata__":{"a":"","a":""}}`), "got it twice"},
		"metadata of numbers":     {file(`{"__metadata__":{"a":1}}`), "a string"},
		"metadata null, twice":    {file(`{"__metadata__":null,"__metadata__":null}`), "got them twice"},
		"metadata value null":     {file(`{"__metadata__":{"a":null}}`), "a string"},
		"unknown type":            {file(one(`{"dtype":"f32","shape":[],"data_offsets":[0,4]}`), 0, 0, 0, 0), `got "f32"`},
		"type a number":           {file(one(`{"dtype":32,"shape":[],"data_offsets":[0,4]}`), 0, 0, 0, 0), "a string"},
		"negative size":           {file(one(`{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}`), 0), "got -1"},
		"size -0":                 {file(one(`{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}`)), "got -0"},
		"offset -0":               {file(one(`{"dtype":"U8","shape":[0],"data_offsets":[-0,0]}`)), "got -0"},
		"size 01":                 {file(one(`{"dtype":"U8","shape":[01],"data_offsets":[0,1]}`), 0), "a comma"},
		"size 1.":                 {file(one(`{"dtype":"U8","shape":[1.],"data_offsets":[0,1]}`), 0), "a number"},
		"size of a half":          {file(one(`{"dtype":"U8","shape":[0.5],"data_offsets":[0,1]}`), 0), "got 0.5"},
		"size 1e0":                {file(one(`{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}`), 0), "got 1e0"},
		"size of 2^63":            {file(one(`{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}`), 0), "got 9223372036854775808"},
		"size a string":           {file(one(`{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}`), 0), "a number"},
		"comma before the end":    {file(one(`{"dtype":"U8","shape":[1,],"data_offsets":[0,1]}`), 0), "a number"},
		"no comma":                {file(one(`{"dtype":"U8","shape":[1 1],"data_offsets":[0,1]}`), 0), "a comma"},
		"no colon":                {file(`{"a" {}}`), "a colon"},
		"product 2^64":            {file(one(`{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}`)), tooLarge},
		"product 2^64 of bytes":   {file(one(`{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}`)), tooLarge},
		"product 2^64, then 0":    {file(one(`{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}`)), tooLarge},
		"half a byte":             {file(one(`{"dtype":"F4","shape":[3],"data_offsets":[0,2]}`), 0, 0), "want whole bytes, got 12 bits"},
		"18 bits":                 {file(one(`{"dtype":"F6_E2M3","shape":[3],"data_offsets":[0,3]}`), 0, 0, 0), "want whole bytes, got 18 bits"},
		"bytes of F6":             {file(one(`{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,4]}`), 0, 0, 0, 0), "want 3 bytes"},
		"one offset":              {file(one(`{"dtype":"U8","shape":[],"data_offsets":[0]}`), 0), "two data_offsets, got 1"},
		"three offsets":           {file(one(`{"dtype":"U8","shape":[],"data_offsets":[0,1,2]}`), 0), "two data_offsets, got more"},
		"offsets the wrong way":   {file(one(`{"dtype":"U8","shape":[],"data_offsets":[1,0]}`), 0), "bytes 1 to 0"},
		"offsets beyond the data": {file(one(`{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`), 0), "9 bytes of data"},
		"shape and offsets apart": {file(one(`{"dtype":"U8","shape":[2],"data_offsets":[0,1]}`), 0), "2 bytes"},
		"data at the end":         {file(one(`{"dtype":"U8","shape":[],"data_offsets":[0,1]}`), 0, 0), "1 bytes of data"},
		"data of no tensor":       {file(`{}`, 0), "0 bytes of data"},
		"hole at first":           {file(one(`{"dtype":"U8","shape":[],"data_offsets":[1,2]}`), 0, 0), "from byte 0 on"},
		"hole":                    {file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]}}`, 0, 0, 0), "from byte 1 on"},
		"overlap":                 {file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 0, 0, 0), "from byte 2 on"},
		"same place":              {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0), "from byte 1 on"},
		"empty one in the middle": {file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, 0, 0), "from byte 2 on"},
		"deep nest":               {file(strings.Repeat(`{"a":`, 100_000)), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(c.file)
			require.ErrorIs(t, err, safetensors.ErrFormat)
			assert.ErrorContains(t, err, c.want)
			assert.True(t, strings.HasPrefix(err.Error(), "safetensors: "), err.Error())
		})
	}
}

// What serde_json refuses in strings, so that a name is the same to all that read a file.
func TestRefusedStrings(t *testing.T) {
	for _, s := range []string{
		`\ud800`, `\udc00`, `\ud800\ud800`, `\udc00\ud800`, `\ud800x`, `\ud800\n`, `\ud83d\u0041`, `\u12g4`, `\u+123`, `\u12`, `\x41`, `\`, "\x00", "\n", "\x1f",
	} {
		for _, header := range []string{`{"` + s + `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, `{"__metadata__":{"k":"` + s + `"}}`} {
			_, err := open(file(header))
			assert.ErrorIs(t, err, safetensors.ErrFormat, header)
		}
	}
	r, err := open(file(`{"\ud83d\ude00\"\\\/\b\f\n\r\t\u0000\uFFFF":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`))
	require.NoError(t, err)
	assert.Equal(t, "\U0001f600\"\\/\b\f\n\r\t\x00\uffff", r.Tensors()[0].Name)
}

// What the reference takes.
func TestTaken(t *testing.T) {
	axes := strings.Repeat("1,", 39) + "1"
	for name, header := range map[string]string{
		"white space":          " \t\r\n{ \"a\" :\n{\"dtype\":\"F32\",\"shape\":[ 1 , 1 ],\"data_offsets\":[0,4]}\t} \r\n\t",
		"metadata null":        `{"__metadata__":null,"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`,
		"metadata empty":       `{"__metadata__":{},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`,
		"40 axes":              `{"a":{"dtype":"F32","shape":[` + axes + `],"data_offsets":[0,4]}}`,
		"fields of the future": `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":{"y":[1,-2.5e3,true,false,null,"z"]},"x":0}}`,
		"escaped fields":       `{"a":{"d\u0074ype":"F\u0033\u0032","shape":[],"data_offsets":[0,4]}}`,
	} {
		r, err := open(file(header, 0, 0, 0x80, 0x3f))
		require.NoError(t, err, name)
		a, err := r.Read("a")
		require.NoError(t, err, name)
		assert.Equal(t, []float32{1}, a.F32, name)
		_, ok := r.MetadataValue("k")
		assert.False(t, ok)
	}
}

// Tensors of every type of the format may lie beside those that are read.
func TestOtherTypes(t *testing.T) {
	for dtype, bytes := range map[string]int{
		"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
		"BOOL": 8, "I8": 8, "U8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "U64": 64, "C64": 64,
	} {
		r, err := open(file(fmt.Sprintf(`{"a":{"dtype":%q,"shape":[2,4],"data_offsets":[0,%d]},"b":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}}`,
			dtype, bytes, bytes, bytes+4), append(make([]byte, bytes), 0, 0, 0x80, 0x3f)...))
		require.NoError(t, err, dtype)
		assert.Equal(t, 8, r.Tensors()[0].Len(), dtype)
		_, err = r.Read("a")
		assert.ErrorIs(t, err, safetensors.ErrType)
		assert.ErrorContains(t, err, "got "+dtype)
		b, err := r.Read("b")
		require.NoError(t, err)
		assert.Equal(t, []float32{1}, b.F32)
	}
}

// A file of another format is called by its name.
func TestForeign(t *testing.T) {
	for want, b := range map[string]string{
		"a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
		"an HTML page":      "<!DOCTYPE html><html>",
		"a pickled file of torch.save, of before PyTorch 1.6: write its state_dict by safetensors.torch.save_file": "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
		"a gzip stream": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00",
	} {
		_, err := open([]byte(b))
		assert.ErrorIs(t, err, safetensors.ErrFormat)
		assert.ErrorContains(t, err, "this is "+want)
	}
	_, err := open(file(`{"a":`)[:12]) // whatever the length looks like
	assert.NotContains(t, err.Error(), "this is")
}

func TestReadRefuses(t *testing.T) {
	r, err := open(file(`{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0, 0))
	require.NoError(t, err)
	_, err = r.Read("a")
	assert.ErrorIs(t, err, safetensors.ErrType)
	assert.ErrorContains(t, err, `want F64, F32, F16, BF16 or I64, got I32`)
	_, err = r.Read("b")
	assert.ErrorContains(t, err, `tensor "b"`)
	assert.Equal(t, 1, r.Tensors()[0].Len())
	i, ok := r.Info("a")
	assert.True(t, ok)
	assert.Equal(t, r.Tensors()[0], i)
	_, ok = r.Info("b")
	assert.False(t, ok)
}

// A source that is shorter than it was said to be, or that fails.
func TestSourceFails(t *testing.T) {
	b := written(t, nil, safetensors.Tensor{Name: "a", Shape: []int{3}, F32: []float32{1, 2, 3}})
	for n := range b {
		r, err := safetensors.NewReader(bytes.NewReader(b[:n]), int64(len(b)))
		if err == nil {
			_, err = r.Read("a")
		}
		assert.ErrorIs(t, err, safetensors.ErrFormat, "%d bytes", n)
	}
	broken := errors.New("broken")
	_, err := safetensors.NewReader(failing{broken}, 100)
	assert.ErrorIs(t, err, broken)
	assert.NotErrorIs(t, err, safetensors.ErrFormat)
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f failing) Write([]byte) (int, error)         { return 0, f.err }

// Tensors are apart from the reader: changing one changes nothing else.
func TestResultsAreCopies(t *testing.T) {
	r, err := open(written(t, map[string]string{"k": "v"}, safetensors.Tensor{Name: "a", Shape: []int{2}, F64: []float64{1, 2}}))
	require.NoError(t, err)
	r.Tensors()[0].Shape[0] = 9
	r.Metadata()["k"] = "w"
	a, err := r.Read("a")
	require.NoError(t, err)
	a.Shape[0], a.F64[0] = 9, 9
	a, err = r.Read("a")
	require.NoError(t, err)
	assert.Equal(t, []int{2}, a.Shape)
	assert.Equal(t, []float64{1, 2}, a.F64)
	assert.Equal(t, "v", r.Metadata()["k"])
	value, ok := r.MetadataValue("k")
	assert.True(t, ok)
	assert.Equal(t, "v", value)
}

func TestWriteRefuses(t *testing.T) {
	ok := safetensors.Tensor{Name: "ok", Shape: []int{1}, F32: []float32{1}}
	for name, c := range map[string]struct {
		tensor   safetensors.Tensor
		metadata map[string]string
		want     string
	}{
		"name twice":       {safetensors.Tensor{Name: "ok", Shape: []int{1}, F64: []float64{1}}, nil, "got it twice"},
		"name of metadata": {safetensors.Tensor{Name: "__metadata__", Shape: []int{1}, F64: []float64{1}}, nil, "another name"},
		"name not UTF-8":   {safetensors.Tensor{Name: "\xff", Shape: []int{1}, F64: []float64{1}}, nil, "UTF-8"},
		"no elements":      {safetensors.Tensor{Name: "a", Shape: []int{0}}, nil, "one of F32, F64 and I64"},
		"two types":        {safetensors.Tensor{Name: "a", Shape: []int{1}, F64: []float64{1}, I64: []int64{1}}, nil, "one of F32, F64 and I64"},
		"too few":          {safetensors.Tensor{Name: "a", Shape: []int{2}, F64: []float64{1}}, nil, "2 elements for shape [2], got 1"},
		"too many":         {safetensors.Tensor{Name: "a", F64: []float64{1, 2}}, nil, "1 elements"},
		"negative":         {safetensors.Tensor{Name: "a", Shape: []int{-1, -1}, F64: []float64{1}}, nil, "0 at least"},
		"too large":        {safetensors.Tensor{Name: "a", Shape: []int{1 << 30, 1 << 30}, F64: []float64{}}, nil, "fewer than 2^64 bits"},
		"metadata":         {safetensors.Tensor{Name: "a", Shape: []int{0}, F64: []float64{}}, map[string]string{"a": "\xff"}, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			err := safetensors.Write(&b, []safetensors.Tensor{ok, c.tensor}, c.metadata)
			assert.ErrorContains(t, err, c.want)
			assert.Zero(t, b.Len())
		})
	}
	broken := errors.New("broken")
	assert.ErrorIs(t, safetensors.Write(failing{broken}, nil, nil), broken)
	assert.ErrorIs(t, safetensors.Write(&short{60}, []safetensors.Tensor{ok}, nil), io.ErrShortWrite)
}

// short fails when it is full.
type short struct{ room int }

func (s *short) Write(b []byte) (int, error) {
	if s.room -= len(b); s.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}
