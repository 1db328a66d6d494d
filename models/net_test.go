// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// leaf adds a leaf of float32, with a value if init is not nil.
func leaf(g *gorgonia.ExprGraph, name string, init gorgonia.InitWFn, shape ...int) *gorgonia.Node {
	opts := []gorgonia.NodeConsOpt{gorgonia.WithShape(shape...)}
	if name != "" {
		opts = append(opts, gorgonia.WithName(name))
	}
	if init != nil {
		opts = append(opts, gorgonia.WithInit(init))
	}
	return gorgonia.NewTensor(g, tensor.Float32, len(shape), opts...)
}

// stock is a net of stock operations alone: two inputs, of which one is indices, a hidden layer, and
// two outputs of which the second is used by the cost alone.
func stock(batch int) (*models.Net, error) {
	g := gorgonia.NewGraph()
	x := leaf(g, "x", nil, batch, 3)
	z := leaf(g, "z", nil, batch, 2)
	y := leaf(g, "y", nil, batch, 2)
	w := leaf(g, "w", nodes.HeNormal(1, 1), 3, 4)
	v := leaf(g, "v", nodes.HeNormal(1, 2), 2, 4)
	u := leaf(g, "u", nodes.HeNormal(1, 3), 4, 2)
	h := gorgonia.Must(gorgonia.Add(gorgonia.Must(gorgonia.Mul(x, w)), gorgonia.Must(gorgonia.Mul(z, v))))
	h = gorgonia.Must(gorgonia.Tanh(h))
	out := gorgonia.Must(gorgonia.Mul(h, u))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(out, y))))))
	return &models.Net{
		Inputs: gorgonia.Nodes{x, z}, Targets: gorgonia.Nodes{y}, Outputs: gorgonia.Nodes{h, out},
		Cost: cost, Learnables: gorgonia.Nodes{w, v, u},
	}, nil
}

// randoms returns a tensor of float32 of normal numbers.
func randoms(rng *rand.Rand, shape ...int) *tensor.Dense {
	t := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(rng.NormFloat64())
	}
	return t
}

// A net of stock operations learns, and a predictor computes its outputs for any number of examples,
// with the current weights.
func TestNetOfStockOperations(t *testing.T) {
	n, err := models.New(6, stock)
	require.NoError(t, err)
	assert.Equal(t, 28, n.Parameters())
	assert.True(t, math.IsNaN(n.Loss()))
	assert.Nil(t, n.Output(0))
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	vm, err := n.Machine()
	require.NoError(t, err)
	defer vm.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	x, z, y := randoms(rng, 6, 3), randoms(rng, 6, 2), randoms(rng, 6, 2)
	solver := gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.1))
	var first float64
	for step := range 50 {
		require.NoError(t, n.Feed(x, z, y))
		require.NoError(t, vm.RunAll())
		if step == 0 {
			first = n.Loss()
		}
		out, err := p.Predict(x, z) // before the step, as the machine
		require.NoError(t, err)
		for i := range out {
			assert.Equal(t, n.Output(i).Data(), out[i].Data(), "output %d", i)
		}
		sum, _, err := p.Evaluate(x, z, y)
		require.NoError(t, err)
		assert.InEpsilon(t, n.Loss(), sum/6, 1e-5)
		require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(n.Learnables)))
		vm.Reset()
	}
	assert.Less(t, n.Loss(), first/4)

	x, z, y = randoms(rng, 11, 3), randoms(rng, 11, 2), randoms(rng, 11, 2)
	all, err := p.Predict(x, z)
	require.NoError(t, err)
	assert.Equal(t, tensor.Shape{11, 4}, all[0].Shape())
	assert.Equal(t, tensor.Shape{11, 2}, all[1].Shape())
	total, score, err := p.Evaluate(x, z, y)
	require.NoError(t, err)
	assert.True(t, math.IsNaN(score))
	sum := 0.0
	row := func(t *tensor.Dense, i int) *tensor.Dense {
		k := t.Shape()[1]
		return tensor.New(tensor.WithShape(1, k), tensor.WithBacking(t.Float32s()[i*k:(i+1)*k]))
	}
	for i := range 11 {
		one, err := p.Predict(row(x, i), row(z, i))
		require.NoError(t, err)
		assert.InDeltaSlice(t, all[1].Float32s()[2*i:2*i+2], one[1].Float32s(), 1e-6)
		c, _, err := p.Evaluate(row(x, i), row(z, i), row(y, i))
		require.NoError(t, err)
		sum += c
	}
	assert.InEpsilon(t, sum, total, 1e-5)
}

