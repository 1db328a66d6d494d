// SPDX-License-Identifier: Apache-2.0

//go:build openblas

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/netlib/blas/netlib"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// shape is a product that a training step needs, op(A) op(B).
type shape struct {
	name    string
	m, n, k int
	ta, tb  bool
	lower   bool // of a symmetric result only one triangle is wanted
}

func shapes() []shape {
	var all []shape
	for _, l := range [][3]int{ // channels, filters, side of the image
		{3, 32, 32}, {32, 64, 16}, {64, 128, 8}, {16, 16, 32}, {32, 32, 16}, {64, 64, 8},
		{64, 64, 56}, {128, 128, 28}, {256, 256, 14}, {512, 512, 7},
	} {
		n, o, p := l[0]*9, l[1], l[2]*l[2]
		all = append(all,
			shape{fmt.Sprint(l, " forward"), o, p, n, false, false, false},
			shape{fmt.Sprint(l, " data"), n, p, o, true, false, false},
			shape{fmt.Sprint(l, " weights"), o, n, p, false, true, false})
	}
	for _, s := range [][2]int{{16, 144}, {32, 288}, {64, 576}, {128, 1152}, {512, 4608}} {
		p, n := s[0], s[1]
		all = append(all,
			shape{fmt.Sprint(s, " X X^T"), p, p, n, false, true, false},
			shape{fmt.Sprint(s, " X^T X of tall X"), p, p, n, true, false, false},
			shape{fmt.Sprint(s, " Gram"), p, p, n, false, true, true},
			shape{fmt.Sprint(s, " S X"), p, n, p, false, false, false},
			shape{fmt.Sprint(s, " X S of tall X"), n, p, p, false, false, false})
	}
	return all
}

// TestAgainstOpenBLAS reports our speed over that of OpenBLAS on one core:
//
//	CGO_LDFLAGS=-lopenblas OPENBLAS_NUM_THREADS=1 go test -tags openblas -run OpenBLAS -v ./internal/gemm
//
// OPENBLAS_CORETYPE chooses among its kernels, GODEBUG=cpu.avx512f=off among ours.
func TestAgainstOpenBLAS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	rng := rand.New(rand.NewPCG(21, 22))
	var ratios []float64
	for _, p := range shapes() {
		a, b := random[float32](rng, p.m*p.k), random[float32](rng, p.k*p.n)
		ours, theirs := make([]float32, p.m*p.n), make([]float32, p.m*p.n)
		x, y := Of(a, p.m, p.k), Of(b, p.k, p.n)
		lda, ldb, ta, tb := p.k, p.n, blas.NoTrans, blas.NoTrans
		if p.ta {
			x, lda, ta = Of(a, p.k, p.m).T(), p.m, blas.Trans
		}
		if p.tb {
			y, ldb, tb = Of(b, p.n, p.k).T(), p.k, blas.Trans
		}
		our := func() { Mul(Of(ours, p.m, p.n), 1, x, y, 0) }
		their := func() {
			netlib.Implementation{}.Sgemm(ta, tb, p.m, p.n, p.k, 1, a, lda, b, ldb, 0, theirs, p.n)
		}
		if p.lower {
			our = func() { Gram(Of(ours, p.m, p.m), 1, x.T()) }
			their = func() {
				netlib.Implementation{}.Ssyrk(blas.Lower, blas.NoTrans, p.m, p.k, 1, a, lda, 0, theirs, p.m)
			}
		}
		u, v := race(our, their)
		for i := range ours {
			// Rounding of a sum of k products is at most (k+2) eps times the sum of their sizes, each of 2/pi on average.
			if p.lower && i%p.n > i/p.n || math.Abs(float64(ours[i]-theirs[i])) <= 2*float64(p.k+2)*vec.Eps[float32]()*float64(p.k) {
				continue
			}
			t.Fatalf("%s: element %d: OpenBLAS has %g, got %g", p.name, i, theirs[i], ours[i])
		}
		ratio := v / u
		ratios = append(ratios, ratio)
		flops := 2 * float64(p.m*p.n*p.k) / 1e9
		t.Logf("%-28s %7.1f GFLOP/s, OpenBLAS %7.1f, ratio %.2f", p.name, flops/u, flops/v, ratio)
	}
	slices.Sort(ratios)
	t.Logf("%v: median %.2f, minimum %.2f", cpu.Use, ratios[len(ratios)/2], ratios[0])
}

// race returns the shortest times of both in seconds, run in turns.
func race(f, g func()) (u, v float64) {
	measure := func(f func(), n int) float64 {
		start := time.Now()
		for range n {
			f()
		}
		return time.Since(start).Seconds() / float64(n)
	}
	f()
	g()
	n := max(1, int(0.002/measure(f, 1)))
	u, v = measure(f, n), measure(g, n)
	for range 15 {
		u, v = min(u, measure(f, n)), min(v, measure(g, n))
	}
	return u, v
}
