// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// What a solver must do to stand in for a stock one.

func TestStepMovesEveryWeightAndZeroesGradients(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range s.beyond() {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					solver := s.of(at.kernels())
					require.NoError(t, solver.Init(valueGrads(m)))
					before := weights(m)
					for step := range uint64(3) {
						run(t, solver, m, step)
						for _, p := range m {
							assert.Equal(t, make([]float64, p.g.Size()), get(p.g), "gradient of %s", p.name)
						}
						onManifold(t, solver.Report(), of)
					}
					for _, p := range m {
						assert.NotEqual(t, before[p.name], get(p.w), p.name)
					}
				})
			}
		}
	}
}

// handle is a wrapper that cannot be compared: it is no key of a map.
type handle struct {
	tensors []*tensor.Dense
}

func (h handle) Value() gorgonia.Value         { return h.tensors[0] }
func (h handle) Grad() (gorgonia.Value, error) { return h.tensors[1], nil }

// box can be compared as a type, but not as a value.
type box struct{ tensors any }

func (b box) Value() gorgonia.Value         { return b.tensors.([]*tensor.Dense)[0] }
func (b box) Grad() (gorgonia.Value, error) { return b.tensors.([]*tensor.Dense)[1], nil }

// pair can be compared.
type pair struct{ w, g *tensor.Dense }

func (p pair) Value() gorgonia.Value         { return p.w }
func (p pair) Grad() (gorgonia.Value, error) { return p.g, nil }

// Programs without nodes wrap their tensors as they like, often anew at each
// step. The state belongs to the memory.
func TestValueGradsThatAreNotNodes(t *testing.T) {
	wrappers := []struct {
		name string
		wrap func(*param) gorgonia.ValueGrad
	}{
		{"fresh pointers with a name", func(p *param) gorgonia.ValueGrad { q := *p; return &q }},
		{"fresh pointers without a name", func(p *param) gorgonia.ValueGrad { return &pair{p.w, p.g} }},
		{"values", func(p *param) gorgonia.ValueGrad { return pair{p.w, p.g} }},
		{"values that cannot be compared", func(p *param) gorgonia.ValueGrad { return handle{[]*tensor.Dense{p.w, p.g}} }},
		{"values that hide a slice", func(p *param) gorgonia.ValueGrad { return box{[]*tensor.Dense{p.w, p.g}} }},
		{"fresh tensors over the same memory", func(p *param) gorgonia.ValueGrad {
			view := func(d *tensor.Dense) *tensor.Dense {
				return tensor.New(tensor.WithBacking(d.Data()), tensor.WithShape(d.Shape()...))
			}
			return &pair{view(p.w), view(p.g)}
		}},
	}
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			kernels := solvers.Kernels(manifolds.Stiefel{})
			want := model(of, 1)
			solver := s.of(kernels)
			for step := range uint64(4) {
				run(t, solver, want, step)
			}
			for _, w := range wrappers {
				t.Run(of.String()+"/"+s.name+"/"+w.name, func(t *testing.T) {
					got := model(of, 1)
					solver := s.of(kernels)
					for step := range uint64(4) {
						gradients(got, step)
						var shown []gorgonia.ValueGrad
						for _, p := range got {
							shown = append(shown, w.wrap(p))
						}
						require.NoError(t, solver.Step(shown))
					}
					same(t, weights(want), weights(got))
					assert.Len(t, solver.Report().Parameters, len(got))
				})
			}
		}
	}
}

// A parameter without a name is called by its place.
func TestNamelessParameters(t *testing.T) {
	p, q := newParam("", tensor.Float64, 3), newParam("", tensor.Float64, 2)
	s := solvers.NewSGD()
	require.NoError(t, s.Step([]gorgonia.ValueGrad{p, pair{q.w, q.g}}))
	var names []string
	for _, r := range s.Report().Parameters {
		names = append(names, r.Name)
	}
	assert.Equal(t, []string{"number 0", "number 1"}, names)
}

