// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// resNet20 are the convolutions of the CIFAR-10 ResNet-20, resNet18 those of the
// ImageNet ResNet-18 (He, Zhang, Ren, Sun 2016), downsampling by 1x1
// convolutions in the latter only.
func resNet20() (shapes [][]int) {
	shapes = append(shapes, []int{16, 3, 3, 3})
	in := 16
	for _, out := range []int{16, 32, 64} {
		for range 6 {
			shapes = append(shapes, []int{out, in, 3, 3})
			in = out
		}
	}
	return shapes
}

func resNet18() (shapes [][]int) {
	shapes = append(shapes, []int{64, 3, 7, 7})
	in := 64
	for _, out := range []int{64, 128, 256, 512} {
		if in != out {
			shapes = append(shapes, []int{out, in, 1, 1})
		}
		for range 4 {
			shapes = append(shapes, []int{out, in, 3, 3})
			in = out
		}
	}
	return shapes
}

// BenchmarkStep is one step of every solver, stock ones first, on the
// convolutions of two nets in float32. The gradients, which every solver zeroes,
// are written anew while the clock stands. Compare within one run:
//
//	go test -run '^$' -bench Step ./solvers
func BenchmarkStep(b *testing.B) {
	rate, momentum := gorgonia.WithLearnRate(0.01), gorgonia.WithMomentum(0.9)
	sgd := func(own ...solvers.Option) func() gorgonia.Solver {
		return func() gorgonia.Solver { return solvers.NewSGD(append(own, solvers.LearnRate(0.01))...) }
	}
	kernels := func(m manifolds.Manifold, opts ...manifolds.Option) solvers.Option {
		return solvers.Kernels(m, opts...)
	}
	// A slice of a 1x1 convolution is a single weight, and cannot move.
	slices := func(m manifolds.Manifold) solvers.Option {
		return solvers.Where(func(_ string, shape tensor.Shape) bool { return shape[2] > 1 }, m, manifolds.PerSlice)
	}
	heavy := solvers.Momentum(0.9)
	for _, net := range []struct {
		name   string
		shapes [][]int
	}{{"ResNet-20", resNet20()}, {"ResNet-18", resNet18()}} {
		for _, s := range []struct {
			name string
			make func() gorgonia.Solver
		}{
			{"stock Vanilla", func() gorgonia.Solver { return gorgonia.NewVanillaSolver(rate) }},
			{"stock Momentum", func() gorgonia.Solver { return gorgonia.NewMomentum(rate, momentum) }},
			{"stock Adam", func() gorgonia.Solver { return gorgonia.NewAdamSolver(rate) }},
			{"SGD", sgd()},
			{"SGD momentum", sgd(heavy)},
			{"Adam", func() gorgonia.Solver { return solvers.NewAdam() }},
			{"Adagrad", func() gorgonia.Solver { return solvers.NewAdagrad() }},
			{"SGD momentum, sphere", sgd(heavy, kernels(manifolds.Sphere{}))},
			{"SGD momentum, sphere slices", sgd(heavy, slices(manifolds.Sphere{}))},
			{"SGD tangent momentum, sphere", sgd(heavy, solvers.TangentMomentum(), kernels(manifolds.Sphere{}))},
			{"SGD momentum, centred sphere", sgd(heavy, kernels(manifolds.CentredSphere{}))},
			{"SGD momentum, oblique", sgd(heavy, kernels(manifolds.Oblique{}, manifolds.FilterBank))},
			{"SGD momentum, oblique slices", sgd(heavy, slices(manifolds.Oblique{}))},
			{"SGD momentum, Stiefel", sgd(heavy, kernels(manifolds.Stiefel{}))},
			{"SGD tangent momentum, Stiefel", sgd(heavy, solvers.TangentMomentum(), kernels(manifolds.Stiefel{}))},
			{"SGD momentum, Stiefel polar", sgd(heavy, kernels(manifolds.Stiefel{Retraction: manifolds.Polar}))},
			{"SGD momentum, Stiefel slices", sgd(heavy, slices(manifolds.Stiefel{}))},
			{"Adam, sphere", func() gorgonia.Solver { return solvers.NewAdam(kernels(manifolds.Sphere{})) }},
			{"Adagrad, sphere", func() gorgonia.Solver { return solvers.NewAdagrad(kernels(manifolds.Sphere{})) }},
			{"Adam, Stiefel", func() gorgonia.Solver { return solvers.NewAdam(kernels(manifolds.Stiefel{})) }},
			{"RDoG", func() gorgonia.Solver { return solvers.NewRDoG() }},
			{"RDoG, sphere", func() gorgonia.Solver { return solvers.NewRDoG(kernels(manifolds.Sphere{})) }},
			{"RDoG, Stiefel", func() gorgonia.Solver { return solvers.NewRDoG(kernels(manifolds.Stiefel{})) }},
			{"Muon", func() gorgonia.Solver { return solvers.NewMuon() }},
			{"Muon, sphere", func() gorgonia.Solver { return solvers.NewMuon(kernels(manifolds.Sphere{})) }},
			{"Muon, Stiefel", func() gorgonia.Solver { return solvers.NewMuon(kernels(manifolds.Stiefel{})) }},
			{"Constrain(Adam), sphere", func() gorgonia.Solver {
				return solvers.Constrain(gorgonia.NewAdamSolver(rate), manifolds.Sphere{})
			}},
			{"Constrain(Adam), Stiefel", func() gorgonia.Solver {
				return solvers.Constrain(gorgonia.NewAdamSolver(rate), manifolds.Stiefel{})
			}},
		} {
			b.Run(net.name+"/"+s.name, func(b *testing.B) {
				var m []*param
				rng := source(1)
				weights, slopes := 0, [][]float32{}
				for i, shape := range net.shapes {
					p := newParam(fmt.Sprintf("conv%d", i), tensor.Float32, shape...)
					gaussian(p.w, rng, 0.05)
					gaussian(p.g, rng, 0.01)
					m, slopes = append(m, p), append(slopes, append([]float32(nil), p.g.Float32s()...))
					weights += p.w.Size()
				}
				all := valueGrads(m)
				solver := s.make()
				for range 2 { // state is made, weights are projected
					if err := solver.Step(all); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					for i, p := range m {
						copy(p.g.Float32s(), slopes[i])
					}
					b.StartTimer()
					if err := solver.Step(all); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(weights), "ns/weight")
			})
		}
	}
}

