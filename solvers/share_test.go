// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// sharer is what Solver and Constrained have in common.
type sharer interface {
	StepShare([]gorgonia.ValueGrad, solvers.Share) error
}

var errElsewhere, errPlans = errors.New("failed elsewhere"), errors.New("plans differ")

// shareOf makes the Share of a rank.
func shareOf(c mpi.Comm) solvers.Share {
	return solvers.Share{
		Rank: c.Rank(), Size: c.Size(),
		Agree: func(err error, plan uint64) error {
			own := binary.LittleEndian.AppendUint64(nil, plan)
			if err != nil {
				own = append(own, 1)
			} else {
				own = append(own, 0)
			}
			all := make([]byte, 9*c.Size())
			if e := c.Gather(all, own); e != nil {
				return e
			}
			for r := range c.Size() {
				if all[9*r+8] != 0 && err == nil {
					err = errElsewhere
				}
			}
			for r := range c.Size() {
				if err == nil && string(all[9*r:9*r+8]) != string(own[:8]) {
					err = errPlans
				}
			}
			return err
		},
		Exchange: func(own []byte, sizes []int) ([][]byte, error) {
			parts := make([][]byte, len(sizes))
			for r, n := range sizes {
				if parts[r] = make([]byte, n); r == c.Rank() {
					copy(parts[r], own)
				}
				if err := c.Broadcast(r, parts[r]); err != nil {
					return nil, err
				}
			}
			return parts, nil
		},
	}
}

// Processes that share their steps have the weights and the report of one that makes them alone, to the bit. The state
// of a parameter is with one of them.
func TestShareIsStep(t *testing.T) {
	const steps = 7
	ranks := []int{1, 2, 3, 8} // by turns, over solvers and manifolds
	if testing.Short() {
		ranks = []int{3}
	}
	for _, of := range precisions {
		for i, s := range native(0.05) {
			for j, at := range everywhere {
				n := ranks[(i+j)%len(ranks)]
				t.Run(fmt.Sprintf("%v/%s/%s/%d", of, s.name, at.name, n), func(t *testing.T) {
					options := []solvers.Option{at.kernels(), solvers.Param("linear", manifolds.Stiefel{}, manifolds.Initial)}
					twin := model(of, 1)
					reference := s.of(options...).(*solvers.Solver)
					var want []map[string][]float64
					for step := range uint64(steps) {
						run(t, reference, twin, step)
						want = append(want, weights(twin))
					}
					snap, err := reference.Snapshot()
					require.NoError(t, err)

					var lock sync.Mutex
					owners := map[string]int{}
					mpitest.Run(t, n, func(t *testing.T, c mpi.Comm) {
						m := model(of, 1)
						solver := s.of(options...).(*solvers.Solver)
						for step := range uint64(steps) {
							gradients(m, step)
							require.NoError(t, solver.StepShare(valueGrads(m), shareOf(c)))
							same(t, want[step], weights(m), "step ", step)
							for name, g := range slopes(m) {
								for _, v := range g {
									require.Zero(t, v, name)
								}
							}
						}
						lock.Lock()
						defer lock.Unlock()
						assert.Equal(t, reference.Report(), solver.Report())
						own, err := solver.Snapshot()
						require.NoError(t, err)
						for i, p := range own.Parameters {
							whole := snap.Parameters[i]
							if p.State != nil {
								assert.Equal(t, whole, p)
								owners[p.Name]++
								continue
							}
							whole.State = nil
							assert.Equal(t, whole, p)
						}
					})
					for _, p := range snap.Parameters {
						if p.State != nil {
							assert.Equal(t, 1, owners[p.Name], p.Name)
						}
					}
				})
			}
		}
	}
}

