// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/blas"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Linear is a fully connected layer,
//
//	y[b,j] = sum_i x[b,i] w[i,j] + β[j].
//
// x has shape (B, n), w (n, m) and β (1, m); the result has (B, m). β may be nil for none. x may have
// a higher rank, such as (B, C, H, W) with n = C H W, and is then read as a matrix. There is no need
// for gorgonia.Reshape, whose result shares the memory of its input.
//
// Wrong ranks and shapes are errors.
func Linear(x, w, bias *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Linear"
	in, ranks := []*gorgonia.Node{x, w}, []int{0, 2}
	if bias != nil {
		in, ranks = append(in, bias), append(ranks, 2)
	}
	shapes, err := admit(name, ranks, in...)
	if err != nil {
		return nil, err
	}
	if len(shapes[0]) < 2 {
		return nil, fmt.Errorf("%s: want rank 2 at least, got shape %v", name, shapes[0])
	}
	batch, rows, cols := shapes[0][0], shapes[1][0], shapes[1][1]
	if n := shapes[0].TotalSize() / max(batch, 1); n != rows {
		return nil, fmt.Errorf("%s: want weights of %d rows for an input of shape %v, got shape %v", name, n, shapes[0], shapes[1])
	}
	if bias != nil && !slices.Equal(shapes[2], tensor.Shape{1, cols}) {
		return nil, fmt.Errorf("%s: want a bias of shape (1, %d), got %v", name, cols, shapes[2])
	}
	s := signature{name: name, in: shapes, out: tensor.Shape{batch, cols}}
	return apply(s, linear[float32]{batch, rows, cols}, linear[float64]{batch, rows, cols}, in...)
}

// linear multiplies a batch x rows matrix by a rows x cols matrix.
type linear[T vec.Float] struct{ batch, rows, cols int }

func (l linear[T]) Forward(out []T, in [][]T) error {
	beta := 0.0
	if len(in) == 3 {
		beta = 1
		for i := 0; i < len(out); i += l.cols {
			copy(out[i:], in[2])
		}
	}
	blas.Mul(gemm.Of(out, l.batch, l.cols), 1, gemm.Of(in[0], l.batch, l.rows), gemm.Of(in[1], l.rows, l.cols), beta)
	return nil
}

func (l linear[T]) Backward(dst []T, i int, in [][]T, _, grad []T) error {
	g := gemm.Of(grad, l.batch, l.cols)
	switch i {
	case 0:
		blas.Mul(gemm.Of(dst, l.batch, l.rows), 1, g, gemm.Of(in[1], l.rows, l.cols).T(), 0)
	case 1:
		blas.Mul(gemm.Of(dst, l.rows, l.cols), 1, gemm.Of(in[0], l.batch, l.rows).T(), g, 0)
	default:
		sumRows(dst, grad)
	}
	return nil
}
