// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/kernelfold/kernelfold/internal/_gen/neon"

// writeNEON writes the assembly for arm64. All kernels process a whole number of vectors.
func writeNEON() {
	f := neon.New("vec")
	for _, bits := range neon.Machines() {
		dotNEON(f, bits)
		sumNEON(f, bits)
		dotShiftNEON(f, bits)
		squareShiftNEON(f, bits)
		maxAbsNEON(f, bits)
		affineNEON(f, bits)
		affine2NEON(f, bits)
		rectifyNEON(f, bits)
		rectifyBackNEON(f, bits)
		rectifyToNEON(f, bits)
		tapsNEON(f, bits)
		maxPairsNEON(f, bits)
		maxPairsBackNEON(f, bits)
		evensNEON(f, bits)
		spreadNEON(f, bits)
	}
	f.Write("../../vec/kernels_arm64.s", "../../vec/stubs_arm64.go")
}

// eachVector runs the body for four vectors at a time and then for single vectors; disp is the offset in
// bytes. It then advances the pointers.
func eachVector(m neon.Machine, n neon.Int, pointers []neon.Int, body func(disp int)) {
	for _, u := range []int{4, 1} {
		m.Loop(map[int]string{4: "four", 1: "one"}[u], n, u*m.Lanes(), func() {
			for i := range u {
				m.Scope(func() { body(i * neon.Bytes) })
			}
			m.Advance(u*neon.Bytes, pointers...)
		})
	}
}

// load64NEON returns the elements at an address as vectors of float64.
func load64NEON(m neon.Machine, from string) []neon.Vec {
	v := m.Vec()
	m.Load(from, v)
	if m.Bits == 64 {
		return []neon.Vec{v}
	}
	low := m.Vec()
	m.WidenLow(v, low)
	m.WidenHigh(v, v)
	return []neon.Vec{low, v}
}

// sumsNEON runs the body, which adds to count sums of two elements of float64, in an own set of sums
// for each of four vectors of float64. It leaves the sums in the first elements of the result.
func sumsNEON(m neon.Machine, count int, pointers []neon.Int, body func(disp int, sum func(half, i int) neon.Vec)) []neon.Vec {
	halves := 64 / m.Bits
	together := 4 / halves
	n := m.Argument("n")
	all := m.Zeros(4 * count)
	for _, u := range []int{together, 1} {
		m.Loop(map[int]string{together: "many", 1: "one"}[u], n, u*m.Lanes(), func() {
			for k := range u {
				m.Scope(func() {
					body(k*neon.Bytes, func(half, i int) neon.Vec { return all[(k*halves+half)*count+i] })
				})
			}
			m.Advance(u*neon.Bytes, pointers...)
		})
	}
	d := m.Double()
	for i := range count {
		d.Add(all[count+i], all[i], all[i])
		d.Add(all[3*count+i], all[2*count+i], all[2*count+i])
		d.Add(all[2*count+i], all[i], all[i])
		d.AddPair(all[i], all[i], all[i])
	}
	return all[:count]
}

func dotNEON(f *neon.File, bits int) {
	m := f.Function(bits, "dot", "func(x, y *%[1]s, n int) float64", "returns the sum of x[i]*y[i].")
	x, y := m.Argument("x"), m.Argument("y")
	s := sumsNEON(m, 1, []neon.Int{x, y}, func(disp int, sum func(half, i int) neon.Vec) {
		a, b := load64NEON(m, neon.At(x, disp)), load64NEON(m, neon.At(y, disp))
		for h := range a {
			m.Double().FMA(a[h], b[h], sum(h, 0))
		}
	})
	m.Double().Result(s[0], "ret")
	m.Return()
}

func sumNEON(f *neon.File, bits int) {
	m := f.Function(bits, "sum", "func(x *%[1]s, n int) float64", "returns the sum of x[i].")
	x := m.Argument("x")
	s := sumsNEON(m, 1, []neon.Int{x}, func(disp int, sum func(half, i int) neon.Vec) {
		for h, a := range load64NEON(m, neon.At(x, disp)) {
			m.Double().Add(a, sum(h, 0), sum(h, 0))
		}
	})
	m.Double().Result(s[0], "ret")
	m.Return()
}