// A step that fails on one process changes nothing on any, whatever fails: a gradient that one of them lacks, a
// retraction. Afterwards all go on as if it had not been.
func TestFailedShareChangesNothing(t *testing.T) {
	const n = 3
	for _, of := range precisions {
		for _, s := range append(native(0.01), wrapped(0.01)[0]) {
			for _, fault := range []string{"NaN", "nil", "retract"} {
				for _, good := range []int{0, 3} {
					for _, at := range []int{0, 1} { // each has a kernel
						t.Run(fmt.Sprintf("%v/%s/%s on %d/after %d", of, s.name, fault, at, good), func(t *testing.T) {
							mpitest.Run(t, n, func(t *testing.T, c mpi.Comm) {
								armed := &breakage{}
								kernels := solvers.Kernels(fragile{manifolds.Sphere{}, armed})
								m, twin := model(of, 1), model(of, 1)
								solver, reference := s.of(kernels), s.of(kernels)
								step := func(seed uint64) {
									gradients(m, seed)
									require.NoError(t, solver.(sharer).StepShare(valueGrads(m), shareOf(c)))
									run(t, reference, twin, seed)
									same(t, weights(twin), weights(m))
								}
								for i := range good {
									step(uint64(i))
								}
								gradients(m, 90)
								w, g := weights(m), slopes(m)
								given := valueGrads(m)
								kind := errElsewhere
								if c.Rank() == at {
									switch fault {
									case "NaN":
										given = instead("conv2", with(3, math.NaN()))(m)
										kind = solvers.ErrNotFinite
									case "nil":
										given = instead("offset", func(p *param) gorgonia.ValueGrad { return &broken{param: p} })(m)
										kind = solvers.ErrNoGradient
									case "retract":
										*armed = breakage{"retract", 0}
										kind = errBreakage
									}
								}
								err := solver.(sharer).StepShare(given, shareOf(c))
								*armed = breakage{}
								require.ErrorIs(t, err, kind)
								same(t, w, weights(m), "weights after the failed step")
								same(t, g, slopes(m), "gradients after the failed step")
								for i := range 3 {
									step(uint64(10 + i))
								}
								sameReport(t, reference.Report(), solver.Report())
							})
						})
					}
				}
			}
		}
	}
}

// Parameters that join later are dealt out to those who have less to do, and those that were there stay with their
// process. A step without some of them is one of the others.
func TestShareDealsOutOnce(t *testing.T) {
	const n = 3
	of := tensor.Float32
	mpitest.Run(t, n, func(t *testing.T, c mpi.Comm) {
		m, twin := model(of, 1), model(of, 1)
		make := func() *solvers.Solver {
			return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
		}
		solver, reference := make(), make()
		owned := func() (names []string) {
			snap, err := solver.Snapshot()
			require.NoError(t, err)
			for _, p := range snap.Parameters {
				if p.State != nil {
					names = append(names, p.Name)
				}
			}
			return names
		}
		var before []string
		for i, part := range [][2]int{{0, 3}, {0, 6}, {2, 5}, {5, 6}, {0, 6}} {
			gradients(m, uint64(i))
			require.NoError(t, solver.StepShare(valueGrads(m[part[0]:part[1]]), shareOf(c)))
			gradients(twin, uint64(i))
			require.NoError(t, reference.Step(valueGrads(twin[part[0]:part[1]])))
			same(t, weights(twin), weights(m), "part ", i)
			after := owned()
			assert.Subset(t, after, before)
			before = after
		}
		assert.NotEmpty(t, before, "rank %d has nothing to do", c.Rank())
		assert.Less(t, len(before), len(m), "rank %d does everything", c.Rank())
	})
}

// A step that fails, with parameters that join in it, has dealt out nothing, on the processes that got as far as that
// and on those that did not: they share the next one, with other parameters, as if it had not been. Nor do restored
// ones belong to anyone then.
func TestFailedShareDealsOutNothing(t *testing.T) {
	of := tensor.Float64
	mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
		make := func() *solvers.Solver {
			return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
		}
		for _, restored := range []bool{false, true} {
			m, twin := model(of, 1), model(of, 1)
			solver, reference := make(), make()
			step := func(seed uint64, from, to int) {
				gradients(m, seed)
				gradients(twin, seed)
				require.NoError(t, solver.StepShare(valueGrads(m[from:to]), shareOf(c)))
				require.NoError(t, reference.Step(valueGrads(twin[from:to])))
				same(t, weights(twin), weights(m))
			}
			if restored {
				require.NoError(t, reference.Init(valueGrads(twin[:3])))
				gradients(twin, 7)
				require.NoError(t, reference.Step(valueGrads(twin[:3])))
				snap, err := reference.Snapshot()
				require.NoError(t, err)
				m = copied(twin, of)
				m = append(m[4:], m[:4]...) // in the order of twin
				require.NoError(t, solver.Restore(valueGrads(m[:3]), snap))
			} else {
				step(1, 0, 3)
			}
			gradients(m, 2)
			given := valueGrads(m)
			if c.Rank() == 1 {
				given = instead("conv1", with(0, math.NaN()))(m)
			}
			require.Error(t, solver.StepShare(given, shareOf(c)))
			step(3, 0, 3)
			step(4, 2, 5)
			step(5, 0, 6)
		}
	})
}