// Each mistake of a definition is an error that names what was wanted and what came.
func TestNetRefuses(t *testing.T) {
	spoil := func(f func(n *models.Net)) models.Definition {
		return func(batch int) (*models.Net, error) {
			n, err := stock(batch)
			if err == nil {
				f(n)
			}
			return n, err
		}
	}
	g := func(n *models.Net) *gorgonia.ExprGraph { return n.Inputs[0].Graph() }
	mine := errors.New("mine")
	for want, define := range map[string]models.Definition{
		"models: want a definition, got nil":          nil,
		"mine":                                        func(int) (*models.Net, error) { return nil, mine },
		"models: want a net, got nil":                 func(int) (*models.Net, error) { return nil, nil },
		"models: want a cost or outputs, got neither": func(int) (*models.Net, error) { return &models.Net{}, nil },
		"models: input 1: want a node, got nil":       spoil(func(n *models.Net) { n.Inputs[1] = nil }),
		"models: input 0: want a leaf, got ":          spoil(func(n *models.Net) { n.Inputs[0] = n.Outputs[0] }),
		"models: learnable 1: want a node, got nil":   spoil(func(n *models.Net) { n.Learnables[1] = nil }),
		"models: learnable 1: want a leaf, got ":      spoil(func(n *models.Net) { n.Learnables[1] = n.Outputs[0] }),
		`models: learnable 3: want unique names, got "w" twice`: spoil(func(n *models.Net) {
			n.Learnables = append(n.Learnables, leaf(g(n), "w", gorgonia.Zeroes(), 7))
		}),
		`models: learnable 3: want unique names, got "x" twice`: spoil(func(n *models.Net) {
			n.Learnables = append(n.Learnables, leaf(g(n), "x", gorgonia.Zeroes(), 7))
		}),
		"models: learnable 3: want a name, got none": spoil(func(n *models.Net) {
			n.Learnables = append(n.Learnables, leaf(g(n), "", gorgonia.Zeroes(), 7))
		}),
		"models: learnable b: want a value, got nil": spoil(func(n *models.Net) {
			n.Learnables = append(n.Learnables, leaf(g(n), "b", nil, 7))
		}),
		"models: learnable b of shape (7): want a cost that depends on it, got one that does not": spoil(func(n *models.Net) {
			n.Learnables = append(n.Learnables, leaf(g(n), "b", gorgonia.Zeroes(), 7))
		}),
		"models: want a cost that is a scalar, such as gorgonia.Mean of it, got shape (6, 2)": spoil(func(n *models.Net) { n.Cost = n.Outputs[1] }),
		"models: input 0, u: want the batch of 6 as the first size, got shape (4, 2)":         spoil(func(n *models.Net) { n.Inputs[0] = n.Learnables[2] }),
		"want the batch of 6 as the first size, got shape ()":                                 spoil(func(n *models.Net) { n.Outputs[1] = n.Cost }),
		"models: leaf y of shape (6, 2): want it among the inputs, the targets or the learnables, or with a value, got neither": spoil(func(n *models.Net) {
			n.Targets = nil
		}),
		"models: target z: want outputs that do not depend on it, or it among the inputs, got one that does": spoil(func(n *models.Net) {
			n.Inputs, n.Targets = n.Inputs[:1], append(n.Targets, n.Inputs[1])
		}),
		"models: want the nodes of a net in one graph, got x in another": spoil(func(n *models.Net) {
			n.Inputs[0] = leaf(gorgonia.NewGraph(), "x", nil, 6, 3)
		}),
		"models: buffer 0: want a name, got none":                                                        spoil(func(n *models.Net) { n.Buffers = []models.Buffer{{Noise: &nodes.Noise{}}} }),
		"models: buffer bn: want one of Statistics, Noise, Iteration and BatchNorm, got none or several": spoil(func(n *models.Net) { n.Buffers = []models.Buffer{{Name: "bn"}} }),
	} {
		_, err := models.New(6, define)
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "\n")
	}
	_, err := models.New(0, stock)
	assert.EqualError(t, err, "models: want a batch of at least 1, got 0")
	_, err = (&models.Net{}).Predictor()
	assert.EqualError(t, err, "models: want a net made by New, got one without a definition")
}