// BenchmarkMuonOverItsProducts is a step of Muon on one bank in float32, and the quotient of its median time and that of its products of
// matrices alone, from one run: with q the shorter side and n the other, the products of the iteration for the sign as published, and on
// Stiefel those of three projections, of the retraction, of the watch over feasibility and of the bound of the spectral norm.
//
//	go test -run '^$' -bench MuonOverItsProducts ./solvers
func BenchmarkMuonOverItsProducts(b *testing.B) {
	for _, c := range []struct {
		name    string
		options []solvers.Option
		frames  bool
	}{
		{"Euclidean", nil, false},
		{"Stiefel", []solvers.Option{solvers.Kernels(manifolds.Stiefel{})}, true},
	} {
		for _, shape := range [][]int{{16, 3, 3, 3}, {16, 16, 3, 3}, {32, 16, 3, 3}, {32, 32, 3, 3}, {64, 64, 3, 3}, {128, 128, 3, 3}, {256, 128, 3, 3}} {
			b.Run(fmt.Sprintf("%s/%dx%d", c.name, shape[0], shape[1]*9), func(b *testing.B) {
				q, n := shape[0], shape[1]*9
				p := newParam("conv", tensor.Float32, shape...)
				gaussian(p.w, source(1), 0.05)
				gaussian(p.g, source(2), 0.01)
				slopes := append([]float32(nil), p.g.Float32s()...)
				all := valueGrads([]*param{p})
				solver := solvers.NewMuon(c.options...)
				for range 2 {
					if err := solver.Step(all); err != nil {
						b.Fatal(err)
					}
				}
				frame := newParam("frame", tensor.Float32, q, n) // nearly: no product grows or vanishes
				gaussian(frame.w, source(3), 1/math.Sqrt(float64(n)))
				x, y := gemm.Of(frame.w.Float32s(), q, n).T(), gemm.Of(frame.g.Float32s(), q, n).T()
				g, h := gemm.Of(make([]float32, q*q), q, q), gemm.Of(make([]float32, q*q), q, q)
				flops := 0
				gram := func(to, a gemm.Mat[float32]) {
					gemm.Gram(to, 1, a)
					flops += a.R * a.C * a.C
				}
				mul := func(to gemm.Mat[float32], sign float64, a, b gemm.Mat[float32], beta float64) {
					gemm.Mul(to, sign, a, b, beta)
					flops += 2 * a.R * a.C * b.C
				}
				products := func() {
					flops = 0
					for range 5 {
						gram(g, x)
						gram(h, g)
						mul(y, 1, x, h, 0)
					}
					if !c.frames {
						return
					}
					for range 3 { // of gradient, direction and momentum
						mul(g, 1, x.T(), y, 0)
						mul(y, -1, x, g, 1)
					}
					gram(g, y) // the retraction: a Gram matrix, and a product with a triangle
					gemm.MulUpper(y, x, g)
					flops += n * q * q
					gram(g, x) // the watch over feasibility
					gram(g, y) // the bound
					for range 3 {
						gram(h, g)
					}
				}
				var step, alone []float64
				for b.Loop() {
					copy(p.g.Float32s(), slopes)
					begin := time.Now()
					if err := solver.Step(all); err != nil {
						b.Fatal(err)
					}
					middle := time.Now()
					products()
					step, alone = append(step, float64(middle.Sub(begin))), append(alone, float64(time.Since(middle)))
				}
				slices.Sort(step)
				slices.Sort(alone)
				median := step[len(step)/2]
				b.ReportMetric(median/alone[len(alone)/2], "x-products")
				b.ReportMetric(float64(flops)/median, "Gflop/s")
			})
		}
	}
}

