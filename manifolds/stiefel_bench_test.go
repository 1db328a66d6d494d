// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kernelfold/kernelfold/manifolds"
)

// BenchmarkStiefel is each operation on layers of slices and on filter banks:
//
//	go test -run '^$' -bench Stiefel ./manifolds
func BenchmarkStiefel(b *testing.B) {
	for _, s := range [][3]int{{4096, 3, 3}, {4096, 5, 5}, {4096, 7, 7}, {1, 16, 144}, {1, 64, 576}, {1, 256, 2304}} {
		m := manifolds.Stiefel{}
		x := points32(b, make([]float32, s[0]*s[1]*s[2]), s[0], s[1], s[2])
		rng := rand.New(rand.NewPCG(1, 2))
		raw, v, g, y := x.Like(), x.Like(), x.Like(), x.Like()
		must := func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		}
		must(manifolds.Euclidean{}.Random(raw, rng))
		must(manifolds.Euclidean{}.Random(g, rng))
		must(m.Project(x, raw))
		must(m.Tangent(v, x, g))
		must(v.Combine(0.01, v, 0, v))
		for _, o := range []struct {
			name string
			run  func() error
		}{
			{"Project", func() error { return m.Project(y, raw) }},
			{"Tangent", func() error { return m.Tangent(y, x, g) }},
			{"Retract", func() error { return m.Retract(y, x, v) }},
			{"Retract polar", func() error { return manifolds.Stiefel{Retraction: manifolds.Polar}.Retract(y, x, v) }},
			{"Exp", func() error { return m.Exp(y, x, v) }},
			{"Membership", func() error { m.Membership(x); return nil }},
			{"Descend", func() error {
				d := manifolds.Descent{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.01}
				if !m.Descends(m, x, d, manifolds.Bounds{Gradient: g.Norm(), Momentum: v.Norm()}) {
					return nil
				}
				_, err := m.Descend(x, v, g, d)
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%dx%dx%d/%s", s[0], s[1], s[2], o.name), func(b *testing.B) {
				for b.Loop() {
					must(o.run())
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(s[0]), "ns/point")
			})
		}
	}
}
