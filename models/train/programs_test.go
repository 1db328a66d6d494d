// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// parts makes the leaves of a graph. Initial weights depend on the name alone.
type parts struct {
	g       *gorgonia.ExprGraph
	learnt  gorgonia.Nodes
	weights map[string]gorgonia.Value // values to use in place of initial ones
}

func newParts() *parts { return &parts{g: gorgonia.NewGraph()} }

func (p *parts) input(name string, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(p.g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...))
}

func (p *parts) weight(name string, shape ...int) *gorgonia.Node {
	seed := uint64(0)
	for _, c := range name {
		seed = 31*seed + uint64(c)
	}
	value := gorgonia.WithInit(nodes.HeNormal(1, seed))
	if v := p.weights[name]; v != nil {
		value = gorgonia.WithValue(v)
	}
	w := gorgonia.NewTensor(p.g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), value)
	p.learnt = append(p.learnt, w)
	return w
}

// conv is a convolution of 3x3 and a bias.
func (p *parts) conv(name string, x *gorgonia.Node, filters, stride int) *gorgonia.Node {
	w := p.weight(name+".weight", filters, x.Shape()[1], 3, 3)
	y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{stride, stride}, []int{1, 1}))
	return gorgonia.Must(nodes.Bias(y, p.weight(name+".bias", 1, filters, 1, 1)))
}

func (p *parts) linear(name string, x *gorgonia.Node, outputs int) *gorgonia.Node {
	in := x.Shape().TotalSize() / x.Shape()[0]
	return gorgonia.Must(nodes.Linear(x, p.weight(name+".weight", in, outputs), p.weight(name+".bias", 1, outputs)))
}

// squares is the mean of the squared differences.
func squares(x, y *gorgonia.Node) *gorgonia.Node {
	return gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(x, y))))))
}

