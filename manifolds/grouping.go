// SPDX-License-Identifier: Apache-2.0

package manifolds

import "fmt"

// Grouping says how the weights of a layer, of shape (D, C, A, B) = (output
// channels, input channels, kernel height, kernel width), are cut into points.
// A matrix of shape (in, out), the weights of a fully connected layer in
// Gorgonia's x W convention, is cut as D = out, C = in, A = B = 1.
//
//	grouping         points in a layer  one point
//	PerSlice         D*C                A x B, the slice w[d,c]
//	PerFilter        D                  C x A*B
//	PerInputChannel  C                  D x A*B
//	PerTap           A*B                D x C, one spatial position
//	FilterBank       1                  D x C*A*B, a row for each filter
//	PerWeight        D*C*A*B            1 x 1
//
// The kernels of a convolution in G groups have the shape (D, C/G, A, B), and the filters 0, ..., D/G-1
// see other inputs than the next D/G. With Groups(G) each group is cut by itself:
//
//	grouping         points in a layer  one point
//	PerSlice         D*C/G              A x B
//	PerFilter        D                  C/G x A*B
//	PerInputChannel  C                  D/G x A*B
//	PerTap           G*A*B              D/G x C/G
//	FilterBank       G                  D/G x C/G*A*B
//	PerWeight        D*C/G*A*B          1 x 1
//
// A depthwise convolution has as many groups as input channels.
//
// The kernels of a transposed convolution have the shape (C, D/G, A, B). With Transposed the points
// are the same: a filter consists of the weights of one output channel, and has its row in the bank.
// Points are numbered in the order of the table, group by group; slices and weights lie in the order in which they
// are stored.
//
// A solver asks the graph for the number of groups, and whether the convolution is transposed, unless Groups
// or Transposed say so.
//
// The zero value, Default, stands for the grouping that the manifold prefers. A Grouping is an
// Option of On.
type Grouping uint32

// The groupings.
const (
	Default Grouping = iota
	PerSlice
	PerFilter
	PerInputChannel
	PerTap
	FilterBank
	PerWeight
)

// PerKernel is PerSlice: the papers of Ozay and Okatani call a slice a kernel. In this library a kernel is the whole weight of a convolution, with
// four axes.
//
// Deprecated: say PerSlice.
const PerKernel = PerSlice

var groupingNames = [...]string{"default", "per slice", "per filter", "per input channel", "per tap", "filter bank", "per weight"}

// The lowest bits of a Grouping hold its kind. The next bit is set for kernels of a transposed convolution,
// and the remaining bits hold the number of groups, or 0 if Groups was not called.
const (
	transposed  = 1 << (groupsShift - 1)
	groupsShift = 8
	kindMask    = transposed - 1
	badGroups   = 1<<(32-groupsShift) - 1 // stands for numbers that are not positive, or too large
)

// Groups returns g for the kernels of a convolution in n groups:
//
//	solvers.Kernels(manifolds.Stiefel{}, manifolds.FilterBank.Groups(8))
//
// Cutting weights whose filters n does not divide is an error. Groups(1) is one group whatever the convolution.
func (g Grouping) Groups(n int) Grouping {
	if n < 1 || n > badGroups {
		n = badGroups
	}
	return g&(1<<groupsShift-1) | Grouping(n)<<groupsShift
}

// Transposed returns g for the kernels of a transposed convolution, of shape (C, D/groups, A, B):
//
//	manifolds.FilterBank.Transposed().Groups(8)
func (g Grouping) Transposed() Grouping {
	g |= transposed
	if g>>groupsShift == 0 {
		g = g.Groups(1)
	}
	return g
}

// Of returns g for the kernels of a convolution in the given number of groups. If g is PerWeight, or if Groups or
// Transposed has already been called, Of returns g.
func (g Grouping) Of(groups int, transpose bool) Grouping {
	switch {
	case g>>groupsShift != 0 || g.kind() == PerWeight:
		return g
	case transpose:
		return g.Transposed().Groups(groups)
	case groups != 1:
		return g.Groups(groups)
	}
	return g
}

// kind is g without its convolution.
func (g Grouping) kind() Grouping { return g & kindMask }

// isTransposed reports whether kernels are those of a transposed convolution.
func (g Grouping) isTransposed() bool { return g&transposed != 0 }

// groups is the number of groups.
func (g Grouping) groups() int { return max(1, int(g>>groupsShift)) }

// filters returns the number of output channels of a layer.
func (g Grouping) filters(shape []int) int {
	switch {
	case len(shape) == 0: // a single weight
		return 1
	case len(shape) == 2:
		return shape[1]
	case g.isTransposed():
		return shape[1] * g.groups()
	}
	return shape[0]
}

// String returns the name of the grouping as reports print it.
func (g Grouping) String() string {
	name := fmt.Sprintf("Grouping(%d)", uint8(g.kind()))
	if k := int(g.kind()); k < len(groupingNames) {
		name = groupingNames[k]
	}
	if g.isTransposed() {
		name += ", transposed"
	}
	if g.groups() > 1 {
		name = fmt.Sprintf("%s, %d groups", name, g.groups())
	}
	return name
}

// Grouper is implemented by a manifold that prefers a grouping, or treats rows and columns
// differently. A manifold that is not a Grouper prefers PerFilter.
type Grouper interface {
	// For returns the manifold to use for points cut by g, and the grouping: g itself or, if g
	// is Default, the one that the manifold prefers. The manifold must have the type that For
	// is called on, so a type that embeds another manifold needs a For of its own:
	// Constraint.Bind refuses the promoted one.
	For(g Grouping) (Manifold, Grouping)
}

// or returns g, or preferred if g is Default.
func (g Grouping) or(preferred Grouping) Grouping {
	if g.kind() == Default {
		return preferred.kind() | g&^kindMask
	}
	return g
}
