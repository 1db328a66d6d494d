// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"gorgonia.org/gorgonia"
	gtensor "gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// field is a field of a protocol buffer that is read back.
type field struct {
	number protowire.Number
	value  uint64 // of a number
	data   []byte // of anything else
}

func fields(t *testing.T, m []byte) (list []field) {
	t.Helper()
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		require.Positive(t, n)
		m = m[n:]
		f := field{number: number}
		switch kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(m)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(m)
			f.value = uint64(v)
		default:
			require.Equal(t, protowire.BytesType, kind)
			f.data, n = protowire.ConsumeBytes(m)
		}
		require.Positive(t, n)
		m = m[n:]
		list = append(list, f)
	}
	return list
}

func texts(t *testing.T, m []byte, number protowire.Number) (list []string) {
	t.Helper()
	for _, f := range fields(t, m) {
		if f.number == number {
			list = append(list, string(f.data))
		}
	}
	return list
}

// outline writes what a model consists of, a line for each operation, weight, input and output.
func outline(t *testing.T, m []byte) string {
	t.Helper()
	var b strings.Builder
	for _, f := range fields(t, m) {
		switch f.number {
		case 1:
			fmt.Fprintf(&b, "IR version %d\n", f.value)
		case 2:
			fmt.Fprintf(&b, "by %s\n", f.data)
		case 8:
			for _, v := range fields(t, f.data) {
				if v.number == 2 {
					fmt.Fprintf(&b, "opset %d\n", v.value)
				}
			}
		case 7:
			for _, g := range fields(t, f.data) {
				switch g.number {
				case 1:
					fmt.Fprintf(&b, "%s = %s(%s)", strings.Join(texts(t, g.data, 2), ", "), texts(t, g.data, 4)[0], strings.Join(texts(t, g.data, 1), ", "))
					for _, a := range fields(t, g.data) {
						if a.number == 5 {
							fmt.Fprint(&b, " ", attribute(t, a.data))
						}
					}
					fmt.Fprintln(&b)
				case 5:
					fmt.Fprintf(&b, "weight %s\n", weight(t, g.data))
				case 11:
					fmt.Fprintf(&b, "input %s\n", info(t, g.data))
				case 12:
					fmt.Fprintf(&b, "result %s\n", info(t, g.data))
				}
			}
		}
	}
	return b.String()
}

func attribute(t *testing.T, m []byte) string {
	name, kind, list := "", uint64(0), []string{}
	for _, f := range fields(t, m) {
		switch f.number {
		case 1:
			name = string(f.data)
		case 2:
			list = append(list, fmt.Sprint(math.Float32frombits(uint32(f.value))))
		case 3, 8:
			list = append(list, fmt.Sprint(int64(f.value)))
		case 20:
			kind = f.value
		}
	}
	assert.Contains(t, map[uint64]string{1: "float", 2: "int", 7: "ints"}, kind)
	return name + "=" + strings.Join(list, ",")
}

// weight returns the name, the type, the shape and the sum of a tensor.
func weight(t *testing.T, m []byte) string {
	name, kind, shape, raw := "", uint64(0), []uint64{}, []byte(nil)
	for _, f := range fields(t, m) {
		switch f.number {
		case 1:
			shape = append(shape, f.value)
		case 2:
			kind = f.value
		case 8:
			name = string(f.data)
		case 9:
			raw = f.data
		}
	}
	sum := 0.0
	size := map[uint64]int{typeFloat: 4, typeInt64: 8, typeDouble: 8}[kind]
	require.NotZero(t, size)
	for i := 0; i < len(raw); i += size {
		switch kind {
		case typeFloat:
			sum += float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[i:])))
		case typeInt64:
			sum += float64(int64(binary.LittleEndian.Uint64(raw[i:])))
		case typeDouble:
			sum += math.Float64frombits(binary.LittleEndian.Uint64(raw[i:]))
		}
	}
	elements := uint64(1)
	for _, s := range shape {
		elements *= s
	}
	assert.EqualValues(t, len(raw)/size, elements, name)
	return fmt.Sprintf("%s type %d %v sum %.3f", name, kind, shape, sum)
}

func info(t *testing.T, m []byte) string {
	var b strings.Builder
	for _, f := range fields(t, m) {
		if f.number == 1 {
			fmt.Fprintf(&b, "%s", f.data)
			continue
		}
		for _, dense := range fields(t, fields(t, f.data)[0].data) {
			if dense.number == 1 {
				fmt.Fprintf(&b, " type %d", dense.value)
				continue
			}
			for _, d := range fields(t, dense.data) {
				for _, size := range fields(t, d.data) {
					if size.number == 2 {
						fmt.Fprintf(&b, " %s", size.data)
					} else {
						fmt.Fprintf(&b, " %d", size.value)
					}
				}
			}
		}
	}
	return b.String()
}

