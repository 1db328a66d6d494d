// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/nodes"
)

// over sums over ranks.
type over struct{ mpi.Comm }

func (o over) Sum(values ...float64) ([]float64, error) {
	sums := make([]float64, len(values))
	return sums, o.Sum64(sums, values)
}

// normalised is a batch normalisation and the gradients of the cost sum(c y) on the images from..to
// of a batch.
type normalised struct {
	y, dx, dγ, dβ []float64
	s             *nodes.Statistics
	err           error
}

var building sync.Mutex // gorgonia.Grad is not safe side by side

func normalise(of tensor.Dtype, x, c []float64, shape []int, from, to int, layer string, opts ...nodes.BatchNormOption) (n normalised) {
	g := gorgonia.NewGraph()
	part := append([]int{to - from}, shape[1:]...)
	size := len(x) / shape[0]
	in := func(name string, v []float64, shape ...int) *gorgonia.Node {
		t := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
		for i, v := range v {
			if of == tensor.Float64 {
				t.Float64s()[i] = v
			} else {
				t.Float32s()[i] = float32(v)
			}
		}
		return gorgonia.NewTensor(g, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(t))
	}
	must := func(n *gorgonia.Node, err error) *gorgonia.Node {
		if err != nil {
			panic(err)
		}
		return n
	}
	one := []int{1, shape[1], 1, 1}[:len(shape)]
	xs := in("x", x[from*size:to*size], part...)
	γ, β := in(layer+".weight", ramp(shape[1]), one...), in(layer+".bias", ramp(shape[1]), one...)
	n.s, n.err = nodes.NewStatistics(shape[1], 0.1)
	y := must(nodes.BatchNormWith(xs, γ, β, n.s, 1e-3, opts...))
	cost := must(gorgonia.Sum(must(gorgonia.HadamardProd(y, in("c", c[from*size:to*size], part...))), 0))
	for cost.Dims() > 0 {
		cost = must(gorgonia.Sum(cost, 0))
	}
	building.Lock()
	d, err := gorgonia.Grad(cost, xs, γ, β)
	building.Unlock()
	if err != nil {
		panic(err)
	}
	values := make([]gorgonia.Value, 4)
	for i, node := range append(gorgonia.Nodes{y}, d...) {
		gorgonia.Read(node, &values[i])
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if n.err = vm.RunAll(); n.err == nil {
		n.y, n.dx, n.dγ, n.dβ = floats(values[0]), floats(values[1]), floats(values[2]), floats(values[3])
	}
	return n
}

// Processes that have parts of a batch, of any sizes, compute what one would with the whole batch.
func TestSynchronised(t *testing.T) {
	for _, shape := range [][]int{{9, 3, 4, 5}, {9, 4}, {9, 2, 1, 1}} {
		for _, of := range []tensor.Dtype{tensor.Float64, tensor.Float32} {
			for _, shift := range []float64{0, 1000} {
				size := tensor.Shape(shape).TotalSize()
				rng := rand.New(rand.NewPCG(1, 2))
				x, c := make([]float64, size), make([]float64, size)
				for i := range x {
					x[i], c[i] = shift+rng.NormFloat64(), rng.NormFloat64()
				}
				want := normalise(of, x, c, shape, 0, 9, "bn")
				require.NoError(t, want.err)
				eps := 0x1p-52
				if of == tensor.Float32 {
					eps = 0x1p-23
				}
				eps *= 200 * (1 + shift) // of x-μ
				near := func(t *testing.T, want, got []float64, what string, where ...any) {
					t.Helper()
					require.Len(t, got, len(want))
					for i := range want {
						if !(math.Abs(want[i]-got[i]) <= eps*(1+math.Abs(want[i]))) {
							require.Failf(t, what, "element %d: want %v, got %v %v", i, want[i], got[i], where)
						}
					}
				}
				for _, cuts := range [][]int{{0, 9}, {0, 3, 9}, {0, 1, 2, 5, 9}} {
					t.Run(fmt.Sprint(shape, of, shift, cuts), func(t *testing.T) {
						got := make([]normalised, len(cuts)-1)
						mpitest.Run(t, len(got), func(_ *testing.T, comm mpi.Comm) {
							r := comm.Rank()
							got[r] = normalise(of, x, c, shape, cuts[r], cuts[r+1], "bn", nodes.Synchronised(over{comm}))
						})
						var y, dx []float64
						dγ, dβ := make([]float64, shape[1]), make([]float64, shape[1])
						for _, g := range got {
							require.NoError(t, g.err)
							y, dx = append(y, g.y...), append(dx, g.dx...)
							for c := range dγ {
								dγ[c] += g.dγ[c]
								dβ[c] += g.dβ[c]
							}
							assert.Equal(t, got[0].s, g.s, "the same statistics everywhere")
						}
						near(t, want.y, y, "y")
						near(t, want.dx, dx, "dx")
						near(t, want.dγ, dγ, "dγ")
						near(t, want.dβ, dβ, "dβ")
						near(t, want.s.Mean, got[0].s.Mean, "mean")
						near(t, want.s.Variance, got[0].s.Variance, "variance")
					})
				}
			}
		}
	}
}

// Processes in different layers find out, all of them.
func TestSynchronisedInOtherLayers(t *testing.T) {
	for _, n := range []int{2, 3} {
		errs := make([]error, n)
		mpitest.Run(t, n, func(_ *testing.T, c mpi.Comm) {
			name := "bn1"
			if c.Rank() == 1 {
				name = "bn2"
			}
			errs[c.Rank()] = normalise(tensor.Float64, ramp(6), ramp(6), []int{3, 2}, 0, 3, name, nodes.Synchronised(over{c})).err
		})
		for _, err := range errs {
			assert.ErrorIs(t, nodes.Cause(err), nodes.ErrSums)
			assert.ErrorContains(t, nodes.Cause(err), "in the same node of the same net")
		}
	}
}

type failing struct{}

func (failing) Sum(...float64) ([]float64, error) { return nil, errors.New("gone") }

type short struct{}

func (short) Sum(...float64) ([]float64, error) { return nil, nil }

// A NaN of one process is an error of all; so is a sum that fails.
func TestSynchronisedFails(t *testing.T) {
	x := ramp(6)
	x[5] = math.NaN()
	errs := make([]normalised, 2)
	mpitest.Run(t, 2, func(_ *testing.T, c mpi.Comm) {
		r := c.Rank()
		errs[r] = normalise(tensor.Float64, x, ramp(6), []int{3, 2}, r, 1+2*r, "bn", nodes.Synchronised(over{c}))
	})
	for _, e := range errs {
		assert.ErrorIs(t, nodes.Cause(e.err), nodes.ErrNotFinite)
		assert.Zero(t, e.s.Batches)
	}
	err := normalise(tensor.Float64, ramp(6), ramp(6), []int{3, 2}, 0, 3, "bn", nodes.Synchronised(failing{})).err
	assert.ErrorIs(t, nodes.Cause(err), nodes.ErrSums)
	assert.ErrorContains(t, err, "gone")
	err = normalise(tensor.Float64, ramp(6), ramp(6), []int{3, 2}, 0, 3, "bn", nodes.Synchronised(short{})).err
	assert.ErrorContains(t, err, "want 6 sums, got 0")
	require.NoError(t, normalise(tensor.Float64, ramp(6), ramp(6), []int{3, 2}, 0, 3, "bn", nodes.Synchronised(nil)).err)
}
