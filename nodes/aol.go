// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/spectra"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// AOL returns the almost orthogonal kernel of v, whose convolution is 1-Lipschitz (Prach and Lampert 2022, eq. 4): the weights of
// input channel e are divided by the root of
//
//	t_e = sum_f,s |A_s[e,f]|,   A_s[e,f] = sum_o,t v[o,e,t+s] v[o,f,t],
//
// over all input channels f and all shifts s, where A is the kernel of the convolution with v followed by its adjoint. The largest singular value of the result
// is at most 1 for zero and circular padding, any strides and any dilation; it is 1 if the convolution with v is orthogonal.
//
// v has shape (out, in/groups, height, width) or, for a fully connected layer, (in, out), and groups is the number of groups of the convolution. The
// gradient is exact. An input channel whose weights are all 0 remains so, and has gradient 0.
//
// AOL returns an error for another rank and for groups that do not divide the filters. A run fails if v is not finite.
func AOL(v *gorgonia.Node, groups int) (*gorgonia.Node, error) {
	return rescaled("nodes.AOL", false, groups, v)
}

// SLL returns the kernel of an SDP-based Lipschitz layer, for ConvexPotential: the weights of filter i are divided by the root of
//
//	t_i = sum_j,s |B_s[i,j]| exp(q_j - q_i),   B_s[i,j] = sum_c,t v[i,c,t+s] v[j,c,t],
//
// over all filters j and all shifts s (Araujo, Havens, Delattre, Allauzen and Hu 2023, theorem 3, for W = v' and with exp(q) for its q). The convolution is then
// 1-Lipschitz, as that of AOL, for every q.
//
// v has shape (out, in, height, width), or (in, out) for a fully connected layer, and q (1, out, 1, 1), or (1, out). Errors are
// those of AOL.
func SLL(v, q *gorgonia.Node) (*gorgonia.Node, error) {
	return rescaled("nodes.SLL", true, 1, v, q)
}

func rescaled(name string, filters bool, groups int, in ...*gorgonia.Node) (*gorgonia.Node, error) {
	shapes, b, err := admitKernel(name, nil, make([]int, len(in)), in...)
	if err != nil {
		return nil, err
	}
	if groups < 1 || b.d%groups != 0 || groups > 1 && shapes[0].Dims() != 4 {
		return nil, fmt.Errorf("%s: want groups that divide the filters of a convolution, got %d for %v", name, groups, shapes[0])
	}
	l := rescaling{filters: b.d / groups, channels: b.f, rows: 1, cols: 1, groups: groups, byFilter: filters}
	if s := shapes[0]; s.Dims() == 4 {
		l.channels, l.rows, l.cols = s[1], s[2], s[3]
	} else {
		l.dense = true
	}
	if filters {
		want := tensor.Shape{1, b.d, 1, 1}[:shapes[0].Dims()]
		if !shapes[1].Eq(want) || shapes[1].Dims() != want.Dims() {
			return nil, fmt.Errorf("%s: input 1, %s: want shape %v, one number a filter of %v, got %v", name, in[1].Name(), want, shapes[0], shapes[1])
		}
	}
	s := signature{name: name, in: shapes, out: shapes[0]}
	runs := new(uint64)
	f32, f64 := rescale[float32]{l, runs}, rescale[float64]{l, runs}
	if err := computeEarly(s, f32, f64, in...); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, in...)
}

// rescaling divides the weights of each input channel or filter by a root. Numbers are those of a group.
type rescaling struct {
	filters, channels, rows, cols int
	groups                        int
	byFilter                      bool
	dense                         bool // the kernel has shape (in, out)
}

type rescale[T vec.Float] struct {
	rescaling
	runs *uint64
}

// lines holds what both passes need for a group. A line is an input channel or a filter.
type lines struct {
	q, p   int
	taps   [][]float64 // q x p: a row for each line
	a      [][]float64 // A or B, q x q for each shift
	roots  []float64   // of t_e
	factor []float64   // exp(q_e), up to a common factor
}

// size returns the number of weights of a group.
func (l rescaling) size() int { return l.filters * l.channels * l.rows * l.cols }

// at returns the index of a weight in its group.
func (l rescaling) at(filter, channel, tap int) int {
	if l.dense {
		return channel*l.filters + filter
	}
	return (filter*l.channels+channel)*l.rows*l.cols + tap
}

// each calls f for each weight: its index in the group, its tap, and its place in the tap.
func (l rescaling) each(f func(i, tap, line, other int)) {
	for o := range l.filters {
		for c := range l.channels {
			for t := range l.rows * l.cols {
				if l.byFilter {
					f(l.at(o, c, t), t, o, c)
				} else {
					f(l.at(o, c, t), t, c, o)
				}
			}
		}
	}
}