var small = models.Options{Shape: [3]int{3, 48, 40}, Classes: 5, Width: 1. / 8, Seed: 3}

func resized(o models.Options, side int) models.Options {
	o.Shape = [3]int{3, side, side}
	o.Width = 0
	return o
}

// nets are written and run by other programs: see `make onnx`. The first half is nets of package models, the second has every
// operation that can be written.
var nets = map[string]func() (models.Trainable, error){
	"resnet18":    func() (models.Trainable, error) { return models.ImageNetResNet(2, 18, small) },
	"resnet50":    func() (models.Trainable, error) { return models.ImageNetResNet(2, 50, small) },
	"vgg11":       func() (models.Trainable, error) { return models.ImageNetVGG(2, 11, small) },
	"squeezenet":  func() (models.Trainable, error) { return models.SqueezeNet(2, small) },
	"mobilenetv2": func() (models.Trainable, error) { return models.MobileNetV2(2, small) },
	"mobilenetv2-released": func() (models.Trainable, error) {
		m, err := models.MobileNetV2(2, small)
		if err != nil {
			return nil, err
		}
		learn(m.Net)
		return models.Release(m)
	},
	"preactivation": func() (models.Trainable, error) {
		o := resized(small, 16)
		o.PreActivation = true
		return models.ResNet(2, 8, o)
	},
	"stochastic": func() (models.Trainable, error) {
		o := resized(small, 16)
		o.Zeros = models.ZerosAround
		return models.StochasticDepth(2, 8, o)
	},
	"operations": func() (models.Trainable, error) { return operations() },
	"stock":      func() (models.Trainable, error) { return models.New(2, stockNet) },
}

// learn gives running statistics values that differ from channel to channel.
func learn(n *models.Net) {
	for _, b := range n.Buffers {
		if s := b.Statistics; s != nil {
			for c := range s.Mean {
				s.Mean[c], s.Variance[c] = 0.1*math.Sin(float64(c)), 1+0.5*math.Cos(float64(c))
			}
		}
	}
	for _, l := range n.Learnables {
		if strings.HasSuffix(l.Name(), ".bias") {
			for i, w := 0, l.Value().Data().([]float32); i < len(w); i++ {
				w[i] = float32(0.1 * math.Sin(float64(3*i+1)))
			}
		}
	}
}

// operations has the operations of package nodes that the nets do not have.
func operations() (*models.Model, error) {
	return models.Build(models.Spec{Batch: 2, Shape: [3]int{4, 11, 9}, Classes: 5, Seed: 1}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		weight := func(name string, shape ...int) *gorgonia.Node {
			w, err := b.Weight(name, func(seed uint64) gorgonia.InitWFn { return nodes.HeNormal(1, seed) }, shape...)
			b.Fail(name, err)
			return w
		}
		apply := func(layer string, x *gorgonia.Node, f func(x *gorgonia.Node) (*gorgonia.Node, error)) *gorgonia.Node {
			return b.Apply(layer, x, f)
		}
		x = apply("dilated", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Conv2dWith(x, weight("dilated.weight", 6, 2, 3, 2), gtensor.Shape{3, 2}, []int{2, 1, 0, 3}, []int{2, 1}, []int{1, 2}, nodes.Groups(2))
		})
		x = apply("maxmin", x, nodes.MaxMin)
		x = apply("gn", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.GroupNorm(x, weight("gn.weight", 1, 6, 1, 1), weight("gn.bias", 1, 6, 1, 1), 3, 6, 1e-5)
		})
		x = apply("pool", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.AveragePool2D(x, gtensor.Shape{2, 3}, []int{1, 0, 1, 2}, []int{1, 2})
		})
		up := apply("up", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.ConvTranspose2d(x, weight("up.weight", 6, 4, 3, 3), gtensor.Shape{3, 3}, []int{1, 0, 0, 1}, []int{2, 3}, []int{1, 1}, nodes.Groups(2), nodes.OutputPadding(1, 2))
		})
		x = apply("relu", b.Bias("up", up), func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.RectifyTo(x, 0.5) })
		x = b.Concat(x, apply("ceil", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2DCeil(x, gtensor.Shape{3, 3}, []int{1, 1}, []int{1, 1})
		}))
		x = b.Bias("lone", x) // after no convolution
		x = b.Dropout("dropout", b.Shortcut(x, 20, 3), 0.5)
		x = b.AdaptiveAveragePool(b.BatchNorm("bn", x), 3, 2)
		y := b.AdaptiveAveragePool(b.Conv("whole", x, 20, 3, 1, 1), 1, 1)
		y = b.Rectify(b.BatchNorm("bn2", b.Linear("fc1", y, 7)))
		return b.Linear("fc", y, 5)
	})
}

