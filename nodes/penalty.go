// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// The penalties below are scalars that measure how far a filter bank is from orthonormal. Add them,
// times a factor, to the cost:
//
//	penalty, err := nodes.SoftOrthogonality(w)
//	cost, err = gorgonia.Add(cost, gorgonia.Must(gorgonia.Mul(penalty, factor)))
//
// w has shape (out, in, height, width), or (in, out) for a fully connected layer. X is the filter
// bank of w, with one row of in*height*width weights for each filter, or its transpose if that has
// fewer rows, because only then can the rows be orthonormal. E is X X^T - I. A kernel that is not
// finite is an error.

// SoftOrthogonality returns |E|_F^2, where E = X X^T - I (Bansal, Chen, Wang, Can we gain more from
// orthogonality regularizations in training deep networks?, NeurIPS 2018, section 3.1). X is the
// filter bank of w, or its transpose if that has fewer rows. w has shape (out, in, height, width) or
// (in, out). The gradient is
//
//	dL/dX = 4 E X.
//
// With X^T in place of X, the penalty would differ by a constant, the difference between rows and
// columns.
//
// SoftOrthogonality returns an error for w of another rank, and for a TransposedKernel that does not fit its shape. A penalty that is not
// finite is an error of the run, or of SoftOrthogonality if w already has a value.
func SoftOrthogonality(w *gorgonia.Node, opts ...KernelOption) (*gorgonia.Node, error) {
	return penalise("nodes.SoftOrthogonality", penalty{kind: soft}, w, opts)
}

// DoubleSoftOrthogonality returns |W W^T - I|_F^2 + |W^T W - I|_F^2 (Bansal et al. 2018, section
// 3.2), where W is the filter bank. Because the two terms differ by a constant, it is twice
// SoftOrthogonality plus the difference between the rows and columns of W. Shapes and errors are those of
// SoftOrthogonality.
func DoubleSoftOrthogonality(w *gorgonia.Node, opts ...KernelOption) (*gorgonia.Node, error) {
	return penalise("nodes.DoubleSoftOrthogonality", penalty{kind: doubleSoft}, w, opts)
}

// MutualCoherence returns the largest |E_ij|, where E = X X^T - I and X is that of SoftOrthogonality
// (Bansal et al. 2018, section 3.3, where X is not normalised either). The gradient is that of the
// first largest element, and 0 where E is 0. Shapes and errors are those of SoftOrthogonality.
func MutualCoherence(w *gorgonia.Node, opts ...KernelOption) (*gorgonia.Node, error) {
	return penalise("nodes.MutualCoherence", penalty{kind: coherence}, w, opts)
}

// SRIP returns an estimate of the spectral norm of E = X X^T - I, the constant of the restricted
// isometry property in its spectral form (Bansal et al. 2018, section 3.4). It uses power iteration
// from a random vector that depends on seed:
//
//	v_k+1 = E v_k / |E v_k|,   the penalty is |E v_iterations|.
//
// X is that of SoftOrthogonality. The gradient is exact, through all iterations. The estimate is at
// most the norm, and approaches it with more iterations. The paper takes 2; further iterations are
// cheap compared with X X^T. Fewer than 1 iteration is an error; other errors, and the shapes, are those of
// SoftOrthogonality.
func SRIP(w *gorgonia.Node, iterations int, seed uint64, opts ...KernelOption) (*gorgonia.Node, error) {
	const name = "nodes.SRIP"
	if iterations < 1 {
		return nil, fmt.Errorf("%s: want at least 1 iteration, got %d", name, iterations)
	}
	return penalise(name, penalty{kind: srip, iterations: iterations, seed: seed}, w, opts)
}

func penalise(name string, p penalty, w *gorgonia.Node, opts []KernelOption) (*gorgonia.Node, error) {
	shapes, b, err := admitKernel(name, opts, []int{0}, w)
	if err != nil {
		return nil, err
	}
	p.bank = b
	s := signature{name: name, in: shapes, out: tensor.ScalarShape()}
	f32, f64 := turn(b, false, gramPenalty[float32]{p}, gramPenalty[float64]{p})
	if err := computeEarly(s, f32, f64, w); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, w)
}

type penaltyKind uint8

const (
	soft penaltyKind = iota
	doubleSoft
	coherence
	srip
)

// penalty is a function of E.
type penalty struct {
	bank       bank
	kind       penaltyKind
	iterations int
	seed       uint64
}

// gramPenalty is a penalty at one precision.
type gramPenalty[T vec.Float] struct{ penalty }

// defect sets e to X X^T - I.
func (p gramPenalty[T]) defect(e []T, w []T) {
	frames.Defect(e, wide(p.bank, w).T(), 1)
}