// lines computes the roots of group g.
func (r rescale[T]) lines(in [][]T, g int) (*lines, error) {
	l := &lines{q: r.channels, p: r.filters, taps: make([][]float64, r.rows*r.cols)}
	if r.byFilter {
		l.q, l.p = l.p, l.q
	}
	for t := range l.taps {
		l.taps[t] = make([]float64, l.q*l.p)
	}
	v := in[0][g*r.size() : (g+1)*r.size()]
	if i, x := dense.NotFinite(v); i >= 0 {
		return nil, notFinite("weight %d: want a finite number, got %v", g*r.size()+i, x)
	}
	most := 0.0 // only the ratios of factors matter
	if r.byFilter {
		if i, x := dense.NotFinite(in[1]); i >= 0 {
			return nil, notFinite("q of filter %d: want a finite number, got %v", i, x)
		}
		most = float64(slices.Max(in[1]))
	}
	r.each(func(i, tap, line, other int) { l.taps[tap][line*l.p+other] = float64(v[i]) })
	l.a = spectra.Correlate(r.rows, r.cols, l.q, func(t int) gemm.Mat[float64] { return gemm.Of(l.taps[t], l.q, l.p) })
	l.roots, l.factor = make([]float64, l.q), make([]float64, l.q)
	for e := range l.factor {
		l.factor[e] = 1
		if r.byFilter {
			l.factor[e] = math.Exp(float64(in[1][e]) - most)
		}
	}
	for e := range l.roots {
		sum := 0.0
		for _, a := range l.a {
			for f, x := range a[e*l.q : (e+1)*l.q] {
				sum += math.Abs(x) * (l.factor[f] / l.factor[e])
			}
		}
		if l.roots[e] = math.Sqrt(sum); !finite(l.roots[e]) {
			what := "products of weights"
			if r.byFilter {
				what += " times exp(q_j - q_i)"
			}
			return nil, notFinite("want sums of %s that are finite, got %v", what, sum)
		}
	}
	return l, nil
}

func (r rescale[T]) Runs() uint64 { return *r.runs }

func (r rescale[T]) Forward(out []T, in [][]T) error {
	*r.runs++
	for g := range r.groups {
		l, err := r.lines(in, g)
		if err != nil {
			return err
		}
		v, w := in[0][g*r.size():], out[g*r.size():]
		r.each(func(i, _, line, _ int) {
			w[i] = 0
			if root := l.roots[line]; root > 0 {
				w[i] = T(float64(v[i]) / root)
			}
		})
	}
	return nil
}

// Sweep uses that t_e is differentiable where no A_s[e,f] is 0: with G the gradient with respect to w,
//
//	dL/dt_e = -1/2 t_e^(-3/2) <G_e, v_e>,  dL/dA_s[e,f] = sign(A_s[e,f]) exp(q_f - q_e) dL/dt_e,
//
// and v enters A_s[e,f] twice, as v_e and as v_f.
func (r rescale[T]) Sweep(dst, in [][]T, grad []T) error {
	for g := range r.groups {
		l, err := r.lines(in, g)
		if err != nil {
			return err
		}
		v, G := in[0][g*r.size():], grad[g*r.size():]
		dt := make([]float64, l.q)
		r.each(func(i, _, line, _ int) {
			if root := l.roots[line]; root > 0 {
				dt[line] -= float64(G[i]) * float64(v[i]) / (2 * root * root * root)
			}
		})
		if r.byFilter && dst[1] != nil {
			r.exponents(dst[1], l, dt)
		}
		if dst[0] == nil {
			continue
		}
		dv := l.differential(r.rows, r.cols, dt)
		d := dst[0][g*r.size():]
		r.each(func(i, tap, line, other int) {
			d[i] = 0
			if root := l.roots[line]; root > 0 {
				d[i] = T(float64(G[i])/root + dv[tap][line*l.p+other])
			}
		})
	}
	return nil
}

// Backward is not called: Sweep computes the gradients.
func (r rescale[T]) Backward([]T, int, [][]T, []T, []T) error { return errSwept }

// exponents writes the gradient with respect to q.
func (r rescale[T]) exponents(dst []T, l *lines, dt []float64) {
	dq := make([]float64, l.q)
	for _, a := range l.a {
		for e := range l.q {
			for f, x := range a[e*l.q : (e+1)*l.q] {
				part := dt[e] * math.Abs(x) * (l.factor[f] / l.factor[e])
				dq[f] += part
				dq[e] -= part
			}
		}
	}
	for e, d := range dq {
		dst[e] = T(d)
	}
}

// differential returns sum_e dt_e dt_e/dv for each tap: with u = t + s,
//
//	dv_t = sum_s Q_s^T v_u,  Q_s[e,f] = sign(A_s[e,f]) (dt_e exp(q_f - q_e) + dt_f exp(q_e - q_f)).
func (l *lines) differential(rows, cols int, dt []float64) [][]float64 {
	dv := make([][]float64, len(l.taps))
	for t := range dv {
		dv[t] = make([]float64, l.q*l.p)
	}
	both := make([]float64, l.q*l.q)
	for i, a := range l.a {
		for e := range l.q {
			for f := range l.q {
				k := e*l.q + f
				both[k] = 0
				if x := a[k]; x != 0 {
					both[k] = math.Copysign(1, x) * (dt[e]*l.factor[f]/l.factor[e] + dt[f]*l.factor[e]/l.factor[f])
				}
			}
		}
		down, along := i/(2*cols-1)-(rows-1), i%(2*cols-1)-(cols-1)
		for u := max(0, -down); u < min(rows, rows-down); u++ {
			for v := max(0, -along); v < min(cols, cols-along); v++ {
				gemm.Mul(gemm.Of(dv[u*cols+v], l.q, l.p), 1, gemm.Of(both, l.q, l.q).T(), gemm.Of(l.taps[(u+down)*cols+v+along], l.q, l.p), 1)
			}
		}
	}
	return dv
}
