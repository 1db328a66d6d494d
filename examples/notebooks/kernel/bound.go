// SPDX-License-Identifier: Apache-2.0

//go:build bound

// The packages that a notebook can import beside the standard library. This file is never compiled: the
// builder reads it, and go mod tidy keeps their modules in go.mod because of it.
package main

import (
	_ "math/rand/v2" // gomacro knows the rest of the standard library

	_ "gonum.org/v1/gonum/floats"
	_ "gonum.org/v1/gonum/mat"
	_ "gonum.org/v1/gonum/stat"
	_ "gonum.org/v1/plot"
	_ "gonum.org/v1/plot/palette"
	_ "gonum.org/v1/plot/palette/moreland"
	_ "gonum.org/v1/plot/plotter"
	_ "gonum.org/v1/plot/plotutil"
	_ "gonum.org/v1/plot/text"
	_ "gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgimg"

	_ "gorgonia.org/gorgonia"
	_ "gorgonia.org/tensor"

	_ "github.com/kernelfold/kernelfold/examples/notebooks/display"
	_ "github.com/kernelfold/kernelfold/examples/notebooks/figures"
	_ "github.com/kernelfold/kernelfold/examples/notebooks/whole"
	_ "github.com/kernelfold/kernelfold/manifolds"
	_ "github.com/kernelfold/kernelfold/manifolds/manifoldtest"
	_ "github.com/kernelfold/kernelfold/models"
	_ "github.com/kernelfold/kernelfold/models/checkpoint"
	_ "github.com/kernelfold/kernelfold/models/images"
	_ "github.com/kernelfold/kernelfold/models/onnx"
	_ "github.com/kernelfold/kernelfold/models/safetensors"
	_ "github.com/kernelfold/kernelfold/models/train"
	_ "github.com/kernelfold/kernelfold/models/train/tensorboard"
	_ "github.com/kernelfold/kernelfold/nodes"
	_ "github.com/kernelfold/kernelfold/nodes/nodetest"
	_ "github.com/kernelfold/kernelfold/solvers"
)
