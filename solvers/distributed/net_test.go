// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// smooth is a CNN whose loss is smooth in its weights. Rectifiers and maxima are not: where one of their arguments is
// near another in a step, a rounding decides, and the runs part.
func smooth(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Apply("tanh1", b.Bias("conv1", b.Conv("conv1", x, 8, 3, 2, 1)), gorgonia.Tanh)
	x = b.Apply("tanh2", b.Bias("conv2", b.Conv("conv2", x, 16, 3, 2, 1)), gorgonia.Tanh)
	return b.Linear("fc", x, 10)
}

// trained is smooth after 200 steps on batches of 12 images, of which
// this rank has its part, and the mean loss of the last batch.
func trained(t *testing.T, g *distributed.Group, of tensor.Dtype, seed uint64, solver gorgonia.Solver) (*models.Model, float64) {
	t.Helper()
	const batch, steps = 12, 200
	set, err := images.Digits(3, 120, 1, images.DigitOptions{Side: 12, Noise: 0.05, Clutter: -1})
	require.NoError(t, err)
	part := batch / g.Size()
	m, err := models.Build(models.Spec{Batch: part, Shape: set.Shape(), Classes: 10, Seed: seed, Dtype: of}, smooth)
	require.NoError(t, err)
	given := gorgonia.NodesToValueGrads(m.Learnables)
	require.NoError(t, solver.(interface {
		Init([]gorgonia.ValueGrad) error
	}).Init(given))
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	defer vm.Close()
	size := len(set.Train.Images) / set.Train.Len()
	loss := 0.0
	for step := range steps {
		first := (step*batch + g.Rank()*part) % set.Train.Len()
		require.NoError(t, m.SetBatch(set.Train.Images[first*size:(first+part)*size], set.Train.Labels[first:first+part]))
		require.NoError(t, vm.RunAll())
		mean, err := g.Mean(m.Loss())
		require.NoError(t, err)
		loss = mean[0]
		require.NoError(t, solver.Step(given))
		vm.Reset()
	}
	return m, loss
}

// Ranks that have a part of each batch train the net that one rank trains on whole batches. After 200 steps they are
// apart by 4 roundings of 1, or so it was measured, with room for a factor of 10.
func TestNet(t *testing.T) {
	for _, of := range precisions {
		for _, s := range []maker{
			{"SGD momentum, Stiefel", func() gorgonia.Solver {
				return solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), kernels(manifolds.Stiefel{}))
			}},
			{"Constrain(Momentum), sphere", func() gorgonia.Solver {
				return solvers.Constrain(gorgonia.NewMomentum(gorgonia.WithLearnRate(0.02)), manifolds.Sphere{})
			}},
			{"Adam", func() gorgonia.Solver { return solvers.NewAdam(solvers.LearnRate(0.005)) }},
		} {
			t.Run(fmt.Sprintf("%v/%s", of, s.name), func(t *testing.T) {
				one, want := trained(t, group(t), of, 1, s.make())
				require.Less(t, want, 1.5, "too little happens to tell anything")
				severalRanks(t, func(t *testing.T, g *distributed.Group) {
					solver := distributed.Average(g, s.make())
					m, loss := trained(t, g, of, uint64(1+g.Rank()), solver)
					var all []byte
					off := 0.0
					for k, n := range m.Learnables {
						a, b := one.Learnables[k].Value().(tensor.Tensor), n.Value().(tensor.Tensor)
						for i := range a.Size() {
							off = max(off, math.Abs(at(a.(*tensor.Dense), i)-at(b.(*tensor.Dense), i)))
						}
						all = append(all, fmt.Sprint(b.Data())...)
					}
					alike(t, g, all)
					t.Logf("loss %.4f off by %.1e, weights by %.1e", want, math.Abs(loss-want), off)
					assert.InDelta(t, want, loss, 40*eps(of))
					assert.LessOrEqual(t, off, 40*eps(of))
					for _, p := range solver.Report().Parameters {
						assert.LessOrEqual(t, p.Membership, 8*math.Sqrt(float64(p.N*p.P))*eps(of), p.Name)
					}
				})
			})
		}
	}
}
