// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/safetensors"
)

// Weights go to PyTorch and come from it by name; a tensor that does not fit is an
// error, and the model stays as it was.
func ExampleExport() {
	dir, err := os.MkdirTemp("", "weights")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "lenet.safetensors")
	lenet := func(classes int) *models.Model {
		m, err := models.LeNet(1, models.Options{Shape: [3]int{1, 28, 28}, Classes: classes, Seed: uint64(classes)})
		if err != nil {
			panic(err)
		}
		return m
	}
	if err := checkpoint.Export(path, lenet(10)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(checkpoint.Import(path, lenet(10), checkpoint.ImportOptions{}))

	err = checkpoint.Import(path, lenet(5), checkpoint.ImportOptions{})
	fmt.Println(errors.Is(err, checkpoint.ErrMismatch))
	fmt.Println(checkpoint.Check(path) != nil, "- weights alone are no checkpoint")
	// Output:
	// <nil>
	// true
	// true - weights alone are no checkpoint
}

// A module that nn.DataParallel wrapped, and whose last layer has another name.
func ExampleImport() {
	dir, err := os.MkdirTemp("", "weights")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "module.safetensors")
	f, err := os.Create(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = errors.Join(safetensors.Write(f, []safetensors.Tensor{
		{Name: "module.head.weight", Shape: []int{3, 2}, F32: []float32{1, 2, 3, 4, 5, 6}},
		{Name: "module.head.bias", Shape: []int{3}, F32: []float32{7, 8, 9}},
	}, nil), f.Close())
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := models.Build(models.Spec{Batch: 1, Shape: [3]int{2, 1, 1}, Classes: 3}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("fc", x, 3)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(errors.Is(checkpoint.Import(path, m, checkpoint.ImportOptions{}), checkpoint.ErrMismatch))
	fmt.Println(checkpoint.Import(path, m, checkpoint.ImportOptions{Names: checkpoint.Names{"head": "fc"}}))
	fmt.Println(m.Learnables[0].Value().Data(), m.Learnables[1].Value().Data())
	// Output:
	// true
	// <nil>
	// [1 3 5 2 4 6] [7 8 9]
}

// Every flipped bit is found.
func ExampleCheck() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	m, err := models.LeNet(1, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	path := filepath.Join(dir, "run.safetensors")
	if err := checkpoint.Save(path, m, nil, nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(checkpoint.Check(path))

	b, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		fmt.Println(err)
	}
	fmt.Println(errors.Is(checkpoint.Check(path), checkpoint.ErrDamaged))
	// Output:
	// <nil>
	// true
}

// A released net has no batch normalisation, so its file fits a net without, here or in PyTorch.
func ExampleExport_released() {
	dir, err := os.MkdirTemp("", "weights")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cnn.safetensors")
	cnn := func(batchNorm bool) *models.Model {
		m, err := models.CNN(1, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{4}, BatchNorm: batchNorm})
		if err != nil {
			panic(err)
		}
		return m
	}
	class := func(n *models.Net) []int {
		p, err := n.Predictor()
		if err != nil {
			panic(err)
		}
		defer p.Close()
		image := make([]float32, 64)
		image[27] = 1
		classes, err := p.Classify(image)
		if err != nil {
			panic(err)
		}
		return classes
	}
	trained := cnn(true)
	released, err := models.Release(trained)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range released.Learnables {
		fmt.Println(l.Name(), l.Shape())
	}
	fmt.Println(checkpoint.Export(path, released))
	loaded := cnn(false)
	fmt.Println(checkpoint.Import(path, loaded, checkpoint.ImportOptions{}))
	fmt.Println(fmt.Sprint(class(trained.Net)) == fmt.Sprint(class(loaded.Net)))
	// Output:
	// conv1.weight (4, 1, 3, 3)
	// conv1.bias (1, 4, 1, 1)
	// fc.weight (64, 3)
	// fc.bias (1, 3)
	// <nil>
	// <nil>
	// true
}