// unet is a U-Net of two levels in our and stock operations: the second level is half as large, is
// enlarged again, and is concatenated with the first. It gives each pixel the probability to be part of
// the mask.
func unet() models.Definition {
	norm, err := nodes.NewStatistics(6, 0.1)
	if err != nil {
		panic(err)
	}
	noise := &nodes.Noise{Seed: 3}
	return func(batch int) (*models.Net, error) {
		p := newParts()
		x, mask := p.input("image", batch, 1, 8, 8), p.input("mask", batch, 1, 8, 8)
		first := gorgonia.Must(nodes.Rectify(p.conv("down1", x, 6, 1)))
		second := gorgonia.Must(nodes.MaxPool2D(first, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
		second = p.conv("down2", second, 6, 1)
		second = gorgonia.Must(nodes.BatchNormWith(second, p.weight("norm.weight", 1, 6, 1, 1), p.weight("norm.bias", 1, 6, 1, 1), norm, 1e-5, nodes.Rectified()))
		second = gorgonia.Must(nodes.Dropout(second, 0.1, noise))
		up := gorgonia.Must(gorgonia.Upsample2D(second, 2))
		joined := gorgonia.Must(gorgonia.Concat(1, first, up))
		pixels := p.conv("out", gorgonia.Must(nodes.Rectify(p.conv("up1", joined, 6, 1))), 1, 1)
		y := gorgonia.Must(gorgonia.Sigmoid(pixels))
		return &models.Net{
			Inputs: gorgonia.Nodes{x}, Targets: gorgonia.Nodes{mask}, Outputs: gorgonia.Nodes{y}, Cost: squares(y, mask),
			Learnables: p.learnt,
			Buffers:    []models.Buffer{{Name: "norm", Statistics: norm}, {Name: "dropout", Noise: noise}},
			Score: func(outputs, targets []*tensor.Dense) (right float64) { // the share of pixels
				y, mask := outputs[0].Float32s(), targets[0].Float32s()
				for i := range y {
					if (y[i] > 0.5) == (mask[i] > 0.5) {
						right++
					}
				}
				return right / 64
			},
		}, nil
	}
}

// squaresData is images of a bright square on noise, and its mask.
type squaresData int

func (n squaresData) Len() int { return int(n) }

func (n squaresData) Example(i int, row []any, rng *rand.Rand) error {
	image, mask := row[0].([]float32), row[1].([]float32)
	own := rand.New(rand.NewPCG(uint64(i), 1))
	x, y, side := own.IntN(5), own.IntN(5), 2+own.IntN(2)
	for k := range image {
		in := k%8 >= x && k%8 < x+side && k/8 >= y && k/8 < y+side
		image[k], mask[k] = float32(0.3*own.NormFloat64()), 0
		if in {
			image[k], mask[k] = image[k]+1, 1
		}
	}
	if rng != nil && rng.IntN(2) == 0 { // turn image and mask upside down
		for _, r := range [][]float32{image, mask} {
			for a, b := 0, 63; a < b; a, b = a+1, b-1 {
				r[a], r[b] = r[b], r[a]
			}
		}
	}
	return nil
}

// heads is a net with two heads: which quarter of the image is bright, and how bright it is. It is made
// of stock operations, but for its convolution: stock batch normalisation, and indices that select
// rows of a table. The kernel is normalised by its spectral norm.
func heads() models.Definition {
	power := nodes.NewPowerIteration(7)
	return func(batch int) (*models.Net, error) {
		p := newParts()
		x := p.input("image", batch, 1, 6, 6)
		quarter := p.input("quarter", batch, 4)
		bright := p.input("bright", batch, 1)
		w := p.weight("conv.weight", 4, 1, 3, 3)
		w = gorgonia.Must(nodes.SpectralNorm(w, power, 1))
		y := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{0, 0}, []int{3, 3}, []int{1, 1}))
		y, _, _, norm, err := gorgonia.BatchNorm(y, p.weight("norm.weight", 1, 4, 1, 1), p.weight("norm.bias", 1, 4, 1, 1), 0.2, 1e-5)
		if err != nil {
			return nil, err
		}
		y = gorgonia.Must(gorgonia.Tanh(y))
		logits, value := p.linear("which", y, 4), p.linear("how", y, 1)
		cost := gorgonia.Must(gorgonia.Add(gorgonia.Must(nodes.CrossEntropy(logits, quarter)), squares(value, bright)))
		return &models.Net{
			Inputs: gorgonia.Nodes{x}, Targets: gorgonia.Nodes{quarter, bright}, Outputs: gorgonia.Nodes{logits, value}, Cost: cost,
			Learnables: p.learnt,
			Buffers:    []models.Buffer{{Name: "conv", Iteration: power}, {Name: "norm", BatchNorm: norm}},
		}, nil
	}
}

// quarters is data for heads, in memory.
func quarters(n int) train.Tensors {
	rng := rand.New(rand.NewPCG(8, 8))
	of := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	x, quarter, bright := of(n, 1, 6, 6), of(n, 4), of(n, 1)
	for i := range n {
		q, b := rng.IntN(4), float32(rng.Float64())
		quarter.Float32s()[4*i+q], bright.Float32s()[i] = 1, b
		for k := range 36 {
			x.Float32s()[36*i+k] = float32(0.1 * rng.NormFloat64())
			if k%6/3 == q%2 && k/18 == q/2 {
				x.Float32s()[36*i+k] += 1 + b
			}
		}
	}
	return train.Tensors{x, quarter, bright}
}

func stiefel() *solvers.Solver {
	return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
}

func adam() *solvers.Solver {
	return solvers.NewAdam(solvers.LearnRate(0.02), solvers.Kernels(manifolds.Stiefel{}))
}

// bits is all that a state holds, in a form that can be compared.
func bits(t *testing.T, s models.State) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, l := range s.Learnables {
		v, err := gorgonia.CloneValue(l.Value())
		require.NoError(t, err)
		all[l.Name()] = v.Data()
	}
	for _, b := range s.Buffers {
		switch {
		case b.Running() != nil:
			r := *b.Running()
			all["buffer "+b.Name] = fmt.Sprint(r.Mean, r.Variance, r.Batches)
		case b.Noise != nil:
			all["buffer "+b.Name] = fmt.Sprint(b.Noise.Seed, b.Noise.Run)
		default:
			text, err := b.Iteration.MarshalJSON()
			require.NoError(t, err)
			all["buffer "+b.Name] = string(text)
		}
	}
	return all
}