// scalar is a parameter that is one number.
type scalar struct{ w, g gorgonia.Value }

func (s scalar) Value() gorgonia.Value         { return s.w }
func (s scalar) Grad() (gorgonia.Value, error) { return s.g, nil }

// Gorgonia's scalars are pointers to numbers; a solver writes through them.
// A scalar moves as a vector of one element does. Wrapped solvers have other
// code for scalars than for tensors (Momentum's has no momentum), so there the
// reference is the bare solver.
func TestScalars(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				got, want := scalar{number(of, 0.75), number(of, 0)}, gorgonia.ValueGrad(nil)
				reference := gorgonia.Solver(nil)
				if vector := newParam("vector", of, 1); s.bare == nil {
					want, reference = vector, s.of()
				} else {
					want, reference = scalar{number(of, 0), number(of, 0)}, s.bare()
				}
				write(want.Value(), 0.75)
				solver := s.of()
				for _, slope := range []float64{0.5, -1, 2, 0.25, -0.5} {
					write(got.g, slope)
					g, err := want.Grad()
					require.NoError(t, err)
					write(g, slope)
					require.NoError(t, solver.Step([]gorgonia.ValueGrad{got}))
					require.NoError(t, reference.Step([]gorgonia.ValueGrad{want}))
					assert.Zero(t, read(got.g))
				}
				assert.Equal(t, read(want.Value()), read(got.w))
				assert.NotEqual(t, 0.75, read(got.w))
			})
		}
	}
}

// number makes a scalar.
func number(of tensor.Dtype, v float64) gorgonia.Value {
	if of == tensor.Float32 {
		return gorgonia.NewF32(float32(v))
	}
	return gorgonia.NewF64(v)
}

// read returns a scalar, or the first element of a tensor.
func read(v gorgonia.Value) float64 {
	switch n := v.(type) {
	case *gorgonia.F32:
		return float64(*n)
	case *gorgonia.F64:
		return float64(*n)
	}
	return get(v.(*tensor.Dense))[0]
}

// write sets a scalar, or the first element of a tensor.
func write(v gorgonia.Value, x float64) {
	switch n := v.(type) {
	case *gorgonia.F32:
		*n = gorgonia.F32(x)
	case *gorgonia.F64:
		*n = gorgonia.F64(x)
	default:
		put(v.(*tensor.Dense), []float64{x})
	}
}

// Tensors of one element are parameters of any rank, () included, and all move
// alike, under the solvers of this package to the bit. (Bare, stock Adam panics at
// shape ().)
func TestOneElementTensors(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m := []*param{newParam("a", of), newParam("b", of, 1), newParam("c", of, 1, 1, 1, 1)}
				solver := s.of()
				for range 3 {
					for _, p := range m {
						put(p.g, []float64{1})
					}
					require.NoError(t, solver.Step(valueGrads(m)))
				}
				for _, p := range m {
					if s.plans {
						assert.Less(t, get(p.w)[0], -1e-4)
					} else {
						assert.Less(t, get(p.w)[0], -0.1)
					}
					if s.bare == nil {
						assert.Equal(t, get(m[1].w), get(p.w))
					}
					assert.Zero(t, get(p.g)[0])
				}
			})
		}
	}
}

