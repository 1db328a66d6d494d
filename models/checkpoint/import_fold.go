// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// OrthogonalMap is the orthogonal_map of torch.nn.utils.parametrizations.orthogonal, which a state_dict does
// not contain. The weight is computed from a parameter X of the same shape, separately for each matrix of the
// last two axes. A wide X is transposed, and so is the result. For X of n x k, n >= k, L its lower triangle
// with the diagonal, A = [L 0] - [L 0]^T of n x n, and a base B, which is I without use_trivialization, the
// weight is the first k columns of
//
//	MapMatrixExp    B exp(A)
//	MapCayley       B (I - A/2)^-1 (I + A/2)
//	MapHouseholder  B H_1 ... H_k, column i times the integer part of X_ii,
//
// where H_i = I - 2 v_i v_i^T/|v_i|^2 and v_i is column i of X with 0 above and 1 on the diagonal.
type OrthogonalMap string

// The maps. MapDefault is the default of PyTorch: MapMatrixExp if the last two axes have the same size, else MapHouseholder.
const (
	MapDefault     OrthogonalMap = "default"
	MapMatrixExp   OrthogonalMap = "matrix_exp"
	MapCayley      OrthogonalMap = "cayley"
	MapHouseholder OrthogonalMap = "householder"
)

func (m OrthogonalMap) check() error {
	known := []OrthogonalMap{MapDefault, MapMatrixExp, MapCayley, MapHouseholder}
	if m != "" && !slices.Contains(known, m) {
		return fmt.Errorf("ImportOptions.OrthogonalMap: want one of %q, got %q", known, m)
	}
	return nil
}

// parametrizations is in the names of the parameters of weights that PyTorch computes.
const parametrizations = ".parametrizations."

// unfolded are the endings of the names of parameters from which torch.nn.utils.spectral_norm and prune compute a weight. Such weights are an error.
var unfolded = []string{"_orig", "_u", "_v", "_mask"}

// remover names the function of torch.nn.utils that replaces the parameters of a weight by the weight.
func remover(parameters map[string]source) string {
	if _, ok := parameters["_mask"]; ok {
		return "prune.remove"
	}
	if _, ok := parameters["_orig"]; ok {
		return "remove_spectral_norm"
	}
	return "parametrize.remove_parametrizations"
}

// fold replaces the parameters of each parametrized weight by the weight, unless they are wanted
// themselves.
func fold(all map[string]source, wanted map[string]bool, m OrthogonalMap) {
	parts := map[string]map[string]source{} // by the names of the weight and of its parameter
	part := func(weight, parameter, name string) {
		if parts[weight] == nil {
			parts[weight] = map[string]source{}
		}
		parts[weight][parameter] = all[name]
		delete(all, name)
	}
	names := slices.Sorted(maps.Keys(all))
	has := func(name string) bool {
		_, ok := slices.BinarySearch(names, name)
		return ok && !wanted[name]
	}
	for _, name := range names {
		if _, ok := all[name]; !ok || wanted[name] { // a part already, or what the model has itself
			continue
		}
		if layer, rest, ok := strings.Cut(name, parametrizations); ok {
			if weight, parameter, ok := strings.Cut(rest, "."); ok {
				part(layer+"."+weight, parameter, name)
			}
		} else if weight, ok := strings.CutSuffix(name, "_g"); ok && has(weight+"_v") {
			part(weight, "original0", name)
			part(weight, "original1", weight+"_v")
		} else if i := strings.LastIndex(name, "_"); i >= 0 && slices.Contains(unfolded, name[i:]) && has(name[:i]+"_orig") {
			part(name[:i], name[i:], name)
		}
	}
	for weight, of := range parts {
		if one, ok := all[weight]; ok {
			all[weight] = source{name: one.name, err: fmt.Errorf("want it once, got it and its parametrization by the %s (%w)", sourceNames(of), ErrMismatch)}
			continue
		}
		base, hasBase := of["0.base"]
		switch names := slices.Sorted(maps.Keys(of)); {
		case slices.Equal(names, []string{"original0", "original1"}):
			all[weight] = weightNorm(of["original0"], of["original1"])
		case slices.Equal(names, []string{"original"}), hasBase && len(names) == 2 && names[1] == "original":
			all[weight] = orthogonal(of["original"], base, m)
		default:
			all[weight] = source{name: weight, err: fmt.Errorf("want a parametrization by weight_norm or orthogonal, got the %s: "+
				"call torch.nn.utils.%s before writing the file (%w)", sourceNames(of), remover(of), ErrMismatch)}
		}
	}
}

