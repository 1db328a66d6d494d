// SPDX-License-Identifier: Apache-2.0

package tensorboard

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// An event file is a sequence of records, of which each holds a message Event. The messages are those of event.proto and summary.proto of
// TensorFlow; the numbers below are their field numbers.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked returns the CRC-32C of data as records hold it: rotated, and with a constant added, because a CRC of data that contains its own CRC is a
// poor check.
func masked(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// record frames data:
//
//	uint64 length, uint32 masked CRC of length, data, uint32 masked CRC of data       all little-endian.
func record(data []byte) []byte {
	b := make([]byte, 0, len(data)+16)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, masked(data))
}

// eachEvent calls do with the step of each event of a file, whether a session starts with it, and its bytes, up to the first record that
// is cut or too large to be one of ours.
func eachEvent(r io.Reader, do func(step int, start bool, event []byte)) {
	const most = 1 << 26
	for {
		var head [12]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint64(head[:])
		if n > most {
			return
		}
		b := make([]byte, n+4)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		event, step, start := b[:n], 0, false
		for rest := event; len(rest) > 0; {
			number, kind, size := protowire.ConsumeField(rest)
			if size < 0 {
				return
			}
			if number == 2 && kind == protowire.VarintType {
				_, _, tag := protowire.ConsumeTag(rest)
				v, _ := protowire.ConsumeVarint(rest[tag:])
				step = int(v)
			}
			start = start || number == 7
			rest = rest[size:]
		}
		do(step, start, event)
	}
}

// Fields of messages.

func double(b []byte, field protowire.Number, x float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), math.Float64bits(x))
}

func float(b []byte, field protowire.Number, x float64) []byte {
	return protowire.AppendFixed32(protowire.AppendTag(b, field, protowire.Fixed32Type), math.Float32bits(float32(x)))
}

func integer(b []byte, field protowire.Number, x int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(x))
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func doubles(b []byte, field protowire.Number, x []float64) []byte {
	var all []byte
	for _, v := range x {
		all = protowire.AppendFixed64(all, math.Float64bits(v))
	}
	return message(b, field, all)
}

// event begins an Event: double wall_time = 1, int64 step = 2.
func (l *log) event(step int) []byte {
	b := double(nil, 1, float64(l.now().UnixNano())/1e9)
	if step != 0 {
		b = integer(b, 2, step)
	}
	return b
}

// version is the first event of a file: string file_version = 3.
func (l *log) version() []byte { return message(l.event(0), 3, []byte("brain.Event:2")) }

// sessionStart says that a run begins after the given number of steps: SessionLog session_log = 7, with SessionStatus status = 1, START = 1.
func (l *log) sessionStart(done int) []byte {
	step := 0
	if done > 0 {
		step = done + 1
	}
	return message(l.event(step), 7, integer(nil, 1, 1))
}

// summary is an event with values: Summary summary = 5.
func (l *log) summary(step int, values []byte) []byte { return message(l.event(step), 5, values) }

// value is a value of a Summary: Value value = 1, with string tag = 1 and what it is.
func value(tag string, field protowire.Number, m []byte) []byte {
	return message(nil, 1, message(message(nil, 1, []byte(tag)), field, m))
}

// scalar is a value with float simple_value = 2, or nil for a number that was not measured.
func scalar(tag string, x float64) []byte {
	if !measured(x) {
		return nil
	}
	return message(nil, 1, float(message(nil, 1, []byte(tag)), 2, x))
}

// image is a value with Image image = 4: int32 height = 1, width = 2, colorspace = 3 (3 is RGB), bytes encoded_image_string = 4.
func image(tag string, height, width int, png []byte) []byte {
	return value(tag, 4, message(integer(integer(integer(nil, 1, height), 2, width), 3, 3), 4, png))
}

// buckets is the number of buckets of a histogram, of equal width between its extremes.
const buckets = 30

// histogram is a value with HistogramProto histo = 5: double min = 1, max = 2, num = 3, sum = 4, sum_squares = 5, repeated double
// bucket_limit = 6, bucket = 7. A bucket ends at its limit, and begins at the limit of the previous one; the first begins at min.
func histogram(tag string, x []float64) []byte {
	if len(x) == 0 {
		return nil
	}
	low, high := slices.Min(x), slices.Max(x)
	sum, squares := 0.0, 0.0
	limits, counts := make([]float64, buckets), make([]float64, buckets)
	width := (high - low) / buckets
	if least := 1e-6 * max(math.Abs(low), math.Abs(high)); width <= least { // all are one, up to rounding
		width = max(least, 1e-30)
	}
	for i := range limits {
		limits[i] = low + float64(i+1)*width
	}
	for _, v := range x {
		sum += v
		squares += v * v
		counts[min(buckets-1, int((v-low)/width))]++
	}
	b := double(double(double(double(double(nil, 1, low), 2, high), 3, float64(len(x))), 4, sum), 5, squares)
	return value(tag, 5, doubles(doubles(b, 6, limits), 7, counts))
}
