// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func (c *Case) hash() error {
	g, err := c.graph(tensor.Float64, c.Build, nil, true)
	if err != nil {
		return err
	}
	errs := []error{Hash(g.node.Op(), c.Unhashed...)}
	for i, n := range g.gradients {
		if n.Op() == nil || n.Op() == g.node.Op() {
			continue
		}
		if err := Hash(n.Op(), c.Unhashed...); err != nil {
			errs = append(errs, fmt.Errorf("gradient %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// variants checks that the node and its variants are different nodes in one graph, and that the
// hashes of their gradients differ, because Gorgonia merges nodes with the same hash.
func (c *Case) variants() error {
	builds := append([]Build{c.Build}, c.Variants...)
	leaves := c.leaves(tensor.Float64)
	var nodes gorgonia.Nodes
	seen := map[string]map[uint32]int{}
	for i, build := range builds {
		n, err := add(build, leaves)
		if err != nil {
			return fmt.Errorf("variant %d: %w", i, err)
		}
		if j := slices.Index(nodes, n); j >= 0 {
			return fmt.Errorf("variant %d: want a node of its own, got that of variant %d", i, j)
		}
		nodes = append(nodes, n)
		g, err := c.graph(tensor.Float64, build, nil, true)
		if err != nil {
			return fmt.Errorf("variant %d: %w", i, err)
		}
		ops := map[string]gorgonia.Op{"op": g.node.Op()}
		for k, d := range g.gradients {
			if d != g.cotangent {
				ops[fmt.Sprintf("op of gradient %d", k)] = d.Op()
			}
		}
		for what, op := range ops {
			if op == nil {
				continue
			}
			if seen[what] == nil {
				seen[what] = map[uint32]int{}
			}
			h := op.Hashcode()
			if j, ok := seen[what][h]; ok {
				return fmt.Errorf("variant %d: %s: want a hash of its own, got that of variant %d", i, what, j)
			}
			seen[what][h] = i
		}
	}
	return nil
}

// Hash checks that the hash of an op covers all its fields, exported or not, except those named in
// unhashed. It changes one field at a time, in a copy of the op, and checks that Hashcode changes.
//
// It descends into structs, slices, arrays, interfaces and ops that the op points to. A pointer to
// a gorgonia.Node need not be hashed, because it only says where the op is in a graph. Any other
// pointer is assumed to point to state: the pointer must be hashed, but not the fields it points
// to. Functions, channels and nil interfaces are not checked.
func Hash(op gorgonia.Op, unhashed ...string) error {
	if op == nil {
		return errors.New("want an op, got nil")
	}
	v := reflect.ValueOf(op)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return errors.New("want an op, got nil")
		}
		v = v.Elem()
	}
	m := mutator{copied: reflect.New(v.Type()), unhashed: unhashed}
	m.copied.Elem().Set(v)
	copied, ok := m.copied.Interface().(gorgonia.Op)
	if !ok {
		return fmt.Errorf("want an op, got %v", m.copied.Type())
	}
	m.hash = copied.Hashcode
	m.before = m.hash()
	m.walk(m.copied.Elem(), v.Type().String(), func() {})
	return errors.Join(m.errs...)
}

var (
	opType   = reflect.TypeFor[gorgonia.Op]()
	nodeType = reflect.TypeFor[*gorgonia.Node]()
)

type mutator struct {
	copied   reflect.Value
	hash     func() uint32
	before   uint32
	unhashed []string
	errs     []error
}

// try sets v to other and checks that the hash changes. If v is a copy, store writes it back to its
// origin.
func (m *mutator) try(v, other reflect.Value, path string, store func()) {
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	defer func() {
		v.Set(old)
		store()
		_ = recover() // if the hash panics on the changed field, it reads the field
	}()
	v.Set(other)
	store()
	if m.hash() == m.before {
		m.errs = append(m.errs, fmt.Errorf("%s is not in the hash", path))
	}
}

func (m *mutator) walk(v reflect.Value, path string, store func()) {
	t := v.Type()
	other := reflect.New(t).Elem()
	switch v.Kind() {
	case reflect.Bool:
		other.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		other.SetInt(v.Int() + 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		other.SetUint(v.Uint() + 1)
	case reflect.Float32:
		other.SetFloat(v.Float()*(1+0x1p-20) + 0x1p-30)
	case reflect.Float64:
		other.SetFloat(v.Float()*(1+0x1p-40) + 0x1p-60)
	case reflect.String:
		other.SetString(v.String() + "x")
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			name := t.Field(i).Name
			if slices.Contains(m.unhashed, name) || name == "_" {
				continue
			}
			m.walk(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), path+"."+name, store)
		}
		return
	case reflect.Array:
		for i := range v.Len() {
			m.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), store)
		}
		return
	case reflect.Slice:
		old := v.Slice(0, v.Len())
		copied := reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(copied, v)
		into := func() { v.Set(copied); store() }
		for i := range copied.Len() {
			m.walk(copied.Index(i), fmt.Sprintf("%s[%d]", path, i), into)
		}
		v.Set(old)
		store()
		longer := reflect.MakeSlice(t, v.Len()+1, v.Len()+1)
		reflect.Copy(longer, v)
		other, path = longer, "the length of "+path
	case reflect.Map:
		other.Set(reflect.MakeMap(t))
		other.SetMapIndex(reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem())
	case reflect.Interface:
		if v.IsNil() {
			return
		}
		inner := reflect.New(v.Elem().Type()).Elem()
		inner.Set(v.Elem())
		m.walk(inner, path, func() { v.Set(inner); store() })
		return
	case reflect.Pointer:
		if t == nodeType {
			return
		}
		if t.Implements(opType) && !v.IsNil() && t.Elem().Kind() == reflect.Struct {
			old := reflect.New(t).Elem()
			old.Set(v)
			copied := reflect.New(t.Elem())
			copied.Elem().Set(v.Elem())
			v.Set(copied)
			store()
			m.walk(copied.Elem(), path, store)
			v.Set(old)
			store()
			return
		}
		other.Set(reflect.New(t.Elem()))
	default:
		return
	}
	m.try(v, other, path, store)
}
