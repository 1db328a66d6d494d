// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// copied has the weights of m in memory of its own, in another order.
func copied(m []*param, of tensor.Dtype) []*param {
	var out []*param
	for i := range m {
		p := m[(i+2)%len(m)]
		q := newParam(p.name, of, p.w.Shape()...)
		put(q.w, get(p.w))
		out = append(out, q)
	}
	return out
}

// A solver restored from a snapshot that went through text goes on to the bit.
func TestSnapshotGoesOnToTheBit(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			for _, at := range s.beyond() {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					options := []solvers.Option{at.kernels(), solvers.Param("linear", manifolds.Stiefel{}, manifolds.Initial)}
					a := s.of(options...).(*solvers.Solver)
					for step := range uint64(5) {
						run(t, a, m, step)
					}
					snap, err := a.Snapshot()
					require.NoError(t, err)
					text, err := json.Marshal(snap)
					require.NoError(t, err)
					var read solvers.Snapshot
					require.NoError(t, json.Unmarshal(text, &read))

					twin := copied(m, of)
					b := s.of(options...).(*solvers.Solver)
					require.NoError(t, b.Restore(valueGrads(twin), &read))
					again, err := b.Snapshot()
					require.NoError(t, err)
					assert.Equal(t, snap, again)
					for step := range uint64(8) {
						run(t, a, m, 100+step)
						run(t, b, twin, 100+step)
						same(t, weights(m), weights(twin))
					}
					later, err := json.Marshal(snap)
					require.NoError(t, err)
					assert.Equal(t, string(text), string(later), "a snapshot is a copy")
					assert.Equal(t, a.Report(), b.Report())
				})
			}
		}
	}
}

// A solver that has only been initialised can be saved: its state is all zeros.
func TestSnapshotBeforeTheFirstStep(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m := model(of, 1)
				a, b := s.of(places[0].kernels()).(*solvers.Solver), s.of(places[0].kernels()).(*solvers.Solver)
				require.NoError(t, a.Init(valueGrads(m)))
				snap, err := a.Snapshot()
				require.NoError(t, err)
				twin := copied(m, of)
				require.NoError(t, b.Restore(valueGrads(twin), snap))
				for step := range uint64(3) {
					run(t, a, m, step)
					run(t, b, twin, step)
					same(t, weights(m), weights(twin))
				}
			})
		}
	}
}

// What does not match is an error that says what, and the solver stays as it was.
func TestRestoreRefuses(t *testing.T) {
	of := tensor.Float32
	sphere := solvers.Kernels(manifolds.Sphere{})
	momentum := solvers.Momentum(0.9)
	m := model(of, 1)
	a := solvers.NewSGD(momentum, sphere)
	run(t, a, m, 1)
	for _, c := range []struct {
		name   string
		solver *solvers.Solver
		change func(snap *solvers.Snapshot, m []*param) []*param
		want   string
	}{
		{"another solver", solvers.NewAdam(sphere), nil, "want the snapshot of Adam, got that of SGD"},
		{"another manifold", solvers.NewSGD(momentum, solvers.Kernels(manifolds.CentredSphere{})), nil, "want the manifold Sphere"},
		{"another grouping", solvers.NewSGD(momentum, solvers.Kernels(manifolds.Sphere{Radius: 1}, manifolds.PerTap)), nil, "want the grouping per filter of the snapshot, got per tap"},
		{"no momentum", solvers.NewSGD(sphere), nil, `want 0 blocks of state, got "momentum"`},
		{"too few", solvers.NewSGD(momentum, sphere), func(_ *solvers.Snapshot, m []*param) []*param { return m[1:] }, "want the 6 parameters of the snapshot, got 5"},
		{"another name", solvers.NewSGD(momentum, sphere), func(s *solvers.Snapshot, m []*param) []*param {
			s.Parameters[2].Name = "nonesuch"
			return m
		}, `"nonesuch"`},
		{"another shape", solvers.NewSGD(momentum, sphere), func(s *solvers.Snapshot, m []*param) []*param {
			s.Parameters[5].Shape = []int{7}
			return m
		}, "want a parameter of shape (7) of the snapshot, got (5)"},
		{"short state", solvers.NewSGD(momentum, sphere), func(s *solvers.Snapshot, m []*param) []*param {
			s.Parameters[0].State[0].F32 = s.Parameters[0].State[0].F32[1:]
			return m
		}, `want the state "momentum"`},
		{"bad rate", solvers.NewSGD(momentum, sphere), func(s *solvers.Snapshot, m []*param) []*param {
			s.LearnRate = -1
			return m
		}, "LearnRate"},
		{"other precision", solvers.NewSGD(momentum, sphere), func(_ *solvers.Snapshot, _ []*param) []*param {
			return model(tensor.Float64, 1)
		}, "want precision float32"},
		{"no snapshot", solvers.NewSGD(momentum, sphere), func(s *solvers.Snapshot, m []*param) []*param {
			s.Solver = ""
			return m
		}, "want the snapshot of SGD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap, err := a.Snapshot()
			require.NoError(t, err)
			given := copied(m, of)
			if c.change != nil {
				given = c.change(snap, given)
			}
			before := weights(given)
			require.ErrorContains(t, c.solver.Restore(valueGrads(given), snap), c.want)
			same(t, before, weights(given))
			empty, err := c.solver.Snapshot()
			require.NoError(t, err)
			assert.Empty(t, empty.Parameters)
			assert.Zero(t, empty.Steps)
		})
	}
	snap, err := a.Snapshot()
	require.NoError(t, err)
	require.ErrorContains(t, a.Restore(valueGrads(m), snap), "want a solver that has seen no parameters")
	require.Error(t, solvers.NewSGD().Restore(nil, nil))
	_, err = solvers.NewSGD(solvers.LearnRate(-1)).Snapshot()
	require.ErrorIs(t, err, solvers.ErrOption)
}

