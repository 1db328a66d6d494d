// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// grouped is a net of an ordinary, a grouped, a transposed and a stock convolution, with its features as outputs.
func grouped(batch int) (*models.Net, error) {
	g := gorgonia.NewGraph()
	x := leaf(g, "x", nil, batch, 2, 6, 6)
	init := nodes.HeNormal(1, 1)
	w, v, u, s := leaf(g, "w", init, 4, 2, 3, 3), leaf(g, "v", init, 6, 2, 3, 3), leaf(g, "u", init, 6, 2, 3, 3), leaf(g, "s", init, 3, 4, 3, 3)
	b := leaf(g, "b", gorgonia.Zeroes(), 1, 3, 1, 1)
	one := []int{1, 1}
	a := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{3, 3}, one, one, one))
	c := gorgonia.Must(nodes.Conv2dWith(a, v, tensor.Shape{3, 3}, one, one, one, nodes.Groups(2)))
	d := gorgonia.Must(nodes.ConvTranspose2d(c, u, tensor.Shape{3, 3}, one, one, one, nodes.Groups(2)))
	e := gorgonia.Must(gorgonia.Conv2d(d, s, tensor.Shape{3, 3}, one, one, one))
	e = gorgonia.Must(nodes.Bias(e, b))
	cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(e))))
	return &models.Net{Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{a, c, d, e}, Cost: cost, Learnables: gorgonia.Nodes{w, v, u, s, b}}, nil
}

// variance returns that of each channel of x.
func variance(x *tensor.Dense) []float64 {
	s := x.Shape()
	out := make([]float64, s[1])
	area := s[2] * s[3]
	for c := range out {
		sum, squares, n := 0.0, 0.0, float64(s[0]*area)
		for b := range s[0] {
			for _, v := range x.Float32s()[(b*s[1]+c)*area:][:area] {
				sum += float64(v)
				squares += float64(v) * float64(v)
			}
		}
		out[c] = (squares - sum*sum/n) / (n - 1)
	}
	return out
}

// Each weight has the variance of the channel that it multiplies, over all batches.
func TestFeatures(t *testing.T) {
	n, err := models.New(4, grouped)
	require.NoError(t, err)
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	f, err := n.Features(nil)
	require.NoError(t, err)
	defer f.Close()
	assert.Nil(t, f.Variances("w"), "before the first batch")
	rng := rand.New(rand.NewPCG(3, 4))
	channel := map[string]func(i int) int{ // of the slice i
		"w": func(i int) int { return i % 2 },
		"v": func(i int) int { return i/2/3*2 + i%2 },
		"u": func(i int) int { return i / 2 },
		"s": func(i int) int { return i % 4 },
	}
	for round := range 2 { // with other weights
		want := map[string][]float64{}
		for range 3 {
			x := randoms(rng, 4, 2, 6, 6)
			outputs, err := p.Predict(x)
			require.NoError(t, err)
			for i, seen := range []*tensor.Dense{x, outputs[0], outputs[1], outputs[2]} {
				name := []string{"w", "v", "u", "s"}[i]
				sum := want[name]
				if sum == nil {
					sum = make([]float64, seen.Shape()[1])
					want[name] = sum
				}
				for c, v := range variance(seen) {
					sum[c] += v / 3
				}
			}
			require.NoError(t, f.Run(x))
		}
		for name, of := range want {
			got := f.Variances(name)
			require.Len(t, got, sizeOf(n, name), name)
			for i, v := range got {
				c := channel[name](i / 9)
				require.InEpsilon(t, of[c], v, 1e-4, "%s, weight %d, channel %d, round %d", name, i, c, round)
			}
		}
		assert.Nil(t, f.Variances("b"))
		assert.Nil(t, f.Variances("nonesuch"))
		for _, l := range n.Learnables {
			for i := range l.Value().(*tensor.Dense).Float32s() {
				l.Value().(*tensor.Dense).Float32s()[i] *= 2
			}
		}
		f.Clear()
	}
}

func sizeOf(n *models.Net, name string) int {
	for _, l := range n.Learnables {
		if l.Name() == name {
			return l.Shape().TotalSize()
		}
	}
	return 0
}

// Nets without kernels have nothing to measure, and batches of other shapes are refused.
func TestFeaturesRefuses(t *testing.T) {
	n, err := models.New(6, stock)
	require.NoError(t, err)
	f, err := n.Features(nil)
	require.NoError(t, err)
	defer f.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	require.NoError(t, f.Run(randoms(rng, 6, 3), randoms(rng, 6, 2), randoms(rng, 6, 2)))
	assert.Nil(t, f.Variances("w"))
	require.ErrorContains(t, f.Run(randoms(rng, 6, 3)), "want 3 tensors")
}
