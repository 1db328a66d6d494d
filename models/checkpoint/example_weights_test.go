// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
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