func dotShiftNEON(f *neon.File, bits int) {
	m := f.Function(bits, "dotShift", "func(x, y *%[1]s, n int, mean float64) (sum, dot float64)",
		"returns the sums of y[i] and of y[i]*(x[i]-mean).")
	d := m.Double()
	x, y, mean := m.Argument("x"), m.Argument("y"), d.Constant("mean")
	s := sumsNEON(m, 2, []neon.Int{x, y}, func(disp int, sum func(half, i int) neon.Vec) {
		a, b := load64NEON(m, neon.At(x, disp)), load64NEON(m, neon.At(y, disp))
		for h := range a {
			d.Sub(mean, a[h], a[h])
			d.Add(b[h], sum(h, 0), sum(h, 0))
			d.FMA(a[h], b[h], sum(h, 1))
		}
	})
	d.Result(s[0], "sum")
	d.Result(s[1], "dot")
	m.Return()
}

func squareShiftNEON(f *neon.File, bits int) {
	m := f.Function(bits, "squareShift", "func(x *%[1]s, n int, mean float64) float64", "returns the sum of (x[i]-mean)^2.")
	d := m.Double()
	x, mean := m.Argument("x"), d.Constant("mean")
	s := sumsNEON(m, 1, []neon.Int{x}, func(disp int, sum func(half, i int) neon.Vec) {
		for h, a := range load64NEON(m, neon.At(x, disp)) {
			d.Sub(mean, a, a)
			d.FMA(a, a, sum(h, 0))
		}
	})
	d.Result(s[0], "ret")
	m.Return()
}

func maxAbsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "maxAbs", "func(x *%[1]s, n int) %[1]s", "returns the largest |x[i]|, or NaN if any x[i] is NaN.")
	x, n, top := m.Argument("x"), m.Argument("n"), m.Zeros(1)[0]
	eachVector(m, n, []neon.Int{x}, func(disp int) {
		v := m.Vec()
		m.Load(neon.At(x, disp), v)
		m.Abs(v, v)
		m.Max(v, top, top)
	})
	for lanes := m.Lanes(); lanes > 1; lanes /= 2 {
		m.MaxPair(top, top, top)
	}
	m.Result(top, "ret")
	m.Return()
}

func affineNEON(f *neon.File, bits int) {
	m := f.Function(bits, "affine", "func(dst, x *%[1]s, n int, a, b %[1]s)", "sets dst[i] to a x[i] + b, rounded twice.")
	dst, x, n, a, b := m.Argument("dst"), m.Argument("x"), m.Argument("n"), m.Constant("a"), m.Constant("b")
	eachVector(m, n, []neon.Int{dst, x}, func(disp int) {
		v := m.Vec()
		m.Load(neon.At(x, disp), v)
		m.Mul(a, v, v)
		m.Add(b, v, v)
		m.Store(v, neon.At(dst, disp))
	})
	m.Return()
}

func affine2NEON(f *neon.File, bits int) {
	m := f.Function(bits, "affine2", "func(dst, x, y *%[1]s, n int, a, b, c %[1]s)", "sets dst[i] to a x[i] + b y[i] + c, with each product rounded.")
	dst, x, y, n := m.Argument("dst"), m.Argument("x"), m.Argument("y"), m.Argument("n")
	a, b, c := m.Constant("a"), m.Constant("b"), m.Constant("c")
	eachVector(m, n, []neon.Int{dst, x, y}, func(disp int) {
		v, w := m.Vec(), m.Vec()
		m.Load(neon.At(x, disp), v)
		m.Load(neon.At(y, disp), w)
		m.Mul(a, v, v)
		m.Mul(b, w, w)
		m.Add(w, v, v)
		m.Add(c, v, v)
		m.Store(v, neon.At(dst, disp))
	})
	m.Return()
}

