// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// deviation is the standard deviation of numbers.
func deviation(x []float32) float64 {
	sum, squares, n := 0.0, 0.0, float64(len(x))
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	return math.Sqrt((squares - sum*sum/n) / (n - 1))
}

// scales are those of the parts in a report, by the names of their layers.
func scales(r solvers.Report) map[string]float64 {
	all := map[string]float64{}
	for _, p := range r.Parameters {
		all[p.Name+p.Part] = p.Scale
	}
	return all
}

// A kernel has the scale 1/lambda, with lambda the deviation of what it sees; all else is as it was.
func TestRescale(t *testing.T) {
	set := easy(t)
	for _, manifold := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Stiefel{},
		manifolds.Ensemble{Strategy: manifolds.PI, Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}), Seed: 2}} {
		m := stateful(t)
		kernels := solvers.Kernels(manifold)
		if _, several := manifold.(manifolds.Ensemble); several { // conv1 sees one channel
			kernels = solvers.Param("conv2.weight", manifold)
		}
		s := solvers.NewSGD(kernels, solvers.Param("fc.weight", manifolds.Sphere{}))
		weights := gorgonia.NodesToValueGrads(m.Learnables)
		require.NoError(t, s.Init(weights))
		before, statistics, was := numbers(m), fmt.Sprintf("%x", buffers(m)), s.Report()
		o := train.Options{Seed: 1, Rescale: 100}
		require.NoError(t, train.Rescale(context.Background(), m, s, set.Train, o))
		assert.Equal(t, statistics, fmt.Sprintf("%x", buffers(m)))
		got := scales(s.Report())
		// 11 batches of 20 images of an epoch. The means of batches differ, so the variance within them is less than that of all.
		if was.Parameters[0].Grouping != "" {
			assert.InEpsilon(t, 1/deviation(set.Train.Images[:220*144]), got["conv1.weight"], 0.05)
		}
		assert.Equal(t, 1.0, got["fc.weight"], "no kernel")
		// Behind a batch norm and a ReLU features have the second moment 1/2 and the mean 1/sqrt(2 pi), if they are normal.
		for name, scale := range got {
			if len(name) >= 12 && name[:12] == "conv2.weight" {
				assert.InEpsilon(t, 1/math.Sqrt(0.5-1/(2*math.Pi)), scale, 0.25, name)
			}
		}
		for i, p := range s.Report().Parameters {
			if p.Scale == 1 {
				assert.Equal(t, was.Parameters[i], p)
			}
		}
		require.NoError(t, train.Rescale(context.Background(), m, s, set.Train, o))
		if again := scales(s.Report()); assert.Len(t, again, len(got)) {
			for name, scale := range got { // batch norms undo the scales of the layers before
				assert.InEpsilon(t, scale, again[name], 1e-3, name)
			}
		}
		require.NoError(t, s.Rescale(weights, func(*solvers.Part) (float64, error) { return 1, nil }))
		near(t, before, numbers(m), 1e-6, "weights")
	}
}

func buffers(m *models.Model) (all []string) {
	for _, b := range m.Buffers {
		all = append(all, fmt.Sprintf("%s %x %x", b.Name, b.Statistics, b.Noise))
	}
	return all
}

