// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"

	"gorgonia.org/gorgonia"
)

// Operation describes what a node of this package computes, for programs that translate graphs, as models/onnx does. Fields that do not apply to
// the operation are zero.
type Operation struct {
	// Name is that of the function, such as "Conv2d".
	Name string
	// Kernel, Stride and Dilation are those of convolutions and poolings, for rows and columns.
	Kernel, Stride, Dilation [2]int
	// Pad is the padding at top, bottom, left and right that windows reach. At the bottom and right it is smaller than
	// the argument of the function if the last window ends earlier, and larger if sizes are rounded up.
	Pad [4]int
	// OutputPadding and Circular are those of convolutions, Groups is that of convolutions, GroupNorm and AOL.
	OutputPadding [2]int
	Groups        int
	Circular      bool
	// Epsilon is that of normalisations, and Statistics are those of batch normalisations.
	Epsilon    float64
	Statistics *Statistics
	// Plus says that the last input of a batch normalisation is added, Rectified that the result is rectified.
	Plus, Rectified bool
	// Top is the bound of a rectifier, or 0 for none.
	Top float64
	// Before and After are the channels of zeros of Shortcut.
	Before, After int
	// Survival is the probability of StochasticDepth.
	Survival float64
}

// OperationOf returns the operation of a node, and false if it is not one of this package or one that Fuse has made.
func OperationOf(n *gorgonia.Node) (Operation, bool) {
	o := operation(n)
	if o == nil {
		return Operation{}, false
	}
	p := Operation{Name: strings.TrimPrefix(o.name, "nodes.")}
	switch b := o.f64.(type) {
	case fused[float64]:
		return Operation{}, false
	case conv[float64]:
		p.convolution(b.convPlan)
		for i, a := range [2]axis{b.rows, b.cols} {
			p.Pad[2*i+1] = max(0, (a.out-1)*a.stride+a.dilation*(a.kernel-1)+1-a.pad-a.size)
		}
	case transposed[float64]:
		c := b.of.(conv[float64]).convPlan
		p.convolution(c)
		for i, a := range [2]axis{c.rows, c.cols} {
			p.Pad[2*i+1] = a.after
			p.OutputPadding[i] = a.size - ((a.out-1)*a.stride + a.dilation*(a.kernel-1) + 1 - a.pad - a.after)
		}
	case maxPool[float64]:
		p.pooling(b.window)
	case averagePool[float64]:
		p.pooling(b.window)
	case normPool[float64]:
		p.pooling(b.window)
	case rectify[float64]:
		p.Top = b.top
	case batchNorm[float64]:
		p.Epsilon, p.Statistics, p.Rectified, p.Top, p.Plus = b.epsilon, b.statistics, b.rectified, b.top, len(o.in) > 3
	case groupNorm[float64]:
		p.Epsilon, p.Groups = b.epsilon, b.groups
	case rescale[float64]:
		if !b.byFilter {
			p.Groups = b.groups
		}
	case shortcut[float64]:
		p.Before, p.After, p.Stride = b.before, b.to-b.from-b.before, [2]int{b.stride, b.stride}
	case stochasticDepth[float64]:
		p.Survival = b.survival
	}
	return p, true
}

func (p *Operation) convolution(c *convPlan) {
	p.Groups = c.groups
	for i, a := range [2]axis{c.rows, c.cols} {
		p.Kernel[i], p.Stride[i], p.Dilation[i], p.Pad[2*i] = a.kernel, a.stride, a.dilation, a.pad
		p.Circular = p.Circular || a.circular
	}
}

func (p *Operation) pooling(w window) {
	p.Kernel, p.Stride, p.Dilation = w.kernel, w.stride, [2]int{1, 1}
	p.Pad = [4]int{w.top, max(0, (w.rows-1)*w.stride[0]+w.kernel[0]-w.top-w.height), w.left, max(0, (w.columns-1)*w.stride[1]+w.kernel[1]-w.left-w.width)}
}