// Nets of any kind learn by Fit with kernels on a manifold, are saved, and go on to the bit from where
// they were stopped. What was exported predicts the same.
func TestFitAnyNet(t *testing.T) {
	for name, c := range map[string]struct {
		define     func() models.Definition
		solver     func() *solvers.Solver
		data, test train.Data
		loss       float64 // on test, after training
	}{
		"U-Net":     {unet, adam, squaresData(120), squaresData(37), 0.06},
		"two heads": {heads, stiefel, quarters(120), quarters(37), 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			fit := func(n *models.Net, o train.Options) ([]train.Epoch, error) {
				o.Epochs, o.Seed, o.Test = 15, 4, c.test
				return train.Fit(context.Background(), n, c.solver(), c.data, o)
			}
			whole, err := models.New(10, c.define())
			require.NoError(t, err)
			want, err := fit(whole, train.Options{})
			require.NoError(t, err)
			last := want[len(want)-1]
			assert.Less(t, last.TestLoss, c.loss)
			assert.Less(t, last.TestLoss, want[0].TestLoss)
			assert.Equal(t, whole.Score == nil, math.IsNaN(last.TestAccuracy))
			if whole.Score != nil {
				assert.Greater(t, last.TestAccuracy, 0.9)
			}

			dir := t.TempDir()
			stopped, err := models.New(10, c.define())
			require.NoError(t, err)
			_, err = fit(stopped, train.Options{Checkpoint: train.Checkpoint{Dir: dir}, AfterStep: func(s train.Step) error {
				if s.Number == 31 { // in an epoch
					return train.ErrStop
				}
				return nil
			}})
			require.NoError(t, err)
			resumed, err := models.New(10, c.define())
			require.NoError(t, err)
			got, err := fit(resumed, train.Options{Checkpoint: train.Checkpoint{Dir: dir, Resume: true}})
			require.NoError(t, err)
			assert.Equal(t, bits(t, whole.State()), bits(t, resumed.State()))
			require.Len(t, got, len(want))
			for i := range want {
				assert.Equal(t, want[i].TrainLoss, got[i].TrainLoss)
				assert.Equal(t, want[i].TestLoss, got[i].TestLoss)
			}

			path := filepath.Join(dir, "net.safetensors")
			require.NoError(t, checkpoint.Save(path, whole, nil, nil))
			other, err := models.New(4, c.define()) // another batch
			require.NoError(t, err)
			require.NoError(t, checkpoint.Load(path, other, nil, nil))
			evaluate := func(n *models.Net) float64 {
				p, err := n.Predictor()
				require.NoError(t, err)
				defer p.Close()
				loss, _, err := train.Evaluate(context.Background(), p, c.test)
				require.NoError(t, err)
				return loss
			}
			assert.InEpsilon(t, last.TestLoss, evaluate(whole), 1e-6)
			assert.InEpsilon(t, last.TestLoss, evaluate(other), 1e-4)
			require.NoError(t, checkpoint.Export(path, whole))
			third, err := models.New(4, c.define())
			require.NoError(t, err)
			require.NoError(t, checkpoint.Import(path, third, checkpoint.ImportOptions{}))
			for name, v := range bits(t, whole.State()) {
				if name != "buffer dropout" && name != "buffer conv" { // which PyTorch has not
					assert.Equal(t, v, bits(t, third.State())[name], name)
				}
			}
		})
	}
}

// gan is two nets: a generator, whose cost is what the discriminator says of its images, with the
// weights of the discriminator, and a discriminator, whose inputs are images of both kinds.
type gan struct {
	generator, discriminator *models.Net
	g, d                     *solvers.Solver
	step                     int
}