// stockNet has Gorgonia's operations.
func stockNet(batch int) (*models.Net, error) {
	g := gorgonia.NewGraph()
	leaf := func(name string, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, gtensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithInit(nodes.HeNormal(1, uint64(len(name)))))
	}
	x := gorgonia.NewMatrix(g, gtensor.Float32, gorgonia.WithName("x"), gorgonia.WithShape(batch, 6))
	y := gorgonia.NewMatrix(g, gtensor.Float32, gorgonia.WithName("y"), gorgonia.WithShape(batch, 6))
	w, v := leaf("first", 6, 8), leaf("second", 8, 8)
	must := gorgonia.Must
	h := must(gorgonia.Rectify(must(gorgonia.Mul(must(gorgonia.Add(x, must(gorgonia.Square(y)))), w))))
	h = must(gorgonia.Tanh(must(gorgonia.Sub(h, must(gorgonia.Mul(h, must(gorgonia.Transpose(v, 1, 0))))))))
	h = must(gorgonia.Concat(1, h, must(gorgonia.Sigmoid(h))))
	h = must(gorgonia.HadamardDiv(h, must(gorgonia.Exp(must(gorgonia.Neg(h))))))
	h = must(gorgonia.Reshape(must(gorgonia.Mul(h, gorgonia.NewConstant(float32(0.5)))), gtensor.Shape{batch, 4, 4}))
	h = must(gorgonia.Reshape(must(gorgonia.Abs(h)), gtensor.Shape{batch, 16}))
	return &models.Net{
		Inputs: gorgonia.Nodes{x, y}, Outputs: gorgonia.Nodes{must(gorgonia.SoftMax(h)), must(gorgonia.Softplus(h))}, Learnables: gorgonia.Nodes{w, v},
	}, nil
}

// run is a net with its inputs and outputs, for programs that run it.
type run struct {
	Shapes          [][]int // of the inputs
	Names           []string
	Inputs, Outputs [][]float32
}

// predicted predicts for three examples: another number than that of the batch.
func predicted(t *testing.T, n *models.Net) (r run) {
	t.Helper()
	var in []*gtensor.Dense
	for i, x := range n.Inputs {
		shape := append([]int{3}, x.Shape()[1:]...)
		data := make([]float32, gtensor.Shape(shape).TotalSize())
		for k := range data {
			data[k] = float32(math.Sin(float64(7*k + 1 + i)))
		}
		in = append(in, gtensor.New(gtensor.WithShape(shape...), gtensor.WithBacking(data)))
		r.Shapes, r.Names, r.Inputs = append(r.Shapes, shape), append(r.Names, x.Name()), append(r.Inputs, data)
	}
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	out, err := p.Predict(in...)
	require.NoError(t, err)
	for _, o := range out {
		r.Outputs = append(r.Outputs, o.Data().([]float32))
	}
	return r
}

// Nets are written as testdata/NAME.txt says, each with its inputs and outputs where KERNELFOLD_ONNX is a folder: see `make onnx`.
func TestWrite(t *testing.T) {
	dir := os.Getenv("KERNELFOLD_ONNX")
	for name, build := range nets {
		t.Run(name, func(t *testing.T) {
			n, err := build()
			require.NoError(t, err)
			if !strings.HasSuffix(name, "released") {
				learn(n.Base())
			}
			var m bytes.Buffer
			require.NoError(t, Write(&m, n))
			if dir != "" {
				require.NoError(t, Export(filepath.Join(dir, name+".onnx"), n))
				written, err := os.ReadFile(filepath.Join(dir, name+".onnx"))
				require.NoError(t, err)
				assert.Equal(t, m.Bytes(), written)
				text, err := json.Marshal(predicted(t, n.Base()))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), text, 0o666))
			}
			if slices.Contains([]string{"resnet50", "vgg11", "mobilenetv2", "preactivation"}, name) {
				return // of the same operations as others
			}
			got, path := outline(t, m.Bytes()), filepath.Join("testdata", name+".txt")
			if os.Getenv("KERNELFOLD_UPDATE") != "" {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o666))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

