// SPDX-License-Identifier: Apache-2.0

package nodes

// axis is the geometry of a convolution along rows or columns: element i of the result depends on the
// elements i*stride + k*dilation - pad of the image, for k from 0 to kernel-1. pad and after are the
// padding before and after the image. The padding is zeros or, in a circular axis, repeats the image.
type axis struct {
	size, kernel, stride, dilation, pad, after, out int
	circular                                        bool
}

// periodic reports whether the result, repeated, is that of the repeated image.
func (a axis) periodic() bool { return a.circular && a.out*a.stride == a.size }

// folds reports whether the gradient with respect to the image has to be computed for the padded image, with
// its margins added to the pixels that they repeat. Otherwise it is a convolution of the gradient with
// respect to the result, which in a periodic axis is repeated too.
func (a axis) folds() bool { return a.circular && !a.periodic() }

// unrolled returns the axis for images that are padded already.
func (a axis) unrolled() axis {
	a.size, a.pad, a.after, a.circular = a.size+a.pad+a.after, 0, 0, false
	return a
}

// tap returns the position of tap k in the padded image. The image is divided into phases, each of
// which has every stride-th element, so that neighbouring results read neighbouring elements of a
// phase. tap returns the phase and the index in it.
func (a axis) tap(k int) (phase, shift int) {
	return k * a.dilation % a.stride, k * a.dilation / a.stride
}

// phases lists the phases that contain taps.
func (a axis) phases() []int {
	var all []int
	for p := range a.stride {
		for k := range a.kernel {
			if phase, _ := a.tap(k); phase == p {
				all = append(all, p)
				break
			}
		}
	}
	return all
}

// last returns the shift of the last tap.
func (a axis) last() int {
	_, shift := a.tap(a.kernel - 1)
	return shift
}

// phase returns the elements of an image that taps in phase p read.
func (a axis) phase(p int) comb {
	return comb{at: p - a.pad, step: a.stride, n: a.out + a.last(), size: a.size, circular: a.circular}
}

// window returns all elements of an image that taps read.
func (a axis) window() comb {
	return comb{at: -a.pad, step: 1, n: (a.out-1)*a.stride + (a.kernel-1)*a.dilation + 1, size: a.size, circular: a.circular}
}

// result returns the elements of the result that depend on the image, from pad/stride - last to
// (pad+size-1)/stride. Some may lie outside the result.
func (a axis) result() comb {
	at := a.pad/a.stride - a.last()
	return comb{at: at, step: 1, n: (a.pad+a.size-1)/a.stride + 1 - at, size: a.out, circular: a.periodic()}
}

// elements returns the elements of the image in phase p, and the shift of the first.
func (a axis) elements(p int) (c comb, shift int) {
	shift = (a.pad - p + a.stride - 1) / a.stride
	at := shift*a.stride + p - a.pad
	return comb{at: at, step: a.stride, n: max(0, (a.size-at+a.stride-1)/a.stride), size: a.size}, shift
}

// comb selects every step-th of size elements, n in all. Element u of the comb is element u*step +
// at, which may lie outside of 0..size-1. There the elements of a circular comb repeat.
type comb struct {
	at, step, n, size int
	circular          bool
}

// element returns the number of element u of a circular comb, and of one inside of others.
func (c comb) element(u int) int {
	e := c.at + u*c.step
	if c.circular {
		e = modulo(e, c.size)
	}
	return e
}

// modulo returns the number from 0 to n-1 that differs from i by a multiple of n.
func modulo(i, n int) int {
	switch { // a division takes long
	case i >= 0 && i < n:
		return i
	case i < 0 && i >= -n:
		return i + n
	case i >= n && i < 2*n:
		return i - n
	}
	return (i%n + n) % n
}

// inside returns the range of u whose elements lie inside of 0..size-1.
func (c comb) inside() (from, to int) {
	from = min(c.n, max(0, (c.step-1-c.at)/c.step))
	return from, min(c.n, max(from, (c.size-c.at+c.step-1)/c.step))
}

// whole reports whether the comb has all elements in their order.
func (c comb) whole() bool { return c.at == 0 && c.step == 1 && c.n == c.size }
