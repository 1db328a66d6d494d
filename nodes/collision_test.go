// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// namedLike returns a name for an input of type and shape t with the hash wanted, by a search from
// both ends: FNV-1a can be run backwards.
func namedLike(t string, want uint32) string {
	const prime, inverse = 16777619, 899433627 // inverse*prime = 1 modulo 2^32
	h := fnv.New32a()
	h.Write([]byte(t))
	start := h.Sum32()
	// The name is four letters and two more bytes; 0 is the number of children that follows it.
	ends := map[uint32][2]byte{}
	for a := 1; a < 256; a++ {
		for b := 1; b < 256; b++ {
			s := want * inverse // undo the 0
			s = s*inverse ^ uint32(b)
			s = s*inverse ^ uint32(a)
			ends[s] = [2]byte{byte(a), byte(b)}
		}
	}
	for i := range uint32(1 << 28) {
		s, name := start, make([]byte, 0, 9)
		for k := range 7 {
			c := 'a' + byte(i>>(4*k)&15)
			s = (s ^ uint32(c)) * prime
			name = append(name, c)
		}
		if e, ok := ends[s]; ok {
			return string(append(name, e[0], e[1]))
		}
	}
	return ""
}

// TestHashCollision makes a graph in which gorgonia.Read of a node has the hash of an input.
// CheckGraph finds it. Without that the machine gives a node the value of another.
func TestHashCollision(t *testing.T) {
	image := func(g *gorgonia.ExprGraph) *gorgonia.Node { return zeros(g, "x", tensor.Float64, 1, 2, 4, 4) }
	pooled := func(x *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(nodes.AveragePool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	}
	var into gorgonia.Value
	h := fnv.New32a() // as Node.WriteHash of a Read
	fmt.Fprintf(h, "%v%vprint %p", nil, tensor.Shape(nil), &into)
	h.Write([]byte{1})
	require.NoError(t, binary.Write(h, binary.LittleEndian, pooled(image(gorgonia.NewGraph())).Hashcode()))
	like := zeros(gorgonia.NewGraph(), "like", tensor.Float64, 3, 1)
	name := namedLike(fmt.Sprintf("%v%v", like.Type(), like.Shape()), h.Sum32())
	require.NotEmpty(t, name)

	// Which node gets the value of which depends on the order of the inputs.
	wrong := 0
	for _, first := range []bool{false, true} {
		g := gorgonia.NewGraph()
		var x, bias *gorgonia.Node
		if first {
			x = image(g)
		}
		bias = zeros(g, name, tensor.Float64, 3, 1)
		if !first {
			x = image(g)
		}
		y := pooled(x)
		gorgonia.Must(nodes.Rectify(bias))
		gorgonia.Must(nodes.GlobalAveragePool2D(x))
		gorgonia.Must(nodes.Rectify(bias))
		require.NoError(t, nodes.CheckGraph(g))
		read := gorgonia.Read(y, &into)
		require.Equal(t, bias.Hashcode(), read.Hashcode())
		assert.ErrorIs(t, nodes.CheckGraph(g), nodes.ErrCollision)
		vm := gorgonia.NewTapeMachine(g)
		if err := nodes.Cause(vm.RunAll()); err != nil {
			t.Log(err)
			assert.ErrorContains(t, err, "want shape")
			wrong++
		}
		vm.Close()
	}
	assert.Positive(t, wrong, "the compiler compares nodes: CheckGraph can go")
}