// BenchmarkEnsemble is a step on an ensemble of three manifolds beside the sum of the steps on its parts: of three solvers, each on
// layers of a third of the slices, wholly on one manifold. Both begin with all gradients just written from the last layer
// to the first, so they move the same slices from the same caches. They alternate; "ratio" is the quotient of the medians
// of their times.
//
//	go test -run '^$' -bench Ensemble -cpu 1,2 ./solvers
func BenchmarkEnsemble(b *testing.B) {
	parts := manifolds.Equal(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{})
	type job struct {
		solver *solvers.Solver
		m      []*param
		slopes [][]float32
	}
	newJob := func(solver *solvers.Solver, shapes [][]int) job {
		j := job{solver: solver}
		for i, shape := range shapes {
			p := newParam(fmt.Sprint("conv", i), tensor.Float32, shape...)
			gaussian(p.w, source(uint64(i)), 0.05)
			gaussian(p.g, source(uint64(100+i)), 0.01)
			j.m, j.slopes = append(j.m, p), append(j.slopes, append([]float32(nil), p.g.Float32s()...))
		}
		return j
	}
	for _, net := range []struct {
		name   string
		shapes [][]int
	}{{"ResNet-20", resNet20()}, {"ResNet-18", resNet18()}} {
		var whole, thirds [][]int
		for _, s := range net.shapes {
			if s[2] > 1 { // slices of 1 x 1 cannot move
				third := (s[0] + 2) / 3 // three parts of whole filters
				whole, thirds = append(whole, []int{3 * third, s[1], s[2], s[3]}), append(thirds, []int{third, s[1], s[2], s[3]})
			}
		}
		for _, rule := range []struct {
			name string
			make func(...solvers.Option) *solvers.Solver
			own  []solvers.Option
		}{
			{"SGD", solvers.NewSGD, nil},
			{"SGD momentum", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9)}},
			{"Adam", solvers.NewAdam, nil},
		} {
			b.Run(net.name+"/"+rule.name, func(b *testing.B) {
				on := func(m manifolds.Manifold) *solvers.Solver {
					return rule.make(append([]solvers.Option{solvers.Kernels(m, manifolds.PerSlice)}, rule.own...)...)
				}
				together, alone := []job{newJob(on(manifolds.Ensemble{Parts: parts, Seed: 1}), whole)}, []job(nil)
				for _, p := range parts {
					alone = append(alone, newJob(on(p.Manifold), thirds))
				}
				step := func(jobs []job) float64 {
					for i := range slices.Backward(jobs[0].m) {
						for _, j := range jobs {
							copy(j.m[i].g.Float32s(), j.slopes[i])
						}
					}
					start := time.Now()
					for _, j := range jobs {
						if err := j.solver.Step(valueGrads(j.m)); err != nil {
							b.Fatal(err)
						}
					}
					return float64(time.Since(start).Nanoseconds())
				}
				for range 2 { // state is made, weights are projected
					step(together)
					step(alone)
				}
				var whole, sum []float64
				for b.Loop() {
					whole, sum = append(whole, step(together)), append(sum, step(alone))
				}
				slices.Sort(whole)
				slices.Sort(sum)
				b.ReportMetric(whole[len(whole)/2]/sum[len(sum)/2], "ratio")
				b.ReportMetric(whole[len(whole)/2], "ns/ensemble")
			})
		}
	}
}

