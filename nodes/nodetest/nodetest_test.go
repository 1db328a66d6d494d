// SPDX-License-Identifier: Apache-2.0

package nodetest_test

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math"
	"testing"

	"github.com/chewxy/hm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// power is y = a x^2 / 2 on rank 2, with a fault.
type power struct {
	a     float64
	fault string
	count *int
	y     gorgonia.Value // the output of the last run
}

// runs counts the runs of all ops, for one that is not deterministic.
var runs float64

func (p *power) Arity() int { return 1 }
func (p *power) Type() hm.Type {
	t := gorgonia.TensorType{Dims: 2, Of: hm.TypeVariable('a')}
	return hm.NewFnType(t, t)
}
func (p *power) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return in[0].(tensor.Shape).Clone(), nil
}
func (p *power) ReturnsPtr() bool     { return false }
func (p *power) CallsExtern() bool    { return false }
func (p *power) OverwritesInput() int { return -1 }
func (p *power) String() string       { return "power" }
func (p *power) WriteHash(h hash.Hash) {
	if p.fault == "hash" {
		fmt.Fprintf(h, "power %s", p.fault)
		return
	}
	fmt.Fprintf(h, "power %v %s %p", p.a, p.fault, p.count)
}
func (p *power) Hashcode() uint32 {
	h := fnv.New32a()
	p.WriteHash(h)
	return h.Sum32()
}

func (p *power) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x := in[0].(*tensor.Dense)
	y := tensor.New(tensor.Of(x.Dtype()), tensor.WithShape(x.Shape().Clone()...))
	if p.fault == "reuse" && p.y != nil && p.y.Dtype() == x.Dtype() {
		y = p.y.(*tensor.Dense)
	}
	runs = math.Mod(runs+1, 97)
	*p.count++
	a := p.a
	switch p.fault {
	case "panic":
		panic("at the disco")
	case "error":
		return nil, errors.New("no")
	case "clock":
		a += runs * 1e-15 // small, so that values are right to rounding
	case "drift":
		a *= 1 + 1e-15*float64(*p.count)
	}
	switch x := x.Data().(type) {
	case []float64:
		y := y.Data().([]float64)
		for i, v := range x {
			switch p.fault {
			case "value":
				y[i] = a*v*v/2 + 1e-9
			case "reuse":
				y[i] += a * v * v / 2
			case "write":
				y[i] = a * v * v / 2
				x[i] = v * 2
			default:
				y[i] = a * v * v / 2
			}
		}
	case []float32:
		y := y.Data().([]float32)
		for i, v := range x {
			if y[i] = float32(a) * v * v / 2; p.fault == "float32" {
				y[i] *= 1.001
			}
		}
	}
	p.y = y
	return y, nil
}

func (p *power) DiffWRT(int) []bool { return []bool{true} }
func (p *power) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	d, err := gorgonia.ApplyOp(&slope{of: p}, in[0], grad)
	return gorgonia.Nodes{d}, err
}

// slope is the gradient of power: dx = a x dy. With the fault "keep" it computes
// |a x| from the output that power keeps.
type slope struct{ of *power }

func (s *slope) Arity() int { return 2 }
func (s *slope) Type() hm.Type {
	t := gorgonia.TensorType{Dims: 2, Of: hm.TypeVariable('a')}
	return hm.NewFnType(t, t, t)
}
func (s *slope) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return s.of.InferShape(in...)
}
func (s *slope) ReturnsPtr() bool     { return false }
func (s *slope) CallsExtern() bool    { return false }
func (s *slope) OverwritesInput() int { return -1 }
func (s *slope) String() string       { return "slope" }
func (s *slope) WriteHash(h hash.Hash) {
	if s.of.fault == "gradient hash" {
		fmt.Fprint(h, "slope")
		return
	}
	fmt.Fprint(h, "slope of ")
	s.of.WriteHash(h)
}
func (s *slope) Hashcode() uint32 {
	h := fnv.New32a()
	s.WriteHash(h)
	return h.Sum32()
}
func (s *slope) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, g := in[0].(*tensor.Dense), in[1].(*tensor.Dense)
	dx := tensor.New(tensor.Of(x.Dtype()), tensor.WithShape(x.Shape().Clone()...))
	switch x := x.Data().(type) {
	case []float64:
		dx, g, y := dx.Data().([]float64), g.Data().([]float64), s.of.y.Data().([]float64)
		for i, v := range x {
			switch dx[i] = s.of.a * v * g[i]; s.of.fault {
			case "gradient":
				dx[i] *= 1 + 1e-6
			case "keep":
				dx[i] = math.Copysign(math.Sqrt(2*s.of.a*y[i]), v) * g[i]
			}
		}
	case []float32:
		dx, g := dx.Data().([]float32), g.Data().([]float32)
		for i, v := range x {
			dx[i] = float32(s.of.a) * v * g[i]
		}
	}
	return dx, nil
}

func with(a float64, fault string) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		if fault == "build" {
			panic("no")
		}
		if fault == "nil" {
			return nil, nil
		}
		if fault == "input" { // not an operation at all
			return in[0], nil
		}
		return gorgonia.ApplyOp(&power{a: a, fault: fault, count: new(int)}, in[0])
	}
}

