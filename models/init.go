// SPDX-License-Identifier: Apache-2.0

package models

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// Init makes an initialiser of weights from a seed. Use the initialisers of package nodes, for
// example
//
//	func(seed uint64) gorgonia.InitWFn { return nodes.Orthonormal(math.Sqrt2, seed) }
//
// A nil Init is nodes.HeNormal with a gain of sqrt(2).
type Init func(seed uint64) gorgonia.InitWFn

// OnManifold draws kernels from the uniform distribution on a manifold. Give it the arguments of
// solvers.Kernels, so that the kernels already fulfil the constraint when training starts. The
// manifold must be a manifolds.Sampler. See nodes.ManifoldInit.
func OnManifold(m manifolds.Manifold, opts ...manifolds.Option) Init {
	return func(seed uint64) gorgonia.InitWFn { return nodes.ManifoldInit(manifolds.On(m, opts...), seed) }
}

// heNormal draws normal numbers of variance gain^2 / fan-in.
func heNormal(gain float64) Init {
	return func(seed uint64) gorgonia.InitWFn { return nodes.HeNormal(gain, seed) }
}

func zeros(uint64) gorgonia.InitWFn { return gorgonia.Zeroes() }
func ones(uint64) gorgonia.InitWFn  { return gorgonia.Ones() }

// draw returns initial weights. An InitWFn can only report an error by a panic; draw returns it.
func (i Init) draw(of tensor.Dtype, seed uint64, shape tensor.Shape) (value gorgonia.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("initial weights: %v", r)
		}
	}()
	if i == nil {
		i = heNormal(math.Sqrt2)
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(i(seed)(of, shape...))), nil
}

// seedOf returns a seed that depends on the seed of the net and on a name (FNV-1a).
func seedOf(seed uint64, name string) uint64 {
	h := fnv.New64a()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(name))
	return h.Sum64()
}
