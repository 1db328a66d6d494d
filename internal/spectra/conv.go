// SPDX-License-Identifier: Apache-2.0

package spectra

import (
	"math"
	"slices"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Axis is the geometry of a convolution along rows or columns: element i of the result, 0 <= i < Out, depends on the elements
// i*Stride + k*Dilation - Before of an image of the given size, for 0 <= k < Kernel. Outside of the image there are zeros or, in a circular axis, its
// repetitions.
type Axis struct {
	Size, Kernel, Stride, Dilation, Before, Out int
	Circular                                    bool
}

// Conv is a convolution of images. Its adjoint, the transposed convolution, has the same norm.
type Conv struct {
	Filters, Channels, Groups int
	Rows, Cols                Axis
	Weights                   []float64 // (Filters, Channels/Groups, Rows.Kernel, Cols.Kernel)
}

// step returns the distance between taps that read the same phase of the image, that is, every step-th row, and how often a row of the result
// may occur.
//
// With a stride s, taps k and k' read rows that differ by a multiple of s if s/GCD(s, d) divides k - k', for a dilation d. A circular
// result of an image of n rows has rows GCD(n, s) apart on a ring, and goes round it more than once if the padding is large.
func (a Axis) step() (step, repeats int) {
	s, repeats := a.Stride, 1
	if a.Circular {
		s = GCD(a.Size, a.Stride)
		repeats = (a.Out*s + a.Size - 1) / a.Size
	}
	return s / GCD(s, a.Dilation), repeats
}

// reads returns the largest number of times that the result reads an element of the image.
func (a Axis) reads() int {
	times := make([]int, a.Size)
	for i := range a.Out {
		for k := range a.Kernel {
			at := i*a.Stride + k*a.Dilation - a.Before
			if a.Circular {
				at = (at%a.Size + a.Size) % a.Size
			}
			if at >= 0 && at < a.Size {
				times[at]++
			}
		}
	}
	return slices.Max(times)
}

// Abs returns the convolution with the absolute values of the weights. The sums of products of c are at most
// those of Abs for absolute values of the image.
func (c Conv) Abs() Conv {
	c.Weights = Abs(c.Weights)
	return c
}

// Bound returns an upper bound of the norm. It exceeds the norm on an infinite image by at most the fraction slack,
// such as 0.01, and that norm is at least the norm on any image. For weights of one sign the bound is exact up to
// rounding.
//
// The symbol of a convolution is the matrix K(ω) = sum_t K_t exp(i <t, ω>) of its taps; with strides, the phases of the
// image are channels of their own. The norm on an infinite image is L = max_ω σ_1(K(ω)). The norms with zero padding,
// which leaves out rows and columns, and on a ring, where only some ω occur, are at most L. With σ_1(K(ω0)) = L = u*
// K(ω0) v, the real part of u* K(ω) v is, with phases centred, a function of exponential type m = (k-1)/2 in each of
// both ω, for k taps, of absolute value at most L. So it is at least L cos(m |ω - ω0|) (Duffin and Schaeffer 1938,
// after Bernstein and Szegő), and
//
//	L <= max over an N x N grid of σ_1(K) / cos^2(m π/N).
//
// Pfister and Bresler 2019 bound polynomials by their values on a grid in the same way. Where another bound is smaller,
// Bound returns that one: the bound of a bank for small images, the bound for nearly orthogonal kernels (symbol.near),
// or the bound by the absolute values of a Gram matrix (symbol.absolute).
func (c Conv) Bound(slack float64) float64 {
	return c.each(func(g Conv) float64 {
		s := newSymbol(g, smaller)
		if s == nil {
			return 0
		}
		bound := s.near()
		if s.signed() {
			bound = min(bound, s.at(0, 0))
		} else if level := s.level(); bound > level*(1+slack) {
			dense := g
			dense.Rows.Stride, dense.Cols.Stride = 1, 1
			bound = min(bound, newSymbol(dense, inner).absolute(), newSymbol(dense, outer).absolute())
			if bound > level*(1+slack) {
				bound = min(bound, s.grid(slack))
			}
		}
		bound = up(bound * math.Sqrt(float64(s.repeats)))
		if reads := g.Rows.reads() * g.Cols.reads(); reads < s.rows*s.cols*s.repeats { // the squares of all patches are at most that many times those of the image
			bound = min(bound, up(up(math.Sqrt(float64(reads)))*Norm(gemm.Of(g.Weights, g.Filters, len(g.Weights)/g.Filters))))
		}
		return bound
	})
}

// Gram returns the upper bound of the norm that t >= 1 steps of Gram iteration give: with A the kernel of the convolution after its adjoint, and
// A^(2^(t-1)) a power in the sense of convolution,
//
//	L^(2^t) <= max_i sum_j,s |A^(2^(t-1))[i,j,s]|
//
// (Delattre, Barthélemy and Allauzen 2024), because the largest sum of a row bounds eigenvalues. The kernels become larger
// by a factor of 2 in each direction in each step, so more than 4 steps take long.
func (c Conv) Gram(t int) float64 {
	return c.each(func(g Conv) float64 {
		s := newSymbol(g, smaller)
		if s == nil {
			return 0
		}
		return up(s.power(t) * math.Sqrt(float64(s.repeats)))
	})
}

// each returns the largest bound of a group.
func (c Conv) each(bound func(g Conv) float64) (largest float64) {
	g := c
	g.Filters, g.Channels, g.Groups = c.Filters/c.Groups, c.Channels/c.Groups, 1
	n := len(c.Weights) / c.Groups
	for i := range c.Groups {
		g.Weights = c.Weights[i*n : (i+1)*n]
		largest = max(largest, bound(g))
	}
	return largest
}

// symbol is the Gram matrix H(ω) of the symbol of a convolution, that is, the symbol of the convolution after its adjoint or
// before it, whichever has fewer channels.
type symbol struct {
	q          int // H is q x q
	rows, cols int // taps of a phase, k
	repeats    int // how often a pixel of the result may occur
	// a are the taps A_s of H(ω) = sum_s A_s exp(i <s, ω>), s in (-rows..rows) x (-cols..cols) without the ends, each q x q.
	a      [][]float64
	scale  float64 // the weights were divided by it
	square float64 // the sum of squares of the divided weights
	error  float64 // bound of the rounding errors of all H(ω)
	taps   [][]float64
	first  int // rows of a tap
	inner  bool
}

// side says which Gram matrix H is: K K*, with a row for each filter, K* K, with a row for each channel, or the smaller of the two.
type side int

const (
	smaller side = iota
	outer
	inner
)

// newSymbol returns the symbol of a convolution of one group, or nil if its weights are 0.
func newSymbol(c Conv, of side) *symbol {
	down, repeatsDown := c.Rows.step()
	along, repeatsAlong := c.Cols.step()
	s := &symbol{
		rows: (c.Rows.Kernel + down - 1) / down, cols: (c.Cols.Kernel + along - 1) / along, repeats: repeatsDown * repeatsAlong,
		first: c.Filters,
	}
	w := slices.Clone(c.Weights)
	if s.scale = rescale(w); s.scale == 0 {
		return nil
	}
	s.square = vec.Dot(w, w)
	inputs := c.Channels * down * along
	s.taps = make([][]float64, s.rows*s.cols)
	for t := range s.taps {
		s.taps[t] = make([]float64, c.Filters*inputs)
	}
	for i, v := range w {
		u, x := i/c.Cols.Kernel%c.Rows.Kernel, i%c.Cols.Kernel
		o, ch := i/(c.Rows.Kernel*c.Cols.Kernel)/c.Channels, i/(c.Rows.Kernel*c.Cols.Kernel)%c.Channels
		s.taps[u/down*s.cols+x/along][o*inputs+(u%down*along+x%along)*c.Channels+ch] = v
	}
	s.inner = of == inner || of == smaller && inputs < c.Filters
	s.q = c.Filters
	if s.inner {
		s.q = inputs
	}
	s.a = Correlate(s.rows, s.cols, s.q, s.tap)
	n := max(c.Filters, inputs)*len(s.taps) + 2*len(s.a) + 32
	s.error = gamma(n) * float64(len(s.taps)) * s.square
	return s
}

// tap views tap t, of K or of its adjoint, so that H = K K*.
func (s *symbol) tap(t int) gemm.Mat[float64] {
	m := gemm.Of(s.taps[t], s.first, len(s.taps[t])/s.first)
	if s.inner {
		return m.T()
	}
	return m
}

// Correlate returns the kernel of a convolution after its adjoint, A_s = sum_t K_(t+s) K_t^T, for s in (-rows..rows) x (-cols..cols) without the
// ends, in row-major order. tap(t) is K_t, t in rows x cols, of q rows. A_-s is the transpose of A_s.
func Correlate(rows, cols, q int, tap func(t int) gemm.Mat[float64]) [][]float64 {
	width := 2*cols - 1
	all := make([][]float64, (2*rows-1)*width)
	n := len(all)
	par.Do(n/2+1, func(i int) {
		i += n / 2
		a := make([]float64, q*q)
		down, along := i/width-(rows-1), i%width-(cols-1)
		for u := max(0, -down); u < min(rows, rows-down); u++ {
			for v := max(0, -along); v < min(cols, cols-along); v++ {
				gemm.Mul(gemm.Of(a, q, q), 1, tap((u+down)*cols+v+along), tap(u*cols+v).T(), 1)
			}
		}
		all[i] = a
	})
	for i := range n / 2 {
		all[i] = make([]float64, q*q)
		gemm.Transpose(all[i], q, all[n-1-i], q, q, q)
	}
	return all
}

// signed reports whether no weight is negative, or none positive. |K(ω)| is then at most |K(0)|, element by element.
func (s *symbol) signed() bool {
	plus, minus := false, false
	for _, t := range s.taps {
		for _, v := range t {
			plus, minus = plus || v > 0, minus || v < 0
		}
	}
	return !plus || !minus
}

// level returns a lower bound of L, up to rounding: the root of the mean of all eigenvalues of H.
func (s *symbol) level() float64 { return s.scale * math.Sqrt(s.square/float64(s.q)) }

// near returns the bound
//
//	L^2 <= c + sum_s |A_s - c δ_s I|_F,
//
// with c the mean of the diagonal of A_0. It is close to L if the convolution is orthogonal up to rounding.
func (s *symbol) near() float64 {
	c, sum := s.square/float64(s.q), 0.0
	for i, a := range s.a {
		if i == len(s.a)/2 {
			a = slices.Clone(a)
			for j := 0; j < len(a); j += s.q + 1 {
				a[j] -= c
			}
		}
		sum += vec.Norm(a)
	}
	return s.scale * root(c+sum+s.error)
}

// absolute returns the bound
//
//	L^2 <= λ_max(sum_s |A_s|),
//
// with absolute values element by element. It is at most max_e 1/d_e sum_f,s |A_s[e,f]| d_f for any positive d (Perron and Frobenius),
// so it finds that a kernel that has been rescaled by such sums (Prach and Lampert 2022) has norm 1.
func (s *symbol) absolute() float64 {
	b := make([]float64, s.q*s.q)
	for _, a := range s.a {
		for i, v := range a {
			b[i] += math.Abs(v)
		}
	}
	for i := range s.q {
		for j := range i { // only rounding makes it asymmetric
			b[i*s.q+j] = max(b[i*s.q+j], b[j*s.q+i])
			b[j*s.q+i] = b[i*s.q+j]
		}
	}
	return s.scale * root(largest(b, s.q, exactly(b, s.q), 1e-9)*(1+gamma(len(s.a)))+s.error)
}

// at returns an upper bound of σ_1(K(ω)).
func (s *symbol) at(ω1, ω2 float64) float64 { return s.scale * root(s.largest(ω1, ω2, 0)+s.error) }

// points returns the numbers of points, down and along, of a grid that is fine enough for the slack, and a lower bound
// of the factor by which the largest singular value on the grid is divided: the cosine, or the product of both cosines.
func (s *symbol) points(slack float64) (down, along int, cos float64) {
	axes := 0
	for _, k := range []int{s.rows, s.cols} {
		if k > 1 {
			axes++
		}
	}
	points := func(k int) (n int, cos float64) {
		if k == 1 {
			return 1, 1
		}
		m := float64(k-1) / 2
		n = int(math.Ceil(m * math.Pi / math.Acos(math.Pow(1+slack, -1/float64(axes)))))
		return n, math.Cos(m*math.Pi/float64(n)) * (1 - 8*unit)
	}
	down, cosDown := points(s.rows)
	along, cosAlong := points(s.cols)
	return down, along, cosDown * cosAlong * (1 - 8*unit)
}

// grid returns the bound by a grid of ω.
func (s *symbol) grid(slack float64) float64 {
	down, along, cos := s.points(slack)
	first := s.largest(0, 0, 0)
	rows := make([]float64, down/2+1) // H(-ω) is the conjugate of H(ω)
	par.InOrder(len(rows), func(i int) {
		rows[i] = first
		for j := range along {
			if i+j > 0 {
				rows[i] = max(rows[i], s.largest(2*math.Pi*float64(i)/float64(down), 2*math.Pi*float64(j)/float64(along), rows[i]))
			}
		}
	})
	return up(s.scale * root(slices.Max(rows)+s.error) / cos)
}

// gram writes H(ω) = re + i im, and [re -im; im re], which has each of its eigenvalues twice, to h.
func (s *symbol) gram(ω1, ω2 float64, re, im, h []float64) {
	q, width := s.q, 2*s.cols-1
	copy(re, s.a[len(s.a)/2])
	clear(im[:q*q])
	for i := len(s.a)/2 + 1; i < len(s.a); i++ {
		sin, cos := math.Sincos(float64(i/width-(s.rows-1))*ω1 + float64(i%width-(s.cols-1))*ω2)
		a, b := s.a[i], s.a[len(s.a)-1-i]
		vec.Affine2(re[:q*q], 1, re, cos, a, 0)
		vec.Affine2(re[:q*q], 1, re, cos, b, 0)
		vec.Affine2(im[:q*q], 1, im, sin, a, 0)
		vec.Affine2(im[:q*q], 1, im, -sin, b, 0)
	}
	n := 2 * q
	for i := range q {
		a, b := re[i*q:(i+1)*q], im[i*q:(i+1)*q]
		copy(h[i*n:], a)
		vec.Scale(h[i*n+q:][:q], -1, b)
		copy(h[(q+i)*n:], b)
		copy(h[(q+i)*n+q:], a)
	}
}

// largest returns an upper bound of the largest eigenvalue of the computed H(ω). If known is such a bound, it may return one near known.
func (s *symbol) largest(ω1, ω2, known float64) float64 {
	q := s.q
	re, im, h := scratch.Get[float64](q*q), scratch.Get[float64](q*q), scratch.Get[float64](4*q*q)
	defer scratch.Put(re)
	defer scratch.Put(im)
	defer scratch.Put(h)
	s.gram(ω1, ω2, re, im, h)
	if vec.MaxAbs(im[:q*q]) == 0 {
		return largest(re, q, max(exactly(re, q), known), 1e-9)
	}
	const tolerance = 1e-4
	return largest(h, 2*q, known/(1+tolerance), tolerance)
}

// power returns the bound of t steps of Gram iteration.
func (s *symbol) power(t int) float64 {
	a, rows, cols := s.a, s.rows, s.cols           // of 2 rows - 1 x 2 cols - 1 taps
	norm, error, factor := s.sums(a), s.error, 0.0 // the power is exp(factor) times a
	for i := 1; ; i++ {
		if norm == 0 {
			norm = math.SmallestNonzeroFloat64
		}
		if i == t {
			return s.scale * math.Exp((factor+math.Log(up(norm+error)))/math.Exp2(float64(t))) * (1 + 1e-12) // more than the rounding of exponents up to 1,000
		}
		_, e := math.Frexp(norm)
		for j := range a {
			next := make([]float64, len(a[j]))
			vec.Scale(next, math.Ldexp(1, -e), a[j])
			a[j] = next
		}
		norm, error, factor = math.Ldexp(norm, -e), math.Ldexp(error, -e), factor+float64(e)*math.Ln2
		rows, cols, a = 2*rows-1, 2*cols-1, s.squared(a, rows, cols)
		error = up(2*norm*error + error*error + gamma(s.q*len(a)+s.q)*norm*norm)
		norm, factor = s.sums(a), 2*factor
	}
}

// squared convolves a kernel with itself.
func (s *symbol) squared(a [][]float64, rows, cols int) [][]float64 {
	w, width, height := 2*cols-1, 4*cols-3, 4*rows-3
	out := make([][]float64, height*width)
	par.InOrder(len(out), func(i int) {
		c := make([]float64, s.q*s.q)
		for j := range a {
			u, v := i/width-j/w, i%width-j%w
			if u >= 0 && v >= 0 && u < 2*rows-1 && v < w {
				gemm.Mul(gemm.Of(c, s.q, s.q), 1, gemm.Of(a[j], s.q, s.q), gemm.Of(a[u*w+v], s.q, s.q), 1)
			}
		}
		out[i] = c
	})
	return out
}

// sums returns a bound of max_i sum_j,s |a_s[i,j]|.
func (s *symbol) sums(a [][]float64) float64 {
	rows := make([]float64, s.q)
	for _, tap := range a {
		for i := range rows {
			for _, v := range tap[i*s.q : (i+1)*s.q] {
				rows[i] += math.Abs(v)
			}
		}
	}
	return slices.Max(rows) * (1 + gamma(s.q*len(a)))
}
