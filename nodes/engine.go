// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Engine is gorgonia.StandardEngine with additions that run on all cores. Give it to a machine for
// nets in which a value is used more than once, such as residual nets: gorgonia.Grad adds up the
// gradients of the uses with additions of its own, which are all that is left of a step on one core.
//
//	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(learnables...), gorgonia.WithEngine(nodes.Engine{}))
//
// All results have the bits that they have with gorgonia.StandardEngine.
type Engine struct{ gorgonia.StandardEngine }

// Add adds tensors of one shape that are whole, in float32 or float64, and writes the sum to a or to a
// third tensor, on all cores. It leaves all other additions, and those of few numbers, to the standard
// engine.
func (e Engine) Add(a, b tensor.Tensor, opts ...tensor.FuncOpt) (tensor.Tensor, error) {
	if a.Shape().TotalSize() < grain {
		return e.StandardEngine.Add(a, b, opts...)
	}
	o := tensor.ParseFuncOpts(opts...)
	dst := o.Reuse()
	if dst == nil && !o.Safe() {
		dst = a
	}
	if dst != nil && o.Incr() == nil && addWhole(dst, a, b) {
		return dst, nil
	}
	return e.StandardEngine.Add(a, b, opts...)
}

// addWhole sets dst to a + b, or reports false if it cannot.
func addWhole(dst, a, b tensor.Tensor) bool {
	var views [3]dense.View
	for i, t := range []tensor.Tensor{dst, a, b} {
		d, ok := t.(*tensor.Dense)
		if !ok || d.IsMasked() || !d.Shape().Eq(a.Shape()) || d.Dtype() != a.Dtype() {
			return false
		}
		v, err := dense.Of(d)
		if err != nil {
			return false
		}
		views[i] = v
	}
	if views[0].F64 != nil {
		addSpread(views[0].F64, views[1].F64, views[2].F64)
	} else {
		addSpread(views[0].F32, views[1].F32, views[2].F32)
	}
	return true
}

func addSpread[T vec.Float](dst, a, b []T) {
	par.Ranges(len(dst), grain, func(from, to int) { vec.Combine(dst[from:to], 1, a[from:to], 1, b[from:to]) })
}

var _ tensor.Adder = Engine{}
