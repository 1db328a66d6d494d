// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

// together runs body on so many ranks.
func together(t *testing.T, np int, body func(t *testing.T, g *distributed.Group)) {
	t.Helper()
	mpitest.Run(t, np, func(t *testing.T, c mpi.Comm) { body(t, distributed.Over(c)) })
}

// whole is the batch of all ranks.
const whole = 24

// kind is a net that np ranks train as one does.
type kind struct {
	of          tensor.Dtype
	norm, noise bool
}

// model builds the part of a rank; of no group it is the whole.
func (k kind) model(t *testing.T, g *distributed.Group) *models.Model {
	t.Helper()
	s := models.Spec{Batch: whole, Shape: [3]int{1, 12, 12}, Classes: 10, Seed: 1, Dtype: k.of}
	if g != nil {
		s.Batch /= g.Size()
		s.BatchNormOver = g
		s.Seed += uint64(g.Rank()) // other weights and other noise, until a run gives all those of rank 0
	}
	m, err := models.Build(s, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		for i, width := range []int{4, 6} {
			layer := fmt.Sprint("conv", i+1)
			x = b.Conv(layer, x, width, 3, 2, 1)
			if k.norm {
				x = b.BatchNorm(layer+".bn", x)
			} else {
				x = b.Bias(layer, x)
			}
			x = b.Rectify(x)
		}
		if k.noise {
			x = b.Dropout("dropout", x, 0.2)
		}
		return b.Linear("fc", x, 10)
	})
	require.NoError(t, err)
	return m
}

// onStiefel is a solver of a rank, on Stiefel.
func onStiefel(g *distributed.Group, rate float64) gorgonia.Solver {
	s := solvers.NewSGD(solvers.LearnRate(rate), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	if g == nil {
		return s
	}
	return distributed.Average(g, s)
}

// numbers are all weights and statistics of a model.
func numbers(m *models.Model) (all []float64) {
	for _, n := range m.Learnables {
		switch d := n.Value().Data().(type) {
		case []float64:
			all = append(all, d...)
		case []float32:
			for _, v := range d {
				all = append(all, float64(v))
			}
		}
	}
	for _, b := range m.Buffers {
		if b.Statistics != nil {
			all = append(append(all, b.Statistics.Mean...), b.Statistics.Variance...)
		}
	}
	return all
}

// alike requires the same numbers, to the bit, on every rank.
func alike(t *testing.T, g *distributed.Group, own []float64) {
	t.Helper()
	var b bytes.Buffer
	for _, v := range own {
		fmt.Fprintf(&b, "%x ", math.Float64bits(v))
	}
	all, err := g.Gather(b.Bytes())
	require.NoError(t, err)
	for r, other := range all {
		require.True(t, bytes.Equal(all[0], other), "rank %d differs from rank 0", r)
	}
}

// near requires numbers that differ by a tolerance at most.
func near(t *testing.T, want, got []float64, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want))
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(want[i]-got[i]))
	}
	require.LessOrEqual(t, worst, tolerance, what)
	t.Logf("%s differ by %.2g at most", what, worst)
}