func (p gramPenalty[T]) Forward(out []T, in [][]T) error {
	q := min(p.bank.d, p.bank.f)
	e := scratch.Get[T](q * q)
	defer scratch.Put(e)
	p.defect(e, in[0])
	value := 0.0
	switch p.kind {
	case soft:
		value = vec.Dot(e, e)
	case doubleSoft:
		value = 2*vec.Dot(e, e) + math.Abs(float64(p.bank.d-p.bank.f))
	case coherence:
		value = vec.MaxAbs(e)
	case srip:
		_, sizes := p.iterate(e, q)
		value = sizes[p.iterations]
	}
	out[0] = T(value)
	return finiteValue(float64(out[0]))
}

func finiteValue(value float64) error {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return notFinite("want a kernel whose products are finite, got a penalty of %g", value)
	}
	return nil
}

func (p gramPenalty[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	q := min(p.bank.d, p.bank.f)
	e := scratch.Get[T](q * q)
	defer scratch.Put(e)
	p.defect(e, in[0])
	g := float64(grad[0])
	switch p.kind {
	case soft:
		vec.Scale(e, 2*g, e)
	case doubleSoft:
		vec.Scale(e, 4*g, e)
	case coherence:
		at, sign := 0, 0.0
		for i, v := range e {
			if math.Abs(float64(v)) > math.Abs(float64(e[at])) {
				at = i
			}
		}
		if v := e[at]; v > 0 {
			sign = 1
		} else if v < 0 {
			sign = -1
		}
		clear(e)
		e[at/q*q+at%q] += T(g * sign / 2) // symmetric, as E is
		e[at%q*q+at/q] += T(g * sign / 2)
	case srip:
		p.iterateBack(e, q, g)
	}
	x := wide(p.bank, in[0])
	gemm.Mul(wide(p.bank, dst), 2, gemm.Of(e, q, q), x, 0) // (D + D^T) X
	return nil
}

// iterate returns the unit vectors v_0, ..., v_iterations+1 and the norms |E v_k|. If some E v_k is
// 0, all further vectors and norms are 0.
func (p gramPenalty[T]) iterate(e []T, q int) (vs [][]float64, sizes []float64) {
	rng := rand.New(rand.NewPCG(p.seed, 0))
	v := make([]float64, q)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	vec.Scale(v, 1/vec.Norm(v), v)
	for range p.iterations + 1 {
		y := product64(e, v)
		n := vec.Norm(y)
		vs, sizes = append(vs, v), append(sizes, n)
		if n > 0 {
			for i := range y {
				y[i] /= n
			}
		}
		v = y
	}
	return append(vs, v), sizes
}

// iterateBack replaces e by g times the derivative of |E v_iterations| with respect to E,
// symmetrised.
func (p gramPenalty[T]) iterateBack(e []T, q int, g float64) {
	vs, sizes := p.iterate(e, q)
	d := make([]float64, q*q)
	y := append([]float64(nil), vs[p.iterations+1]...) // the gradient with respect to E v_k
	for k := p.iterations; k >= 0 && sizes[p.iterations] > 0; k-- {
		for i := range q {
			for j := range q {
				d[i*q+j] += y[i]*vs[k][j] + y[j]*vs[k][i]
			}
		}
		if k > 0 {
			y = product64(e, y)
			c := vec.Dot(y, vs[k])
			vec.Combine(y, 1/sizes[k-1], y, -c/sizes[k-1], vs[k])
		}
	}
	for i, v := range d {
		e[i] = T(g * v / 2)
	}
}

// product64 returns E v.
func product64[T vec.Float](e []T, v []float64) []float64 {
	y := make([]float64, len(v))
	for i := range y {
		for j, a := range v {
			y[i] += float64(e[i*len(v)+j]) * a
		}
	}
	return y
}

// ConvOrthogonality measures how far the rows of the matrix of a convolution, a linear map of images,
// are from orthonormal:
//
//	sum over offsets o of |Z_o - [o = 0] I|_F^2,   Z_o[i,j] = <w_i, w_j shifted by o>
//
// (Wang et al., Orthogonal convolutional neural networks, CVPR 2020, eq. 7). o runs over the
// multiples of the stride at which two filters overlap; these are the offsets between -P and P with
// the paper's P = floor((k-1)/stride) stride, for example 5x5 offsets for a 3x3 kernel and stride
// 1. w has shape (out, in, height, width), and stride is that of the convolution, as for
// gorgonia.Conv2d. The padding of the convolution does not matter, because it affects only rows at
// the border.
//
// The term for o = 0 is |W W^T - I|_F^2 for the filter bank W, so this penalty is at least as large
// as SoftOrthogonality. If out > in*stride^2 it cannot be 0; it then differs by a constant from the
// same penalty for columns (lemma 1 of the paper).
//
// ConvOrthogonality returns an error unless stride is two numbers of at least 1 and w has rank 4.
func ConvOrthogonality(w *gorgonia.Node, stride []int) (*gorgonia.Node, error) {
	const name = "nodes.ConvOrthogonality"
	shapes, err := admit(name, []int{4}, w)
	if err != nil {
		return nil, err
	}
	if len(stride) != 2 || stride[0] < 1 || stride[1] < 1 {
		return nil, fmt.Errorf("%s: want a stride of two numbers of at least 1, got %v", name, stride)
	}
	k := shapes[0]
	s := signature{name: name, in: shapes, out: tensor.ScalarShape()}
	f32 := overlaps[float32]{k[0], k[1], k[2], k[3], stride[0], stride[1]}
	f64 := overlaps[float64]{k[0], k[1], k[2], k[3], stride[0], stride[1]}
	if err := computeEarly(s, f32, f64, w); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, w)
}