// A definition must make the same net for every batch.
func TestNetMustBeTheSame(t *testing.T) {
	for want, spoil := range map[string]func(n *models.Net){
		"models: graph for a batch of 1: want 2 inputs as in the first graph, got 3": func(n *models.Net) {
			n.Inputs = append(n.Inputs, leaf(n.Inputs[0].Graph(), "e", nil, 1, 3))
		},
		"models: graph for a batch of 1: want 3 learnables and 0 buffers as in the first graph, got 2 and 0": func(n *models.Net) { n.Learnables = n.Learnables[1:] },
		"models: graph for a batch of 1: leaf c of shape (4): want the value of the first graph, or it among the learnables, got another value": func(n *models.Net) {
			c := gorgonia.Must(gorgonia.Sum(leaf(n.Inputs[0].Graph(), "c", nodes.HeNormal(1, 99), 4)))
			n.Cost = gorgonia.Must(gorgonia.Add(n.Cost, c))
		},
		"want a cost in each graph or in none, got one in the other only": func(n *models.Net) { n.Cost = nil },
	} {
		n, err := models.New(6, func(batch int) (*models.Net, error) {
			n, err := stock(batch)
			if err == nil && batch == 1 {
				spoil(n)
			} else if err == nil {
				c := leaf(n.Inputs[0].Graph(), "c", nodes.HeNormal(1, 98), 4)
				n.Cost = gorgonia.Must(gorgonia.Add(n.Cost, gorgonia.Must(gorgonia.Sum(c))))
			}
			return n, err
		})
		require.NoError(t, err)
		_, err = n.Predictor()
		assert.ErrorContains(t, err, want)
	}
	// Stock batch normalisation makes its own scale and bias in the shape of x, and many programs do.
	n, err := models.New(6, func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		x, b := leaf(g, "x", nil, batch, 3), leaf(g, "b", gorgonia.Ones(), batch, 3)
		y := gorgonia.Must(gorgonia.Add(x, b))
		return &models.Net{Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{y}, Cost: gorgonia.Must(gorgonia.Mean(y)), Learnables: gorgonia.Nodes{b}}, nil
	})
	require.NoError(t, err)
	_, err = n.Predictor()
	assert.EqualError(t, err, "models: graph for a batch of 1: learnable b: want float32 and shape (6, 3) as in the first graph, for a batch of 6, got float32 and (1, 3): weights must not depend on the batch")
}

// A definition that makes one graph only is used for whole batches: predictions are filled up, and the
// cost, which is a mean, cannot be.
func TestNetOfOneBatch(t *testing.T) {
	n, err := models.New(6, func(batch int) (*models.Net, error) {
		if batch != 6 {
			return nil, errors.New("want 6")
		}
		return stock(batch)
	})
	require.NoError(t, err)
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	out, err := p.Predict(randoms(rng, 7, 3), randoms(rng, 7, 2))
	require.NoError(t, err)
	assert.Equal(t, tensor.Shape{7, 2}, out[1].Shape())
	_, _, err = p.Evaluate(randoms(rng, 12, 3), randoms(rng, 12, 2), randoms(rng, 12, 2))
	require.NoError(t, err)
	_, _, err = p.Evaluate(randoms(rng, 7, 3), randoms(rng, 7, 2), randoms(rng, 7, 2))
	assert.EqualError(t, err, "models: want batches of 6 examples to evaluate the cost, because the definition makes no graph for others (want 6), got 1")
}

// A definition may fail for any batch other than the first, also for one that a predictor asks for later.
func TestNetOfSomeBatches(t *testing.T) {
	n, err := models.New(8, func(batch int) (*models.Net, error) {
		if batch == 4 {
			return nil, errors.New("not 4")
		}
		return stock(batch)
	})
	require.NoError(t, err)
	same, err := models.New(8, stock)
	require.NoError(t, err)
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	q, err := same.Predictor()
	require.NoError(t, err)
	defer q.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	x, z := randoms(rng, 15, 3), randoms(rng, 15, 2)
	got, err := p.Predict(x, z)
	require.NoError(t, err)
	want, err := q.Predict(x, z)
	require.NoError(t, err)
	assert.InDeltaSlice(t, want[1].Float32s(), got[1].Float32s(), 1e-6)
}

