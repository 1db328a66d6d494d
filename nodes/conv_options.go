// SPDX-License-Identifier: Apache-2.0

package nodes

import "slices"

// ConvOption is an option of Conv2dWith and ConvTranspose2d.
type ConvOption func(*convOptions)

type convOptions struct {
	groups   int
	padding  [2]int // of the output
	circular bool
}

func optionsOf(name string, opts []ConvOption) (convOptions, error) {
	o := convOptions{groups: 1}
	err := setOptions(name, &o, opts)
	return o, err
}

// Groups divides channels and filters into n groups of neighbours: the filters of a group see only the
// channels of the same group. With n = C it is a depthwise convolution. The shape of w is (O, C/n, KH, KW) for Conv2dWith and (C, O/n, KH, KW) for
// ConvTranspose2d, as in PyTorch. n must divide C and O.
func Groups(n int) ConvOption {
	return func(o *convOptions) { o.groups = n }
}

// GroupsOf returns the number of groups that the options set, or 1 if they set none. It ignores nil options, which are errors of the node.
func GroupsOf(opts ...ConvOption) int {
	o, _ := optionsOf("nodes.GroupsOf", slices.DeleteFunc(slices.Clone(opts), func(o ConvOption) bool { return o == nil }))
	return o.groups
}

// Circular pads images with their own pixels, as if they were repeated in all directions: pixel i of H rows
// is pixel i mod H, in place of 0 where it lies outside of the image. The padding may be larger than the
// image. It corresponds to PyTorch's padding_mode="circular".
//
// With dilation*(kernel-1) rows of padding in all and a stride that divides the number of rows, and the same for columns, a
// circular convolution is a convolution on a torus: it commutes with shifts of the image by multiples of
// the strides, and the discrete Fourier transform turns it into a product for each frequency (Sedghi, Gupta and Long 2019).
//
// A circular ConvTranspose2d is the adjoint of the circular Conv2d of the same arguments: what lies outside of the
// result is added to the pixels that it repeats.
func Circular() ConvOption {
	return func(o *convOptions) { o.circular = true }
}

// OutputPadding adds rows at the bottom and columns at the right to the result of ConvTranspose2d. A convolution with
// strides maps images of several sizes to one size; OutputPadding says which of these sizes the result has. Each
// number must be less than the stride or the dilation in its direction. It is an error in Conv2dWith.
func OutputPadding(rows, columns int) ConvOption {
	return func(o *convOptions) { o.padding = [2]int{rows, columns} }
}
