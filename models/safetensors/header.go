// SPDX-License-Identifier: Apache-2.0

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// header is what stands before the data.
type header struct {
	tensors  []Info // in the order of the data
	metadata map[string]string
}

// parse reads a header of a file with that many bytes of data.
//
// It goes through the tokens by itself, since json.Unmarshal takes a name twice, names in
// the wrong case and fields it does not know.
func (h *header) parse(text []byte, data int64) error {
	if len(text) == 0 || text[0] != '{' {
		return errors.New("header: want a JSON object")
	}
	if !utf8.Valid(text) {
		return errors.New("header: want UTF-8")
	}
	p := &parser{json.NewDecoder(bytes.NewReader(text))}
	p.UseNumber()
	hasMetadata := false
	err := p.object(func(name string) (err error) {
		if name != metadataKey {
			i := Info{Name: name}
			if err = p.info(&i); err != nil {
				return fmt.Errorf("tensor %q: %w", name, err)
			}
			h.tensors = append(h.tensors, i)
			return nil
		}
		if hasMetadata {
			return errors.New("want the metadata once, got them twice")
		}
		hasMetadata = true
		h.metadata, err = p.strings()
		return err
	})
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if rest := bytes.TrimLeft(text[p.InputOffset():], " "); len(rest) > 0 {
		return errors.New("header: want nothing but spaces after the object")
	}
	if err := h.unique(); err != nil {
		return err
	}
	return h.cover(data)
}

// unique returns an error for a name that occurs twice.
func (h *header) unique() error {
	slices.SortFunc(h.tensors, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	for i := range h.tensors {
		if i > 0 && h.tensors[i].Name == h.tensors[i-1].Name {
			return fmt.Errorf("tensor %q: want a name once, got it twice", h.tensors[i].Name)
		}
	}
	return nil
}

// cover sorts the tensors by place and returns an error unless they cover the data.
func (h *header) cover(data int64) error {
	slices.SortStableFunc(h.tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
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

// parser takes the tokens of a header one by one.
type parser struct{ *json.Decoder }

// delim takes a bracket.
func (p *parser) delim(want json.Delim) error {
	t, err := p.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && t != want {
		err = fmt.Errorf("want %q at byte %d, got %v", want.String(), p.InputOffset(), t)
	}
	return err
}

// object takes an object, of which value takes each value.
func (p *parser) object(value func(name string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.More() {
		name, err := p.text()
		if err != nil {
			return err
		}
		if err := value(name); err != nil {
			return err
		}
	}
	return p.delim('}')
}

// text takes a string.
func (p *parser) text() (string, error) {
	t, err := p.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("want a string at byte %d, got %v", p.InputOffset(), t)
	}
	return s, nil
}

// strings takes an object of strings.
func (p *parser) strings() (map[string]string, error) {
	m := map[string]string{}
	err := p.object(func(key string) (err error) {
		if _, twice := m[key]; twice {
			return fmt.Errorf("metadata %q: want a key once, got it twice", key)
		}
		m[key], err = p.text()
		return err
	})
	return m, err
}

// integers takes an array of at most limit integers >= 0.
func (p *parser) integers(limit int) (list []int64, err error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	for p.More() {
		t, err := p.Token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("want an integer at byte %d, got %v", p.InputOffset(), t)
		}
		i, err := strconv.ParseInt(n.String(), 10, 64)
		if err != nil || i < 0 {
			return nil, fmt.Errorf("want an integer from 0 to 2^63-1, got %s", n)
		}
		if len(list) == limit {
			return nil, fmt.Errorf("want at most %d integers, got more", limit)
		}
		list = append(list, i)
	}
	return list, p.delim(']')
}

// info takes what is said of a tensor.
func (p *parser) info(i *Info) error {
	var seen [3]bool
	once := func(field int) error {
		if seen[field] {
			return errors.New("want dtype, shape and data_offsets once, got one of them twice")
		}
		seen[field] = true
		return nil
	}
	err := p.object(func(name string) error {
		switch name {
		case "dtype":
			s, err := p.text()
			i.DType = DType(s)
			return errors.Join(err, once(0))
		case "shape":
			list, err := p.integers(MaxRank)
			i.Shape = make([]int, len(list))
			for k, n := range list {
				if n > math.MaxInt {
					return fmt.Errorf("want sizes of at most %d, got %d", math.MaxInt, n)
				}
				i.Shape[k] = int(n)
			}
			return errors.Join(err, once(1))
		case "data_offsets":
			list, err := p.integers(2)
			if err == nil && len(list) < 2 {
				err = fmt.Errorf("want two data_offsets, got %d", len(list))
			}
			if err == nil {
				i.begin, i.end = list[0], list[1]
			}
			return errors.Join(err, once(2))
		}
		return fmt.Errorf("want dtype, shape and data_offsets, got %q", name)
	})
	if err != nil {
		return err
	}
	if seen != [3]bool{true, true, true} {
		return errors.New("want dtype, shape and data_offsets, got less")
	}
	n, err := bytesOf(i.DType, i.Shape)
	if err != nil {
		return err
	}
	if i.end < i.begin || i.end-i.begin != n {
		return fmt.Errorf("want %d bytes for %s of shape %v, got bytes %d to %d", n, i.DType, i.Shape, i.begin, i.end)
	}
	return nil
}

// encode lays the tensors out, those of the larger elements first and the names in order,
// so that each is aligned, and returns the text. Its length is a multiple of 8.
func (h *header) encode() ([]byte, error) {
	if err := h.unique(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(h.tensors, func(a, b Info) int { return cmp.Compare(sizes[b.DType], sizes[a.DType]) })
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
