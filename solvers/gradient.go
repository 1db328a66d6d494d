// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"
	"slices"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// scale is the factor of the gradients before they are clipped.
func (e *engine) scale() float64 {
	if e.batch > 1 {
		return 1 / float64(e.batch)
	}
	return 1
}

// shrinkage is the factor by which ClipNorm of the parameter alone scales its gradient.
func (p *parameter) shrinkage(scale float64) float64 {
	limit := p.settings.clipOwn
	if limit == 0 {
		return 1
	}
	if norm := p.clipped(scale); norm > limit {
		return limit / norm
	}
	return 1
}

// clipped is the norm of the gradient after ClipValue.
func (p *parameter) clipped(scale float64) float64 {
	if p.settings.clipValue == 0 {
		return p.gradient * scale
	}
	g := lend(p.weights.Len(), 1, 1, p.weights.F64 != nil)
	defer giveBack(g)
	clip(g, p.grad, scale, p.settings.clipValue)
	return g.Norm()
}

// shrinkage is the factor by which ClipNorm of the solver scales all gradients.
func (e *engine) shrinkage(active []*parameter) float64 {
	if e.clipNorm == 0 {
		return 1
	}
	const unit = 0x1p32 // of the norms, so that finite ones have a finite sum
	norms := scratch.Get[float64](len(active))
	defer scratch.Put(norms)
	for i, p := range active {
		if norms[i] = 0; !p.settings.frozen {
			norms[i] = p.clipped(e.scale()) * p.shrinkage(e.scale()) / unit
		}
	}
	if total, limit := together(norms), e.clipNorm/unit; total > limit {
		return limit / total
	}
	return 1
}

// together returns the root of the sum of the squares, or the largest float64 if that overflows. It sorts the norms, so that the result does not
// depend on their order.
func together(norms []float64) (sum float64) {
	slices.Sort(norms)
	for _, n := range norms {
		sum = math.Hypot(sum, n)
	}
	return min(sum, math.MaxFloat64)
}

// clip sets dst, in the order of the weights, to the gradient scaled and
// clamped.
func clip(dst manifolds.Points, g dense.View, scale, limit float64) {
	d64, d32 := dst.Data64(), dst.Data32()
	switch {
	case limit > 0:
	case g.F64 != nil:
		vec.Scale(d64, scale, g.F64)
		return
	case d32 != nil:
		vec.Scale(d32, scale, g.F32)
		return
	default:
		limit = math.Inf(1)
	}
	for i, v := range g.F64 {
		d64[i] = max(-limit, min(limit, scale*v))
	}
	for i, v := range g.F32 {
		d := max(-limit, min(limit, scale*float64(v)))
		if d32 != nil {
			d32[i] = float32(d)
		} else {
			d64[i] = d
		}
	}
}

// takeGradient fills Gradient: scaled, clipped, and in the order of the points.
func (p *Part) takeGradient() error {
	of, l := p.bound.of, p.bound.layout
	scale, limit := p.step.slope, of.settings.clipValue
	flat := p.Gradient
	if !p.whole() {
		flat = lend(of.weights.Len(), 1, 1, p.wide() || !p.single())
		defer giveBack(flat)
	}
	if limit > 0 { // the factors of ClipNorm come after it
		rest := scale / p.step.scale
		clip(flat, of.grad, p.step.scale, limit)
		if rest != 1 {
			if err := flat.Combine(rest, flat, 0, flat); err != nil {
				return err
			}
		}
	} else {
		clip(flat, of.grad, scale, 0)
	}
	if p.whole() {
		return nil
	}
	return l.Gather(p.Gradient, flat)
}