// aged makes a snapshot one of before manifolds were identified by their whole value: one bound of gradients and one of
// points, one name for both kinds of momentum, and tangent momentum that is transported, for which it needs manifold and weights.
func aged(t *testing.T, s *solvers.Snapshot, m []*param) *solvers.Snapshot {
	t.Helper()
	for i := range s.Parameters {
		p := &s.Parameters[i]
		p.Identity = nil
		p.Bounds = p.Bounds[:2]
		for j := range p.State {
			b := &p.State[j]
			if strings.HasSuffix(b.Name, ", before its transport") {
				transport(t, b, p, m)
			}
			if b.Name == "ambient momentum" {
				b.Name = "momentum"
			}
		}
	}
	return s
}

// transport projects the momentum of a Stiefel manifold to the tangent space at the weights.
func transport(t *testing.T, b *solvers.Block, p *solvers.ParameterSnapshot, m []*param) {
	t.Helper()
	b.Name = "momentum"
	k, n, q := b.Shape[0], b.Shape[1], b.Shape[2]
	for _, w := range m {
		if w.name != p.Name {
			continue
		}
		x, err := manifolds.Points64(get(w.w), k, n, q)
		require.NoError(t, err)
		values := slices.Clone(b.F64)
		for _, v := range b.F32 {
			values = append(values, float64(v))
		}
		u, err := manifolds.Points64(values, k, n, q)
		require.NoError(t, err)
		squares := make([]float64, k)
		require.NoError(t, manifolds.Inner(manifolds.Euclidean{}, squares, x, x, x))
		require.NoError(t, manifolds.Stiefel{Radius: math.Sqrt(squares[0] / float64(min(n, q)))}.Tangent(u, x, u))
		copy(b.F64, u.Data64())
		for i := range b.F32 {
			b.F32[i] = float32(u.Data64()[i])
		}
	}
}