// BenchmarkWrappers is a step of SAM, ascent included, and one with an average of the weights, beside the step of the solver alone. They
// alternate, and "x-step" is the quotient of the times.
//
//	go test -run '^$' -bench Wrappers ./solvers
func BenchmarkWrappers(b *testing.B) {
	for _, net := range []struct {
		name   string
		shapes [][]int
	}{{"ResNet-20", resNet20()}, {"ResNet-18", resNet18()}} {
		for _, m := range []manifolds.Manifold{manifolds.Euclidean{}, manifolds.Sphere{}, manifolds.Stiefel{}} {
			for _, w := range []struct {
				name string
				of   func(*solvers.Solver) gorgonia.Solver
			}{
				{"SAM", func(s *solvers.Solver) gorgonia.Solver { return solvers.NewSAM(s, 0.05) }},
				{"EMA", func(s *solvers.Solver) gorgonia.Solver { return solvers.NewEMA(s, 0.999) }},
				{"intrinsic EMA", func(s *solvers.Solver) gorgonia.Solver { return solvers.NewEMA(s, 0.999, solvers.AverageIntrinsic()) }},
			} {
				b.Run(fmt.Sprint(net.name, "/", manifolds.Name(m), "/", w.name), func(b *testing.B) {
					var layers [2][]*param
					var slopes [][]float32
					var arms [2]gorgonia.Solver
					for i := range arms {
						s := solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Kernels(m))
						if arms[i] = s; i == 1 {
							arms[i] = w.of(s)
						}
						for k, shape := range net.shapes {
							p := newParam(fmt.Sprint("conv", k), tensor.Float32, shape...)
							gaussian(p.w, source(uint64(k)), 0.05)
							gaussian(p.g, source(uint64(100+k)), 0.01)
							layers[i] = append(layers[i], p)
							if i == 0 {
								slopes = append(slopes, append([]float32(nil), p.g.Float32s()...))
							}
						}
					}
					var times [2]time.Duration
					sign := 1.0
					step := func(i int) {
						refill := func() { // with the other sign each time, or gradients would soon be normal to spheres
							for k, p := range layers[i] {
								vec.Scale(p.g.Float32s(), sign, slopes[k])
							}
							sign = -sign
						}
						all := valueGrads(layers[i])
						refill()
						start := time.Now()
						if sam, ok := arms[i].(*solvers.SAM); ok {
							if err := sam.Ascend(all); err != nil {
								b.Fatal(err)
							}
							times[i] += time.Since(start)
							refill()
							start = time.Now()
						}
						if err := arms[i].Step(all); err != nil {
							b.Fatal(err)
						}
						times[i] += time.Since(start)
					}
					for range 2 { // state is made, weights are projected
						step(0)
						step(1)
					}
					clear(times[:])
					for b.Loop() {
						step(0)
						step(1)
					}
					b.ReportMetric(float64(times[1])/float64(times[0]), "x-step")
				})
			}
		}
	}
}
