// SPDX-License-Identifier: Apache-2.0

package models

import (
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/nodes"
)

// Lipschitz returns an upper bound of the Lipschitz constant of a net with one output, in evaluation and in the Euclidean norm, and those of its
// layers: see nodes.Lipschitz. The bounds are for the current weights and statistics.
//
// A node without a known bound is an error that wraps nodes.ErrNoBound and names the node.
func Lipschitz(t Trainable, opts ...nodes.BoundOption) (*nodes.Bounds, error) {
	n, err := made(t)
	if err != nil {
		return nil, err
	}
	w, err := n.widened(1)
	if err != nil {
		return nil, err
	}
	return w.lipschitz(opts)
}

// wide is a graph of a net in float64, in evaluation, with copies of its weights.
type wide struct {
	output *gorgonia.Node
	inputs gorgonia.Nodes
}

// widened makes a graph in float64 for a batch, or for that of the net if the definition makes none of the given size.
func (n *Net) widened(batch int) (*wide, error) {
	if len(n.Outputs) != 1 || len(n.Inputs) == 0 {
		return nil, fmt.Errorf("models: want a net with inputs and one output, got the inputs %v and the outputs %v", namesOf(n.Inputs), namesOf(n.Outputs))
	}
	a, err := n.another(batch)
	if undefined := (errUndefined{}); errors.As(err, &undefined) && batch != n.batch {
		return n.widened(n.batch)
	}
	if err != nil {
		return nil, err
	}
	if err := n.lend(a); err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	for x := range reach(a.Outputs...) {
		if o, ok := x.Op().(gorgonia.TrainModeOp); ok {
			if err := o.SetTraining(false); err != nil {
				return nil, fmt.Errorf("models: %v: %w", x, err)
			}
		}
	}
	w := &wide{}
	outputs, err := nodes.Widen(a.Outputs...)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	w.output = outputs[0]
	leaves := byName(w.output.Graph().Inputs())
	for _, x := range a.Inputs {
		if leaf := leaves[x.Name()]; leaf != nil { // the output may not depend on it
			w.inputs = append(w.inputs, leaf)
		}
	}
	return w, nil
}

func (w *wide) lipschitz(opts []nodes.BoundOption) (*nodes.Bounds, error) {
	b, err := nodes.Lipschitz(w.output, w.inputs, opts...)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	return b, nil
}

// Certificate states how much an image can change before a net may classify it differently.
type Certificate struct {
	// Class has the largest logit.
	Class int
	// Radius is the certified radius: all images at a Euclidean distance of less than Radius from the image, in the numbers that the net takes, have
	// the same class. It is 0 if nothing is certified.
	Radius float64
}