// Snapshots of before go on where it is known what their momentum is: where it is tangent, or AmbientMomentum is set.
func TestOldSnapshots(t *testing.T) {
	for _, of := range precisions {
		for _, at := range places {
			if at.manifold.Check(2, 3) != nil || strings.Contains(at.name, "transposed") {
				continue // of these there are none
			}
			t.Run(of.String()+"/"+at.name, func(t *testing.T) {
				make := func(o ...solvers.Option) *solvers.Solver {
					return solvers.NewSGD(append(o, solvers.LearnRate(0.05), solvers.Momentum(0.9), at.kernels())...)
				}
				ambient := solvers.AmbientMomentum()
				for _, c := range []struct {
					was, is []solvers.Option
					fits    bool
				}{
					{nil, nil, true},
					{[]solvers.Option{ambient}, []solvers.Option{ambient}, true},
					{[]solvers.Option{ambient}, nil, false},
				} {
					m := model(of, 1)
					s := make(c.was...)
					for step := range uint64(4) {
						run(t, s, m, step)
					}
					snap, err := s.Snapshot()
					require.NoError(t, err)
					rounded := len(snap.Parameters[0].State) > 0 && strings.HasSuffix(snap.Parameters[0].State[0].Name, "transport")
					again, twin := make(c.is...), copied(m, of)
					before := weights(twin)
					err = again.Restore(valueGrads(twin), aged(t, snap, m))
					same(t, before, weights(twin))
					if !c.fits {
						require.ErrorIs(t, err, solvers.ErrParameter)
						for _, want := range []string{`"conv1"`, "want tangent momentum", "restore it into a solver with AmbientMomentum()"} {
							assert.Contains(t, err.Error(), want)
						}
						assert.NotContains(t, err.Error(), "\n")
						run(t, again, twin, 5) // as before: it starts anew
						continue
					}
					require.NoError(t, err)
					for step := range uint64(3) {
						run(t, s, m, 5+step)
						run(t, again, twin, 5+step)
					}
					if rounded { // by the transport, which aged has made
						for name, w := range weights(m) {
							assert.InDeltaSlice(t, w, weights(twin)[name], 32*eps(of), name)
						}
						continue
					}
					same(t, weights(m), weights(twin))
				}
			})
		}
	}
	// Adam's were tangent all the time.
	m := model(tensor.Float32, 1)
	s := solvers.NewAdam(solvers.Kernels(manifolds.Sphere{}))
	run(t, s, m, 1)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	again, twin := solvers.NewAdam(solvers.Kernels(manifolds.Sphere{})), copied(m, tensor.Float32)
	require.NoError(t, again.Restore(valueGrads(twin), aged(t, snap, m)))
	run(t, s, m, 2)
	run(t, again, twin, 2)
	same(t, weights(m), weights(twin))
}

// The two kinds of momentum are not each other's state.
func TestSnapshotOfTheOtherMomentum(t *testing.T) {
	kinds := []solvers.Option{solvers.TangentMomentum(), solvers.AmbientMomentum()}
	for i, kind := range kinds {
		m := model(tensor.Float32, 1)
		s := solvers.NewSGD(kind, solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
		run(t, s, m, 1)
		snap, err := s.Snapshot()
		require.NoError(t, err)
		other := solvers.NewSGD(kinds[1-i], solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
		err = other.Restore(valueGrads(copied(m, tensor.Float32)), snap)
		require.ErrorIs(t, err, solvers.ErrParameter)
		assert.Contains(t, err.Error(), `"ambient momentum"`)
		assert.Contains(t, err.Error(), `"momentum"`)
	}
}

// The predictable factor knows past directions, which a snapshot has.
func TestSnapshotOfTheGeometricStep(t *testing.T) {
	for _, of := range precisions {
		make := func() *solvers.Solver {
			return solvers.NewSGD(solvers.GeometricStep(), solvers.LearnRate(0.5), solvers.Kernels(manifolds.Sphere{}))
		}
		m := model(of, 1)
		s := make()
		for step := range uint64(3) {
			run(t, s, m, step)
		}
		snap, err := s.Snapshot()
		require.NoError(t, err)
		again, twin := make(), copied(m, of)
		require.NoError(t, again.Restore(valueGrads(twin), snap))
		for step := range uint64(3) {
			run(t, s, m, 5+step)
			run(t, again, twin, 5+step)
		}
		same(t, weights(m), weights(twin))
		assert.Equal(t, s.Report(), again.Report())
		assert.Greater(t, s.Report().Parameters[0].GeometricFactor, 1.0)
	}
}

// A solver with the predictable factor goes on from a snapshot without past directions: the first one that it sees is that of all steps.
func TestGeometricStepFromAnotherSnapshot(t *testing.T) {
	make := func(opts ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append(opts, solvers.LearnRate(0.5), solvers.Param("kernel", manifolds.Sphere{}, manifolds.Unit))...)
	}
	for _, of := range precisions {
		m := []*param{newParam("kernel", of, 1, 3, 2, 2)}
		gaussian(m[0].w, source(1), 1)
		s := make()
		for step := range uint64(20) {
			run(t, s, m, step)
		}
		snap, err := s.Snapshot()
		require.NoError(t, err)
		s = make(solvers.GeometricStep())
		require.NoError(t, s.Restore(valueGrads(m), snap))
		gradients(m, 20)
		put(m[0].g, []float64{0: math.NaN(), 11: 0})
		require.Error(t, s.Step(valueGrads(m)))
		run(t, s, m, 20)
		first := s.Report().Parameters[0]
		assert.Equal(t, 1.0, first.GeometricFactor)
		run(t, s, m, 21)
		assert.InEpsilon(t, manifolds.GeometricFactor(first.Direction, 1), s.Report().Parameters[0].GeometricFactor, 1e-12)
	}
}
