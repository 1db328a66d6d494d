// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// shared is a definition of a net with a convolution whose weights, once they are made, are those of all
// nets of it.
func shared() models.Definition {
	var mu sync.Mutex
	values := map[string]gorgonia.Value{}
	return func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		weight := func(name string, seed uint64, shape ...int) *gorgonia.Node {
			mu.Lock()
			defer mu.Unlock()
			if values[name] == nil {
				values[name] = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(nodes.HeNormal(1, seed)(tensor.Float32, shape...)))
			}
			return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithValue(values[name]))
		}
		x, y := leaf(g, "x", nil, batch, 2, 5, 5), leaf(g, "y", nil, batch, 3)
		w, u, b := weight("w", 1, 4, 2, 3, 3), weight("u", 2, 36, 3), weight("b", 3, 1, 3)
		h := gorgonia.Must(nodes.Rectify(gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{0, 0}, []int{1, 1}, []int{1, 1}))))
		out := gorgonia.Must(nodes.Linear(h, u, b))
		cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(out, y))))))
		return &models.Net{Inputs: gorgonia.Nodes{x}, Targets: gorgonia.Nodes{y}, Outputs: gorgonia.Nodes{out}, Cost: cost, Learnables: gorgonia.Nodes{w, u, b}}, nil
	}
}

// Machines over shared weights run side by side, each on a part of the batch, and train as one machine
// does on the whole batch; so do predictors. Nets, machines and predictors are made side by side too.
func TestMachinesOverSharedWeights(t *testing.T) {
	const parts, each, steps = 4, 3, 5
	rng := rand.New(rand.NewPCG(1, 2))
	x, y := randoms(rng, parts*each, 2, 5, 5), randoms(rng, parts*each, 3)
	solver := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	}
	one, err := models.New(parts*each, shared())
	require.NoError(t, err)
	vm, err := one.Machine()
	require.NoError(t, err)
	defer vm.Close()
	s := solver()
	for range steps {
		require.NoError(t, one.Feed(x, y))
		require.NoError(t, vm.RunAll())
		require.NoError(t, s.Step(gorgonia.NodesToValueGrads(one.Learnables)))
		vm.Reset()
	}

	side := func(f func(i int)) {
		var all sync.WaitGroup
		for i := range parts {
			all.Go(func() { f(i) })
		}
		all.Wait()
	}
	define := shared()
	var nets [parts]*models.Net
	var machines [parts]gorgonia.VM
	var predictors [parts]*models.Predictor
	side(func(i int) {
		var err error
		nets[i], err = models.New(each, define)
		if assert.NoError(t, err) {
			machines[i], err = nets[i].Machine()
			assert.NoError(t, err)
			predictors[i], err = nets[i].Predictor()
			assert.NoError(t, err)
		}
	})
	part := func(v *tensor.Dense, i int) *tensor.Dense {
		shape := v.Shape().Clone()
		size := v.Shape().TotalSize() / parts
		shape[0] = each
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v.Float32s()[i*size:(i+1)*size]))
	}
	s = solver()
	for range steps {
		side(func(i int) {
			assert.NoError(t, nets[i].Feed(part(x, i), part(y, i)))
			assert.NoError(t, machines[i].RunAll())
		})
		for k, l := range nets[0].Learnables {
			sum, err := l.Grad()
			require.NoError(t, err)
			for i := 1; i < parts; i++ {
				g, err := nets[i].Learnables[k].Grad()
				require.NoError(t, err)
				for j, v := range g.Data().([]float32) {
					sum.Data().([]float32)[j] += v
				}
				g.(*tensor.Dense).Zero()
			}
			for j := range sum.Data().([]float32) {
				sum.Data().([]float32)[j] /= parts
			}
		}
		require.NoError(t, s.Step(gorgonia.NodesToValueGrads(nets[0].Learnables)))
		for _, vm := range machines {
			vm.Reset()
		}
	}
	for k, l := range one.Learnables {
		assert.InDeltaSlice(t, l.Value().Data(), nets[parts-1].Learnables[k].Value().Data(), 1e-5, l.Name())
	}

	var out [parts][]*tensor.Dense
	side(func(i int) {
		var err error
		out[i], err = predictors[i].Predict(x)
		assert.NoError(t, err)
	})
	for i := range parts {
		assert.Equal(t, out[0][0].Data(), out[i][0].Data())
		assert.NoError(t, predictors[i].Close())
		assert.NoError(t, machines[i].Close())
	}
}
