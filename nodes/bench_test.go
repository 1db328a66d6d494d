// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"io"
	"log"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// benchmark runs a node and its gradients on a batch of 32 images of 32 channels and 32x32
// pixels, float32.
func benchmark(b *testing.B, build func(x, scale, bias *gorgonia.Node) (*gorgonia.Node, error)) {
	b.Helper()
	log.SetOutput(io.Discard) // stock GroupNorm prints every gradient
	defer log.SetOutput(os.Stderr)
	g := gorgonia.NewGraph()
	of := tensor.Float32
	x, scale, bias := zeros(g, "x", of, 32, 32, 32, 32), zeros(g, "scale", of, 1, 32, 1, 1), zeros(g, "bias", of, 1, 32, 1, 1)
	for i, v := range ramp(1 << 20) {
		x.Value().Data().([]float32)[i] = float32(v)
	}
	y, err := build(x, scale, bias)
	require.NoError(b, err)
	wrt := gorgonia.Nodes{x}
	if y.Graph().To(scale.ID()).Len() > 0 {
		wrt = append(wrt, scale, bias)
	}
	_, err = gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{zeros(g, "gradient", of, y.Shape()...)}, wrt)
	require.NoError(b, err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, vm.RunAll())
		vm.Reset()
	}
}

func BenchmarkMaxPool2D(b *testing.B) {
	p := pooling{[]int{2, 2}, []int{0, 0}, []int{2, 2}}
	b.Run("stock", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.MaxPool2D(x, p.kernel, p.pad, p.stride)
		})
	})
	b.Run("nodes", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2D(x, p.kernel, p.pad, p.stride)
		})
	})
}

func BenchmarkBatchNorm(b *testing.B) {
	b.Run("stock", func(b *testing.B) {
		benchmark(b, func(x, scale, bias *gorgonia.Node) (*gorgonia.Node, error) {
			y, _, _, _, err := gorgonia.BatchNorm(x, scale, bias, 0.1, 1e-5)
			return y, err
		})
	})
	b.Run("nodes", func(b *testing.B) {
		benchmark(b, func(x, scale, bias *gorgonia.Node) (*gorgonia.Node, error) {
			y, _, _, _, err := nodes.BatchNorm(x, scale, bias, 0.1, 1e-5)
			return y, err
		})
	})
}

func BenchmarkGroupNorm(b *testing.B) {
	b.Run("stock", func(b *testing.B) {
		benchmark(b, func(x, scale, bias *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.GroupNorm(x, scale, bias, 8, 32, 1e-5)
		})
	})
	b.Run("nodes", func(b *testing.B) {
		benchmark(b, func(x, scale, bias *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.GroupNorm(x, scale, bias, 8, 32, 1e-5)
		})
	})
}

func BenchmarkDropout(b *testing.B) {
	b.Run("stock", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Dropout(x, 0.5) })
	})
	b.Run("nodes", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Dropout(x, 0.5, &nodes.Noise{}) })
	})
}

func BenchmarkAveragePool2D(b *testing.B) {
	p := pooling{[]int{2, 2}, []int{0, 0}, []int{2, 2}}
	b.Run("stock", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.AveragePool2D(x, p.kernel, p.pad, p.stride)
		})
	})
	b.Run("nodes", func(b *testing.B) {
		benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.AveragePool2D(x, p.kernel, p.pad, p.stride)
		})
	})
}

// BenchmarkCrossEntropy takes 256 logits of 1000 classes; stock is what users write.
func BenchmarkCrossEntropy(b *testing.B) {
	for name, cost := range map[string]func(z, t *gorgonia.Node) *gorgonia.Node{
		"stock": func(z, t *gorgonia.Node) *gorgonia.Node {
			p := gorgonia.Must(gorgonia.LogSoftMax(z, 1))
			mean := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.HadamardProd(p, t))))
			return gorgonia.Must(gorgonia.Mul(mean, gorgonia.NewConstant(float32(-1000))))
		},
		"nodes": func(z, t *gorgonia.Node) *gorgonia.Node { return gorgonia.Must(nodes.CrossEntropy(z, t)) },
	} {
		b.Run(name, func(b *testing.B) {
			g := gorgonia.NewGraph()
			z, t := zeros(g, "z", tensor.Float32, 256, 1000), zeros(g, "t", tensor.Float32, 256, 1000)
			for i := range 256 {
				t.Value().Data().([]float32)[1000*i+i] = 1
			}
			_, err := gorgonia.Grad(cost(z, t), z)
			require.NoError(b, err)
			vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(z))
			defer vm.Close()
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, vm.RunAll())
				vm.Reset()
			}
		})
	}
}
