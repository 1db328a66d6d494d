// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protocol buffer that is being written. Numbers of fields are those of onnx.proto.
type message []byte

func (m *message) bytes(field protowire.Number, b []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), b)
}

func (m *message) text(field protowire.Number, s string) { m.bytes(field, []byte(s)) }

func (m *message) number(field protowire.Number, v int64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), uint64(v))
}

// Types of elements.
const (
	typeFloat  = 1
	typeInt64  = 7
	typeDouble = 11
)

// model is a ModelProto around a graph.
func model(graph message, opset int64) message {
	var m, imports message
	m.number(1, irVersion)
	m.text(2, "kernelfold")
	m.bytes(7, graph)
	imports.text(1, "")
	imports.number(2, opset)
	m.bytes(8, imports)
	return m
}

// node is a NodeProto.
func node(name, kind string, in, out []string, attributes ...message) message {
	var m message
	for _, x := range in {
		m.text(1, x)
	}
	for _, x := range out {
		m.text(2, x)
	}
	m.text(3, name)
	m.text(4, kind)
	for _, a := range attributes {
		m.bytes(5, a)
	}
	return m
}

// ints, integer and float are attributes, AttributeProto.
func ints[T int | int64](name string, values ...T) message {
	var m message
	m.text(1, name)
	for _, v := range values {
		m.number(8, int64(v))
	}
	m.number(20, 7)
	return m
}

func integer(name string, v int) message {
	var m message
	m.text(1, name)
	m.number(3, int64(v))
	m.number(20, 2)
	return m
}

func float(name string, v float64) message {
	var m message
	m.text(1, name)
	m = protowire.AppendFixed32(protowire.AppendTag(m, 2, protowire.Fixed32Type), math.Float32bits(float32(v)))
	m.number(20, 1)
	return m
}

// tensor is a TensorProto of raw data, from a slice of float32, float64 or int64.
func tensor(name string, shape []int, data any) message {
	var m message
	for _, s := range shape {
		m.number(1, int64(s))
	}
	var raw []byte
	switch data := data.(type) {
	case []float32:
		m.number(2, typeFloat)
		raw = make([]byte, 0, 4*len(data))
		for _, v := range data {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	case []float64:
		m.number(2, typeDouble)
		raw = make([]byte, 0, 8*len(data))
		for _, v := range data {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
		}
	case []int64:
		m.number(2, typeInt64)
		for _, v := range data {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
		}
	}
	m.text(8, name)
	m.bytes(9, raw)
	return m
}

// value is a ValueInfoProto. A size below 0 is that of the batch.
func value(name string, of int64, shape []int) message {
	var m, kind, dense, sizes message
	for _, s := range shape {
		var d message
		if s < 0 {
			d.text(2, "batch")
		} else {
			d.number(1, int64(s))
		}
		sizes.bytes(1, d)
	}
	dense.number(1, of)
	dense.bytes(2, sizes)
	kind.bytes(1, dense)
	m.text(1, name)
	m.bytes(2, kind)
	return m
}