// overlaps is ConvOrthogonality at one precision.
type overlaps[T vec.Float] struct{ d, c, a, b, sy, sx int }

// each calls f for the offsets in one half of the plane, with the number of times that each counts:
// Z_-o is the transpose of Z_o.
func (p overlaps[T]) each(f func(oy, ox int, count float64)) {
	f(0, 0, 1)
	for ox := p.sx; ox < p.b; ox += p.sx {
		f(0, ox, 2)
	}
	for oy := p.sy; oy < p.a; oy += p.sy {
		for ox := -(p.b - 1) / p.sx * p.sx; ox < p.b; ox += p.sx {
			f(oy, ox, 2)
		}
	}
}

// part calls f for each run of weights of a filter that overlap the filter shifted by (oy, ox). A run
// is n weights from index at.
func (p overlaps[T]) part(oy, ox int, f func(at, n int)) {
	from, n := max(0, -ox), p.b-max(ox, -ox)
	for c := range p.c {
		for y := max(0, -oy); y < min(p.a, p.a-oy); y++ {
			f((c*p.a+y)*p.b+from, n)
		}
	}
}

// width returns the number of weights of one filter in part.
func (p overlaps[T]) width(oy, ox int) int {
	return p.c * (p.a - max(oy, -oy)) * (p.b - max(ox, -ox))
}

// gather sets dst to the d x width parts of all filters.
func (p overlaps[T]) gather(dst, w []T, oy, ox int) {
	e, size := 0, p.c*p.a*p.b
	for i := range p.d {
		p.part(oy, ox, func(at, n int) { e += copy(dst[e:e+n], w[i*size+at:]) })
	}
}

// scatter adds src to the parts of all filters.
func (p overlaps[T]) scatter(w, src []T, oy, ox int) {
	e, size := 0, p.c*p.a*p.b
	for i := range p.d {
		p.part(oy, ox, func(at, n int) {
			for _, v := range src[e : e+n] {
				w[i*size+at] += v
				at++
			}
			e += n
		})
	}
}

// product sets z to Z_o - [o = 0] I, and x and y to the two parts whose product it is.
func (p overlaps[T]) product(z, x, y, w []T, oy, ox int) {
	n := p.width(oy, ox)
	p.gather(x, w, oy, ox)
	p.gather(y, w, -oy, -ox)
	// The weights of the part for o coincide with the weights of the shifted filter's part for -o, in
	// the same order.
	gemm.Mul(gemm.Of(z, p.d, p.d), 1, gemm.Of(x, p.d, n), gemm.Of(y, p.d, n).T(), 0)
	if oy == 0 && ox == 0 {
		frames.AddDiagonal(z, p.d, -1)
	}
}

func (p overlaps[T]) Forward(out []T, in [][]T) error {
	z, x, y := scratch.Get[T](p.d*p.d), scratch.Get[T](len(in[0])), scratch.Get[T](len(in[0]))
	defer scratch.Put(z)
	defer scratch.Put(x)
	defer scratch.Put(y)
	value := 0.0
	p.each(func(oy, ox int, count float64) {
		p.product(z, x, y, in[0], oy, ox)
		value += count * vec.Dot(z, z)
	})
	out[0] = T(value)
	return finiteValue(float64(out[0]))
}

func (p overlaps[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	z, x, y := scratch.Get[T](p.d*p.d), scratch.Get[T](len(dst)), scratch.Get[T](len(dst))
	g := scratch.Get[T](len(dst))
	for _, b := range [][]T{z, x, y, g} {
		defer scratch.Put(b)
	}
	clear(dst)
	p.each(func(oy, ox int, count float64) {
		p.product(z, x, y, in[0], oy, ox)
		n, f := p.width(oy, ox), 2*count*float64(grad[0])
		square := gemm.Of(z, p.d, p.d)
		gemm.Mul(gemm.Of(g, p.d, n), f, square, gemm.Of(y, p.d, n), 0)
		p.scatter(dst, g, oy, ox)
		gemm.Mul(gemm.Of(g, p.d, n), f, square.T(), gemm.Of(x, p.d, n), 0)
		p.scatter(dst, g, -oy, -ox)
	})
	return nil
}
