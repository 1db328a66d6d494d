// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// The points of a part are values among those of a parameter: views of them where the layout allows it, and copies elsewhere.

// points views a value as a batch.
func points(v dense.View, k, n, p int) (manifolds.Points, error) {
	if v.F64 != nil {
		return manifolds.Points64(v.F64, k, n, p)
	}
	return manifolds.Points32(v.F32, k, n, p)
}

// whole reports whether a value of the parameter's shape serves as the points of the part, without a
// copy.
func (p *Part) whole() bool { return p.bound.layout.Contiguous() && len(p.bound.of.parts) == 1 }

// single reports whether the weights are float32.
func (p *Part) single() bool { return p.bound.of.precision == "float32" }

// batch returns the points of the part in a value of the parameter's shape: a view or, if the layout requires it, a copy in buf.
func (p *Part) batch(v dense.View, buf *manifolds.Points) (manifolds.Points, error) {
	l := p.bound.layout
	if p.whole() {
		return points(v, l.K, l.N, l.P)
	}
	flat, err := points(v, v.Len(), 1, 1)
	if err != nil {
		return flat, err
	}
	p.ensure(buf)
	return *buf, l.Gather(*buf, flat)
}

// lentBatch is batch with a copy that is borrowed until the end of the step.
func (p *Part) lentBatch(v dense.View) (manifolds.Points, error) {
	var buf manifolds.Points
	if !p.whole() {
		buf = p.borrow(false)
	}
	return p.batch(v, &buf)
}

// gather copies c times a value of the parameter's shape, in the order of the points.
func (p *Part) gather(v dense.View, c float64, wide bool) (manifolds.Points, error) {
	x := p.borrow(wide)
	if p.whole() {
		clip(x, v, c, 0)
		return x, nil
	}
	flat := lend(v.Len(), 1, 1, wide || !p.single())
	defer giveBack(flat)
	clip(flat, v, c, 0)
	return x, p.bound.layout.Gather(x, flat)
}

// byFilter returns v as a batch of the filters of a kernel, gathered in buf if necessary.
func (p *parameter) byFilter(v dense.View, buf manifolds.Points) (manifolds.Points, error) {
	l := p.filters
	if l.Contiguous() {
		return points(v, l.K, l.N, l.P)
	}
	flat, err := points(v, v.Len(), 1, 1)
	if err != nil {
		return flat, err
	}
	return buf, l.Gather(buf, flat)
}

// put writes the points to their places in a value of the parameter's shape.
func (p *Part) put(v dense.View, x manifolds.Points) error {
	l := p.bound.layout
	if p.whole() {
		w, err := points(v, l.K, l.N, l.P)
		if err != nil {
			return err
		}
		return w.CopyFrom(x)
	}
	w, err := points(v, v.Len(), 1, 1)
	if err != nil {
		return err
	}
	return l.Scatter(w, x)
}

// write writes the points to their places in a value of the parameter's shape and precision.
func (p *Part) write(v dense.View, x manifolds.Points) error {
	if p.single() && x.Data64() != nil {
		y := lend(x.K, x.N, x.P, false)
		defer giveBack(y)
		if err := narrow(y, x); err != nil {
			return err
		}
		x = y
	}
	return p.put(v, x)
}

// place is write that fails if a value is not finite.
func (p *Part) place(v dense.View, x manifolds.Points) error {
	if p.single() == (x.Data64() == nil) { // or write looks at them
		if _, err := finite(x); err != nil {
			return err
		}
	}
	return p.write(v, x)
}

// ensure gives buf the shape and precision of the part.
func (p *Part) ensure(buf *manifolds.Points) {
	if buf.K == 0 {
		*buf = p.blank(p.bound.layout.K, p.bound.layout.N, p.bound.layout.P)
	}
}

// blank is a batch of k matrices of n x q zeros.
func (p *Part) blank(k, n, q int) manifolds.Points {
	var v dense.View
	if p.single() {
		v.F32 = make([]float32, k*n*q)
	} else {
		v.F64 = make([]float64, k*n*q)
	}
	x, _ := points(v, k, n, q)
	return x
}

// borrow lends a batch of the part's shape, with arbitrary contents, until the end of the step.
func (p *Part) borrow(wide bool) manifolds.Points {
	l := p.bound.layout
	x := lend(l.K, l.N, l.P, wide || !p.single())
	p.step.borrowed = append(p.step.borrowed, x)
	return x
}

// borrowWide is borrow of any shape in float64.
func (p *Part) borrowWide(k, n, q int) manifolds.Points {
	x := lend(k, n, q, true)
	p.step.borrowed = append(p.step.borrowed, x)
	return x
}

func lend(k, n, p int, double bool) manifolds.Points {
	var v dense.View
	if double {
		v.F64 = scratch.Get[float64](k * n * p)
	} else {
		v.F32 = scratch.Get[float32](k * n * p)
	}
	x, _ := points(v, k, n, p)
	return x
}

func giveBack(x manifolds.Points) {
	if d := x.Data64(); d != nil {
		scratch.Put(d)
	} else {
		scratch.Put(x.Data32())
	}
}

// copyTo copies x, which may be float32 where dst is float64.
func copyTo(dst, x manifolds.Points) error {
	if dst.Data64() != nil && x.Data64() == nil {
		widen(dst, x)
		return nil
	}
	return dst.CopyFrom(x)
}

// widen copies x to float64.
func widen(dst, x manifolds.Points) manifolds.Points {
	d := dst.Data64()
	for i, v := range x.Data32() {
		d[i] = float64(v)
	}
	return dst
}

// narrow copies x to float32, and returns an error if a value overflows.
func narrow(dst, x manifolds.Points) error {
	d := dst.Data32()
	for i, v := range x.Data64() {
		if d[i] = float32(v); math.IsInf(float64(d[i]), 0) || d[i] != d[i] {
			return fmt.Errorf("want values that float32 holds, got %g", v)
		}
	}
	return nil
}

// finite returns the norm of a block, and an error that names the first value that is not finite.
func finite(x manifolds.Points) (norm float64, err error) {
	norm = x.Norm()
	if norm <= math.MaxFloat64 {
		return norm, nil
	}
	for i, v := range x.Data32() {
		if f := float64(v); math.IsInf(f, 0) || f != f {
			return norm, fmt.Errorf("want finite values, got %v at element %d", v, i)
		}
	}
	for i, v := range x.Data64() {
		if math.IsInf(v, 0) || v != v {
			return norm, fmt.Errorf("want finite values, got %v at element %d", v, i)
		}
	}
	return norm, nil // the norm alone overflows
}