// Before differentiation a node has no gradient, before the first run it has
// nil: both are errors with the parameter's name.
func TestMissingGradients(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				g := gorgonia.NewGraph()
				start := tensor.New(tensor.Of(of), tensor.WithShape(2, 2, 1, 3))
				gaussian(start, source(3), 1)
				before := get(start)
				w := gorgonia.NewTensor(g, of, 4, gorgonia.WithName("w"), gorgonia.WithValue(start))
				cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(w))))
				solver := s.of(solvers.Param("w", manifolds.Sphere{}))

				step := func() {
					t.Helper()
					err := solver.Step([]gorgonia.ValueGrad{w})
					require.ErrorIs(t, err, solvers.ErrNoGradient)
					var named *solvers.ParameterError
					require.True(t, errors.As(err, &named))
					assert.Equal(t, "w", named.Name)
					assert.NotContains(t, err.Error(), "\n")
					assert.Equal(t, before, get(start))
				}
				step()
				_, err := gorgonia.Grad(cost, w)
				require.NoError(t, err)
				step()

				vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
				defer vm.Close()
				require.NoError(t, vm.RunAll())
				require.NoError(t, solver.Step([]gorgonia.ValueGrad{w}))
				assert.NotEqual(t, before, get(start))
			})
		}
	}
}

// Both precisions may meet in one call.
func TestMixedPrecisions(t *testing.T) {
	for _, s := range everySolver(0.01) {
		t.Run(s.name, func(t *testing.T) {
			kernels := solvers.Kernels(manifolds.Oblique{})
			apart := [][]*param{model(tensor.Float32, 1), model(tensor.Float64, 2)}
			for _, m := range apart {
				solver := s.of(kernels)
				for step := range uint64(3) {
					run(t, solver, m, step)
				}
			}
			narrow, wide := model(tensor.Float32, 1), model(tensor.Float64, 2)
			solver := s.of(kernels)
			for step := range uint64(3) {
				gradients(narrow, step)
				gradients(wide, step)
				var both []*param
				for i := range narrow {
					both = append(both, narrow[i], wide[i])
				}
				require.NoError(t, solver.Step(valueGrads(both)))
			}
			same(t, weights(apart[0]), weights(narrow))
			same(t, weights(apart[1]), weights(wide))
		})
	}
}

// Weights that are a view or a transpose cannot be moved in place by their
// memory alone: they are refused and not touched.
func TestViewsAreRefused(t *testing.T) {
	for _, of := range precisions {
		whole := tensor.New(tensor.Of(of), tensor.WithShape(4, 6))
		gaussian(whole, source(1), 1)
		before := get(whole)
		columns, err := whole.Slice(nil, gorgonia.S(1, 3))
		require.NoError(t, err)
		transposed := whole.ShallowClone()
		require.NoError(t, transposed.T())
		colMajor := tensor.New(tensor.Of(of), tensor.WithShape(4, 6), tensor.AsFortran(nil))

		for name, w := range map[string]*tensor.Dense{"columns": columns.(*tensor.Dense), "transposed": transposed, "column-major": colMajor} {
			for _, s := range everySolver(0.01) {
				t.Run(of.String()+"/"+name+"/"+s.name, func(t *testing.T) {
					g := tensor.New(tensor.Of(of), tensor.WithShape(w.Shape()...))
					gaussian(g, source(2), 1)
					err := s.of().Step([]gorgonia.ValueGrad{&param{"w", w, g}})
					require.ErrorIs(t, err, solvers.ErrParameter)
					assert.Contains(t, err.Error(), `"w"`)
					assert.Equal(t, before, get(whole))

					fine := tensor.New(tensor.Of(of), tensor.WithShape(w.Shape()...))
					err = s.of().Step([]gorgonia.ValueGrad{&param{"w", fine, w}})
					require.ErrorIs(t, err, solvers.ErrParameter, "as a gradient")
				})
			}
		}
	}

	// Rows of a matrix are contiguous: they are a parameter like any other.
	whole := tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(4, 6))
	rows, err := whole.Slice(gorgonia.S(1, 3))
	require.NoError(t, err)
	g := tensor.New(tensor.WithShape(2, 6), tensor.WithBacking([]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}))
	require.NoError(t, solvers.NewSGD(solvers.LearnRate(1)).Step([]gorgonia.ValueGrad{&param{"rows", rows.(*tensor.Dense), g}}))
	for i, v := range get(whole) {
		assert.Equal(t, i >= 6 && i < 18, v == -1)
	}
}
