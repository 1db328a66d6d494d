// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlotExtremes draws what could upset an axis: one epoch, equal values, zeros, and
// solvers that stopped at different epochs.
func TestPlotExtremes(t *testing.T) {
	same := solverJSON{Name: "a", Epochs: []epochJSON{{Loss: 1, Accuracy: 0.5}}}
	longer := solverJSON{Name: "b", Grouping: "per filter", Epochs: []epochJSON{{1, 0.5, 1, 0}, {2, 0.25, 1, 1e-7}}}
	for _, solvers := range [][]solverJSON{{same}, {same, same}, {same, longer}, {{Name: "z", Epochs: []epochJSON{{}}}}} {
		for _, p := range plots {
			b, err := p.png(&results{Solvers: solvers})
			require.NoError(t, err)
			_, err = png.Decode(bytes.NewReader(b))
			require.NoError(t, err)
		}
	}
}