// Operations that cannot be written are named.
func TestWriteRefuses(t *testing.T) {
	for _, none := range []models.Trainable{nil, (*models.Net)(nil), (*models.Model)(nil), &models.Model{}} {
		assert.EqualError(t, Write(&bytes.Buffer{}, none), "onnx: want a net, got nil")
	}
	build := func(f func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node) *models.Model {
		m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{2, 6, 6}, Classes: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", f(b, x), 2)
		})
		require.NoError(t, err)
		return m
	}
	kernel := func(b *models.Builder) *gorgonia.Node {
		w, err := b.Weight("v", nil, 4, 2, 3, 3)
		require.NoError(t, err)
		return w
	}
	refuse := func(want string, n models.Trainable) {
		t.Helper()
		var b bytes.Buffer
		assert.ErrorContains(t, Write(&b, n), want)
		assert.Zero(t, b.Len())
	}
	normalised := build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		w := gorgonia.Must(nodes.Normalize(kernel(b), manifolds.Sphere{}))
		return gorgonia.Must(nodes.Conv2d(x, w, gtensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil))
	})
	refuse("onnx: want an operation that can be written, or one of a kernel that models.Release folds, got nodes.Normalize", normalised)
	released, err := models.Release(normalised)
	require.NoError(t, err)
	assert.NoError(t, Write(&bytes.Buffer{}, released))
	refuse("onnx: v: want padding by zeros, got circular padding", build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(nodes.Conv2dWith(x, kernel(b), gtensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil, nodes.Circular()))
	}))
	refuse("got nodes.Householder", build(func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		w, err := b.Weight("angle", nil, 1, 1, 1, 1)
		require.NoError(t, err)
		return gorgonia.Must(nodes.Householder(x, w))
	}))
	refuse("got MaxPool", build(func(_ *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(gorgonia.MaxPool2D(x, gtensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
	}))
	cost, err := models.New(1, func(int) (*models.Net, error) {
		w := gorgonia.NewVector(gorgonia.NewGraph(), gtensor.Float64, gorgonia.WithName("w"), gorgonia.WithShape(2), gorgonia.WithInit(gorgonia.Ones()))
		return &models.Net{Cost: gorgonia.Must(gorgonia.Sum(w)), Learnables: gorgonia.Nodes{w}}, nil
	})
	require.NoError(t, err)
	refuse("onnx: want a net with outputs, got none", cost)

	// After an error the file is unchanged.
	path := filepath.Join(t.TempDir(), "net.onnx")
	require.NoError(t, os.WriteFile(path, []byte("before"), 0o666))
	assert.ErrorContains(t, Export(path, normalised), "onnx: export "+path+": onnx: want an operation")
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "before", string(now))
}

// Orthogonal convolutions and their adjoints are written as such, with and without a bias, once their kernels are weights.
func TestWriteOrthogonal(t *testing.T) {
	for _, normalised := range []bool{false, true} {
		m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{2, 6, 6}, Classes: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			x = b.Orthogonal("down", x, 4, 3, 2)
			if normalised {
				x = b.BatchNorm("bn1", x)
			}
			x = b.OrthogonalTranspose("up", x, 2, 3, 2)
			if normalised {
				x = b.BatchNorm("bn2", x)
			}
			return b.Linear("fc", x, 2)
		})
		require.NoError(t, err)
		released, err := models.Release(m)
		require.NoError(t, err)
		var b bytes.Buffer
		require.NoError(t, Write(&b, released))
		text := outline(t, b.Bytes())
		assert.Contains(t, text, " = Conv(input, down.weight")
		assert.Regexp(t, ` = ConvTranspose\(\S+, up\.weight.*output_padding=1,1`, text)
	}
}

// Weights of a double-precision net are written in double precision, and constants of the shape of the batch fix it.
func TestWriteTypes(t *testing.T) {
	g := func(batch int) (*models.Net, error) {
		g := gorgonia.NewGraph()
		x := gorgonia.NewMatrix(g, gtensor.Float64, gorgonia.WithName("x"), gorgonia.WithShape(batch, 3))
		w := gorgonia.NewMatrix(g, gtensor.Float64, gorgonia.WithName("w"), gorgonia.WithShape(batch, 3), gorgonia.WithInit(gorgonia.Ones()))
		return &models.Net{Inputs: gorgonia.Nodes{x}, Outputs: gorgonia.Nodes{gorgonia.Must(gorgonia.Add(x, w))}}, nil
	}
	n, err := models.New(2, g)
	require.NoError(t, err)
	var m bytes.Buffer
	require.NoError(t, Write(&m, n))
	lines := strings.Split(strings.TrimSpace(outline(t, m.Bytes())), "\n")
	for _, want := range []string{"weight w type 11 [2 3] sum 6.000", "input x type 11 2 3", "result output type 11 2 3"} {
		assert.True(t, slices.Contains(lines, want), "%s in %v", want, lines)
	}
}

// The output has its name even if a layer is called so, too.
func TestWriteOutput(t *testing.T) {
	m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 4, 4}, Classes: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("output", b.BatchNorm("bn", x), 2)
	})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, Write(&b, m))
	assert.Contains(t, outline(t, b.Bytes()), "result output ")

	m.Buffers[0].Statistics.Variance[0] = 1e40
	assert.EqualError(t, Write(io.Discard, m), "onnx: bn.running_var: want finite numbers in float32, got +Inf")
}