// What is new is dealt out by work: a bank of 32 orthonormal filters is more of it than three that have more weights
// between them.
func TestShareByWork(t *testing.T) {
	of := tensor.Float32
	mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
		var m []*param
		for i, shape := range [][]int{{64, 4, 3, 3}, {64, 4, 3, 3}, {64, 4, 3, 3}, {32, 16, 3, 3}} {
			m = append(m, newParam(fmt.Sprintf("conv%d", i), of, shape...))
			gaussian(m[i].w, source(uint64(i)), 1)
		}
		gradients(m, 1)
		solver := solvers.NewSGD(solvers.Momentum(0.9), solvers.Param("conv3", manifolds.Stiefel{}))
		require.NoError(t, solver.StepShare(valueGrads(m), shareOf(c)))
		snap, err := solver.Snapshot()
		require.NoError(t, err)
		for i, p := range snap.Parameters {
			assert.Equal(t, (i == 3) == (c.Rank() == 0), p.State != nil, "%s on rank %d", p.Name, c.Rank())
		}
	})
}

// Parameters that are not heavy are moved by each process.
func TestShareOfTheHeavy(t *testing.T) {
	of := tensor.Float64
	mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
		m, twin := model(of, 1), model(of, 1)
		make := func() *solvers.Solver {
			return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}), solvers.Param("conv1", manifolds.Stiefel{}, manifolds.PerSlice),
				solvers.Param("linear", manifolds.Stiefel{}, manifolds.Initial))
		}
		solver, reference := make(), make()
		share := shareOf(c)
		share.Heavy = 5 // of slices of 2 rows, a bank of 6 filters, and a layer of 5 columns
		exchange := share.Exchange
		exchanged := 0
		share.Exchange = func(own []byte, sizes []int) ([][]byte, error) {
			for _, n := range sizes {
				exchanged += n
			}
			assert.Len(t, own, sizes[c.Rank()])
			assert.GreaterOrEqual(t, cap(own), slices.Max(sizes))
			return exchange(own, sizes)
		}
		for step := range uint64(5) {
			gradients(m, step)
			require.NoError(t, solver.StepShare(valueGrads(m), share))
			run(t, reference, twin, step)
			same(t, weights(twin), weights(m))
		}
		assert.Equal(t, 5*(8*(6*4*2*3+6*5)+2*8*13), exchanged)
		snap, err := solver.Snapshot()
		require.NoError(t, err)
		for _, p := range snap.Parameters {
			want := true
			switch p.Name {
			case "conv2":
				want = c.Rank() == 0
			case "linear":
				want = c.Rank() == 1
			}
			assert.Equal(t, want, p.State != nil, "%s on rank %d", p.Name, c.Rank())
		}
	})
	s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
	m := model(of, 1)
	gradients(m, 1)
	require.NoError(t, s.StepShare(valueGrads(m), solvers.Share{
		Size: 2, Heavy: 1, Agree: func(err error, _ uint64) error { return err },
		Exchange: func([]byte, []int) ([][]byte, error) {
			return nil, errors.New("want no exchange where nothing is shared, got one")
		},
	}))
}

// silence is an exchange with a process that tells zeros.
func silence(_ []byte, sizes []int) (parts [][]byte, err error) {
	for _, n := range sizes {
		parts = append(parts, make([]byte, n))
	}
	return parts, nil
}

// A share that is not that of the steps before, or of no process, is an error.
func TestShareIsForGood(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	s := solvers.NewSGD()
	agree := func(err error, _ uint64) error { return err }
	for _, bad := range []solvers.Share{{}, {Rank: 2, Size: 2}, {Rank: -1, Size: 2}} {
		bad.Agree, bad.Exchange = agree, silence
		require.ErrorContains(t, s.StepShare(valueGrads(m), bad), "want a process")
	}
	share := solvers.Share{Rank: 1, Size: 2, Agree: agree, Exchange: silence}
	require.NoError(t, s.StepShare(valueGrads(m), share))
	require.ErrorContains(t, s.Step(valueGrads(m)), "want the share of process 1 of 2, as at the first step, got that of 0 of 1")
	require.NoError(t, s.StepShare(valueGrads(m), share))
}

// Processes with other constraints, learning rates or shares have other plans.
func TestSharePlans(t *testing.T) {
	plan := func(rank int, opts ...solvers.Option) (plan uint64) {
		m := model(tensor.Float64, 1)
		gradients(m, 1)
		s := solvers.NewSGD(opts...)
		require.NoError(t, s.StepShare(valueGrads(m), solvers.Share{Rank: rank, Size: 2,
			Agree:    func(err error, p uint64) error { plan = p; return err },
			Exchange: silence,
		}))
		return plan
	}
	want := plan(0, solvers.Kernels(manifolds.Sphere{}))
	assert.Equal(t, want, plan(1, solvers.Kernels(manifolds.Sphere{})))
	for _, other := range [][]solvers.Option{
		{solvers.Kernels(manifolds.Sphere{Geodesic: true})}, {solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice)},
		{solvers.Kernels(manifolds.Sphere{}), solvers.LearnRate(0.02)}, nil,
	} {
		assert.NotEqual(t, want, plan(1, other...))
	}
}
