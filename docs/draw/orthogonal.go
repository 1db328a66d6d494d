// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/plot/vg"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// orthogonal draws the filter bank and the Jacobian of a convolution whose kernel is on Stiefel, and of an orthogonal one.
func orthogonal() (*page, error) {
	const channels, side = 2, 4
	p := newPage(690, 440)
	p.text(bold, 14, margin, p.h-30, ink, "Orthogonality: of the kernel or of the convolution")
	p.text(regular, 10, margin, p.h-46, soft, fmt.Sprintf("%d channels, kernels of 3 x 3, circular images of %d x %d", channels, side, side))
	const left, cell = 190, 150
	columns := []struct {
		title string
		x     vg.Length
	}{{"W W'", left}, {"the Jacobian J", left + cell + 14}, {"J' J", left + 2*(cell+14)}}
	for _, c := range columns {
		p.text(bold, 10, c.x, p.h-76, ink, c.title)
	}
	for i, row := range []struct {
		title  string
		lines  []string
		kernel func(g *gorgonia.ExprGraph) (*gorgonia.Node, error)
	}{
		{"A kernel on Stiefel", []string{"The filters, rows of W,", "are orthonormal."}, func(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
			on := manifolds.On(manifolds.Stiefel{}, manifolds.Unit)
			return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("kernel"), gorgonia.WithShape(channels, channels, 3, 3), gorgonia.WithInit(nodes.ManifoldInit(on, 3))), nil
		}},
		{"An orthogonal convolution", []string{"Its kernel is made of", "an orthogonal matrix", "and projectors."}, func(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
			kernel, stride := tensor.Shape{3, 3}, []int{1, 1}
			matrix, projectors, err := nodes.OrthogonalConvFactors(channels, channels, kernel, stride)
			if err != nil {
				return nil, err
			}
			leaf := func(name string, f nodes.Factor) *gorgonia.Node {
				return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName(name), gorgonia.WithShape(f.Shape...), gorgonia.WithInit(nodes.ManifoldInit(f.Constraint, 5)))
			}
			return nodes.OrthogonalConvKernel(leaf("matrix", matrix), leaf("projectors", projectors), channels, kernel, stride)
		}},
	} {
		bank, jacobian, err := matrices(channels, side, row.kernel)
		if err != nil {
			return nil, err
		}
		y := p.h - 90 - cell - vg.Length(i)*(cell+22)
		p.text(bold, 11, margin, y+cell-12, ink, row.title)
		for k, l := range row.lines {
			p.text(regular, 10, margin, y+cell-30-13*vg.Length(k), ink, l)
		}
		var svd mat.SVD
		if !svd.Factorize(jacobian, mat.SVDNone) {
			return nil, fmt.Errorf("want singular values, got none")
		}
		s := svd.Values(nil)
		p.text(regular, 10, margin, y+24, plum, "Singular values of J:")
		p.text(bold, 10, margin, y+10, plum, fmt.Sprintf("%.2f to %.2f", s[len(s)-1], s[0]))
		var rows, gram mat.Dense
		rows.Mul(bank, bank.T())
		gram.Mul(jacobian.T(), jacobian)
		for k, m := range []*mat.Dense{&rows, jacobian, &gram} {
			p.matrix(columns[k].x, y, cell, m)
		}
	}
	return p, nil
}

// matrices returns the filter bank of a kernel and the Jacobian of its convolution of circular images.
func matrices(channels, side int, kernel func(g *gorgonia.ExprGraph) (*gorgonia.Node, error)) (bank, jacobian *mat.Dense, err error) {
	g := gorgonia.NewGraph()
	w, err := kernel(g)
	if err != nil {
		return nil, nil, err
	}
	n := channels * side * side
	unit := tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(n, channels, side, side))
	for i := range n {
		unit.Float64s()[i*n+i] = 1
	}
	x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("unit vectors"), gorgonia.WithValue(unit))
	one := []int{1, 1}
	y, err := nodes.Conv2dWith(x, w, tensor.Shape{3, 3}, one, one, nil, nodes.Circular())
	if err != nil {
		return nil, nil, err
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, nil, err
	}
	transposed := mat.NewDense(n, n, y.Value().Data().([]float64)) // row i is the image of unit vector i
	return mat.NewDense(channels, 9*channels, w.Value().Data().([]float64)), mat.DenseCopyOf(transposed.T()), nil
}

// matrix draws a matrix in a square: blue is positive, orange negative, and white 0.
func (p *page) matrix(x, y, size vg.Length, m *mat.Dense) {
	r, c := m.Dims()
	h, w := size/vg.Length(r), size/vg.Length(c)
	for i := range r {
		for j := range c {
			v := math.Round(24*max(-1, min(1, m.At(i, j)))) / 24
			if v == 0 {
				continue
			}
			to := blue
			if v < 0 {
				to = orange
			}
			p.rect(x+vg.Length(j)*w, y+size-vg.Length(i+1)*h, w, h, blend(to, math.Sqrt(math.Abs(v))))
		}
	}
	p.frame(x, y, size, size, 0.8, border)
}

// blend returns a colour on white.
func blend(c color.NRGBA, share float64) color.NRGBA {
	mix := func(v uint8) uint8 { return uint8(math.Round(255 - share*(255-float64(v)))) }
	return color.NRGBA{mix(c.R), mix(c.G), mix(c.B), 0xff}
}