func TestFeedRefuses(t *testing.T) {
	n, err := models.New(6, stock)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	x, z, y := randoms(rng, 6, 3), randoms(rng, 6, 2), randoms(rng, 6, 2)
	assert.EqualError(t, n.Feed(x, z), "models: want 3 tensors, for [x z y], got 2")
	assert.EqualError(t, n.Feed(x, z, randoms(rng, 6, 3)), "models: y: want float32 of shape (2) for each example, got float32 of (3)")
	assert.EqualError(t, n.Feed(x, z, randoms(rng, 5, 2)), "models: y: want 6 examples, got 5")
	assert.EqualError(t, n.Feed(x, z, tensor.New(tensor.Of(tensor.Int), tensor.WithShape(6, 2))), "models: y: want float32 of shape (2) for each example, got int of (2)")
	assert.EqualError(t, n.Feed(x, nil, y), "models: z: want a tensor, got nil")
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Predict(x, randoms(rng, 5, 2))
	assert.ErrorContains(t, err, "want as many examples in each tensor, got 6 in the first and 5 in tensor 1")
	_, err = p.Predict(randoms(rng, 0, 3), z)
	assert.EqualError(t, err, "models: x: want one element at least, got a tensor of shape (0, 3)")
	_, err = p.Logits(make([]float32, 3))
	assert.EqualError(t, err, "models: want a net with one input, got [x z]: see Predict")
	x.Float32s()[4] = float32(math.NaN())
	_, err = p.Predict(x, z)
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	assert.ErrorContains(t, err, "of example 1: want finite numbers, got NaN")
	_, _, err = p.Evaluate(x, z, y)
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
}

// Inputs have any element type: here they are rows of a table that is learnt.
func TestNetOfIndices(t *testing.T) {
	n, err := models.New(4, func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		words := gorgonia.NewVector(g, tensor.Int, gorgonia.WithName("words"), gorgonia.WithShape(batch))
		table, y := leaf(g, "table", nodes.HeNormal(1, 1), 5, 3), leaf(g, "y", nil, batch, 3)
		out := gorgonia.Must(gorgonia.ByIndices(table, words, 0))
		cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(out, y))))))
		return &models.Net{Inputs: gorgonia.Nodes{words}, Targets: gorgonia.Nodes{y}, Outputs: gorgonia.Nodes{out}, Cost: cost, Learnables: gorgonia.Nodes{table}}, nil
	})
	require.NoError(t, err)
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	out, err := p.Predict(tensor.New(tensor.WithShape(6), tensor.WithBacking([]int{4, 0, 4, 2, 1, 3})))
	require.NoError(t, err)
	table := n.Learnables[0].Value().Data().([]float32)
	for i, k := range []int{4, 0, 4, 2, 1, 3} {
		assert.Equal(t, table[3*k:3*k+3], out[0].Float32s()[3*i:3*i+3])
	}
	_, err = p.Predict(tensor.New(tensor.WithShape(6), tensor.WithBacking(make([]float32, 6))))
	assert.EqualError(t, err, "models: words: want int of shape () for each example, got float32 of ()")
}

// withState is a net with a batch normalisation and dropout, whose state is changed by spoil.
func withState(spoil func(n *models.Net, batch int)) models.Definition {
	statistics, err := nodes.NewStatistics(2, 0.1)
	if err != nil {
		panic(err)
	}
	noise := &nodes.Noise{}
	return func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		x, γ, β := leaf(g, "x", nil, batch, 2), leaf(g, "scale", gorgonia.Ones(), 1, 2), leaf(g, "bias", gorgonia.Zeroes(), 1, 2)
		y := gorgonia.Must(nodes.BatchNormWith(x, γ, β, statistics, 1e-5))
		y = gorgonia.Must(nodes.Dropout(y, 0.5, noise))
		n := &models.Net{
			Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{y}, Cost: gorgonia.Must(gorgonia.Mean(y)), Learnables: gorgonia.Nodes{γ, β},
			Buffers: []models.Buffer{{Name: "norm", Statistics: statistics}, {Name: "dropout", Noise: noise}},
		}
		spoil(n, batch)
		return n, nil
	}
}

