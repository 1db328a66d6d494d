// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// lcg is the generator of testdata/resnet.py: draws are in [-1, 1).
type lcg uint32

func (g *lcg) next() float64 {
	*g = 1664525**g + 1013904223
	return float64(*g>>24)/128 - 1
}

func (g *lcg) draw(n int, factor float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = factor * g.next()
	}
	return x
}

const (
	resnetBatch   = 8
	resnetClasses = 4
	resnetPixels  = 3 * 8 * 8
)

// resnetImages are the batches of testdata/resnet.py: an image is the pattern of its
// class, which is its number mod 4, and noise.
type resnetImages struct {
	generator lcg
	patterns  []float64
}

func newResnetImages() *resnetImages {
	i := &resnetImages{generator: 14}
	i.patterns = i.generator.draw(resnetClasses*resnetPixels, 1)
	return i
}

func (i *resnetImages) batch() []float64 {
	x := i.generator.draw(resnetBatch*resnetPixels, 0.25)
	for j := range x {
		x[j] += i.patterns[j%len(i.patterns)]
	}
	return x
}

// resnet is the net of testdata/resnet.py: a convolution, two basic blocks with
// shortcuts of option A, global average pooling and a linear layer, as a graph of
// its own with weights and statistics that it may share.
type resnet struct {
	images, labels, cost *gorgonia.Node
	linear               *gorgonia.Node
	weights              gorgonia.Nodes
	statistics           []*nodes.Statistics
	loss                 gorgonia.Value
}

// newResnet builds the net. Weights and statistics are those of share, or
// the first ones if it is nil.
func newResnet(t *testing.T, of tensor.Dtype, share *resnet) *resnet {
	must := func(n *gorgonia.Node, err error) *gorgonia.Node {
		t.Helper()
		require.NoError(t, err)
		return n
	}
	g := gorgonia.NewGraph()
	r := &resnet{}
	first := lcg(1)
	weight := func(factor, constant float64, shape ...int) *gorgonia.Node {
		w := zeros(g, fmt.Sprintf("weight %d", len(r.weights)), of, shape...)
		for i := range w.Shape().TotalSize() {
			v := constant
			if factor != 0 {
				v = factor * first.next()
			}
			if share != nil {
				v = floats(share.weights[len(r.weights)].Value())[i]
			}
			set(w, i, v)
		}
		r.weights = append(r.weights, w)
		return w
	}
	// convolve is a convolution with batch normalisation.
	convolve := func(x *gorgonia.Node, channels, stride int, factor float64) *gorgonia.Node {
		w := weight(factor, 0, channels, x.Shape()[1], 3, 3)
		x = must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{stride, stride}, []int{1, 1}))
		s, err := nodes.NewStatistics(channels, 0.1)
		require.NoError(t, err)
		if share != nil {
			s = share.statistics[len(r.statistics)]
		}
		r.statistics = append(r.statistics, s)
		return must(nodes.BatchNormWith(x, weight(0, 1, 1, channels, 1, 1), weight(0, 0, 1, channels, 1, 1), s, 1e-5))
	}
	block := func(x *gorgonia.Node, channels, stride int) *gorgonia.Node {
		y := must(gorgonia.Rectify(convolve(x, channels, stride, 1./8)))
		y = convolve(y, channels, 1, 1./8)
		return must(gorgonia.Rectify(must(gorgonia.Add(y, must(nodes.Shortcut(x, channels, stride))))))
	}

	r.images = zeros(g, "images", of, resnetBatch, 3, 8, 8)
	r.labels = zeros(g, "labels", of, resnetBatch, resnetClasses)
	ones := zeros(g, "ones", of, resnetBatch, 1)
	for b := range resnetBatch {
		set(r.labels, b*resnetClasses+b%resnetClasses, 1)
		set(ones, b, 1)
	}
	x := must(gorgonia.Rectify(convolve(r.images, 8, 1, 1./4)))
	x = block(x, 8, 1)
	x = block(x, 16, 2)
	x = must(nodes.GlobalAveragePool2D(x))
	x = must(gorgonia.Reshape(x, tensor.Shape{resnetBatch, 16}))
	r.linear = weight(1./4, 0, 16, resnetClasses)
	x = must(gorgonia.Mul(x, r.linear))
	x = must(gorgonia.Add(x, must(gorgonia.Mul(ones, weight(0, 0, 1, resnetClasses)))))
	r.cost = must(nodes.CrossEntropy(x, r.labels))
	gorgonia.Read(r.cost, &r.loss)
	return r
}

// run runs a machine of the net on a batch and returns the loss.
func (r *resnet) run(t *testing.T, vm gorgonia.VM, images []float64) float64 {
	t.Helper()
	for i, x := range images {
		set(r.images, i, x)
	}
	require.NoError(t, vm.RunAll())
	return floats(r.loss)[0]
}

// A residual net of these nodes with the stock convolution and the stock momentum
// solver has the losses of PyTorch in every step, and then its weights, its running
// statistics and its loss in evaluation. PyTorch's own float32 is within 2e-6 of its
// float64; the images are such that no rectifier flips by rounding (see the script).
func TestResNetReference(t *testing.T) {
	var want struct {
		LearnRate, Momentum, Evaluation float64
		Loss                            []float64
		Linear                          [][]float64
		Running                         map[string][]float64
	}
	readJSON(t, "testdata/resnet.json", &want)
	require.Len(t, want.Loss, 20)
	for _, c := range []struct {
		of        tensor.Dtype
		tolerance float64
	}{
		{tensor.Float64, 1e-12},
		{tensor.Float32, 1e-5},
	} {
		t.Run(c.of.String(), func(t *testing.T) {
			most := 0.0
			near := func(what string, got, want []float64) {
				t.Helper()
				d := differ(t, got, want)
				assert.LessOrEqual(t, d, c.tolerance, what)
				most = max(most, d)
			}
			images := newResnetImages()
			net := newResnet(t, c.of, nil)
			_, err := gorgonia.Grad(net.cost, net.weights...)
			require.NoError(t, err)
			vm := gorgonia.NewTapeMachine(net.cost.Graph(), gorgonia.BindDualValues(net.weights...))
			defer vm.Close()
			solver := gorgonia.NewMomentum(gorgonia.WithLearnRate(want.LearnRate), gorgonia.WithMomentum(want.Momentum))
			largest := 0.0
			for step, loss := range want.Loss {
				got := net.run(t, vm, images.batch())
				d := math.Abs(got-loss) / loss
				assert.LessOrEqual(t, d, c.tolerance, "step %d: want %v, got %v", step, loss, got)
				largest = max(largest, d)
				require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(net.weights)))
				vm.Reset()
			}
			linear := floats(net.linear.Value())
			for k, row := range want.Linear {
				for i, w := range row {
					near("linear layer", linear[i*resnetClasses+k:][:1], []float64{w})
				}
			}
			for i, layer := range []string{"1", "3.norm1", "3.norm2", "4.norm1", "4.norm2"} {
				near("running mean of "+layer, net.statistics[i].Mean, want.Running[layer+".running_mean"])
				near("running variance of "+layer, net.statistics[i].Variance, want.Running[layer+".running_var"])
			}

			eval := newResnet(t, c.of, net)
			em := gorgonia.NewTapeMachine(eval.cost.Graph(), gorgonia.EvalMode())
			defer em.Close()
			near("loss in evaluation", []float64{eval.run(t, em, images.batch())}, []float64{want.Evaluation})
			t.Logf("the losses differ by at most %.1e, weights, statistics and the loss in evaluation by %.1e", largest, most)
		})
	}
}