// Ranks that have parts of a batch train as one with the whole batch, over more than 200 steps. In float64 what
// rounding does is far below what any other difference would do.
func TestRanksTrainAsOne(t *testing.T) {
	set := easy(t)
	rest, held, err := set.Train.Holdout(31, 1)
	require.NoError(t, err)
	for _, c := range []struct {
		kind
		tolerance float64
	}{
		{kind{of: tensor.Float64}, 1e-11},
		{kind{of: tensor.Float32}, 1e-4},
		{kind{of: tensor.Float64, norm: true}, 1e-11},
		{kind{of: tensor.Float32, norm: true}, 1e-3},
		{kind{of: tensor.Float64, norm: true, noise: true}, 1e-11},
	} {
		fit := func(m *models.Model, g *distributed.Group) (steps []float64, epochs []train.Epoch, err error) {
			epochs, err = train.Fit(context.Background(), m, onStiefel(g, 0.02), rest, train.Options{
				Epochs: 26, Seed: 3, Test: set.Test, Validation: held, Augment: images.Augmentation{Pad: 1}, Group: g,
				AfterStep: func(s train.Step) error {
					if g != nil && g.Rank() > 0 {
						return errors.New("a hook of rank 0 was called on another")
					}
					steps = append(steps, s.Loss, s.Accuracy)
					return nil
				},
			})
			return steps, epochs, err
		}
		m := c.model(t, nil)
		steps, epochs, err := fit(m, nil)
		require.NoError(t, err)
		require.Len(t, steps, 2*26*8)
		assert.Less(t, epochs[25].TrainLoss, 0.9*epochs[0].TrainLoss, "it has learnt something")
		want := numbers(m)
		for _, np := range []int{2, 4} {
			t.Run(fmt.Sprintf("%v, batch norm %v, dropout %v, %d ranks", c.of, c.norm, c.noise, np), func(t *testing.T) {
				together(t, np, func(t *testing.T, g *distributed.Group) {
					m := c.model(t, g)
					got, done, err := fit(m, g)
					require.NoError(t, err)
					near(t, want, numbers(m), c.tolerance, "weights and statistics")
					alike(t, g, numbers(m))
					require.Len(t, done, len(epochs))
					for i, e := range done {
						assert.InDelta(t, epochs[i].TrainLoss, e.TrainLoss, c.tolerance)
						assert.InDelta(t, epochs[i].TestLoss, e.TestLoss, 10*c.tolerance)
						assert.InDelta(t, epochs[i].ValidationLoss, e.ValidationLoss, 10*c.tolerance)
						assert.Equal(t, epochs[i].Images, e.Images)
						if c.of == tensor.Float64 {
							assert.Equal(t, epochs[i].TestAccuracy, e.TestAccuracy)
							assert.Equal(t, epochs[i].ValidationAccuracy, e.ValidationAccuracy)
							assert.Equal(t, epochs[i].TrainAccuracy, e.TrainAccuracy)
							assert.Equal(t, epochs[i].Best, e.Best)
						}
					}
					if g.Root() {
						near(t, steps, got, max(1.0/whole*as(c.of == tensor.Float32), 100*c.tolerance), "losses and accuracies of steps")
					}
				})
			})
		}
	}
}

func as(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// A run of several ranks that is stopped at any step, by a hook of rank 0 or by the context of any rank, and resumed ends as
// the one that was not, to the bit: with statistics of each rank's own and noise too.
func TestRanksResume(t *testing.T) {
	set := easy(t)
	const np, epochs = 2, 3
	fit := func(t *testing.T, ctx context.Context, g *distributed.Group, o train.Options) (*models.Model, []train.Epoch, error) {
		m := stateful(t)
		s := solvers.NewAdam(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Stiefel{}), solvers.Anneal(solvers.StepDecay(4, 0.5)))
		o.Epochs, o.Seed, o.Test, o.Group, o.Best = epochs, 3, set.Test, g, train.ByLoss
		done, err := train.Fit(ctx, m, distributed.Average(g, s), set.Train, o)
		for i := range done {
			done[i] = comparable(t, done[i])
		}
		return m, done, err
	}
	dir := t.TempDir()
	together(t, np, func(t *testing.T, g *distributed.Group) {
		folder, err := g.Broadcast([]byte(dir)) // where ranks are processes, each has its own
		require.NoError(t, err)
		dir := string(folder)
		m, want, err := fit(t, context.Background(), g, train.Options{})
		require.NoError(t, err)
		require.Len(t, want, epochs)
		for i, stops := range [][]int{{1}, {2, 5, 12}, {5, 15}} {
			c := train.Checkpoint{Dir: filepath.Join(dir, fmt.Sprint(i)), EverySteps: 2 * i}
			for k, stop := range stops {
				ctx, cancel := context.WithCancel(context.Background())
				c.Resume = k > 0
				byHook := (i+k)%2 == 1
				o := train.Options{Checkpoint: c, AfterStep: func(s train.Step) error {
					switch {
					case s.Number < stop:
						return nil
					case byHook:
						return train.ErrStop
					}
					cancel()
					return nil
				}}
				_, done, err := fit(t, ctx, g, o)
				cancel()
				if byHook {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, context.Canceled)
				}
				assert.Less(t, len(done), epochs)
			}
			c.Resume = true
			other, got, err := fit(t, context.Background(), g, train.Options{Checkpoint: c})
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, numbers(m), numbers(other))
			alike(t, g, numbers(other))
		}
	})
}