// Kernels are rescaled once an epoch, and a run that is stopped anywhere and resumed ends as the one that was not, to the bit.
func TestRescaleResumes(t *testing.T) {
	set := easy(t)
	const epochs = 3
	fit := func(ctx context.Context, m *models.Model, s *solvers.Solver, o train.Options) ([]train.Epoch, error) {
		o.Epochs, o.Seed, o.Rescale, o.Test = epochs, 3, 4, set.Test
		return train.Fit(ctx, m, s, set.Train, o)
	}
	solver := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Oblique{}, manifolds.PerSlice))
	}
	m, s := stateful(t), solver()
	var seen []map[string]float64
	whole, err := fit(context.Background(), m, s, train.Options{AfterStep: func(at train.Step) error {
		if now := scales(s.Report()); len(seen) == 0 || fmt.Sprint(now) != fmt.Sprint(seen[len(seen)-1]) {
			seen = append(seen, now)
			assert.Equal(t, 1+11*(len(seen)-1), at.Number, "another scale from the first step of an epoch on")
		}
		return nil
	}})
	require.NoError(t, err)
	require.Len(t, seen, epochs)
	assert.Less(t, whole[epochs-1].TrainLoss, 0.8*whole[0].TrainLoss, "it learns")
	want := after(t, m, s, whole)
	for _, stops := range [][]int{{1}, {11}, {12}, {5, 22, 30}} {
		for _, c := range []train.Checkpoint{{}, {Every: 5}} {
			c.Dir = t.TempDir()
			for i := 0; i <= len(stops); i++ {
				m, s := stateful(t), solver()
				c.Resume = i > 0
				done, err := fit(context.Background(), m, s, train.Options{Checkpoint: c, AfterStep: func(at train.Step) error {
					if i < len(stops) && at.Number == stops[i] {
						return train.ErrStop
					}
					return nil
				}})
				require.NoError(t, err)
				if i == len(stops) {
					assert.Equal(t, want, after(t, m, s, done))
				}
			}
		}
	}
	// Stopped by the context just when the kernels have been rescaled.
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	_, err = fit(ctx, stateful(t), solver(), train.Options{Checkpoint: train.Checkpoint{Dir: dir, Every: 5}, AfterEpoch: func(train.Epoch) error {
		cancel()
		return nil
	}})
	require.ErrorIs(t, err, context.Canceled)
	m, s = stateful(t), solver()
	done, err := fit(context.Background(), m, s, train.Options{Checkpoint: train.Checkpoint{Dir: dir, Resume: true}})
	require.NoError(t, err)
	assert.Equal(t, want, after(t, m, s, done))
}

// Ranks rescale as one that has the whole batch.
func TestRanksRescaleAsOne(t *testing.T) {
	set := easy(t)
	k := kind{of: tensor.Float64, norm: true, noise: true}
	fit := func(m *models.Model, g *distributed.Group) (solvers.Report, error) {
		s := solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
		var all gorgonia.Solver = s
		if g != nil {
			all = distributed.Average(g, solvers.NewEMA(s, 0.9), distributed.CheckEvery(1))
		}
		_, err := train.Fit(context.Background(), m, all, set.Train, train.Options{Epochs: 3, Seed: 3, Rescale: 3, Group: g})
		return s.Report(), err
	}
	m := k.model(t, nil)
	report, err := fit(m, nil)
	require.NoError(t, err)
	want := numbers(m)
	for _, np := range []int{2, 3} {
		together(t, np, func(t *testing.T, g *distributed.Group) {
			m := k.model(t, g)
			got, err := fit(m, g)
			require.NoError(t, err)
			near(t, want, numbers(m), 1e-11, "weights and statistics")
			alike(t, g, numbers(m))
			for name, scale := range scales(report) {
				assert.InEpsilon(t, scale, scales(got)[name], 1e-11, name)
			}
		})
	}
}

// What cannot be rescaled is refused before anything is written.
func TestRescaleRefuses(t *testing.T) {
	set := easy(t)
	sphere := func() gorgonia.Solver { return solvers.NewSGD(solvers.Kernels(manifolds.Sphere{})) }
	for name, c := range map[string]struct {
		solver  gorgonia.Solver
		batches int
		want    string
	}{
		"a stock solver":               {gorgonia.NewVanillaSolver(), 4, "want a solver of package solvers, got *gorgonia.VanillaSolver"},
		"a negative":                   {sphere(), -1, "want 0 batches or more, got -1"},
		"no scale":                     {solvers.NewSGD(solvers.Kernels(manifolds.SpectralBall{Radius: 1})), 4, "manifolds.Scalable, got SpectralBall"},
		"an average of a stock solver": {solvers.NewEMA(gorgonia.NewVanillaSolver(), 0.9), 4, "want a solver of this package to rescale"},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		_, err := train.Fit(context.Background(), stateful(t), c.solver, set.Train, train.Options{Rescale: c.batches, Checkpoint: train.Checkpoint{Dir: dir, WeightsOnly: true}})
		require.ErrorContains(t, err, c.want, name)
		assert.Regexp(t, "^train: ", err.Error())
		assert.NoDirExists(t, dir)
	}
	m := stateful(t)
	before := numbers(m)
	require.ErrorContains(t, train.Rescale(context.Background(), nil, sphere(), set.Train, train.Options{}), "want a net")
	require.ErrorContains(t, train.Rescale(context.Background(), m, sphere(), nil, train.Options{}), "want examples")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, train.Rescale(ctx, m, sphere(), set.Train, train.Options{}), context.Canceled)
	require.ErrorContains(t, train.Rescale(context.Background(), m, sphere(), unreadable{set.Train, lost}, train.Options{}), "lost")
	assert.Equal(t, before, numbers(m))
}
