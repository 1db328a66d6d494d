// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// header is what stands before the data.
type header struct {
	tensors  []Info         // in the order of the data
	byName   map[string]int // index into tensors
	metadata map[string]string
}

// parse reads a header of a file with that many bytes of data.
func (h *header) parse(text string, data int64) error {
	if !utf8.ValidString(text) {
		return errors.New("header: want UTF-8")
	}
	s := &scanner{text: text}
	hasMetadata := false
	var shape []int // of the tensor at hand
	err := s.object(func(name string) error {
		if name != metadataKey {
			i := Info{Name: name}
			var err error
			if shape, err = i.parse(s, shape[:0]); err != nil {
				return fmt.Errorf("tensor %q: %w", name, err)
			}
			h.tensors = append(h.tensors, i)
			return nil
		}
		if hasMetadata {
			return errors.New("want the metadata once, got them twice")
		}
		hasMetadata = true
		if s.null() {
			return nil
		}
		return h.parseMetadata(s)
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if err := h.cover(data); err != nil {
		return err
	}
	return h.index()
}

// parseMetadata takes an object of strings.
func (h *header) parseMetadata(s *scanner) error {
	n, ahead := 0, *s
	_ = ahead.object(func(string) error { // what is wrong is found below
		n++
		return ahead.skip()
	})
	h.metadata = make(map[string]string, n)
	return s.object(func(key string) error {
		value, err := s.string()
		before := len(h.metadata)
		if h.metadata[key] = value; err == nil && len(h.metadata) == before {
			err = fmt.Errorf("metadata %q: want a key once, got it twice", key)
		}
		return err
	})
}

// parse reads the description of a tensor. It collects the sizes in the memory of shape, which it returns.
func (i *Info) parse(s *scanner, shape []int) ([]int, error) {
	var seen [3]bool
	once := func(field int) error {
		if seen[field] {
			return errors.New("want dtype, shape and data_offsets once, got one of them twice")
		}
		seen[field] = true
		return nil
	}
	err := s.object(func(name string) error {
		switch name {
		case "dtype":
			if err := once(0); err != nil {
				return err
			}
			d, err := s.string()
			i.DType = DType(d)
			return err
		case "shape":
			if err := once(1); err != nil {
				return err
			}
			return s.array(func() error {
				n, err := s.integer()
				if err == nil && n > math.MaxInt {
					err = fmt.Errorf("want sizes of at most %d, got %d", math.MaxInt, n)
				}
				shape = append(shape, int(n))
				return err
			})
		case "data_offsets":
			if err := once(2); err != nil {
				return err
			}
			var offsets [2]int64
			n := 0
			err := s.array(func() (err error) {
				if n == len(offsets) {
					return errors.New("want two data_offsets, got more")
				}
				offsets[n], err = s.integer()
				n++
				return err
			})
			if err == nil && n < len(offsets) {
				err = fmt.Errorf("want two data_offsets, got %d", n)
			}
			i.begin, i.end = offsets[0], offsets[1]
			return err
		}
		return s.skip() // as the reference does
	})
	if err != nil {
		return shape, err
	}
	if seen != [3]bool{true, true, true} {
		return shape, errors.New("want dtype, shape and data_offsets, got less")
	}
	i.Shape = append([]int{}, shape...)
	n, err := bytesOf(i.DType, i.Shape)
	if err != nil {
		return shape, err
	}
	if i.end < i.begin || i.end-i.begin != n {
		return shape, fmt.Errorf("want %d bytes for %s of shape %v, got bytes %d to %d", n, i.DType, i.Shape, i.begin, i.end)
	}
	return shape, nil
}

// cover sorts the tensors by place and returns an error unless they cover the data.
func (h *header) cover(data int64) error {
	slices.SortFunc(h.tensors, func(a, b Info) int {
		switch {
		case a.begin != b.begin:
			return cmp.Compare(a.begin, b.begin)
		case a.end != b.end:
			return cmp.Compare(a.end, b.end)
		}
		return strings.Compare(a.Name, b.Name)
	})
	at := int64(0)
	for _, t := range h.tensors {
		if t.begin != at {
			return fmt.Errorf("tensor %q: want data from byte %d on, where the one before ends, got %d", t.Name, at, t.begin)
		}
		at = t.end
	}
	if at != data {
		return fmt.Errorf("want %d bytes of data, as in the header, got %d", at, data)
	}
	return nil
}

// index looks tensors up by name, and returns an error for a name that occurs twice.
func (h *header) index() error {
	h.byName = make(map[string]int, len(h.tensors))
	for i, t := range h.tensors {
		if _, twice := h.byName[t.Name]; twice {
			return fmt.Errorf("tensor %q: want a name once, got it twice", t.Name)
		}
		h.byName[t.Name] = i
	}
	return nil
}

// encode lays the tensors out, those of the larger elements first and the names in order,
// so that each is aligned, and returns the text. Its length is a multiple of 8.
func (h *header) encode() ([]byte, error) {
	slices.SortFunc(h.tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(bits[b.DType], bits[a.DType]), strings.Compare(a.Name, b.Name))
	})
	if err := h.index(); err != nil {
		return nil, err
	}
	text := []byte{'{'}
	key := func(name string) error {
		if !utf8.ValidString(name) {
			return fmt.Errorf("want UTF-8, got %q", name)
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		k, err := json.Marshal(name)
		text = append(append(text, k...), ':')
		return err
	}
	if len(h.metadata) > 0 {
		for k, v := range h.metadata {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("metadata: want UTF-8, got %q: %q", k, v)
			}
		}
		m, err := json.Marshal(h.metadata)
		if err := errors.Join(err, key(metadataKey)); err != nil {
			return nil, err
		}
		text = append(text, m...)
	}
	at := int64(0)
	for k := range h.tensors {
		i := &h.tensors[k]
		size, err := bytesOf(i.DType, i.Shape)
		if err == nil && at > math.MaxInt64-size {
			err = errors.New("want less than 2^63 bytes of data in all, got more")
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", i.Name, err)
		}
		i.begin, i.end = at, at+size
		at = i.end
		shape := i.Shape
		if shape == nil {
			shape = []int{}
		}
		info, err := json.Marshal(struct {
			DType   DType    `json:"dtype"`
			Shape   []int    `json:"shape"`
			Offsets [2]int64 `json:"data_offsets"`
		}{i.DType, shape, [2]int64{i.begin, i.end}})
		if err := errors.Join(err, key(i.Name)); err != nil {
			return nil, err
		}
		text = append(text, info...)
	}
	text = append(text, '}')
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if len(text) > MaxHeader {
		return nil, fmt.Errorf("want a header of at most %d bytes, got %d", MaxHeader, len(text))
	}
	return text, nil
}