// An example that one rank cannot read ends the run on all before they have begun the step: it is saved, and ends, once resumed, as one whose
// examples can be read.
func TestRanksBrokenExample(t *testing.T) {
	dir := t.TempDir()
	together(t, 2, func(t *testing.T, g *distributed.Group) {
		folder, err := g.Broadcast([]byte(dir))
		require.NoError(t, err)
		broken := new(atomic.Bool)
		fit := func(o train.Options) (*models.Model, error) {
			m := stateful(t)
			o.Epochs, o.Seed, o.Group = 3, 3, g
			_, err := train.Fit(context.Background(), m, onStiefel(g, 0.02), fragile{easy(t).Train, broken}, o)
			return m, err
		}
		want, err := fit(train.Options{})
		require.NoError(t, err)
		c := train.Checkpoint{Dir: string(folder)}
		broken.Store(true)
		_, err = fit(train.Options{Checkpoint: c})
		require.ErrorContains(t, err, ": train: example 20: broken")
		broken.Store(false)
		c.Resume = true
		steps := 0 // before the resumption, on rank 0
		got, err := fit(train.Options{Checkpoint: c, Hooks: []train.Hook{{Begin: func(r train.Run) error {
			steps = r.DoneSteps
			return nil
		}}}})
		require.NoError(t, err)
		assert.Equal(t, g.Root(), steps > 0)
		assert.Equal(t, numbers(want), numbers(got))
	})
}

// A run goes on with another number of ranks, as it would have with the first.
func TestRanksResumeWithOthers(t *testing.T) {
	if mpitest.Launched() {
		t.Skip("for several numbers of ranks in turn")
	}
	set := easy(t)
	k := kind{of: tensor.Float64, norm: true, noise: true}
	fit := func(t *testing.T, g *distributed.Group, m *models.Model, o train.Options) error {
		o.Epochs, o.Seed, o.Test, o.Group = 4, 3, set.Test, g
		_, err := train.Fit(context.Background(), m, onStiefel(g, 0.02), set.Train, o)
		return err
	}
	m := k.model(t, nil)
	require.NoError(t, fit(t, nil, m, train.Options{}))
	want := numbers(m)
	c := train.Checkpoint{Dir: t.TempDir()}
	for i, np := range []int{2, 1, 4, 3} {
		o := train.Options{Checkpoint: c, AfterStep: func(s train.Step) error {
			if s.Number == 7*(i+1) {
				return train.ErrStop
			}
			return nil
		}}
		together(t, np, func(t *testing.T, g *distributed.Group) {
			m := k.model(t, g)
			require.NoError(t, fit(t, g, m, o))
			if np == 3 {
				o.AfterStep, o.Checkpoint.Resume = nil, true
				m = k.model(t, g)
				require.NoError(t, fit(t, g, m, train.Options{Checkpoint: train.Checkpoint{Dir: c.Dir, Resume: true}}))
				near(t, want, numbers(m), 1e-10, "weights and statistics")
			}
		})
		c.Resume = true
	}

	// The file is as one rank would have written it.
	one := k.model(t, nil)
	require.NoError(t, checkpoint.Load(filepath.Join(c.Dir, train.LastFile), one, onStiefel(nil, 0.02).(*solvers.Solver), nil))
	near(t, want, numbers(one), 1e-10, "weights and statistics on disk")

	// Another batch of all ranks is refused, before anything changes.
	together(t, 2, func(t *testing.T, g *distributed.Group) {
		m := k.model(t, nil) // 24 images on each of them
		before := numbers(m)
		assert.ErrorContains(t, fit(t, g, m, train.Options{Checkpoint: c}), "want the batches of the run that was saved")
		assert.Equal(t, before, numbers(m))
	})
}

