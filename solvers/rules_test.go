// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Which constraint a parameter gets.

// refuses requires that the first step and Init fail alike, in one line, and
// that nothing has moved.
func refuses(t *testing.T, s func() stepper, m []*param, kind error, wants ...string) {
	t.Helper()
	gradients(m, 1)
	w, g := weights(m), slopes(m)
	for _, call := range []func(stepper) error{
		func(s stepper) error { return s.Init(valueGrads(m)) },
		func(s stepper) error { return s.Step(valueGrads(m)) },
		func(s stepper) error { _ = s.Step(valueGrads(m)); return s.Step(valueGrads(m)) },
	} {
		err := call(s())
		require.ErrorIs(t, err, kind)
		for _, want := range wants {
			assert.Contains(t, err.Error(), want)
		}
		assert.Regexp(t, "^solvers: ", err.Error())
		assert.NotContains(t, err.Error(), "\n", "errors are one line long")
		same(t, w, weights(m))
		same(t, g, slopes(m))
	}
}

func TestRulesThatApplyToNothing(t *testing.T) {
	kernels := solvers.Kernels(manifolds.Stiefel{})
	typo := solvers.Param("conv3", manifolds.Sphere{})
	none := solvers.Where(func(string, tensor.Shape) bool { return false }, manifolds.Oblique{})
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			m := model(of, 1)
			flat := []*param{m[1], m[3], m[4], m[5]}
			for _, c := range []struct {
				name  string
				m     []*param
				opts  []solvers.Option
				wants []string
			}{
				{"kernels without a kernel", flat, []solvers.Option{kernels}, []string{"Kernels(Stiefel)", "linear", "(6, 5)"}},
				{"no parameters", nil, []solvers.Option{kernels}, []string{"Kernels(Stiefel)"}},
				{"name with a typo", m, []solvers.Option{kernels, typo}, []string{`Param("conv3", Sphere)`, "conv2"}},
				{"predicate that never holds", m, []solvers.Option{none}, []string{"Where(Oblique)"}},
				{"freeing by a name with a typo", m, []solvers.Option{kernels, solvers.Param("conv3", manifolds.Euclidean{})}, []string{"conv3"}},
				{"two of them", m, []solvers.Option{kernels, typo, none}, []string{`Param("conv3", Sphere)`, "Where(Oblique)"}},
			} {
				t.Run(of.String()+"/"+s.name+"/"+c.name, func(t *testing.T) {
					refuses(t, func() stepper { return s.of(c.opts...) }, c.m, solvers.ErrConstraint, c.wants...)
				})
			}
		}
	}
}

// A rule that another one overrides has applied.
func TestLastRuleWins(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, s := range everySolver(0.01) {
		solver := s.of(
			solvers.Where(func(name string, _ tensor.Shape) bool { return name == "linear" }, manifolds.Oblique{}, manifolds.FilterBank),
			solvers.Param("conv1", manifolds.Sphere{}),
			solvers.Kernels(manifolds.Stiefel{}),
			solvers.Param("conv2", manifolds.CentredSphere{}, manifolds.PerSlice),
		)
		run(t, solver, m, 1)
		got := map[string]string{}
		for _, p := range solver.Report().Parameters {
			got[p.Name] = fmt.Sprintf("%s; %s; %d of %dx%d", p.Manifold, p.Grouping, p.Points, p.N, p.P)
		}
		assert.Equal(t, map[string]string{
			"conv1":  "Stiefel; filter bank; 1 of 6x18",
			"conv2":  "CentredSphere(r=0.5); per slice; 24 of 2x3", // 24 slices of norm 1/sqrt(4)
			"linear": "Oblique(rows); filter bank; 1 of 5x6",
			"bias1":  "Euclidean; ; 1 of 4x1",
			"norm2":  "Euclidean; ; 1 of 6x1",
			"offset": "Euclidean; ; 1 of 5x1",
		}, got, s.name)
	}
}

// A freed kernel moves as in a solver without constraints.
func TestEuclideanFrees(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			m, free := model(of, 1), model(of, 1)
			a := s.of(solvers.Kernels(manifolds.Stiefel{}), solvers.Param("conv2", manifolds.Euclidean{}))
			b := s.of()
			for step := range uint64(3) {
				run(t, a, m, step)
				run(t, b, free, step)
			}
			assert.Equal(t, get(free[2].w), get(m[2].w), s.name)
			assert.NotEqual(t, get(free[0].w), get(m[0].w), s.name)
			p := a.Report().Parameters[2]
			assert.True(t, p.Kernel)
			assert.Equal(t, "Euclidean", p.Manifold)
		}
	}
}