func (p *parts) generated(z *gorgonia.Node) *gorgonia.Node {
	y := gorgonia.Must(nodes.Rectify(p.conv("g1", z, 4, 1)))
	return gorgonia.Must(gorgonia.Tanh(p.conv("g2", y, 1, 1)))
}

func (p *parts) judged(x *gorgonia.Node) *gorgonia.Node {
	y := gorgonia.Must(nodes.Rectify(p.conv("d1", x, 4, 2)))
	return p.linear("d2", y, 1)
}

func newGAN(t *testing.T) *gan {
	t.Helper()
	var n gan
	var err error
	n.discriminator, err = models.New(8, func(batch int) (*models.Net, error) {
		p := newParts()
		x, real := p.input("x", batch, 1, 6, 6), p.input("real", batch, 1)
		y := p.judged(x)
		return &models.Net{Inputs: gorgonia.Nodes{x}, Targets: gorgonia.Nodes{real}, Outputs: gorgonia.Nodes{y}, Cost: squares(y, real), Learnables: p.learnt}, nil
	})
	require.NoError(t, err)
	n.generator, err = models.New(4, func(batch int) (*models.Net, error) {
		p := newParts()
		z, one := p.input("z", batch, 2, 6, 6), p.input("one", batch, 1)
		x := p.generated(z)
		learnt := p.learnt
		p.weights = map[string]gorgonia.Value{}
		for _, l := range n.discriminator.Learnables {
			p.weights[l.Name()] = l.Value()
		}
		cost := squares(p.judged(x), one)
		return &models.Net{Inputs: gorgonia.Nodes{z}, Targets: gorgonia.Nodes{one}, Outputs: gorgonia.Nodes{x}, Cost: cost, Learnables: learnt}, nil
	})
	require.NoError(t, err)
	n.g, n.d = stiefel(), solvers.NewAdam(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Oblique{}))
	return &n
}

// train makes so many steps of both solvers and returns the costs.
func (n *gan) train(t *testing.T, steps int) (costs []float64) {
	t.Helper()
	vg, err := n.generator.Machine()
	require.NoError(t, err)
	defer vg.Close()
	vd, err := n.discriminator.Machine()
	require.NoError(t, err)
	defer vd.Close()
	of := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	z, one, x, real := of(4, 2, 6, 6), of(4, 1), of(8, 1, 6, 6), of(8, 1)
	for i := range 4 {
		one.Float32s()[i], real.Float32s()[i] = 1, 1
	}
	for range steps {
		rng := rand.New(rand.NewPCG(5, uint64(n.step)))
		for i := range z.Float32s() {
			z.Float32s()[i] = float32(rng.NormFloat64())
		}
		require.NoError(t, n.generator.Feed(z, one))
		require.NoError(t, vg.RunAll())
		require.NoError(t, n.g.Step(gorgonia.NodesToValueGrads(n.generator.Learnables)))
		vg.Reset()
		for i := range x.Float32s()[:144] { // stripes are real
			x.Float32s()[i] = float32(2*(i%2)-1) * float32(0.8+0.2*rng.Float64())
		}
		copy(x.Float32s()[144:], n.generator.Output(0).Float32s())
		require.NoError(t, n.discriminator.Feed(x, real))
		require.NoError(t, vd.RunAll())
		require.NoError(t, n.d.Step(gorgonia.NodesToValueGrads(n.discriminator.Learnables)))
		vd.Reset()
		costs = append(costs, n.generator.Loss(), n.discriminator.Loss())
		n.step++
	}
	return costs
}

func (n *gan) state() models.State {
	return models.State{Learnables: append(append(gorgonia.Nodes{}, n.generator.Learnables...), n.discriminator.Learnables...)}
}

