// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// SingularValues returns the singular values of the matrix whose rows are the filters of a convolution kernel, in descending order, for each
// group of its convolution. They are the roots of the eigenvalues of the Gram matrix, so values below 1e-8 of the largest are not accurate.
// It returns an error for a parameter that is not a kernel, and for weights that are not finite.
func SingularValues(kernel gorgonia.ValueGrad) ([][]float64, error) {
	if isnil.Of(kernel) {
		return nil, fmt.Errorf("solvers: SingularValues: want a kernel, got nil (%w)", ErrParameter)
	}
	v, err := dense.Of(kernel.Value())
	if err != nil {
		return nil, fmt.Errorf("solvers: SingularValues: %s: %w", nameOf(kernel, 0), err)
	}
	role := (&roles.Reader{}).Of(kernel, v.Shape)
	if role.Role != roles.Kernel {
		return nil, fmt.Errorf("solvers: SingularValues: %s: want a convolution kernel, got a parameter of shape %v (%s)", nameOf(kernel, 0), v.Shape, role.Why)
	}
	values, err := spectra(v, v.Shape, role.Convolution)
	if err != nil {
		return nil, fmt.Errorf("solvers: SingularValues: %s: %w", nameOf(kernel, 0), err)
	}
	return values, nil
}

// spectra is SingularValues of weights.
func spectra(v dense.View, shape tensor.Shape, of roles.Convolution) ([][]float64, error) {
	wide := scratch.Get[float64](2 * v.Len())
	defer scratch.Put(wide)
	flat, banks := wide[:v.Len()], wide[v.Len():]
	copy(flat, v.F64)
	for i, x := range v.F32 {
		flat[i] = float64(x)
	}
	l, err := manifolds.FilterBank.Of(max(1, of.Groups), of.Transposed).Layout(shape)
	if err != nil {
		return nil, err
	}
	from, _ := points(dense.View{F64: flat}, len(flat), 1, 1)
	to, _ := points(dense.View{F64: banks}, l.K, l.N, l.P)
	if err := l.Gather(to, from); err != nil {
		return nil, err
	}
	values := make([][]float64, l.K)
	for i := range values {
		if values[i], err = spectrum(banks[i*l.N*l.P:(i+1)*l.N*l.P], l.N, l.P); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// spectrum returns the singular values of an n x k matrix, which it overwrites, in descending order.
func spectrum(wide []float64, n, k int) ([]float64, error) {
	largest := 0.0
	for _, x := range wide {
		largest = max(largest, math.Abs(x))
	}
	switch {
	case largest == 0:
		return make([]float64, min(n, k)), nil
	case !(largest <= math.MaxFloat64):
		return nil, fmt.Errorf("want finite weights, got largest element %g", largest)
	}
	for i := range wide { // squares must not overflow or vanish
		wide[i] /= largest
	}
	bank := gemm.Of(wide, n, k)
	if n < k {
		bank = bank.T()
	}
	gram := make([]float64, bank.C*bank.C)
	gemm.Gram(gemm.Of(gram, bank.C, bank.C), 1, bank)
	values, ok := frames.Eigenvalues(gram, bank.C)
	if !ok {
		return nil, errors.New("want weights whose singular values can be computed")
	}
	for i, x := range values {
		values[i] = largest * math.Sqrt(max(0, x))
	}
	slices.Reverse(values)
	return values, nil
}