func TestIsKernel(t *testing.T) {
	for _, c := range []struct {
		shape tensor.Shape
		want  bool
	}{
		{tensor.Shape{8, 3, 3, 3}, true},
		{tensor.Shape{8, 3, 1, 1}, true},
		{tensor.Shape{1, 3, 3, 3}, true}, // one filter
		{tensor.Shape{8, 1, 3, 3}, true}, // one channel, depthwise
		{tensor.Shape{1, 1, 3, 3}, true},
		{tensor.Shape{8, 1, 1, 5}, true},
		{tensor.Shape{1, 8, 1, 1}, false}, // batch norm
		{tensor.Shape{8, 1, 1, 1}, false},
		{tensor.Shape{1, 1, 1, 7}, false},
		{tensor.Shape{1, 1, 1, 1}, false},
		{tensor.Shape{8, 3}, false},
		{tensor.Shape{8}, false},
		{tensor.Shape{}, false},
		{nil, false},
		{tensor.Shape{8, 3, 3}, false},
		{tensor.Shape{2, 8, 3, 3, 3}, false},
	} {
		assert.Equal(t, c.want, solvers.IsKernel(c.shape), "%v", c.shape)
	}
	m := model(tensor.Float32, 1)
	s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
	run(t, s, m, 1)
	for _, p := range s.Report().Parameters {
		assert.Equal(t, p.Name == "conv1" || p.Name == "conv2", p.Kernel, p.Name)
		assert.Equal(t, p.Kernel, p.Manifold != "Euclidean", p.Name)
	}
}

// A manifold without dimension would freeze the weights.
func TestConstraintsThatDoNotFit(t *testing.T) {
	one, two, four := newParam("one", tensor.Float64, 4, 3, 1, 1), newParam("two", tensor.Float64, 4, 3, 1, 2), newParam("four", tensor.Float64, 1, 1, 2, 2)
	for _, p := range []*param{one, two, four} {
		gaussian(p.w, source(1), 1)
	}
	nothing := newParam("nothing", tensor.Float64, 4, 3, 2, 2)
	short := newParam("short", tensor.Float64, 4, 1, 1, 2)
	gaussian(short.w, source(1), 1)
	bias := newParam("bias", tensor.Float64, 5)
	gaussian(bias.w, source(1), 1)
	for _, s := range everySolver(0.01) {
		for _, c := range []struct {
			name  string
			p     *param
			m     manifolds.Manifold
			opts  []manifolds.Option
			wants []string
		}{
			{"sphere of single weights", one, manifolds.Sphere{}, []manifolds.Option{manifolds.PerSlice}, []string{`"one"`, "dimension 0", "1x1", "per slice"}},
			{"centred sphere of pairs", two, manifolds.CentredSphere{}, []manifolds.Option{manifolds.PerSlice}, []string{`"two"`, "dimension 0", "1x2"}},
			{"centred sphere of single weights", one, manifolds.CentredSphere{}, []manifolds.Option{manifolds.PerSlice}, []string{`"one"`, "2 elements"}},
			{"oblique with single rows", two, manifolds.Oblique{Axis: manifolds.Columns}, []manifolds.Option{manifolds.PerSlice}, []string{`"two"`, "dimension 0"}},
			{"Stiefel of single weights", one, manifolds.Stiefel{}, []manifolds.Option{manifolds.PerSlice}, []string{`"one"`, "dimension 0"}},
			{"weights of norm 0", nothing, manifolds.Sphere{}, nil, []string{`"nothing"`, "norm 0"}},
			{"initial scale of norm 0", nothing, manifolds.Sphere{}, []manifolds.Option{manifolds.Initial}, []string{`"nothing"`, "initial scale"}},
			{"dependent filters", short, manifolds.Stiefel{Radius: -1}, nil, []string{`"short"`, "radius"}},
			{"a vector", bias, manifolds.Sphere{}, nil, []string{`"bias"`, "(5)"}},
		} {
			t.Run(s.name+"/"+c.name, func(t *testing.T) {
				refuses(t, func() stepper { return s.of(solvers.Param(c.p.name, c.m, c.opts...)) },
					[]*param{bias, c.p}[btoi(c.p == bias):], solvers.ErrConstraint, c.wants...)
			})
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Weights that are not finite cannot be put anywhere.
func TestWeightsThatAreNotFinite(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for i, name := range []string{"conv1", "bias1"} {
				m := model(of, 1)
				values := get(m[i].w)
				values[2] = values[2] / 0
				put(m[i].w, values)
				gradients(m, 1)
				solver := s.of(solvers.Kernels(manifolds.Sphere{}))
				err := solver.Step(valueGrads(m))
				require.ErrorIs(t, err, solvers.ErrNotFinite, s.name)
				var named *solvers.ParameterError
				require.True(t, errors.As(err, &named))
				assert.Equal(t, name, named.Name)
				assert.Contains(t, err.Error(), "element 2 of")
			}
		}
	}
}

// Constraints of matrices: weights of a linear layer are (in, out).
func TestLinearLayersCanBeConstrained(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			m := model(of, 1)
			solver := s.of(solvers.Param("linear", manifolds.Stiefel{}, manifolds.Unit))
			for step := range uint64(3) {
				run(t, solver, m, step)
			}
			onManifold(t, solver.Report(), of)
			w := get(m[4].w) // 6 x 5: five orthonormal columns
			for i := range 5 {
				for j := range 5 {
					dot := 0.0
					for k := range 6 {
						dot += w[k*5+i] * w[k*5+j]
					}
					want := 0.0
					if i == j {
						want = 1
					}
					assert.InDelta(t, want, dot, 16*eps(of), s.name)
				}
			}
		}
	}
}