// What fails on one rank, wherever, ends the run on all of them.
func TestRanksFail(t *testing.T) {
	mine := errors.New("mine")
	for _, test := range []struct {
		name string
		// spoil changes what one rank is given.
		spoil func(rank int, data *images.Split, o *train.Options, s *gorgonia.Solver, stop func())
		want  string
		check func(t *testing.T, err error)
	}{
		{"a context ends", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, stop func()) {
			*s = meddler{*s, 3, func([]gorgonia.ValueGrad) {
				if rank == 1 {
					stop()
				}
			}, new(int)}
		}, "distributed: rank 1: context canceled", func(t *testing.T, err error) { assert.ErrorIs(t, err, context.Canceled) }},
		{"other labels", func(rank int, d *images.Split, _ *train.Options, _ *gorgonia.Solver, _ func()) {
			if rank == 1 {
				d.Labels = append([]int(nil), d.Labels...)
				for i := range d.Labels {
					d.Labels[i] = 9 - d.Labels[i]
				}
			}
		}, "want the data and the options of rank 0", nil},
		{"a label is none on one rank", func(_ int, d *images.Split, _ *train.Options, _ *gorgonia.Solver, _ func()) {
			d.Labels = append([]int(nil), d.Labels...)
			d.Labels[7] = 10 // which one rank comes to
		}, "images: train: label", nil},
		{"an image is not finite", func(_ int, d *images.Split, _ *train.Options, _ *gorgonia.Solver, _ func()) {
			d.Images = append([]float32(nil), d.Images...)
			d.Images[7*12*12] = float32(math.NaN()) // which one rank comes to
		}, "train: diverged at step ", func(t *testing.T, err error) {
			var d *train.DivergedError
			assert.ErrorAs(t, err, &d)
		}},
		{"an image is missing", func(rank int, d *images.Split, _ *train.Options, _ *gorgonia.Solver, _ func()) {
			if rank == 1 {
				d.Images = d.Images[1:]
			}
		}, "distributed: rank 1: train: images: train: want ", nil},
		{"another image", func(rank int, d *images.Split, _ *train.Options, _ *gorgonia.Solver, _ func()) {
			d.Images = append([]float32(nil), d.Images...)
			d.Images[7*12*12] += float32(rank)
		}, "distributed: rank 1: train: want the data and the options of rank 0, solver", nil},
		{"another seed", func(rank int, _ *images.Split, o *train.Options, _ *gorgonia.Solver, _ func()) {
			o.Seed = uint64(rank)
		}, "distributed: rank 1: train: want the data and the options of rank 0, solver", nil},
		{"a rate cannot be set", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, _ func()) {
			o.LearnRate = func(step int) float64 {
				if rank == 1 && step == 2 {
					return -1
				}
				return 0.01
			}
		}, "distributed: rank 1:", nil},
		{"a rate is another", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, _ func()) {
			o.LearnRate = func(step int) float64 { return 0.01 + as(rank == 1 && step == 2) }
		}, "train: step 3: distributed: want the same on every rank, got the learning rate", nil},
		{"a gradient is not finite", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, _ func()) {
			*s = meddler{*s, 2, func(w []gorgonia.ValueGrad) {
				if g, _ := w[0].Grad(); rank == 1 {
					g.Data().([]float32)[3] = float32(math.NaN())
				}
			}, new(int)}
		}, "train: diverged at step 3 (epoch 1): distributed: rank 1: solvers: parameter \"conv1.weight\"", func(t *testing.T, err error) {
			assert.ErrorIs(t, err, solvers.ErrNotFinite)
		}},
		{"a hook after a step", func(_ int, _ *images.Split, o *train.Options, _ *gorgonia.Solver, _ func()) {
			o.AfterStep = func(s train.Step) error {
				if s.Number == 2 {
					return mine
				}
				return nil
			}
		}, "distributed: rank 0: mine", nil},
		{"a hook at the beginning", func(_ int, _ *images.Split, o *train.Options, _ *gorgonia.Solver, _ func()) {
			o.Hooks = []train.Hook{{Begin: func(train.Run) error { return mine }}}
		}, "distributed: rank 0: mine", nil},
		{"a hook after an epoch", func(_ int, _ *images.Split, o *train.Options, _ *gorgonia.Solver, _ func()) {
			o.AfterEpoch = func(train.Epoch) error { return mine }
		}, "distributed: rank 0: mine", nil},
		{"a file that is not there", func(rank int, _ *images.Split, o *train.Options, _ *gorgonia.Solver, _ func()) {
			o.Checkpoint = train.Checkpoint{Dir: filepath.Join(t.TempDir(), "none"), Resume: true}
		}, "want a run to resume in", nil},
		{"another type of solver", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, _ func()) {
			if rank == 1 {
				*s = meddler{Solver: *s}
			}
		}, "distributed: rank 1: train: want the data and the options of rank 0", nil},
		{"a solver of one rank", func(rank int, _ *images.Split, o *train.Options, s *gorgonia.Solver, _ func()) {
			*s = solvers.NewSGD()
		}, "distributed: rank 0: train: want a solver of all 2 ranks, made by distributed.Average, got *solvers.Solver", nil},
	} {
		for _, norm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, batch norm %v", test.name, norm), func(t *testing.T) {
				set := easy(t)
				together(t, 2, func(t *testing.T, g *distributed.Group) {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					m := kind{of: tensor.Float32, norm: norm}.model(t, g)
					data, o := set.Train, train.Options{Epochs: 3, Test: set.Test, Group: g}
					s := onStiefel(g, 0.01)
					test.spoil(g.Rank(), &data, &o, &s, cancel)
					_, err := train.Fit(ctx, m, s, data, o)
					require.ErrorContains(t, err, test.want)
					messages, e := g.Gather([]byte(err.Error()))
					require.NoError(t, e)
					assert.Equal(t, string(messages[0]), string(messages[1]))
					if test.check != nil {
						test.check(t, err)
					}
				})
			})
		}
	}
}