func rectifyNEON(f *neon.File, bits int) {
	m := f.Function(bits, "rectify", "func(dst, x *%[1]s, n int)", "sets dst[i] to max(x[i], 0), or to NaN if x[i] is NaN.")
	dst, x, n, zero := m.Argument("dst"), m.Argument("x"), m.Argument("n"), m.Zeros(1)[0]
	eachVector(m, n, []neon.Int{dst, x}, func(disp int) {
		v := m.Vec()
		m.Load(neon.At(x, disp), v)
		m.Max(v, zero, v)
		m.Store(v, neon.At(dst, disp))
	})
	m.Return()
}

func rectifyBackNEON(f *neon.File, bits int) {
	m := f.Function(bits, "rectifyBack", "func(dst, y, grad *%[1]s, n int)", "sets dst[i] to grad[i] where y[i] > 0, to 0 elsewhere.")
	dst, y, g, n, zero := m.Argument("dst"), m.Argument("y"), m.Argument("grad"), m.Argument("n"), m.Zeros(1)[0]
	eachVector(m, n, []neon.Int{dst, y, g}, func(disp int) {
		v, w := m.Vec(), m.Vec()
		m.Load(neon.At(y, disp), v)
		m.Load(neon.At(g, disp), w)
		m.Above(zero, v, v)
		m.And(v, w, w)
		m.Store(w, neon.At(dst, disp))
	})
	m.Return()
}

func rectifyToNEON(f *neon.File, bits int) {
	m := f.Function(bits, "rectifyTo", "func(dst, x *%[1]s, n int, top %[1]s)", "sets dst[i] to min(max(x[i], 0), top), or to NaN if x[i] is NaN.")
	dst, x, n, top, zero := m.Argument("dst"), m.Argument("x"), m.Argument("n"), m.Constant("top"), m.Zeros(1)[0]
	eachVector(m, n, []neon.Int{dst, x}, func(disp int) {
		v := m.Vec()
		m.Load(neon.At(x, disp), v)
		m.Max(v, zero, v)
		m.Min(v, top, v)
		m.Store(v, neon.At(dst, disp))
	})
	m.Return()
}

func maxPairsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "maxPairs", "func(dst, r0, r1 *%[1]s, n int)",
		"sets dst[j] to the largest of r0[2j], r0[2j+1], r1[2j] and r1[2j+1], or to NaN if one is NaN.")
	dst, r0, r1, n := m.Argument("dst"), m.Argument("r0"), m.Argument("r1"), m.Argument("n")
	v := m.Vecs(4)
	m.Loop("one", n, m.Lanes(), func() {
		m.LoadPairs(r0, v[0], v[1])
		m.LoadPairs(r1, v[2], v[3])
		m.Max(v[1], v[0], v[0])
		m.Max(v[3], v[2], v[2])
		m.Max(v[2], v[0], v[0])
		m.Store(v[0], neon.At(dst, 0))
		m.Advance(neon.Bytes, dst)
	})
	m.Return()
}

func maxPairsBackNEON(f *neon.File, bits int) {
	m := f.Function(bits, "maxPairsBack", "func(d0, d1, r0, r1, y, grad *%[1]s, n int)",
		"sets the first of r0[2j], r0[2j+1], r1[2j] and r1[2j+1] that equals y[j] to grad[j] and the",
		"other three to 0, in d0 and d1.")
	d := []neon.Int{m.Argument("d0"), m.Argument("d1")}
	r := []neon.Int{m.Argument("r0"), m.Argument("r1")}
	y, g, n := m.Argument("y"), m.Argument("grad"), m.Argument("n")
	top, left, v := m.Vec(), m.Vec(), m.Vecs(2) // left is grad where no element equal to y was found yet
	is := m.Vec()
	m.Loop("one", n, m.Lanes(), func() {
		m.Load(neon.At(y, 0), top)
		m.Load(neon.At(g, 0), left)
		m.Advance(neon.Bytes, y, g)
		for i := range 2 {
			m.LoadPairs(r[i], v[0], v[1])
			for j := range 2 {
				m.Same(top, v[j], is)
				m.And(left, is, v[j])
				m.AndNot(is, left, left)
			}
			m.StorePairs(v[0], v[1], d[i])
		}
	})
	m.Return()
}