// Certify returns a certificate for each of any number of images, for a net with one input and one output of at least two classes:
//
//	Radius = min_j (z_i - z_j - 2ρ) / L_ij,
//
// where i is the class of the largest logit z_i, L_ij an upper bound of the Lipschitz constant of z_i - z_j (nodes.Bounds.Pair) and ρ one of the rounding
// errors of the logits (Tsuzuku, Sato and Sugiyama 2018; for the last layer, Singla, Singla and Feizi 2022).
//
// Logits and bounds are computed in float64, from the weights as they are, whatever the precision of the net. The certificate is therefore about the
// net in exact arithmetic, and holds for a float64 evaluation of any image whose margin exceeds its rounding errors. Classify rounds to the precision
// of the net. It may differ for an image in the ball only if two logits differ by no more than their rounding errors: see docs/certificates.md.
//
// Each call computes the bounds of the net again, so pass all images at once. Errors are those of Lipschitz and of Logits.
func (p *Predictor) Certify(images []float32, opts ...nodes.BoundOption) ([]Certificate, error) {
	count, size, err := p.count(images)
	if err != nil {
		return nil, err
	}
	w, err := p.net.widened(min(count, p.net.batch))
	if err != nil {
		return nil, err
	}
	if s := w.output.Shape(); len(s) != 2 || s[1] < 2 {
		return nil, fmt.Errorf("models: want an output of shape (batch, classes) with at least 2 classes, got %v", s)
	}
	bounds, err := w.lipschitz(opts)
	if err != nil {
		return nil, err
	}
	logits, err := w.run(images)
	if err != nil {
		return nil, err
	}
	classes := w.output.Shape()[1]
	pairs := make([][]float64, classes) // of the classes that images have
	certificates := make([]Certificate, count)
	for k := range certificates {
		z := logits[k*classes : (k+1)*classes]
		if j, v := dense.NotFinite(z); j >= 0 {
			return nil, fmt.Errorf("models: logit of class %d of image %d: want a finite number, got %v: %w", j, k, v, nodes.ErrNotFinite)
		}
		i := largest(z)
		if pairs[i] == nil {
			pairs[i] = make([]float64, classes)
			for j := range pairs[i] {
				pairs[i][j] = bounds.Pair(i, j)
			}
		}
		ρ := bounds.Rounding(vec.Norm(images[k*size:(k+1)*size]) * (1 + 1e-12))
		radius := math.Inf(1)
		for j := range z {
			if j != i {
				radius = min(radius, (z[i]-z[j]-2*ρ)/pairs[i][j]*(1-1e-15))
			}
		}
		if !(radius > 0) {
			radius = 0
		}
		certificates[k] = Certificate{i, radius}
	}
	return certificates, nil
}

// run returns the output for images.
func (w *wide) run(images []float32) ([]float64, error) {
	g := w.output.Graph()
	x := w.inputs[0]
	in := make([]float64, x.Shape().TotalSize())
	if err := gorgonia.Let(x, tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.WithBacking(in))); err != nil {
		return nil, fmt.Errorf("models: %s: %w", x.Name(), err)
	}
	var value gorgonia.Value
	gorgonia.Read(w.output, &value)
	if err := nodes.CheckGraph(g); err != nil {
		return nil, err
	}
	var vm gorgonia.VM
	err := making("machine", func() error {
		vm = gorgonia.NewTapeMachine(g, gorgonia.EvalMode())
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer vm.Close()
	var logits []float64
	size, classes := len(in)/x.Shape()[0], w.output.Shape()[1]
	for from := 0; from < len(images); from += len(in) {
		some := images[from:min(from+len(in), len(images))]
		for i := range in { // the last images fill the batch up
			in[i] = float64(some[i%len(some)])
		}
		if err := nodes.Cause(vm.RunAll()); err != nil {
			return nil, fmt.Errorf("models: certify: %w", err)
		}
		out, err := dense.Of(value)
		if err != nil {
			return nil, fmt.Errorf("models: certify: %w", err)
		}
		logits = append(logits, out.F64[:len(some)/size*classes]...)
		vm.Reset()
	}
	return logits, nil
}

// CertifiedAccuracy returns, for each radius, the share of images of which it is certain that all images at a distance of up to the radius
// have the class of the label: those with that class and a Certificate of a larger radius. For a radius of 0 it is the accuracy.
func (p *Predictor) CertifiedAccuracy(images []float32, labels []int, radii []float64, opts ...nodes.BoundOption) ([]float64, error) {
	certificates, err := p.Certify(images, opts...)
	if err != nil {
		return nil, err
	}
	if len(labels) != len(certificates) {
		return nil, fmt.Errorf("models: want %d labels, got %d", len(certificates), len(labels))
	}
	shares := make([]float64, len(radii))
	for k, r := range radii {
		if !(r >= 0) {
			return nil, fmt.Errorf("models: radius %d: want a number of at least 0, got %v", k, r)
		}
		for i, c := range certificates {
			if c.Class == labels[i] && c.Radius > r {
				shares[k]++
			}
		}
		shares[k] /= float64(len(labels))
	}
	return shares, nil
}
