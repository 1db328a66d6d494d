// SPDX-License-Identifier: Apache-2.0

// Package nodetest tests whether an operation of a Gorgonia graph is correct on the tape machine.
//
// Run compares a node with a reference function, in a test. Check does the same in a program or a
// notebook and returns an error.
//
//	func TestDouble(t *testing.T) {
//		nodetest.Run(t, nodetest.Case{
//			Build:  func(in []*gorgonia.Node) (*gorgonia.Node, error) { return Double(in[0]) },
//			Inputs: []nodetest.Input{{Shape: []int{2, 3}}},
//			Value: func(in [][]float64) []float64 {
//				y := make([]float64, len(in[0]))
//				for i, x := range in[0] {
//					y[i] = 2 * x
//				}
//				return y
//			},
//		})
//	}
//
// Each property is a subtest of Run:
//
//	value        the value of the node is that of Value, in float64
//	gradient     J'c, for a random c, is the central difference of <c, y> for every input
//	precision    value and gradients in float32 are those in float64, rounded
//	inputs       no input is written to
//	determinism  two graphs give the same bits
//	repetition   a machine that has run on other inputs gives the same bits
//	in place     ops that write into the value of the node change neither the result nor a gradient
//	hash         every field of the op and of its gradients is in their hash
//	variants     nodes that differ in an argument are not merged
//
// # Tolerances
//
// Let s be the largest magnitude of the numbers compared or 1, whichever is larger, n the number of
// elements of the largest input or output, and eps the distance from 1 to the next number of the
// precision. Values and gradients may differ by 64 sqrt(n) eps s, because sums of n rounded numbers
// do. Central differences with step h = 2^-17, whose error is of the order of h^2 + eps/h, may
// differ by 1e-7 s. Condition multiplies all tolerances.
package nodetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"gorgonia.org/gorgonia"
)

// Build adds a node to the graph of its inputs. It is called many times, for graphs of either
// precision, and must start from the same state every time.
type Build func(in []*gorgonia.Node) (*gorgonia.Node, error)

// Input is a leaf of the graph.
type Input struct {
	Shape []int     // empty for a scalar
	Data  []float64 // row-major; if nil, independent standard normal numbers
	// Constant says that there is no gradient with respect to this input.
	Constant bool
}

// Case describes a node to be tested, its inputs and its properties.
type Case struct {
	Build  Build
	Inputs []Input
	// Value is the reference function. It computes the value of the node from its inputs, all in
	// row-major order. If it is nil, the property "value" is not checked.
	Value func(in [][]float64) []float64
	// Variants are nodes with the same inputs. Each must compute something other than Build and all
	// other variants.
	Variants []Build
	// Eval runs machines in evaluation mode.
	Eval bool
	// Varies says that the value changes from run to run of one machine, as with dropout. The
	// property "repetition" is then not checked.
	Varies bool
	// Condition is a factor for all tolerances, by default 1. Set it for nodes that amplify rounding
	// errors or have large third derivatives.
	Condition float64
	// Unhashed names fields of the op that need not be part of the hash, because they are memory and
	// not parameters.
	Unhashed []string
}

// property is one of the checks of the package comment.
type property struct {
	name    string
	applies func(c *Case) bool
	check   func(c *Case) error
}

var properties = []property{
	{"value", func(c *Case) bool { return c.Value != nil }, (*Case).value},
	{"gradient", (*Case).differentiable, (*Case).gradient},
	{"precision", always, (*Case).precision},
	{"inputs", always, (*Case).unwritten},
	{"determinism", always, (*Case).determinism},
	{"repetition", func(c *Case) bool { return !c.Varies }, (*Case).repetition},
	{"in place", always, (*Case).inPlace},
	{"hash", always, (*Case).hash},
	{"variants", func(c *Case) bool { return len(c.Variants) > 0 }, (*Case).variants},
}

func always(*Case) bool { return true }

// Run checks a node in a test.
func Run(t *testing.T, c Case) {
	t.Helper()
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, p := range properties {
		if !p.applies(&c) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			if err := p.check(&c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Failure is a property that a node does not have.
type Failure struct {
	Property string // as in the package comment
	Err      error
}

func (f *Failure) Error() string { return "nodetest: " + f.Property + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Check checks a node. It returns nil if the node has all properties, and otherwise one *Failure
// for each property that it lacks, joined by errors.Join.
func Check(c Case) error {
	if err := c.prepare(); err != nil {
		return err
	}
	var errs []error
	for _, p := range properties {
		if !p.applies(&c) {
			continue
		}
		if err := p.check(&c); err != nil {
			errs = append(errs, &Failure{Property: p.name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// prepare checks the case and sets missing values, on a copy of the inputs. It also runs the node
// once: a panic in the goroutine of a machine would end the process, here it becomes an error.
func (c *Case) prepare() error {
	if c.Build == nil || len(c.Inputs) == 0 {
		return errors.New("nodetest: want a case with Build and at least one input")
	}
	if c.Condition == 0 {
		c.Condition = 1
	}
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := append([]Input{}, c.Inputs...)
	for i := range inputs {
		in := &inputs[i]
		n := size(in.Shape)
		if in.Data == nil {
			in.Data = normal(rng, n)
		}
		if len(in.Data) != n {
			return fmt.Errorf("nodetest: input %d: want %d numbers for shape %v, got %d", i, n, in.Shape, len(in.Data))
		}
		// Use numbers that float32 holds exactly, so that both precisions get the same input.
		in.Data = append([]float64{}, in.Data...)
		for j, x := range in.Data {
			in.Data[j] = float64(float32(x))
		}
	}
	c.Inputs = inputs
	for _, of := range precisions {
		if err := c.tryout(of); err != nil {
			return fmt.Errorf("nodetest: %v: %w", of, err)
		}
	}
	return nil
}

func (c *Case) differentiable() bool {
	for _, in := range c.Inputs {
		if !in.Constant {
			return true
		}
	}
	return false
}

func (c *Case) data() [][]float64 {
	data := make([][]float64, len(c.Inputs))
	for i, in := range c.Inputs {
		data[i] = in.Data
	}
	return data
}

func normal(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = float64(float32(rng.NormFloat64()))
	}
	return x
}

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