// sourceNames lists the tensors of a parametrization.
func sourceNames(parts map[string]source) string {
	var names []string
	for _, s := range parts {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return tensors(names)
}

// computed is a tensor that is computed from others, in their precision if they have the same, else in
// float64.
func computed(name string, shape []int, from []source, compute func(in [][]float64) ([]float64, error)) source {
	return source{name: name, shape: shape, read: func() (safetensors.Tensor, error) {
		t := safetensors.Tensor{Name: name, Shape: shape}
		single := true
		var in [][]float64
		for _, s := range from {
			x, err := s.read()
			if err != nil {
				return t, err
			}
			wide := widened(x)
			if wide == nil {
				return t, fmt.Errorf("tensor %q: want floating-point numbers, got %s (%w)", s.name, x.DType(), ErrMismatch)
			}
			for k, v := range wide {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return t, fmt.Errorf("tensor %q: want finite numbers, got %v at element %d (%w)", s.name, v, k, ErrMismatch)
				}
			}
			in, single = append(in, wide), single && x.F32 != nil
		}
		out, err := compute(in)
		if err != nil {
			return t, fmt.Errorf("tensor %q: %w (%w)", name, err, ErrMismatch)
		}
		if !single {
			t.F64 = out
			return t, nil
		}
		t.F32 = make([]float32, len(out))
		for i, v := range out {
			t.F32[i] = float32(v)
		}
		return t, nil
	}}
}

// weightNorm is w = g v/|v|, with a norm for each element of g: over the axes of v that have size 1 in g,
// or over all if g is a scalar.
func weightNorm(g, v source) source {
	grouped := slices.Clone(g.shape)
	if len(grouped) == 0 {
		grouped = slices.Repeat([]int{1}, len(v.shape))
	}
	fits := len(grouped) == len(v.shape)
	for a := 0; fits && a < len(grouped); a++ {
		fits = grouped[a] == 1 || grouped[a] == v.shape[a]
	}
	if !fits {
		return source{name: g.name, err: fmt.Errorf("want sizes of 1 or of %q, %v, got %v (%w)", v.name, v.shape, g.shape, ErrMismatch)}
	}
	group := func(i int) int { // of element i of v: its place in g
		k, stride := 0, 1
		for a := len(grouped) - 1; a >= 0; a-- {
			if grouped[a] > 1 {
				k += i % v.shape[a] * stride
				stride *= grouped[a]
			}
			i /= v.shape[a]
		}
		return k
	}
	return computed(v.name, v.shape, []source{g, v}, func(in [][]float64) ([]float64, error) {
		g, w := in[0], in[1]
		squares := make([]float64, len(g))
		for i, v := range w {
			squares[group(i)] += v * v
		}
		for k, s := range squares {
			if s == 0 || math.IsInf(s, 1) {
				return nil, fmt.Errorf("want directions of a finite norm above 0, got %g for gain %d", math.Sqrt(s), k)
			}
		}
		for i := range w {
			k := group(i)
			w[i] *= g[k] / math.Sqrt(squares[k])
		}
		return w, nil
	})
}