// State that would not be saved, or that graphs do not share, is an error.
func TestNetStateIsInItsBuffers(t *testing.T) {
	_, err := models.New(4, withState(func(*models.Net, int) {}))
	require.NoError(t, err)
	_, err = models.New(4, withState(func(n *models.Net, _ int) { n.Buffers = n.Buffers[:1] }))
	assert.ErrorContains(t, err, "want its state, a *nodes.Noise, among the buffers, got none of it there")
	_, err = models.New(4, withState(func(n *models.Net, _ int) { n.Buffers = n.Buffers[1:] }))
	assert.ErrorContains(t, err, "want its state, a *nodes.Statistics, among the buffers, got none of it there")
	_, err = models.New(4, withState(func(n *models.Net, _ int) { n.Buffers[1].Name = "norm" }))
	assert.EqualError(t, err, `models: buffer 1: want unique names, got "norm" twice`)
	n, err := models.New(4, func(batch int) (*models.Net, error) { return withState(func(*models.Net, int) {})(batch) }) // state of each graph
	require.NoError(t, err)
	_, err = n.Predictor()
	assert.EqualError(t, err, "models: graph for a batch of 1: buffer norm: want that of the first graph, got another: make it outside of the definition")
	n, err = models.New(4, withState(func(n *models.Net, batch int) {
		if batch == 1 {
			n.Buffers[0].Name = "other"
		}
	}))
	require.NoError(t, err)
	_, err = n.Predictor()
	assert.EqualError(t, err, "models: graph for a batch of 1: want the buffers of the first graph, got other")

	_, err = models.New(4, func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		x, γ, β := leaf(g, "x", nil, batch, 2, 3, 3), leaf(g, "scale", gorgonia.Ones(), 1, 2, 1, 1), leaf(g, "bias", gorgonia.Zeroes(), 1, 2, 1, 1)
		y, _, _, _, err := gorgonia.BatchNorm(x, γ, β, 0.1, 1e-5)
		return &models.Net{Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{y}, Cost: gorgonia.Must(gorgonia.Mean(y)), Learnables: gorgonia.Nodes{γ, β}}, err
	})
	assert.ErrorContains(t, err, "want its state, a *gorgonia.BatchNormOp, among the buffers")

	// A definition that returns one graph again, and an operation at whose gradient Gorgonia panics.
	first, err := stock(4)
	require.NoError(t, err)
	n, err = models.New(4, func(int) (*models.Net, error) { return first, nil })
	require.NoError(t, err)
	_, err = n.Predictor()
	assert.ErrorContains(t, err, "models: want a definition that makes a new graph each time, got a net that New has made")
	_, err = models.New(4, func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		x, w := leaf(g, "x", nil, batch, 2, 3, 3), leaf(g, "w", gorgonia.Ones(), 3, 2, 1, 1)
		y := gorgonia.Must(gorgonia.GlobalAveragePool2D(gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{1, 1}, []int{0, 0}, []int{1, 1}, []int{1, 1}))))
		return &models.Net{Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{y}, Cost: gorgonia.Must(gorgonia.Mean(y)), Learnables: gorgonia.Nodes{w}}, nil
	})
	assert.ErrorContains(t, err, "models: gradient: ")
	assert.NotContains(t, err.Error(), "\n")
}

// colliding returns the names of two scalars that have one hash.
func colliding(t *testing.T) (string, string) {
	seen := map[uint32]string{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1 << 19 {
		name := strconv.FormatUint(rng.Uint64(), 36)
		n := gorgonia.NewScalar(gorgonia.NewGraph(), tensor.Float32, gorgonia.WithName(name))
		if other, ok := seen[n.Hashcode()]; ok {
			return other, name
		}
		seen[n.Hashcode()] = name
	}
	t.Fatal("want two names with one hash, got none")
	return "", ""
}

// A graph with two nodes that Gorgonia takes for one is made again.
func TestCollision(t *testing.T) {
	one, other := colliding(t)
	for bad := range 5 {
		made := 0
		n, err := models.New(4, func(batch int) (*models.Net, error) {
			n, err := stock(batch)
			if made++; made <= bad {
				for _, name := range []string{one, other} {
					c := gorgonia.NewScalar(n.Cost.Graph(), tensor.Float32, gorgonia.WithName(name), gorgonia.WithValue(float32(2)))
					n.Cost = gorgonia.Must(gorgonia.Mul(n.Cost, c))
				}
			}
			return n, err
		})
		require.NoError(t, err)
		assert.Equal(t, min(bad+1, 3), made)
		vm, err := n.Machine()
		if bad >= 3 {
			require.ErrorIs(t, err, nodes.ErrCollision)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, n.Feed(randoms(rand.New(rand.NewPCG(1, 1)), 4, 3), randoms(rand.New(rand.NewPCG(1, 2)), 4, 2), randoms(rand.New(rand.NewPCG(1, 3)), 4, 2)))
		require.NoError(t, vm.RunAll())
		require.NoError(t, vm.Close())
	}
}