func faulty(fault string) nodetest.Case {
	return nodetest.Case{
		Build:    with(3, fault),
		Variants: []nodetest.Build{with(4, fault), with(5, fault)},
		Inputs:   []nodetest.Input{{Shape: []int{3, 2}}},
		Value: func(in [][]float64) []float64 {
			for i, x := range in[0] {
				in[0][i] = 3 * x * x / 2
			}
			return in[0]
		},
		Unhashed: []string{"y"},
	}
}

func TestRight(t *testing.T) {
	nodetest.Run(t, faulty(""))
	assert.NoError(t, nodetest.Check(faulty("")))
}

// Each fault is found by the property that is meant for it, and by no unrelated property.
func TestFaults(t *testing.T) {
	for fault, want := range map[string][]string{
		"value":         {"value", "in place"},
		"gradient":      {"gradient"},
		"float32":       {"precision"},
		"write":         {"inputs", "in place", "gradient", "precision"},
		"clock":         {"determinism", "repetition"},
		"drift":         {"repetition"},
		"reuse":         {"repetition", "gradient", "in place"},
		"keep":          {"in place"},
		"hash":          {"hash", "variants"},
		"gradient hash": {"hash", "variants"},
	} {
		t.Run(fault, func(t *testing.T) {
			err := nodetest.Check(faulty(fault))
			require.Error(t, err)
			var f *nodetest.Failure
			require.ErrorAs(t, err, &f)
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				require.ErrorAs(t, e, &f)
				assert.Contains(t, want, f.Property, "%v", e)
			}
			assert.ErrorContains(t, err, "nodetest: "+want[0]+": ")
		})
	}
}

// A panic that would end the process becomes an error.
func TestPanics(t *testing.T) {
	assert.ErrorContains(t, nodetest.Check(faulty("panic")), "the op panics: at the disco")
	assert.ErrorContains(t, nodetest.Check(faulty("build")), "Build panics: no")
	assert.ErrorContains(t, nodetest.Check(faulty("nil")), "want a node")
	assert.ErrorContains(t, nodetest.Check(faulty("error")), "no")
	assert.ErrorContains(t, nodetest.Check(nodetest.Case{}), "want a case")
	bad := faulty("")
	bad.Inputs = []nodetest.Input{{Shape: []int{2, 2}, Data: []float64{1}}}
	assert.ErrorContains(t, nodetest.Check(bad), "want 4 numbers for shape [2 2], got 1")
}

// A node that changes from run to run passes if Varies is set.
func TestVaries(t *testing.T) {
	c := faulty("drift")
	assert.Error(t, nodetest.Check(c))
	c.Varies = true
	assert.NoError(t, nodetest.Check(c))
}

// Composed nodes and scalars can be checked as well.
func TestComposed(t *testing.T) {
	nodetest.Run(t, nodetest.Case{
		Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			s, err := gorgonia.Mul(in[0], in[1])
			if err != nil {
				return nil, err
			}
			return gorgonia.Tanh(s)
		},
		Inputs: []nodetest.Input{{}, {Data: []float64{0.5}}},
		Value:  func(in [][]float64) []float64 { return []float64{math.Tanh(in[0][0] * in[1][0])} },
		// Stock ops leave these out of their hash.
		Unhashed: []string{"numericResult", "retSame", "Type"},
	})
}

// everything is an op with every kind of field that Hash knows.
type everything struct {
	power
	Flag    bool
	Small   int8
	Big     uint64
	Half    float32
	Whole   float64
	Name    string
	Shapes  []tensor.Shape
	Pair    [2]int
	Inner   any
	State   *int
	Parent  *power
	Options map[string]int
	skip    string
}

func (e *everything) Hashcode() uint32 {
	h := fnv.New32a()
	for _, f := range []struct {
		name  string
		value any
	}{
		{"Flag", e.Flag}, {"Small", e.Small}, {"Big", e.Big}, {"Half", e.Half}, {"Whole", e.Whole}, {"Name", e.Name},
		{"Shapes", e.Shapes}, {"Pair", e.Pair}, {"Inner", e.Inner}, {"State", fmt.Sprintf("%p", e.State)},
		{"Parent.a", e.Parent.a}, {"", e.Parent.fault}, {"", fmt.Sprintf("%p", e.Parent.count)}, {"Options", e.Options},
		{"", e.a}, {"", e.fault}, {"", fmt.Sprintf("%p", e.count)}, {"", e.skip},
	} {
		if f.name == "" || f.name != e.skip {
			fmt.Fprintf(h, "%s %+v;", f.name, f.value)
		}
	}
	return h.Sum32()
}

func TestHash(t *testing.T) {
	fields := []string{"Flag", "Small", "Big", "Half", "Whole", "Name", "Shapes", "Pair", "Inner", "State", "Options", "Parent.a"}
	for _, skip := range append(fields, "") {
		e := &everything{
			power: power{count: new(int)}, Shapes: []tensor.Shape{{1, 2}}, Inner: power{count: new(int)}, Parent: &power{count: new(int)},
			skip: skip,
		}
		err := nodetest.Hash(e, "y")
		if skip == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, "."+skip)
		for _, other := range fields {
			if other != skip {
				assert.NotContains(t, err.Error(), "everything."+other)
			}
		}
		// The op itself is as it was.
		assert.Equal(t, skip, e.skip)
		assert.Equal(t, tensor.Shape{1, 2}, e.Shapes[0])
		assert.Zero(t, e.Parent.a)
	}
	assert.Error(t, nodetest.Hash(nil))
	assert.Error(t, nodetest.Hash((*power)(nil)))
}
