// SPDX-License-Identifier: Apache-2.0

package roles

import "gorgonia.org/gorgonia"

// Normalised returns the scales of the batch normalisations of the results of convolutions with the
// kernel w, and whether nothing else uses these results. It knows the batch normalisation of package
// nodes, whose inputs are x, scale and bias, and follows w through no other operation.
func (g *Graph) Normalised(w *gorgonia.Node) (scales []*gorgonia.Node, only bool) {
	for _, conv := range g.consumers[w] {
		if g.backward(conv) || ignored[typeName(conv.Op())] {
			continue
		}
		if f := filterInput(conv.Op()); f < 0 || g.inputs(conv)[f] != w {
			return nil, false
		}
		for _, n := range g.consumers[conv] {
			if g.backward(n) || ignored[typeName(n.Op())] {
				continue
			}
			in := g.inputs(n)
			if opName(n.Op()) != "BatchNorm" || len(in) < 3 || in[0] != conv || len(in) > 3 && in[3] == conv {
				return nil, false
			}
			scales = append(scales, in[1])
		}
	}
	return scales, len(scales) > 0
}