// A GAN of two graphs that share weights and have a solver each goes on to the bit from two files, and
// the generator learns: its images come to be those of the discriminator's liking.
func TestGAN(t *testing.T) {
	whole := newGAN(t)
	costs := whole.train(t, 60)
	want := whole.train(t, 20)
	assert.Less(t, whole.discriminator.Loss(), costs[1])

	dir := t.TempDir()
	stopped := newGAN(t)
	assert.Equal(t, costs, stopped.train(t, 60), "the same costs")
	require.NoError(t, checkpoint.Save(filepath.Join(dir, "g"), stopped.generator, stopped.g, stopped.step))
	require.NoError(t, checkpoint.Save(filepath.Join(dir, "d"), stopped.discriminator, stopped.d, nil))
	resumed := newGAN(t)
	require.NoError(t, checkpoint.Load(filepath.Join(dir, "g"), resumed.generator, resumed.g, &resumed.step))
	require.NoError(t, checkpoint.Load(filepath.Join(dir, "d"), resumed.discriminator, resumed.d, nil))
	assert.Equal(t, want, resumed.train(t, 20))
	assert.Equal(t, bits(t, whole.state()), bits(t, resumed.state()))
	for _, s := range []*solvers.Solver{resumed.g, resumed.d} {
		for _, p := range s.Report().Parameters {
			assert.Less(t, p.Membership, 1e-5, p.Name)
		}
	}

	// One file of both nets, without their solvers; and images from the generator alone.
	require.NoError(t, checkpoint.Save(filepath.Join(dir, "both"), whole.state(), nil, nil))
	fresh := newGAN(t)
	require.NoError(t, checkpoint.Load(filepath.Join(dir, "both"), fresh.state(), nil, nil))
	assert.Equal(t, bits(t, whole.state()), bits(t, fresh.state()))
	z := tensor.New(tensor.WithShape(3, 2, 6, 6), tensor.WithBacking(make([]float32, 3*72)))
	var images [2]*tensor.Dense
	for i, n := range []*gan{whole, fresh} {
		p, err := n.generator.Predictor()
		require.NoError(t, err)
		defer p.Close()
		x, err := p.Predict(z)
		require.NoError(t, err)
		images[i] = x[0]
	}
	assert.Equal(t, images[0].Data(), images[1].Data())
	assert.Equal(t, tensor.Shape{3, 1, 6, 6}, images[0].Shape())
}

// unreadable is data of which one example cannot be had.
type unreadable struct {
	train.Data
	why func() error
}

func (u unreadable) Example(i int, row []any, rng *rand.Rand) error {
	if i == 11 {
		return u.why()
	}
	return u.Data.Example(i, row, rng)
}

func lost() error  { return errors.New("lost") }
func wrong() error { panic("wrong") }

// An example that cannot be had is named, in training and in evaluation.
func TestUnreadableExample(t *testing.T) {
	for _, c := range []struct {
		data, test, validation train.Data
		want                   string
	}{
		{unreadable{squaresData(20), lost}, nil, nil, "train: example 11: lost"},
		{squaresData(20), unreadable{squaresData(20), lost}, nil, "train: Test: example 11: lost"},
		{squaresData(20), nil, unreadable{squaresData(20), lost}, "train: Validation: example 11: lost"},
		{unreadable{squaresData(20), wrong}, nil, nil, "train: example 11: train_test.unreadable panicked: wrong"},
	} {
		n, err := models.New(10, unet())
		require.NoError(t, err)
		_, err = train.Fit(context.Background(), n, adam(), c.data, train.Options{Test: c.test, Validation: c.validation})
		assert.EqualError(t, err, c.want)
	}
}

// A score must be a number: it is summed, and saved.
func TestScoreMustBeFinite(t *testing.T) {
	for want, score := range map[string]float64{"got NaN": math.NaN(), "got +Inf": math.Inf(1)} {
		n, err := models.New(10, heads())
		require.NoError(t, err)
		n.Score = func(_, _ []*tensor.Dense) float64 { return score }
		p, err := n.Predictor()
		require.NoError(t, err)
		_, _, err = train.Evaluate(context.Background(), p, quarters(10))
		assert.EqualError(t, err, "models: score of examples 0 to 9: want a finite number, "+want)
		require.NoError(t, p.Close())
		_, err = train.Fit(context.Background(), n, stiefel(), quarters(20), train.Options{})
		assert.EqualError(t, err, "train: step 1: want a finite score, "+want)
	}
}
