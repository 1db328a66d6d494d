// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"

	"gonum.org/v1/plot/vg"

	"github.com/kernelfold/kernelfold/manifolds"
)

// manifoldsKeep draws four filters of 3x3, free and projected to each manifold, with
// their norms, their sums and their inner products.
func manifoldsKeep() (*page, error) {
	const filters, side, box = 4, 3, 12.0
	const bankX, gramX, keepX = 150, 408, 512
	p := newPage(664, 594)
	p.text(bold, 14, margin, p.h-30, ink, "What each manifold keeps")
	p.text(regular, 9, bankX, p.h-52, soft, "four filters of 3 × 3; blue < 0, orange > 0")
	p.text(regular, 9, gramX, p.h-52, soft, "inner products")
	p.text(regular, 9, keepX, p.h-52, soft, "kept")

	rng := rand.New(rand.NewPCG(5, 7))
	free := make([]float64, filters*side*side)
	for i := range free {
		free[i] = 0.35*rng.NormFloat64() + 0.12
	}
	type keeps struct{ norm, sum, columns, gram bool }
	for i, r := range []struct {
		name     string
		manifold manifolds.Manifold
		grouping manifolds.Grouping
		keeps
		kept []string
	}{
		{"no constraint", manifolds.Euclidean{}, manifolds.PerFilter, keeps{}, []string{"nothing"}},
		{"Sphere", manifolds.Sphere{}, manifolds.PerFilter, keeps{norm: true}, []string{"the norm of", "each filter"}},
		{"CentredSphere", manifolds.CentredSphere{}, manifolds.PerFilter, keeps{norm: true, sum: true}, []string{"norm 1", "and sum 0"}},
		{"Oblique", manifolds.Oblique{}, manifolds.PerSlice, keeps{norm: true, columns: true}, []string{"the norm of", "each column"}},
		{"Stiefel", manifolds.Stiefel{}, manifolds.FilterBank, keeps{norm: true, gram: true}, []string{"filters of norm 1,", "at right angles"}},
	} {
		w := append([]float64(nil), free...)
		l, err := r.grouping.Layout([]int{filters, 1, side, side})
		if err != nil {
			return nil, err
		}
		x, err := manifolds.Points64(w, l.K, l.N, l.P)
		if err != nil {
			return nil, err
		}
		piece, err := manifolds.Single(manifolds.On(r.manifold, r.grouping).Bind([]int{filters, 1, side, side}, 1))
		if err != nil {
			return nil, err
		}
		if err := piece.Manifold.Project(x, x); err != nil {
			return nil, err
		}

		top := p.h - 64 - vg.Length(i)*106
		p.line(margin, top, p.w-margin, top, 2.0/3, faint)
		p.text(bold, 11.5, margin, top-46, ink, r.name)
		for f := range filters {
			x0 := bankX + vg.Length(f)*62
			norm, sum := 0.0, 0.0
			var columns [side]float64
			for e, v := range w[f*side*side : (f+1)*side*side] {
				norm, sum = math.Hypot(norm, v), sum+v
				columns[e%side] = math.Hypot(columns[e%side], v)
				p.rect(x0+vg.Length(e%side)*box, top-14-vg.Length(e/side+1)*box, box, box, heat(v/0.8))
			}
			p.frame(x0, top-14-side*box, side*box, side*box, 0.8, border)
			if r.columns {
				for c := range columns {
					p.rect(x0+vg.Length(c)*box+1, top-14-side*box-5, box-2, 2.4, blue)
				}
			}
			reading(p, x0+side*box/2, top-68, "norm", norm, r.norm)
			reading(p, x0+side*box/2, top-80, "sum", sum, r.sum)
			if r.columns && f == 0 {
				p.text(regular, 8, bankX, top-92, blue, fmt.Sprintf("every column %.2f", columns[0]))
			}
		}
		for f := range filters {
			for h := range filters {
				dot := 0.0
				for e := range side * side {
					dot += w[f*side*side+e] * w[h*side*side+e]
				}
				p.rect(gramX+vg.Length(h)*box*1.2, top-20-vg.Length(f+1)*box*1.2, box*1.2, box*1.2, heat(dot))
			}
		}
		p.frame(gramX, top-20-filters*box*1.2, filters*box*1.2, filters*box*1.2, 0.8, border)
		for k, s := range r.kept {
			p.text(bold, 10, keepX, top-40-vg.Length(k)*14, ink, s)
		}
	}
	return p, nil
}

// reading writes a small number with its name, in ink if it is kept.
func reading(p *page, x, y vg.Length, name string, v float64, kept bool) {
	weight, col := regular, color.Color(soft)
	if kept {
		weight, col = bold, ink
	}
	p.centred(weight, 8, x, y, col, fmt.Sprintf("%s %.2f", name, math.Round(100*v)/100+0)) // no minus before zero
}

// heat is orange for 1, white for 0 and blue for -1, in steps of 1/16.
func heat(v float64) color.Color {
	v = math.Round(16*max(-1, min(1, v))) / 16
	to := orange
	if v < 0 {
		to, v = blue, -v
	}
	mix := func(c uint8) uint8 { return uint8(255 - v*(255-float64(c)) + 0.5) }
	return color.NRGBA{mix(to.R), mix(to.G), mix(to.B), 0xff}
}