// meddler does something before a step of another solver, whose number is given.
type meddler struct {
	gorgonia.Solver
	step int
	do   func([]gorgonia.ValueGrad)
	n    *int
}

func (a meddler) Unwrap() gorgonia.Solver { return a.Solver }

func (a meddler) Step(w []gorgonia.ValueGrad) error {
	if *a.n++; *a.n > a.step {
		a.do(w)
	}
	return a.Solver.Step(w)
}

// A rank whose machine fails does not leave others waiting in a batch normalisation that sums over all ranks: wherever it
// fails, before, between or after them.
func TestRanksFailInTheNet(t *testing.T) {
	set := easy(t)
	for at := range 4 {
		t.Run(fmt.Sprint("at ", at), func(t *testing.T) {
			together(t, 2, func(t *testing.T, g *distributed.Group) {
				s := models.Spec{Batch: 10, Shape: [3]int{1, 12, 12}, Classes: 10, Seed: 1, BatchNormOver: g}
				m, err := models.Build(s, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
					for i := range 4 {
						x = b.BatchNorm(fmt.Sprint("bn", i), b.Conv(fmt.Sprint("conv", i), x, 3, 3, 1, 1))
						if i == at {
							x = b.Dropout("fails", x, 0.1)
						}
					}
					return b.Linear("fc", x, 10)
				})
				require.NoError(t, err)
				hook := func(train.Run) error { return nil }
				o := train.Options{Group: g, Hooks: []train.Hook{{Begin: hook}}}
				// Statistics that are out of range are an error of the run, before the sums of that layer.
				spoil := meddler{onStiefel(g, 0.01), 1, func([]gorgonia.ValueGrad) {
					if g.Rank() == 1 {
						m.Buffers[at].Statistics.Variance[1] = -1
					}
				}, new(int)}
				_, err = train.Fit(context.Background(), m, spoil, set.Train, o)
				require.ErrorContains(t, err, "distributed: rank 1: train: step 3:")
				require.ErrorContains(t, err, "channel 1: want a running mean and variance that are finite")
				assert.NotErrorIs(t, err, nodes.ErrSums)
			})
		})
	}
}
