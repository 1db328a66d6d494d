// SPDX-License-Identifier: Apache-2.0

package nodes

// axis is a convolution along rows or along columns: element i of the result sees
// the elements i*stride + k*dilation - pad, k from 0 to kernel-1.
type axis struct{ size, kernel, stride, dilation, pad, out int }

// tap returns where tap k is in the padded image: element shift of a phase, which
// is every stride-th element, so that the taps of neighbours are neighbours.
func (a axis) tap(k int) (phase, shift int) {
	return k * a.dilation % a.stride, k * a.dilation / a.stride
}

// phases lists the phases that taps meet.
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

// last is the shift of the last tap.
func (a axis) last() int {
	_, shift := a.tap(a.kernel - 1)
	return shift
}

// phase is what taps in phase p may read of an image.
func (a axis) phase(p int) comb {
	return comb{at: p - a.pad, step: a.stride, n: a.out + a.last(), size: a.size}
}

// window is all that taps may read of an image.
func (a axis) window() comb {
	return comb{at: -a.pad, step: 1, n: (a.out-1)*a.stride + (a.kernel-1)*a.dilation + 1, size: a.size}
}

// result is what the elements of the image see of the result, each from pad/stride -
// last to (pad+size-1)/stride.
func (a axis) result() comb {
	at := a.pad/a.stride - a.last()
	return comb{at: at, step: 1, n: (a.pad+a.size-1)/a.stride + 1 - at, size: a.out}
}

// elements returns those of the image that are in phase p, and the shift of the
// first.
func (a axis) elements(p int) (c comb, shift int) {
	shift = (a.pad - p + a.stride - 1) / a.stride
	at := shift*a.stride + p - a.pad
	return comb{at: at, step: a.stride, n: max(0, (a.size-at+a.stride-1)/a.stride), size: a.size}, shift
}

// comb is every step-th of size elements: the u-th of n is u*step + at, which may
// be outside.
type comb struct{ at, step, n, size int }

// inside returns the range of u that is not outside.
func (c comb) inside() (from, to int) {
	from = min(c.n, max(0, (c.step-1-c.at)/c.step))
	return from, min(c.n, max(from, (c.size-c.at+c.step-1)/c.step))
}

func (c comb) whole() bool { return c.at == 0 && c.step == 1 && c.n == c.size }
