// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/examples/internal/figure"
	"github.com/kernelfold/kernelfold/models"
)

// spectrum is the singular values of a convolution on circular images.
type spectrum struct {
	Layer  string    `json:"layer"`
	Values []float64 `json:"singular_values"` // in descending order
}

// frequencies is the side of the circular images, before strides, for which spectra are computed.
const frequencies = 6

// spectraOf returns the spectra of the plain convolutions of a net, without the last layer.
func spectraOf(m *models.Model) (all []*spectrum, err error) {
	released, err := models.Release(m)
	if err != nil {
		return nil, err
	}
	for _, l := range released.Learnables {
		name, ok := strings.CutSuffix(l.Name(), ".weight")
		if !ok || l.Dims() != 4 {
			continue
		}
		shape, stride := l.Shape(), 1
		if shape[2] == 2 { // layers of 2x2 have a stride of 2
			stride = 2
		}
		values, err := singularValues(l.Value().Data().([]float32), shape, stride)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, &spectrum{name, values})
	}
	return all, nil
}

// singularValues returns those of a circular convolution. For each frequency its Fourier transform is a matrix from the channels, of each phase of the stride, to the
// filters (Sedghi, Gupta and Long 2019).
func singularValues(w []float32, shape []int, stride int) (all []float64, err error) {
	filters, channels, size := shape[0], shape[1], shape[2]
	n, columns := frequencies/stride, channels*stride*stride
	symbol := mat.NewDense(2*filters, 2*columns, nil) // [Re -Im; Im Re] has each singular value twice
	for i := range n {
		for j := range n {
			symbol.Zero()
			for a := range size {
				for b := range size {
					angle := 2 * math.Pi / float64(n) * float64(i*(a/stride)+j*(b/stride))
					wave := cmplx.Exp(complex(0, angle))
					phase := a%stride*stride + b%stride
					for d := range filters {
						for c := range channels {
							v := complex(float64(w[((d*channels+c)*size+a)*size+b]), 0) * wave
							row, column := d, phase*channels+c
							symbol.Set(row, column, symbol.At(row, column)+real(v))
							symbol.Set(row+filters, column+columns, symbol.At(row+filters, column+columns)+real(v))
							symbol.Set(row, column+columns, symbol.At(row, column+columns)-imag(v))
							symbol.Set(row+filters, column, symbol.At(row+filters, column)+imag(v))
						}
					}
				}
			}
			var svd mat.SVD
			if !svd.Factorize(symbol, mat.SVDNone) {
				return nil, fmt.Errorf("want singular values at frequency (%d, %d), got none", i, j)
			}
			for k, v := range svd.Values(nil) {
				if k%2 == 0 {
					all = append(all, v)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b float64) int { return cmp.Compare(b, a) })
	return all, nil
}

// hue is that of net i of n in both plots: the last two are the ordinary ones. Others share four.
func hue(i, n int) figure.Hue {
	if i >= n-2 {
		return []figure.Hue{figure.Vermilion, figure.Black}[i-n+2]
	}
	return []figure.Hue{figure.Blue, figure.Green, figure.Sky, figure.Purple}[i%4]
}

// accuracyPlot shows certified accuracy over the radius.
func accuracyPlot(results []result) ([]byte, error) {
	var curves []figure.Curve
	for i, r := range results {
		c := figure.Curve{Name: r.Net, Hue: hue(i, len(results))}
		for i, radius := range r.Radii {
			c.Add(radius, 100*r.Certified[i])
		}
		curves = append(curves, c)
	}
	return figure.Lines{
		Title:  "Test images that are classified correctly after any change of up to a radius",
		X:      figure.Axis{Label: "radius (Euclidean, pixels from 0 to 1)", Zero: true},
		Y:      figure.Axis{Label: "certified accuracy (%)", Zero: true, Max: 100},
		Curves: curves,
		Size:   figure.Size{Width: 8.5},
	}.PNG()
}

// spectraPlot shows the singular values of each convolution, those of all nets beside each other.
func spectraPlot(results []result) ([]byte, error) {
	var panels []figure.Panel
	var key []figure.Curve
	for i, r := range results {
		key = append(key, figure.Curve{Name: r.Net, Hue: hue(i, len(results))})
	}
	for _, of := range results[0].Spectra {
		p := figure.Panel{Title: of.Layer}
		for i, r := range results {
			l := slices.IndexFunc(r.Spectra, func(s *spectrum) bool { return s.Layer == of.Layer })
			if l < 0 {
				continue
			}
			c := figure.Curve{Name: r.Net, Hue: hue(i, len(results))}
			values := r.Spectra[l].Values
			for k, v := range values {
				c.Add(100*float64(k)/float64(max(1, len(values)-1)), v)
			}
			p.Curves = append(p.Curves, c)
		}
		panels = append(panels, p)
	}
	return figure.Multiples{
		Title:  "Singular values of the convolutions, from the largest to the smallest",
		X:      figure.Axis{Label: "share of the singular values (%)", Zero: true},
		Y:      figure.Axis{Label: "singular value", Zero: true},
		Panels: panels,
		Key:    key,
	}.PNG()
}