// orthogonal is the weight of a parameter x with a base, which is the zero source for none.
func orthogonal(x, base source, m OrthogonalMap) source {
	fail := func(err error) source { return source{name: x.name, err: err} }
	if len(x.shape) < 2 {
		return fail(fmt.Errorf("want a matrix, got shape %v (%w)", x.shape, ErrMismatch))
	}
	batch, rows, cols := x.shape[:len(x.shape)-2], x.shape[len(x.shape)-2], x.shape[len(x.shape)-1]
	n, k := max(rows, cols), min(rows, cols)
	if m == MapDefault {
		m = MapHouseholder
		if rows == cols {
			m = MapMatrixExp
		}
	}
	from := []source{x}
	if base.name != "" {
		from = append(from, base)
		if want := append(slices.Clone(batch), n, n); !slices.Equal(base.shape, want) {
			return fail(fmt.Errorf("want a base of shape %v, got %v (%w)", want, base.shape, ErrMismatch))
		}
	}
	if m == "" {
		return fail(fmt.Errorf("want to know the orthogonal_map of its parametrization, which the file does not say: "+
			"set ImportOptions.OrthogonalMap (%w)", ErrAmbiguous))
	}
	return computed(x.name, x.shape, from, func(in [][]float64) ([]float64, error) {
		w := in[0]
		for b := range len(w) / max(1, rows*cols) {
			var p mat.Matrix = mat.NewDense(rows, cols, w[b*rows*cols:][:rows*cols])
			to := p.(*mat.Dense)
			if rows < cols {
				p = p.T()
			}
			q, err := m.of(mat.DenseCopyOf(p), n, k)
			if err != nil {
				return nil, err
			}
			if base.name != "" {
				q.Mul(mat.NewDense(n, n, in[1][b*n*n:][:n*n]), mat.DenseCopyOf(q))
			}
			if p = q; rows < cols {
				p = q.T()
			}
			to.Copy(p)
		}
		return w, nil
	})
}

// of returns the frame of a tall parameter x of n x k, without a base.
func (m OrthogonalMap) of(x *mat.Dense, n, k int) (*mat.Dense, error) {
	if m == MapHouseholder {
		return reflected(x, n, k), nil
	}
	a := mat.NewDense(n, n, nil)
	for j := range k {
		for i := j + 1; i < n; i++ {
			a.Set(i, j, x.At(i, j))
			a.Set(j, i, -x.At(i, j))
		}
	}
	q := mat.NewDense(n, n, nil)
	if m == MapMatrixExp {
		gemm.Exp(q.RawMatrix().Data, a.RawMatrix().Data, n)
	} else {
		var plus, minus mat.Dense
		a.Scale(0.5, a)
		identity := mat.NewDiagDense(n, slices.Repeat([]float64{1}, n))
		plus.Add(identity, a)
		minus.Sub(identity, a)
		if err := q.Solve(&minus, &plus); err != nil {
			return nil, fmt.Errorf("the Cayley transform: %w", err)
		}
	}
	return mat.DenseCopyOf(q.Slice(0, n, 0, k)), nil
}

// reflected returns the first k columns of the reflections of MapHouseholder.
func reflected(x *mat.Dense, n, k int) *mat.Dense {
	q := mat.NewDense(n, k, nil)
	for i := range k {
		q.Set(i, i, 1)
	}
	for i := k - 1; i >= 0; i-- {
		v := mat.NewVecDense(n, nil)
		v.SetVec(i, 1)
		for r := i + 1; r < n; r++ {
			v.SetVec(r, x.At(r, i))
		}
		var vq mat.VecDense
		vq.MulVec(q.T(), v)
		q.RankOne(q, -2/mat.Dot(v, v), v, &vq)
	}
	for j := range k {
		for i := range n {
			q.Set(i, j, math.Trunc(x.At(j, j))*q.At(i, j))
		}
	}
	return q
}

// difference is a - b in float64, of tensors of the same shape.
func difference(a, b source) source {
	if b.err != nil {
		return b
	}
	if !slices.Equal(a.shape, b.shape) {
		return source{name: b.name, err: fmt.Errorf("want shape %v, as of %q, which contains it, got %v (%w)", a.shape, a.name, b.shape, ErrMismatch)}
	}
	return computed(a.name, a.shape, []source{wide(a), wide(b)}, func(in [][]float64) ([]float64, error) {
		for i, v := range in[1] {
			in[0][i] -= v
		}
		return in[0], nil
	})
}

// wide is a source in float64.
func wide(s source) source {
	of := s.read
	s.read = func() (safetensors.Tensor, error) {
		t, err := of()
		t.F64, t.F32 = widened(t), nil
		return t, err
	}
	return s
}
